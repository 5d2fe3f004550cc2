//! What a run comes to once its steps have ended. `finally` has no part in it.

use super::observed::ObservedRun;
use super::steps::{Standing, is_stopping};
use crate::resource::algebra::{Ended, fold};
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::run::{CancelWish, StepPhase};

/// The phase, the reason and a message of a run whose steps have all ended.
#[must_use]
pub fn outcome(run: &ObservedRun, standings: &[Standing]) -> (Phase, Reason, String) {
    let steps = || run.graph.steps.iter().zip(standings).filter(|(node, _)| !node.is_final);
    let counted = steps().filter(|(_, standing)| standing.counts).count();
    let done = steps().filter(|(_, standing)| standing.counts && standing.phase == StepPhase::Completed).count();
    let bad: Vec<String> = steps()
        .filter(|(_, standing)| standing.counts && standing.phase != StepPhase::Completed)
        .map(|(node, standing)| format!("{} {}", node.step.name, standing.phase))
        .take(8)
        .collect();
    let rest = if bad.is_empty() { String::new() } else { format!("; {}", bad.join(", ")) };
    let message = format!("{done} of {counted} steps completed{rest}");
    if run.cancel > CancelWish::None {
        let said = if run.cancel_message.is_empty() { String::new() } else { format!(" ({})", run.cancel_message) };
        return (Phase::Cancelled, Reason::RunCancelled, format!("cancelled on request{said}; {message}"));
    }
    if run.is_removed() {
        return (Phase::Cancelled, Reason::ManifestRemoved, format!("the pipeline's manifest was removed; {message}"));
    }
    if is_stopping(run, false) {
        return (Phase::Failed, Reason::DeadlineExceeded, format!("it took longer than its deadline; {message}"));
    }
    let critical = steps().find(|(node, standing)| node.step.critical && standing.phase == StepPhase::Failed);
    if let Some((node, standing)) = critical {
        let why = format!("the critical step {} has failed: {}; {message}", node.step.name, standing.message);
        return (Phase::Failed, Reason::CriticalStepFailed, why);
    }
    let endings = steps().filter(|(_, standing)| standing.counts).map(|(_, standing)| match standing.phase {
        StepPhase::Completed => Ended::Completed,
        StepPhase::PartialSuccess => Ended::Partial,
        StepPhase::Cancelled | StepPhase::Skipped => Ended::Cancelled,
        StepPhase::Failed | StepPhase::Waiting | StepPhase::Running => Ended::Failed,
    });
    match fold(endings) {
        Some(Ended::Completed) => (Phase::Completed, Reason::AllStepsCompleted, message),
        Some(Ended::Partial) => (Phase::PartialSuccess, Reason::SomeStepsFailed, message),
        Some(Ended::Cancelled) => (Phase::Cancelled, Reason::RunCancelled, message),
        Some(Ended::Failed) => (Phase::Failed, Reason::NoStepSucceeded, message),
        // Every step was skipped because nothing was to be done: nothing failed, and nothing is missing.
        None => (Phase::Completed, Reason::AllStepsCompleted, "nothing was to be done".to_owned()),
    }
}
