//! The lock on a state directory: an OS lock on an open file, which vanishes with the process however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::StoreError;
use super::durable::make;

/// How long a lock whose owner is dead is waited for.
const LET_GO_MAX: Duration = Duration::from_secs(5);

/// Ownership of a state directory for as long as it lives.
#[derive(Debug)]
pub struct StateLock {
    directory: PathBuf,
    file: File,
}

impl StateLock {
    /// Creates the state directory if need be, closes it to others (mode 0700), and locks it. An exchange of the state that was interrupted is finished.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it; [`StoreError::Io`] when it cannot be made.
    pub fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: directory.to_owned(), source };
        let path = directory.join("lock");
        // Before anything lies in it: what is synced in a directory whose own name is lost is lost with it.
        if !path.exists() {
            make(directory, 0o700).map_err(io)?;
        }
        close_to_others(directory).map_err(io)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            // The number is for people, and for a guess at how long to wait; the lock itself is what counts.
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let is_alive = pid.trim().parse().ok().and_then(Pid::from_raw).is_none_or(is_alive);
            if is_alive || !is_let_go(&file) {
                let holder = if known { format!(" (process {})", pid.trim()) } else { String::new() };
                return Err(StoreError::Locked { path: directory.to_owned(), holder });
            }
        }
        let write_pid =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        write_pid.map_err(|source| StoreError::Io { path, source })?;
        let lock = Self { directory: directory.to_owned(), file };
        super::exchange::finish_pending(directory)?;
        Ok(lock)
    }

    /// Who owns a state directory now: its process number as far as it wrote one; `None` when nobody does. Nothing is made or changed.
    #[must_use]
    pub fn holder(directory: &Path) -> Option<String> {
        let mut file = File::open(directory.join("lock")).ok()?;
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            let _ = flock(&file, FlockOperation::Unlock);
            return None;
        }
        let mut pid = String::new();
        let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
        Some(if known { pid.trim().to_owned() } else { "unknown".to_owned() })
    }

    /// The locked directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing alone would not do it while a program that is being started has the open file; see `is_let_go`.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Closes a directory to others, which everything in it relies on. One that many share is nobody's to close.
fn close_to_others(directory: &Path) -> io::Result<()> {
    let mode = fs::metadata(directory)?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let refuse = |why: &str| {
        let text =
            format!("others can reach it (its mode is {mode:o}), and {why}; the state needs a directory of its own");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    };
    if mode & 0o1000 != 0 {
        return refuse("it is one that many users share");
    }
    match fs::set_permissions(directory, fs::Permissions::from_mode(0o700)) {
        Ok(()) => {
            tracing::warn!(state = %directory.display(), "others could reach the state directory (mode {mode:o}); it is closed to them now");
            Ok(())
        }
        Err(error) => refuse(&format!("that cannot be changed: {error}")),
    }
}

fn is_alive(pid: Pid) -> bool {
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

/// Waits for a lock whose owner is dead, and says whether it came. A program that was being started when its controller was killed has the
/// controller's open files until its `exec` is done: only moments, but more than none.
fn is_let_go(file: &File) -> bool {
    let Ok(file) = file.try_clone() else { return false };
    let (locked, waiting) = channel();
    // It waits for the kernel to say so. Should it be given up, it ends with the process, which then ends with an error.
    let waiter = std::thread::Builder::new().name("state-lock".into()).spawn(move || {
        let got = flock(&file, FlockOperation::LockExclusive).is_ok();
        // Nobody listens once it was given up.
        let _ = locked.send(got);
    });
    waiter.is_ok() && waiting.recv_timeout(LET_GO_MAX).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_dead_owner_was_just_starting_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let path = directory.path().join("lock");
        fs::write(&path, format!("{}\n", gone.id())).unwrap();
        // A child that has the open file for a moment, as one has between fork and exec.
        let file = File::open(&path).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        let mut child = Command::new("sleep").arg("0.2").stdin(Stdio::from(file)).spawn().unwrap();
        StateLock::acquire(directory.path()).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_directory_that_was_open_to_others_is_closed_and_a_shared_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        for open in [0o755, 0o770, 0o711] {
            mode(open);
            drop(StateLock::acquire(directory.path()).unwrap());
            let found = fs::metadata(directory.path()).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, 0o700, "{open:o}");
        }
        mode(0o1777);
        let refused = StateLock::acquire(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("a directory of its own"), "{refused}");
        assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateLock::acquire(directory.path()).unwrap();
        let refused = StateLock::acquire(directory.path()).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Locked { holder, .. } if holder.contains(&std::process::id().to_string()))
        );
        drop(first);
        StateLock::acquire(directory.path()).unwrap();
    }
}
