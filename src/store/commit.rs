//! Committing a plan: all of its writes or none, each guarded by what the plan saw.

use rusqlite::{Connection, OptionalExtension, params};

use super::observe_lane::check_opened;
use super::replica::forget;
use super::uid::new_uid;
use super::{Store, StoreError, aside, history, maintenance, pins, pipeline, pool, purge, stray};
use crate::import::FROM_THE_OLD_SYSTEM;
use crate::plan::Key;
use crate::plan::mirror::FOUND_ON_DISK;
use crate::plan::write::{CloseAttempt, ConditionWrite, EventWrite, FoundApp, OpenAttempt, TaskWrite, TreeSeen, Write};
use crate::resource::attempt::AttemptId;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// What became of a plan's writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// They are durable. The keys are of objects that waited for one of them.
    Applied(Vec<Key>),
    /// Somebody else moved the state first; nothing was written.
    Conflict,
}

impl Store {
    /// Commits the writes of one plan.
    ///
    /// # Errors
    /// What the database says; a stale plan is [`Committed::Conflict`] and no error.
    pub async fn commit(&self, writes: Vec<Write>, now: Timestamp) -> Result<Committed, StoreError> {
        if writes.is_empty() {
            return Ok(Committed::Applied(Vec::new()));
        }
        let written = self.write(move |connection| {
            let woken = apply_all(connection, &writes, now)?;
            check_opened(connection, &writes, now)?;
            Ok(woken)
        });
        match written.await {
            Ok(woken) => Ok(Committed::Applied(woken)),
            Err(StoreError::Conflict) => Ok(Committed::Conflict),
            Err(error) => Err(error),
        }
    }
}

/// Applies the writes of a plan. Gives the keys of objects that waited for one of them.
pub(super) fn apply_all(connection: &Connection, writes: &[Write], now: Timestamp) -> Result<Vec<Key>, StoreError> {
    let mut woken = Vec::new();
    writes.iter().try_for_each(|write| apply(connection, write, now, &mut woken))?;
    Ok(woken)
}

fn apply(connection: &Connection, write: &Write, now: Timestamp, woken: &mut Vec<Key>) -> Result<(), StoreError> {
    match write {
        Write::Task(write) => set_task(connection, write, now, woken),
        Write::OpenAttempt(open) => open_attempt(connection, open, now),
        Write::TakeUp(id) => check_open(connection, id),
        Write::CloseAttempt(close) => match close_attempt(connection, close)? {
            Some(lanes) => {
                woken.extend(lanes);
                Ok(())
            }
            None => Err(StoreError::Conflict),
        },
        Write::FoundApp(found) => found_app(connection, found, now, woken),
        Write::AppMissing { uid, since } => app_missing(connection, uid, *since, woken),
        Write::SourceSeen { uid, device } => source_seen(connection, uid, *device),
        Write::TreeSeen(seen) => tree_seen(connection, seen, woken),
        Write::DeleteApp { uid, missing_since } => maintenance::delete_app(connection, uid, *missing_since, now, woken),
        Write::SetAside { uid, version } => aside::set_aside(connection, uid, *version, now),
        Write::SetRunAside { uid, version } => aside::set_run_aside(connection, uid, *version, now),
        Write::Purge { kind, uid, aside_at } => purge::purge(connection, *kind, uid, *aside_at, now),
        Write::Stray { path } => stray::list(connection, path, now),
        Write::ForgetStray { path } => stray::forget(connection, path),
        Write::PurgeStray { path, seen_at } => stray::purge(connection, path, *seen_at, now),
        Write::PruneEvents { last, before } => purge::prune_events(connection, *last, *before),
        Write::ForgetReplica { analyzer, url } => forget(connection, analyzer, url),
        Write::Run(write) => pipeline::set_run(connection, write, now, woken),
        Write::CreateRun(create) => pipeline::create_run(connection, create, now, woken),
        Write::AskChild(ask) => pipeline::ask_child(connection, ask, now, woken),
        Write::Conclude(conclude) => pipeline::conclude(connection, conclude),
        Write::CancelChild(cancel) => pipeline::cancel_child(connection, cancel, woken),
        Write::ProducedApp(app) => pipeline::produced_app(connection, app, now, woken),
        Write::Expand { run, step, apps } => pipeline::expand(connection, run, step, apps),
        Write::PinRun(run) => pins::pin(connection, run),
        Write::ScheduleSeen { pipeline_uid, expression, at } => {
            pipeline::schedule_seen(connection, pipeline_uid, expression, *at)
        }
        Write::Unsuspend(uid) => pipeline::unsuspend(connection, uid, now),
        Write::Condition(write) => set_condition(connection, write, now),
        Write::Event(event) => record(connection, event, now),
    }
}

fn set_task(
    connection: &Connection,
    write: &TaskWrite,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let status = &write.status;
    let changed = connection
        .prepare_cached(
            "UPDATE task SET phase = ?3, reason = ?4, message = ?5, observed_generation = ?6, round = ?7, attempt = ?8,
                 next_at = ?9, started_at = ?10, finished_at = ?11, high = ?12, medium = ?13, low = ?14, unrated = ?15,
                 waits = ?16, recoveries = ?17, app_digest = ?18, since = iif(phase = ?3 AND round = ?7, min(since, ?19), ?19),
                 aside_at = iif(?11 IS NULL, NULL, aside_at),
                 purged_at = iif(?11 IS NULL, NULL, purged_at), version = version + 1
             WHERE uid = ?1 AND version = ?2",
        )?
        .execute(params![
            write.uid.0,
            write.version,
            status.phase.as_str(),
            status.reason.as_str(),
            status.message,
            status.observed_generation,
            status.round,
            status.attempt,
            status.next_at.map(|at| at.0),
            status.started_at.map(|at| at.0),
            status.finished_at.map(|at| at.0),
            status.findings.high,
            status.findings.medium,
            status.findings.low,
            status.findings.unrated,
            status.waits,
            status.recoveries,
            status.app_digest,
            now.0,
        ])?;
    if changed == 0 {
        return Err(StoreError::Conflict);
    }
    // Its run hears of its end, and of its starting over. RETURNING would say which it is, and make a table for that each time.
    if status.phase != Phase::Running {
        let run: Option<String> = connection
            .prepare_cached("SELECT run FROM task WHERE uid = ?1")?
            .query_row([&write.uid.0], |row| row.get(0))?;
        woken.extend(run.map(|run| Key::Run(Uid(run))));
    }
    Ok(())
}

fn open_attempt(connection: &Connection, open: &OpenAttempt, now: Timestamp) -> Result<(), StoreError> {
    if open.runs() {
        pool::check_slot(connection, open, now)?;
    }
    let asked = serde_json::to_string(&open.asked).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    connection
        .prepare_cached(
            "INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, resumable, pool, asked,
                 app_digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            open.id.task.0,
            open.id.number,
            open.round,
            open.generation,
            open.analyzer,
            open.replica,
            open.opened_at.0,
            open.deadline_at.0,
            open.resumable,
            open.pool,
            asked,
            open.app_digest,
        ])
        .map_err(|error| match error.sqlite_error_code() {
            // Another open attempt, or this number already: the plan was made on something older.
            Some(rusqlite::ErrorCode::ConstraintViolation) => StoreError::Conflict,
            _ => error.into(),
        })?;
    Ok(())
}

fn check_open(connection: &Connection, id: &AttemptId) -> Result<(), StoreError> {
    let open = connection
        .prepare_cached("SELECT 1 FROM attempt WHERE task_uid = ?1 AND number = ?2 AND outcome IS NULL")?
        .exists(params![id.task.0, id.number])?;
    if open { Ok(()) } else { Err(StoreError::Conflict) }
}

/// Closes an attempt if it is still open. Gives the lanes that wait for a slot of its pool; `None` when it was closed already.
pub(super) fn close_attempt(connection: &Connection, close: &CloseAttempt) -> Result<Option<Vec<Key>>, StoreError> {
    let verdict = &close.verdict;
    // A result of another attempt can only be taken as long as that one was not purged.
    if let (Reason::Reused, Some(result)) = (verdict.reason, &close.result)
        && !stray::is_held(connection, &result.directory)?
    {
        return Ok(None);
    }
    let tools = serde_json::to_string(&verdict.tools).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    // What may still run takes its slot for as long as it was allowed to run at most, though the clock was turned back since it was opened.
    let changed = connection
        .prepare_cached(
            "UPDATE attempt SET ended_at = ?3, outcome = ?4, reason = ?5, message = ?6, tools = ?7, high = ?8, medium = ?9,
                 low = ?10, unrated = ?11, result_dir = ?12, result_sha256 = ?13, result_bytes = ?14,
                 slot_until = min(?15, ?3 + deadline_at - opened_at), cache_key = ?16, outputs = ?17
             WHERE task_uid = ?1 AND number = ?2 AND outcome IS NULL",
        )?
        .execute(params![
            close.id.task.0,
            close.id.number,
            close.at.0,
            verdict.outcome.as_str(),
            verdict.reason.as_str(),
            verdict.message,
            tools,
            verdict.findings.high,
            verdict.findings.medium,
            verdict.findings.low,
            verdict.findings.unrated,
            close.result.as_ref().map(|result| &result.directory),
            close.result.as_ref().map(|result| &result.sha256),
            close.result.as_ref().map(|result| result.bytes),
            close.slot_until.map(|at| at.0),
            close.cache_key,
            serde_json::Value::Object((*verdict.outputs).clone()).to_string(),
        ])?;
    if changed == 1 { pool::freed_by(connection, &close.id).map(Some) } else { Ok(None) }
}

fn tree_seen(connection: &Connection, seen: &TreeSeen, woken: &mut Vec<Key>) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached(
            "UPDATE app SET tree_digest = ?2, tree_seen_at = ?3
             WHERE uid = ?1 AND EXISTS (SELECT 1 FROM object o WHERE o.uid = ?1 AND o.generation = ?4)",
        )?
        .execute(params![seen.uid.0, seen.digest, seen.at.0, seen.generation])?;
    // Another spec says another place.
    if changed == 0 {
        return Err(StoreError::Conflict);
    }
    wake_waiting_for(connection, &seen.uid, woken)
}

fn found_app(
    connection: &Connection,
    found: &FoundApp,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let file = format!("{FOUND_ON_DISK}{}", found.app_set);
    // Only a removed App, one that is nobody's (imported, or found by an AppSet that is gone), one of the same AppSet that has moved, or none, gives way to what a scan found; a name that is taken stays taken.
    history::keep_removed(connection, Kind::App, &found.name)?;
    let uid: Option<String> = connection
        .prepare_cached(
            "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)
             VALUES (?1, 'App', ?2, ?3, '{}', ?4, 1, ?5, ?5, ?6, 0, '')
             ON CONFLICT (kind, name) DO UPDATE SET
                 generation = generation + (spec <> excluded.spec), spec = excluded.spec, labels = excluded.labels,
                 annotations = iif(removed_at IS NULL, annotations, excluded.annotations), file = excluded.file, line = 0, digest = '', git_commit = NULL,
                 revision = revision + (manifest_digest <> ''), manifest = '', manifest_digest = '', revised_at = excluded.updated_at,
                 updated_at = excluded.updated_at, removed_at = NULL
             WHERE removed_at IS NOT NULL OR (line = 0 AND (file = ?7 OR EXISTS (
                 SELECT 1 FROM app p WHERE p.uid = object.uid AND p.app_set IS NOT NULL
                     AND (p.app_set = ?8 OR NOT EXISTS (
                         SELECT 1 FROM object s WHERE s.kind = 'AppSet' AND s.name = p.app_set AND s.removed_at IS NULL)))))
             RETURNING uid",
        )?
        .query_row(
            params![new_uid(now).0, found.name, found.labels, found.spec, now.0, file, FROM_THE_OLD_SYSTEM, found.app_set],
            |row| row.get(0),
        )
        .optional()?;
    let Some(uid) = uid else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT INTO app (uid, app_set) VALUES (?1, ?2)
             ON CONFLICT (uid) DO UPDATE SET app_set = excluded.app_set, missing_since = NULL, deleted_at = NULL,
                 tree_digest = NULL, tree_seen_at = NULL",
        )?
        .execute(params![uid, found.app_set])?;
    maintenance::wake_cancelled_with(connection, &found.name, woken)?;
    let event = EventWrite {
        uid: Uid(uid),
        kind: Kind::App,
        name: found.name.clone(),
        event_type: EventType::Normal,
        reason: "Found",
        message: format!("by AppSet {}", found.app_set),
    };
    record(connection, &event, now)?;
    wake_waiting_for_app(connection, &found.name, woken)
}

fn source_seen(connection: &Connection, uid: &Uid, device: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO source (uid, device) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET device = ?2")?
        .execute(params![uid.0, device])?;
    Ok(())
}

fn app_missing(
    connection: &Connection,
    uid: &Uid,
    since: Option<Timestamp>,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    connection
        // What was read of it before it went says nothing about what comes back.
        .prepare_cached("UPDATE app SET missing_since = ?2, tree_digest = NULL, tree_seen_at = NULL WHERE uid = ?1")?
        .execute(params![uid.0, since.map(|at| at.0)])?;
    if since.is_none() {
        woken.push(Key::Tree(uid.clone()));
    }
    wake_waiting_for(connection, uid, woken)
}

fn wake_waiting_for(connection: &Connection, uid: &Uid, woken: &mut Vec<Key>) -> Result<(), StoreError> {
    let name: Option<String> = connection
        .prepare_cached("SELECT name FROM object WHERE uid = ?1")?
        .query_row([&uid.0], |row| row.get(0))
        .optional()?;
    name.map_or(Ok(()), |name| wake_waiting_for_app(connection, &name, woken))
}

/// Tasks that are held and name an app.
pub(super) const WAITING_FOR_APP: &str =
    "SELECT uid FROM task WHERE app = ?1 AND phase = 'Pending' AND reason <> 'Queued'";

/// The latest event of an object, if it is the same as this one.
pub(super) const REPEAT: &str = "UPDATE event SET count = count + 1, last_at = ?4
     WHERE id = (SELECT max(id) FROM event WHERE uid = ?1) AND reason = ?2 AND message = ?3";

/// Adds the tasks that are held and name this app.
pub(super) fn wake_waiting_for_app(connection: &Connection, app: &str, woken: &mut Vec<Key>) -> Result<(), StoreError> {
    wake_tasks(connection, WAITING_FOR_APP, app, woken)
}

/// Adds the tasks that a query finds for a name.
pub(super) fn wake_tasks(
    connection: &Connection,
    query: &str,
    name: &str,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(query)?;
    for uid in statement.query_map([name], |row| row.get(0))? {
        woken.push(Key::Task(Uid(uid?)));
    }
    Ok(())
}

pub(super) fn set_condition(connection: &Connection, write: &ConditionWrite, now: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO condition (uid, type, holds, reason, message, changed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (uid, type) DO UPDATE SET
                 changed_at = iif(holds = excluded.holds, changed_at, excluded.changed_at),
                 holds = excluded.holds, reason = excluded.reason, message = excluded.message
             WHERE holds <> excluded.holds OR reason <> excluded.reason OR message <> excluded.message",
        )?
        .execute(params![write.uid.0, write.condition, write.holds, write.reason, write.message, now.0])?;
    Ok(())
}

/// Records an event; the same one again only counts up.
pub(super) fn record(connection: &Connection, event: &EventWrite, now: Timestamp) -> Result<(), StoreError> {
    let repeated =
        connection.prepare_cached(REPEAT)?.execute(params![event.uid.0, event.reason, event.message, now.0])?;
    if repeated == 0 { record_first(connection, event, now) } else { Ok(()) }
}

/// Records an event that cannot be a repetition.
pub(super) fn record_first(connection: &Connection, event: &EventWrite, now: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO event (uid, kind, name, type, reason, message, first_at, last_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        )?
        .execute(params![
            event.uid.0,
            event.kind.as_str(),
            event.name,
            event.event_type.as_str(),
            event.reason,
            event.message,
            now.0
        ])?;
    Ok(())
}
