//! Which run, and which step of it, a task, a run or an app belongs to.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use crate::resource::kind::Kind;

/// Who asked for something that no file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeBy {
    /// Name of the run.
    pub run: String,
    /// Its step.
    pub step: String,
    /// Its pipeline.
    pub pipeline: String,
}

/// The run that has a task or run as a child, or that made an app; `None` when there is none, or when that is not recorded any more.
///
/// # Errors
/// What the database says.
pub fn made_by(connection: &Connection, kind: Kind, name: &str) -> Result<Option<MadeBy>, StoreError> {
    let child = match kind {
        Kind::Task => "c.uid = (SELECT uid FROM object WHERE kind = 'Task' AND name = ?1)",
        Kind::Run => "c.uid = (SELECT uid FROM run WHERE name = ?1)",
        // The provenance of an app names the run that it came from.
        Kind::App => {
            "c.app = ?1 AND c.makes IS NOT NULL AND c.run = (SELECT r.uid FROM run r JOIN object o ON o.file = 'run/' || r.name
             WHERE o.kind = 'App' AND o.name = ?1 AND o.line = 0)"
        }
        Kind::Analyzer | Kind::AppSet | Kind::Pipeline | Kind::Pool => return Ok(None),
    };
    let query = format!(
        "SELECT r.name, c.step, r.pipeline FROM child c JOIN run r ON r.uid = c.run WHERE {child} ORDER BY c.step, c.item LIMIT 1"
    );
    let found = connection
        .prepare_cached(&query)?
        .query_row(params![name], |row| Ok(MadeBy { run: row.get(0)?, step: row.get(1)?, pipeline: row.get(2)? }));
    Ok(found.optional()?)
}
