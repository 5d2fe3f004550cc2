//! The power goes: copies of the files, taken at any moment while writers are at work, open as whole databases in which every acknowledged
//! transition stands. A copy whose log was cut off anywhere opens too, without halves of anything.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use futures_util::future::join_all;
use manifestd::plan::task::TaskReconciler;
use manifestd::plan::{Budgets, Reconciler};
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::store::{Committed, Held, StateLock, Store, open_read_only};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::fixture::{Fixture, NOW};

/// Tasks that are run to their ends while copies are made.
const TASKS: usize = 40;

/// Places at which the log of each copy is cut off.
const CUTS: usize = 4;

/// A copy is made after so many acknowledgements.
const COPY_EVERY: usize = 8;

/// What the store has acknowledged: a task's name, and the least version that it has from now on.
type Acknowledged = Mutex<Vec<(String, i64)>>;

/// Copies the files as a crash would leave them: a reader keeps the log from being started over between the two.
fn snapshot(of: &Path, to: &Path) {
    let reader = open_read_only(of).unwrap();
    let transaction = reader.unchecked_transaction().unwrap();
    let _: i64 = transaction.query_row("SELECT count(*) FROM task", [], |row| row.get(0)).unwrap();
    fs::copy(of, to.join("manifestd.db")).unwrap();
    fs::copy(of.with_extension("db-wal"), to.join("manifestd.db-wal")).unwrap();
}

/// Whether the schema's and the laws' invariants hold.
fn check(connection: &Connection) {
    let one = |query: &str| connection.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(one("PRAGMA integrity_check"), "ok");
    for broken in [
        "SELECT count(*) FROM pragma_foreign_key_check",
        "SELECT count(*) FROM (SELECT 1 FROM attempt WHERE outcome IS NULL GROUP BY task_uid HAVING count(*) > 1)",
        // An attempt and the task that runs it are one write; so are a transition and its event.
        "SELECT count(*) FROM attempt a JOIN task t ON t.uid = a.task_uid WHERE a.outcome IS NULL AND t.phase <> 'Running'",
        "SELECT count(*) FROM task t WHERE attempt <> (SELECT count(*) FROM attempt WHERE task_uid = t.uid)",
        "SELECT count(*) FROM task t WHERE version - 1 <> (SELECT total(count) FROM event WHERE uid = t.uid AND reason <> 'Created')",
        "SELECT count(*) FROM object WHERE kind = 'Task' AND uid NOT IN (SELECT uid FROM task)",
    ] {
        let count: i64 = connection.query_row(broken, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0, "{broken}");
    }
}

/// Opens what is left as the next process would, and lets it go on.
async fn recover(directory: &Path, acknowledged: &[(String, i64)]) {
    let store = Store::open(StateLock::acquire(directory).unwrap()).unwrap();
    let connection = open_read_only(store.path()).unwrap();
    check(&connection);
    for (name, version) in acknowledged {
        let found: i64 =
            connection.query_row("SELECT version FROM task WHERE name = ?1", [name], |row| row.get(0)).unwrap();
        assert!(found >= *version, "{name}: acknowledged {version}, found {found}");
    }
    for (key, _) in store.unsettled(NOW).await.unwrap() {
        let manifestd::plan::Key::Task(uid) = key else { continue };
        let seen = store.observe_task(uid, Held::new(), Budgets::default()).await.unwrap().unwrap();
        let plan = TaskReconciler::plan(&seen, NOW);
        assert!(matches!(store.commit(plan.writes, NOW).await.unwrap(), Committed::Applied(_)));
    }
    let running: i64 =
        connection.query_row("SELECT count(*) FROM task WHERE phase = 'Running'", [], |row| row.get(0)).unwrap();
    assert_eq!(running, 0, "nobody carries anything after a crash");
    check(&connection);
}

/// What was copied, and what had been acknowledged before.
type Copies = Mutex<Vec<(TempDir, Vec<(String, i64)>)>>;

struct Bench {
    fixture: Fixture,
    acknowledged: Acknowledged,
    copies: Copies,
}

impl Bench {
    /// Notes an acknowledged version, and now and then makes a copy while the other writers go on.
    async fn acknowledge(&self, name: &str, version: i64) {
        let known = {
            let mut known = self.acknowledged.lock().unwrap();
            known.push((name.to_owned(), version));
            known.clone()
        };
        if known.len().is_multiple_of(COPY_EVERY) {
            let (path, directory) = (self.fixture.store.path().to_owned(), tempfile::tempdir().unwrap());
            let to = directory.path().to_owned();
            tokio::task::spawn_blocking(move || snapshot(&path, &to)).await.unwrap();
            self.copies.lock().unwrap().push((directory, known));
        }
    }

    /// Runs one task to its end.
    async fn run(&self, name: &str) {
        loop {
            let seen = self.fixture.seen(name).await;
            let has_ended = seen.attempts.last().is_some_and(|attempt| attempt.ended.is_some());
            match seen.status.phase {
                // Whoever comes first opens the attempts of all.
                Phase::Pending => drop(self.fixture.commit(&self.fixture.lane_plan().await).await),
                Phase::Running if has_ended => {
                    let plan = TaskReconciler::plan(&seen, NOW);
                    assert!(matches!(self.fixture.commit(&plan).await, Committed::Applied(_)));
                    self.acknowledge(name, seen.version + 1).await;
                }
                Phase::Running => {
                    self.acknowledge(name, seen.version).await;
                    assert!(self.fixture.end(name, Outcome::Completed, Reason::AllToolsRan).await);
                }
                _ => return,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_after_a_crash_is_whole_and_holds_what_was_acknowledged() {
    let names: Vec<String> = (0..TASKS).map(|number| format!("t{number:02}")).collect();
    let fixture = Fixture::with_tasks(3, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let bench = Bench { fixture, acknowledged: Mutex::default(), copies: Mutex::default() };
    join_all(names.iter().map(|name| bench.run(name))).await;
    let copies = bench.copies.into_inner().unwrap();
    assert_eq!(copies.len(), TASKS * 2 / COPY_EVERY, "each task was acknowledged twice");
    for (number, (directory, acknowledged)) in copies.iter().enumerate() {
        let log = fs::read(directory.path().join("manifestd.db-wal")).unwrap();
        for cut in 0..CUTS {
            // Anywhere, also in the middle of a page.
            check_torn(directory.path(), &log[..log.len() * (cut * 10 + number + 1) / (CUTS * 10 + copies.len())]);
        }
        recover(directory.path(), acknowledged).await;
    }
}

/// Checks a copy whose log was cut off.
fn check_torn(directory: &Path, log: &[u8]) {
    let torn = tempfile::tempdir().unwrap();
    fs::copy(directory.join("manifestd.db"), torn.path().join("manifestd.db")).unwrap();
    fs::write(torn.path().join("manifestd.db-wal"), log).unwrap();
    let connection = Connection::open(torn.path().join("manifestd.db")).unwrap();
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    // Cut off before the first migration was whole, there is nothing yet.
    if tables > 0 {
        check(&connection);
    }
}
