//! The lock on a state directory: an OS lock on an open file, which vanishes with the process however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// Ownership of a state directory for as long as it lives.
#[derive(Debug)]
pub struct StateLock {
    directory: PathBuf,
    _file: File,
}

impl StateLock {
    /// Creates the state directory if need be (mode 0700) and locks it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it; [`StoreError::Io`] when it cannot be made.
    pub fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            // The number is for people only; the lock itself is what counts.
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let holder = if known { format!(" (process {})", pid.trim()) } else { String::new() };
            return Err(StoreError::Locked { path: directory.to_owned(), holder });
        }
        let write_pid =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        write_pid.map_err(|source| StoreError::Io { path, source })?;
        Ok(Self { directory: directory.to_owned(), _file: file })
    }

    /// The locked directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
