//! Small questions of the command line that need no whole objects: has anything changed, which names are there, who runs.

use std::path::Path;

use rusqlite::{Connection, params};

use super::StoreError;
use super::rows::time;
use crate::resource::kind::Kind;
use crate::resource::time::Timestamp;

/// A number that is another one after somebody else committed something; cheap, whatever the size of the database.
///
/// # Errors
/// What the database says.
pub fn data_version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

/// Writes a consistent copy of the whole database to a path where there is nothing yet, whoever else writes meanwhile.
///
/// # Errors
/// What the database says.
pub fn copy_database(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}

/// The names of the objects of a kind whose manifest is there.
///
/// # Errors
/// What the database says.
pub fn names(connection: &Connection, kind: Kind) -> Result<Vec<String>, StoreError> {
    let query = match kind {
        Kind::Run => "SELECT name FROM run WHERE ?1 = 'Run' ORDER BY name",
        _ => "SELECT name FROM object WHERE kind = ?1 AND removed_at IS NULL ORDER BY name",
    };
    let mut statement = connection.prepare_cached(query)?;
    let names = statement.query_map([kind.as_str()], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// An open attempt, as one line about who occupies a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// Name of the task.
    pub task: String,
    /// Address of the replica; empty for a command.
    pub replica: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends at the latest.
    pub deadline_at: Timestamp,
}

/// Open attempts with what they say of themselves.
pub(super) const RUNNING: &str = "SELECT t.name, a.stage, a.progress_message, a.fraction FROM attempt a INDEXED BY attempt_slot CROSS JOIN task t ON t.uid = a.task_uid
     WHERE a.outcome IS NULL ORDER BY a.opened_at, t.name LIMIT ?1";

/// Who occupies the slots of an analyzer.
pub(super) const OCCUPANTS: &str = "SELECT t.name, a.replica, a.opened_at, a.deadline_at FROM attempt a INDEXED BY attempt_slot CROSS JOIN task t ON t.uid = a.task_uid
     WHERE a.analyzer = ?1 AND a.outcome IS NULL ORDER BY a.opened_at, t.name LIMIT ?2";

/// The open attempts on an analyzer, oldest first, at most `limit`.
///
/// # Errors
/// What the database says.
pub fn occupants(connection: &Connection, analyzer: &str, limit: u32) -> Result<Vec<Occupant>, StoreError> {
    let mut statement = connection.prepare_cached(OCCUPANTS)?;
    let mut rows = statement.query(params![analyzer, limit])?;
    let mut occupants = Vec::new();
    while let Some(row) = rows.next()? {
        occupants.push(Occupant {
            task: row.get("name")?,
            replica: row.get("replica")?,
            opened_at: time(row, "opened_at")?,
            deadline_at: time(row, "deadline_at")?,
        });
    }
    Ok(occupants)
}

/// A running task, for those who watch.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningView {
    /// The task's name.
    pub task: String,
    /// Last reported stage and message.
    pub doing: String,
    /// Last reported share, 0.0 to 1.0.
    pub fraction: Option<f64>,
}

/// The tasks that run, those that began first first.
///
/// # Errors
/// What the database says.
pub fn running(connection: &Connection, limit: usize) -> Result<Vec<RunningView>, StoreError> {
    let mut statement = connection.prepare_cached(RUNNING)?;
    let running = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        let (stage, message): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
        Ok(RunningView { task: row.get(0)?, doing: message.or(stage).unwrap_or_default(), fraction: row.get(3)? })
    })?;
    Ok(running.collect::<Result<_, _>>()?)
}
