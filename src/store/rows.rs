//! Reading columns: words, times and JSON back into the types they were written from.

use std::cell::Cell;
use std::str::FromStr;

use rusqlite::types::FromSql;
use rusqlite::{Row, Statement};
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::plan::admission::{AppFacts, SeenTree};
use crate::plan::write::TaskStatus;
use crate::resource::app::AppSpec;
use crate::resource::findings::Findings;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// A row whose columns are read by their names.
pub(super) trait Columns {
    /// One column.
    ///
    /// # Errors
    /// There is no such column, or it holds something else.
    fn column<T: FromSql>(&self, name: &str) -> rusqlite::Result<T>;
}

impl Columns for Row<'_> {
    fn column<T: FromSql>(&self, name: &str) -> rusqlite::Result<T> {
        self.get(name)
    }
}

/// The names of the columns of a statement. SQLite tells them so slowly that reading a wide row is mostly that, so where many rows are read it is
/// asked once.
pub(super) struct Names(Vec<String>);

impl Names {
    /// The columns of a statement.
    pub(super) fn of(statement: &Statement<'_>) -> Self {
        Self(statement.column_names().into_iter().map(str::to_owned).collect())
    }

    /// A row of that statement.
    pub(super) fn row<'a>(&'a self, row: &'a Row<'a>) -> Named<'a> {
        Named { row, names: &self.0, next: Cell::new(0) }
    }
}

/// A row and the names of its columns.
pub(super) struct Named<'a> {
    row: &'a Row<'a>,
    names: &'a [String],
    // Columns are mostly read in their order, so the one wanted is most often the next.
    next: Cell<usize>,
}

impl Columns for Named<'_> {
    fn column<T: FromSql>(&self, name: &str) -> rusqlite::Result<T> {
        let (before, after) = self.names.split_at(self.next.get().min(self.names.len()));
        let is_it = |known: &String| known == name;
        let found = after.iter().position(is_it).map(|at| before.len() + at).or_else(|| before.iter().position(is_it));
        let at = found.ok_or_else(|| rusqlite::Error::InvalidColumnName(name.to_owned()))?;
        self.next.set(at + 1);
        self.row.get(at)
    }
}

/// A word of a closed enum.
pub(super) fn word<T: FromStr>(row: &impl Columns, column: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    let text: String = row.column(column)?;
    text.parse().map_err(|error: T::Err| StoreError::Corrupt(format!("column {column}: {error}")))
}

/// A word that may be absent.
pub(super) fn word_or_none<T: FromStr>(row: &impl Columns, column: &str) -> Result<Option<T>, StoreError>
where
    T::Err: std::fmt::Display,
{
    let text: Option<String> = row.column(column)?;
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error: T::Err| StoreError::Corrupt(format!("column {column}: {error}")))
}

/// A moment.
pub(super) fn time(row: &impl Columns, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(row.column(column)?))
}

/// A moment that may be absent.
pub(super) fn time_or_none(row: &impl Columns, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.column::<Option<i64>>(column)?.map(Timestamp))
}

/// A JSON text.
pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// A JSON column.
pub(super) fn json_column<T: DeserializeOwned>(row: &impl Columns, column: &str) -> Result<T, StoreError> {
    json(&row.column::<String>(column)?)
}

/// A JSON column that may be NULL.
pub(super) fn json_column_or_empty<T: DeserializeOwned + Default>(
    row: &impl Columns,
    column: &str,
) -> Result<T, StoreError> {
    row.column::<Option<String>>(column)?.map_or_else(|| Ok(T::default()), |text| json(&text))
}

/// The four columns that count findings.
pub(super) fn findings(row: &impl Columns) -> Result<Findings, StoreError> {
    Ok(Findings {
        high: row.column("high")?,
        medium: row.column("medium")?,
        low: row.column("low")?,
        unrated: row.column("unrated")?,
    })
}

/// The status columns of a task.
pub(super) fn task_status(row: &impl Columns) -> Result<TaskStatus, StoreError> {
    Ok(TaskStatus {
        phase: word(row, "phase")?,
        reason: word(row, "reason")?,
        message: row.column("message")?,
        observed_generation: row.column("observed_generation")?,
        round: row.column("round")?,
        attempt: row.column("attempt")?,
        next_at: time_or_none(row, "next_at")?,
        started_at: time_or_none(row, "started_at")?,
        finished_at: time_or_none(row, "finished_at")?,
        findings: findings(row)?,
        waits: row.column("waits")?,
        recoveries: row.column("recoveries")?,
        app_digest: row.column("app_digest")?,
    })
}

/// The columns `tree_digest` and `tree_seen_at` of an app.
pub(super) fn seen_tree(row: &impl Columns) -> Result<Option<SeenTree>, StoreError> {
    let digest: Option<String> = row.column("tree_digest")?;
    Ok(digest.zip(time_or_none(row, "tree_seen_at")?).map(|(digest, at)| SeenTree { digest, at }))
}

/// The columns `app_uid`, `app_spec`, `missing_since` and those of the tree of a joined app; `None` when there is no such app.
pub(super) fn app_facts(row: &impl Columns) -> Result<Option<AppFacts>, StoreError> {
    let Some(spec) = row.column::<Option<String>>("app_spec")? else { return Ok(None) };
    let spec: AppSpec = json(&spec)?;
    Ok(Some(AppFacts {
        uid: Uid(row.column("app_uid")?),
        path: spec.path,
        model: spec.model,
        number: spec.number,
        target_urls: spec.target_urls,
        missing_since: time_or_none(row, "missing_since")?,
        tree: seen_tree(row)?,
    }))
}

/// What is read of a task, without its spec: its name, what people ask, its status. In the order in which it is read.
macro_rules! task_columns {
    () => {
        "t.phase, t.reason, t.message, t.observed_generation, t.round, t.attempt, t.next_at, t.started_at, t.finished_at, t.high, t.medium, t.low,
         t.unrated, t.waits, t.recoveries, t.app_digest, t.uid, t.name, t.generation, t.removed, t.cancel_round, t.cancel_generation,
         t.retry_round, t.hurry_version, t.no_cache_round, t.version, t.pool, t.since"
    };
}

pub(super) use task_columns;
