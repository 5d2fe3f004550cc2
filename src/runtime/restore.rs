//! `manifestd restore`: brings a backup back. Everything is verified before anything is touched, laid out beside what is there, and then
//! exchanged by `store::exchange`, which a `kill -9` cannot leave half done. What was there is kept.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::archive::{About, BadArchive, DATABASE, RESULTS, unpack};
use super::backup::{ArchiveError, Tell, at};
use crate::disk::scratch;
use crate::resource::time::Timestamp;
use crate::store::exchange::{self, Exchange};
use crate::store::{SCHEMA_VERSION, StateLock, StoreError, check};

/// What a restore is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The state directory.
    pub state: PathBuf,
    /// The backup.
    pub file: PathBuf,
    /// Whether a database that is there gives way.
    pub force: bool,
}

/// What a restore came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// What the backup says of itself.
    pub about: About,
    /// Where what was there before is kept; absent when there was nothing, or nothing was done.
    pub aside: Option<PathBuf>,
    /// Result directories that were set aside, since the restored database does not know them.
    pub strays: usize,
}

/// Verifies a backup as a restore does, and changes nothing.
///
/// # Errors
/// What is wrong with it.
pub fn verify(file: &Path, tell: Tell<'_>) -> Result<RestoreReport, ArchiveError> {
    let scratch = scratch().map_err(at(&std::env::temp_dir()))?;
    let mut done = 0;
    let about = unpack(file, |name, contents| {
        done += 1;
        tell(done, 0);
        match name {
            DATABASE => write(&scratch.path().join(DATABASE), contents),
            _ => Ok(()),
        }
    });
    let about = about.map_err(|error| bad(file, error))?;
    check_database(file, &scratch.path().join(DATABASE))?;
    Ok(RestoreReport { about, aside: None, strays: 0 })
}

/// Brings a backup back.
///
/// # Errors
/// Why it was not done; then everything is as it was.
pub fn restore(wanted: &Wanted, now: Timestamp, tell: Tell<'_>) -> Result<RestoreReport, ArchiveError> {
    // Before the state directory is made for it.
    File::open(&wanted.file).map_err(at(&wanted.file))?;
    let lock = StateLock::acquire(&wanted.state)?;
    let was_there = exchange::holds_database(&wanted.state);
    if was_there && !wanted.force {
        return Err(ArchiveError::Refused(format!(
            "the state directory {} already holds a database; with --force it is set aside, not deleted, and the backup takes its place",
            wanted.state.display()
        )));
    }
    let laid_out = lay_out(wanted, &lock, tell);
    let (about, strays) = match laid_out {
        Ok(laid_out) => laid_out,
        Err(error) => {
            // What cannot be removed now is by the next try.
            let _ = exchange::discard_next(&lock);
            return Err(error);
        }
    };
    let items = [Some(DATABASE), about.with_results.then_some(RESULTS)];
    let planned = Exchange {
        aside: exchange::aside_name(&wanted.state, "restore", &now.rfc3339()),
        items: items.into_iter().flatten().map(str::to_owned).collect(),
        strays: strays.clone(),
    };
    let aside = exchange::exchange(&lock, &planned)?;
    let aside = keep_or_remove(aside);
    Ok(RestoreReport { about, aside, strays: strays.len() })
}

/// The directory of what was there before, unless there was nothing.
pub(super) fn keep_or_remove(aside: PathBuf) -> Option<PathBuf> {
    // Only an empty one can be removed so.
    fs::remove_dir(&aside).is_err().then_some(aside)
}

/// Unpacks and verifies below `next/`. Gives what the backup says, and the results that its database does not know.
fn lay_out(wanted: &Wanted, lock: &StateLock, tell: Tell<'_>) -> Result<(About, Vec<String>), ArchiveError> {
    let next = exchange::fresh_next(lock)?;
    let mut done = 0;
    let about = unpack(&wanted.file, |name, contents| {
        let path = next.join(name);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        write(&path, contents)?;
        done += 1;
        tell(done, 0);
        tracing::debug!(name, "unpacked");
        Ok(())
    });
    let about = about.map_err(|error| bad(&wanted.file, error))?;
    let database = next.join(DATABASE);
    check_database(&wanted.file, &database)?;
    check::renew_id(&database)?;
    tracing::debug!("the backup is verified");
    if about.with_results {
        // So that a backup with no result at all exchanges them, too.
        DirBuilder::new().recursive(true).mode(0o700).create(next.join(RESULTS)).map_err(at(&next))?;
        return Ok((about, Vec::new()));
    }
    let mut known = BTreeSet::new();
    check::result_directories(&database, |directory| {
        known.insert(directory.to_owned());
        Ok::<(), StoreError>(())
    })?;
    let strays = attempt_directories(&wanted.state.join(RESULTS))?.into_iter().filter(|found| !known.contains(found));
    Ok((about, strays.collect()))
}

fn check_database(file: &Path, database: &Path) -> Result<(), ArchiveError> {
    let wrong = |why: String| ArchiveError::Refused(format!("{}: {why}; nothing was changed", file.display()));
    let found = check::check(database).map_err(|error| match error {
        StoreError::Newer { found, known, .. } => wrong(format!(
            "its database has schema version {found}, this manifestd knows up to {known}; use a newer manifestd"
        )),
        StoreError::Absent { .. } => wrong("its database is empty".into()),
        other => wrong(format!("its database: {other}")),
    })?;
    debug_assert!(found.version <= SCHEMA_VERSION, "a newer one is refused when it is opened");
    match found.integrity.iter().chain(&found.foreign_keys).next() {
        Some(problem) => Err(wrong(format!("its database is not whole: {problem}"))),
        None => Ok(()),
    }
}

/// Every `APP/TASK/ATTEMPT` below a results directory, in order. Links are not followed.
///
/// # Errors
/// What the disk says.
pub(super) fn attempt_directories(results: &Path) -> Result<Vec<String>, ArchiveError> {
    let mut level = vec![String::new()];
    for _ in 0..3 {
        let mut below = Vec::new();
        for directory in &level {
            for name in directories(&results.join(directory))? {
                below.push(if directory.is_empty() { name } else { format!("{directory}/{name}") });
            }
        }
        level = below;
    }
    Ok(level)
}

fn directories(path: &Path) -> Result<Vec<String>, ArchiveError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(at(path))?;
        if entry.file_type().map_err(at(path))?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn write(path: &Path, contents: &mut dyn Read) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}; nothing was changed", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(named)?;
    // The exchange syncs all of it at once.
    io::copy(contents, &mut file).map(drop).map_err(named)
}

fn bad(file: &Path, error: BadArchive) -> ArchiveError {
    match error {
        BadArchive::Io(source) => ArchiveError::Io { path: file.to_owned(), source },
        BadArchive::Wrong(why) => ArchiveError::Refused(format!("{}: {why}; nothing was changed", file.display())),
    }
}
