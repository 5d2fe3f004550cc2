//! Directories that a power cut does not take away. What a file holds is durable once the file is synced; its name only once the directory is that it
//! stands in, and so on up to one that was there before.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes the names in a directory durable.
///
/// # Errors
/// What the disk says.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory).and_then(|directory| directory.sync_all())
}

/// Makes a directory and whatever is missing above it, and makes their names durable. The name of one that is there already is made durable as
/// well: who made it may have been killed before it came to that.
///
/// # Errors
/// What the disk says.
pub fn make(directory: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    let above = missing.into_iter().chain([directory]).filter_map(Path::parent);
    above.map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent }).try_for_each(sync)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn directories_are_made_with_their_mode_and_one_that_is_there_is_fine() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b");
        for _ in 0..2 {
            make(&deep, 0o700).unwrap();
            assert_eq!(deep.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
        std::fs::write(place.path().join("file"), "").unwrap();
        assert!(make(&place.path().join("file/a"), 0o700).is_err());
    }
}
