//! Looks through results/ for directories that may belong to nobody: one for each attempt, `APP/TASK/NUMBER`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Directory;
use crate::resource::time::Timestamp;
use crate::store::stray::ResultDirectory;

/// Bytes of a result's manifest.json that are read at most.
const MANIFEST_MAX: u64 = 4 << 20;

/// Directories of results that come after one in the order of their names, task by task, until at least this many were found.
///
/// A directory that vanishes while it is read is none. What is not a directory, or is no number, is left alone: nobody here made it.
///
/// # Errors
/// What the disk says.
pub(super) fn find_results(results: &Path, after: Option<&str>, enough: usize) -> io::Result<Vec<ResultDirectory>> {
    let mut found = Vec::new();
    let (after_app, after_task) = after.and_then(|path| path.split_once('/')).unwrap_or_default();
    for app in names(results)? {
        if app.as_str() < after_app {
            continue;
        }
        for task in names(&results.join(&app))? {
            if app == after_app && task.as_str() <= after_task {
                continue;
            }
            let place = results.join(&app).join(&task);
            for number in names(&place)?.into_iter().filter(|name| name.parse::<u32>().is_ok()) {
                found.extend(look_at(results, &format!("{app}/{task}/{number}")));
            }
            if found.len() >= enough {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// One directory of results; `None` when it is not there.
pub(super) fn look_at(results: &Path, path: &str) -> Option<ResultDirectory> {
    let metadata = results.join(path).symlink_metadata().ok()?;
    let changed_at = metadata.modified().ok().and_then(timestamp).unwrap_or(Timestamp(0));
    Some(ResultDirectory { path: path.to_owned(), task_uid: None, changed_at })
}

/// What a result's manifest says of whose it is.
pub(super) fn task_uid(results: &Path, path: &str) -> Option<String> {
    use io::Read as _;
    let file = Directory::open(results).ok()?.open_file(&Path::new(path).join("manifest.json")).ok()?;
    let about: serde_json::Value = serde_json::from_reader(file.take(MANIFEST_MAX)).ok()?;
    about["taskUid"].as_str().map(str::to_owned)
}

/// Removes directories of results, and those above them that are empty then. Gives the ones that are gone, also after a power cut: nobody
/// will know them any more, and their names may be given again.
pub(super) fn remove_all(results: &Path, paths: Vec<String>) -> Vec<String> {
    let (mut gone, mut changed) = (Vec::new(), BTreeSet::new());
    for path in paths {
        match remove(results, &path) {
            Ok(above) => {
                tracing::debug!(path, "removed");
                changed.insert(above);
                gone.push(path);
            }
            Err(error) => tracing::warn!(%error, "results/{path} could not be removed; it will be tried again"),
        }
    }
    match changed.iter().try_for_each(|above| sync(above)) {
        Ok(()) => gone,
        Err(error) => {
            tracing::warn!(%error, "results that were removed may come back; it will be tried again");
            Vec::new()
        }
    }
}

/// Makes durable what was removed from a directory. One that was removed itself since then is gone from the one above it.
fn sync(directory: &Path) -> io::Result<()> {
    match fs::File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// Removes a directory of results, and those above it that are empty then. Gives the lowest one that is left, which has to be synced.
///
/// # Errors
/// What the disk says; one that is not there is gone already.
fn remove(results: &Path, path: &str) -> io::Result<PathBuf> {
    let is_plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !is_plain {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} is not below results/")));
    }
    match Directory::open(results) {
        // All of it is gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(results.parent().unwrap_or(results).to_owned());
        }
        // Never through a link, whoever put one there.
        opened => opened?.remove_tree(Path::new(path))?,
    }
    for above in results.join(path).ancestors().skip(1).take_while(|above| *above != results) {
        // Fails for one that is not empty, as it should.
        match fs::remove_dir(above) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Ok(above.to_owned()),
            _ => {}
        }
    }
    Ok(results.to_owned())
}

/// The names of directories in a directory, in order; none for one that is not there.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn timestamp(time: std::time::SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(paths: &[&str]) -> tempfile::TempDir {
        let results = tempfile::tempdir().unwrap();
        for path in paths {
            fs::create_dir_all(results.path().join(path)).unwrap();
        }
        results
    }

    fn paths(found: Vec<ResultDirectory>) -> Vec<String> {
        found.into_iter().map(|directory| directory.path).collect()
    }

    #[test]
    fn results_are_found_in_slices_that_end_with_a_whole_task() {
        let results = results(&["a/t/1", "a/t/2", "a/u/1", "b/t/1", "b/t/notes"]);
        fs::write(results.path().join("a/file"), "").unwrap();
        let first = paths(find_results(results.path(), None, 1).unwrap());
        assert_eq!(first, ["a/t/1", "a/t/2"]);
        assert_eq!(paths(find_results(results.path(), Some("a/t/2"), 2).unwrap()), ["a/u/1", "b/t/1"]);
        assert_eq!(paths(find_results(results.path(), Some("b/t/1"), 9).unwrap()), [""; 0]);
        assert_eq!(paths(find_results(&results.path().join("none"), None, 9).unwrap()), [""; 0]);
    }

    #[test]
    fn removing_takes_what_is_empty_then_and_nothing_else() {
        let results = results(&["a/t/1", "a/t/2", "b/t/1", "d/t/1", "d/t/2"]);
        // What is above the first is empty, and goes, with the second.
        let all_of_d = ["d/t/1", "d/t/2"].map(str::to_owned).to_vec();
        assert_eq!(remove_all(results.path(), all_of_d.clone()), all_of_d);
        remove(results.path(), "a/t/1").unwrap();
        remove(results.path(), "b/t/1").unwrap();
        remove(results.path(), "b/t/1").unwrap();
        assert!(results.path().join("a/t/2").is_dir() && !results.path().join("b").exists());
        let some = ["a/t/2", "../x", "c/t/1"].map(str::to_owned).to_vec();
        assert_eq!(remove_all(results.path(), some), ["a/t/2", "c/t/1"]);
        assert_eq!(results.path().read_dir().unwrap().count(), 0);
        for outside in ["../x", "a/../../x", "", "a//b"] {
            assert!(remove(results.path(), outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn a_link_below_results_is_not_followed() {
        let elsewhere = results(&["t/1"]);
        let results = results(&["b/t/1"]);
        std::os::unix::fs::symlink(elsewhere.path(), results.path().join("a")).unwrap();
        assert_eq!(paths(find_results(results.path(), None, 9).unwrap()), ["b/t/1"]);
        // Nor when the row is older than the link.
        assert!(remove(results.path(), "a/t/1").is_err());
        assert!(elsewhere.path().join("t/1").is_dir());
        std::os::unix::fs::symlink(elsewhere.path(), results.path().join("b/t/2")).unwrap();
        // A link in the place of the directory itself goes as a link.
        remove(results.path(), "b/t/2").unwrap();
        assert!(!results.path().join("b/t/2").exists() && elsewhere.path().join("t/1").is_dir());
    }
}
