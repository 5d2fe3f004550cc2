//! Results on disk: where they lie, what is in them, and what one is made of. Everything is written below `staging/`, synced, and becomes visible by
//! one rename to `results/<app>/<task>/<attempt>/`, which is synced as well, so a row never points to half a result, even after a power cut.
//! What is synced when is the business of `press.rs`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Bytes;

use super::log::Logged;
use super::press::Press;
use crate::resource::attempt::{Assignment, AttemptId, StoredResult, Target};
use crate::resource::digest::{hex, sha256};
use crate::resource::outcome::Verdict;
use crate::resource::time::Timestamp;

/// Where an attempt's files lie while it runs: `<state>/staging/<task uid>-<number>`. The directory is made with its first file.
#[derive(Debug, Clone)]
pub struct Staging {
    dir: PathBuf,
}

impl Staging {
    /// The staging directory of an attempt; nothing is touched.
    #[must_use]
    pub fn of(state: &Path, id: &AttemptId) -> Self {
        Self { dir: state.join("staging").join(format!("{}-{}", file_name(&id.task.0), id.number)) }
    }

    /// The directory; `log.txt` in it can be followed while the attempt runs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Makes the log file. It may block.
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn create_log(&self) -> io::Result<File> {
        create_dir(&self.dir)?;
        create_file(&self.dir.join("log.txt"))
    }
}

/// What an attempt leaves.
pub(super) struct Payload {
    /// The result's file name and bytes, as received.
    pub(super) result: Option<(&'static str, Bytes)>,
    /// One SARIF document for each tool.
    pub(super) sarif: Vec<(String, Value)>,
    /// The log, as far as there is one.
    pub(super) log: Logged,
}

/// Up to so many bytes the press writes a result itself; a larger one is written where it comes from, so that nobody waits behind it.
const SMALL_BYTES: u64 = 64 << 10;

/// Results that are written ahead and not durable yet, at most: each of them holds its files open.
static AHEAD: Semaphore = Semaphore::const_new(64);

/// A result larger than this is also synced where it comes from. In bytes.
const LARGE_BYTES: u64 = 4 << 20;

impl Payload {
    fn is_small(&self) -> bool {
        // What is in its file already is of an attempt that has run for a while.
        let log = self.log.rest.len() as u64;
        let result = self.result.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        // How long a document is as a text is not known before it is one.
        self.sarif.is_empty() && self.log.file.is_none() && result + log <= SMALL_BYTES
    }
}

/// Stores an attempt's files and says where. A directory of that name that is already there is an error: results are never overwritten. Only what a
/// controller stored that died before it wrote the row of the attempt gives way, when that attempt was taken up again.
///
/// # Errors
/// What the disk says, with the path.
pub(super) async fn store(
    (state, press): (&Path, &Press),
    staging: Staging,
    assignment: &Assignment,
    (verdict, ended_at): (&Verdict, Timestamp),
    payload: Payload,
) -> io::Result<StoredResult> {
    let id = &assignment.id;
    let replica = match &assignment.target {
        Target::WebSocket { url, .. } => url.as_str(),
        Target::Command(_) => "",
    };
    // All that `manifestd db rebuild` needs to know the attempt again.
    let about = json!({
        "app": assignment.app.name,
        "task": assignment.task,
        "taskUid": id.task,
        "attempt": id.number,
        "analyzer": assignment.analyzer,
        "round": assignment.origin.round,
        "generation": assignment.origin.generation,
        "specDigest": assignment.origin.spec_digest,
        "appDigest": assignment.origin.app_digest,
        "asked": assignment.tools,
        "replica": replica,
        "openedAt": assignment.opened_at.rfc3339(),
        "endedAt": ended_at.rfc3339(),
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "message": verdict.message,
        "tools": verdict.tools,
        "findings": verdict.findings,
        "outputs": verdict.outputs,
    });
    // `_` is no name that an app can have.
    let app = if assignment.app.name.is_empty() { "_".to_owned() } else { file_name(&assignment.app.name) };
    let parts = [app, file_name(&assignment.task), id.number.to_string()];
    let (is_small, results) = (payload.is_small(), state.join("results"));
    let mut sheet = Sheet {
        staging: staging.dir,
        results,
        parts,
        replaces: assignment.resumed,
        content: Some((about, payload)),
        written: None,
        unsynced: Vec::new(),
    };
    // It is never closed.
    let _turn = if is_small { None } else { AHEAD.acquire().await.ok() };
    if !is_small {
        sheet = blocking(move || sheet.write_ahead()).await?;
    }
    press.print(sheet).await
}

/// One result on its way to its place.
pub(super) struct Sheet {
    staging: PathBuf,
    results: PathBuf,
    parts: [String; 3],
    replaces: bool,
    content: Option<(Value, Payload)>,
    written: Option<(String, u64)>,
    unsynced: Vec<File>,
}

impl Sheet {
    /// Where everything lies that has to be synced.
    pub(super) fn state(&self) -> &Path {
        self.results.parent().unwrap_or(&self.results)
    }

    /// Writes all files below staging, unless that was done. `files` gets everything that must be synced before [`Sheet::publish`].
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn write(&mut self, files: &mut Vec<File>) -> io::Result<()> {
        if let Some((about, payload)) = self.content.take() {
            create_dir(&self.staging)?;
            self.written = Some(write_all(&self.staging, about, payload, files)?);
        }
        files.append(&mut self.unsynced);
        Ok(())
    }

    /// Writes all files before the press does.
    fn write_ahead(mut self) -> io::Result<Self> {
        let mut files = Vec::new();
        self.write(&mut files)?;
        if self.written.as_ref().is_some_and(|(_, bytes)| *bytes > LARGE_BYTES) {
            files.drain(..).try_for_each(|file| file.sync_all())?;
        }
        self.unsynced = files;
        Ok(self)
    }

    /// Renames the staging directory to its place below `results/`. `directories` gets every directory with a new entry, which must be synced
    /// before anything says that the result is there.
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn publish(&mut self, directories: &mut Vec<File>) -> io::Result<()> {
        publish(&self.staging, &self.results, &self.parts, self.replaces, directories)
    }

    /// What the row of the attempt says of it. What gave way to it is removed.
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) fn done(self) -> io::Result<StoredResult> {
        if self.replaces {
            remove_dir(&replaced(&self.staging))?;
        }
        let (sha256, bytes) = self.written.ok_or_else(|| io::Error::other("nothing was written"))?;
        Ok(StoredResult { directory: self.parts.join("/"), sha256, bytes })
    }
}

/// Removes an attempt's staging directory, if there is one. What cannot be removed is left for [`clear_staging`].
pub(super) async fn discard(staging: Staging) {
    if let Err(error) = blocking(move || remove_dir(&staging.dir)).await {
        tracing::warn!(%error, "a staging directory could not be removed; the next start does it");
    }
}

/// Removes what attempts of an earlier process left in `staging/`. Call it at start-up, while the lock of the state directory is held and no attempt
/// runs. It gives how many were removed, and blocks.
///
/// # Errors
/// What the disk says, with the path.
pub fn clear_staging(state: &Path) -> io::Result<usize> {
    let dir = state.join("staging");
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(at(&dir))?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(at(&dir))?;
        let path = entry.path();
        let is_dir = entry.file_type().map_err(at(&path))?.is_dir();
        let done = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        done.map_err(at(&path))?;
        removed += 1;
    }
    Ok(removed)
}

/// Whether an error says that there is no room, on the disk or within a quota.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Room that is left for this program where a directory lies, in bytes.
///
/// # Errors
/// What the system says.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A name that is safe as one path component, whatever a peer calls its tool. Different texts stay different: what had to be changed gets a digest.
#[must_use]
pub fn file_name(text: &str) -> String {
    const BYTES_MAX: usize = 100;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let safe = !text.is_empty()
        && text.len() <= 255 - ".sarif".len()
        && text.chars().all(fits)
        && !text.starts_with(['.', '-']);
    if safe {
        return text.to_owned();
    }
    let kept: String = text.chars().map(|c| if fits(c) { c } else { '_' }).take(BYTES_MAX).collect();
    let digest = sha256(text);
    format!("{}-{}", kept.trim_start_matches(['.', '-']), &digest[..12])
}

fn write_all(dir: &Path, mut about: Value, payload: Payload, written: &mut Vec<File>) -> io::Result<(String, u64)> {
    let mut files = Vec::new();
    let mut total = 0;
    let mut list = |name: String, bytes: u64, sha256: String| {
        total += bytes;
        files.push(json!({"name": name, "bytes": bytes, "sha256": sha256}));
    };
    let log = dir.join("log.txt");
    if let Some(mut file) = payload.log.file {
        file.write_all(&payload.log.rest).map_err(at(&log))?;
        written.push(file);
        let (bytes, sha256) = digest_file(&log)?;
        list("log.txt".into(), bytes, sha256);
    } else if !payload.log.rest.is_empty() {
        list("log.txt".into(), payload.log.rest.len() as u64, write(&log, &payload.log.rest, written)?);
    }
    if let Some((name, bytes)) = payload.result {
        list(name.into(), bytes.len() as u64, write(&dir.join(name), &bytes, written)?);
    }
    if !payload.sarif.is_empty() {
        let inner = dir.join("sarif");
        create_dir(&inner)?;
        for (tool, document) in payload.sarif {
            let name = format!("{}.sarif", file_name(&tool));
            let text = serde_json::to_vec(&document)?;
            list(format!("sarif/{name}"), text.len() as u64, write(&inner.join(&name), &text, written)?);
        }
        written.push(open(&inner)?);
    }
    about["files"] = files.into();
    let manifest = serde_json::to_vec_pretty(&about)?;
    let sha256 = write(&dir.join("manifest.json"), &manifest, written)?;
    written.push(open(dir)?);
    Ok((sha256, total + manifest.len() as u64))
}

fn publish(
    staging: &Path,
    results: &Path,
    parts: &[String; 3],
    replaces: bool,
    directories: &mut Vec<File>,
) -> io::Result<()> {
    let [app, task, number] = parts;
    let place = results.join(app).join(task);
    let target = place.join(number);
    let is_there = target.symlink_metadata().is_ok();
    if is_there && replaces {
        // Below staging, where the next start clears it if this process dies here.
        std::fs::rename(&target, replaced(staging)).map_err(at(&target))?;
    } else if is_there {
        let text = format!("{} is already there, and results are never overwritten", target.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let mut fresh: Vec<&Path> = Vec::new();
    let mut missing: &Path = &place;
    while !missing.exists() {
        let Some(parent) = missing.parent() else { break };
        fresh.push(parent);
        missing = parent;
    }
    create_dir(&place)?;
    std::fs::rename(staging, &target).map_err(at(&target))?;
    for directory in std::iter::once(place.as_path()).chain(fresh) {
        directories.push(open(directory)?);
    }
    Ok(())
}

/// Where a result goes that gives way to another one of the same attempt.
fn replaced(staging: &Path) -> PathBuf {
    staging.with_extension("replaced")
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(dir)(error)),
        _ => Ok(()),
    }
}

fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(at(path))
}

fn write(path: &Path, bytes: &[u8], written: &mut Vec<File>) -> io::Result<String> {
    let mut file = create_file(path)?;
    file.write_all(bytes).map_err(at(path))?;
    written.push(file);
    Ok(sha256(bytes))
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(at(path))
}

fn digest_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => return Ok((total, hex(&digest.finalize()))),
            n => {
                digest.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}

/// Puts the path into a disk error's text.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_peer_leaves_the_directory() {
        for odd in ["../../etc/passwd", "..", ".", "", "a/b", "-rf", ".hidden", "a\0b", &"x".repeat(5000), "ä"] {
            let name = file_name(odd);
            assert!(
                !name.starts_with(['.']) && !name.contains('/') && !name.contains('\0') && name.len() < 200,
                "{name}"
            );
        }
        assert_eq!(file_name("pip-audit"), "pip-audit");
        assert_ne!(file_name("a/b"), file_name("a_b"));
        assert_ne!(file_name("a/b"), file_name("a:b"));
    }

    #[test]
    fn staging_is_cleared_and_a_missing_one_is_fine() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(clear_staging(state.path()).unwrap(), 0);
        std::fs::create_dir_all(state.path().join("staging/t-1/sarif")).unwrap();
        std::fs::write(state.path().join("staging/stray"), "x").unwrap();
        assert_eq!(clear_staging(state.path()).unwrap(), 2);
        assert_eq!(clear_staging(state.path()).unwrap(), 0);
    }
}
