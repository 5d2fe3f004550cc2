//! Exchanging what a state directory holds for something else, such that `kill -9` at any moment leaves the old, or a marker by which whoever
//! comes next finishes. The new things lie in `next/`, whole and synced. The marker is the point of no return: before it nothing has
//! happened, after it everything will.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable::sync;
use super::{StateLock, StoreError, database_path};

/// The marker, below the state directory.
const MARKER: &str = "exchange.json";

/// Where the new things are laid out, below the state directory.
const NEXT: &str = "next";

/// The name of the database below a state directory.
const DATABASE: &str = "manifestd.db";

/// What SQLite keeps beside a database; it belongs to it and goes where it goes.
const BESIDE: [&str; 3] = ["manifestd.db-wal", "manifestd.db-shm", "manifestd.db-journal"];

/// What is exchanged, as the marker says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The directory below the state directory that keeps what was there before.
    pub aside: String,
    /// The entries of `next/` that take their place.
    pub items: Vec<String>,
    /// Entries below `results/` that are set aside as well, since the new database knows nothing of them and would give their names again.
    #[serde(default)]
    pub strays: Vec<String>,
}

/// Where the new things of a state directory are laid out.
#[must_use]
pub fn next_directory(state: &Path) -> PathBuf {
    state.join(NEXT)
}

/// An empty place for new things; what an interrupted try left there is removed.
///
/// # Errors
/// What the disk says.
pub fn fresh_next(lock: &StateLock) -> Result<PathBuf, StoreError> {
    let next = next_directory(lock.directory());
    remove(&next).and_then(|()| DirBuilder::new().mode(0o700).create(&next)).map_err(at(&next))?;
    Ok(next)
}

/// Removes what was laid out and is not wanted any more.
///
/// # Errors
/// What the disk says.
pub fn discard_next(lock: &StateLock) -> Result<(), StoreError> {
    let next = next_directory(lock.directory());
    remove(&next).map_err(at(&next))
}

/// A name for the directory that keeps what was there, which nobody has yet: `before-restore-20260131T120000Z`.
#[must_use]
pub fn aside_name(state: &Path, before: &str, when: &str) -> String {
    let stem = format!("before-{before}-{}", when.replace(['-', ':'], ""));
    let is_free = |name: &String| !state.join(name).exists();
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    std::iter::once(stem.clone()).chain(numbered).find(is_free).unwrap_or(stem)
}

/// Exchanges. Gives the directory that now keeps what was there.
///
/// # Errors
/// What the disk says. Before the marker is written nothing has changed; afterwards the next command finishes.
pub fn exchange(lock: &StateLock, exchange: &Exchange) -> Result<PathBuf, StoreError> {
    let state = lock.directory();
    check(state, exchange)?;
    let part = state.join(format!("{MARKER}.part"));
    let text = serde_json::to_vec_pretty(exchange).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    sync_tree(&next_directory(state)).map_err(at(&next_directory(state)))?;
    write_synced(&part, &text).map_err(at(&part))?;
    fs::rename(&part, state.join(MARKER)).and_then(|()| sync(state)).map_err(at(state))?;
    tracing::debug!("the marker is written");
    finish(state, exchange)?;
    Ok(state.join(&exchange.aside))
}

/// Whether an exchange was begun and not finished.
#[must_use]
pub fn is_pending(state: &Path) -> bool {
    state.join(MARKER).exists()
}

/// Finishes an exchange that was begun, if there is one. Only who holds the lock may call it.
///
/// # Errors
/// What the disk says, or that the marker is not one.
pub(super) fn finish_pending(state: &Path) -> Result<(), StoreError> {
    let path = state.join(MARKER);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.map_err(at(&path))?,
    };
    let wrong =
        |why: String| StoreError::Io { path: path.clone(), source: io::Error::new(ErrorKind::InvalidData, why) };
    let exchange: Exchange = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if !names(&exchange).all(is_inside) {
        return Err(wrong("it names something outside of the state directory".into()));
    }
    finish(state, &exchange)?;
    tracing::info!(aside = exchange.aside, "finished an exchange of the state that was interrupted");
    Ok(())
}

/// Every step can be done again: what has moved is not there any more.
fn finish(state: &Path, exchange: &Exchange) -> Result<(), StoreError> {
    let (next, aside) = (next_directory(state), state.join(&exchange.aside));
    let parents = |path: &str| Path::new("results").join(path).parent().map(Path::to_owned);
    let places: BTreeSet<PathBuf> = exchange.strays.iter().filter_map(|stray| parents(stray)).collect();
    // What is moved is lost with the place that it is moved to, if the name of that is not durable.
    make(&aside).map_err(at(&aside))?;
    places
        .iter()
        .try_for_each(|place| make(&aside.join(place)))
        .and_then(|()| sync_tree(&aside))
        .map_err(at(&aside))?;
    sync(state).map_err(at(state))?;
    // First what was there, all of it that something new is waiting for.
    for item in exchange.items.iter().filter(|item| next.join(item).symlink_metadata().is_ok()) {
        let beside = BESIDE.into_iter().filter(|_| item == DATABASE);
        for name in std::iter::once(item.as_str()).chain(beside) {
            set_aside(&state.join(name), &aside.join(name))?;
        }
    }
    for stray in &exchange.strays {
        set_aside(&state.join("results").join(stray), &aside.join("results").join(stray))?;
    }
    let moved = places.iter().flat_map(|place| [aside.join(place), state.join(place)]).filter(|place| place.is_dir());
    moved.chain([aside.clone(), state.to_owned()]).try_for_each(|place| sync(&place).map_err(at(&place)))?;
    for item in &exchange.items {
        move_if_there(&next.join(item), &state.join(item))?;
    }
    sync(state).map_err(at(state))?;
    let marker = state.join(MARKER);
    fs::remove_file(&marker).and_then(|()| sync(state)).map_err(at(&marker))?;
    tracing::debug!("the exchange is done");
    remove(&next).map_err(at(&next))
}

fn set_aside(from: &Path, to: &Path) -> Result<(), StoreError> {
    if from.symlink_metadata().is_err() {
        return Ok(());
    }
    if to.symlink_metadata().is_ok() {
        let source = io::Error::new(
            ErrorKind::AlreadyExists,
            "it is there already; move it away by hand, then run the command again",
        );
        return Err(StoreError::Io { path: to.to_owned(), source });
    }
    move_if_there(from, to)
}

fn move_if_there(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound && from.symlink_metadata().is_err() => Ok(()),
        moved => {
            tracing::debug!(from = %from.display(), "moved");
            moved.map_err(at(from))
        }
    }
}

/// Refuses before the point of no return what could not be finished after it.
fn check(state: &Path, exchange: &Exchange) -> Result<(), StoreError> {
    let refuse = |path: PathBuf, why: &str| {
        Err(StoreError::Io { path, source: io::Error::new(ErrorKind::InvalidInput, why.to_owned()) })
    };
    if !names(exchange).all(is_inside) {
        return refuse(state.join(MARKER), "it names something outside of the state directory");
    }
    let device = fs::metadata(state).map_err(at(state))?.dev();
    let touched = exchange.items.iter().map(String::as_str).chain((!exchange.strays.is_empty()).then_some("results"));
    for name in touched {
        let path = state.join(name);
        // A file system of its own cannot be renamed, nor anything moved out of it by a rename.
        if fs::symlink_metadata(&path).is_ok_and(|found| found.dev() != device) {
            return refuse(
                path,
                "it lies on a file system of its own, so it cannot be exchanged; restore into a state directory that is on one",
            );
        }
    }
    Ok(())
}

fn names(exchange: &Exchange) -> impl Iterator<Item = &str> {
    std::iter::once(&exchange.aside).chain(&exchange.items).chain(&exchange.strays).map(String::as_str)
}

fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all())
}

/// Syncs everything below a directory; what is about to be trusted must be on the disk.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_tree(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    sync(directory)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

/// Whether there is a database, or something else in its place.
#[must_use]
pub fn holds_database(state: &Path) -> bool {
    fs::symlink_metadata(database_path(state)).is_ok_and(|found| found.is_dir() || found.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = state.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("manifestd.db", "old");
        write("manifestd.db-wal", "old log");
        write("results/a/t/1/x", "old result");
        write("results/a/t/2/x", "stray");
        write("next/manifestd.db", "new");
        state
    }

    fn read(state: &Path, path: &str) -> Option<String> {
        fs::read_to_string(state.join(path)).ok()
    }

    fn planned() -> Exchange {
        Exchange { aside: "before".into(), items: vec![DATABASE.into()], strays: vec!["a/t/2".into()] }
    }

    fn assert_exchanged(state: &Path) {
        let all = ["manifestd.db", "manifestd.db-wal", "results/a/t/1/x", "results/a/t/2/x", "before/manifestd.db"];
        let found = all.map(|path| read(state, path));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found, [text("new"), None, text("old result"), None, text("old")]);
        assert_eq!(read(state, "before/manifestd.db-wal"), text("old log"));
        assert_eq!(read(state, "before/results/a/t/2/x"), text("stray"));
        assert!(!is_pending(state) && !next_directory(state).exists());
    }

    #[test]
    fn what_was_there_is_kept_beside_what_took_its_place() {
        let state = state();
        let lock = StateLock::acquire(state.path()).unwrap();
        exchange(&lock, &planned()).unwrap();
        assert_exchanged(state.path());
    }

    #[test]
    fn whoever_comes_next_finishes_from_every_step_at_which_it_was_left() {
        // The moves in their order; each state in between is one that a crash leaves behind.
        let moves = [
            ("manifestd.db", "before/manifestd.db"),
            ("manifestd.db-wal", "before/manifestd.db-wal"),
            ("results/a/t/2", "before/results/a/t/2"),
            ("next/manifestd.db", "manifestd.db"),
        ];
        for done in 0..=moves.len() {
            let state = state();
            fs::write(state.path().join(MARKER), serde_json::to_vec(&planned()).unwrap()).unwrap();
            for (from, to) in &moves[..done] {
                fs::create_dir_all(state.path().join(to).parent().unwrap()).unwrap();
                fs::rename(state.path().join(from), state.path().join(to)).unwrap();
            }
            assert!(is_pending(state.path()));
            drop(StateLock::acquire(state.path()).unwrap());
            assert_exchanged(state.path());
        }
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in ["../x", "/etc/passwd", "", "a/../../b"] {
            let state = state();
            let lock = StateLock::acquire(state.path()).unwrap();
            let bad = Exchange { items: vec![name.into()], ..planned() };
            assert!(exchange(&lock, &bad).is_err(), "{name}");
            drop(lock);
            fs::write(state.path().join(MARKER), serde_json::to_vec(&bad).unwrap()).unwrap();
            assert!(StateLock::acquire(state.path()).is_err(), "{name}");
            assert_eq!(read(state.path(), "manifestd.db").as_deref(), Some("old"));
        }
    }

    #[test]
    fn a_name_for_what_was_there_is_never_given_twice() {
        let state = tempfile::tempdir().unwrap();
        let first = aside_name(state.path(), "restore", "2026-01-31T12:00:00Z");
        assert_eq!(first, "before-restore-20260131T120000Z");
        fs::create_dir(state.path().join(&first)).unwrap();
        assert_eq!(aside_name(state.path(), "restore", "2026-01-31T12:00:00Z"), format!("{first}-2"));
    }
}
