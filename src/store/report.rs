//! Reports of running attempts: signs of life on the way, and one ending, which is accepted only while the attempt is open.

use rusqlite::params;

use super::{Store, StoreError};
use crate::plan::Key;
use crate::plan::write::CloseAttempt;
use crate::resource::attempt::{AttemptId, Sign};

impl Store {
    /// Writes the ending of an attempt, and that its replica is not healthy when it reached nobody there. Gives the lanes that wait for a slot
    /// of its pool when it was accepted, and `None` for a late ending of an attempt that was closed already.
    ///
    /// # Errors
    /// What the database says.
    pub async fn report_ending(&self, ending: CloseAttempt) -> Result<Option<Vec<Key>>, StoreError> {
        self.at_one_moment(move |moment| moment.end_attempt(&ending)).await
    }

    /// Writes what a running attempt says of itself; nothing once it has ended.
    ///
    /// # Errors
    /// What the database says.
    pub async fn report_sign(&self, id: AttemptId, sign: Sign) -> Result<(), StoreError> {
        self.write(move |connection| {
            match &sign {
                Sign::Alive => 0,
                Sign::Spawned { pid, pid_start } => connection
                    .prepare_cached(
                        "UPDATE attempt SET pid = ?3, pid_start = ?4 WHERE task_uid = ?1 AND number = ?2 AND outcome IS NULL",
                    )?
                    .execute(params![id.task.0, id.number, pid, i64::try_from(*pid_start).unwrap_or(i64::MAX)])?,
                Sign::Progress { stage, message, fraction } => connection
                    .prepare_cached(
                        "UPDATE attempt SET stage = ?3, progress_message = ?4, fraction = coalesce(?5, fraction)
                         WHERE task_uid = ?1 AND number = ?2 AND outcome IS NULL",
                    )?
                    .execute(params![id.task.0, id.number, stage, message, fraction])?,
            };
            Ok(())
        })
        .await
    }
}
