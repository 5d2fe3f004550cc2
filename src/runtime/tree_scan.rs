//! What the files of an app look like, as one digest: sorted paths, kinds, executable bits and contents, as git would see them.
//!
//! Files that the app's own `.gitignore` files name do not count, nor do the folders of version control and the caches that tools leave
//! behind. Links are their target's text and are never followed. There is a whole digest or none.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use ignore::{DirEntry, WalkBuilder};
use sha2::{Digest as _, Sha256};

use crate::disk::{Directory, leads_out};
use crate::plan::tree::SETTLE;
use crate::resource::digest::hex;
use crate::resource::time::Timestamp;

/// First word of what is digested: another one makes every older digest differ.
const FORMAT: &[u8] = b"manifestd-tree-1";

/// Version control, and what tools leave behind when they look at a tree: a run must not look like a change of the app.
const SKIPPED: [&str; 8] =
    [".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox"];

/// The most files of one app. More is hardly one app, and would take memory that others need.
const FILES_MAX: usize = 1_000_000;

/// The most bytes of one app, which are all read whenever one of them changed: some seconds of a fast disk.
const BYTES_MAX: u64 = 8 << 30;

/// The deepest directory that is looked into.
const DEPTH_MAX: usize = 128;

/// Why there is no digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    /// For a person.
    pub(super) why: String,
    /// Whether something changed while it was looked at, so that another look may soon succeed.
    pub(super) moving: bool,
}

/// What a look at a tree came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Digest of the stats of all files: while it is the same, nothing was written.
    pub(super) fingerprint: String,
    /// Digest of the tree, in hex.
    pub(super) digest: String,
    /// When a file changed last.
    pub(super) changed_at: Timestamp,
    /// Whether a file changed so recently that another change could leave the same stats behind.
    pub(super) is_racy: bool,
}

/// One file as a walk finds it.
struct Found {
    path: Vec<u8>,
    sort: Sort,
    stat: Stat,
}

impl Found {
    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    File { executable: bool },
    Link,
    Special(u8),
}

impl Sort {
    fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_file() {
            Self::File { executable: metadata.mode() & 0o100 != 0 }
        } else if kind.is_symlink() {
            Self::Link
        } else if kind.is_fifo() {
            Self::Special(b'p')
        } else if kind.is_socket() {
            Self::Special(b's')
        } else {
            Self::Special(b'd')
        }
    }

    const fn letter(self) -> u8 {
        match self {
            Self::File { executable: false } => b'f',
            Self::File { executable: true } => b'x',
            Self::Link => b'l',
            Self::Special(letter) => letter,
        }
    }
}

struct Stat {
    bytes: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    inode: u64,
}

/// Looks at the files of the app in `path` below `workspace`. Blocking. Contents are read only if the stats differ from those of `known`,
/// or `known` was racy; `began_at` is the time at the call. `stop` is asked again and again whether to give up.
pub(super) fn scan(
    workspace: &Path,
    path: &str,
    known: Option<&Scanned>,
    began_at: Timestamp,
    stop: &dyn Fn() -> bool,
) -> Result<Scanned, Unread> {
    let root = root(workspace, path)?;
    let files = list(&root, stop)?;
    let fingerprint = fingerprint(&files);
    let changed_at = files.iter().map(|file| changed_ms(&file.stat)).max().unwrap_or(i64::MIN);
    // Only a time in the past, and not just now, is sure to differ from that of the next change.
    let is_racy = changed_at > began_at.minus(SETTLE).0;
    let digest = match known {
        Some(known) if known.fingerprint == fingerprint && !known.is_racy => known.digest.clone(),
        Some(_) | None => {
            let digest = digest(&root, &files, stop)?;
            if self::fingerprint(&list(&root, stop)?) != fingerprint {
                return Err(Unread { why: format!("{path:?} changed while it was read"), moving: true });
            }
            digest
        }
    };
    Ok(Scanned { fingerprint, digest, changed_at: Timestamp(changed_at), is_racy })
}

/// The app's directory, which lies in the workspace whatever links there are; held open, so that it stays the same one.
fn root(workspace: &Path, path: &str) -> Result<Directory, Unread> {
    let place = workspace.join(path);
    Directory::inside(workspace, &place).map_err(|error| {
        let why = match error.kind() {
            _ if leads_out(&error) => format!("the directory {path:?} leads out of the workspace"),
            io::ErrorKind::NotADirectory => format!("{path:?} is not a directory"),
            _ => format!("{}: {error}", place.display()),
        };
        Unread { why, moving: false }
    })
}

/// Every file that counts, sorted by path.
fn list(root: &Directory, stop: &dyn Fn() -> bool) -> Result<Vec<Found>, Unread> {
    // With a dot, since the name of an open directory is itself a link.
    let top = root.held().join(".");
    let entries = WalkBuilder::new(&top)
        .hidden(false)
        .ignore(false)
        .parents(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .follow_links(false)
        .max_depth(Some(DEPTH_MAX + 1))
        .filter_entry(|entry| entry.depth() == 0 || !is_skipped(entry))
        .build();
    let (mut files, mut bytes) = (Vec::new(), 0u64);
    for entry in entries {
        give_up(stop)?;
        let entry = entry.map_err(|error| {
            let text = error.to_string().replace(&top.display().to_string(), &root.path().display().to_string());
            unread(&text, error.io_error().map(io::Error::kind))
        })?;
        let Ok(path) = entry.path().strip_prefix(&top) else { continue };
        if entry.depth() > DEPTH_MAX {
            return Err(too_large(format!("{} is more than {DEPTH_MAX} directories deep", path.display())));
        }
        if entry.file_type().is_none_or(|kind| kind.is_dir()) {
            continue;
        }
        let metadata = fs::symlink_metadata(entry.path()).map_err(|error| failed(path, &error))?;
        let sort = Sort::of(&metadata);
        if matches!(sort, Sort::File { .. }) {
            bytes = bytes.saturating_add(metadata.len());
        }
        if files.len() == FILES_MAX || bytes > BYTES_MAX {
            return Err(too_large(format!(
                "it has more than {FILES_MAX} files, or more than {} GiB; what need not be looked at belongs into its .gitignore",
                BYTES_MAX >> 30
            )));
        }
        let stat = Stat {
            bytes: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        };
        files.push(Found { path: path.as_os_str().as_bytes().to_vec(), sort, stat });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn is_skipped(entry: &DirEntry) -> bool {
    // `.git` is a file in a worktree and in a submodule.
    entry.file_name().to_str().is_some_and(|name| {
        SKIPPED.contains(&name) && (name == ".git" || entry.file_type().is_some_and(|kind| kind.is_dir()))
    })
}

fn changed_ms(stat: &Stat) -> i64 {
    stat.ctime.0.saturating_mul(1000).saturating_add(stat.ctime.1 / 1_000_000)
}

fn fingerprint(files: &[Found]) -> String {
    let mut sha = Sha256::new();
    for file in files {
        put(&mut sha, file);
        let stat = &file.stat;
        sha.update(stat.bytes.to_le_bytes());
        sha.update(stat.inode.to_le_bytes());
        for part in [stat.mtime.0, stat.mtime.1, stat.ctime.0, stat.ctime.1] {
            sha.update(part.to_le_bytes());
        }
    }
    hex(&sha.finalize())
}

fn digest(root: &Directory, files: &[Found], stop: &dyn Fn() -> bool) -> Result<String, Unread> {
    let mut sha = Sha256::new();
    sha.update(FORMAT);
    for file in files {
        put(&mut sha, file);
        match file.sort {
            Sort::File { .. } => sha.update(content(root, file, stop)?),
            Sort::Link => {
                let target = root.read_link(file.path()).map_err(|error| failed(file.path(), &error))?;
                sha.update(Sha256::digest(target.as_os_str().as_bytes()));
            }
            Sort::Special(_) => {}
        }
    }
    Ok(hex(&sha.finalize()))
}

/// Kind and path, so that no two lists of files give the same bytes.
fn put(sha: &mut Sha256, file: &Found) {
    sha.update([file.sort.letter()]);
    sha.update((file.path.len() as u64).to_le_bytes());
    sha.update(&file.path);
}

fn content(root: &Directory, file: &Found, stop: &dyn Fn() -> bool) -> Result<Vec<u8>, Unread> {
    // Never through a link, and without waiting, should a pipe have taken the place of the file.
    let opened = root.open_file(file.path()).map_err(|error| failed(file.path(), &error))?;
    // One that grows meanwhile has another fingerprint afterwards.
    let mut limited = opened.take(file.stat.bytes + 1);
    let (mut sha, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        give_up(stop)?;
        match limited.read(&mut buffer) {
            Ok(0) => return Ok(sha.finalize().to_vec()),
            Ok(read) => sha.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(file.path(), &error)),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Unread {
    unread(&format!("{}: {error}", path.display()), Some(error.kind()))
}

fn unread(why: &str, kind: Option<io::ErrorKind>) -> Unread {
    // What vanished on the way was changed by somebody.
    // So was what is no file or no directory any more.
    let moved = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::InvalidInput];
    let moving = kind.is_some_and(|kind| moved.contains(&kind));
    Unread { why: crate::resource::outcome::one_line(why), moving }
}

const fn too_large(why: String) -> Unread {
    Unread { why, moving: false }
}

fn give_up(stop: &dyn Fn() -> bool) -> Result<(), Unread> {
    if stop() { Err(Unread { why: "it was given up".into(), moving: false }) } else { Ok(()) }
}

#[cfg(test)]
#[path = "tree_scan_tests.rs"]
mod tests;
