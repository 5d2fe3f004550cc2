//! Durable transitions and nothing else: one thread, one connection, group commit. What a task costs in SQLite when it is only three guarded
//! updates and one event, each acknowledged after its commit.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, params};

/// Transitions in one commit at most, as in the program that is measured.
const GROUP_MAX: usize = 1024;

/// The log is folded in at as many pages as there.
const WAL_PAGES_MAX: i64 = 4_000;

/// What is durable of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is taken from the queue; only now its work may begin.
    Started,
    /// Its work has ended.
    Ended,
    /// What follows from that is concluded, and told as an event.
    Settled,
}

/// Tasks, each with where it stands now.
pub(crate) type Group = Vec<(u32, Step)>;

/// The store, running.
pub(crate) struct Store {
    jobs: Option<Sender<Group>>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// A new database with `history` settled tasks and, behind them, `tasks` queued ones. `acknowledge` is told each group once it is durable.
    pub(crate) fn start(
        directory: &Path,
        tasks: u32,
        history: u32,
        acknowledge: impl FnMut(Group) + Send + 'static,
    ) -> Self {
        let mut connection = Connection::open(directory.join("ceiling.db")).expect("a database");
        connection.pragma_update(None, "journal_mode", "WAL").expect("a pragma");
        connection.pragma_update(None, "synchronous", "FULL").expect("a pragma");
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX).expect("a pragma");
        fill(&mut connection, tasks, history);
        let (jobs, queue) = channel();
        let thread = std::thread::spawn(move || serve(&connection, &queue, acknowledge));
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Asks for transitions; they are acknowledged when they are durable.
    pub(crate) fn write(&self, group: Group) {
        self.jobs.as_ref().expect("a store that runs").send(group).expect("the thread of the store");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread of the store");
        }
    }
}

/// The rows that a queue of tasks needs to be found again after a restart: who it is, where it stands, when, its turn; and what happened.
const SCHEMA: &str = "
    CREATE TABLE task (uid TEXT PRIMARY KEY, name TEXT NOT NULL, queue TEXT NOT NULL, priority INTEGER NOT NULL, created_at INTEGER NOT NULL,
        phase TEXT NOT NULL CHECK (phase IN ('Queued', 'Running', 'Ended', 'Completed')), version INTEGER NOT NULL, message TEXT NOT NULL,
        started_at INTEGER, ended_at INTEGER, finished_at INTEGER) STRICT, WITHOUT ROWID;
    CREATE INDEX task_queue ON task (queue, priority DESC, created_at, uid) WHERE phase = 'Queued';
    CREATE TABLE event (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, at INTEGER NOT NULL) STRICT;";

/// The transitions, each guarded by where the task stands; ?1 its uid, ?2 when.
const STARTED: &str =
    "UPDATE task SET phase = 'Running', version = version + 1, started_at = ?2 WHERE uid = ?1 AND phase = 'Queued'";
const ENDED: &str =
    "UPDATE task SET phase = 'Ended', version = version + 1, ended_at = ?2 WHERE uid = ?1 AND phase = 'Running'";
const SETTLED: &str =
    "UPDATE task SET phase = 'Completed', version = version + 1, message = 'all tools ran', finished_at = ?2
     WHERE uid = ?1 AND phase = 'Ended'";
const EVENT: &str = "INSERT INTO event (uid, reason, message, at) VALUES (?1, 'Completed', 'all tools ran', ?2)";

fn fill(connection: &mut Connection, tasks: u32, history: u32) {
    connection.execute_batch(SCHEMA).expect("a schema");
    let transaction = connection.transaction().expect("a transaction");
    {
        let text = "INSERT INTO task (uid, name, queue, priority, created_at, phase, version, message)
             VALUES (?1, printf('task-%07d', ?2), 'bench', 100, ?2, ?3, 1, '')";
        let mut task = transaction.prepare(text).expect("a statement");
        let mut event = transaction.prepare(EVENT).expect("a statement");
        for number in 0..history + tasks {
            let phase = if number < history { "Completed" } else { "Queued" };
            task.execute(params![uid(number), number, phase]).expect("a task");
            if number < history {
                event.execute(params![uid(number), number]).expect("an event");
            }
        }
    }
    transaction.commit().expect("a commit");
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("a checkpoint");
}

/// The uid of a task; they sort by age.
fn uid(number: u32) -> String {
    format!("{number:08x}-0000-7000-8000-000000000000")
}

fn serve(connection: &Connection, queue: &Receiver<Group>, mut acknowledge: impl FnMut(Group)) {
    let prepare = |text: &str| connection.prepare(text).expect("a statement");
    let (mut begin, mut commit) = (prepare("BEGIN IMMEDIATE"), prepare("COMMIT"));
    let (mut started, mut ended, mut settled, mut event) =
        (prepare(STARTED), prepare(ENDED), prepare(SETTLED), prepare(EVENT));
    while let Ok(mut group) = queue.recv() {
        while group.len() < GROUP_MAX {
            let Ok(more) = queue.try_recv() else { break };
            group.extend(more);
        }
        let now = now_ms();
        begin.execute([]).expect("a transaction");
        for &(task, step) in &group {
            let uid = uid(task);
            let statement = match step {
                Step::Started => &mut started,
                Step::Ended => &mut ended,
                Step::Settled => {
                    event.execute(params![uid, now]).expect("an event");
                    &mut settled
                }
            };
            assert_eq!(statement.execute(params![uid, now]).expect("a transition"), 1, "{uid} is not there yet");
        }
        commit.execute([]).expect("a commit");
        acknowledge(group);
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_millis()).expect("a time")
}
