//! What follows from the end of an attempt: the end of the round, or another try while its budget lasts.
//!
//! This is the one retry authority. Executors never retry; budgets are counted from the attempts of the round, never kept in a counter.

use super::Plan;
use super::backoff::{UNAVAILABLE_BASE, delay};
use super::task::{AttemptFacts, EndedAttempt, ObservedTask, again, turn};
use super::write::TaskStatus;
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
        (Outcome::Unavailable, None) => match task.count(Outcome::Unavailable) {
            tries if tries <= task.budgets.preflight_retries_max => {
                let pause = UNAVAILABLE_BASE.times(1 << tries.saturating_sub(1).min(20));
                wait(Reason::AnalyzerUnavailable, ended.message.clone(), Some(ended.at.plus(pause)))
            }
            tries => fail(Reason::AnalyzerUnavailable, format!("unavailable {tries} times: {}", ended.message)),
        },
    };
    // What is tried again is tried with the spec as it is now, and with fresh budgets.
    let stale = ended.outcome == Outcome::Cancelled && ended.reason == Reason::SpecChanged
        || task.spec_changed_since(attempt.generation);
    let next = if next.phase == Phase::Pending && stale { again(task, Reason::SpecChanged) } else { next };
    turn(task, next, plan);
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
