//! What maintenance looks at and writes: apps that stay away, and tasks that have been in their phase for long. Every query stands on an
//! index, and what is written in one pass is bounded, so that a long history neither slows it down nor holds anybody up.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::commit::{wake_tasks, wake_waiting_for_app};
use super::rows::{task_status, time, time_or_none, word};
use super::{Held, Store, StoreError, purge, stray};
use crate::import::FROM_THE_OLD_SYSTEM;
use crate::plan::Key;
use crate::plan::action::Permit;
use crate::plan::apps::SOURCE_SUSPECT;
use crate::plan::maintenance::{AgedAttempt, AgedRun, AgedTask, MissingApp, ObservedMaintenance, OldEvents, Rules};
use crate::resource::attempt::AttemptId;
use crate::resource::name::Uid;
use crate::resource::time::{Span, Timestamp};

/// Rows of each rule that one pass is about; those that a rule leaves alone as they are do not count, or they would hide what is behind them. A pass is one transaction, and dispatch goes on between two. With a hundred a task that is dropped
/// meanwhile waited for up to 73 ms (`benches/maintenance.rs`).
pub(super) const BATCH: usize = 25;

/// As the limit of a query: none.
const ALL: i64 = -1;

/// Apps that an AppSet found, or that were imported, and that are missing for long. Without their AppSet nobody says how many of those that it
/// found may go at once, so they stay.
pub(super) const MISSING: &str =
    "SELECT o.uid, o.name, o.spec ->> 'path' AS path, o.created_at, p.missing_since, c.uid IS NOT NULL AS suspect
     FROM app p JOIN object o ON o.uid = p.uid
     LEFT JOIN object s ON s.kind = 'AppSet' AND s.name = p.app_set AND s.removed_at IS NULL
     LEFT JOIN condition c ON c.uid = s.uid AND c.type = ?3 AND c.holds = 1
     WHERE p.missing_since IS NOT NULL AND p.deleted_at IS NULL AND p.missing_since < ?1
       AND (?4 IS NULL OR 'app/' || o.name IN (SELECT value FROM json_each(?4)))
       AND (s.uid IS NOT NULL OR (p.app_set IS NOT NULL AND o.file = ?5)) AND p.kept_at IS NULL AND o.removed_at IS NULL
     ORDER BY p.missing_since LIMIT ?2";

/// Tasks that have not ended and are in their phase for long, with the open attempt of each: those in a queue, or the others, but for what waits
/// for a person or a directory, which is always left alone.
pub(super) const AGED: &str = "SELECT t.*, a.number, a.deadline_at, a.analyzer AS slot_of,
         (SELECT max(l.opened_at) FROM attempt l WHERE l.analyzer = t.analyzer) AS lane_moved_at,
         (SELECT o.spec ->> '$.rate.per' FROM object o WHERE o.kind = 'Analyzer' AND o.name = t.analyzer AND o.removed_at IS NULL) AS lane_per,
         (SELECT o.spec ->> '$.rate.per' FROM object o WHERE o.kind = 'Pool' AND o.name = t.pool AND o.removed_at IS NULL) AS pool_per,
         EXISTS (SELECT 1 FROM attempt l INDEXED BY attempt_slot WHERE l.analyzer = t.analyzer AND l.outcome IS NULL)
             OR EXISTS (SELECT 1 FROM attempt l INDEXED BY attempt_draining WHERE l.analyzer = t.analyzer AND l.slot_until > ?6 AND l.ended_at <= ?6)
             OR EXISTS (SELECT 1 FROM attempt l INDEXED BY attempt_pool_open WHERE l.pool = t.pool AND l.outcome IS NULL) AS lane_busy
     FROM task t LEFT JOIN attempt a ON a.task_uid = t.uid AND a.outcome IS NULL
     WHERE t.phase = ?1 AND t.aside_at IS NULL AND t.finished_at IS NULL AND t.since < ?2
       AND (t.reason IN ('Queued', 'BreakerOpen')) = ?5 AND t.reason NOT IN ('Suspended', 'AppMissing')
       AND (?4 IS NULL OR 'task/' || t.name IN (SELECT value FROM json_each(?4)))
     ORDER BY t.since LIMIT ?3";

/// Tasks that ended long ago.
pub(super) const FINISHED: &str =
    "SELECT t.*, NULL AS number, NULL AS lane_moved_at, NULL AS lane_per, NULL AS pool_per, 0 AS lane_busy FROM task t
     WHERE t.aside_at IS NULL AND t.finished_at IS NOT NULL AND t.run IS NULL AND t.kept_at IS NULL AND t.finished_at < ?1
       AND (?3 IS NULL OR 'task/' || t.name IN (SELECT value FROM json_each(?3)))
     ORDER BY t.finished_at LIMIT ?2";

/// Runs that ended long ago, and that no other run asked for: those go with it.
pub(super) const FINISHED_RUNS: &str = "SELECT uid, name, version, phase, finished_at FROM run
     WHERE parent IS NULL AND finished_at IS NOT NULL AND aside_at IS NULL AND kept_at IS NULL AND finished_at < ?1
       AND (?3 IS NULL OR 'run/' || name IN (SELECT value FROM json_each(?3)))
     ORDER BY finished_at LIMIT ?2";

/// Tasks that run on an app.
pub(super) const RUNNING_ON: &str = "SELECT uid FROM task WHERE phase = 'Running' AND app = ?1";

/// Tasks that were cancelled with their app, which is there again.
pub(super) const REVIVED: &str = "SELECT t.uid, NULL FROM task t INDEXED BY task_of_deleted_app
     JOIN object o ON o.kind = 'App' AND o.name = t.app AND o.removed_at IS NULL
     WHERE t.phase = 'Cancelled' AND t.reason = 'AppDeleted' AND t.removed = 0";

/// Tasks that were cancelled with their app.
pub(super) const CANCELLED_WITH: &str = "SELECT uid FROM task INDEXED BY task_of_deleted_app WHERE app = ?1 AND phase = 'Cancelled' AND reason = 'AppDeleted' AND removed = 0";

impl Store {
    /// What a maintenance plan looks at; with `only`, no other objects than these, such as `task/lint`. What is on the disk is for the caller to add.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_maintenance(
        &self,
        rules: Rules,
        only: Option<Vec<String>>,
        held: Held,
        now: Timestamp,
    ) -> Result<ObservedMaintenance, StoreError> {
        self.read(move |connection| {
            let only = only.map(|names| serde_json::Value::from(names).to_string());
            let only = only.as_deref();
            let mut apps = Vec::new();
            if let Some(before) = rules.before(rules.missing_app, now) {
                apps = missing(connection, before, only)?;
            }
            let mut tasks = Vec::new();
            let mut more = apps.len() == BATCH;
            // Those in a queue come last, as most of them are left alone.
            let aged =
                [("Running", false, rules.stuck), ("Pending", false, rules.pending), ("Pending", true, rules.pending)];
            for (phase, queued, threshold) in aged {
                if let Some(before) = rules.before(threshold, now).filter(|_| !(queued && more)) {
                    let mut statement = connection.prepare_cached(AGED)?;
                    let mut rows = statement.query(params![phase, before.0, ALL, only, queued, now.0])?;
                    let is_about = |task: &AgedTask| !task.is_left_alone(rules, now);
                    more |= read_tasks(&mut rows, &held, is_about, &mut tasks)?;
                }
            }
            let mut runs = Vec::new();
            if let Some(before) = rules.before(rules.finished, now) {
                let mut statement = connection.prepare_cached(FINISHED)?;
                let mut rows = statement.query(params![before.0, BATCH, only])?;
                more |= read_tasks(&mut rows, &held, |_| true, &mut tasks)?;
                runs = finished_runs(connection, before, only)?;
                // A run goes in several steps, each of which lists it again.
                more |= !runs.is_empty();
            }
            let mut aside = Vec::new();
            if let Some(before) = rules.before(rules.quarantine, now) {
                aside = purge::ripe(connection, before, only, &mut more)?;
            }
            let mut events = OldEvents::default();
            if let Some(before) = rules.events_before(now) {
                events = purge::old_events(connection, before)?;
                more |= events.count == BATCH as u64;
            }
            let removals = stray::has_removals(connection)?;
            let permit = Permit::All;
            let (strays, strays_gone) = (Vec::new(), Vec::new());
            Ok(ObservedMaintenance {
                rules,
                permit,
                apps,
                tasks,
                runs,
                aside,
                strays,
                strays_gone,
                events,
                removals,
                more,
            })
        })
        .await
    }
}

fn missing(connection: &Connection, before: Timestamp, only: Option<&str>) -> Result<Vec<MissingApp>, StoreError> {
    let mut statement = connection.prepare_cached(MISSING)?;
    let mut rows = statement.query(params![before.0, ALL, SOURCE_SUSPECT, only, FROM_THE_OLD_SYSTEM])?;
    let mut apps = Vec::new();
    while apps.len() < BATCH
        && let Some(row) = rows.next()?
    {
        let app = MissingApp {
            uid: Uid(row.get("uid")?),
            name: row.get("name")?,
            path: row.get("path")?,
            created_at: time(row, "created_at")?,
            missing_since: time(row, "missing_since")?,
            suspect: row.get("suspect")?,
            present: None,
        };
        apps.extend(Some(app).filter(|app| !app.suspect));
    }
    Ok(apps)
}

fn finished_runs(connection: &Connection, before: Timestamp, only: Option<&str>) -> Result<Vec<AgedRun>, StoreError> {
    let mut statement = connection.prepare_cached(FINISHED_RUNS)?;
    let mut rows = statement.query(params![before.0, BATCH, only])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(AgedRun {
            uid: Uid(row.get("uid")?),
            name: row.get("name")?,
            version: row.get("version")?,
            phase: word(row, "phase")?,
            finished_at: time(row, "finished_at")?,
        });
    }
    Ok(runs)
}

/// Reads a batch of what the pass is about; says whether it was a full one.
fn read_tasks(
    rows: &mut rusqlite::Rows<'_>,
    held: &Held,
    is_about: impl Fn(&AgedTask) -> bool,
    tasks: &mut Vec<AgedTask>,
) -> Result<bool, StoreError> {
    let full = tasks.len() + BATCH;
    while tasks.len() < full
        && let Some(row) = rows.next()?
    {
        tasks.extend(Some(aged(row, held)?).filter(&is_about));
    }
    Ok(tasks.len() == full)
}

fn aged(row: &Row<'_>, held: &Held) -> Result<AgedTask, StoreError> {
    let uid = Uid(row.get("uid")?);
    let number: Option<u32> = row.get("number")?;
    let open = match number {
        None => None,
        Some(number) => {
            let id = AttemptId { task: uid.clone(), number };
            let carried = held.contains_key(&id);
            Some(AgedAttempt { id, analyzer: row.get("slot_of")?, deadline_at: time(row, "deadline_at")?, carried })
        }
    };
    let period = |column: &str| -> Result<Span, StoreError> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or_default())
    };
    Ok(AgedTask {
        lane_period: period("lane_per")?.max(period("pool_per")?),
        name: row.get("name")?,
        analyzer: row.get("analyzer")?,
        version: row.get("version")?,
        status: task_status(row)?,
        since: time(row, "since")?,
        open,
        lane_moved_at: time_or_none(row, "lane_moved_at")?,
        lane_busy: row.get("lane_busy")?,
        generation: row.get("generation")?,
        uid,
    })
}

/// Deletes the record of an app that is missing since the same moment, and wakes the tasks that are not over.
pub(super) fn delete_app(
    connection: &Connection,
    uid: &Uid,
    missing_since: Timestamp,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached("UPDATE app SET deleted_at = ?3 WHERE uid = ?1 AND missing_since = ?2 AND deleted_at IS NULL")?
        .execute(params![uid.0, missing_since.0, now.0])?;
    if changed == 0 {
        return Err(StoreError::Conflict);
    }
    connection
        .prepare_cached("UPDATE object SET removed_at = ?2 WHERE uid = ?1 AND removed_at IS NULL")?
        .execute(params![uid.0, now.0])?;
    let name: Option<String> = connection
        .prepare_cached("SELECT name FROM object WHERE uid = ?1")?
        .query_row([&uid.0], |row| row.get(0))
        .optional()?;
    let Some(name) = name else { return Ok(()) };
    // Queued ones are told by their lane, which finds no app.
    wake_waiting_for_app(connection, &name, woken)?;
    wake_tasks(connection, RUNNING_ON, &name, woken)
}

/// Adds the tasks that were cancelled with an app of this name: it is there again.
pub(super) fn wake_cancelled_with(connection: &Connection, app: &str, woken: &mut Vec<Key>) -> Result<(), StoreError> {
    wake_tasks(connection, CANCELLED_WITH, app, woken)
}
