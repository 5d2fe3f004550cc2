//! How the steps of a run stand: derived from its children on every pass, and never stored. The plan and the command line use the same.

use super::expand::expected;
use super::graph::Node;
use super::observed::{ObservedRun, ObservedStep};
use crate::resource::algebra::{Ended, fold};
use crate::resource::pipeline::{Condition, OnTimeout, StepEnd};
use crate::resource::reason::Reason;
use crate::resource::run::{CancelWish, Conclusion, StepPhase};
use crate::resource::time::Timestamp;

/// How one step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub phase: StepPhase,
    /// Why.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
    /// How many items it has, as far as that is known.
    pub expected: Option<u64>,
    /// Whether it counts for the phase of the run: a step that was not wanted does not.
    pub counts: bool,
    /// When it ended, or, while it has not, when what it needs did.
    pub at: Option<Timestamp>,
}

impl Standing {
    /// Whether nothing more happens to it in this round.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        match self.phase {
            StepPhase::Waiting | StepPhase::Running => false,
            StepPhase::Completed
            | StepPhase::PartialSuccess
            | StepPhase::Failed
            | StepPhase::Cancelled
            | StepPhase::Skipped => true,
        }
    }

    fn new(phase: StepPhase, reason: Reason, message: impl Into<String>) -> Self {
        Self { phase, reason, message: message.into(), expected: None, counts: true, at: None }
    }
}

/// How every step stands, in the order of the graph.
#[must_use]
pub fn standings(run: &ObservedRun, now: Timestamp) -> Vec<Standing> {
    let mut standings: Vec<Standing> = Vec::with_capacity(run.graph.steps.len());
    for (at, node) in run.graph.steps.iter().enumerate() {
        let empty = ObservedStep::default();
        let facts = run.steps.get(at).unwrap_or(&empty);
        let mut standing = stand(run, at, node, facts, &standings, now);
        let needs_ended = node.needs.iter().filter_map(|need| standings[*need].at).max();
        let begun = needs_ended.max(run.status.round_at);
        standing.at = match (standing.has_ended(), facts.ended_at) {
            (true, Some(ended)) => Some(ended),
            _ => standing.at.or(begun),
        };
        standings.push(standing);
    }
    standings
}

/// Whether no more children of a step are wanted.
#[must_use]
pub fn is_stopping(run: &ObservedRun, is_final: bool) -> bool {
    let wish = run.cancel.max(if run.is_removed() { CancelWish::Steps } else { CancelWish::None });
    match (is_final, wish) {
        (_, CancelWish::All) | (false, CancelWish::Steps) => true,
        (true, CancelWish::None | CancelWish::Steps) => false,
        (false, CancelWish::None) => run.status.reason == Reason::DeadlineExceeded,
    }
}

fn stand(
    run: &ObservedRun,
    at: usize,
    node: &Node,
    facts: &ObservedStep,
    before: &[Standing],
    now: Timestamp,
) -> Standing {
    let known = expected(node, facts.apps.as_ref().map(|apps| apps.as_slice()));
    let with = |standing: Standing| Standing { expected: known, ..standing };
    let others_end =
        before.iter().zip(&run.graph.steps).all(|(standing, other)| other.is_final || standing.has_ended());
    if node.is_final && !others_end {
        return with(Standing::new(
            StepPhase::Waiting,
            Reason::StepsRunning,
            "it runs when all other steps have ended",
        ));
    }
    if is_stopping(run, node.is_final) {
        return with(stopped(run, facts, node, before));
    }
    let source = node.source.map(|source| &before[source]);
    let streams_now = node.streams && source.is_some_and(|source| source.phase == StepPhase::Running);
    if let Some(need) = node.needs.iter().find(|need| !before[**need].has_ended()).filter(|_| !streams_now) {
        let message = format!("waits for step {}", run.graph.steps[*need].step.name);
        return with(Standing::new(StepPhase::Waiting, Reason::StepsRunning, message));
    }
    if !streams_now && let Some(skipped) = gate(run, node, before) {
        if facts.open.is_empty() {
            return with(skipped);
        }
        return with(Standing::new(StepPhase::Running, Reason::StepsRunning, "what was begun is ending"));
    }
    if let Some(approval) = &node.step.approval {
        return approval_stands(run, node, approval, before, now);
    }
    let expected = match node.source {
        Some(source) => before[source].expected.map(|items| items.saturating_mul(node.combinations)),
        None => known,
    };
    let running = Standing { expected, ..Standing::new(StepPhase::Running, Reason::StepsRunning, "") };
    let all_asked =
        if node.source.is_some() { !streams_now } else { known.is_some_and(|known| facts.next_item >= known) };
    let is_left = !facts.open.is_empty() || !facts.stale.is_empty() || !facts.missing.is_empty() || facts.unsure;
    if !all_asked || is_left {
        return running;
    }
    Standing { expected, ..ended(run, at, node, facts) }
}

/// A step of a run that is being cancelled: what runs ends, and nothing more begins.
fn stopped(run: &ObservedRun, facts: &ObservedStep, node: &Node, before: &[Standing]) -> Standing {
    if facts.open.iter().any(|child| !child.phase.is_terminal()) {
        return Standing::new(StepPhase::Running, Reason::RunCancelled, "what it began is being cancelled");
    }
    let deadline = run.status.reason == Reason::DeadlineExceeded;
    let reason = if deadline { Reason::DeadlineExceeded } else { Reason::RunCancelled };
    let known = expected(node, facts.apps.as_ref().map(|apps| apps.as_slice()));
    let source_whole = node.source.is_none_or(|source| before[source].phase == StepPhase::Completed);
    let whole = match node.source {
        Some(_) => source_whole && facts.next_item > 0,
        None => known.is_some_and(|known| known > 0 && facts.next_item >= known),
    };
    if node.step.approval.is_some() {
        return match run.decisions.get(&node.step.name) {
            Some(decision) if decision.approved => {
                Standing::new(StepPhase::Completed, Reason::AllStepsCompleted, "approved")
            }
            Some(_) => Standing::new(StepPhase::Failed, Reason::Rejected, "rejected"),
            None => Standing::new(StepPhase::Cancelled, reason, "nobody decided before the run was stopped"),
        };
    }
    let endings = facts.has.iter().copied().map(as_ended);
    let rest = (!whole).then_some(Ended::Cancelled);
    match fold(endings.chain(rest)) {
        Some(Ended::Completed) => Standing::new(StepPhase::Completed, Reason::AllStepsCompleted, ""),
        Some(Ended::Partial) => Standing::new(StepPhase::PartialSuccess, reason, "it was stopped before it was done"),
        Some(Ended::Failed) => Standing::new(StepPhase::Failed, reason, "it was stopped before anything succeeded"),
        Some(Ended::Cancelled) | None => Standing::new(StepPhase::Cancelled, reason, "the run was stopped"),
    }
}

/// Whether a step is skipped now that all it needs has ended.
fn gate(run: &ObservedRun, node: &Node, before: &[Standing]) -> Option<Standing> {
    for condition in &node.step.when {
        let Some(at) = run.graph.find(&condition.step).filter(|at| *at < before.len()) else { continue };
        if let Some(why) = not_met(condition, &before[at], run.steps.get(at)) {
            let standing = Standing::new(StepPhase::Skipped, Reason::ConditionNotMet, why);
            return Some(Standing { counts: false, ..standing });
        }
    }
    for need in &node.needs {
        let (name, standing) = (&run.graph.steps[*need].step.name, &before[*need]);
        if node.step.when.iter().any(|condition| condition.step == *name) {
            continue;
        }
        match standing.phase {
            StepPhase::Completed | StepPhase::PartialSuccess => {}
            StepPhase::Skipped if !standing.counts => {
                let message = format!("step {name} was skipped");
                let skipped = Standing::new(StepPhase::Skipped, Reason::ConditionNotMet, message);
                return Some(Standing { counts: false, ..skipped });
            }
            StepPhase::Failed | StepPhase::Cancelled | StepPhase::Skipped | StepPhase::Waiting | StepPhase::Running => {
                let message = format!("step {name} is {}", standing.phase);
                return Some(Standing::new(StepPhase::Skipped, Reason::DependencyFailed, message));
            }
        }
    }
    None
}

/// Why a condition does not hold, if so.
fn not_met(condition: &Condition, standing: &Standing, facts: Option<&ObservedStep>) -> Option<String> {
    let end = end_of(standing.phase)?;
    let name = &condition.step;
    if !condition.phases.is_empty() && !condition.phases.contains(&end) {
        let wanted: Vec<&str> = condition.phases.iter().map(|phase| phase.as_str()).collect();
        return Some(format!("step {name} is {end}, not {}", wanted.join(" or ")));
    }
    let count = |of: &[Conclusion]| of.iter().filter_map(|one| facts?.counts.get(one)).sum::<u64>();
    let succeeded = count(&[Conclusion::Succeeded]);
    let failed = count(&[Conclusion::Failed, Conclusion::AppNotProduced, Conclusion::OutputMissing]);
    if condition.succeeded_at_least.is_some_and(|least| succeeded < least) {
        return Some(format!("{succeeded} items of step {name} succeeded"));
    }
    let outside = condition.failed_at_least.is_some_and(|least| failed < least)
        || condition.failed_at_most.is_some_and(|most| failed > most);
    outside.then(|| format!("{failed} items of step {name} failed"))
}

const fn end_of(phase: StepPhase) -> Option<StepEnd> {
    Some(match phase {
        StepPhase::Waiting | StepPhase::Running => return None,
        StepPhase::Completed => StepEnd::Completed,
        StepPhase::PartialSuccess => StepEnd::PartialSuccess,
        StepPhase::Failed => StepEnd::Failed,
        StepPhase::Cancelled => StepEnd::Cancelled,
        StepPhase::Skipped => StepEnd::Skipped,
    })
}

fn approval_stands(
    run: &ObservedRun,
    node: &Node,
    approval: &crate::resource::pipeline::Approval,
    before: &[Standing],
    now: Timestamp,
) -> Standing {
    let asked_at = node.needs.iter().filter_map(|need| before[*need].at).max().max(run.status.round_at);
    let over_at = approval.timeout.zip(asked_at).map(|(timeout, asked)| asked.plus(timeout));
    if let Some(decision) = run.decisions.get(&node.step.name) {
        let said = if decision.comment.is_empty() { String::new() } else { format!(": {}", decision.comment) };
        let (phase, reason, word) = if decision.approved {
            (StepPhase::Completed, Reason::AllStepsCompleted, "approved")
        } else {
            (StepPhase::Failed, Reason::Rejected, "rejected")
        };
        let standing = Standing::new(phase, reason, format!("{word} by {}{said}", decision.by));
        return Standing { at: Some(decision.at), ..standing };
    }
    match over_at {
        Some(over_at) if now >= over_at => {
            let standing = match approval.on_timeout {
                OnTimeout::Approve => {
                    Standing::new(StepPhase::Completed, Reason::AllStepsCompleted, "nobody said no in time")
                }
                OnTimeout::Reject => Standing::new(StepPhase::Failed, Reason::Rejected, "nobody said yes in time"),
            };
            Standing { at: Some(over_at), ..standing }
        }
        // While it waits, `at` is when it was asked.
        _ => {
            let message = if approval.message.is_empty() { "waits for a person" } else { &approval.message };
            Standing { at: asked_at, ..Standing::new(StepPhase::Running, Reason::WaitingForApproval, message) }
        }
    }
}

/// Whether some item of a step did not succeed or was never asked for, so that nothing follows from it; also through the steps before it.
fn has_gaps(run: &ObservedRun, at: usize) -> bool {
    let (Some(node), Some(facts)) = (run.graph.steps.get(at), run.steps.get(at)) else { return true };
    let unasked = match node.source {
        Some(source) => has_gaps(run, source),
        None => {
            let known = expected(node, facts.apps.as_ref().map(|apps| apps.as_slice()));
            known.is_none_or(|known| known > facts.next_item)
        }
    };
    unasked || facts.has.iter().any(|conclusion| !conclusion.is_good())
}

/// A step of which nothing is left to ask for.
fn ended(run: &ObservedRun, at: usize, node: &Node, facts: &ObservedStep) -> Standing {
    let skipped = node.source.is_some_and(|source| has_gaps(run, source));
    let children = facts.has.iter().copied().map(as_ended);
    let whole = fold(children.chain(skipped.then_some(Ended::Cancelled)));
    let name = &run.graph.steps[at].step.name;
    match whole {
        Some(Ended::Completed) => Standing::new(StepPhase::Completed, Reason::AllStepsCompleted, ""),
        Some(Ended::Partial) => {
            Standing::new(StepPhase::PartialSuccess, Reason::SomeStepsFailed, "some items did not succeed")
        }
        Some(Ended::Failed) => Standing::new(StepPhase::Failed, Reason::NoStepSucceeded, "no item succeeded"),
        Some(Ended::Cancelled) if facts.has.is_empty() => {
            Standing::new(StepPhase::Skipped, Reason::DependencyFailed, "nothing that it needs succeeded")
        }
        Some(Ended::Cancelled) => Standing::new(StepPhase::Cancelled, Reason::RunCancelled, "its items were cancelled"),
        None if node.step.for_each.as_ref().is_some_and(|each| each.allow_empty) => {
            let standing = Standing::new(StepPhase::Skipped, Reason::NoItems, "there was nothing to do it for");
            Standing { counts: false, ..standing }
        }
        None => {
            let message = format!("step {name} found nothing to do it for, and nothing proves success");
            Standing::new(StepPhase::Failed, Reason::NoItems, message)
        }
    }
}

/// What a child's conclusion counts as.
#[must_use]
pub const fn as_ended(conclusion: Conclusion) -> Ended {
    match conclusion {
        Conclusion::Succeeded => Ended::Completed,
        Conclusion::Partial => Ended::Partial,
        Conclusion::Failed | Conclusion::AppNotProduced | Conclusion::OutputMissing => Ended::Failed,
        Conclusion::Cancelled | Conclusion::Skipped => Ended::Cancelled,
    }
}
