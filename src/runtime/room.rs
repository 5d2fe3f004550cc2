//! Whether there is room on the disk for the database. A full disk is no reason to end: commits fail, so nothing is opened; endings stay in
//! memory and are written when there is room. It is logged once a minute and shown by `manifestd status`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::report::DiskReport;
use crate::resource::time::{Span, Timestamp};
use crate::store::StoreError;

/// Writing is tried again much more often than this; a person needs to be told once in a while.
const LOG_INTERVAL: Span = Span::minutes(1);

/// What is known of the room on the disk.
#[derive(Debug, Default)]
pub struct Room(Mutex<Option<Full>>);

#[derive(Debug, Clone, Copy)]
struct Full {
    since: Timestamp,
    tried_at: Timestamp,
    logged_at: Timestamp,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Option<Full>> {
        // Every change under the lock is a single assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears that something could not be written. Says whether that was for want of room; then nothing more needs to be said of it.
    pub fn lacks(&self, what: &str, error: &StoreError, now: Timestamp) -> bool {
        if !error.is_full() {
            return false;
        }
        let mut full = self.lock();
        let loud = full.is_none_or(|full| now.since(full.logged_at) >= LOG_INTERVAL);
        if loud {
            tracing::error!(
                %error,
                "{what}: the disk is full; nothing is started, endings are kept in memory and written once there is room"
            );
        }
        let (since, logged_at) = full.map_or((now, now), |full| (full.since, if loud { now } else { full.logged_at }));
        *full = Some(Full { since, tried_at: now, logged_at });
        true
    }

    /// Hears that something was written.
    pub fn was_there(&self, now: Timestamp) {
        if let Some(full) = self.lock().take() {
            tracing::info!(full_s = now.since(full.since).0 / 1000, "there is room on the disk again");
        }
    }

    /// Since when there is no room, and when that was last tried.
    #[must_use]
    pub fn report(&self) -> Option<DiskReport> {
        self.lock().map(|full| DiskReport { since: full.since, tried_at: full.tried_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::plan::write::{ConditionWrite, OpenAttempt, TaskStatus, TaskWrite, Write};
    use crate::plan::{Effect, Plan};
    use crate::resource::attempt::AttemptId;
    use crate::resource::name::Uid;
    use crate::resource::phase::Phase;
    use crate::runtime::core::{Core, alone};
    use crate::runtime::reconcile::carry_out;

    fn full() -> StoreError {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None).into()
    }

    /// Lets the database grow no further, or as far as it likes.
    async fn limit(core: &Core, is_full: bool) {
        let pages = move |connection: &rusqlite::Connection| -> Result<(), StoreError> {
            let now: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            let most = if is_full { now } else { i64::from(u32::MAX - 1) };
            connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))?;
            Ok(())
        };
        core.store.write(pages).await.unwrap();
    }

    fn large() -> Plan {
        let condition = ConditionWrite {
            uid: Uid("u".into()),
            condition: "Large",
            holds: true,
            reason: "Test",
            message: "x".repeat(100_000),
        };
        Plan { writes: vec![Write::Condition(Box::new(condition))], ..Plan::default() }
    }

    #[tokio::test]
    async fn a_full_disk_lets_nothing_be_opened_and_does_not_end_the_process() {
        let state = tempfile::tempdir().unwrap();
        let core = alone(state.path());
        limit(&core, true).await;
        let error = carry_out(&core, large()).await.unwrap_err();
        assert!(error.is_full() && !error.is_fatal(), "{error}");
        core.check("carrying out", &error);
        assert!(core.room.report().is_some() && core.fatal.reason().is_none());
        limit(&core, false).await;
        carry_out(&core, large()).await.unwrap();
        assert!(core.room.report().is_none(), "there is room again, and that was noticed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ending_is_kept_until_there_is_room_for_it() {
        let state = tempfile::tempdir().unwrap();
        let core = alone(state.path());
        let id = AttemptId { task: Uid("t".into()), number: 1 };
        open(&core, &id).await;
        // An ending is small and might still find a place; this one does not.
        let trigger = "CREATE TRIGGER large AFTER UPDATE OF outcome ON attempt
             BEGIN INSERT INTO meta VALUES ('large', hex(zeroblob(100000))); END";
        core.store.write(|connection| Ok(connection.execute_batch(trigger)?)).await.unwrap();
        limit(&core, true).await;
        core.attempts.perform(&core, Effect::Reap { id: id.clone(), process: None });
        while core.room.report().is_none() {
            assert_eq!(core.attempts.count(), 1, "it is carried until its ending is written");
            tokio::task::yield_now().await;
        }
        limit(&core, false).await;
        core.attempts.all_ended().await;
        assert!(core.fatal.reason().is_none() && core.room.report().is_none() && core.attempts.count() == 0);
        let ended = |connection: &rusqlite::Connection| -> Result<bool, StoreError> {
            Ok(connection.query_row("SELECT outcome IS NOT NULL FROM attempt", [], |row| row.get(0))?)
        };
        assert!(core.store.read(ended).await.unwrap());
    }

    async fn open(core: &Core, id: &AttemptId) {
        let uid = id.task.0.clone();
        let rows = move |connection: &rusqlite::Connection| -> Result<(), StoreError> {
            connection.execute_batch(&format!(
                "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)
                     VALUES ('{uid}', 'Task', 't', '{{}}', '{{}}', '{{}}', 1, 0, 0, 'a.yaml', 1, '');
                 INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation)
                     VALUES ('{uid}', 't', 'a', 'z', 0, 0, 1);"
            ))?;
            Ok(())
        };
        core.store.write(rows).await.unwrap();
        let open = OpenAttempt {
            id: id.clone(),
            round: 1,
            generation: 1,
            asked: vec![],
            analyzer: "z".into(),
            replica: String::new(),
            opened_at: core.now(),
            deadline_at: core.now(),
            resumable: false,
            pool: None,
            app_digest: None,
        };
        let status = TaskStatus { phase: Phase::Running, attempt: 1, ..TaskStatus::fresh(1, 1, 1) };
        let write = TaskWrite { uid: id.task.clone(), version: 1, status };
        let writes = vec![Write::OpenAttempt(Box::new(open)), Write::Task(Box::new(write))];
        carry_out(core, Plan { writes, ..Plan::default() }).await.unwrap();
    }

    #[test]
    fn a_full_disk_is_known_until_something_was_written() {
        let room = Room::default();
        let second = |seconds| Timestamp(0).plus(Span::seconds(seconds));
        assert!(!room.lacks("x", &StoreError::Gone, second(0)) && room.report().is_none());
        assert!(room.lacks("x", &full(), second(1)) && room.lacks("x", &full(), second(9)));
        assert_eq!(room.report(), Some(DiskReport { since: second(1), tried_at: second(9) }));
        room.was_there(second(10));
        assert_eq!(room.report(), None);
    }
}
