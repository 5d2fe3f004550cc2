//! Observing: one read that turns rows into what a plan looks at.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::replica::{replicas, waiting_count};
use super::rows::{app_facts, findings, json_column, json_column_or_empty, task_status, time, word, word_or_none};
use super::{Store, StoreError};
use crate::import::FROM_THE_OLD_SYSTEM;
use crate::plan::apps::{GONE_ACCEPTED, KnownApp, NAME_TAKEN, ObservedSet, SOURCE_SUSPECT};
use crate::plan::budgets::Budgets;
use crate::plan::lane::{Candidate, ObservedLane};
use crate::plan::merge::Told;
use crate::plan::task::{AttemptFacts, Carried, EndedAttempt, ObservedTask};
use crate::resource::analyzer::{AnalyzerSpec, Rate};
use crate::resource::app_set::AppSetSpec;
use crate::resource::attempt::AttemptId;
use crate::resource::name::Uid;
use crate::resource::outcome::Outcome;
use crate::resource::reason::Reason;
use crate::resource::task::TaskSpec;
use crate::resource::time::Timestamp;

/// The attempts that this process carries, as they were before the store was read.
pub type Held = HashMap<AttemptId, Carried>;

/// Occupied slots by replica, and when the first abandoned one becomes free.
type Occupied = (Vec<(String, u32)>, Option<Timestamp>);

/// Pending tasks that one pass looks at, beyond the free slots: so many may be held back without another pass.
const CANDIDATES_EXTRA: usize = 64;

/// Attempts that one pass opens at most; an analyzer with more free slots gets another pass at once.
const OPENINGS_MAX: usize = 1024;

/// One task with its references.
pub(super) const TASK: &str =
    "SELECT t.*, o.spec AS spec, a.uid AS app_uid, a.spec AS app_spec, p.missing_since, p.tree_digest, p.tree_seen_at,
         z.spec AS analyzer_spec,
         EXISTS (SELECT 1 FROM object d JOIN app q ON q.uid = d.uid
                 WHERE d.kind = 'App' AND d.name = t.app AND q.deleted_at IS NOT NULL) AS app_deleted,
         EXISTS (SELECT 1 FROM object q WHERE q.kind = 'Pool' AND q.name = t.pool AND q.removed_at IS NULL) AS pool_known
     FROM task t
     JOIN object o ON o.uid = t.uid
     LEFT JOIN object a ON a.kind = 'App' AND a.name = t.app AND a.removed_at IS NULL
     LEFT JOIN app p ON p.uid = a.uid
     LEFT JOIN object z ON z.kind = 'Analyzer' AND z.name = t.analyzer AND z.removed_at IS NULL
     WHERE t.uid = ?1";

/// The attempts of one round of a task.
pub(super) const ATTEMPTS: &str = "SELECT * FROM attempt WHERE task_uid = ?1 AND round = ?2 ORDER BY number";

/// What the attempts of a round told of their tools.
pub(super) const TOLD: &str = "SELECT number, generation, asked, outcome, coalesce(message, '') AS message, tools FROM attempt
     WHERE task_uid = ?1 AND round = ?2 AND outcome IS NOT NULL AND tools IS NOT NULL AND tools <> '[]' ORDER BY number";

/// Where the latest attempts of a round went and how they ended, newest first.
pub(super) const TRIED: &str = "SELECT replica, outcome, reason FROM attempt
     WHERE task_uid = ?1 AND round = ?2 AND outcome IS NOT NULL ORDER BY number DESC";

/// Slots of an analyzer that open attempts occupy. Without the hint SQLite reads every attempt that the analyzer ever had.
pub(super) const OPEN: &str =
    "SELECT replica FROM attempt INDEXED BY attempt_slot WHERE analyzer = ?1 AND outcome IS NULL";

/// Slots that attempts occupy which have ended, while the other side may still be working. Not those that were opened in the future: after a
/// clock was turned back they would stay taken for longer than any of them may run.
pub(super) const DRAINING: &str = "SELECT replica, slot_until FROM attempt INDEXED BY attempt_draining WHERE analyzer = ?1 AND slot_until > ?2 AND opened_at <= ?2";

/// The head of an analyzer's queue, without the tasks of pools that have nothing left. The queue's index alone decides who that is.
pub(super) const CANDIDATES: &str = "SELECT t.*, o.spec AS spec, a.uid AS app_uid, a.spec AS app_spec, p.missing_since,
         p.tree_digest, p.tree_seen_at
     FROM (SELECT uid FROM task INDEXED BY task_queue WHERE analyzer = ?1 AND phase = 'Pending' AND reason = 'Queued'
               AND (pool IS NULL OR pool NOT IN (SELECT value FROM json_each(?3)))
           ORDER BY priority DESC, turn, created_at, uid LIMIT ?2) head
     JOIN task t ON t.uid = head.uid
     JOIN object o ON o.uid = t.uid
     LEFT JOIN object a ON a.kind = 'App' AND a.name = t.app AND a.removed_at IS NULL
     LEFT JOIN app p ON p.uid = a.uid
     ORDER BY t.priority DESC, t.turn, t.created_at, t.uid";

/// The latest openings of an analyzer, for its rate. Where a result was reused, nothing was started. Bounded on both sides, so that openings
/// which a clock turned back left in the future do not hide those that count.
pub(super) const OPENED: &str =
    "SELECT opened_at FROM attempt WHERE analyzer = ?1 AND opened_at > ?2 AND opened_at < ?3 AND reason IS NOT 'Reused'
     ORDER BY opened_at DESC LIMIT ?4";

impl Store {
    /// What a task plan looks at; `None` when there is no such task.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_task(
        &self,
        uid: Uid,
        held: Held,
        budgets: Budgets,
    ) -> Result<Option<ObservedTask>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(TASK)?;
            let mut rows = statement.query([&uid.0])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let status = task_status(row)?;
            let analyzer: Option<String> = row.get("analyzer_spec")?;
            let spec: TaskSpec = json_column(row, "spec")?;
            let attempts = attempts(connection, &uid, status.round, &held)?;
            let known = if unreached(&attempts) { replicas(connection, &spec.analyzer)? } else { Vec::new() };
            Ok(Some(ObservedTask {
                name: row.get("name")?,
                generation: row.get("generation")?,
                removed: row.get("removed")?,
                spec,
                version: row.get("version")?,
                cancel_round: row.get("cancel_round")?,
                cancel_generation: row.get("cancel_generation")?,
                retry_round: row.get("retry_round")?,
                hurry_version: row.get("hurry_version")?,
                replicas: known,
                attempts,
                app: app_facts(row)?,
                app_deleted: row.get("app_deleted")?,
                analyzer: analyzer.map(|spec| super::rows::json(&spec)).transpose()?,
                pool: row.get("pool")?,
                pool_known: row.get("pool_known")?,
                since: time(row, "since")?,
                status,
                uid,
                budgets,
            }))
        })
        .await
    }

    /// What a lane plan looks at.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_lane(
        &self,
        analyzer: String,
        now: Timestamp,
        budgets: Budgets,
    ) -> Result<ObservedLane, StoreError> {
        self.read(move |connection| {
            let spec: Option<String> = connection
                .prepare_cached("SELECT spec FROM object WHERE kind = 'Analyzer' AND name = ?1 AND removed_at IS NULL")?
                .query_row([&analyzer], |row| row.get(0))
                .optional()?;
            let spec: Option<AnalyzerSpec> = spec.map(|spec| super::rows::json(&spec)).transpose()?;
            let (occupied, slot_free_at) = occupied(connection, &analyzer, now)?;
            let total = spec.as_ref().map_or(0, |spec| spec.replicas().len() * spec.capacity as usize);
            let used: usize = occupied.iter().map(|(_, used)| *used as usize).sum();
            let limit = total.saturating_sub(used).min(OPENINGS_MAX) + CANDIDATES_EXTRA;
            let pools = super::pool::of_lane(connection, &analyzer, now)?;
            let closed = pools.iter().filter(|pool| pool.left(now) == 0).map(|pool| pool.name.as_str()).collect();
            let mut candidates = candidates(connection, &analyzer, limit + 1, closed)?;
            let more = candidates.len() > limit;
            candidates.truncate(limit);
            let opened = match spec.as_ref().and_then(|spec| spec.rate) {
                Some(rate) => opened(connection, &analyzer, rate, now)?,
                None => Vec::new(),
            };
            let (replicas, waiting) = match spec.as_ref().and_then(|spec| spec.websocket.as_ref()) {
                Some(_) => (replicas(connection, &analyzer)?, waiting_count(connection, &analyzer)?),
                None => (Vec::new(), 0),
            };
            Ok(ObservedLane {
                analyzer,
                spec,
                occupied,
                slot_free_at,
                replicas,
                waiting,
                opened,
                pools,
                candidates,
                more,
                budgets,
            })
        })
        .await
    }

    /// Every AppSet with its spec, and every App, without what a scan of the disk will add.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_apps(&self) -> Result<(Vec<(ObservedSet, AppSetSpec)>, Vec<KnownApp>), StoreError> {
        self.read(|connection| Ok((app_sets(connection)?, known_apps(connection)?))).await
    }
}

/// Whether the latest attempt reached nobody, so that it matters where else the task can go.
fn unreached(attempts: &[AttemptFacts]) -> bool {
    let last = attempts.last().and_then(|attempt| attempt.ended.as_ref());
    last.is_some_and(|ended| ended.outcome == Outcome::Unavailable)
}

fn attempts(connection: &Connection, uid: &Uid, round: i64, held: &Held) -> Result<Vec<AttemptFacts>, StoreError> {
    let mut statement = connection.prepare_cached(ATTEMPTS)?;
    let mut rows = statement.query(params![uid.0, round])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(attempt(row, uid, held)?);
    }
    Ok(attempts)
}

fn attempt(row: &Row<'_>, uid: &Uid, held: &Held) -> Result<AttemptFacts, StoreError> {
    let id = AttemptId { task: uid.clone(), number: row.get("number")? };
    let pid: Option<i32> = row.get("pid")?;
    let pid_start: Option<i64> = row.get("pid_start")?;
    let ended = match word_or_none(row, "outcome")? {
        None => None,
        Some(outcome) => Some(EndedAttempt {
            outcome,
            reason: word(row, "reason")?,
            message: row.get("message")?,
            at: time(row, "ended_at")?,
            findings: findings(row)?,
            tools: json_column_or_empty(row, "tools")?,
        }),
    };
    Ok(AttemptFacts {
        generation: row.get("generation")?,
        analyzer: row.get("analyzer")?,
        asked: json_column(row, "asked")?,
        replica: row.get("replica")?,
        opened_at: time(row, "opened_at")?,
        deadline_at: time(row, "deadline_at")?,
        resumable: row.get("resumable")?,
        process: pid.zip(pid_start.map(i64::unsigned_abs)),
        carried: held.get(&id).copied(),
        ended,
        id,
    })
}

fn occupied(connection: &Connection, analyzer: &str, now: Timestamp) -> Result<Occupied, StoreError> {
    let mut used: HashMap<String, u32> = HashMap::new();
    let mut open = connection.prepare_cached(OPEN)?;
    for replica in open.query_map([analyzer], |row| row.get::<_, String>(0))? {
        *used.entry(replica?).or_default() += 1;
    }
    let mut free_at: Option<Timestamp> = None;
    let mut draining = connection.prepare_cached(DRAINING)?;
    for row in draining.query_map(params![analyzer, now.0], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
        let (replica, until) = row?;
        *used.entry(replica).or_default() += 1;
        free_at = Some(free_at.map_or(Timestamp(until), |at| at.min(Timestamp(until))));
    }
    let mut used: Vec<(String, u32)> = used.into_iter().collect();
    used.sort();
    Ok((used, free_at))
}

fn candidates(
    connection: &Connection,
    analyzer: &str,
    limit: usize,
    closed_pools: Vec<&str>,
) -> Result<Vec<Candidate>, StoreError> {
    let mut statement = connection.prepare_cached(CANDIDATES)?;
    let closed = serde_json::Value::from(closed_pools).to_string();
    let mut rows = statement.query(params![analyzer, i64::try_from(limit).unwrap_or(i64::MAX), closed])?;
    let mut candidates = Vec::new();
    while let Some(row) = rows.next()? {
        let status = task_status(row)?;
        let cancel_round: i64 = row.get("cancel_round")?;
        let uid: String = row.get("uid")?;
        // Fresh tasks, which are most of a queue, cost no query of their own.
        let (told, tried) = match status.started_at {
            Some(_) => (told(connection, &uid, status.round)?, tried(connection, &uid, status.round)?),
            None => (Vec::new(), Vec::new()),
        };
        candidates.push(Candidate {
            uid: Uid(uid),
            told,
            tried,
            name: row.get("name")?,
            generation: row.get("generation")?,
            unwanted: row.get::<_, bool>("removed")? || cancel_round >= status.round,
            spec: json_column(row, "spec")?,
            pool: row.get("pool")?,
            version: row.get("version")?,
            app: app_facts(row)?,
            since: time(row, "since")?,
            no_cache: row.get::<_, i64>("no_cache_round")? >= status.round,
            stamp: None,
            reusable: None,
            status,
        });
    }
    Ok(candidates)
}

/// What the ended attempts of a round told of their tools.
fn told(connection: &Connection, uid: &str, round: i64) -> Result<Vec<Told>, StoreError> {
    let mut statement = connection.prepare_cached(TOLD)?;
    let mut rows = statement.query(params![uid, round])?;
    let mut told = Vec::new();
    while let Some(row) = rows.next()? {
        told.push(Told {
            number: row.get("number")?,
            generation: row.get("generation")?,
            asked: json_column(row, "asked")?,
            outcome: word(row, "outcome")?,
            message: row.get("message")?,
            tools: json_column(row, "tools")?,
        });
    }
    Ok(told)
}

/// The replicas at which the latest attempts of a round reached nobody. One for which the disk was full sent nothing either, and asked nobody.
fn tried(connection: &Connection, uid: &str, round: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(TRIED)?;
    let mut rows = statement.query(params![uid, round])?;
    let mut tried = Vec::new();
    while let Some(row) = rows.next()? {
        match (word(row, "outcome")?, word(row, "reason")?) {
            (_, Reason::DiskFull) => {}
            (Outcome::Unavailable, _) => tried.push(row.get("replica")?),
            _ => break,
        }
    }
    Ok(tried)
}

/// When attempts were opened on an analyzer that count for its rate, newest first, at most as many as the rate allows.
pub(super) fn opened(
    connection: &Connection,
    analyzer: &str,
    Rate { limit, per }: Rate,
    now: Timestamp,
) -> Result<Vec<Timestamp>, StoreError> {
    let mut statement = connection.prepare_cached(OPENED)?;
    let within = params![analyzer, now.minus(per).0, now.plus(per).0, limit];
    let times = statement.query_map(within, |row| row.get(0).map(Timestamp))?;
    Ok(times.collect::<Result<_, _>>()?)
}

fn app_sets(connection: &Connection) -> Result<Vec<(ObservedSet, AppSetSpec)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT o.uid, o.name, o.spec, s.message AS suspect, t.message AS taken, a.uid IS NOT NULL AS accepted,
             (SELECT device FROM source WHERE uid = o.uid) AS device
         FROM object o
         LEFT JOIN condition s ON s.uid = o.uid AND s.type = ?1 AND s.holds = 1
         LEFT JOIN condition t ON t.uid = o.uid AND t.type = ?2 AND t.holds = 1
         LEFT JOIN condition a ON a.uid = o.uid AND a.type = ?3 AND a.holds = 1
         WHERE o.kind = 'AppSet' AND o.removed_at IS NULL ORDER BY o.name",
    )?;
    let mut rows = statement.query([SOURCE_SUSPECT, NAME_TAKEN, GONE_ACCEPTED])?;
    let mut sets = Vec::new();
    while let Some(row) = rows.next()? {
        let spec: AppSetSpec = json_column(row, "spec")?;
        let set = ObservedSet {
            uid: Uid(row.get("uid")?),
            name: row.get("name")?,
            max_disappear: spec.max_disappear,
            suspect: row.get("suspect")?,
            taken: row.get("taken")?,
            accepted: row.get("accepted")?,
            known_device: row.get("device")?,
            device: None,
            scan: Err("not scanned yet".into()),
        };
        sets.push((set, spec));
    }
    Ok(sets)
}

fn known_apps(connection: &Connection) -> Result<Vec<KnownApp>, StoreError> {
    let mut statement = connection.prepare_cached(
        // An App whose AppSet is gone belongs to nobody: it is looked at by itself, like one that was written by hand.
        "SELECT o.uid, o.name, o.spec ->> 'path' AS path, s.name AS app_set, p.missing_since, o.line = 0 AND o.file = ?1 AS imported
         FROM object o JOIN app p ON p.uid = o.uid
         LEFT JOIN object s ON s.kind = 'AppSet' AND s.name = p.app_set AND s.removed_at IS NULL
         WHERE o.kind = 'App' AND o.removed_at IS NULL ORDER BY o.name",
    )?;
    let apps = statement.query_map([FROM_THE_OLD_SYSTEM], |row| {
        Ok(KnownApp {
            uid: Uid(row.get("uid")?),
            name: row.get("name")?,
            path: row.get("path")?,
            set: row.get("app_set")?,
            imported: row.get("imported")?,
            missing_since: row.get::<_, Option<i64>>("missing_since")?.map(Timestamp),
            present: None,
        })
    })?;
    Ok(apps.collect::<Result<_, _>>()?)
}
