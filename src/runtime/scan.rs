//! Reading the manifests directory: what is there, and what the files say. Blocking; to be called on a thread that may wait.

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Directory, leads_out};
use crate::manifest::{Bounds, Document, FILE_BYTES_MAX, Parsed, Place, Problem, Severity, parse};
use crate::plan::mirror::Declared;
use crate::plan::owner::owner;
use crate::resource::digest::sha256;
use crate::resource::kind::Kind;
use crate::resource::provenance::Provenance;
use crate::store::{FileStat, ScannedFile};

/// Files of one directory tree at most; more are a mistake, such as a data directory mounted in its place.
const FILES_MAX: usize = 1_000_000;

/// Directories below each other at most.
const DEPTH_MAX: usize = 32;

/// Below so many files, one thread reads them: starting more would take longer.
const FILES_PER_THREAD_MIN: usize = 16;

/// What is there.
#[derive(Debug, Default)]
pub struct Listing {
    /// Paths relative to the directory, with their stats, sorted.
    pub files: Vec<(String, FileStat)>,
    /// Files that are there and are not read, each with what is wrong with it.
    pub refused: Vec<Problem>,
    /// Why it is not complete, if so. Then nothing may be taken as gone.
    pub incomplete: Option<String>,
}

/// A file that was read and parsed.
#[derive(Debug)]
pub struct ReadFile {
    /// The file as it was read.
    pub file: ScannedFile,
    /// What it says.
    pub parsed: Parsed,
    /// What it declares.
    pub declared: Vec<Arc<Declared>>,
}

/// Whether a path is a manifest by its name: `*.yaml` or `*.yml`, not hidden (editors and atomic writes use hidden names on the way).
#[must_use]
pub fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Lists the manifests below a directory. Hidden directories, such as `.git`, are left out; links are followed only to files inside.
#[must_use]
pub fn list(root: &Path) -> Listing {
    let mut listing = Listing::default();
    match root.canonicalize() {
        Ok(real) => walk(&real, &real, 0, &mut listing),
        Err(error) => listing.incomplete = Some(format!("{}: {error}", root.display())),
    }
    listing.files.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    listing
}

fn walk(root: &Path, directory: &Path, depth: usize, listing: &mut Listing) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return give_up(listing, directory, &error.to_string()),
    };
    if depth > DEPTH_MAX {
        return give_up(listing, directory, "more than 32 directories below each other");
    }
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return give_up(listing, directory, &error.to_string()),
        };
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(root, &path, depth + 1, listing),
            Ok(_) if is_manifest(&path) => add(root, &path, &entry, listing),
            Ok(kind) if kind.is_symlink() && path.is_dir() => listing.refused.push(linked(relative(root, &path))),
            Ok(_) => {}
            Err(error) => give_up(listing, &path, &error.to_string()),
        }
    }
}

fn add(root: &Path, path: &Path, entry: &fs::DirEntry, listing: &mut Listing) {
    if listing.files.len() >= FILES_MAX {
        return give_up(listing, path, "more than a million manifests");
    }
    // Directories are walked as they are, so only a link can lead elsewhere.
    let found = match entry.metadata() {
        Ok(metadata) if metadata.is_symlink() => inside(root, path).and_then(fs::metadata),
        found => found,
    };
    match found {
        Ok(metadata) if metadata.is_file() => listing.files.push((relative(root, path), stat(&metadata))),
        // A directory or a device with a manifest's name is none.
        Ok(_) => {}
        // Gone between the listing and the look: the next event or scan tells.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) if is_link_out(&error) => listing.refused.push(refusal(relative(root, path))),
        Err(error) => give_up(listing, path, &error.to_string()),
    }
}

/// The real path of a file, if it lies inside the directory.
fn inside(root: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let real = path.canonicalize()?;
    if real.starts_with(root) {
        return Ok(real);
    }
    Err(std::io::Error::other(LinkOut))
}

/// The file is a link that leads out of the manifests directory.
#[derive(Debug, thiserror::Error)]
#[error("is a link that leaves the manifests directory; put the file itself there")]
struct LinkOut;

fn is_link_out(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<LinkOut>())
}

/// One file's fault, and no other's: the rest of the directory is mirrored as always.
fn refusal(path: String) -> Problem {
    Problem {
        file: path,
        place: Place { line: 1, column: 1, source_column: 1, ..Place::default() },
        severity: Severity::Error,
        code: "link-out".into(),
        message: "this is a link that leaves the manifests directory; it is not followed".into(),
        help: Some("put the file itself there".into()),
    }
}

/// A directory that is a link: nobody would miss its manifests otherwise.
fn linked(path: String) -> Problem {
    Problem {
        severity: Severity::Warning,
        code: "linked-directory".into(),
        message: "this is a link to a directory; links to directories are not followed, so no manifest in it is read"
            .into(),
        help: Some("put the directory itself there, or mount it".into()),
        ..refusal(path)
    }
}

fn give_up(listing: &mut Listing, path: &Path, why: &str) {
    listing.incomplete.get_or_insert(format!("{}: {why}", path.display()));
}

/// A path below the root as a label with `/`.
#[must_use]
pub fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn stat(metadata: &fs::Metadata) -> FileStat {
    FileStat {
        size: metadata.len(),
        mtime_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        inode: metadata.ino(),
    }
}

/// How the files that are there differ from those that were read before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// New ones, those that may have changed, and those that are to be read again; sorted.
    pub changed: Vec<String>,
    /// Those that are there no longer.
    pub gone: HashSet<String>,
}

/// Compares what was read before with what is there, both sorted by path. `contested` are read again in any case, and what is `refused` is there,
/// though it is not read.
#[must_use]
pub fn compare(
    known: &[(String, FileStat)],
    files: &[(String, FileStat)],
    contested: &HashSet<String>,
    refused: &[Problem],
) -> Compared {
    let mut compared = Compared::default();
    let is_there = |path: &str| refused.iter().any(|problem| problem.file == path);
    let mut known = known.iter().peekable();
    let mut lost = |(path, _): &(String, FileStat)| {
        if !is_there(path) {
            compared.gone.insert(path.clone());
        }
    };
    for (path, stat) in files {
        while let Some(before) = known.next_if(|(before, _)| before < path) {
            lost(before);
        }
        let before = known.next_if(|(before, _)| before == path);
        if before.is_none_or(|(_, before)| before != stat) || contested.contains(path) {
            compared.changed.push(path.clone());
        }
    }
    known.for_each(lost);
    compared
}

/// Reads and parses files below a directory, on all cores when there are many. A file that vanished meanwhile is left out; one that
/// cannot be read is told in `failed`.
#[must_use]
pub fn read_all(
    root: &Path,
    paths: &[String],
    bounds: Bounds<'_>,
    commit: Option<&String>,
    failed: &mut Vec<String>,
) -> Vec<ReadFile> {
    let root = match Directory::open(root) {
        Ok(root) => root,
        // Gone meanwhile, with all that was in it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            failed.push(format!("{}: {error}", root.display()));
            return Vec::new();
        }
    };
    let threads = match paths.len() / FILES_PER_THREAD_MIN {
        // Asking how many there are takes longer than reading one file.
        few @ 0..=1 => few,
        most => std::thread::available_parallelism().map_or(1, usize::from).min(most),
    };
    let read_some = |paths: &[String]| -> Vec<std::io::Result<Option<ReadFile>>> {
        // A bug harms one file, of which is then only known that it is there.
        let read = |path: &String| {
            catch_unwind(AssertUnwindSafe(|| read_one(&root, path, bounds, commit))).unwrap_or_else(|_| {
                Err(std::io::Error::other(format!("{path}: reading it panicked; this is a bug, the log says more")))
            })
        };
        paths.iter().map(read).collect()
    };
    let results = if threads <= 1 {
        read_some(paths)
    } else {
        let size = paths.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let workers: Vec<_> = paths.chunks(size).map(|part| scope.spawn(|| read_some(part))).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        })
    };
    let mut files = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(file) => files.extend(file),
            Err(error) => failed.push(error.to_string()),
        }
    }
    files
}

fn read_one(
    root: &Directory,
    path: &str,
    bounds: Bounds<'_>,
    commit: Option<&String>,
) -> std::io::Result<Option<ReadFile>> {
    let name = |error: std::io::Error| std::io::Error::new(error.kind(), format!("{path}: {error}"));
    let mut file = match root.open_linked(Path::new(path)) {
        Ok(file) => file,
        // Gone meanwhile, or told by the listing; what has become a link out, or a pipe, since the listing is told by the next one.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) || leads_out(&error) => {
            return Ok(None);
        }
        Err(error) => return Err(name(error)),
    };
    // The stat is of the open file and from before the reading: a later change gives another stat.
    let metadata = file.metadata().map_err(name)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).min(FILE_BYTES_MAX + 1));
    // One byte more than is allowed, so that the parser sees that there is more.
    file.by_ref().take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(name)?;
    let digest = sha256(&bytes);
    let parsed = parse(path, &bytes, bounds);
    let file = ScannedFile { path: path.to_owned(), stat: stat(&metadata), digest };
    // What is not UTF-8 declares nothing.
    let declared = declared(&file, &parsed, std::str::from_utf8(&bytes).unwrap_or_default(), commit);
    Ok(Some(ReadFile { file, parsed, declared }))
}

/// What a file declares, as the mirror keeps it.
fn declared(file: &ScannedFile, parsed: &Parsed, text: &str, commit: Option<&String>) -> Vec<Arc<Declared>> {
    let tasks = parsed.documents.iter().filter(|document| document.object.kind() == Kind::Task).count();
    let declare = |document: &Document| {
        let provenance = Provenance {
            file: file.path.clone(),
            line: document.line,
            digest: file.digest.clone(),
            commit: commit.cloned(),
        };
        let owner = owner(&document.object.metadata.labels, &file.path, tasks);
        let manifest = text.get(document.body.clone()).unwrap_or_default().to_owned();
        Arc::new(Declared::new(Arc::clone(&document.object), provenance, owner, manifest))
    };
    parsed.documents.iter().map(declare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listing: &Listing) -> Vec<&str> {
        listing.files.iter().map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn manifests_are_found_in_all_directories_but_hidden_ones() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["b.yaml", "a/c.yml", ".git/x.yaml", ".hidden.yaml", "notes.txt", "a/b/d.yaml"] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let listing = list(directory.path());
        assert_eq!(names(&listing), ["a/b/d.yaml", "a/c.yml", "b.yaml"]);
        assert_eq!(listing.incomplete, None);
    }

    #[test]
    fn what_is_there_is_compared_with_what_was_read_before() {
        let file = |path: &str, size| (path.to_owned(), FileStat { size, mtime_ns: 0, inode: 0 });
        let all = |paths: &[(&str, u64)]| paths.iter().map(|(path, size)| file(path, *size)).collect::<Vec<_>>();
        let known = all(&[("a", 1), ("b", 1), ("c", 1), ("e", 1), ("f", 1), ("z", 1)]);
        let there = all(&[("0", 1), ("b", 1), ("c", 2), ("d", 1), ("e", 1)]);
        let (contested, refused) = (HashSet::from(["e".to_owned()]), [refusal("f".into())]);
        let compared = compare(&known, &there, &contested, &refused);
        assert_eq!(compared.changed, ["0", "c", "d", "e"]);
        assert_eq!(compared.gone, HashSet::from(["a".to_owned(), "z".to_owned()]));
        assert_eq!(compare(&there, &there, &HashSet::new(), &[]), Compared::default());
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_incomplete_scan() {
        assert!(list(Path::new("/no/such/directory")).incomplete.is_some());
    }

    #[test]
    fn a_link_that_leaves_the_directory_is_its_own_problem_and_nobody_elses() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("x.yaml"), "").unwrap();
        fs::write(inside.path().join("good.yaml"), "").unwrap();
        std::os::unix::fs::symlink(outside.path().join("x.yaml"), inside.path().join("x.yaml")).unwrap();
        let listing = list(inside.path());
        assert_eq!(names(&listing), ["good.yaml"]);
        assert_eq!(listing.incomplete, None);
        assert!(listing.refused[0].file == "x.yaml" && listing.refused[0].message.contains("leaves"));
    }

    #[test]
    fn a_directory_that_is_a_link_is_told_of_and_not_followed() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("x.yaml"), "").unwrap();
        for name in ["team", ".hidden"] {
            std::os::unix::fs::symlink(outside.path(), inside.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", inside.path().join("broken")).unwrap();
        let listing = list(inside.path());
        let told: Vec<_> = listing.refused.iter().map(|problem| (problem.file.as_str(), problem.is_error())).collect();
        assert_eq!((names(&listing), told), (vec![], vec![("team", false)]));
    }

    #[test]
    fn what_has_become_something_else_since_it_was_listed_is_not_read() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("x.yaml"), "secret: of somebody else").unwrap();
        for name in ["link.yaml", "pipe.yaml", "gone.yaml", "good.yaml"] {
            fs::write(inside.path().join(name), "").unwrap();
        }
        let paths: Vec<String> = list(inside.path()).files.into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths.len(), 4);
        for name in ["link.yaml", "pipe.yaml", "gone.yaml"] {
            fs::remove_file(inside.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(outside.path().join("x.yaml"), inside.path().join("link.yaml")).unwrap();
        let pipe = inside.path().join("pipe.yaml");
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe, rustix::fs::Mode::RWXU).unwrap();
        let mut failed = Vec::new();
        let roots = [".".to_owned()];
        let read = read_all(inside.path(), &paths, (&roots).into(), None, &mut failed);
        let read: Vec<&str> = read.iter().map(|file| file.file.path.as_str()).collect();
        assert_eq!((read, failed), (vec!["good.yaml"], Vec::new()));
    }
}
