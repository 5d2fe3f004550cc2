//! A temporary workspace with manifests, a store filled through the library, and the binary to run in it.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use manifestd::manifest::parse;
use manifestd::plan::Write;
use manifestd::plan::mirror::{Change, Declared};
use manifestd::plan::owner::owner;
use manifestd::plan::write::{CloseAttempt, OpenAttempt, TaskStatus, TaskWrite};
use manifestd::resource::attempt::{AttemptId, StoredResult};
use manifestd::resource::findings::Findings;
use manifestd::resource::health::Health;
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::{Outcome, ToolReport, ToolStatus, Verdict};
use manifestd::resource::phase::Phase;
use manifestd::resource::provenance::Provenance;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use manifestd::store::replica::ProbeReport;
use manifestd::store::{Committed, MirrorCommit, StateLock, Store};

/// 2026-11-23T10:00:00Z, when everything in these tests was created.
pub(crate) const START: Timestamp = Timestamp(1_795_428_000_000);

/// Manifests that most tests begin with: four tasks on two analyzers.
pub(crate) const MANIFESTS: &str = "\
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: lint}
spec:
  command: {argv: [ruff, check], output: sarif}
---
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: static}
spec:
  websocket: {urls: ['ws://127.0.0.1:2001'], request: static_analyze}
---
apiVersion: manifestd.dev/v1alpha1
kind: App
metadata: {name: demo, labels: {model: gpt-4o}}
spec: {path: generated/demo, model: gpt-4o, number: 1}
---
# The first task.
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: lint-demo, labels: {team: red}}
spec: {app: demo, analyzer: lint, tools: [ruff, bandit]}
---
# The second task.
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: static-demo, labels: {team: blue}}
spec: {app: demo, analyzer: static, priority: 200}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: static-low}
spec: {app: demo, analyzer: static, priority: 50}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: lost, labels: {team: blue}}
spec: {app: dmeo, analyzer: lint, suspend: true}
";

/// A workspace.
pub(crate) struct World {
    directory: tempfile::TempDir,
}

impl World {
    /// An empty workspace.
    pub(crate) fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A workspace with [`MANIFESTS`], mirrored.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        world.write("manifests/all.yaml", MANIFESTS);
        fs::create_dir_all(world.path("generated/demo")).unwrap();
        world.mirror("all.yaml");
        world.probed("ws://127.0.0.1:2001", Ok(()));
        world
    }

    /// A probe of the analyzer `static` has told so.
    pub(crate) fn probed(&self, url: &str, answer: Result<(), &str>) {
        let health = || Health { version: "static-analyzer 1.0.0".into(), ..Health::default() };
        let answer = answer.map(|()| health()).map_err(str::to_owned);
        let report =
            ProbeReport { analyzer: "static".into(), url: url.into(), answer, failure_threshold: 1, at: START };
        self.store(async |store| store.report_probe(report).await.unwrap());
    }

    /// A path in the workspace.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in the workspace.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Reads a file in the workspace.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The binary, in this workspace, with nothing of the tests' own environment.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(arguments))
    }

    /// The same, not yet run.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::cargo_bin("manifestd").unwrap();
        command.current_dir(self.directory.path()).env_clear().timeout(std::time::Duration::from_secs(60));
        command
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.path(".manifestd")
    }

    /// Does something with the store, as a controller would.
    pub(crate) fn store<T>(&self, work: impl AsyncFnOnce(&Store) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(StateLock::acquire(&self.state()).unwrap()).unwrap();
            work(&store).await
        })
    }

    /// Mirrors one file of the manifests directory.
    pub(crate) fn mirror(&self, file: &str) {
        let text = self.read(&format!("manifests/{file}"));
        let parsed = parse(file, text.as_bytes(), &[".".into()]);
        assert!(!parsed.has_errors(), "{:?}", parsed.problems);
        let tasks = parsed.documents.iter().filter(|document| document.object.kind() == Kind::Task).count();
        let declared = parsed.documents.into_iter().map(|document| {
            let provenance =
                Provenance { file: file.into(), line: document.line, digest: "d".repeat(64), commit: None };
            let owner = owner(&document.object.metadata.labels, file, tasks);
            let manifest = text[document.body.clone()].to_owned();
            Change::Create(Declared::new(document.object, provenance, owner, manifest).into())
        });
        let batch = MirrorCommit { changes: declared.collect(), ..MirrorCommit::default() };
        self.store(async |store| store.commit_mirror(batch, START).await.unwrap());
    }

    /// The uid of a task.
    pub(crate) fn uid(&self, task: &str) -> Uid {
        let item: serde_json::Value = self.run(&["get", "task", task, "-o", "json"]).ok().json();
        Uid(item["metadata"]["uid"].as_str().unwrap().into())
    }

    /// Commits writes.
    pub(crate) fn commit(&self, writes: Vec<Write>, now: Timestamp) {
        let committed = self.store(async |store| store.commit(writes, now).await.unwrap());
        assert!(matches!(committed, Committed::Applied(_)));
    }

    /// Opens attempt 1 of a fresh task.
    pub(crate) fn start(&self, task: &str, analyzer: &str, replica: &str, deadline_at: Timestamp) {
        let id = AttemptId { task: self.uid(task), number: 1 };
        let item = self.run(&["get", "task", task, "-o", "json"]).ok().json();
        let open = OpenAttempt {
            id: id.clone(),
            round: 1,
            generation: 1,
            asked: vec![],
            analyzer: analyzer.into(),
            replica: replica.into(),
            opened_at: START,
            deadline_at,
            resumable: false,
            app_digest: None,
            pool: item["status"]["pool"].as_str().map(str::to_owned),
        };
        let status = TaskStatus {
            phase: Phase::Running,
            reason: Reason::AttemptStarted,
            message: format!("attempt 1 on {analyzer}"),
            attempt: 1,
            started_at: Some(START),
            next_at: Some(deadline_at),
            ..TaskStatus::fresh(1, 1, 1)
        };
        let write = TaskWrite { uid: id.task, version: 1, status };
        self.commit(vec![Write::OpenAttempt(Box::new(open)), Write::Task(Box::new(write))], START);
    }

    /// Ends attempt 1 of a task that [`World::start`] started, in some other phase.
    pub(crate) fn end(&self, task: &str, phase: Phase, reason: Reason, verdict: Verdict, result: Option<StoredResult>) {
        let at = START.plus(Span::minutes(3));
        let id = AttemptId { task: self.uid(task), number: 1 };
        let status = TaskStatus { started_at: Some(START), ..TaskStatus::fresh(1, 1, 1) };
        let message = verdict.message.clone();
        let status = if phase.is_terminal() {
            status.ended(phase, reason, message, verdict.findings, at)
        } else {
            status.waiting(reason, message, Some(far_ahead()))
        };
        let close = CloseAttempt { id: id.clone(), verdict, result, at, slot_until: None, cache_key: None };
        let write = TaskWrite { uid: id.task, version: 2, status };
        self.commit(vec![Write::CloseAttempt(Box::new(close)), Write::Task(Box::new(write))], at);
    }

    /// `lint-demo` as PartialSuccess: ruff ran and found something, bandit did not run; with files.
    pub(crate) fn finish_lint_demo(&self) {
        self.start("lint-demo", "lint", "", START.plus(Span::minutes(30)));
        let found = Findings { high: 1, medium: 0, low: 2, unrated: 0 };
        let tool = |name: &str, status, message: &str, findings| ToolReport {
            name: name.into(),
            status,
            message: message.into(),
            findings,
            permanent: false,
        };
        let verdict = Verdict {
            outcome: Outcome::PartialSuccess,
            reason: Reason::SomeToolsFailed,
            message: "1 of 2 tools ran".into(),
            tools: vec![
                tool("ruff", ToolStatus::Completed, "", found),
                tool("bandit", ToolStatus::NotRun, "bandit is not installed", Findings::default()),
            ],
            findings: found,
            outputs: Box::default(),
        };
        let directory = "demo/lint-demo/1";
        let result = StoredResult { directory: directory.into(), sha256: "e".repeat(64), bytes: 10 };
        self.end("lint-demo", Phase::PartialSuccess, Reason::SomeToolsFailed, verdict, Some(result));
        let at = |name: &str| format!(".manifestd/results/{directory}/{name}");
        self.write(&at("log.txt"), "ruff says hello\n");
        self.write(&at("result.json"), "{\"as\": \"it is\"}");
        self.write(
            &at("sarif/ruff.sarif"),
            r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "ruff"}}, "results": []}]}"#,
        );
        self.write(&at("sarif/two.sarif"), r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "two"}}, "automationDetails": {"id": "own"}}]}"#);
    }
}

impl World {
    /// `lint-demo` as Completed in two attempts: ruff ran in the first, bandit crashed there and ran in the second; with files.
    pub(crate) fn finish_lint_demo_in_two_attempts(&self) {
        let found =
            [Findings { high: 1, low: 2, ..Findings::default() }, Findings { medium: 3, ..Findings::default() }];
        let tool = |name: &str, status, message: &str, findings| ToolReport {
            name: name.into(),
            status,
            message: message.into(),
            findings,
            permanent: false,
        };
        let first = vec![
            tool("ruff", ToolStatus::Completed, "", found[0]),
            tool("bandit", ToolStatus::NotRun, "bandit crashed", Findings::default()),
        ];
        let second = vec![tool("bandit", ToolStatus::Completed, "", found[1])];
        let (partial, whole) = (Outcome::PartialSuccess, Outcome::Completed);
        let uid = self.uid("lint-demo");
        for (number, outcome, tools, asked) in
            [(1, partial, first, vec![]), (2, whole, second, vec!["bandit".to_owned()])]
        {
            let id = AttemptId { task: uid.clone(), number };
            let findings = found[number as usize - 1];
            let open = OpenAttempt {
                id: id.clone(),
                round: 1,
                generation: 1,
                asked,
                analyzer: "lint".into(),
                replica: String::new(),
                opened_at: START,
                deadline_at: START.plus(Span::minutes(30)),
                resumable: false,
                pool: None,
                app_digest: None,
            };
            let directory = format!("demo/lint-demo/{number}");
            let result = StoredResult { directory: directory.clone(), sha256: "e".repeat(64), bytes: 10 };
            let verdict = Verdict {
                outcome,
                reason: Reason::AllToolsRan,
                message: String::new(),
                tools,
                findings,
                outputs: Box::default(),
            };
            let close = CloseAttempt {
                id,
                verdict,
                result: Some(result),
                at: START.plus(Span::minutes(3)),
                slot_until: None,
                cache_key: None,
            };
            self.commit(vec![Write::OpenAttempt(Box::new(open)), Write::CloseAttempt(Box::new(close))], START);
            let at = |name: &str| format!(".manifestd/results/{directory}/{name}");
            self.write(&at("result.json"), &format!("{{\"attempt\": {number}}}"));
            let run = r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": []}]}"#;
            self.write(&at("sarif/bandit.sarif"), run);
            if number == 1 {
                self.write(&at("sarif/ruff.sarif"), run);
            }
        }
        let mut sum = found[0];
        sum += found[1];
        let at = START.plus(Span::minutes(3));
        let status = TaskStatus::fresh(1, 1, 2).ended(Phase::Completed, Reason::AllToolsRan, "", sum, at);
        self.commit(vec![Write::Task(Box::new(TaskWrite { uid, version: 1, status }))], START);
    }
}

/// A moment that is still ahead whenever these tests run.
pub(crate) fn far_ahead() -> Timestamp {
    Timestamp(4_102_444_800_000)
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It must have ended with this code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.with(0)
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}:\n{}", self.out))
    }

    /// Every part is in what was printed, on stdout or stderr.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.out.contains(part) || self.err.contains(part),
                "{part:?} is not in:\n{}\nstderr:\n{}",
                self.out,
                self.err
            );
        }
        self
    }

    /// The lines of standard output with every run of blanks as one, and ages left out.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.exists()
}
