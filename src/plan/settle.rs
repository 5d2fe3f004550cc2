//! What follows from the end of an attempt: the end of the round, or another try while its budget lasts.
//!
//! This is the one retry authority. Executors never retry; budgets are counted from the attempts of the round, never kept in a counter. What
//! one attempt achieved is kept: the next one is asked only for the tools that did not run well, and the round ends by what all of them did.

use super::backoff::{DISK_FULL_PAUSE, delay};
use super::merge::{Merged, merge};
use super::replica::{of, standing};
use super::task::{AttemptFacts, EndedAttempt, ObservedTask, again, turn};
use super::unavailable::wait_or_fail;
use super::write::TaskStatus;
use super::{Key, Plan};
use crate::resource::algebra::Ended;
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::outcome::{Outcome, one_line};
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
    if attempt.analyzer != task.spec.analyzer {
        // The slot that it leaves is not one of the analyzer that the task names by now.
        plan.wakes.push(Key::Lane(attempt.analyzer.clone()));
    }
    // Nothing is reckoned from a time that is still to come: the clock was turned back since the attempt ended.
    let ended = &EndedAttempt { at: ended.at.min(now), ..ended.clone() };
    let round = Round::of(task, attempt, ended);
    let wait = |reason, message: String, at| task.status.waiting(reason, message, at);
    let next = match (ended.outcome, task.unwanted()) {
        (Outcome::Completed | Outcome::PartialSuccess, wish) => round.judged(wish.is_none()),
        (_, Some(reason)) => task.cancelled(reason, now),
        (Outcome::Cancelled, None) if was_asked_for(ended.reason) => wait(Reason::Queued, String::new(), None),
        (Outcome::Failed, None) if ended.reason == Reason::DiskFull => {
            wait(Reason::DiskFull, ended.message.clone(), Some(ended.at.plus(DISK_FULL_PAUSE)))
        }
        (Outcome::Cancelled | Outcome::Failed | Outcome::TimedOut | Outcome::ProtocolError, None) => round.failed(),
        (Outcome::HeartbeatLost, None) => match task.count(Outcome::HeartbeatLost) {
            losses if losses <= task.budgets.heartbeat_losses_max => wait(Reason::Queued, ended.message.clone(), None),
            losses => round.give_up(Reason::Stuck, &format!("{losses} attempts went silent: {}", ended.message)),
        },
        (Outcome::Interrupted, None) => match task.count(Outcome::Interrupted) {
            times if times <= task.budgets.interruptions_max => wait(Reason::Queued, ended.message.clone(), None),
            times => {
                let message = format!("interrupted {times} times: {}", ended.message);
                round.give_up(Reason::TooManyInterruptions, &message)
            }
        },
        (Outcome::Unavailable, None) => {
            // The others may not know yet that this replica is gone, and nobody may know yet that it is back.
            plan.wakes.push(Key::Analyzer(task.spec.analyzer.clone()));
            keep_what_succeeded(unreached(task, ended, now), &round.merged)
        }
    };
    // Unless nothing was sent, the analyzer was there.
    let next = if ended.outcome == Outcome::Unavailable || ended.reason == Reason::DiskFull {
        next
    } else {
        TaskStatus { waits: 0, ..next }
    };
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
        .filter(|attempt| attempt.ended.as_ref().is_some_and(|ended| ended.reason != Reason::DiskFull))
        .take_while(|attempt| attempt.ended.as_ref().is_some_and(|ended| ended.outcome == Outcome::Unavailable));
    let tried: Vec<&str> = in_a_row.map(|attempt| attempt.replica.as_str()).collect();
    let urls = task.analyzer.as_ref().map(AnalyzerSpec::replicas).unwrap_or_default();
    // A replica that answers probes and refuses requests lets go of what waits for it again and again, and counts as one that can be used: the
    // attempts themselves are the limit, one on each replica and one more after each wait. Of an analyzer that is not declared any more it had one.
    let limit = urls.len().max(1).saturating_add(task.budgets.preflight_retries_max as usize);
    if tried.len() >= limit {
        let message = format!("{} attempts in a row reached nobody: {}", tried.len(), ended.message);
        return end(task, ended, Phase::Failed, Reason::AnalyzerUnavailable, message);
    }
    let can_be_used = |url: &String| {
        task.analyzer.as_ref().is_some_and(|spec| standing(of(&task.replicas, url), spec.breaker, now).is_usable())
    };
    if urls.iter().any(|url| !tried.contains(&url.as_str()) && can_be_used(url)) {
        return task.status.waiting(Reason::Queued, format!("{}; another replica can be used", ended.message), None);
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

/// Whether an attempt uses up one of `backoffLimit`. One that succeeded in part does; so does one that did all it was asked for, if the
/// round goes on all the same, so that no round goes on for ever.
const fn uses_up_a_try(ended: &EndedAttempt) -> bool {
    match ended.outcome {
        Outcome::Failed => !matches!(ended.reason, Reason::DiskFull),
        Outcome::Completed | Outcome::PartialSuccess | Outcome::TimedOut | Outcome::ProtocolError => true,
        Outcome::Cancelled => !was_asked_for(ended.reason),
        Outcome::HeartbeatLost | Outcome::Unavailable | Outcome::Interrupted => false,
    }
}

/// A round at the end of one of its attempts.
struct Round<'a> {
    task: &'a ObservedTask,
    attempt: &'a AttemptFacts,
    ended: &'a EndedAttempt,
    /// What its attempts on this generation of the spec were asked for.
    requested: &'a [String],
    merged: Merged,
}

impl<'a> Round<'a> {
    fn of(task: &'a ObservedTask, attempt: &'a AttemptFacts, ended: &'a EndedAttempt) -> Self {
        let first = task.attempts.iter().find(|other| other.generation == attempt.generation).unwrap_or(attempt);
        // The spec may be another one by now; the first attempt was asked for all that its own wanted.
        let requested = if attempt.generation == task.generation { &task.spec.tools } else { &first.asked };
        let merged = merge(requested, &task.told(attempt.generation));
        Self { task, attempt, ended, requested, merged }
    }

    /// After an attempt that succeeded, as a whole or in part: what all attempts of the round come to.
    fn judged(&self, may_go_on: bool) -> TaskStatus {
        let alone = self.merged.is_only_of(self.attempt.id.number);
        let message = || if alone { self.ended.message.clone() } else { one_line(&self.merged.message()) };
        let whole = match (self.merged.ended(), self.ended.outcome) {
            (Some(Ended::Completed), _) | (None, Outcome::Completed) => Ended::Completed,
            _ => Ended::Partial,
        };
        match whole {
            Ended::Completed => self.end(Phase::Completed, Reason::AllToolsRan, message()),
            _ => self
                .next_try(Reason::SomeToolsFailed, may_go_on && !self.merged.tools.is_empty())
                .unwrap_or_else(|| self.end(Phase::PartialSuccess, Reason::SomeToolsFailed, message())),
        }
    }

    /// After a real failure: again after a delay while the budget lasts and trying again can help.
    fn failed(&self) -> TaskStatus {
        let ended = self.ended;
        // Beside a tool without its key there may be others that only had bad luck.
        let beside = ended.reason == Reason::ApiKeyMissing && !self.merged.tools.is_empty();
        if let Some(next) = self.next_try(ended.reason, ended.reason.is_retryable() || beside) {
            return next;
        }
        match self.task.count_where(uses_up_a_try) {
            failures if failures > 1 => {
                self.give_up(ended.reason, &format!("after {failures} failures: {}", ended.message))
            }
            _ => self.give_up(ended.reason, &ended.message),
        }
    }

    /// The wait before another try of what is missing; `None` when the budget is used up or nothing can get better.
    fn next_try(&self, reason: Reason, can_help: bool) -> Option<TaskStatus> {
        let failures = self.task.count_where(uses_up_a_try);
        let limit = self.task.spec.backoff_limit;
        if !can_help || !(1..=limit).contains(&failures) {
            return None;
        }
        let remaining = self.merged.remaining(self.requested)?;
        let only = if self.merged.has_good() { format!(", of {} only", remaining.join(" ")) } else { String::new() };
        let (said, left) = (&self.ended.message, limit - failures + 1);
        let message = format!("{reason}: {said} (failure {failures}, {left} more tries{only})");
        let pause = delay(self.task.spec.retry, &self.task.uid, failures);
        Some(self.task.status.waiting(Reason::BackOff, message, Some(self.ended.at.plus(pause))))
    }

    /// The end of a round that does not get all it wanted: what succeeded is kept.
    fn give_up(&self, reason: Reason, message: &str) -> TaskStatus {
        keep_what_succeeded(self.end(Phase::Failed, reason, message.to_owned()), &self.merged)
    }

    fn end(&self, phase: Phase, reason: Reason, message: String) -> TaskStatus {
        let known = !self.merged.tools.is_empty();
        let findings = if known { self.merged.findings() } else { self.ended.findings };
        self.task.status.ended(phase, reason, message, findings, self.ended.at)
    }
}

/// A round that has failed, after some of its attempts ran some tools well, has succeeded in part.
pub(super) fn keep_what_succeeded(status: TaskStatus, merged: &Merged) -> TaskStatus {
    if status.phase != Phase::Failed || !merged.has_good() {
        return status;
    }
    let message = one_line(&format!("{}; given up: {}: {}", merged.message(), status.reason, status.message));
    let (phase, reason, findings) = (Phase::PartialSuccess, Reason::SomeToolsFailed, merged.findings());
    TaskStatus { phase, reason, message, findings, ..status }
}
