//! Deleting for good. What was set aside goes with its attempts, events and results; what must not come into being again keeps a bare row.

use rusqlite::{Connection, OptionalExtension, params};

use super::aside::tree;
use super::maintenance::BATCH;
use super::rows::time;
use super::{StoreError, stray};
use crate::plan::maintenance::{Aside, OldEvents};
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// Tasks that were set aside long ago.
pub(super) const TASKS: &str = "SELECT uid, name, aside_at AS at FROM task INDEXED BY task_aside
     WHERE aside_at IS NOT NULL AND purged_at IS NULL AND run IS NULL AND kept_at IS NULL AND aside_at < ?1
       AND (?3 IS NULL OR 'task/' || name IN (SELECT value FROM json_each(?3))) ORDER BY aside_at LIMIT ?2";

/// Runs that were set aside long ago.
pub(super) const RUNS: &str = "SELECT uid, name, aside_at AS at FROM run INDEXED BY run_aside
     WHERE parent IS NULL AND aside_at IS NOT NULL AND purged_at IS NULL AND kept_at IS NULL AND aside_at < ?1
       AND (?3 IS NULL OR 'run/' || name IN (SELECT value FROM json_each(?3))) ORDER BY aside_at LIMIT ?2";

/// Apps whose record was deleted long ago.
pub(super) const APPS: &str = "SELECT uid, name, deleted_at AS at FROM app JOIN object USING (uid)
     WHERE deleted_at IS NOT NULL AND kept_at IS NULL AND deleted_at < ?1
       AND (?3 IS NULL OR 'app/' || name IN (SELECT value FROM json_each(?3))) ORDER BY deleted_at LIMIT ?2";

/// Tasks of a run and of the runs below it; at most so many.
pub(super) const TASKS_OF_RUN: &str =
    tree!("SELECT t.uid FROM tree CROSS JOIN task t INDEXED BY task_of_run ON t.run = tree.uid LIMIT ?2");

/// The newest event before a moment, among those from a number on; numbers follow the time of their first happening.
const EVENT_AT: &str = "SELECT id, first_at FROM event WHERE id >= ?1 ORDER BY id LIMIT 1";

/// Old events up to a number, but for those that happened again since.
pub(super) const EVENTS: &str = "SELECT id FROM event WHERE id <= ?1 AND last_at < ?2 ORDER BY id LIMIT ?3";

/// What was set aside, or whose record was deleted, before a moment; a batch of each.
pub(super) fn ripe(
    connection: &Connection,
    before: Timestamp,
    only: Option<&str>,
    more: &mut bool,
) -> Result<Vec<Aside>, StoreError> {
    let mut aside = Vec::new();
    for (kind, query) in [(Kind::App, APPS), (Kind::Run, RUNS), (Kind::Task, TASKS)] {
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(params![before.0, BATCH, only])?;
        let known = aside.len();
        while let Some(row) = rows.next()? {
            aside.push(Aside { kind, uid: Uid(row.get("uid")?), name: row.get("name")?, at: time(row, "at")? });
        }
        // A run goes in several steps.
        *more |= aside.len() - known == BATCH || (kind == Kind::Run && aside.len() > known);
    }
    Ok(aside)
}

/// Deletes for good what was set aside at this moment.
pub(super) fn purge(
    connection: &Connection,
    kind: Kind,
    uid: &Uid,
    aside_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    match kind {
        Kind::App => purge_app(connection, uid, aside_at),
        Kind::Run => purge_run(connection, uid, aside_at, now),
        _ => {
            let query = "SELECT 1 FROM task WHERE uid = ?1 AND aside_at = ?2 AND purged_at IS NULL AND kept_at IS NULL";
            if !connection.prepare_cached(query)?.exists(params![uid.0, aside_at.0])? {
                return Err(StoreError::Conflict);
            }
            purge_task(connection, &uid.0, now)
        }
    }
}

fn purge_app(connection: &Connection, uid: &Uid, deleted_at: Timestamp) -> Result<(), StoreError> {
    let query = "SELECT 1 FROM app WHERE uid = ?1 AND deleted_at = ?2 AND kept_at IS NULL";
    if !connection.prepare_cached(query)?.exists(params![uid.0, deleted_at.0])? {
        return Err(StoreError::Conflict);
    }
    forget(connection, &uid.0)?;
    connection.prepare_cached("DELETE FROM object WHERE uid = ?1")?.execute([&uid.0])?;
    Ok(())
}

/// Deletes what is told of an object.
fn forget(connection: &Connection, uid: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM event WHERE uid = ?1")?.execute([uid])?;
    connection.prepare_cached("DELETE FROM condition WHERE uid = ?1")?.execute([uid])?;
    Ok(())
}

fn purge_task(connection: &Connection, uid: &str, now: Timestamp) -> Result<(), StoreError> {
    let query = "SELECT result_dir FROM attempt WHERE task_uid = ?1 AND result_dir IS NOT NULL";
    let directories: Vec<String> =
        connection.prepare_cached(query)?.query_map([uid], |row| row.get(0))?.collect::<Result<_, _>>()?;
    forget(connection, uid)?;
    connection.prepare_cached("DELETE FROM attempt WHERE task_uid = ?1")?.execute([uid])?;
    for directory in directories {
        stray::ask_removal(connection, &directory, now)?;
    }
    // A task that a manifest still declares would be made again, and run again.
    let declared =
        "SELECT 1 FROM object o JOIN task t USING (uid) WHERE o.uid = ?1 AND o.removed_at IS NULL AND t.run IS NULL";
    if connection.prepare_cached(declared)?.exists([uid])? {
        connection.prepare_cached("UPDATE task SET purged_at = ?2 WHERE uid = ?1")?.execute(params![uid, now.0])?;
        return Ok(());
    }
    connection.prepare_cached("DELETE FROM object WHERE uid = ?1")?.execute([uid])?;
    Ok(())
}

/// Deletes a batch of a run's tasks, and with the last of them whatever else is kept of it.
fn purge_run(connection: &Connection, uid: &Uid, aside_at: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    let query = "SELECT 1 FROM run WHERE uid = ?1 AND aside_at = ?2 AND purged_at IS NULL AND kept_at IS NULL";
    if !connection.prepare_cached(query)?.exists(params![uid.0, aside_at.0])? {
        return Err(StoreError::Conflict);
    }
    let tasks: Vec<String> = connection
        .prepare_cached(TASKS_OF_RUN)?
        .query_map(params![uid.0, BATCH], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for task in &tasks {
        purge_task(connection, task, now)?;
        connection.prepare_cached("DELETE FROM child WHERE uid = ?1")?.execute([task])?;
    }
    if tasks.len() == BATCH {
        return Ok(());
    }
    let below: Vec<String> = connection
        .prepare_cached(tree!("SELECT uid FROM tree"))?
        .query_map([&uid.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for run in &below {
        forget(connection, run)?;
        for table in ["child", "expansion", "approval"] {
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE run = ?1"))?.execute([run])?;
        }
    }
    connection.prepare_cached("DELETE FROM run WHERE parent = ?1")?.execute([&uid.0])?;
    // Its row stays: nobody may take its name, its slot or its generation for a new one.
    connection.prepare_cached("UPDATE run SET purged_at = ?2 WHERE uid = ?1")?.execute(params![uid.0, now.0])?;
    Ok(())
}

/// The oldest events that happened last before a moment; a batch.
pub(super) fn old_events(connection: &Connection, before: Timestamp) -> Result<OldEvents, StoreError> {
    let newest = newest_before(connection, before)?;
    let mut statement = connection.prepare_cached(EVENTS)?;
    let ids: Vec<i64> =
        statement.query_map(params![newest, before.0, BATCH], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(OldEvents { count: ids.len() as u64, last: ids.last().copied().unwrap_or(0), before })
}

/// The number of the newest event that happened first before a moment, by halving: no index grows with every event for this.
fn newest_before(connection: &Connection, before: Timestamp) -> Result<i64, StoreError> {
    let last: Option<i64> = connection.query_row("SELECT max(id) FROM event", [], |row| row.get(0))?;
    let (mut low, mut high) = (0, last.unwrap_or(0).saturating_add(1));
    let mut statement = connection.prepare_cached(EVENT_AT)?;
    // Every event up to `low` is old enough, none from `high` on is.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            statement.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((id, first_at)) if first_at < before.0 => low = id.min(high - 1).max(middle),
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Deletes old events up to a number.
pub(super) fn prune_events(connection: &Connection, last: i64, before: Timestamp) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM event WHERE id <= ?1 AND last_at < ?2")?.execute(params![last, before.0])?;
    Ok(())
}
