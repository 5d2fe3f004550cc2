//! The writer: one thread, one connection, group commit.
//!
//! It drains every waiting job, runs all of them inside one IMMEDIATE transaction, commits once, and then answers all of them. A job alone in
//! the queue is committed at once, so grouping never costs latency.
//!
//! A job that fails must leave nothing behind. As a rule it has written nothing yet, since guards come first, and then there is nothing to take
//! back. Else the whole group is rolled back and run again, each job in a savepoint of its own: savepoints copy every page that a job
//! touches, which is too dear for what hardly ever happens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;

/// Jobs in one commit at most, so that an answer is never far away.
const GROUP_MAX: usize = 1024;

/// Pages that the writer keeps, in KiB: each index of a large database is touched somewhere else, and what is not kept is read again.
const CACHE_KIB: i64 = 8 << 10;

/// The log is folded into the database when it has grown to this many pages (4 KiB each), between groups.
const WAL_PAGES_MAX: i64 = 4_000;

pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || serve(&connection, &queue))
            .map_err(|source| StoreError::Io { path: "store-writer".into(), source })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = job(work);
        self.jobs.as_ref().ok_or(StoreError::Gone)?.send(job).map_err(|_| StoreError::Gone)?;
        answer.await.map_err(|_| StoreError::Gone)?.answer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A job whose caller is gone can be the last to let go of the store; the thread then ends by itself.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

/// A part of a group.
pub(super) trait Job: Send {
    /// Runs in a transaction; an earlier run was rolled back.
    fn run(&mut self, connection: &Connection) -> Result<(), ()>;

    /// Learns why it cannot run.
    fn refuse(&mut self, error: StoreError);

    /// Whether it failed since the disk is full.
    fn is_full(&self) -> bool;

    /// Tells whoever asked for it what came of it, now that it is known whether the group was committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Work<T, F> {
    work: F,
    result: Result<T, StoreError>,
    asked: oneshot::Sender<Told<T, F>>,
}

/// What whoever asked is told. The work comes along, so that they let go of what it holds: of a batch of manifests that took the writer's thread a
/// twentieth of its time, and it may hold on to the store itself.
pub(super) struct Told<T, F> {
    pub(super) answer: Result<T, StoreError>,
    _work: F,
}

/// Work as a job of a group, and where its answer comes.
pub(super) fn job<T: Send + 'static, F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static>(
    work: F,
) -> (Box<dyn Job>, oneshot::Receiver<Told<T, F>>) {
    let (asked, answer) = oneshot::channel();
    (Box::new(Work { work, result: Err(StoreError::Gone), asked }), answer)
}

impl<T: Send, F: FnMut(&Connection) -> Result<T, StoreError> + Send> Job for Work<T, F> {
    fn run(&mut self, connection: &Connection) -> Result<(), ()> {
        // Whatever an earlier run left is let go of first.
        self.result = Err(StoreError::Gone);
        let work = AssertUnwindSafe(|| (self.work)(connection));
        self.result = catch_unwind(work).unwrap_or(Err(StoreError::Panicked));
        self.result.as_ref().map(drop).map_err(drop)
    }

    fn refuse(&mut self, error: StoreError) {
        self.result = Err(error);
    }

    fn is_full(&self) -> bool {
        self.result.as_ref().is_err_and(StoreError::is_full)
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { work, result, asked } = *self;
        // What a job says of itself tells more than that its group was lost.
        let answer = if result.is_err() { result } else { committed.and(result) };
        // Nobody waits any more when the caller was dropped; the commit stands all the same.
        let _ = asked.send(Told { answer, _work: work });
    }
}

fn serve(connection: &Connection, queue: &Receiver<Box<dyn Job>>) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        group.extend(queue.try_iter().take(GROUP_MAX - 1));
        commit(connection, group);
    }
    // Leaves one tidy file behind; whatever happens, the log alone would do.
    let _ = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE");
}

/// Runs a group in one transaction and answers all of it.
fn commit(connection: &Connection, mut group: Vec<Box<dyn Job>>) {
    let committed = match run(connection, &mut group) {
        Ok(true) => make_durable(connection, &group),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    for job in group {
        job.answer(committed.as_ref().copied().map_err(copy_of));
    }
}

/// Runs a group in a transaction, which is left open. Whether there is one: a job alone that failed has taken its own back.
pub(super) fn run(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<bool, rusqlite::Error> {
    begin(connection, group)?;
    if let Some(failed) = run_bare(connection, group) {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
        if group.len() == 1 {
            return Ok(false);
        }
        tracing::debug!(job = failed, of = group.len(), "a job failed after it had written; its group is run again");
        begin(connection, group)?;
        run_apart(connection, group);
    }
    Ok(true)
}

/// Commits what a group did.
pub(super) fn make_durable(connection: &Connection, group: &[Box<dyn Job>]) -> Result<(), rusqlite::Error> {
    let full = group.iter().any(|job| job.is_full());
    let committed = match connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
        // There was nothing left to commit, which is only what followed.
        Err(_) if full => Err(no_room()),
        committed => committed.map(drop),
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
    committed
}

fn begin(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), rusqlite::Error> {
    let begun = connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
    if let Err(error) = &begun {
        tracing::error!(%error, "a transaction could not be started");
        group.iter_mut().for_each(|job| job.refuse(copy_of(error)));
    }
    begun.map(drop)
}

/// Runs all jobs as if each would succeed. Gives the first that failed and leaves something that must be taken back, if there is one.
fn run_bare(connection: &Connection, group: &mut [Box<dyn Job>]) -> Option<usize> {
    let mut ended = Ended::default();
    for (number, job) in group.iter_mut().enumerate() {
        if ended.refuses(connection, job) {
            continue;
        }
        // What triggers and foreign keys wrote counts, even where the statement was taken back: at worst a group runs twice for nothing.
        let before = connection.total_changes();
        let failed = job.run(connection).is_err();
        ended.full |= job.is_full();
        if failed && !connection.is_autocommit() && connection.total_changes() != before {
            return Some(number);
        }
    }
    None
}

/// Runs each job in a savepoint.
fn run_apart(connection: &Connection, group: &mut [Box<dyn Job>]) {
    let mut ended = Ended::default();
    for job in group {
        if !ended.refuses(connection, job) {
            in_savepoint(connection, job);
            ended.full |= job.is_full();
        }
    }
}

/// Whether the transaction of a group is over before its time: a full disk or a broken one makes SQLite roll back by itself.
#[derive(Default)]
struct Ended {
    full: bool,
}

impl Ended {
    /// Whether a job can no longer run: it would be committed on its own.
    fn refuses(&self, connection: &Connection, job: &mut Box<dyn Job>) -> bool {
        let is_over = connection.is_autocommit();
        if is_over {
            job.refuse(if self.full { no_room().into() } else { lost() });
        }
        is_over
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

fn in_savepoint(connection: &Connection, job: &mut Box<dyn Job>) {
    let step = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    if let Err(error) = step("SAVEPOINT job") {
        return job.refuse(error.into());
    }
    let failed = job.run(connection).is_err();
    if failed && connection.is_autocommit() {
        // SQLite has rolled back the whole transaction by itself, and the savepoint with it.
        return;
    }
    let ended = if failed { step("ROLLBACK TO job") } else { Ok(0) }.and_then(|_| step("RELEASE job"));
    if let Err(error) = ended {
        job.refuse(error.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Commits these statements as the jobs of one group. Gives what each was answered, and how often jobs ran.
    fn together(connection: &Connection, statements: &[&'static str]) -> (Vec<Result<(), String>>, usize) {
        let runs = Arc::new(AtomicUsize::new(0));
        let one = |statement: &'static str| {
            let runs = Arc::clone(&runs);
            job(move |connection| {
                runs.fetch_add(1, Ordering::SeqCst);
                connection.execute_batch(statement).map_err(StoreError::from)
            })
        };
        let (group, mut answers): (Vec<_>, Vec<_>) = statements.iter().map(|statement| one(statement)).unzip();
        commit(connection, group);
        assert!(connection.is_autocommit());
        let told = answers.iter_mut().map(|answer| answer.try_recv().expect("an answer").answer);
        (told.map(|answer| answer.map_err(|error| error.to_string())).collect(), runs.load(Ordering::SeqCst))
    }

    fn table(definition: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(definition).unwrap();
        connection
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT total(x) FROM t", [], |row| row.get::<_, f64>(0)).unwrap() as i64
    }

    fn succeeded(answers: &[Result<(), String>]) -> Vec<bool> {
        answers.iter().map(Result::is_ok).collect()
    }

    #[test]
    fn a_job_that_fails_takes_back_only_what_it_wrote() {
        let connection = table("CREATE TABLE t (x INTEGER CHECK (x < 100))");
        let jobs = [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2); INSERT INTO t VALUES (100)",
            "INSERT INTO t VALUES (4)",
        ];
        let (answers, runs) = together(&connection, &jobs);
        assert_eq!((succeeded(&answers), rows(&connection)), (vec![true, false, true], 5));
        assert_eq!(runs, 5, "two until one failed, then all");
        // Alone it costs no second run.
        let (answers, runs) = together(&connection, &jobs[1..2]);
        assert_eq!((succeeded(&answers), rows(&connection), runs), (vec![false], 5, 1));
    }

    #[test]
    fn a_job_that_fails_before_it_wrote_costs_the_others_nothing() {
        let connection = table("CREATE TABLE t (x INTEGER CHECK (x < 100))");
        let jobs = ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (100)", "INSERT INTO t VALUES (4)"];
        let (answers, runs) = together(&connection, &jobs);
        assert_eq!((succeeded(&answers), rows(&connection), runs), (vec![true, false, true], 5, 3));
    }

    #[test]
    fn a_job_that_panics_harms_only_itself() {
        let connection = table("CREATE TABLE t (x INTEGER)");
        let (first, mut told) = job(|connection| Ok(connection.execute("INSERT INTO t VALUES (1)", [])?));
        let (second, mut failed) = job(|connection| -> Result<(), StoreError> {
            connection.execute("INSERT INTO t VALUES (100)", [])?;
            panic!("on purpose")
        });
        commit(&connection, vec![first, second]);
        assert!(told.try_recv().unwrap().answer.is_ok());
        assert!(matches!(failed.try_recv().unwrap().answer, Err(StoreError::Panicked)));
        assert_eq!(rows(&connection), 1);
    }

    #[test]
    fn when_the_transaction_is_lost_nobody_of_the_group_is_told_that_it_was_committed() {
        let connection = table("CREATE TABLE t (x INTEGER)");
        // As SQLite does by itself when the disk is full.
        let (answers, _) = together(&connection, &["INSERT INTO t VALUES (1)", "ROLLBACK", "INSERT INTO t VALUES (2)"]);
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert_eq!(rows(&connection), 0);
        // And the next group is as good as ever.
        let (answers, _) = together(&connection, &["INSERT INTO t VALUES (3)"]);
        assert_eq!((answers, rows(&connection)), (vec![Ok(())], 3));
    }

    #[test]
    fn when_the_disk_is_full_everybody_of_the_group_is_told_just_that() {
        let connection = table("CREATE TABLE t (x); PRAGMA max_page_count = 4");
        let jobs = ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (zeroblob(100000))", "INSERT INTO t VALUES (2)"];
        // SQLite may keep the transaction; then only the one that was too large has failed.
        let (answers, _) = together(&connection, &jobs);
        assert!(answers[1].as_ref().is_err_and(|error| error.contains("full")), "{answers:?}");
        let told = |answer: &Result<(), String>| answer.as_ref().err().is_none_or(|error| error.contains("full"));
        assert!(answers.iter().all(told), "{answers:?}");
    }
}
