//! Setting aside and bringing back. What is set aside keeps everything and is not listed any more; it can be brought back until it is purged.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::commit::wake_waiting_for_app;
use super::maintenance::{BATCH, wake_cancelled_with};
use super::{Store, StoreError};
use crate::plan::Key;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// Sets a finished task aside.
pub(super) fn set_aside(connection: &Connection, uid: &Uid, version: i64, now: Timestamp) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached("UPDATE task SET aside_at = ?3 WHERE uid = ?1 AND version = ?2 AND finished_at IS NOT NULL")?
        .execute(params![uid.0, version, now.0])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

/// A run and every run below it. What joins it says CROSS, so that SQLite begins with it, and not with all tasks of all runs.
macro_rules! tree {
    ($rest:literal) => {
        concat!(
            "WITH RECURSIVE tree (uid) AS (VALUES (?1) UNION ALL SELECT r.uid FROM run r JOIN tree ON r.parent = tree.uid) ",
            $rest
        )
    };
}
pub(super) use tree;

/// Sets tasks of a run aside, and of the runs below it; at most so many.
pub(super) const TASKS_ASIDE: &str = tree!(
    "UPDATE task SET aside_at = ?2 WHERE uid IN
     (SELECT t.uid FROM tree CROSS JOIN task t INDEXED BY task_of_run ON t.run = tree.uid AND t.aside_at IS NULL LIMIT ?3)"
);

/// Lists tasks of a run again, and of the runs below it; at most so many.
pub(super) const TASKS_BACK: &str = tree!(
    "UPDATE task SET aside_at = NULL WHERE uid IN
     (SELECT t.uid FROM tree CROSS JOIN task t INDEXED BY task_of_run ON t.run = tree.uid AND t.aside_at IS NOT NULL LIMIT ?2)"
);

/// Sets a run aside that has ended: its tasks first, a batch in each transaction, and the run with the last of them.
pub(super) fn set_run_aside(
    connection: &Connection,
    uid: &Uid,
    version: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let seen = "SELECT 1 FROM run WHERE uid = ?1 AND version = ?2 AND finished_at IS NOT NULL AND aside_at IS NULL";
    if !connection.prepare_cached(seen)?.exists(params![uid.0, version])? {
        return Err(StoreError::Conflict);
    }
    let tasks = connection.prepare_cached(TASKS_ASIDE)?.execute(params![uid.0, now.0, BATCH])?;
    if tasks < BATCH {
        let runs = tree!("UPDATE run SET aside_at = ?2 WHERE uid IN (SELECT uid FROM tree)");
        connection.prepare_cached(runs)?.execute(params![uid.0, now.0])?;
    }
    Ok(())
}

/// What a person may say of something that is missing, set aside, deleted or stray.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Care {
    /// Leave it alone from now on.
    Keep,
    /// Bring it back, and leave it alone from now on.
    Restore,
    /// Nobody cares any more: the rules are for it again.
    Release,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cared {
    /// What it was called.
    pub object: String,
    /// What happened, for a person.
    pub message: String,
    /// Whether anything happened.
    pub effective: bool,
    /// What is to be looked at now.
    pub woken: Vec<Key>,
}

impl Store {
    /// Keeps, restores or releases something by its name, such as `task/lint`, `run/study-1`, `app/acme-app1` or `results/a/b/1`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn care(&self, object: String, care: Care, now: Timestamp) -> Result<Cared, StoreError> {
        if let (Some(("run", name)), Care::Restore) = (object.split_once('/'), care) {
            self.list_tasks_again(name.to_owned()).await?;
        }
        self.write(move |connection| {
            let (kind, name) = object.split_once('/').unwrap_or(("", &object));
            let mut woken = Vec::new();
            let (message, effective) = match kind {
                "results" => care_for_stray(connection, name, care, now)?,
                kind => match Kind::from_word(kind) {
                    Some(Kind::App) => care_for_app(connection, name, care, now, &mut woken)?,
                    Some(Kind::Task) => care_for_row(connection, ROW_OF_TASK, name, care, now)?,
                    Some(Kind::Run) => care_for_row(connection, ROW_OF_RUN, name, care, now)?,
                    _ => ("is none of app/NAME, task/NAME, run/NAME, results/PATH".into(), false),
                },
            };
            Ok(Cared { object: object.clone(), message, effective, woken })
        })
        .await
    }

    /// Lists the tasks of a run again that is set aside; a batch in each transaction, so that nobody waits for a large one.
    async fn list_tasks_again(&self, run: String) -> Result<(), StoreError> {
        loop {
            let run = run.clone();
            let back = self
                .write(move |connection| {
                    let aside = "SELECT uid FROM run WHERE name = ?1 AND aside_at IS NOT NULL AND purged_at IS NULL AND parent IS NULL";
                    let uid: Option<String> =
                        connection.prepare_cached(aside)?.query_row([&run], |row| row.get(0)).optional()?;
                    let Some(uid) = uid else { return Ok(0) };
                    Ok(connection.prepare_cached(TASKS_BACK)?.execute(params![uid, BATCH])?)
                })
                .await?;
            if back < BATCH {
                return Ok(());
            }
        }
    }
}

/// The statements for a table with `aside_at`, `purged_at` and `kept_at`: look, then write.
struct Statements {
    look: &'static str,
    write: &'static str,
}

const ROW_OF_TASK: Statements = Statements {
    look: "SELECT uid, aside_at, purged_at, kept_at, run IS NOT NULL FROM task WHERE name = ?1",
    write: "UPDATE task SET aside_at = ?2, kept_at = ?3 WHERE uid = ?1",
};

const ROW_OF_RUN: Statements = Statements {
    look: "SELECT uid, aside_at, purged_at, kept_at, parent IS NOT NULL FROM run WHERE name = ?1",
    write: tree!("UPDATE run SET aside_at = ?2, kept_at = ?3 WHERE uid IN (SELECT uid FROM tree)"),
};

fn care_for_row(
    connection: &Connection,
    statements: Statements,
    name: &str,
    care: Care,
    now: Timestamp,
) -> Result<(String, bool), StoreError> {
    type Row = (String, Option<i64>, Option<i64>, Option<i64>, bool);
    let found: Option<Row> = connection
        .prepare_cached(statements.look)?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .optional()?;
    let (uid, aside, kept) = match found {
        None => return Ok(("is not known; it may have been purged".into(), false)),
        Some((.., true)) => return Ok(("belongs to a run, and goes and stays with that run".into(), false)),
        Some((_, _, Some(_), ..)) => return Ok(("was purged: its records and results are gone".into(), false)),
        Some((uid, aside, None, kept, false)) => (uid, aside, kept),
    };
    let (aside_at, kept_at, message, effective) = match care {
        Care::Keep => (aside, Some(kept.unwrap_or(now.0)), "is kept", kept.is_none()),
        Care::Restore if aside.is_none() => (aside, kept, "was not set aside", false),
        Care::Restore => (None, Some(now.0), "is listed again, and kept", true),
        Care::Release => (aside, None, "is not kept any more", kept.is_some()),
    };
    if effective {
        connection.prepare_cached(statements.write)?.execute(params![uid, aside_at, kept_at])?;
    }
    Ok((message.into(), effective))
}

fn care_for_app(
    connection: &Connection,
    name: &str,
    care: Care,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(String, bool), StoreError> {
    type Row = (String, Option<i64>, Option<i64>);
    let found: Option<Row> = connection
        .prepare_cached(
            "SELECT uid, deleted_at, kept_at FROM app JOIN object USING (uid) WHERE kind = 'App' AND name = ?1",
        )?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((uid, deleted, kept)) = found else {
        return Ok(("is not known; it may have been purged".into(), false));
    };
    let (message, effective) = match care {
        Care::Keep => ("is kept", kept.is_none()),
        Care::Restore if deleted.is_none() => ("was not deleted", false),
        Care::Restore => ("has its record again, and is kept; it stays missing until its directory returns", true),
        Care::Release => ("is not kept any more", kept.is_some()),
    };
    if effective {
        let kept_at = (care != Care::Release).then_some(now.0);
        connection.prepare_cached("UPDATE app SET kept_at = ?2 WHERE uid = ?1")?.execute(params![uid, kept_at])?;
        if care == Care::Restore {
            connection.prepare_cached("UPDATE app SET deleted_at = NULL WHERE uid = ?1")?.execute([&uid])?;
            connection.prepare_cached("UPDATE object SET removed_at = NULL WHERE uid = ?1")?.execute([&uid])?;
            wake_cancelled_with(connection, name, woken)?;
            wake_waiting_for_app(connection, name, woken)?;
            woken.push(Key::Apps);
        }
    }
    Ok((message.into(), effective))
}

fn care_for_stray(
    connection: &Connection,
    path: &str,
    care: Care,
    now: Timestamp,
) -> Result<(String, bool), StoreError> {
    if care == Care::Restore {
        return Ok(("belongs to nothing that it could be restored to; keep leaves it where it is".into(), false));
    }
    let kept_at = (care == Care::Keep).then_some(now.0);
    let changed = connection
        .prepare_cached("UPDATE stray SET kept_at = ?2 WHERE path = ?1 AND (kept_at IS NULL) <> (?2 IS NULL)")?
        .execute(params![path, kept_at])?;
    Ok(match (changed, care) {
        (0, _) => ("is not listed, or that has been said before".into(), false),
        (_, Care::Release) => ("is not kept any more".into(), true),
        _ => ("is kept".into(), true),
    })
}
