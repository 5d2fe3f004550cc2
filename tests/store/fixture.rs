//! A store in a directory of its own, and short words for what the runtime does with one.

use std::collections::HashMap;

use manifestd::plan::lane::LaneReconciler;
use manifestd::plan::mirror::{Change, Declared, Difference, Existing, Identity, ObservedMirror};
use manifestd::plan::task::{ObservedTask, TaskReconciler};
use manifestd::plan::write::{CloseAttempt, EventWrite};
use manifestd::plan::{Budgets, Plan, Reconciler, Write};
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::event::EventType;
use manifestd::resource::health::Health;
use manifestd::resource::kind::Kind;
use manifestd::resource::metadata::Metadata;
use manifestd::resource::name::Uid;
use manifestd::resource::object::{Object, Spec};
use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::provenance::Provenance;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Timestamp;
use manifestd::store::replica::ProbeReport;
use manifestd::store::{Committed, Held, MirrorCommit, MirrorOutcome, StateLock, Store, Wake};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const NOW: Timestamp = Timestamp(1_767_614_400_000);

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) directory: TempDir,
}

impl Fixture {
    /// An empty store.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StateLock::acquire(directory.path()).unwrap()).unwrap();
        Self { store, directory }
    }

    /// A store with the analyzer `lint` (a service with so many slots), the app `demo` and these tasks.
    pub(crate) async fn with_tasks(capacity: u32, names: &[&str]) -> Self {
        let fixture = Self::empty();
        let websocket = json!({"urls": ["ws://one"], "request": "static_analyze"});
        let mut objects = vec![
            declare(Kind::Analyzer, "lint", json!({"websocket": websocket, "capacity": capacity})),
            declare(Kind::App, "demo", json!({"path": "apps/demo/app1", "model": "demo", "number": 1})),
        ];
        objects.extend(names.iter().map(|name| task(name)));
        fixture.create(objects).await;
        assert!(fixture.probe("ws://one", Ok(Health::default()), NOW).await, "the first answer is always news");
        fixture
    }

    /// Reports what a probe of a replica of `lint` told; says whether that changed anything.
    pub(crate) async fn probe(&self, url: &str, answer: Result<Health, &str>, at: Timestamp) -> bool {
        let (analyzer, url, answer) = ("lint".into(), url.into(), answer.map_err(str::to_owned));
        let report = ProbeReport { analyzer, url, answer, failure_threshold: 3, at };
        self.store.report_probe(report).await.unwrap()
    }

    pub(crate) async fn create(&self, objects: Vec<Declared>) -> MirrorOutcome {
        self.mirror(objects.into_iter().map(|one| Change::Create(one.into())).collect()).await
    }

    pub(crate) async fn mirror(&self, changes: Vec<Change>) -> MirrorOutcome {
        self.store.commit_mirror(MirrorCommit { changes, ..MirrorCommit::default() }, NOW).await.unwrap()
    }

    /// Gives a stored object another spec.
    pub(crate) async fn respecify(&self, declared: Declared, generation: i64) -> MirrorOutcome {
        let uid = self.uid(declared.object.kind(), &declared.object.metadata.name);
        let difference = Difference { spec: true, metadata: false, place: false, restored: false };
        self.mirror(vec![Change::Update { uid, declared: declared.into(), difference, generation }]).await
    }

    /// Declares it again as it was.
    pub(crate) async fn restore(&self, declared: Declared) -> MirrorOutcome {
        let uid = self.uid(declared.object.kind(), &declared.object.metadata.name);
        let difference = Difference { spec: false, metadata: false, place: false, restored: true };
        self.mirror(vec![Change::Update { uid, declared: declared.into(), difference, generation: 1 }]).await
    }

    pub(crate) async fn remove(&self, kind: Kind, name: &str) -> MirrorOutcome {
        let (uid, identity) = (self.uid(kind, name), (kind, name.to_owned()));
        self.mirror(vec![Change::Remove { uid, identity, provenance: place() }]).await
    }

    /// A connection of the test's own, past every guard but those of the schema.
    pub(crate) fn sql(&self) -> Connection {
        let connection = Connection::open(self.store.path()).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection
    }

    pub(crate) fn one<T: rusqlite::types::FromSql>(&self, query: &str) -> T {
        self.sql().query_row(query, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn uid(&self, kind: Kind, name: &str) -> Uid {
        Uid(self.one(&format!("SELECT uid FROM object WHERE kind = '{kind}' AND name = '{name}'")))
    }

    pub(crate) async fn seen(&self, name: &str) -> ObservedTask {
        let uid = self.uid(Kind::Task, name);
        self.store.observe_task(uid, Held::new(), Budgets::default()).await.unwrap().expect("the task")
    }

    /// The stored objects that are declared here, or come from one of these files.
    pub(crate) async fn existing(&self, declared: &[Declared], files: &[&str]) -> HashMap<Identity, Existing> {
        let observed = ObservedMirror {
            declared: declared.iter().cloned().map(Into::into).collect(),
            read: files.iter().map(|file| (*file).to_owned()).collect(),
            ..ObservedMirror::default()
        };
        self.store.at_one_moment(move |moment| moment.mirrored_objects(&observed)).await.unwrap()
    }

    /// The plan for the queue of `lint`.
    pub(crate) async fn lane_plan(&self) -> Plan {
        let lane = self.store.observe_lane("lint".into(), NOW, Budgets::default()).await.unwrap();
        LaneReconciler::plan(&lane, NOW)
    }

    /// One pass over the queue of `lint`.
    pub(crate) async fn dispatch(&self) -> Plan {
        let plan = self.lane_plan().await;
        assert!(matches!(self.commit(&plan).await, Committed::Applied(_)));
        plan
    }

    /// One pass over a task that nobody carries.
    pub(crate) async fn settle(&self, name: &str) -> Plan {
        let plan = TaskReconciler::plan(&self.seen(name).await, NOW);
        assert!(matches!(self.commit(&plan).await, Committed::Applied(_)));
        plan
    }

    pub(crate) async fn commit(&self, plan: &Plan) -> Committed {
        self.store.commit(plan.writes.clone(), NOW).await.unwrap()
    }

    /// Reports the ending of a task's latest attempt; says whether it was accepted.
    pub(crate) async fn end(&self, name: &str, outcome: Outcome, reason: Reason) -> bool {
        let task = self.seen(name).await;
        let id = AttemptId { task: task.uid, number: task.status.attempt };
        self.store.report_ending(ending(id, outcome, reason)).await.unwrap().is_some()
    }

    /// Runs a task to its end.
    pub(crate) async fn finish(&self, name: &str, outcome: Outcome, reason: Reason) {
        self.dispatch().await;
        assert!(self.end(name, outcome, reason).await);
        self.settle(name).await;
    }

    pub(crate) async fn unsettled(&self) -> Vec<Wake> {
        self.store.unsettled(NOW).await.unwrap()
    }

    /// Every row of every table, for telling whether anything was written.
    pub(crate) fn dump(&self) -> Vec<String> {
        let connection = self.sql();
        let mut lines = Vec::new();
        for table in
            ["object", "revision", "task", "attempt", "app", "replica", "condition", "event", "file", "problem"]
        {
            let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = statement.column_count();
            let rows = statement.query_map([], |row| {
                let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
                values.collect::<Result<Vec<_>, _>>()
            });
            lines.extend(rows.unwrap().map(|row| format!("{table} {:?}", row.unwrap())));
        }
        lines
    }
}

pub(crate) fn ending(id: AttemptId, outcome: Outcome, reason: Reason) -> CloseAttempt {
    let verdict = Verdict::without_tools(outcome, reason, format!("ended as {outcome}"));
    CloseAttempt { id, verdict, result: None, at: NOW, slot_until: None, cache_key: None }
}

pub(crate) fn place() -> Provenance {
    Provenance { file: "a.yaml".into(), line: 1, digest: "d".into(), commit: None }
}

pub(crate) fn declare(kind: Kind, name: &str, spec: Value) -> Declared {
    let spec = Spec::from_value(kind, spec).expect("a spec");
    let metadata = Metadata { name: name.into(), ..Metadata::default() };
    let manifest = format!("{name}: {}\n", spec.to_value());
    Declared::new(Object { metadata, spec }, place(), place().file, manifest)
}

pub(crate) fn task(name: &str) -> Declared {
    task_with(name, json!({}))
}

/// A task with more in its spec.
pub(crate) fn task_with(name: &str, more: Value) -> Declared {
    let mut spec = json!({"app": "demo", "analyzer": "lint"});
    let fields = spec.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    declare(Kind::Task, name, spec)
}

pub(crate) fn event(uid: &Uid, reason: &'static str, message: &str) -> Write {
    Write::Event(Box::new(EventWrite {
        uid: uid.clone(),
        kind: Kind::Task,
        name: "t".into(),
        event_type: EventType::Normal,
        reason,
        message: message.into(),
    }))
}
