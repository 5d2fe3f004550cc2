//! Whether a database is whole: its pages, what refers to what, and its schema version. Nothing is written.

use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::open::{SCHEMA_VERSION, open_any};
use super::{StoreError, lock::StateLock};

/// Problems that are listed; what has more needs no longer list to be known as broken.
const PROBLEMS_MAX: usize = 100;

/// What a look at a database found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its schema version.
    pub version: usize,
    /// The newest version that this program knows.
    pub known: usize,
    /// What SQLite's integrity check says; nothing when all is well.
    pub integrity: Vec<String>,
    /// Rows that refer to a row which is not there.
    pub foreign_keys: Vec<String>,
}

impl Check {
    /// Whether nothing is wrong with it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.integrity.is_empty() && self.foreign_keys.is_empty()
    }
}

/// Looks at a whole database, with or without a controller running.
///
/// # Errors
/// That it cannot be opened, or is newer than this program.
pub fn check(path: &Path) -> Result<Check, StoreError> {
    let (connection, version) = open_any(path)?;
    Ok(Check {
        version,
        known: SCHEMA_VERSION,
        integrity: integrity(&connection)?,
        foreign_keys: foreign_keys(&connection)?,
    })
}

fn integrity(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut problems = Vec::new();
    for line in lines {
        match line {
            Ok(line) if line == "ok" => {}
            Ok(line) => problems.push(line),
            // So broken that the check itself cannot go on.
            Err(error) => {
                problems.push(error.to_string());
                break;
            }
        }
    }
    Ok(problems)
}

fn foreign_keys(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    let mut problems = Vec::new();
    loop {
        match rows.next() {
            Ok(Some(row)) if problems.len() < PROBLEMS_MAX => {
                let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
                problems.push(format!("a row of {table} refers to one of {parent} that is not there"));
            }
            Ok(_) => return Ok(problems),
            Err(error) => {
                problems.push(error.to_string());
                return Ok(problems);
            }
        }
    }
}

/// Copies a database of any known version to a path where there is nothing, or an empty file; whoever writes meanwhile is not held up.
/// Gives its schema version and the id of its state directory.
///
/// # Errors
/// What the database says.
pub fn snapshot(from: &Path, to: &Path) -> Result<(usize, String), StoreError> {
    let (connection, version) = open_any(from)?;
    super::glance::copy_database(&connection, to)?;
    let id = connection.query_row("SELECT value FROM meta WHERE key = 'state_id'", [], |row| row.get(0))?;
    Ok((version, id))
}

/// Gives every result directory that the rows of a database of any known version refer to, in order.
///
/// # Errors
/// What the database or `each` says.
pub fn result_directories<E: From<StoreError>>(
    database: &Path,
    mut each: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let (connection, _) = open_any(database)?;
    let query = "SELECT DISTINCT result_dir FROM attempt WHERE result_dir IS NOT NULL ORDER BY result_dir";
    let mut statement = connection.prepare(query).map_err(StoreError::from)?;
    let mut rows = statement.query([]).map_err(StoreError::from)?;
    while let Some(row) = rows.next().map_err(StoreError::from)? {
        let directory: String = row.get(0).map_err(StoreError::from)?;
        each(&directory)?;
    }
    Ok(())
}

/// How many result directories the rows refer to.
///
/// # Errors
/// What the database says.
pub fn count_result_directories(database: &Path) -> Result<u64, StoreError> {
    let query = "SELECT count(DISTINCT result_dir) FROM attempt";
    Ok(open_any(database)?.0.query_row(query, [], |row| row.get(0))?)
}

/// Gives a copy that is about to become the database of a state directory an id of its own. Attempts that came after the copy was made had
/// numbers which will be given again; with the old id an analyzer would take the new one for the old one, and answer with its result.
///
/// # Errors
/// What the database says.
pub fn renew_id(copy: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(copy)?;
    connection.execute("UPDATE meta SET value = lower(hex(randomblob(8))) WHERE key = 'state_id'", [])?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Upgrades the database of a locked state directory, as opening the store does, after a backup.
///
/// # Errors
/// What the database says; then it is as it was.
pub fn migrate(lock: &StateLock) -> Result<(), StoreError> {
    super::open::open(&super::database_path(lock.directory())).map(drop)
}
