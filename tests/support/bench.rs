//! The benches of the conformance suite: how each executor's other side is made to behave as a case says, and which ending is documented for it.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use manifestd::resource::analyzer::Output;
use manifestd::resource::attempt::Target;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use serde_json::json;
use tokio::sync::Notify;

use super::extended::{Extended, Script};
use super::misbehaving::{Behaviour, Misbehaving, static_result};
use super::stage::{LIMIT, Stage, extended, sh, websocket};

/// A SARIF document with one finding.
pub(crate) const SARIF: &str = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"ruff"}},"results":[{"level":"error","message":{"text":"m"}}]}]}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
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

pub(crate) const CASES: [Case; 9] = [
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
pub(crate) type Held = Option<Box<dyn Send>>;

/// The other side of an executor, playing a case.
pub(crate) struct Peer {
    pub(crate) target: Target,
    /// Comes back when the work has begun, with what must stay alive meanwhile; for work that tells so by a sign, `None`.
    pub(crate) begun: Option<BoxFuture<'static, Held>>,
    /// Lets slow work end.
    pub(crate) release: Box<dyn FnOnce() + Send>,
}

pub(crate) trait Bench {
    fn name(&self) -> &'static str;
    fn peer<'a>(&'a self, case: Case, stage: &'a Stage) -> BoxFuture<'a, Peer>;
    /// The documented ending of a case, where executors differ.
    fn ending(&self, case: Case) -> (Outcome, Reason);
    /// Whether the other side may still be working after a case.
    fn goes_on(&self, _: Case) -> bool {
        false
    }
}

/// Every executor, one line each.
pub(crate) const BENCHES: [&(dyn Bench + Sync); 3] = [&WebSocketBench, &ExtendedBench, &CommandBench];

pub(crate) struct WebSocketBench;

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
                Some(Box::new(analyzer) as Box<dyn Send>)
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

    fn goes_on(&self, case: Case) -> bool {
        // This side left, and nobody can be told; in the other cases the connection was gone, or the result was there.
        matches!(case, Case::Cancelled | Case::Deadline | Case::Garbage)
    }
}

/// The same service, when it speaks the extension: what is left is cancelled, which it confirms.
pub(crate) struct ExtendedBench;

impl Bench for ExtendedBench {
    fn name(&self) -> &'static str {
        "extended"
    }

    fn peer<'a>(&'a self, case: Case, stage: &'a Stage) -> BoxFuture<'a, Peer> {
        Box::pin(async move {
            let token = stage.token();
            let failed = json!({"type": "static_analysis_result", "status": "success", "analysis": {
                "results": {"python": {"ruff": {"executed": true, "status": "error", "error": "boom"}}}}});
            let mut big = static_result("ruff", 0);
            big["padding"] = "x".repeat(2 * LIMIT).into();
            let mut analyzer = Extended::start(match case {
                Case::Ok => Script::Answers(static_result("ruff", 1)),
                Case::ToolFailed => Script::Answers(failed),
                Case::SlowButInTime | Case::Cancelled | Case::Deadline | Case::CannotStart => Script::Keeps,
                Case::HugeOutput => Script::Answers(big),
                Case::PeerVanishes => Script::Resets,
                Case::Garbage => Script::Garbage,
            })
            .await;
            if case == Case::CannotStart {
                analyzer.kill().await;
            }
            let target = extended(analyzer.url());
            let finish = analyzer.finisher();
            let begun = async move {
                analyzer.hears().await;
                Some(Box::new(analyzer) as Box<dyn Send>)
            };
            let release = move || finish(&token, static_result("ruff", 1));
            Peer { target, begun: Some(Box::pin(begun)), release: Box::new(release) }
        })
    }

    fn ending(&self, case: Case) -> (Outcome, Reason) {
        WebSocketBench.ending(case)
    }
}

pub(crate) struct CommandBench;

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

pub(crate) fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success());
}
