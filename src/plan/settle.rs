//! What follows from the end of an attempt: the end of the round, or another try while its budget lasts.
//!
//! This is the one retry authority. Executors never retry; budgets are counted from the attempts of the round, never kept in a counter.

use super::backoff::delay;
use super::replica::{of, standing};
use super::task::{AttemptFacts, EndedAttempt, ObservedTask, again, turn};
use super::unavailable::wait_or_fail;
use super::write::TaskStatus;
use super::{Key, Plan};
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::outcome::Outcome;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// What follows from an attempt that ended.
pub(super) fn settle(
    task: &ObservedTask,
    attempt: &AttemptFacts,
    ended: &EndedAttempt,
    now: Timestamp,
    plan: &mut Plan,
) {
    let fail = |reason, message: String| end(task, ended, Phase::Failed, reason, message);
    let wait = |reason, message: String, at| task.status.waiting(reason, message, at);
    let next = match (ended.outcome, task.unwanted()) {
        (Outcome::Completed, _) => end(task, ended, Phase::Completed, ended.reason, ended.message.clone()),
        (Outcome::PartialSuccess, _) => end(task, ended, Phase::PartialSuccess, ended.reason, ended.message.clone()),
        (_, Some(reason)) => task.cancelled(reason, now),
        (Outcome::Cancelled, None) if was_asked_for(ended.reason) => wait(Reason::Queued, String::new(), None),
        (Outcome::Cancelled | Outcome::Failed | Outcome::TimedOut | Outcome::ProtocolError, None) => {
            failed(task, ended)
        }
        (Outcome::HeartbeatLost, None) => match task.count(Outcome::HeartbeatLost) {
            losses if losses <= task.budgets.heartbeat_losses_max => wait(Reason::Queued, ended.message.clone(), None),
            losses => fail(Reason::HeartbeatLost, format!("{losses} attempts went silent: {}", ended.message)),
        },
        (Outcome::Interrupted, None) => match task.count(Outcome::Interrupted) {
            times if times <= task.budgets.interruptions_max => wait(Reason::Queued, ended.message.clone(), None),
            times => fail(Reason::TooManyInterruptions, format!("interrupted {times} times: {}", ended.message)),
        },
        (Outcome::Unavailable, None) => {
            // The others may not know yet that this replica is gone, and nobody may know yet that it is back.
            plan.wakes.push(Key::Analyzer(task.spec.analyzer.clone()));
            unreached(task, ended, now)
        }
    };
    // Something was sent, so the analyzer was there.
    let next = if ended.outcome == Outcome::Unavailable { next } else { TaskStatus { waits: 0, ..next } };
    // What is tried again is tried with the spec as it is now, and with fresh budgets.
    let stale = ended.outcome == Outcome::Cancelled && ended.reason == Reason::SpecChanged
        || task.spec_changed_since(attempt.generation);
    let next = if next.phase == Phase::Pending && stale { again(task, Reason::SpecChanged) } else { next };
    turn(task, next, plan);
}

/// An attempt that reached nobody, so that nothing was sent. It goes on at once on a replica that can be used and that it has not tried since
/// something was sent last; else it waits by the schedule for unavailable analyzers.
fn unreached(task: &ObservedTask, ended: &EndedAttempt, now: Timestamp) -> TaskStatus {
    let in_a_row = task
        .attempts
        .iter()
        .rev()
        .take_while(|attempt| attempt.ended.as_ref().is_some_and(|ended| ended.outcome == Outcome::Unavailable));
    let tried: Vec<&str> = in_a_row.map(|attempt| attempt.replica.as_str()).collect();
    let urls = task.analyzer.as_ref().map(AnalyzerSpec::replicas).unwrap_or_default();
    let can_be_used = |url: &String| {
        task.analyzer.as_ref().is_some_and(|spec| standing(of(&task.replicas, url), spec.breaker, now).is_usable())
    };
    if urls.iter().any(|url| !tried.contains(&url.as_str()) && can_be_used(url)) {
        return task.status.waiting(Reason::Queued, format!("{}; another replica can be used", ended.message), None);
    }
    // A replica that answers probes and refuses requests lets go of what waits for it again and again: the attempts themselves are the limit.
    let limit = urls.len().saturating_add(task.budgets.preflight_retries_max as usize);
    if tried.len() > limit {
        let message = format!("{} attempts in a row reached nobody: {}", tried.len(), ended.message);
        return end(task, ended, Phase::Failed, Reason::AnalyzerUnavailable, message);
    }
    wait_or_fail(&task.status, &ended.message, &task.budgets, ended.at)
}

/// The status of a round that its last attempt ended.
fn end(task: &ObservedTask, ended: &EndedAttempt, phase: Phase, reason: Reason, message: String) -> TaskStatus {
    task.status.ended(phase, reason, message, ended.findings, ended.at)
}

/// Whether a plan can have stopped an attempt for this reason. Anything else that ends as cancelled counts as a failure, so that an
/// executor that cancels on its own cannot start over for ever.
const fn was_asked_for(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Suspended
            | Reason::SpecChanged
            | Reason::ManifestRemoved
            | Reason::AppDeleted
            | Reason::CancelledByUser
    )
}

const fn is_failure(ended: &EndedAttempt) -> bool {
    match ended.outcome {
        Outcome::Failed | Outcome::TimedOut | Outcome::ProtocolError => true,
        Outcome::Cancelled => !was_asked_for(ended.reason),
        Outcome::Completed
        | Outcome::PartialSuccess
        | Outcome::HeartbeatLost
        | Outcome::Unavailable
        | Outcome::Interrupted => false,
    }
}

/// A real failure: again after a delay while the budget lasts and trying again can help, else Failed.
fn failed(task: &ObservedTask, ended: &EndedAttempt) -> TaskStatus {
    let failures = task.count_where(is_failure);
    if ended.reason.is_retryable() && (1..=task.spec.backoff_limit).contains(&failures) {
        let pause = delay(task.spec.retry, &task.uid, failures);
        let message = format!("{}: {} (failure {failures}, {} more tries)", ended.reason, ended.message, {
            task.spec.backoff_limit - failures + 1
        });
        return task.status.waiting(Reason::BackOff, message, Some(ended.at.plus(pause)));
    }
    let message =
        if failures > 1 { format!("after {failures} failures: {}", ended.message) } else { ended.message.clone() };
    end(task, ended, Phase::Failed, ended.reason, message)
}
