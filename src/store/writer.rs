//! The writer: one thread, one connection, group commit.
//!
//! It drains every waiting job, runs each in its own savepoint inside one IMMEDIATE transaction, commits once, and then answers all of
//! them. A job alone in the queue is committed at once, so grouping never costs latency.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;

/// Jobs in one commit at most, so that an answer is never far away.
const GROUP_MAX: usize = 1024;

/// The log is folded into the database when it has grown to this many pages (4 KiB each), between groups.
const WAL_PAGES_MAX: i64 = 4_000;

/// Sends a job's answer once it is known whether the group was committed.
pub(super) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs in the transaction that was begun, or learns why none could be. Gives its answer, and whether it met a full disk.
pub(super) type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> (Answer, bool) + Send>;

pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || serve(&connection, &queue))
            .map_err(|source| StoreError::Io { path: "store-writer".into(), source })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = self::job(job);
        self.jobs.as_ref().ok_or(StoreError::Gone)?.send(job).map_err(|_| StoreError::Gone)?;
        answer.await.map_err(|_| StoreError::Gone)?
    }
}

/// Work as a job of a group, and where its answer comes.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, StoreError>>) {
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move |begun| {
        let result = begun.and_then(|connection| in_savepoint(connection, work));
        let full = result.as_ref().is_err_and(StoreError::is_full);
        let answer: Answer = Box::new(move |committed| {
            // What a job says of itself tells more than that its group was lost.
            let answer = if result.is_err() { result } else { committed.and(result) };
            // Nobody waits any more when the caller was dropped; the commit stands all the same.
            let _ = sender.send(answer);
        });
        (answer, full)
    });
    (job, receiver)
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been answered to its callers as `Gone` already.
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        group.extend(queue.try_iter().take(GROUP_MAX - 1));
        commit(connection, group);
    }
    // Leaves one tidy file behind; whatever happens, the log alone would do.
    let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

/// Runs a group in one transaction and answers all of it.
pub(super) fn commit(connection: &Connection, group: Vec<Job>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        tracing::error!(%error, "a transaction could not be started");
        for job in group {
            let (answer, _) = job(Err(copy_of(&error)));
            answer(Ok(()));
        }
        return;
    }
    let mut full = false;
    let answers: Vec<Answer> = group
        .into_iter()
        .map(|job| {
            // A full disk or a broken one makes SQLite roll back by itself. What came later would then be committed on its own.
            let begun = match connection.is_autocommit() {
                false => Ok(connection),
                true if full => Err(no_room().into()),
                true => Err(lost()),
            };
            let (answer, met_full) = job(begun);
            full |= met_full;
            answer
        })
        .collect();
    let committed = match connection.execute_batch("COMMIT") {
        // There was nothing left to commit, which is only what followed.
        Err(_) if full => Err(no_room()),
        committed => committed,
    };
    if let Err(error) = &committed {
        match full {
            // Whoever is answered says so, now and then.
            true => tracing::debug!(%error, "a group could not be committed"),
            false => tracing::error!(%error, "a group could not be committed"),
        }
        // Fails when SQLite has rolled back by itself, which is as good.
        let _ = connection.execute_batch("ROLLBACK");
    }
    for answer in answers {
        answer(match &committed {
            Ok(()) => Ok(()),
            Err(error) => Err(copy_of(error)),
        });
    }
}

/// Why a job could not run: the transaction of its group was rolled back while an earlier job ran.
fn lost() -> StoreError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
    rusqlite::Error::SqliteFailure(code, Some("the group's transaction was rolled back by an earlier failure".into()))
        .into()
}

/// The disk is full, as SQLite says it.
fn no_room() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
        Some("the disk is full".into()),
    )
}

/// The same failure for each caller of the group; `rusqlite::Error` cannot be cloned.
fn copy_of(error: &rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => rusqlite::Error::SqliteFailure(*code, text.clone()).into(),
        other => StoreError::Corrupt(other.to_string()),
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = job(connection);
    if result.is_err() && connection.is_autocommit() {
        // SQLite has rolled back the whole transaction by itself, and the savepoint with it.
        return result;
    }
    if result.is_err() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    result
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Seen = Arc<Mutex<Vec<Result<(), String>>>>;

    fn job(statement: &'static str, seen: &Seen) -> Job {
        let seen = Arc::clone(seen);
        Box::new(move |begun| {
            let run = |connection: &Connection| connection.execute_batch(statement).map_err(StoreError::from);
            let result = begun.and_then(|connection| in_savepoint(connection, run));
            let full = result.as_ref().is_err_and(StoreError::is_full);
            let answer: Answer = Box::new(move |committed| {
                let answer = if result.is_err() { result } else { committed.and(result) };
                seen.lock().unwrap().push(answer.map_err(|error| error.to_string()));
            });
            (answer, full)
        })
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT total(x) FROM t", [], |row| row.get::<_, f64>(0)).unwrap() as i64
    }

    #[test]
    fn a_job_that_fails_takes_back_only_what_it_wrote() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x INTEGER CHECK (x < 100))").unwrap();
        let seen = Seen::default();
        let jobs = [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2); INSERT INTO t VALUES (100)",
            "INSERT INTO t VALUES (4)",
        ];
        commit(&connection, jobs.into_iter().map(|statement| job(statement, &seen)).collect());
        let answers: Vec<bool> = seen.lock().unwrap().iter().map(Result::is_ok).collect();
        assert_eq!((answers, rows(&connection)), (vec![true, false, true], 5));
        assert!(connection.is_autocommit());
    }

    #[test]
    fn when_the_transaction_is_lost_nobody_of_the_group_is_told_that_it_was_committed() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x INTEGER)").unwrap();
        let seen = Seen::default();
        // As SQLite does by itself when the disk is full.
        let jobs = ["INSERT INTO t VALUES (1)", "ROLLBACK", "INSERT INTO t VALUES (2)"];
        commit(&connection, jobs.into_iter().map(|statement| job(statement, &seen)).collect());
        assert!(seen.lock().unwrap().iter().all(Result::is_err), "{seen:?}");
        assert_eq!(rows(&connection), 0);
        assert!(connection.is_autocommit());
        // And the next group is as good as ever.
        seen.lock().unwrap().clear();
        commit(&connection, vec![job("INSERT INTO t VALUES (3)", &seen)]);
        assert_eq!((seen.lock().unwrap().as_slice(), rows(&connection)), (&[Ok(())][..], 3));
    }

    #[test]
    fn when_the_disk_is_full_everybody_of_the_group_is_told_just_that() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x); PRAGMA max_page_count = 4").unwrap();
        let seen = Seen::default();
        let jobs = ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (zeroblob(100000))", "INSERT INTO t VALUES (2)"];
        commit(&connection, jobs.into_iter().map(|statement| job(statement, &seen)).collect());
        // SQLite may keep the transaction; then only the one that was too large has failed.
        let answers = seen.lock().unwrap().clone();
        assert!(answers[1].as_ref().is_err_and(|error| error.contains("full")), "{answers:?}");
        let told = |answer: &Result<(), String>| answer.as_ref().err().is_none_or(|error| error.contains("full"));
        assert!(answers.iter().all(told), "{answers:?}");
        assert!(connection.is_autocommit());
    }
}
