//! A directory that is held open. What is read below it is what lies in it, even when its path leads elsewhere by then.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

/// How something is opened to see where it lies, for which it need not be readable.
#[cfg(target_os = "linux")]
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const PLACE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// How a directory is opened: as a place to start from.
const DIRECTORY: OFlags = PLACE.union(OFlags::DIRECTORY);

/// How a file is opened that should be an ordinary one: a pipe or a device in its place must not be waited for, nor become a terminal.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

/// What was opened lies outside of where it must lie.
#[derive(Debug, thiserror::Error)]
#[error("it leads out of {}", .0.display())]
struct LeadsOut(PathBuf);

/// Whether an error says that a path led out of its root.
#[must_use]
pub fn leads_out(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<LeadsOut>())
}

impl Directory {
    /// Opens a directory; links are followed.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = openat(CWD, path, DIRECTORY, Mode::empty())?;
        let path = place_of(&handle, path)?;
        Ok(Self { handle, path })
    }

    /// Opens the directory at `path`, which must lie in `root` or be it; links are followed, and what counts is where they lead.
    ///
    /// # Errors
    /// What the system says; one that [`leads_out`] knows when it lies elsewhere.
    pub fn inside(root: &Path, path: &Path) -> io::Result<Self> {
        let (root, found) = (Self::open(root)?, Self::open(path)?);
        if found.path.starts_with(&root.path) { Ok(found) } else { Err(io::Error::other(LeadsOut(root.path))) }
    }

    /// Where it lay when it was opened, with links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system says of it.
    ///
    /// # Errors
    /// The same.
    pub fn metadata(&self) -> io::Result<Metadata> {
        File::from(self.handle.try_clone()?).metadata()
    }

    /// A name of the open directory itself, wherever it lies by now. It is good in this process, and in a program that it starts until that
    /// program itself begins, as long as this value lives.
    #[must_use]
    pub fn held(&self) -> PathBuf {
        if cfg!(target_os = "linux") {
            return PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()));
        }
        self.path.clone()
    }

    /// Opens an ordinary file below the directory. No link on the way is followed.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for a path that is not plainly below, or for what is no ordinary file.
    pub fn open_file(&self, below: &Path) -> io::Result<File> {
        let (parent, name) = self.walk(below)?;
        match openat(parent.as_ref().unwrap_or(&self.handle), name, FILE | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(file) => ordinary(File::from(file)),
            Err(Errno::LOOP) => Err(invalid("it is a link, which is not followed".into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the ordinary file at a path from here; links are followed, and it must lie in the directory all the same.
    ///
    /// # Errors
    /// What the system says; one that [`leads_out`] knows when it lies elsewhere; `InvalidInput` when it is no ordinary file.
    pub fn open_linked(&self, path: &Path) -> io::Result<File> {
        let file = File::from(openat(&self.handle, path, FILE, Mode::empty())?);
        let place = place_of(file.as_fd(), &self.path.join(path))?;
        if place.starts_with(&self.path) { ordinary(file) } else { Err(io::Error::other(LeadsOut(self.path.clone()))) }
    }

    /// What a link below the directory says.
    ///
    /// # Errors
    /// As [`Directory::open_file`].
    pub fn read_link(&self, below: &Path) -> io::Result<PathBuf> {
        let (parent, name) = self.walk(below)?;
        let said = readlinkat(parent.as_ref().unwrap_or(&self.handle), name, Vec::new())?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(said.into_bytes())))
    }

    /// Opens a directory below it. No link is followed.
    ///
    /// # Errors
    /// As [`Directory::open_file`].
    pub fn directory(&self, below: &Path) -> io::Result<Self> {
        let (parent, name) = self.walk(below)?;
        let handle =
            openat(parent.as_ref().unwrap_or(&self.handle), name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { handle, path: self.path.join(below) })
    }

    /// Removes a directory below it with everything in it. Links are removed and never followed. One that is not there is gone already.
    ///
    /// # Errors
    /// As [`Directory::open_file`].
    pub fn remove_tree(&self, below: &Path) -> io::Result<()> {
        let parent = match below.parent().filter(|parent| *parent != Path::new("")) {
            None => self.held(),
            Some(parent) => match self.directory(parent) {
                Ok(directory) => return directory.remove_tree(Path::new(last(below)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        // The last step is safe in itself: a link is removed as a link, and below a directory nothing is named by its path.
        match std::fs::remove_dir_all(parent.join(last(below)?)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The directory that holds the last part of a path, if that is not this one, and the last part. One step at a time, none through a link.
    fn walk<'p>(&self, below: &'p Path) -> io::Result<(Option<OwnedFd>, &'p OsStr)> {
        let name = last(below)?;
        let mut at: Option<OwnedFd> = None;
        for part in below.parent().into_iter().flat_map(Path::components) {
            let Component::Normal(part) = part else { return Err(not_below(below)) };
            let from = at.as_ref().map_or(self.handle.as_fd(), AsFd::as_fd);
            at = Some(openat(from, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?);
        }
        Ok((at, name))
    }
}

/// Where a path leads, links resolved, and what is there. It need not be readable.
pub(super) fn located(path: &Path) -> io::Result<(PathBuf, Metadata)> {
    let file = File::from(openat(CWD, path, PLACE, Mode::empty())?);
    Ok((place_of(file.as_fd(), path)?, file.metadata()?))
}

/// Where an open file lies.
fn place_of(handle: impl AsFd, path: &Path) -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return std::fs::read_link(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()));
    }
    std::fs::canonicalize(path)
}

fn ordinary(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(invalid("it is no ordinary file".into())) }
}

fn last(below: &Path) -> io::Result<&OsStr> {
    match below.components().next_back() {
        Some(Component::Normal(name)) => Ok(name),
        _ => Err(not_below(below)),
    }
}

fn not_below(path: &Path) -> io::Error {
    invalid(format!("{} is not plainly below its directory", path.display()))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in [("in/a/b.txt", "inside"), ("out/a/b.txt", "outside"), ("out/keep/x", "kept")] {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        place
    }

    fn text(file: io::Result<File>) -> io::Result<String> {
        let mut text = String::new();
        file?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn what_is_opened_is_read_even_when_its_directory_was_exchanged_for_a_link() {
        let place = place();
        let (inside, outside) = (place.path().join("in"), place.path().join("out"));
        let held = Directory::inside(place.path(), &inside).unwrap();
        fs::rename(&inside, place.path().join("moved")).unwrap();
        symlink(&outside, &inside).unwrap();
        assert_eq!(text(held.open_file(Path::new("a/b.txt"))).unwrap(), "inside");
        assert_eq!(fs::read_to_string(held.held().join("a/b.txt")).unwrap(), "inside");
        assert_eq!(text(held.directory(Path::new("a")).unwrap().open_file(Path::new("b.txt"))).unwrap(), "inside");
        // Below it, too: what was a directory when it was listed may be a link when it is read.
        fs::rename(place.path().join("moved/a"), place.path().join("moved/c")).unwrap();
        symlink(outside.join("a"), place.path().join("moved/a")).unwrap();
        assert!(held.open_file(Path::new("a/b.txt")).is_err() && held.directory(Path::new("a")).is_err());
        symlink(outside.join("a/b.txt"), place.path().join("moved/c/link")).unwrap();
        assert!(held.open_file(Path::new("c/link")).is_err());
        assert_eq!(held.read_link(Path::new("c/link")).unwrap(), outside.join("a/b.txt"));
    }

    #[test]
    fn where_an_open_directory_lies_decides_and_not_how_it_was_named() {
        let place = place();
        let inside = place.path().join("in");
        symlink(place.path().join("out"), inside.join("link")).unwrap();
        symlink(inside.join("a"), inside.join("own")).unwrap();
        for (path, fits) in
            [("a", true), ("own", true), (".", true), ("link", false), ("..", false), ("a/../../out", false)]
        {
            let found = Directory::inside(&inside, &inside.join(path));
            assert_eq!(found.is_ok(), fits, "{path}");
            assert!(found.is_ok() || found.is_err_and(|error| leads_out(&error)), "{path}");
        }
        symlink(place.path().join("out/a/b.txt"), inside.join("f")).unwrap();
        symlink(inside.join("a/b.txt"), inside.join("g")).unwrap();
        let held = Directory::open(&inside).unwrap();
        for bad in ["f", "link/a/b.txt", "../out/a/b.txt", "/etc/passwd"] {
            assert!(held.open_linked(Path::new(bad)).is_err_and(|error| leads_out(&error)), "{bad}");
        }
        for good in ["g", "own/b.txt", "a/b.txt", "../in/a/b.txt"] {
            assert_eq!(text(held.open_linked(Path::new(good))).unwrap(), "inside", "{good}");
        }
    }

    #[test]
    fn neither_a_pipe_nor_a_directory_is_an_ordinary_file_and_nobody_waits_for_one() {
        let place = place();
        let inside = place.path().join("in");
        rustix::fs::mkfifoat(CWD, inside.join("pipe"), Mode::RWXU).unwrap();
        let held = Directory::open(&inside).unwrap();
        for name in ["pipe", "a"] {
            assert_eq!(held.open_file(Path::new(name)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(held.open_linked(Path::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_not_plainly_below_is_refused() {
        let place = place();
        let held = Directory::open(&place.path().join("in")).unwrap();
        for bad in ["", ".", "..", "/etc/passwd", "../out/a/b.txt", "a/../../out/a/b.txt", "a/.."] {
            let bad = Path::new(bad);
            assert!(held.open_file(bad).is_err() && held.directory(bad).is_err(), "{}", bad.display());
            assert!(held.remove_tree(bad).is_err() && held.read_link(bad).is_err(), "{}", bad.display());
        }
        assert!(place.path().join("out/keep/x").exists());
    }

    #[test]
    fn removing_never_goes_through_a_link() {
        let place = place();
        let (inside, outside) = (place.path().join("in"), place.path().join("out"));
        let held = Directory::open(&inside).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        symlink(&outside, inside.join("a/link")).unwrap();
        assert!(held.remove_tree(Path::new("link/keep")).is_err());
        held.remove_tree(Path::new("a")).unwrap();
        held.remove_tree(Path::new("a")).unwrap();
        held.remove_tree(Path::new("gone/for/long")).unwrap();
        assert!(!inside.join("a").exists() && outside.join("keep/x").exists() && outside.join("a/b.txt").exists());
    }
}
