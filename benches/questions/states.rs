//! Workspaces that take long to make, for the questions that share them: with a history of finished tasks, or with many Pending.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use manifestd::store::database_path;
use rusqlite::{Connection, params};

use crate::analyzer::{Analyzer, Protocol};
use crate::rounds::Run;
use crate::workspace::{Workspace, until_known};

/// What was made so far.
#[derive(Default)]
pub(crate) struct States {
    /// By the number of finished tasks; nothing ever runs in these, they are copied.
    finished: HashMap<u32, Workspace>,
    /// By the number of Pending tasks, with the analyzer that is busy for as long as the run lasts.
    pending: HashMap<u32, (Rc<Workspace>, Analyzer)>,
}

/// The name of the analyzer that is busy.
const BUSY: &str = "busy";

/// Milliseconds over which finished tasks are spread: three weeks.
const SPREAD_MS: i64 = 21 * 24 * 60 * 60 * 1000;

impl Run {
    /// A new workspace with so many finished tasks, each with an attempt and its events; their manifests were taken away since.
    pub(crate) fn finished(&mut self, tasks: u32) -> Workspace {
        let tasks = self.size(tasks);
        let made = self.states.finished.entry(tasks).or_insert_with(|| {
            let workspace = Workspace::new();
            // The program itself makes the database.
            workspace.run(&["reconcile", "--once", "-o", "json"]);
            fill(&workspace.path(".manifestd"), tasks);
            workspace
        });
        let copy = Workspace::new();
        std::fs::create_dir(copy.path(".manifestd")).expect("a state directory");
        let database = |workspace: &Workspace| database_path(&workspace.path(".manifestd"));
        std::fs::copy(database(made), database(&copy)).expect("a copy of the database");
        copy
    }

    /// The workspace with so many tasks Pending of another analyzer, which is busy. Later questions find it as the earlier ones left it.
    pub(crate) fn pending(&mut self, tasks: u32) -> Rc<Workspace> {
        let tasks = self.size(tasks);
        let (made, _) = self.states.pending.entry(tasks).or_insert_with(|| {
            let workspace = Workspace::new();
            let analyzer = pend(&workspace, tasks);
            (Rc::new(workspace), analyzer)
        });
        Rc::clone(made)
    }
}

/// Declares tasks of an analyzer that answers none of them. They are mirrored when this comes back.
fn pend(workspace: &Workspace, tasks: u32) -> Analyzer {
    let analyzer = Analyzer::start(Protocol::Extended);
    analyzer.hold();
    // What it works on does not end, so that waiting for it at a stop would be in vain.
    workspace.settle("shutdownGracePeriod: 1s\n");
    workspace.declare_service(BUSY, &format!("ws://{}", analyzer.address()), 1, "");
    let prepared = workspace.prepare("pending", 0..tasks, BUSY);
    workspace.drop_in(&prepared);
    let controller = workspace.serve(&[]);
    until_known(&workspace.database(), 0, tasks, Instant::now());
    controller.stop();
    analyzer
}

/// Writes what finished tasks leave whose manifests were taken away since: object, task, attempt, and the four events of such a life.
pub(crate) fn fill(state: &Path, tasks: u32) {
    let mut connection = Connection::open(database_path(state)).expect("the database");
    connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let now = i64::try_from(now.as_millis()).expect("a time");
    let transaction = connection.transaction().expect("a transaction");
    {
        let mut statements: Vec<_> = ROWS.iter().map(|text| transaction.prepare(text).expect("a statement")).collect();
        for number in 0..i64::from(tasks) {
            let (uid, name) = (format!("{number:08x}-0000-7000-8000-000000000000"), format!("old-{number:07}"));
            // The oldest first, the last one a day ago.
            let at = now - SPREAD_MS + number * (SPREAD_MS / 21 * 20) / i64::from(tasks);
            statements.iter_mut().for_each(|each| _ = each.execute(params![uid, name, at]).expect("a row"));
        }
    }
    transaction.commit().expect("a commit");
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("a checkpoint");
}

/// The rows of one task: ?1 its uid, ?2 its name, ?3 when.
const ROWS: [&str; 7] = [
    "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, removed_at, file, line, digest)
     VALUES (?1, 'Task', ?2, '{}', '{}', '{\"app\":\"app\",\"analyzer\":\"bench\",\"tools\":[\"noop\"]}', 1, ?3, ?3, ?3, 'old.yaml', 1, '')",
    "INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation, observed_generation, removed, phase, reason, attempt,
         started_at, finished_at, since)
     VALUES (?1, ?2, 'app', 'bench', 100, ?3, 1, 1, 1, 'Completed', 'AllToolsRan', 1, ?3, ?3, ?3)",
    "INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, ended_at, outcome, reason, message,
         tools) VALUES (?1, 1, 1, 1, 'bench', '', ?3, ?3, ?3, 'Completed', 'AllToolsRan', ?2, '[]')",
    "INSERT INTO event (uid, kind, name, type, reason, message, first_at, last_at)
     VALUES (?1, 'Task', ?2, 'Normal', 'Created', 'old.yaml:1', ?3, ?3)",
    "INSERT INTO event (uid, kind, name, type, reason, message, first_at, last_at)
     VALUES (?1, 'Task', ?2, 'Normal', 'Running', 'AttemptStarted: attempt 1 on bench', ?3, ?3)",
    "INSERT INTO event (uid, kind, name, type, reason, message, first_at, last_at)
     VALUES (?1, 'Task', ?2, 'Normal', 'Completed', 'AllToolsRan: 1 tool ran', ?3, ?3)",
    "INSERT INTO event (uid, kind, name, type, reason, message, first_at, last_at)
     VALUES (?1, 'Task', ?2, 'Normal', 'Removed', 'no longer declared in old.yaml', ?3, ?3)",
];
