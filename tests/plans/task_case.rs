//! Builds what is seen of one task in a few words: `task().failed().failed().running()`.

use manifestd::plan::Budgets;
use manifestd::plan::admission::AppFacts;
use manifestd::plan::task::{AttemptFacts, Carried, EndedAttempt, ObservedTask};
use manifestd::plan::write::TaskStatus;
use manifestd::resource::analyzer::AnalyzerSpec;
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::findings::Findings;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::{Outcome, ToolReport, ToolStatus};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::TaskSpec;
use manifestd::resource::time::Span;
use serde_json::json;

use crate::golden::NOW;

pub(crate) const REPLICA: &str = "ws://one";

/// A service with one replica.
pub(crate) fn websocket() -> AnalyzerSpec {
    serde_json::from_value(json!({"websocket": {"urls": [REPLICA], "request": "static_analyze"}})).unwrap()
}

/// A local program.
pub(crate) fn command() -> AnalyzerSpec {
    serde_json::from_value(json!({"command": {"argv": ["lint", "${app.path}"]}})).unwrap()
}

pub(crate) fn task_spec() -> TaskSpec {
    serde_json::from_value(json!({"app": "demo", "analyzer": "lint"})).unwrap()
}

pub(crate) fn app() -> AppFacts {
    AppFacts {
        uid: Uid("demo".into()),
        path: "apps/demo/app1".into(),
        model: Some("demo".into()),
        number: Some(1),
        target_urls: vec![],
        missing_since: None,
        tree: None,
    }
}

/// A new task, ready to run on a service.
pub(crate) fn task() -> ObservedTask {
    ObservedTask {
        uid: Uid("t".into()),
        name: "t".into(),
        generation: 1,
        removed: false,
        spec: task_spec(),
        version: 1,
        status: TaskStatus::fresh(1, 0, 0),
        since: manifestd::resource::time::Timestamp(0),
        cancel_round: 0,
        cancel_generation: 0,
        retry_round: 0,
        hurry_version: 0,
        attempts: vec![],
        app: Some(app()),
        app_deleted: false,
        analyzer: Some(websocket()),
        pool: None,
        pool_known: false,
        replicas: vec![],
        budgets: Budgets::default(),
    }
}

/// The usual reason of an outcome.
pub(crate) const fn usual(outcome: Outcome) -> Reason {
    match outcome {
        Outcome::Completed => Reason::AllToolsRan,
        Outcome::PartialSuccess => Reason::SomeToolsFailed,
        Outcome::Failed => Reason::ToolFailed,
        Outcome::Cancelled => Reason::CancelledByUser,
        Outcome::TimedOut => Reason::DeadlineExceeded,
        Outcome::HeartbeatLost => Reason::HeartbeatLost,
        Outcome::Unavailable => Reason::AnalyzerUnavailable,
        Outcome::Interrupted => Reason::Interrupted,
        Outcome::ProtocolError => Reason::ConnectionLost,
    }
}

/// A report in one word, such as `+ruff`.
pub(crate) fn tool(told: &str) -> ToolReport {
    let (sign, name) = told.split_at(1);
    let status = match sign {
        "+" => ToolStatus::Completed,
        "-" => ToolStatus::Failed,
        _ => ToolStatus::NotRun,
    };
    let (high, permanent) = (u64::from(sign == "+"), sign == "!");
    let message = if sign == "+" { String::new() } else { format!("{name} says why") };
    let findings = Findings { high, ..Findings::default() };
    ToolReport { name: name.into(), status, message, findings, permanent }
}

/// Steps that lead to an observation.
pub(crate) trait TaskCase: Sized {
    fn with(self, change: impl FnOnce(&mut ObservedTask)) -> Self;

    /// Opens another attempt, carried by this process and alive just now.
    fn running(self) -> Self {
        self.with(|task| {
            let number = task.status.attempt + 1;
            let deadline_at = NOW.plus(Span::minutes(20));
            task.attempts.push(AttemptFacts {
                id: AttemptId { task: task.uid.clone(), number },
                generation: task.generation,
                analyzer: task.spec.analyzer.clone(),
                opened_at: deadline_at.minus(Span::minutes(30)),
                asked: task.spec.tools.clone(),
                replica: if task.analyzer == Some(command()) { String::new() } else { REPLICA.into() },
                deadline_at,
                resumable: false,
                process: None,
                carried: Some(Carried { alive_at: NOW, stopping: false }),
                ended: None,
            });
            task.status = TaskStatus {
                phase: Phase::Running,
                reason: Reason::AttemptStarted,
                observed_generation: task.generation,
                attempt: number,
                next_at: Some(deadline_at),
                started_at: Some(NOW),
                ..task.status.clone()
            };
        })
    }

    /// Changes the latest attempt.
    fn attempt(self, change: impl FnOnce(&mut AttemptFacts)) -> Self {
        self.with(|task| change(task.attempts.last_mut().expect("an attempt")))
    }

    /// Nobody carries the running attempt any more.
    fn orphaned(self) -> Self {
        self.attempt(|attempt| attempt.carried = None)
    }

    /// The same, where its analyzer knows it by its token.
    fn resumable(self) -> Self {
        self.orphaned().attempt(|attempt| attempt.resumable = true)
    }

    /// The running attempt has been told to stop.
    fn stopping(self) -> Self {
        self.attempt(|attempt| attempt.carried = Some(Carried { alive_at: NOW, stopping: true }))
    }

    /// The running attempt has ended just now, and nothing was made of it yet.
    fn ends(self, outcome: Outcome, reason: Reason) -> Self {
        self.attempt(|attempt| {
            let findings = match outcome {
                Outcome::Completed | Outcome::PartialSuccess => Findings { high: 1, medium: 2, low: 3, unrated: 0 },
                _ => Findings::default(),
            };
            let message = format!("attempt {} says so", attempt.id.number);
            attempt.ended = Some(EndedAttempt { outcome, reason, message, at: NOW, findings, tools: vec![] });
            attempt.carried = None;
        })
    }

    /// The attempt that has ended was asked for these tools, and tells this of some: `+` ran and found something, `-` failed, `?` did not
    /// run, `!` cannot run.
    fn of(self, asked: &[&str], told: &[&str]) -> Self {
        self.attempt(|attempt| {
            attempt.asked = asked.iter().map(|&name| name.to_owned()).collect();
            let ended = attempt.ended.as_mut().expect("an ended attempt");
            ended.tools = told.iter().map(|told| tool(told)).collect();
            ended.findings = Findings::default();
            ended.tools.iter().for_each(|tool| ended.findings += tool.findings);
        })
    }

    /// So many attempts, one after the other, that ended so; nothing was made of the last one yet.
    fn ended(mut self, times: usize, outcome: Outcome) -> Self {
        for _ in 0..times {
            self = self.running().ends(outcome, usual(outcome));
        }
        self
    }

    /// Waits, for a reason, until a time.
    fn waiting(self, reason: Reason, minutes: Option<u64>) -> Self {
        self.with(|task| task.status = task.status.waiting(reason, "", minutes.map(|m| NOW.plus(Span::minutes(m)))))
    }

    /// Its round has ended an hour ago.
    fn finished(self, phase: Phase, reason: Reason) -> Self {
        self.with(|task| {
            let at = NOW.minus(Span::minutes(60));
            task.status = task.status.ended(phase, reason, "long ago", Findings::default(), at);
        })
    }

    /// Its spec has changed.
    fn spec_changed(self) -> Self {
        self.with(|task| task.generation += 1)
    }

    /// A person has asked to cancel it.
    fn cancel(self) -> Self {
        self.with(|task| (task.cancel_round, task.cancel_generation) = (task.status.round, task.generation))
    }

    /// Its manifest is gone.
    fn removed(self) -> Self {
        self.with(|task| task.removed = true)
    }

    /// Its spec says so.
    fn suspended(self) -> Self {
        self.with(|task| task.spec.suspend = true)
    }
}

impl TaskCase for ObservedTask {
    fn with(mut self, change: impl FnOnce(&mut ObservedTask)) -> Self {
        change(&mut self);
        self
    }
}
