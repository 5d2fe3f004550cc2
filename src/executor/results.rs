//! Results on disk. Everything is written below `staging/`, synced, and becomes visible by one rename to `results/<app>/<task>/<attempt>/`, so a row
//! never points to half a result, even after a power cut.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_tungstenite::tungstenite::Bytes;

use crate::resource::attempt::{Assignment, AttemptId, StoredResult, Target};
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

    /// Begins to make the log file. It is made whether or not anybody waits for it.
    pub(super) fn create_log(&self) -> tokio::task::JoinHandle<io::Result<tokio::fs::File>> {
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || {
            create_dir(&dir)?;
            create_file(&dir.join("log.txt")).map(tokio::fs::File::from_std)
        })
    }
}

/// What an attempt leaves.
pub(super) struct Payload {
    /// The result's file name and bytes, as received.
    pub(super) result: Option<(&'static str, Bytes)>,
    /// One SARIF document for each tool.
    pub(super) sarif: Vec<(String, Value)>,
    /// The written log.
    pub(super) log: Option<File>,
}

/// Stores an attempt's files and says where. A directory of that name that is already there is an error: results are never overwritten. Only what a
/// controller stored that died before it wrote the row of the attempt gives way, when that attempt was taken up again.
///
/// # Errors
/// What the disk says, with the path.
pub(super) async fn store(
    state: &Path,
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
    let (results, resumed) = (state.join("results"), assignment.resumed);
    blocking(move || {
        create_dir(&staging.dir)?;
        let (sha256, bytes) = write_all(&staging.dir, about, payload)?;
        publish(&staging.dir, &results, &parts, resumed)?;
        Ok(StoredResult { directory: parts.join("/"), sha256, bytes })
    })
    .await
}

/// Removes an attempt's staging directory, if there is one. What cannot be removed is left for [`clear_staging`].
pub(super) async fn discard(staging: Staging) {
    let removed = blocking(move || match std::fs::remove_dir_all(&staging.dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&staging.dir)(error)),
        _ => Ok(()),
    });
    if let Err(error) = removed.await {
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

/// What is to be said when the state directory has less room than this; `None` also when that cannot be found out.
pub(super) async fn lacks_room(state: &Path, bytes_min: u64) -> Option<String> {
    let dir = state.to_owned();
    let free = blocking(move || free_bytes(&dir)).await.ok()?;
    let mib = |bytes: u64| bytes >> 20;
    (free < bytes_min).then(|| {
        let (dir, free, wanted) = (state.display(), mib(free), mib(bytes_min));
        format!("nothing was begun: only {free} MiB are free in {dir}, and a result may need {wanted}; make room there")
    })
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
    let digest = hex(&Sha256::digest(text.as_bytes()));
    format!("{}-{}", kept.trim_start_matches(['.', '-']), &digest[..12])
}

fn write_all(dir: &Path, mut about: Value, payload: Payload) -> io::Result<(String, u64)> {
    let mut files = Vec::new();
    let mut total = 0;
    let mut list = |name: String, bytes: u64, sha256: String| {
        total += bytes;
        files.push(json!({"name": name, "bytes": bytes, "sha256": sha256}));
    };
    if let Some(log) = payload.log {
        log.sync_all().map_err(at(&dir.join("log.txt")))?;
        let (bytes, sha256) = digest_file(&dir.join("log.txt"))?;
        list("log.txt".into(), bytes, sha256);
    }
    if let Some((name, bytes)) = payload.result {
        list(name.into(), bytes.len() as u64, write_synced(&dir.join(name), &bytes)?);
    }
    if !payload.sarif.is_empty() {
        let inner = dir.join("sarif");
        create_dir(&inner)?;
        for (tool, document) in payload.sarif {
            let name = format!("{}.sarif", file_name(&tool));
            let text = serde_json::to_vec(&document)?;
            list(format!("sarif/{name}"), text.len() as u64, write_synced(&inner.join(&name), &text)?);
        }
        sync_dir(&inner)?;
    }
    about["files"] = files.into();
    let manifest = serde_json::to_vec_pretty(&about)?;
    let sha256 = write_synced(&dir.join("manifest.json"), &manifest)?;
    sync_dir(dir)?;
    Ok((sha256, total + manifest.len() as u64))
}

/// Renames the staging directory to its place below `results`, and makes its name durable with those of the directories above it.
fn publish(staging: &Path, results: &Path, parts: &[String; 3], replaces: bool) -> io::Result<()> {
    let [app, task, number] = parts;
    let place = results.join(app).join(task);
    let target = place.join(number);
    let aside = staging.with_extension("replaced");
    let is_there = target.symlink_metadata().is_ok();
    if is_there && replaces {
        // Below staging, where the next start clears it if this process dies here.
        std::fs::rename(&target, &aside).map_err(at(&target))?;
    } else if is_there {
        let text = format!("{} is already there, and results are never overwritten", target.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    create_dir(&place)?;
    std::fs::rename(staging, &target).map_err(at(&target))?;
    // Every level, also where it was there before: who made it, a moment ago or before it was killed, may not have come to this.
    place.ancestors().take_while(|dir| dir.starts_with(results)).chain(results.parent()).try_for_each(sync_dir)?;
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&aside)(error)),
        _ => Ok(()),
    }
}

fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(at(path))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<String> {
    let mut file = create_file(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(path))?;
    Ok(hex(&Sha256::digest(bytes)))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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
