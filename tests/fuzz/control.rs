//! Any requests on the control socket, one after the other, over a store with a bit of everything: each is answered, none ends the controller,
//! and the rows agree with each other afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use manifestd::config::{self, Settings};
use manifestd::executor::leftover::Reaped;
use manifestd::executor::outside::{Outside, Played};
use manifestd::executor::{Executors, Limits, Stop, Surroundings};
use manifestd::resource::attempt::{Assignment, AttemptId, Ending, Sign};
use manifestd::resource::health::Health;
use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Timestamp;
use manifestd::runtime::answer::Answerer;
use manifestd::runtime::clock::Clock;
use manifestd::runtime::control::Request;
use manifestd::runtime::controller::Controller;
use manifestd::runtime::core::Core;
use manifestd::store::doctor::contradictions;
use manifestd::store::inline::{Gate, Passing, Step};
use manifestd::store::{Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::corpus::texts;

/// Requests of one conversation at most.
const REQUESTS_MAX: usize = 12;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub(crate) const WORDS: &[&str] = &[
    "{\"do\":\"cancel\",\"tasks\":[\"t1\"]}\n",
    "{\"do\":\"retry\",\"tasks\":[\"t1\",\"t2\"],\"no_cache\":true}\n",
    "{\"do\":\"sync\"}\n",
    "{\"do\":\"accept-orphans\"}\n",
    "{\"do\":\"reconcile\",\"only\":[\"tasks\"]}\n",
    "{\"do\":\"care\",\"objects\":[\"task/t1\"],\"care\":\"keep\"}\n",
    "{\"do\":\"purge\",\"objects\":null}\n",
    "{\"do\":\"run\",\"pipeline\":\"line\",\"params\":{\"a\":\"1\"}}\n",
    "{\"do\":\"rerun\",\"run\":\"line-1\",\"params\":{},\"latest\":true,\"dry_run\":false}\n",
    "{\"do\":\"cancel-runs\",\"runs\":[\"line-1\"],\"message\":\"m\",\"finally\":true,\"dry_run\":false}\n",
    "{\"do\":\"retry-run\",\"run\":\"line-1\",\"what\":{\"from\":\"two\"},\"dry_run\":false}\n",
    "{\"do\":\"suspend\",\"target\":\"pipeline/line\",\"reason\":\"r\",\"by\":\"b\",\"until\":1800000000001,\"dry_run\":false}\n",
    "{\"do\":\"resume\",\"target\":\"run/line-1\",\"dry_run\":false}\n",
    "{\"do\":\"decide\",\"run\":\"line-1\",\"step\":\"ask\",\"approved\":true,\"by\":\"b\",\"comment\":\"c\"}\n",
    "{\"do\":\"backfill\",\"pipeline\":\"nightly\",\"from\":1799000000000,\"to\":1800000000000,\"dry_run\":true}\n",
    "{\"do\":\"mend\",\"fixes\":[]}\n",
    "{\"do\":\"status\"}\n",
    "{\"do\":\"held\"}\n",
    "9223372036854775807",
    "-9223372036854775808",
    "\"app/app1\"",
    "\"run/line-1\"",
    "\"results/a/b/1\"",
    "\"../x\"",
    "\"\"",
    "\\u0000",
    "'; --",
    "null",
];

const MANIFESTS: &str = r#"
apiVersion: manifestd.dev/v1alpha1
kind: App
metadata: {name: app1}
spec: {path: apps/one, model: m, number: 1}
---
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: quick}
spec: {command: {argv: ["true"], tool: quick}, capacity: 2}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: t1}
spec: {app: app1, analyzer: quick}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: t2}
spec: {app: app1, analyzer: nobody, suspend: true}
---
apiVersion: manifestd.dev/v1alpha1
kind: Pipeline
metadata: {name: line}
spec:
  params: {a: 1}
  steps:
    - {name: one, analyzer: quick, app: app1}
    - {name: ask, needs: [one], approval: {}}
    - {name: two, needs: [ask], analyzer: quick, app: app1}
---
apiVersion: manifestd.dev/v1alpha1
kind: Pipeline
metadata: {name: nightly}
spec:
  runPolicy: Manual
  schedule: {cron: "0 2 * * *", timeZone: Europe/Warsaw}
  steps: [{name: one, analyzer: quick, app: app1}]
"#;

/// Lines: one request each.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = texts(&[&WORDS
        .iter()
        .filter(|word| word.starts_with("{\"do\""))
        .take(REQUESTS_MAX)
        .copied()
        .collect::<String>()]);
    seeds.extend(WORDS.iter().filter(|word| word.starts_with("{\"do\"")).map(|word| word.as_bytes().to_vec()));
    seeds.extend(texts(&[
        concat!(
            "{\"do\":\"suspend\",\"target\":\"line-1\",\"reason\":\"\",\"by\":\"\",\"until\":null,\"dry_run\":false}\n",
            "{\"do\":\"decide\",\"run\":\"line-1\",\"step\":\"ask\",\"approved\":true,\"by\":\"b\",\"comment\":\"\"}\n",
            "{\"do\":\"resume\",\"target\":\"line-1\",\"dry_run\":false}\n{\"do\":\"reconcile\",\"only\":[]}\n",
            "{\"do\":\"retry-run\",\"run\":\"line-1\",\"what\":{\"only\":\"one\"},\"dry_run\":false}\n{\"do\":\"reconcile\",\"only\":[]}"
        ),
        concat!(
            "{\"do\":\"cancel\",\"tasks\":[\"t1\",\"t2\",\"t1\"]}\n{\"do\":\"reconcile\",\"only\":[\"tasks\"]}\n{\"do\":\"retry\",\"tasks\":[\"t1\",\"t2\"]}\n",
            "{\"do\":\"care\",\"objects\":[\"task/t1\",\"run/line-1\",\"app/app1\",\"results/app1/t1/1\"],\"care\":\"restore\"}\n{\"do\":\"purge\",\"objects\":[\"task/t1\"]}"
        ),
    ]));
    seeds
}

/// Everybody may pass.
struct Open;

impl Gate for Open {
    fn before(&self, _: Step) -> Passing<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn after(&self, _: Step) -> Passing<'_, ()> {
        Box::pin(async {})
    }
}

/// An outside world in which everything works, at once.
#[derive(Debug)]
struct Willing;

impl Outside for Willing {
    fn run<'o>(
        &'o self,
        _: &'o Assignment,
        _: Timestamp,
        _: mpsc::Sender<Sign>,
        _: Stop,
    ) -> Played<'o, Option<Ending>> {
        let verdict = Verdict::without_tools(Outcome::Failed, Reason::ExitCode, "played");
        Box::pin(async { Some(Ending::bare(verdict)) })
    }

    fn probe<'o>(&'o self, _: &'o str, _: Duration) -> Played<'o, Result<Health, String>> {
        Box::pin(async { Err("played".to_owned()) })
    }

    fn reap<'o>(&'o self, _: &'o AttemptId) -> Played<'o, Reaped> {
        Box::pin(async { Reaped::default() })
    }
}

/// A workspace, and a database of it in which something has happened.
struct Scene {
    workspace: TempDir,
    database: Connection,
}

impl Scene {
    fn new() -> Self {
        let workspace = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(workspace.path().join("apps/one")).expect("an app");
        fs::create_dir_all(workspace.path().join("manifests")).expect("a directory");
        fs::write(workspace.path().join("manifests/all.yaml"), MANIFESTS).expect("manifests");
        let mut scene = Self { workspace, database: Connection::open_in_memory().expect("a database") };
        let made = scene.converse(&[Request::Reconcile { only: Vec::new(), planned: None }]);
        scene.database = made;
        scene
    }

    fn core(&self, connection: &Arc<Mutex<Connection>>) -> Core {
        let state = self.workspace.path().join(".manifestd");
        let store = Store::inline(state.join("manifestd.db"), Arc::clone(connection), Arc::new(Open)).expect("a store");
        let surroundings = Surroundings {
            workspace: self.workspace.path().to_owned(),
            secrets: state.join("secrets"),
            state,
            programs: None,
            embedded: None,
            attempt_token_prefix: "fuzz".into(),
            environment: BTreeMap::new(),
            limits: Limits::default(),
        };
        let (settings, _): (Settings, _) = config::resolve(&[]).expect("settings");
        let clock = Clock::Manual(Arc::new(AtomicI64::new(NOW.0)));
        let executors = Executors::played(surroundings, Arc::new(Willing));
        Core::new(store, clock, settings, self.workspace.path().to_owned(), executors)
    }

    /// Asks one after the other, and gives the database as it is then.
    fn converse(&self, requests: &[Request]) -> Connection {
        let mut copy = Connection::open_in_memory().expect("a database");
        let backup = rusqlite::backup::Backup::new(&self.database, &mut copy).expect("a copy");
        backup.step(-1).expect("a whole copy");
        drop(backup);
        let connection = Arc::new(Mutex::new(copy));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let core = self.core(&connection);
            let controller = Controller::of(core.clone());
            let answerer = Answerer::new(&controller);
            for request in requests {
                let response = answerer.answer(request.clone()).await;
                let text = serde_json::to_string(&response).expect("JSON");
                assert!(
                    serde_json::from_str(&text)
                        .is_ok_and(|again: manifestd::runtime::control::Response| again == response),
                    "{text}"
                );
                assert_eq!(core.fatal.reason(), None, "{request:?} ends the controller");
            }
        });
        drop(runtime);
        let connection = Arc::try_unwrap(connection).unwrap_or_else(|_| panic!("somebody still has the database"));
        connection.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What must hold of any requests.
pub(crate) fn check(data: &[u8]) {
    static SCENE: OnceLock<Mutex<Scene>> = OnceLock::new();
    let mut requests = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(REQUESTS_MAX) {
        let Ok(request) = serde_json::from_slice::<Request>(line) else { continue };
        let text = serde_json::to_string(&request).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Request>(&text).ok().as_ref(),
            Some(&request),
            "not as it was written: {text}"
        );
        requests.push(request);
    }
    if requests.is_empty() {
        return;
    }
    let scene = SCENE.get_or_init(|| Mutex::new(Scene::new()));
    let database = scene.lock().unwrap_or_else(PoisonError::into_inner).converse(&requests);
    let wrong = contradictions(&database).expect("rows");
    assert!(wrong.is_empty(), "{wrong:?} after {requests:?}");
    let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(whole, "ok", "after {requests:?}");
    let broken: i64 =
        database.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(broken, 0, "after {requests:?}");
}
