//! Conformance of executors: one list of cases, run over every executor through the same seam, and then what is special to each.
//!
//! A bench knows how to make its executor's other side behave as a case says. A new executor needs a bench and its line in `BENCHES`.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use manifestd::executor::{Executors, Limits, Surroundings, leftover, results};
use manifestd::resource::analyzer::{CommandSpec, Output, Rate};
use manifestd::resource::attempt::{AppTarget, Assignment, AttemptId, Ending, Sign, Target};
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::misbehaving::{Behaviour, Misbehaving, static_result};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

const NOW: Timestamp = Timestamp(1_767_600_000_000);
const LIMIT: usize = 256 << 10;
/// A deadline that no test reaches, though a failing one should end some day.
const FAR: Span = Span::minutes(5);
/// A deadline that a test waits for.
const SOON: Span = Span(300);

/// A workspace with one app, and a state directory.
struct Stage {
    dir: tempfile::TempDir,
    executors: Executors,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("workspace/apps/one")).expect("a workspace");
        std::fs::create_dir_all(dir.path().join("state")).expect("a state directory");
        // The directory's name is random, so two stages never find each other's processes.
        let prefix = format!("test{}", dir.path().file_name().unwrap_or_default().display());
        let executors = Executors::new(Surroundings {
            workspace: dir.path().join("workspace"),
            state: dir.path().join("state"),
            embedded: None,
            attempt_token_prefix: prefix,
            environment: BTreeMap::from([("SECRET".into(), "x".into()), ("TZ".into(), "Asia/Tokyo".into())]),
            limits: Limits {
                message_bytes_max: LIMIT,
                output_bytes_max: LIMIT,
                log_bytes_max: 64 << 10,
                ping_interval: Duration::from_millis(20),
            },
        });
        Self { dir, executors }
    }

    fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn start(&self, assignment: Assignment) -> Carried {
        let (sender, signs) = mpsc::channel(1024);
        let stop = CancellationToken::new();
        let token = self.executors.surroundings().token(&assignment.id);
        let (executors, inner) = (self.executors.clone(), stop.clone());
        let mut run = tokio::task::JoinSet::new();
        run.spawn(async move { executors.run(&assignment, NOW, sender, inner).await });
        Carried { run, signs, stop, token, heard: Vec::new() }
    }

    async fn run(&self, assignment: Assignment) -> Ending {
        self.start(assignment).end().await
    }

    /// Nothing runs any more, and nothing half-done lies about.
    async fn assert_clean(&self, what: &str, carried: &Carried) {
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

/// Whether a process of the group runs; one that only waits to be reaped by its parent does not.
fn group_lives(group: i32) -> bool {
    let pids =
        std::fs::read_dir("/proc").expect("Linux").flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let stats = pids.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.filter_map(|stat| stat.rsplit(')').next().map(str::to_owned)).any(|rest| {
        let fields: Vec<&str> = rest.split_whitespace().collect();
        fields.first() != Some(&"Z") && fields.get(2).and_then(|field| field.parse().ok()) == Some(group)
    })
}

/// An attempt that is being carried.
struct Carried {
    run: tokio::task::JoinSet<Ending>,
    signs: mpsc::Receiver<Sign>,
    stop: CancellationToken,
    token: String,
    heard: Vec<Sign>,
}

impl Carried {
    /// Waits for a sign.
    async fn sign(&mut self, wanted: impl Fn(&Sign) -> bool) -> Sign {
        loop {
            let sign = self.signs.recv().await.expect("the attempt ended before the sign");
            self.heard.push(sign.clone());
            if wanted(&sign) {
                return sign;
            }
        }
    }

    async fn spawned(&mut self) -> (i32, u64) {
        match self.sign(|sign| matches!(sign, Sign::Spawned { .. })).await {
            Sign::Spawned { pid, pid_start } => (pid, pid_start),
            _ => unreachable!("it was asked for"),
        }
    }

    async fn end(&mut self) -> Ending {
        let ending = self.run.join_next().await.expect("one run").expect("executors do not panic");
        while let Some(sign) = self.signs.recv().await {
            self.heard.push(sign);
        }
        ending
    }
}

fn assignment(target: Target, deadline: Span) -> Assignment {
    Assignment {
        id: AttemptId { task: Uid("0190-task".into()), number: 1 },
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
        tools: vec!["ruff".into()],
        config: serde_json::Map::new(),
        opened_at: NOW,
        deadline_at: NOW.plus(deadline),
    }
}

fn websocket(url: String) -> Target {
    Target::WebSocket { url, request: "static_analyze".into(), connect_timeout: Span::seconds(20) }
}

fn sh(script: &str, output: Output) -> Target {
    let mut spec: CommandSpec = serde_json::from_value(json!({"argv": ["sh", "-c", script]})).expect("a spec");
    spec.output = output;
    spec.tool = Some("ruff".into());
    spec.termination_grace = Span(200);
    Target::Command(Box::new(spec))
}

const SARIF: &str = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"ruff"}},"results":[{"level":"error","message":{"text":"m"}}]}]}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Ok,
    ToolFailed,
    SlowButInTime,
    Cancelled,
    Deadline,
    HugeOutput,
    PeerVanishes,
    Garbage,
    CannotStart,
}

const CASES: [Case; 9] = [
    Case::Ok,
    Case::ToolFailed,
    Case::SlowButInTime,
    Case::Cancelled,
    Case::Deadline,
    Case::HugeOutput,
    Case::PeerVanishes,
    Case::Garbage,
    Case::CannotStart,
];

/// What a peer needs to go on.
type Held = Option<Misbehaving>;

/// The other side of an executor, playing a case.
struct Peer {
    target: Target,
    /// Comes back when the work has begun, with what must stay alive meanwhile; for work that tells so by a sign, `None`.
    begun: Option<BoxFuture<'static, Held>>,
    /// Lets slow work end.
    release: Box<dyn FnOnce() + Send>,
}

trait Bench {
    fn name(&self) -> &'static str;
    fn peer<'a>(&'a self, case: Case, stage: &'a Stage) -> BoxFuture<'a, Peer>;
    /// The documented ending of a case, where executors differ.
    fn ending(&self, case: Case) -> (Outcome, Reason);
}

/// Every executor, one line each.
const BENCHES: [&(dyn Bench + Sync); 2] = [&WebSocketBench, &CommandBench];

struct WebSocketBench;

impl Bench for WebSocketBench {
    fn name(&self) -> &'static str {
        "websocket"
    }

    fn peer<'a>(&'a self, case: Case, _: &'a Stage) -> BoxFuture<'a, Peer> {
        Box::pin(async move {
            let gate = Arc::new(Notify::new());
            let failed = json!({"type": "static_analysis_result", "status": "success", "analysis": {
                "results": {"python": {"ruff": {"executed": true, "status": "error", "error": "boom"}}}}});
            let mut analyzer = Misbehaving::start(match case {
                Case::Ok => Behaviour::Answers(static_result("ruff", 1)),
                Case::ToolFailed => Behaviour::Answers(failed),
                Case::SlowButInTime => Behaviour::AnswersLate(gate.clone(), static_result("ruff", 1)),
                Case::Cancelled | Case::Deadline => Behaviour::Silent,
                Case::HugeOutput => Behaviour::Big(2 * LIMIT),
                Case::PeerVanishes => Behaviour::Resets,
                Case::Garbage => Behaviour::Garbage,
                Case::CannotStart => Behaviour::Refuses,
            })
            .await;
            let target = websocket(analyzer.url());
            let begun = async move {
                let request = analyzer.request().await;
                assert_eq!(request["config"], json!({}));
                Some(analyzer)
            };
            Peer { target, begun: Some(Box::pin(begun)), release: Box::new(move || gate.notify_one()) }
        })
    }

    fn ending(&self, case: Case) -> (Outcome, Reason) {
        match case {
            Case::Ok | Case::SlowButInTime => (Outcome::Completed, Reason::AllToolsRan),
            Case::ToolFailed => (Outcome::Failed, Reason::ToolFailed),
            Case::Cancelled => (Outcome::Cancelled, Reason::CancelledByUser),
            Case::Deadline => (Outcome::TimedOut, Reason::DeadlineExceeded),
            Case::HugeOutput => (Outcome::Failed, Reason::ResultTooLarge),
            Case::PeerVanishes => (Outcome::ProtocolError, Reason::ConnectionLost),
            Case::Garbage => (Outcome::ProtocolError, Reason::ProtocolError),
            Case::CannotStart => (Outcome::Unavailable, Reason::AnalyzerUnavailable),
        }
    }
}

struct CommandBench;

impl Bench for CommandBench {
    fn name(&self) -> &'static str {
        "command"
    }

    fn peer<'a>(&'a self, case: Case, stage: &'a Stage) -> BoxFuture<'a, Peer> {
        Box::pin(async move {
            let gate = stage.workspace().join("gate");
            let ok = format!("echo '{SARIF}'");
            let script = match case {
                Case::Ok => ok,
                Case::ToolFailed => "echo boom >&2; exit 2".into(),
                Case::SlowButInTime => {
                    make_fifo(&gate);
                    format!("read line < gate; {ok}")
                }
                // Neither it nor its children heed TERM.
                Case::Cancelled | Case::Deadline => "trap '' TERM; sleep 600 & sleep 600; sleep 600".into(),
                Case::HugeOutput => "head -c 1000000 /dev/zero; sleep 600".into(),
                Case::PeerVanishes => "kill -9 $$".into(),
                Case::Garbage => "echo this is not JSON".into(),
                Case::CannotStart => String::new(),
            };
            let mut target = sh(&script, Output::Sarif);
            if let (Case::CannotStart, Target::Command(spec)) = (case, &mut target) {
                spec.argv = vec!["no-such-program-anywhere".into()];
            }
            // Opening the gate for writing waits for the reader, so it cannot come too early.
            let release = move || {
                std::fs::write(&gate, "go\n").expect("the gate opens");
            };
            Peer { target, begun: None, release: Box::new(release) }
        })
    }

    fn ending(&self, case: Case) -> (Outcome, Reason) {
        match case {
            Case::Ok | Case::SlowButInTime => (Outcome::Completed, Reason::AllToolsRan),
            Case::ToolFailed | Case::PeerVanishes => (Outcome::Failed, Reason::ExitCode),
            Case::Cancelled => (Outcome::Cancelled, Reason::CancelledByUser),
            Case::Deadline => (Outcome::TimedOut, Reason::DeadlineExceeded),
            Case::HugeOutput => (Outcome::Failed, Reason::ResultTooLarge),
            Case::Garbage => (Outcome::Failed, Reason::OutputInvalid),
            Case::CannotStart => (Outcome::Failed, Reason::SpawnFailed),
        }
    }
}

fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_executor_keeps_to_the_documented_endings() {
    for bench in BENCHES {
        for case in CASES {
            let what = format!("{} {case:?}", bench.name());
            let stage = Stage::new();
            let peer = bench.peer(case, &stage).await;
            let deadline = if case == Case::Deadline { SOON } else { FAR };
            let mut carried = stage.start(assignment(peer.target, deadline));
            if matches!(case, Case::SlowButInTime | Case::Cancelled) {
                let _held = match peer.begun {
                    Some(begun) => begun.await,
                    None => {
                        carried.spawned().await;
                        None
                    }
                };
                carried.sign(|sign| *sign == Sign::Alive).await;
                match case {
                    Case::Cancelled => carried.stop.cancel(),
                    _ => tokio::task::spawn_blocking(peer.release).await.expect("released"),
                }
                let ending = carried.end().await;
                check(&what, bench.ending(case), &ending, &stage, &carried).await;
            } else {
                let ending = carried.end().await;
                check(&what, bench.ending(case), &ending, &stage, &carried).await;
            }
        }
    }
}

async fn check(what: &str, expected: (Outcome, Reason), ending: &Ending, stage: &Stage, carried: &Carried) {
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
fn check_stored(what: &str, dir: &Path, sha256: &str, bytes: u64) {
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

async fn analyse(behaviour: Behaviour) -> (Stage, Ending, Carried) {
    let stage = Stage::new();
    let analyzer = Misbehaving::start(behaviour).await;
    let mut carried = stage.start(assignment(websocket(analyzer.url()), FAR));
    let ending = carried.end().await;
    stage.assert_clean("websocket", &carried).await;
    (stage, ending, carried)
}

fn text(frame: &Value) -> Message {
    Message::text(frame.to_string())
}

#[tokio::test]
async fn what_a_websocket_peer_may_do_has_one_meaning() {
    use Outcome::{Completed, Failed, ProtocolError};
    let ok = || static_result("ruff", 1);
    let unknown = json!({"type": "weather", "status": "sunny"});
    let cases = [
        ("result, then reset", Behaviour::AnswersThenResets(ok()), Completed, Reason::AllToolsRan),
        (
            "two results",
            Behaviour::AnswersTwice(ok(), json!({"type": "error", "message": "x"})),
            Completed,
            Reason::AllToolsRan,
        ),
        (
            "an error first",
            Behaviour::AnswersTwice(json!({"type": "error", "error": "x"}), ok()),
            Failed,
            Reason::AnalyzerError,
        ),
        ("drop in mid-frame", Behaviour::DropsMidFrame, ProtocolError, Reason::ConnectionLost),
        ("close without result", Behaviour::ClosesWithoutResult, ProtocolError, Reason::ProtocolError),
        (
            "unknown, unreadable and binary frames",
            Behaviour::Says(vec![
                text(&unknown),
                Message::text("{"),
                text(&json!([1])),
                Message::binary(ok().to_string()),
            ]),
            Completed,
            Reason::AllToolsRan,
        ),
        (
            "numbers that only Python knows",
            Behaviour::Says(vec![Message::text(
                ok().to_string().replace("\"total_issues\":1", "\"total_issues\":1,\"mean\":NaN"),
            )]),
            Completed,
            Reason::AllToolsRan,
        ),
        (
            "nothing told",
            Behaviour::Answers(json!({"type": "static_analysis_result", "status": "success"})),
            Failed,
            Reason::ToolNotRun,
        ),
    ];
    for (what, behaviour, outcome, reason) in cases {
        let (stage, ending, _) = analyse(behaviour).await;
        assert_eq!((ending.verdict.outcome, ending.verdict.reason), (outcome, reason), "{what}: {ending:?}");
        if outcome == Completed {
            let stored = ending.result.expect("a result");
            check_stored(what, &stage.state().join("results").join(&stored.directory), &stored.sha256, stored.bytes);
            let result = std::fs::read(stage.state().join("results").join(stored.directory).join("result.json"))
                .expect("it is there");
            assert!(serde_json::from_slice::<Value>(&result).is_ok(), "{what}");
        }
    }
}

#[tokio::test]
async fn progress_is_told_and_logged() {
    let progress =
        json!({"type": "progress_update", "stage": "scan", "message": "half\nway", "data": {"progress": 0.5}});
    let (stage, ending, carried) =
        analyse(Behaviour::Says(vec![text(&progress), text(&static_result("ruff", 1))])).await;
    let sign = Sign::Progress { stage: "scan".into(), message: "half way".into(), fraction: Some(0.5) };
    assert!(carried.heard.contains(&sign));
    let dir = stage.state().join("results").join(ending.result.expect("a result").directory);
    assert_eq!(dir, stage.state().join("results/one/lint/1"));
    let log = std::fs::read_to_string(dir.join("log.txt")).expect("a log");
    assert!(log.starts_with("2026-01-05T") && log.ends_with(" scan half way\n"), "{log}");
}

#[tokio::test]
async fn a_peer_that_does_not_shake_hands_or_read_cannot_hold_an_attempt() {
    let stage = Stage::new();
    let mute = Misbehaving::start(Behaviour::NeverShakesHands).await;
    let mut target = websocket(mute.url());
    if let Target::WebSocket { connect_timeout, .. } = &mut target {
        *connect_timeout = SOON;
    }
    let ending = stage.run(assignment(target, FAR)).await;
    assert_eq!(ending.verdict.reason, Reason::AnalyzerUnavailable, "{ending:?}");

    let mut deaf = Misbehaving::start(Behaviour::Deaf).await;
    let carried = &mut stage.start(assignment(websocket(deaf.url()), FAR));
    deaf.request().await;
    carried.stop.cancel();
    assert_eq!(carried.end().await.verdict.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn an_address_that_can_never_work_is_said_to_be_wrong() {
    let stage = Stage::new();
    for (url, reason) in [
        ("wss://127.0.0.1:1", Reason::InvalidConfiguration),
        ("not an address", Reason::InvalidConfiguration),
        ("embedded:", Reason::AnalyzerUnavailable),
    ] {
        let ending = stage.run(assignment(websocket(url.into()), FAR)).await;
        assert_eq!(ending.verdict.reason, reason, "{url}: {ending:?}");
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_stored_is_none_and_nothing_is_overwritten() {
    let stage = Stage::new();
    let place = stage.state().join("results/one/lint/1");
    std::fs::create_dir_all(&place).expect("a directory in the way");
    let mut carried = stage.start(assignment(sh(&format!("echo '{SARIF}'"), Output::Sarif), FAR));
    let ending = carried.end().await;
    assert_eq!(
        (ending.verdict.outcome, ending.verdict.reason),
        (Outcome::Failed, Reason::ResultNotStored),
        "{ending:?}"
    );
    assert!(ending.verdict.message.contains("already there") && ending.result.is_none());
    assert_eq!(std::fs::read_dir(&place).expect("still there").count(), 0);
    stage.assert_clean("not stored", &carried).await;
}

#[tokio::test]
async fn a_program_sees_its_own_environment_and_no_shell() {
    let stage = Stage::new();
    let mut target = sh("", Output::ExitCode);
    if let Target::Command(spec) = &mut target {
        spec.argv = ["sh", "-c", "env; pwd; printf '%s|' \"$@\"; cat; sleep 600 >/dev/null 2>&1 &", "sh"]
            .map(str::to_owned)
            .to_vec();
        spec.argv.extend(["${app.path}", "x;${app.name}", "$(id)", "${tools}"].map(str::to_owned));
        spec.env.insert("OWN".into(), "yes".into());
        spec.in_app_directory = true;
    }
    let mut carried = stage.start(assignment(target, FAR));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    stage.assert_clean("environment", &carried).await;
    let dir = stage.state().join("results").join(ending.result.expect("a log").directory);
    let log = std::fs::read_to_string(dir.join("log.txt")).expect("a log");
    let app = stage.workspace().join("apps/one").canonicalize().expect("it is there");
    assert!(log.contains("\nOWN=yes\n") || log.starts_with("OWN=yes\n"), "{log}");
    assert!(log.contains("TZ=Asia/Tokyo\n") && !log.contains("SECRET"), "{log}");
    assert!(log.contains(&format!("MANIFESTD_ATTEMPT={}\n", carried.token)), "{log}");
    assert!(log.contains(&format!("{0}\n{0}|x;one|$(id)|ruff|", app.display())), "{log}");
}

#[tokio::test]
async fn an_app_must_be_there_and_inside_the_workspace() {
    let stage = Stage::new();
    std::os::unix::fs::symlink("/", stage.workspace().join("apps/link")).expect("a link");
    for (path, reason) in [
        ("apps/none", Reason::AppMissing),
        ("apps/link", Reason::InvalidConfiguration),
        ("../state", Reason::InvalidConfiguration),
        ("/", Reason::InvalidConfiguration),
    ] {
        let mut assignment = assignment(sh("exit 0", Output::ExitCode), FAR);
        assignment.app.path = path.into();
        let ending = stage.run(assignment).await;
        assert_eq!((ending.verdict.outcome, ending.verdict.reason), (Outcome::Failed, reason), "{path}: {ending:?}");
    }
}

#[tokio::test]
async fn a_daemon_that_leaves_the_group_and_holds_the_pipe_is_ended_too() {
    let stage = Stage::new();
    let mut carried = stage.start(assignment(sh(&format!("setsid sleep 600 & echo '{SARIF}'"), Output::Sarif), FAR));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    stage.assert_clean("daemon", &carried).await;
}

#[tokio::test]
async fn leftovers_are_known_by_token_or_by_pid_with_start_time() {
    let stage = Stage::new();
    let token = stage.executors.surroundings().token(&AttemptId { task: Uid("u".into()), number: 3 });
    let spawn = |value: &str| {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "trap '' TERM; echo up; sleep 600; :"]).env("MANIFESTD_ATTEMPT", value).process_group(0);
        command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().expect("sh runs")
    };
    let mut ours = spawn(&token);
    let mut longer = spawn(&format!("{token}0"));
    for child in [&mut ours, &mut longer] {
        use tokio::io::AsyncReadExt as _;
        let mut up = [0; 3];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut up).await.expect("it is up");
    }
    let pid = i32::try_from(longer.id().expect("a pid")).expect("a pid");

    let reaped = leftover::reap(&token, Some((pid, 1))).await;
    assert!(reaped.ended >= 1 && reaped.remaining == 0, "{reaped:?}");
    assert!(!ours.wait().await.expect("it ended").success());
    assert_eq!(
        longer.try_wait().expect("it is there"),
        None,
        "a reused pid, and a token that only begins the same, are left alone"
    );

    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    let start =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).and_then(|field| field.parse().ok());
    leftover::reap("another token", Some((pid, start.expect("a start time")))).await;
    assert!(!longer.wait().await.expect("it ended").success());
}

#[tokio::test]
async fn what_a_killed_controller_left_is_found_by_its_sign() {
    let stage = Stage::new();
    let mut carried = stage.start(assignment(sh("sleep 600 & sleep 600", Output::ExitCode), FAR));
    let process = carried.spawned().await;
    let reaped = leftover::reap("another token", Some(process)).await;
    assert!(reaped.ended >= 1 && reaped.remaining == 0, "{reaped:?}");
    assert_eq!(carried.end().await.verdict.reason, Reason::ExitCode);
}

#[tokio::test]
async fn staging_of_an_earlier_process_is_cleared() {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.state().join("staging/old-1")).expect("a directory");
    assert_eq!(results::clear_staging(&stage.state()).expect("it works"), 1);
}

#[tokio::test(start_paused = true)]
async fn starts_are_paced_by_the_rate() {
    let stage = Stage::new();
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        stage.executors.pace("a", Rate { limit: 1, per: Span::minutes(1) }).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(120));
}
