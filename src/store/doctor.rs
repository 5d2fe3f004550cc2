//! What doctor reads and mends: rows that contradict each other, results that rows refer to, and what was found lost.

use rusqlite::{Connection, params};

use super::commit::record;
use super::stray;
use super::{Store, StoreError};
use crate::plan::doctor::Fix;
use crate::plan::write::EventWrite;
use crate::resource::attempt::AttemptId;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// Lines that are read of one sort; who has more has one cause of them all.
const LINES_MAX: usize = 10_000;

/// A result as its row tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownResult {
    /// Whose it is.
    pub id: AttemptId,
    /// The task's name.
    pub task: String,
    /// Its directory, relative to results/.
    pub directory: String,
    /// The digest of its `manifest.json`.
    pub sha256: String,
}

/// An attempt that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttempt {
    /// Which one.
    pub id: AttemptId,
    /// The task's name.
    pub task: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// The task's phase, if it has ended.
    pub ended: Option<String>,
}

/// Gives every stored result, in the order of directories; one that several attempts share comes once for each.
///
/// # Errors
/// What the database or `each` says.
pub fn results(
    connection: &Connection,
    mut each: impl FnMut(KnownResult) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(
        "SELECT a.task_uid, a.number, t.name, a.result_dir, a.result_sha256 FROM attempt a JOIN task t ON t.uid = a.task_uid
         WHERE a.result_dir IS NOT NULL ORDER BY a.result_dir",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = AttemptId { task: Uid(row.get(0)?), number: row.get(1)? };
        each(KnownResult { id, task: row.get(2)?, directory: row.get(3)?, sha256: row.get(4)? })?;
    }
    Ok(())
}

/// How many results there are.
///
/// # Errors
/// What the database says.
pub fn count_results(connection: &Connection) -> Result<u64, StoreError> {
    let query = "SELECT count(*) FROM attempt WHERE result_dir IS NOT NULL";
    Ok(connection.query_row(query, [], |row| row.get(0))?)
}

/// Attempts that have not ended.
///
/// # Errors
/// What the database says.
pub fn open_attempts(connection: &Connection) -> Result<Vec<OpenAttempt>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT a.task_uid, a.number, t.name, a.opened_at, iif(t.finished_at IS NULL, NULL, t.phase)
         FROM attempt a JOIN task t ON t.uid = a.task_uid WHERE a.outcome IS NULL ORDER BY t.name LIMIT ?1",
    )?;
    let rows = statement.query_map([LINES_MAX], |row| {
        let id = AttemptId { task: Uid(row.get(0)?), number: row.get(1)? };
        Ok(OpenAttempt { id, task: row.get(2)?, opened_at: Timestamp(row.get(3)?), ended: row.get(4)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Rows that contradict each other, as lines for a person: what only a hand in the database can have made.
///
/// # Errors
/// What the database says.
pub fn contradictions(connection: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    const QUERIES: [(&str, &str); 4] = [
        (
            "SELECT 'task/' || t.name FROM task t JOIN object o USING (uid) WHERE o.kind <> 'Task' OR o.name <> t.name LIMIT ?1",
            "its row and its object are about different things",
        ),
        (
            "SELECT 'task/' || name FROM task t WHERE phase = 'Running' AND attempt > 0
                 AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.task_uid = t.uid AND a.number = t.attempt) LIMIT ?1",
            "is Running on an attempt that is not there",
        ),
        (
            "SELECT lower(o.kind) || '/' || o.name FROM object o WHERE o.kind = 'Task' AND o.removed_at IS NULL
                 AND NOT EXISTS (SELECT 1 FROM task t WHERE t.uid = o.uid) LIMIT ?1",
            "is declared, and has no row that says where it stands",
        ),
        (
            "SELECT 'run/' || name FROM run r WHERE finished_at IS NOT NULL AND EXISTS
                 (SELECT 1 FROM task t WHERE t.run = r.uid AND t.phase = 'Running' AND r.cancel = 0 AND r.phase = 'Completed') LIMIT ?1",
            "is Completed while a task of it runs",
        ),
    ];
    let mut lines = Vec::new();
    for (query, what) in QUERIES {
        let mut statement = connection.prepare(query)?;
        for object in statement.query_map([LINES_MAX], |row| row.get::<_, String>(0))? {
            lines.push((object?, what.to_owned()));
        }
    }
    Ok(lines)
}

impl Store {
    /// Does what may be done about findings, each as far as it still holds. Says what was done.
    ///
    /// # Errors
    /// What the database says; then nothing was done.
    pub async fn mend(&self, fixes: Vec<Fix>, now: Timestamp) -> Result<Vec<String>, StoreError> {
        self.write(move |connection| {
            let mut lines = Vec::new();
            for fix in &fixes {
                let done = match fix {
                    Fix::ForgetResult { task, id, directory } => forget_result(connection, task, id, directory, now)?,
                    Fix::EndAttempt { id, .. } => end_attempt(connection, id, now)?,
                    Fix::ListStray { path } => {
                        stray::list(connection, path, now)?;
                        true
                    }
                    // These are about the disk.
                    Fix::Sweep | Fix::MakePrivate => false,
                };
                if done {
                    lines.push(fix.to_string());
                }
            }
            Ok(lines)
        })
        .await
    }
}

fn forget_result(
    connection: &Connection,
    task: &str,
    id: &AttemptId,
    directory: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE attempt SET result_dir = NULL, result_sha256 = NULL, result_bytes = NULL
             WHERE task_uid = ?1 AND number = ?2 AND result_dir = ?3",
        )?
        .execute(params![id.task.0, id.number, directory])?;
    if changed == 0 {
        return Ok(false);
    }
    // What is left of it belongs to nobody now, unless it is some other attempt's as well.
    if !stray::is_held(connection, directory)? {
        stray::list(connection, directory, now)?;
    }
    let message = format!(
        "the files of attempt {} in results/{directory} are lost or damaged; what was counted of them stays. manifestd retry {task} makes them anew",
        id.number
    );
    let event = EventWrite {
        uid: id.task.clone(),
        kind: Kind::Task,
        name: task.to_owned(),
        event_type: EventType::Warning,
        reason: "ResultLost",
        message,
    };
    record(connection, &event, now)?;
    Ok(true)
}

fn end_attempt(connection: &Connection, id: &AttemptId, now: Timestamp) -> Result<bool, StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE attempt SET outcome = 'Interrupted', ended_at = max(?3, opened_at), reason = 'Interrupted', tools = '[]',
                 message = 'its task had ended before it; ended by manifestd doctor'
             WHERE task_uid = ?1 AND number = ?2 AND outcome IS NULL
                 AND EXISTS (SELECT 1 FROM task WHERE uid = ?1 AND finished_at IS NOT NULL)",
        )?
        .execute(params![id.task.0, id.number, now.0])?;
    Ok(changed == 1)
}
