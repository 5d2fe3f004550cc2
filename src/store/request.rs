//! What people ask of tasks: cancel, run again. Both are desired state, written here and acted on by the task loop.

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError};
use crate::plan::Key;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;

/// What a request came to for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The task to look at again.
    pub key: Key,
    /// The phase it was in.
    pub phase: Phase,
    /// Whether anything is going to happen: cancelling a finished task does nothing, nor does retrying a running one.
    pub effective: bool,
}

/// Another run of a finished task, or the next try of a waiting one now.
const RETRY: &str = "UPDATE task SET
         retry_round = iif(finished_at IS NOT NULL, round, retry_round),
         hurry_version = iif(finished_at IS NULL, version, hurry_version),
         cancel_round = iif(finished_at IS NULL, min(cancel_round, round - 1), cancel_round)
     WHERE uid = ?1 AND removed = 0 AND phase <> 'Running'";

/// The same, and the round in which that happens takes no stored result.
const RETRY_NO_CACHE: &str = "UPDATE task SET
         retry_round = iif(finished_at IS NOT NULL, round, retry_round),
         hurry_version = iif(finished_at IS NULL, version, hurry_version),
         cancel_round = iif(finished_at IS NULL, min(cancel_round, round - 1), cancel_round),
         no_cache_round = round + (finished_at IS NOT NULL)
     WHERE uid = ?1 AND removed = 0 AND phase <> 'Running'";

impl Store {
    /// Asks to cancel the task's current round. `None` when there is no such task.
    ///
    /// # Errors
    /// What the database says.
    pub async fn request_cancel(&self, name: String) -> Result<Option<Requested>, StoreError> {
        self.request(
            name,
            "UPDATE task SET cancel_round = round, cancel_generation = generation WHERE uid = ?1 AND finished_at IS NULL",
        )
        .await
    }

    /// Asks for another run of a finished task, or for the next try of a waiting one now, whatever was asked before; with `no_cache` that
    /// round really runs, whatever there is to reuse. `None` when there is no such task.
    ///
    /// # Errors
    /// What the database says.
    pub async fn request_retry(&self, name: String, no_cache: bool) -> Result<Option<Requested>, StoreError> {
        if no_cache {
            return self.request(name, RETRY_NO_CACHE).await;
        }
        self.request(name, RETRY).await
    }

    async fn request(&self, name: String, update: &'static str) -> Result<Option<Requested>, StoreError> {
        self.write(move |connection| {
            let found: Option<(String, String)> = connection
                .prepare_cached("SELECT uid, phase FROM task WHERE name = ?1")?
                .query_row([&name], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((uid, phase)) = found else { return Ok(None) };
            let phase: Phase = phase.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))?;
            let effective = connection.prepare_cached(update)?.execute(params![uid])? == 1;
            Ok(Some(Requested { key: Key::Task(Uid(uid)), phase, effective }))
        })
        .await
    }
}
