//! Reading columns: words, times and JSON back into the types they were written from.

use std::str::FromStr;

use rusqlite::Row;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::plan::admission::{AppFacts, SeenTree};
use crate::plan::write::TaskStatus;
use crate::resource::app::AppSpec;
use crate::resource::findings::Findings;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// A word of a closed enum.
pub(super) fn word<T: FromStr>(row: &Row<'_>, column: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| StoreError::Corrupt(format!("column {column}: {error}")))
}

/// A word that may be absent.
pub(super) fn word_or_none<T: FromStr>(row: &Row<'_>, column: &str) -> Result<Option<T>, StoreError>
where
    T::Err: std::fmt::Display,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error: T::Err| StoreError::Corrupt(format!("column {column}: {error}")))
}

/// A moment.
pub(super) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(row.get(column)?))
}

/// A moment that may be absent.
pub(super) fn time_or_none(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

/// A JSON text.
pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// A JSON column.
pub(super) fn json_column<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    json(&row.get::<_, String>(column)?)
}

/// A JSON column that may be NULL.
pub(super) fn json_column_or_empty<T: DeserializeOwned + Default>(
    row: &Row<'_>,
    column: &str,
) -> Result<T, StoreError> {
    row.get::<_, Option<String>>(column)?.map_or_else(|| Ok(T::default()), |text| json(&text))
}

/// The four columns that count findings.
pub(super) fn findings(row: &Row<'_>) -> Result<Findings, StoreError> {
    Ok(Findings {
        high: row.get("high")?,
        medium: row.get("medium")?,
        low: row.get("low")?,
        unrated: row.get("unrated")?,
    })
}

/// The status columns of a task.
pub(super) fn task_status(row: &Row<'_>) -> Result<TaskStatus, StoreError> {
    Ok(TaskStatus {
        phase: word(row, "phase")?,
        reason: word(row, "reason")?,
        message: row.get("message")?,
        observed_generation: row.get("observed_generation")?,
        round: row.get("round")?,
        attempt: row.get("attempt")?,
        next_at: time_or_none(row, "next_at")?,
        started_at: time_or_none(row, "started_at")?,
        finished_at: time_or_none(row, "finished_at")?,
        findings: findings(row)?,
        waits: row.get("waits")?,
        recoveries: row.get("recoveries")?,
        app_digest: row.get("app_digest")?,
    })
}

/// The columns `tree_digest` and `tree_seen_at` of an app.
pub(super) fn seen_tree(row: &Row<'_>) -> Result<Option<SeenTree>, StoreError> {
    let digest: Option<String> = row.get("tree_digest")?;
    Ok(digest.zip(time_or_none(row, "tree_seen_at")?).map(|(digest, at)| SeenTree { digest, at }))
}

/// The columns `app_uid`, `app_spec`, `missing_since` and those of the tree of a joined app; `None` when there is no such app.
pub(super) fn app_facts(row: &Row<'_>) -> Result<Option<AppFacts>, StoreError> {
    let Some(spec) = row.get::<_, Option<String>>("app_spec")? else { return Ok(None) };
    let spec: AppSpec = json(&spec)?;
    Ok(Some(AppFacts {
        uid: Uid(row.get("app_uid")?),
        path: spec.path,
        model: spec.model,
        number: spec.number,
        target_urls: spec.target_urls,
        missing_since: time_or_none(row, "missing_since")?,
        tree: seen_tree(row)?,
    }))
}
