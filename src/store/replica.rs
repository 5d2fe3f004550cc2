//! Replicas of analyzers: reading what is known of them, and writing what probes, and attempts that reached nobody, have told.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{json, json_column, task_status, time, time_or_none, word};
use super::{Store, StoreError};
use crate::plan::analyzer::{ObservedAnalyzer, SeenCondition, Waiting};
use crate::plan::budgets::Budgets;
use crate::plan::replica::{Evidence, ReplicaEnding, ReplicaFacts, ReplicaHealth, evidence, heard};
use crate::resource::attempt::AttemptId;
use crate::resource::health::Health;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// Waiting tasks, and failed ones to be started over, that one pass lets go; more get another pass at once.
const WAITING_MAX: usize = 256;

/// Endings that say nothing of the transport which are read on the way to those that do.
const NEUTRAL_MAX: u32 = 64;

/// What is stored of the replicas of an analyzer.
pub(super) const REPLICAS: &str = "SELECT * FROM replica WHERE analyzer = ?1 ORDER BY url";

/// The latest endings on a replica.
pub(super) const ENDINGS: &str = "SELECT iif(reason IN ('DiskFull', 'AppNotAddressable'), 'Cancelled', outcome) AS outcome, ended_at FROM attempt INDEXED BY attempt_replica_ended
     WHERE analyzer = ?1 AND replica = ?2 AND ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT ?3";

/// Tasks that wait for an analyzer without a place in its queue. The condition is that of the index task_waiting, word by word.
pub(super) const WAITING: &str = "SELECT t.*, (SELECT a.ended_at FROM attempt a
         WHERE a.task_uid = t.uid AND a.number = t.attempt AND a.round = t.round AND a.outcome = 'Unavailable') AS unreached_at
     FROM task t INDEXED BY task_waiting
     WHERE analyzer = ?1 AND phase = 'Pending' AND (reason = 'AnalyzerUnavailable' OR reason = 'BackOff' OR reason = 'BreakerOpen')
         AND reason IN ('AnalyzerUnavailable', 'BreakerOpen') LIMIT ?2";

/// How many of them there are.
pub(super) const WAITING_COUNT: &str = "SELECT count(*) FROM task INDEXED BY task_waiting
     WHERE analyzer = ?1 AND phase = 'Pending' AND (reason = 'AnalyzerUnavailable' OR reason = 'BackOff' OR reason = 'BreakerOpen')
         AND reason IN ('AnalyzerUnavailable', 'BreakerOpen')";

/// Tasks that failed since their analyzer was unavailable, and may be started over when it is back.
pub(super) const RECOVERABLE: &str = "SELECT *, NULL AS unreached_at FROM task INDEXED BY task_recoverable
     WHERE analyzer = ?1 AND recoveries < ?2 AND phase = 'Failed' AND reason = 'AnalyzerUnavailable' AND removed = 0 AND aside_at IS NULL LIMIT ?3";

/// Whether some task needs an analyzer.
pub(super) const DEMAND: &str = "SELECT EXISTS (SELECT 1 FROM task INDEXED BY task_queue
         WHERE analyzer = ?1 AND phase = 'Pending' AND reason = 'Queued')
     OR EXISTS (SELECT 1 FROM attempt INDEXED BY attempt_slot WHERE analyzer = ?1 AND outcome IS NULL)
     OR EXISTS (SELECT 1 FROM task INDEXED BY task_waiting
         WHERE analyzer = ?1 AND phase = 'Pending' AND (reason = 'AnalyzerUnavailable' OR reason = 'BackOff' OR reason = 'BreakerOpen'))
     OR EXISTS (SELECT 1 FROM task INDEXED BY task_recoverable
         WHERE analyzer = ?1 AND recoveries < ?2 AND phase = 'Failed' AND reason = 'AnalyzerUnavailable' AND removed = 0 AND aside_at IS NULL)";

/// Analyzers that are declared.
pub(super) const ANALYZERS: &str = "SELECT name FROM object WHERE kind = 'Analyzer' AND removed_at IS NULL";

/// A probe's answer, as it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The analyzer's name.
    pub analyzer: String,
    /// Address of the replica.
    pub url: String,
    /// What it said, or why it is not healthy.
    pub answer: Result<Health, String>,
    /// Failed probes in a row before the replica counts as unhealthy.
    pub failure_threshold: u32,
    /// When it was heard.
    pub at: Timestamp,
}

impl Store {
    /// What an analyzer's plan looks at, but for what this process has asked.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_analyzer(&self, name: String, budgets: Budgets) -> Result<ObservedAnalyzer, StoreError> {
        self.read(move |connection| {
            let found = connection
                .prepare_cached("SELECT uid, spec, removed_at FROM object WHERE kind = 'Analyzer' AND name = ?1")?
                .query_row([&name], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Option<i64>>(2)?)))
                .optional()?;
            let uid = found.as_ref().map(|(uid, ..)| Uid(String::clone(uid)));
            let spec = found.filter(|(.., removed)| removed.is_none()).map(|(_, spec, _)| json(&spec)).transpose()?;
            let mut waiting = waiting(connection, &name, budgets.recoveries_max)?;
            let more = waiting.len() > WAITING_MAX;
            waiting.truncate(WAITING_MAX);
            Ok(ObservedAnalyzer {
                replicas: replicas(connection, &name)?,
                demand: connection
                    .prepare_cached(DEMAND)?
                    .query_row(params![name, budgets.recoveries_max], |row| row.get(0))?,
                conditions: conditions(connection, uid.as_ref())?,
                asked: Vec::new(),
                name,
                uid,
                spec,
                waiting,
                more,
                budgets,
            })
        })
        .await
    }

    /// Every analyzer that is declared, or of which a replica is still known.
    ///
    /// # Errors
    /// What the database says.
    pub async fn analyzers(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut names = BTreeSet::new();
            // The second is a small table: what an analyzer has no more is forgotten at the next look at it.
            for query in [ANALYZERS, "SELECT DISTINCT analyzer FROM replica"] {
                let mut statement = connection.prepare_cached(query)?;
                for name in statement.query_map([], |row| row.get(0))? {
                    names.insert(name?);
                }
            }
            Ok(names.into_iter().collect())
        })
        .await
    }

    /// Every replica of which something is known: analyzer, address.
    ///
    /// # Errors
    /// What the database says.
    pub async fn known_replicas(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT analyzer, url FROM replica ORDER BY analyzer, url")?;
            let known = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(known.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Writes what a probe has told of a replica, if that changes anything that matters. Says whether it did.
    ///
    /// # Errors
    /// What the database says.
    pub async fn report_probe(&self, report: ProbeReport) -> Result<bool, StoreError> {
        // Most answers say what is known already: then there is nothing to write and the disk is left alone.
        let looked = report.clone();
        if self.read(move |connection| judged(connection, &looked)).await?.is_none() {
            return Ok(false);
        }
        self.write(move |connection| {
            let Some(after) = judged(connection, &report)? else { return Ok(false) };
            put(connection, &report.analyzer, &after)?;
            Ok(true)
        })
        .await
    }
}

/// What a report makes of the stored health.
fn judged(connection: &Connection, report: &ProbeReport) -> Result<Option<ReplicaHealth>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM replica WHERE analyzer = ?1 AND url = ?2")?;
    let mut rows = statement.query(params![report.analyzer, report.url])?;
    let known = rows.next()?.map(health).transpose()?;
    Ok(heard(&report.url, known.as_ref(), report.answer.clone(), report.failure_threshold, report.at))
}

fn put(connection: &Connection, analyzer: &str, health: &ReplicaHealth) -> Result<(), StoreError> {
    let list = |list: &[String]| serde_json::to_string(list).map_err(|error| StoreError::Corrupt(error.to_string()));
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO replica
                 (analyzer, url, healthy, failures, changed_at, answered_at, message, version, protocols, tools)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            analyzer,
            health.url,
            health.healthy,
            health.failures,
            health.changed_at.0,
            health.answered_at.map(|at| at.0),
            health.message,
            health.said.version,
            list(&health.said.protocols)?,
            list(&health.said.tools)?,
        ])?;
    Ok(())
}

/// Marks the replica of an attempt that reached nobody as unhealthy, in the transaction of its ending.
pub(super) fn unreached(
    connection: &Connection,
    id: &AttemptId,
    message: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE replica SET healthy = 0, changed_at = ?3, message = ?4
             WHERE healthy = 1
                 AND (analyzer, url) = (SELECT analyzer, replica FROM attempt WHERE task_uid = ?1 AND number = ?2)",
        )?
        .execute(params![id.task.0, id.number, now.0, message])?;
    Ok(())
}

/// Forgets a replica.
pub(super) fn forget(connection: &Connection, analyzer: &str, url: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM replica WHERE analyzer = ?1 AND url = ?2")?
        .execute(params![analyzer, url])?;
    Ok(())
}

/// All that is known of the replicas of an analyzer, also of those that it has no more.
///
/// # Errors
/// What the database says.
pub fn replicas(connection: &Connection, analyzer: &str) -> Result<Vec<ReplicaFacts>, StoreError> {
    let mut statement = connection.prepare_cached(REPLICAS)?;
    let mut rows = statement.query([analyzer])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let health = health(row)?;
        let endings = endings(connection, analyzer, &health.url)?;
        found.push(ReplicaFacts { open: open(connection, analyzer, &health.url)?, health, endings, asked: false });
    }
    Ok(found)
}

fn health(row: &Row<'_>) -> Result<ReplicaHealth, StoreError> {
    Ok(ReplicaHealth {
        url: row.get("url")?,
        healthy: row.get("healthy")?,
        failures: row.get("failures")?,
        changed_at: time(row, "changed_at")?,
        answered_at: time_or_none(row, "answered_at")?,
        message: row.get("message")?,
        said: Health {
            version: row.get("version")?,
            protocols: json_column(row, "protocols")?,
            tools: json_column(row, "tools")?,
        },
    })
}

/// The most failures in a row that a breaker may count.
const FAILURES_MAX: u32 = 1000;

/// The latest endings on a replica, as far as the last one that proves the transport: most often that is one row.
fn endings(connection: &Connection, analyzer: &str, url: &str) -> Result<Vec<ReplicaEnding>, StoreError> {
    let mut statement = connection.prepare_cached(ENDINGS)?;
    let mut rows = statement.query(params![analyzer, url, FAILURES_MAX + NEUTRAL_MAX])?;
    let (mut endings, mut neutral) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let ending = ReplicaEnding { outcome: word(row, "outcome")?, at: time(row, "ended_at")? };
        endings.push(ending);
        match evidence(ending.outcome) {
            Evidence::Works => break,
            Evidence::Neutral => neutral += 1,
            Evidence::Broke | Evidence::Unreached => {}
        }
        if neutral > NEUTRAL_MAX {
            break;
        }
    }
    Ok(endings)
}

fn open(connection: &Connection, analyzer: &str, url: &str) -> Result<u32, StoreError> {
    let query =
        "SELECT count(*) FROM attempt INDEXED BY attempt_slot WHERE analyzer = ?1 AND replica = ?2 AND outcome IS NULL";
    Ok(connection.prepare_cached(query)?.query_row([analyzer, url], |row| row.get(0))?)
}

/// How many tasks wait for an analyzer without a place in its queue.
pub(super) fn waiting_count(connection: &Connection, analyzer: &str) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(WAITING_COUNT)?.query_row([analyzer], |row| row.get(0))?)
}

fn waiting(connection: &Connection, analyzer: &str, recoveries_max: u32) -> Result<Vec<Waiting>, StoreError> {
    let limit = i64::try_from(WAITING_MAX + 1).unwrap_or(i64::MAX);
    let mut tasks = Vec::new();
    let mut pending = connection.prepare_cached(WAITING)?;
    collect(pending.query(params![analyzer, limit])?, &mut tasks)?;
    let mut failed = connection.prepare_cached(RECOVERABLE)?;
    collect(failed.query(params![analyzer, recoveries_max, limit])?, &mut tasks)?;
    Ok(tasks)
}

fn collect(mut rows: rusqlite::Rows<'_>, tasks: &mut Vec<Waiting>) -> Result<(), StoreError> {
    while let Some(row) = rows.next()? {
        tasks.push(Waiting {
            uid: Uid(row.get("uid")?),
            name: row.get("name")?,
            version: row.get("version")?,
            status: task_status(row)?,
            unreached_at: time_or_none(row, "unreached_at")?,
        });
    }
    Ok(())
}

fn conditions(connection: &Connection, uid: Option<&Uid>) -> Result<Vec<SeenCondition>, StoreError> {
    let Some(uid) = uid else { return Ok(Vec::new()) };
    let mut statement =
        connection.prepare_cached("SELECT type, holds, reason, message FROM condition WHERE uid = ?1 ORDER BY type")?;
    let conditions = statement.query_map([&uid.0], |row| {
        Ok(SeenCondition { condition: row.get(0)?, holds: row.get(1)?, reason: row.get(2)?, message: row.get(3)? })
    })?;
    Ok(conditions.collect::<Result<_, _>>()?)
}
