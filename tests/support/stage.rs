//! A workspace, a state directory and executors for one test, and the checks that hold after every attempt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manifestd::executor::{Executors, Limits, Stop, Surroundings, leftover};
use manifestd::resource::analyzer::{CommandSpec, Credentials, KeepResults, Output};
use manifestd::resource::attempt::{AppTarget, Assignment, AttemptId, Ending, Sign, Target};
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

pub(crate) const NOW: Timestamp = Timestamp(1_767_600_000_000);
pub(crate) const LIMIT: usize = 256 << 10;
const TASK: &str = "0190-task";
/// A deadline that no test reaches, though a failing one should end some day.
pub(crate) const FAR: Span = Span::minutes(5);
/// A deadline that a test waits for.
pub(crate) const SOON: Span = Span(300);

/// A workspace with one app, and a state directory.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) executors: Executors,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other limits than the tests' usual ones.
    pub(crate) fn with(change: impl FnOnce(&mut Limits)) -> Self {
        Self::among(|surroundings| change(&mut surroundings.limits))
    }

    /// With other surroundings than the tests' usual ones.
    pub(crate) fn among(change: impl FnOnce(&mut Surroundings)) -> Self {
        let limits = Limits {
            message_bytes_max: LIMIT,
            output_bytes_max: LIMIT,
            log_bytes_max: 64 << 10,
            ping_interval: Duration::from_millis(20),
            silence_max: Duration::from_secs(60),
            reconnect_pause: Duration::from_millis(1),
            cancel_wait: Duration::from_secs(20),
            room_bytes_min: 0,
        };
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("workspace/apps/one")).expect("a workspace");
        std::fs::create_dir_all(dir.path().join("state")).expect("a state directory");
        // The directory's name is random, so two stages never find each other's processes.
        let prefix = format!("test{}", dir.path().file_name().unwrap_or_default().display());
        let mut surroundings = Surroundings {
            workspace: dir.path().join("workspace"),
            state: dir.path().join("state"),
            secrets: dir.path().join("secrets"),
            programs: None,
            embedded: None,
            attempt_token_prefix: prefix,
            environment: BTreeMap::from([("SECRET".into(), "x".into()), ("TZ".into(), "Asia/Tokyo".into())]),
            limits,
        };
        change(&mut surroundings);
        Self { dir, executors: Executors::new(surroundings) }
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The token of the attempt that [`assignment`] gives.
    pub(crate) fn token(&self) -> String {
        self.executors.surroundings().token(&AttemptId { task: Uid(TASK.into()), number: 1 })
    }

    pub(crate) fn start(&self, assignment: Assignment) -> Carried {
        let (sender, signs) = mpsc::channel(1024);
        let stop = Stop::new();
        let token = self.executors.surroundings().token(&assignment.id);
        let (executors, inner) = (self.executors.clone(), stop.clone());
        let mut run = tokio::task::JoinSet::new();
        run.spawn(async move { executors.run(&assignment, NOW, sender, inner).await });
        Carried { run, signs, stop, token, heard: Vec::new() }
    }

    pub(crate) async fn run(&self, assignment: Assignment) -> Ending {
        self.start(assignment).end().await
    }

    /// The same state directory under another controller, which shares nothing with the first but what lies on disk.
    pub(crate) fn another_controller(&self) -> Another {
        Another(Executors::new(self.executors.surroundings().clone()))
    }

    /// Nothing runs any more, and nothing half-done lies about.
    pub(crate) async fn assert_clean(&self, what: &str, carried: &Carried) {
        for sign in &carried.heard {
            if let Sign::Spawned { pid, .. } = sign {
                let gone = async {
                    // A killed process dies a moment after the signal, and only its parent hears of it.
                    while group_lives(*pid) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
                assert!(gone.is_ok(), "{what}: the process group {pid} is alive");
            }
        }
        assert_eq!(leftover::reap(&carried.token, None).await, leftover::Reaped::default(), "{what}");
        let staged = std::fs::read_dir(self.state().join("staging")).map_or(0, Iterator::count);
        assert_eq!(staged, 0, "{what}: staging is not empty");
    }
}

/// Another controller's executors.
pub(crate) struct Another(Executors);

impl Another {
    pub(crate) async fn run(&self, assignment: &Assignment) -> Option<Ending> {
        let (sender, _signs) = mpsc::channel(1024);
        self.0.run(assignment, NOW, sender, Stop::new()).await
    }
}

/// Whether a process of the group runs; one that only waits to be reaped by its parent does not.
pub(crate) fn group_lives(group: i32) -> bool {
    let pids =
        std::fs::read_dir("/proc").expect("Linux").flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let stats = pids.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.filter_map(|stat| stat.rsplit(')').next().map(str::to_owned)).any(|rest| {
        let fields: Vec<&str> = rest.split_whitespace().collect();
        fields.first() != Some(&"Z") && fields.get(2).and_then(|field| field.parse().ok()) == Some(group)
    })
}

/// An attempt that is being carried.
pub(crate) struct Carried {
    pub(crate) run: tokio::task::JoinSet<Option<Ending>>,
    pub(crate) signs: mpsc::Receiver<Sign>,
    pub(crate) stop: Stop,
    pub(crate) token: String,
    pub(crate) heard: Vec<Sign>,
}

impl Carried {
    /// Waits for a sign.
    pub(crate) async fn sign(&mut self, wanted: impl Fn(&Sign) -> bool) -> Sign {
        loop {
            let sign = self.signs.recv().await.expect("the attempt ended before the sign");
            self.heard.push(sign.clone());
            if wanted(&sign) {
                return sign;
            }
        }
    }

    pub(crate) async fn spawned(&mut self) -> (i32, u64) {
        match self.sign(|sign| matches!(sign, Sign::Spawned { .. })).await {
            Sign::Spawned { pid, pid_start } => (pid, pid_start),
            _ => unreachable!("it was asked for"),
        }
    }

    pub(crate) async fn end(&mut self) -> Ending {
        self.end_or_leave().await.expect("an ending")
    }

    /// Waits until the executor lets go; `None` when the attempt was left running.
    pub(crate) async fn end_or_leave(&mut self) -> Option<Ending> {
        let ending = self.run.join_next().await.expect("one run").expect("executors do not panic");
        while let Some(sign) = self.signs.recv().await {
            self.heard.push(sign);
        }
        ending
    }
}

pub(crate) fn assignment(target: Target, deadline: Span) -> Assignment {
    Assignment {
        id: AttemptId { task: Uid(TASK.into()), number: 1 },
        task: "lint".into(),
        analyzer: "ruff".into(),
        app: AppTarget {
            name: "one".into(),
            path: "apps/one".into(),
            model: Some("acme_alpha-1".into()),
            number: Some(1),
            target_urls: Vec::new(),
        },
        target,
        rate: None,
        tools: vec!["ruff".into()],
        config: serde_json::Map::new(),
        keep_results: KeepResults::Always,
        origin: manifestd::resource::attempt::Origin::default(),
        stamp: None,
        opened_at: NOW,
        deadline_at: NOW.plus(deadline),
        resumed: false,
    }
}

pub(crate) fn websocket(url: String) -> Target {
    let (request, connect_timeout) = ("static_analyze".into(), Span::seconds(20));
    Target::WebSocket { url, request, connect_timeout, credentials: Credentials::default(), extended: false }
}

/// The same for a service that speaks `manifestd/v1`.
pub(crate) fn extended(url: String) -> Target {
    match websocket(url) {
        Target::WebSocket { url, request, connect_timeout, credentials, .. } => {
            Target::WebSocket { url, request, connect_timeout, credentials, extended: true }
        }
        Target::Command(_) => unreachable!("it is a service"),
    }
}

pub(crate) fn sh(script: &str, output: Output) -> Target {
    let mut spec: CommandSpec = serde_json::from_value(json!({"argv": ["sh", "-c", script]})).expect("a spec");
    spec.output = output;
    spec.tool = Some("ruff".into());
    spec.termination_grace = Span(200);
    Target::Command(Box::new(spec))
}

pub(crate) async fn check(what: &str, expected: (Outcome, Reason), ending: &Ending, stage: &Stage, carried: &Carried) {
    assert_eq!((ending.verdict.outcome, ending.verdict.reason), expected, "{what}: {ending:?}");
    assert!(!ending.verdict.message.is_empty(), "{what}");
    stage.assert_clean(what, carried).await;
    if ending.verdict.outcome == Outcome::Completed {
        assert_eq!(ending.verdict.findings.total(), 1, "{what}");
        assert!(ending.result.is_some(), "{what}");
    }
    if let Some(stored) = &ending.result {
        check_stored(what, &stage.state().join("results").join(&stored.directory), &stored.sha256, stored.bytes);
    }
}

/// The manifest is the one the row speaks of, and lists every file as it is.
pub(crate) fn check_stored(what: &str, dir: &Path, sha256: &str, bytes: u64) {
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let manifest = std::fs::read(dir.join("manifest.json")).expect("a manifest");
    assert_eq!(hex(&manifest), sha256, "{what}");
    let listed: Value = serde_json::from_slice(&manifest).expect("JSON");
    let mut total = manifest.len();
    for file in listed["files"].as_array().expect("files") {
        let content = std::fs::read(dir.join(file["name"].as_str().expect("a name"))).expect("a listed file");
        assert_eq!(file["sha256"], hex(&content), "{what}: {file}");
        assert_eq!(file["bytes"], content.len(), "{what}: {file}");
        total += content.len();
    }
    assert_eq!(total as u64, bytes, "{what}");
}
