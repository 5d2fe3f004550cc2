//! A directory for a while, where a copy of the state is tried out: as private as the state itself, whatever the umask is.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

/// Only its owner gets in.
const MODE: u32 = 0o700;

/// A new directory, which is removed when this is dropped.
///
/// # Errors
/// What the disk says, with the path.
pub fn scratch() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("manifestd-").permissions(Permissions::from_mode(MODE)).tempdir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_gets_into_a_scratch_directory() {
        let scratch = scratch().unwrap();
        // Without a word about it the umask decides, which mostly lets everybody in.
        assert_eq!(scratch.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }
}
