//! One transaction for whoever observes, plans and commits at one moment: what is seen in it cannot be stale when it is written.
//!
//! For passes that are short and that everything waits for. They run on the writer's connection, whose caches are warm, while a reader has to read again
//! whatever anybody has written since.

use rusqlite::Connection;

use super::commit::{apply_all, close_attempt};
use super::observe::observed_task;
use super::observe_lane::observed_lane;
use super::replica::unreached;
use super::{Held, Store, StoreError};
use crate::plan::lane::ObservedLane;
use crate::plan::task::ObservedTask;
use crate::plan::write::CloseAttempt;
use crate::plan::{Budgets, Key, Write};
use crate::resource::name::Uid;
use crate::resource::outcome::Outcome;
use crate::resource::time::Timestamp;

/// A transaction that is under way.
pub struct Moment<'c> {
    pub(super) connection: &'c Connection,
}

impl Store {
    /// Does something in one transaction and answers once it is durable. It may be run twice, when what another one did in the same group had to be
    /// rolled back; only the last run counts.
    ///
    /// # Errors
    /// What it says, after which nothing of it is kept; or why the commit failed.
    pub async fn at_one_moment<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Moment<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write(move |connection| work(&Moment { connection })).await
    }
}

impl Moment<'_> {
    /// What a task plan looks at; `None` when there is no such task.
    ///
    /// # Errors
    /// What the database says.
    pub fn observe_task(&self, uid: &Uid, held: &Held, budgets: Budgets) -> Result<Option<ObservedTask>, StoreError> {
        observed_task(self.connection, uid.clone(), held, budgets)
    }

    /// What a lane plan looks at.
    ///
    /// # Errors
    /// What the database says.
    pub fn observe_lane(&self, analyzer: &str, now: Timestamp, budgets: Budgets) -> Result<ObservedLane, StoreError> {
        observed_lane(self.connection, analyzer, now, budgets)
    }

    /// Writes what was planned. Gives the keys of objects that waited for that.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the plan was made on something else; what the database says. Nothing of the whole transaction is kept then.
    pub fn commit(&self, writes: &[Write], now: Timestamp) -> Result<Vec<Key>, StoreError> {
        apply_all(self.connection, writes, now)
    }

    /// Writes the ending of an attempt, and that its replica is not healthy when it reached nobody there. Gives the lanes that wait for a slot
    /// of its pool when it was accepted, and `None` for a late ending of an attempt that was closed already.
    ///
    /// # Errors
    /// What the database says.
    pub fn end_attempt(&self, ending: &CloseAttempt) -> Result<Option<Vec<Key>>, StoreError> {
        let accepted = close_attempt(self.connection, ending)?;
        if accepted.is_some() && ending.verdict.outcome == Outcome::Unavailable {
            unreached(self.connection, &ending.id, &ending.verdict.message, ending.at)?;
        }
        Ok(accepted)
    }
}
