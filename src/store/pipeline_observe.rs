//! Observing a pipeline: what its triggers look at.

use rusqlite::{Connection, params};

use super::rows::{time, time_or_none};
use super::run_observe::suspension;
use super::{Store, StoreError, graphs};
use crate::plan::pipeline::observed::{Applied, ObservedPipeline};
use crate::resource::name::Uid;

/// Unfinished runs of the schedule that a plan looks at.
const SCHEDULED_MAX: i64 = 64;

/// Unfinished runs that a changed pipeline wakes.
const UNFINISHED_MAX: i64 = 1024;

impl Store {
    /// What a pipeline's plan looks at; `None` when there is no such pipeline.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_pipeline(&self, uid: Uid) -> Result<Option<ObservedPipeline>, StoreError> {
        self.read(move |connection| observe_pipeline(connection, &uid)).await
    }
}

fn observe_pipeline(connection: &Connection, uid: &Uid) -> Result<Option<ObservedPipeline>, StoreError> {
    // Without the spec: it can be hundreds of kilobytes, and is read once for each revision.
    let query = "SELECT o.name, o.generation, o.digest, o.removed_at, o.created_at, s.reason AS suspend_reason, s.by AS suspend_by, s.at AS suspend_at, s.until AS suspend_until,
             e.expression, e.seen_at,
             EXISTS (SELECT 1 FROM run r WHERE r.pipeline_uid = o.uid AND r.cause = 'Apply') AS any_applied,
             EXISTS (SELECT 1 FROM run r WHERE r.pipeline_uid = o.uid AND r.cause = 'Apply' AND r.generation = o.generation) AS applied
         FROM object o LEFT JOIN suspension s ON s.uid = o.uid LEFT JOIN schedule e ON e.pipeline_uid = o.uid
         WHERE o.uid = ?1 AND o.kind = 'Pipeline'";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([&uid.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut scheduled = connection.prepare_cached(
        "SELECT uid, name FROM run INDEXED BY run_active WHERE pipeline_uid = ?1 AND finished_at IS NULL AND cause IN ('Schedule', 'Backfill')
         ORDER BY created_at, uid LIMIT ?2",
    )?;
    let scheduled = scheduled.query_map(params![uid.0, SCHEDULED_MAX], |row| Ok((Uid(row.get(0)?), row.get(1)?)))?;
    let mut unfinished = connection.prepare_cached(
        "SELECT uid FROM run INDEXED BY run_active WHERE pipeline_uid = ?1 AND finished_at IS NULL ORDER BY created_at, uid LIMIT ?2",
    )?;
    let unfinished = unfinished.query_map(params![uid.0, UNFINISHED_MAX], |row| Ok(Uid(row.get(0)?)))?;
    let seen: Option<String> = row.get("expression")?;
    let (generation, digest): (i64, String) = (row.get("generation")?, row.get("digest")?);
    let spec = graphs::declared(&format!("{uid}/{generation}/{digest}"), || {
        let query = "SELECT spec FROM object WHERE uid = ?1";
        Ok(connection.prepare_cached(query)?.query_row([&uid.0], |row| row.get(0))?)
    })?;
    Ok(Some(ObservedPipeline {
        uid: uid.clone(),
        name: row.get("name")?,
        generation,
        removed: time_or_none(row, "removed_at")?.is_some(),
        spec,
        created_at: time(row, "created_at")?,
        applied: Applied { current: row.get("applied")?, any: row.get("any_applied")? },
        suspension: suspension(row)?,
        scheduled: scheduled.collect::<Result<_, _>>()?,
        seen: seen.zip(time_or_none(row, "seen_at")?),
        unfinished: unfinished.collect::<Result<_, _>>()?,
    }))
}
