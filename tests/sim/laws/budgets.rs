//! How often things are tried: never more often than their budget allows, and not given up before.

use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::RunPolicy;

use super::super::audit::{Change, Row};
use super::super::model::{Attempt, PASS_MAX, Task};
use super::{Judged, Moment, hold};

/// How often in one round an attempt may be interrupted before the last.
const INTERRUPTIONS: usize = 10;

/// How often in one round an attempt may go silent before the last.
const LOSSES: usize = 3;

/// Replicas that an analyzer has here at most.
const REPLICAS: usize = 2;

/// Reasons for which a plan stops an attempt: that is no failure.
const ASKED_FOR: [Reason; 5] =
    [Reason::Suspended, Reason::SpecChanged, Reason::ManifestRemoved, Reason::AppDeleted, Reason::CancelledByUser];

/// Failures that pass by themselves, at times, so that they are tried again.
const PASSING: [Reason; 6] = [
    Reason::ToolFailed,
    Reason::ToolNotRun,
    Reason::TargetsUnreachable,
    Reason::AnalyzerError,
    Reason::ExitCode,
    Reason::ResultNotStored,
];

fn uses_up_a_try(attempt: &Attempt) -> bool {
    let reason = attempt.reason;
    match attempt.outcome {
        Some(Outcome::Failed) => reason != Some(Reason::DiskFull),
        Some(Outcome::Completed | Outcome::PartialSuccess | Outcome::TimedOut | Outcome::ProtocolError) => true,
        Some(Outcome::Cancelled) => !reason.is_some_and(|reason| ASKED_FOR.contains(&reason)),
        Some(Outcome::HeartbeatLost | Outcome::Unavailable | Outcome::Interrupted) | None => false,
    }
}

fn count(before: &[&Attempt], outcome: Outcome) -> usize {
    before.iter().filter(|attempt| attempt.outcome == Some(outcome)).count()
}

/// How many attempts in a row reached nobody, up to now.
fn unreached(before: &[&Attempt]) -> usize {
    let in_order = before.iter().rev().filter(|attempt| attempt.reason != Some(Reason::DiskFull));
    in_order.take_while(|attempt| attempt.outcome == Some(Outcome::Unavailable)).count()
}

/// An attempt is opened: the budgets of its round still allow it.
pub(super) fn opened(change: &Change, moment: &Moment<'_>) -> Judged {
    let (None, Some(new)) = (&change.old, &change.new) else { return Ok(()) };
    let task = &moment.model.tasks[new.text("task_uid")];
    let (name, number) = (task.name(), new.number("number"));
    let before: Vec<&Attempt> =
        task.of_round(new.number("round")).filter(|other| other.row.number("number") < number).collect();
    let failures = before.iter().filter(|attempt| uses_up_a_try(attempt)).count();
    let limit = task.limit as usize;
    hold!(
        Budgets,
        failures <= limit,
        "attempt {number} of {name} is opened after {failures} failures of at most {limit} + 1"
    );
    let interruptions = count(&before, Outcome::Interrupted);
    hold!(
        Budgets,
        interruptions <= INTERRUPTIONS,
        "attempt {number} of {name} is opened after {interruptions} interruptions"
    );
    let losses = count(&before, Outcome::HeartbeatLost);
    hold!(Budgets, losses <= LOSSES, "attempt {number} of {name} is opened after {losses} that went silent");
    let unreached = unreached(&before);
    let most = REPLICAS + moment.settings.preflight_max_retries as usize;
    hold!(
        Budgets,
        unreached < most,
        "attempt {number} of {name} is opened after {unreached} in a row that reached nobody"
    );
    Ok(())
}

/// A round has failed: its budget was used up, or nothing could get better.
pub(super) fn failed(old: &Row, new: &Row, task: &Task, moment: &Moment<'_>) -> Judged {
    let name = new.text("name");
    let reason: Reason = new.text("reason").parse().expect("a reason");
    let before: Vec<&Attempt> = task.of_round(new.number("round")).collect();
    match reason {
        Reason::TooManyInterruptions => {
            let times = count(&before, Outcome::Interrupted);
            hold!(Budgets, times > INTERRUPTIONS, "{name} is given up after {times} interruptions");
        }
        Reason::Stuck if old.text("phase") == Phase::Running.as_str() => {
            let times = count(&before, Outcome::HeartbeatLost);
            let maintained = moment.settings.maintenance_auto_start;
            hold!(Budgets, times > LOSSES || maintained, "{name} is given up after {times} attempts that went silent");
        }
        Reason::AnalyzerUnavailable => {
            let most = moment.settings.preflight_max_retries;
            let waited = new.number("waits") >= i64::from(most) || unreached(&before) > most as usize;
            hold!(Budgets, waited, "{name} is given up after {} waits of {most}", new.number("waits"));
        }
        _ => {
            let last = before.last();
            let passes = last.is_some_and(|last| match last.outcome {
                Some(Outcome::TimedOut | Outcome::ProtocolError) => true,
                Some(Outcome::Failed) => PASSING.contains(&reason) && !last.tools.iter().any(|tool| tool.permanent),
                _ => false,
            });
            // Which limit counts is clear as long as nobody edits it.
            let clear = moment.age.saturating_sub(task.edited_at) > PASS_MAX && task.spec.run_policy != RunPolicy::Once;
            let failures = before.iter().filter(|attempt| uses_up_a_try(attempt)).count();
            let limit = task.spec.backoff_limit as usize;
            hold!(
                Budgets,
                !passes || !clear || failures > limit,
                "{name} is given up for {reason} after {failures} failures, and {limit} + 1 are allowed"
            );
        }
    }
    Ok(())
}
