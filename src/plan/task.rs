//! Plans for one task: what follows from its latest attempt, from its spec, and from what people ask.
//!
//! This is the one retry authority. Executors never retry; budgets are counted from the attempts of the round, never kept in a counter.

use super::admission::{AppFacts, admit};
use super::backoff::{UNAVAILABLE_BASE, delay};
use super::budgets::Budgets;
use super::transition::{TaskRef, transition};
use super::write::{CloseAttempt, TaskStatus, Write};
use super::{Effect, Key, Plan, Reconciler};
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::attempt::AttemptId;
use crate::resource::findings::Findings;
use crate::resource::name::Uid;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::task::{RunPolicy, TaskSpec};
use crate::resource::time::Timestamp;

/// What is seen of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedTask {
    /// The task.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Whether its manifest is gone.
    pub removed: bool,
    /// What is desired.
    pub spec: TaskSpec,
    /// Version of the status, for compare-and-set.
    pub version: i64,
    /// Where it stands.
    pub status: TaskStatus,
    /// A person asked to cancel every round up to this one.
    pub cancel_round: i64,
    /// A person asked for another run after every round up to this one.
    pub retry_round: i64,
    /// Attempts of the current round, oldest first.
    pub attempts: Vec<AttemptFacts>,
    /// The app it names.
    pub app: Option<AppFacts>,
    /// The analyzer it names.
    pub analyzer: Option<AnalyzerSpec>,
    /// The limits.
    pub budgets: Budgets,
}

/// What is seen of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptFacts {
    /// Which attempt.
    pub id: AttemptId,
    /// Generation of the spec that it runs.
    pub generation: i64,
    /// Address of the replica; empty for a command.
    pub replica: String,
    /// When it ends at the latest.
    pub deadline_at: Timestamp,
    /// The process group of a command, when it was recorded.
    pub process: Option<(i32, u64)>,
    /// Who carries it; `None` when nobody does.
    pub carried: Option<Carried>,
    /// How it ended; `None` while it is open.
    pub ended: Option<EndedAttempt>,
}

/// How this process carries an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Last sign of life.
    pub alive_at: Timestamp,
    /// Whether it was told to stop already.
    pub stopping: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    /// The typed outcome.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// What was found.
    pub findings: Findings,
}

/// Reconciles one task.
#[derive(Debug)]
pub struct TaskReconciler;

impl Reconciler for TaskReconciler {
    type Observed = ObservedTask;

    fn plan(observed: &ObservedTask, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        match observed.status.phase {
            Phase::Pending => pending(observed, now, &mut plan),
            Phase::Running => running(observed, now, &mut plan),
            Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => {
                finished(observed, &mut plan)
            }
        }
        plan
    }
}

impl ObservedTask {
    /// Why a person or a manifest wants this round to end, if so.
    #[must_use]
    pub fn unwanted(&self) -> Option<Reason> {
        if self.removed {
            Some(Reason::ManifestRemoved)
        } else if self.cancel_round >= self.status.round {
            Some(Reason::CancelledByUser)
        } else {
            None
        }
    }

    fn spec_changed_since(&self, generation: i64) -> bool {
        self.generation > generation && self.spec.run_policy != RunPolicy::Once
    }

    fn count(&self, outcomes: &[Outcome]) -> u32 {
        let ended = self.attempts.iter().filter_map(|attempt| attempt.ended.as_ref());
        u32::try_from(ended.filter(|ended| outcomes.contains(&ended.outcome)).count()).unwrap_or(u32::MAX)
    }
}

fn pending(task: &ObservedTask, now: Timestamp, plan: &mut Plan) {
    let status = &task.status;
    if let Some(reason) = task.unwanted() {
        let message = cancelled_message(reason);
        // It is the spec as it is now that is not wanted: only a later change makes it run.
        let seen = TaskStatus { observed_generation: task.generation, ..status.clone() };
        return turn(task, seen.ended(Phase::Cancelled, reason, message, now), plan);
    }
    if task.attempts.last().is_some_and(|attempt| task.spec_changed_since(attempt.generation)) {
        return turn(task, again(task, Reason::SpecChanged), plan);
    }
    if let Err(hold) = admit(&task.spec, task.app.as_ref(), task.analyzer.as_ref()) {
        if status.reason != hold.reason || status.message != hold.message {
            turn(task, status.waiting(hold.reason, hold.message, None), plan);
            // What it waits for may have come between the observation and this commit, when nobody saw it waiting yet.
            plan.wakes.push(Key::Task(task.uid.clone()));
        }
        return;
    }
    match status.next_at {
        Some(at) if at > now && task.retry_round < status.round => plan.look_again(at),
        _ if status.reason != Reason::Queued || status.next_at.is_some() => {
            turn(task, status.waiting(Reason::Queued, "", None), plan);
        }
        _ => {}
    }
}

fn running(task: &ObservedTask, now: Timestamp, plan: &mut Plan) {
    let Some(attempt) = task.attempts.iter().find(|attempt| attempt.id.number == task.status.attempt) else {
        // The schema makes this impossible; a row edited by hand must still find its way back.
        return turn(task, task.status.waiting(Reason::Queued, "its attempt is gone from the database", None), plan);
    };
    match (&attempt.ended, attempt.carried) {
        (Some(ended), _) => settle(task, ended, now, plan),
        (None, Some(carried)) => watch(task, attempt, carried, now, plan),
        (None, None) => orphaned(task, attempt, now, plan),
    }
}

/// An open attempt that this process carries: stop it when it is not wanted any more or has gone silent.
fn watch(task: &ObservedTask, attempt: &AttemptFacts, carried: Carried, now: Timestamp, plan: &mut Plan) {
    let silent_at = carried.alive_at.plus(task.budgets.stuck_after);
    let reason = task.unwanted().or_else(|| {
        if task.spec.suspend {
            Some(Reason::Suspended)
        } else if task.spec_changed_since(attempt.generation) {
            Some(Reason::SpecChanged)
        } else if now >= silent_at {
            Some(Reason::HeartbeatLost)
        } else {
            None
        }
    });
    match reason {
        Some(reason) if !carried.stopping => plan.effects.push(Effect::Stop { id: attempt.id.clone(), reason }),
        Some(_) => {}
        None => plan.look_again(silent_at),
    }
}

/// An open attempt that nobody carries: the controller that did is gone. A command may have left processes, which go first.
fn orphaned(task: &ObservedTask, attempt: &AttemptFacts, now: Timestamp, plan: &mut Plan) {
    if attempt.replica.is_empty() {
        plan.effects.push(Effect::Reap { id: attempt.id.clone(), process: attempt.process });
        return;
    }
    let verdict = interrupted();
    let ended = EndedAttempt {
        outcome: verdict.outcome,
        reason: verdict.reason,
        message: verdict.message.clone(),
        at: now,
        findings: verdict.findings,
    };
    plan.writes.push(Write::CloseAttempt(Box::new(CloseAttempt {
        id: attempt.id.clone(),
        verdict,
        result: None,
        at: now,
        slot_until: slot_until(&attempt.replica, attempt.deadline_at),
    })));
    let mut closed = task.clone();
    if let Some(last) = closed.attempts.iter_mut().find(|other| other.id == attempt.id) {
        last.ended = Some(ended.clone());
    }
    settle(&closed, &ended, now, plan);
}

/// The verdict on an attempt whose controller is gone.
#[must_use]
pub fn interrupted() -> Verdict {
    let message = "the controller ended while it ran";
    Verdict::without_tools(Outcome::Interrupted, Reason::Interrupted, message)
}

/// Until when an abandoned request keeps its slot: the existing analyzers go on working after their client has left. The embedded one
/// stops, and so does a command.
#[must_use]
pub fn slot_until(replica: &str, deadline_at: Timestamp) -> Option<Timestamp> {
    (!replica.is_empty() && !replica.starts_with(EMBEDDED)).then_some(deadline_at)
}

/// Scheme of the address of the analyzer inside the daemon.
pub const EMBEDDED: &str = "embedded:";

/// What follows from an attempt that ended.
fn settle(task: &ObservedTask, ended: &EndedAttempt, now: Timestamp, plan: &mut Plan) {
    let status = TaskStatus { findings: ended.findings, ..task.status.clone() };
    let fail = |reason, message: String| status.ended(Phase::Failed, reason, message, ended.at);
    let wait = |reason, message: String, at| status.waiting(reason, message, at);
    let unwanted = task.unwanted();
    let next = match ended.outcome {
        Outcome::Completed => status.ended(Phase::Completed, ended.reason, &ended.message, ended.at),
        Outcome::PartialSuccess => status.ended(Phase::PartialSuccess, ended.reason, &ended.message, ended.at),
        _ if unwanted.is_some() => {
            let reason = unwanted.unwrap_or(Reason::CancelledByUser);
            status.ended(Phase::Cancelled, reason, cancelled_message(reason), now)
        }
        Outcome::Cancelled if ended.reason == Reason::SpecChanged => again(task, Reason::SpecChanged),
        Outcome::Cancelled => wait(Reason::Queued, String::new(), None),
        Outcome::Failed | Outcome::TimedOut | Outcome::ProtocolError => {
            return turn(task, failed(task, ended, &status), plan);
        }
        Outcome::HeartbeatLost => match task.count(&[Outcome::HeartbeatLost]) {
            losses if losses <= task.budgets.heartbeat_losses_max => wait(Reason::Queued, ended.message.clone(), None),
            losses => fail(Reason::HeartbeatLost, format!("{losses} attempts went silent: {}", ended.message)),
        },
        Outcome::Interrupted => match task.count(&[Outcome::Interrupted]) {
            times if times <= task.budgets.interruptions_max => wait(Reason::Queued, ended.message.clone(), None),
            times => fail(Reason::TooManyInterruptions, format!("interrupted {times} times: {}", ended.message)),
        },
        Outcome::Unavailable => match task.count(&[Outcome::Unavailable]) {
            tries if tries <= task.budgets.preflight_retries_max => {
                let pause = UNAVAILABLE_BASE.times(1 << tries.saturating_sub(1).min(20));
                wait(Reason::AnalyzerUnavailable, ended.message.clone(), Some(ended.at.plus(pause)))
            }
            tries => fail(Reason::AnalyzerUnavailable, format!("unavailable {tries} times: {}", ended.message)),
        },
    };
    turn(task, next, plan);
}

/// A real failure: again after a delay while the budget lasts and trying again can help, else Failed.
fn failed(task: &ObservedTask, ended: &EndedAttempt, status: &TaskStatus) -> TaskStatus {
    let failures = task.count(&[Outcome::Failed, Outcome::TimedOut, Outcome::ProtocolError]);
    if ended.reason.is_retryable() && failures <= task.spec.backoff_limit {
        let pause = delay(task.spec.retry, &task.uid, failures);
        let message = format!("{}: {} (failure {failures}, {} more tries)", ended.reason, ended.message, {
            task.spec.backoff_limit - failures + 1
        });
        return status.waiting(Reason::BackOff, message, Some(ended.at.plus(pause)));
    }
    let message =
        if failures > 1 { format!("after {failures} failures: {}", ended.message) } else { ended.message.clone() };
    status.ended(Phase::Failed, ended.reason, message, ended.at)
}

fn finished(task: &ObservedTask, plan: &mut Plan) {
    if task.removed {
        return;
    }
    let status = &task.status;
    if task.retry_round >= status.round {
        turn(task, again(task, Reason::RetriedByUser), plan);
    } else if task.spec_changed_since(status.observed_generation) {
        turn(task, again(task, Reason::SpecChanged), plan);
    } else if status.reason == Reason::ManifestRemoved {
        turn(task, again(task, Reason::Queued), plan);
    }
}

/// The first status of the next round.
fn again(task: &ObservedTask, reason: Reason) -> TaskStatus {
    let status = TaskStatus::fresh(task.status.round + 1, task.status.observed_generation, task.status.attempt);
    let message = match reason {
        Reason::SpecChanged => "its spec changed",
        Reason::RetriedByUser => "a person asked for another run",
        _ => "its manifest came back",
    };
    TaskStatus { message: message.into(), ..status }
}

fn cancelled_message(reason: Reason) -> &'static str {
    if reason == Reason::ManifestRemoved { "its manifest was removed" } else { "cancelled on request" }
}

/// Moves a task to another status, and wakes its analyzer's lane: it may be ready to run, or have left a slot.
fn turn(task: &ObservedTask, status: TaskStatus, plan: &mut Plan) {
    if let Some(at) = status.next_at {
        plan.look_again(at);
    }
    plan.wakes.push(Key::Lane(task.spec.analyzer.clone()));
    if status.phase.is_terminal() && task.spec_changed_since(status.observed_generation) {
        plan.wakes.push(Key::Task(task.uid.clone()));
    }
    let seen = TaskRef { uid: &task.uid, name: &task.name, version: task.version };
    plan.writes.extend(transition(seen, status));
}
