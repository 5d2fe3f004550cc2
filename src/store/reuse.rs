//! Stored results that other tasks may take, by what they depend on; and what the replicas of an analyzer said of their version.

use std::collections::HashMap;

use rusqlite::Row;

use super::rows::{findings, json_column, word};
use super::{Store, StoreError};
use crate::plan::reuse::Reusable;
use crate::resource::attempt::StoredResult;
use crate::resource::outcome::Verdict;

/// The latest attempt with a key. Only what really ran has one, so that nothing that was taken is taken again.
pub(super) const REUSABLE: &str = "SELECT a.*, t.name AS task_name
     FROM attempt a INDEXED BY attempt_reusable JOIN task t ON t.uid = a.task_uid
     WHERE a.cache_key = ?1 AND a.outcome = 'Completed' ORDER BY a.ended_at DESC LIMIT 1";

impl Store {
    /// The latest stored result for each of these keys that has one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn reusable(&self, keys: Vec<String>) -> Result<HashMap<String, Reusable>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(REUSABLE)?;
            let mut found = HashMap::new();
            for key in keys {
                let mut rows = statement.query([&key])?;
                if let Some(row) = rows.next()? {
                    found.insert(key, reusable(row)?);
                }
            }
            Ok(found)
        })
        .await
    }

    /// The version that each replica of an analyzer said when it was asked last, where it said one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn replica_versions(&self, analyzer: String) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |connection| {
            let query = "SELECT url, version FROM replica WHERE analyzer = ?1 AND version <> ''";
            let mut statement = connection.prepare_cached(query)?;
            let versions = statement.query_map([analyzer], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(versions.collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn reusable(row: &Row<'_>) -> Result<Reusable, StoreError> {
    Ok(Reusable {
        task: row.get("task_name")?,
        number: row.get("number")?,
        verdict: Verdict {
            outcome: word(row, "outcome")?,
            reason: word(row, "reason")?,
            message: row.get("message")?,
            tools: json_column(row, "tools")?,
            findings: findings(row)?,
            outputs: json_column(row, "outputs")?,
        },
        result: result(row)?,
    })
}

fn result(row: &Row<'_>) -> Result<Option<StoredResult>, StoreError> {
    let Some(directory) = row.get("result_dir")? else { return Ok(None) };
    Ok(Some(StoredResult { directory, sha256: row.get("result_sha256")?, bytes: row.get("result_bytes")? }))
}
