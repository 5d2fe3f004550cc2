//! Observing: one read that turns rows into what a plan looks at.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::replica::replicas;
use super::rows::{
    Columns, Names, app_facts, findings, json_column, json_column_or_empty, task_columns, task_status, time, word,
    word_or_none,
};
use super::{Store, StoreError};
use crate::import::FROM_THE_OLD_SYSTEM;
use crate::plan::apps::{GONE_ACCEPTED, KnownApp, NAME_TAKEN, ObservedSet, SOURCE_SUSPECT};
use crate::plan::budgets::Budgets;
use crate::plan::task::{AttemptFacts, Carried, EndedAttempt, ObservedTask};
use crate::resource::app_set::AppSetSpec;
use crate::resource::attempt::AttemptId;
use crate::resource::name::Uid;
use crate::resource::outcome::Outcome;
use crate::resource::task::TaskSpec;
use crate::resource::time::Timestamp;

/// The attempts that this process carries, as they were before the store was read.
pub type Held = HashMap<AttemptId, Carried>;

/// One task with its references.
pub(super) const TASK: &str = concat!(
    "SELECT ",
    task_columns!(),
    ", o.spec AS spec, a.uid AS app_uid, a.spec AS app_spec, p.missing_since, p.tree_digest, p.tree_seen_at,
         z.spec AS analyzer_spec,
         EXISTS (SELECT 1 FROM object d JOIN app q ON q.uid = d.uid
                 WHERE d.kind = 'App' AND d.name = t.app AND q.deleted_at IS NOT NULL) AS app_deleted,
         EXISTS (SELECT 1 FROM object q WHERE q.kind = 'Pool' AND q.name = t.pool AND q.removed_at IS NULL) AS pool_known
     FROM task t
     JOIN object o ON o.uid = t.uid
     LEFT JOIN object a ON a.kind = 'App' AND a.name = t.app AND a.removed_at IS NULL
     LEFT JOIN app p ON p.uid = a.uid
     LEFT JOIN object z ON z.kind = 'Analyzer' AND z.name = t.analyzer AND z.removed_at IS NULL
     WHERE t.uid = ?1"
);

/// The attempts of one round of a task.
pub(super) const ATTEMPTS: &str = "SELECT * FROM attempt WHERE task_uid = ?1 AND round = ?2 ORDER BY number";

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
        self.read(move |connection| observed_task(connection, uid, &held, budgets)).await
    }

    /// Every AppSet with its spec, and every App, without what a scan of the disk will add.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_apps(&self) -> Result<(Vec<(ObservedSet, AppSetSpec)>, Vec<KnownApp>), StoreError> {
        self.read(|connection| Ok((app_sets(connection)?, known_apps(connection)?))).await
    }
}

/// What a task plan looks at.
pub(super) fn observed_task(
    connection: &Connection,
    uid: Uid,
    held: &Held,
    budgets: Budgets,
) -> Result<Option<ObservedTask>, StoreError> {
    let mut statement = connection.prepare_cached(TASK)?;
    let names = Names::of(&statement);
    let mut rows = statement.query([&uid.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let row = &names.row(row);
    let status = task_status(row)?;
    let analyzer: Option<String> = row.column("analyzer_spec")?;
    let spec: TaskSpec = json_column(row, "spec")?;
    let attempts = attempts(connection, &uid, status.round, held)?;
    let known = if unreached(&attempts) { replicas(connection, &spec.analyzer)? } else { Vec::new() };
    Ok(Some(ObservedTask {
        name: row.column("name")?,
        generation: row.column("generation")?,
        removed: row.column("removed")?,
        spec,
        version: row.column("version")?,
        cancel_round: row.column("cancel_round")?,
        cancel_generation: row.column("cancel_generation")?,
        retry_round: row.column("retry_round")?,
        hurry_version: row.column("hurry_version")?,
        replicas: known,
        attempts,
        app: app_facts(row)?,
        app_deleted: row.column("app_deleted")?,
        analyzer: analyzer.map(|spec| super::rows::json(&spec)).transpose()?,
        pool: row.column("pool")?,
        pool_known: row.column("pool_known")?,
        since: time(row, "since")?,
        status,
        uid,
        budgets,
    }))
}

/// Whether the latest attempt reached nobody, so that it matters where else the task can go.
fn unreached(attempts: &[AttemptFacts]) -> bool {
    let last = attempts.last().and_then(|attempt| attempt.ended.as_ref());
    last.is_some_and(|ended| ended.outcome == Outcome::Unavailable)
}

fn attempts(connection: &Connection, uid: &Uid, round: i64, held: &Held) -> Result<Vec<AttemptFacts>, StoreError> {
    let mut statement = connection.prepare_cached(ATTEMPTS)?;
    let names = Names::of(&statement);
    let mut rows = statement.query(params![uid.0, round])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(attempt(&names.row(row), uid, held)?);
    }
    Ok(attempts)
}

fn attempt(row: &impl Columns, uid: &Uid, held: &Held) -> Result<AttemptFacts, StoreError> {
    let id = AttemptId { task: uid.clone(), number: row.column("number")? };
    let pid: Option<i32> = row.column("pid")?;
    let pid_start: Option<i64> = row.column("pid_start")?;
    let ended = match word_or_none(row, "outcome")? {
        None => None,
        Some(outcome) => Some(EndedAttempt {
            outcome,
            reason: word(row, "reason")?,
            message: row.column("message")?,
            at: time(row, "ended_at")?,
            findings: findings(row)?,
            tools: json_column_or_empty(row, "tools")?,
        }),
    };
    Ok(AttemptFacts {
        generation: row.column("generation")?,
        analyzer: row.column("analyzer")?,
        asked: json_column(row, "asked")?,
        replica: row.column("replica")?,
        opened_at: time(row, "opened_at")?,
        deadline_at: time(row, "deadline_at")?,
        resumable: row.column("resumable")?,
        process: pid.zip(pid_start.map(i64::unsigned_abs)),
        carried: held.get(&id).copied(),
        ended,
        id,
    })
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
        // An App whose AppSet is gone is looked at by itself, like one that was written by hand, until another one finds it.
        "SELECT o.uid, o.name, o.spec ->> 'path' AS path, s.name AS app_set, p.missing_since,
             o.line = 0 AND (o.file = ?1 OR (p.app_set IS NOT NULL AND s.name IS NULL)) AS ownerless
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
            ownerless: row.get("ownerless")?,
            missing_since: row.get::<_, Option<i64>>("missing_since")?.map(Timestamp),
            present: None,
        })
    })?;
    Ok(apps.collect::<Result<_, _>>()?)
}
