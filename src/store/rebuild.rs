//! Writing what stored results tell into a database that was just made from the manifests, and that nobody else has opened yet.

use rusqlite::{Connection, params};

use super::commit::{close_attempt, record};
use super::rows::json;
use super::{Store, StoreError};
use crate::plan::rebuild::BroughtBack;
use crate::plan::write::{CloseAttempt, EventWrite};
use crate::resource::analyzer::KeepResults;
use crate::resource::attempt::AttemptId;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::task::TaskSpec;
use crate::resource::time::Timestamp;

/// A declared task, as far as its results have to fit to it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredTask {
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: TaskSpec,
    /// Its spec as it is stored; digests are of this text.
    pub text: String,
    /// Which of its attempts leave results.
    pub kept: KeepResults,
}

impl Store {
    /// Every declared task.
    ///
    /// # Errors
    /// What the database says.
    pub async fn declared_tasks(&self) -> Result<Vec<DeclaredTask>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT t.uid, t.name, t.spec, a.spec -> 'keepResults' FROM object t
                 LEFT JOIN object a ON a.kind = 'Analyzer' AND a.name = t.spec ->> 'analyzer' AND a.removed_at IS NULL
                 WHERE t.kind = 'Task' AND t.removed_at IS NULL ORDER BY t.name",
            )?;
            let mut rows = statement.query([])?;
            let mut tasks = Vec::new();
            while let Some(row) = rows.next()? {
                let text: String = row.get(2)?;
                let kept: Option<String> = row.get(3)?;
                tasks.push(DeclaredTask {
                    uid: Uid(row.get(0)?),
                    name: row.get(1)?,
                    spec: json(&text)?,
                    text,
                    kept: kept.map(|kept| json(&kept)).transpose()?.unwrap_or_default(),
                });
            }
            Ok(tasks)
        })
        .await
    }

    /// Gives tasks their history and their standing back.
    ///
    /// # Errors
    /// What the database says; then none of these tasks has any.
    pub async fn bring_back(&self, tasks: Vec<(DeclaredTask, BroughtBack)>, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| tasks.iter().try_for_each(|(task, back)| bring_back(connection, task, back, now)))
            .await
    }

    /// Suspends every pipeline, so that none makes its runs once more for want of knowing that it did. Gives their names.
    ///
    /// # Errors
    /// What the database says.
    pub async fn suspend_pipelines(&self, reason: &'static str, now: Timestamp) -> Result<Vec<String>, StoreError> {
        self.write(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO suspension (uid, reason, by, at, until)
                 SELECT uid, ?1, 'manifestd db rebuild', ?2, NULL FROM object WHERE kind = 'Pipeline' AND removed_at IS NULL",
                params![reason, now.0],
            )?;
            super::glance::names(connection, Kind::Pipeline)
        })
        .await
    }
}

fn bring_back(
    connection: &Connection,
    task: &DeclaredTask,
    back: &BroughtBack,
    now: Timestamp,
) -> Result<(), StoreError> {
    let uid = &task.uid;
    connection.execute("UPDATE object SET generation = ?2 WHERE uid = ?1", params![uid.0, back.generation])?;
    connection.execute("UPDATE task SET generation = ?2 WHERE uid = ?1", params![uid.0, back.generation])?;
    let mut open = connection.prepare_cached(
        "INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, asked, app_digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (found, round, generation) in &back.attempts {
        let asked = serde_json::to_string(&found.asked).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        open.execute(params![
            uid.0,
            found.number,
            round,
            generation,
            found.analyzer,
            found.replica,
            found.opened_at.0,
            found.ended_at.0,
            asked,
            found.app_digest,
        ])?;
        // By the same way as any other ending.
        let close = CloseAttempt {
            id: AttemptId { task: uid.clone(), number: found.number },
            verdict: found.verdict.clone(),
            result: Some(found.result.clone()),
            at: found.ended_at,
            slot_until: None,
            cache_key: None,
        };
        close_attempt(connection, &close)?;
    }
    let status = &back.status;
    connection.execute(
        "UPDATE task SET phase = ?2, reason = ?3, message = ?4, observed_generation = ?5, round = ?6, attempt = ?7, started_at = ?8,
             finished_at = ?9, high = ?10, medium = ?11, low = ?12, unrated = ?13, app_digest = ?14, since = coalesce(?9, since),
             version = version + 1
         WHERE uid = ?1",
        params![
            uid.0,
            status.phase.as_str(),
            status.reason.as_str(),
            status.message,
            status.observed_generation,
            status.round,
            status.attempt,
            status.started_at.map(|at| at.0),
            status.finished_at.map(|at| at.0),
            status.findings.high,
            status.findings.medium,
            status.findings.low,
            status.findings.unrated,
            status.app_digest,
        ],
    )?;
    let event = EventWrite {
        uid: uid.clone(),
        kind: Kind::Task,
        name: task.name.clone(),
        event_type: EventType::Normal,
        reason: "BroughtBack",
        message: format!("{} from {} stored results", status.phase, back.attempts.len()),
    };
    record(connection, &event, now)
}
