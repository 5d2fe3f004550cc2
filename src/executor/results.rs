//! Results on disk: where they lie, what is in them, and what one is made of. Everything is written below `staging/`, synced, and becomes visible by
//! one rename to `results/<app>/<task>/<attempt>/`, which is synced as well, so a row never points to half a result, even after a power cut.
//! One such way is `sheet.rs`; what is synced when is the business of `press.rs`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::sync::Semaphore;

use super::press::Press;
use super::sheet::{Payload, Sheet};
use crate::resource::attempt::{Assignment, AttemptId, StoredResult, Target};
use crate::resource::digest::sha256;
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

/// Results that are written ahead and not durable yet, at most: each of them holds its files open.
static AHEAD: Semaphore = Semaphore::const_new(64);

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
    let is_small = payload.is_small();
    let mut sheet = Sheet::new(state, staging.dir, parts, assignment.resumed, (about, payload));
    // It is never closed.
    let _turn = if is_small { None } else { AHEAD.acquire().await.ok() };
    if !is_small {
        sheet = blocking(move || sheet.write_ahead()).await?;
    }
    press.print(sheet).await
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

/// Removes a directory with all that is in it; one that is not there is fine.
///
/// # Errors
/// What the disk says, with the path.
pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(dir)(error)),
        _ => Ok(()),
    }
}

/// Makes a directory that nobody else may look into, and those above it.
///
/// # Errors
/// What the disk says, with the path.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))
}

/// Makes an empty file that nobody else may read.
///
/// # Errors
/// What the disk says, with the path.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(at(path))
}

/// Puts the path into a disk error's text.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
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
