//! Plans for one run: when it begins, what its children come to, what is asked for next, and how it ends.

use super::ask::Pass;
use super::end::outcome;
use super::observed::ObservedRun;
use super::steps::{Standing, is_stopping};
use super::write::RunWrite;
use crate::plan::write::{EventWrite, Write};
use crate::plan::{Key, Plan, Reconciler};
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::outcome::one_line;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::run::{CancelWish, RunStatus, StepPhase};
use crate::resource::time::{Span, Timestamp};

/// What a run says of itself that is being stopped.
const CANCELLING: &str = "what runs is being cancelled";

/// Reconciles one run.
#[derive(Debug)]
pub struct RunReconciler;

impl Reconciler for RunReconciler {
    type Observed = ObservedRun;

    fn plan(run: &ObservedRun, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        // Nobody looks at one that has ended; if it goes on, this is done then.
        let suspension = run.suspension.as_ref().filter(|_| !run.status.phase.is_terminal());
        if let Some(until) = suspension.and_then(|suspension| suspension.until) {
            if now >= until {
                plan.writes.push(Write::Unsuspend(run.uid.clone()));
            } else {
                plan.look_again(until);
            }
        }
        match run.status.phase {
            Phase::Pending => pending(run, now, &mut plan),
            Phase::Running => running(run, now, &mut plan),
            Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => {
                finished(run, now, &mut plan)
            }
        }
        plan
    }
}

fn pending(run: &ObservedRun, now: Timestamp, plan: &mut Plan) {
    if run.cancel > CancelWish::None {
        return end(run, Phase::Cancelled, Reason::RunCancelled, "cancelled before it began".into(), now, plan);
    }
    if run.is_removed() {
        let message = "the pipeline's manifest was removed before it began".into();
        return end(run, Phase::Cancelled, Reason::ManifestRemoved, message, now, plan);
    }
    if run.superseded {
        let message = "a newer generation of the pipeline has a run".into();
        return end(run, Phase::Cancelled, Reason::Superseded, message, now, plan);
    }
    if !run.within.circle.is_empty() {
        let message = format!("these pipelines run each other for ever: {}", run.within.circle.join(" -> "));
        return end(run, Phase::Failed, Reason::InvalidConfiguration, message, now, plan);
    }
    if run.within.late {
        plan.writes.push(Write::PinRun(run.uid.clone()));
        plan.wakes.push(Key::Run(run.uid.clone()));
        return;
    }
    let most = run.graph.spec.runs_at_once();
    let (reason, message) = if run.is_suspended(now) {
        let why = run.suspension.as_ref().map_or("", |suspension| suspension.reason.as_str());
        (Reason::Suspended, why.to_owned())
    } else if let Some(name) = run.within.unknown.first() {
        (Reason::PipelineNotFound, format!("no Pipeline is called {name:?}, which a step runs"))
    } else if run.parent.is_none() && run.ahead >= most {
        (
            Reason::ConcurrencyLimit,
            format!("{} runs of {} are before it, and {most} may run at once", run.ahead, run.pipeline),
        )
    } else {
        let status = RunStatus {
            phase: Phase::Running,
            reason: Reason::StepsRunning,
            message: String::new(),
            started_at: run.status.started_at.or(Some(now)),
            round_at: Some(now),
            next_at: None,
            ..run.status.clone()
        };
        turn(run, status, "Started", plan);
        plan.wakes.push(Key::Run(run.uid.clone()));
        return;
    };
    let next_at = suspended_until(run, now);
    if run.status.reason != reason || run.status.message != message || run.status.next_at != next_at {
        turn(run, RunStatus { reason, message, next_at, ..run.status.clone() }, reason.as_str(), plan);
        // What it waits for may have come between the observation and this commit.
        plan.wakes.push(Key::Run(run.uid.clone()));
    }
}

fn running(run: &ObservedRun, now: Timestamp, plan: &mut Plan) {
    let mut pass = Pass::new(run, now, plan);
    let standings = pass.carry_out();
    let run = &pass.run.clone();
    let steps_end = ended(run, &standings, false);
    let deadline = deadline(run).filter(|_| !steps_end && !is_stopping(run, false));
    if let Some(at) = deadline {
        if now >= at {
            let message = format!("its deadline has passed; {CANCELLING}");
            let status = RunStatus { reason: Reason::DeadlineExceeded, message, ..run.status.clone() };
            turn(run, status, "DeadlineExceeded", plan);
            plan.wakes.push(Key::Run(run.uid.clone()));
            return;
        }
        plan.look_again(at);
    }
    if steps_end && ended(run, &standings, true) && run.steps.iter().all(|step| step.open.is_empty()) {
        let (phase, reason, message) = outcome(run, &standings);
        return end(run, phase, reason, message, now, plan);
    }
    let over = approvals(run, &standings);
    over.into_iter().for_each(|at| plan.look_again(at));
    // What people are told of: what will happen by itself, if nothing else happens before.
    let next_at = [deadline, over, suspended_until(run, now)].into_iter().flatten().min();
    let (reason, message) = state(run, &standings, now);
    if run.status.reason != reason || run.status.message != message {
        turn(run, RunStatus { reason, message, next_at, ..run.status.clone() }, reason.as_str(), plan);
    } else if run.status.next_at != next_at {
        let status = RunStatus { next_at, ..run.status.clone() };
        plan.writes.push(Write::Run(Box::new(RunWrite { uid: run.uid.clone(), version: run.version, status })));
    }
}

/// When its suspension ends by itself, if it is suspended until then.
fn suspended_until(run: &ObservedRun, now: Timestamp) -> Option<Timestamp> {
    run.suspension.as_ref().filter(|suspension| suspension.holds(now))?.until
}

/// Whether all steps have ended, or all of `finally`.
fn ended(run: &ObservedRun, standings: &[Standing], is_final: bool) -> bool {
    let of = run.graph.steps.iter().zip(standings).zip(&run.steps).filter(|((node, _), _)| node.is_final == is_final);
    of.into_iter().all(|((node, standing), facts)| {
        let settled = (facts.stale.is_empty() && !facts.unsure) || is_stopping(run, node.is_final);
        standing.has_ended() && settled && facts.open.is_empty()
    })
}

fn deadline(run: &ObservedRun) -> Option<Timestamp> {
    let limit = Span::seconds(run.graph.spec.active_deadline_seconds?);
    run.status.round_at.map(|began| began.plus(limit))
}

/// When the first of the decisions that it waits for is taken by itself.
fn approvals(run: &ObservedRun, standings: &[Standing]) -> Option<Timestamp> {
    let waiting = run.graph.steps.iter().zip(standings).filter(|(_, of)| of.reason == Reason::WaitingForApproval);
    let over = waiting.filter_map(|(node, standing)| Some(standing.at?.plus(node.step.approval.as_ref()?.timeout?)));
    over.min()
}

/// Why a run that runs is where it is.
fn state(run: &ObservedRun, standings: &[Standing], now: Timestamp) -> (Reason, String) {
    if is_stopping(run, false) {
        let (reason, why) = match run.status.reason {
            Reason::DeadlineExceeded => (Reason::DeadlineExceeded, "its deadline has passed; "),
            _ if run.cancel > CancelWish::None => (Reason::RunCancelled, ""),
            _ => (Reason::ManifestRemoved, ""),
        };
        let mut steps = run.graph.steps.iter().zip(&run.steps);
        let runs = steps.any(|(node, facts)| is_stopping(run, node.is_final) && !facts.open.is_empty());
        let what = match (runs, run.is_suspended(now)) {
            (true, _) => CANCELLING,
            (false, true) => "it is suspended, so its finally steps wait until it is resumed",
            (false, false) => "its finally steps run",
        };
        return (reason, format!("{why}{what}"));
    }
    if run.is_suspended(now) {
        return (
            Reason::Suspended,
            run.suspension.as_ref().map_or_else(String::new, |suspension| suspension.reason.clone()),
        );
    }
    let asked =
        run.graph.steps.iter().zip(standings).find(|(_, standing)| standing.reason == Reason::WaitingForApproval);
    match asked {
        Some((node, standing)) if run.steps.iter().all(|step| step.open.is_empty()) => {
            (Reason::WaitingForApproval, format!("step {}: {}", node.step.name, standing.message))
        }
        _ => (Reason::StepsRunning, String::new()),
    }
}

fn finished(run: &ObservedRun, now: Timestamp, plan: &mut Plan) {
    let restarted = run.steps.iter().any(|step| step.open.iter().any(|child| !child.phase.is_terminal()));
    let reason = if run.retry_round >= run.status.round {
        Reason::RetriedByUser
    } else if restarted {
        Reason::ChildRestarted
    } else {
        return;
    };
    let status = RunStatus {
        phase: Phase::Running,
        reason,
        message: String::new(),
        round: run.status.round + 1,
        next_at: None,
        finished_at: None,
        round_at: Some(now),
        ..run.status.clone()
    };
    turn(run, status, reason.as_str(), plan);
    plan.wakes.push(Key::Run(run.uid.clone()));
}

fn end(run: &ObservedRun, phase: Phase, reason: Reason, message: String, now: Timestamp, plan: &mut Plan) {
    let message = one_line(&message);
    let status = RunStatus { phase, reason, message, next_at: None, finished_at: Some(now), ..run.status.clone() };
    turn(run, status, phase.as_str(), plan);
    plan.next = None;
    plan.wakes.push(Key::Pipeline(run.pipeline_uid.clone()));
}

fn turn(run: &ObservedRun, status: RunStatus, word: &'static str, plan: &mut Plan) {
    let bad = matches!(status.phase, Phase::Failed | Phase::PartialSuccess);
    let message = if status.phase.is_terminal() {
        format!("{}: {}", status.reason, status.message)
    } else {
        status.message.clone()
    };
    plan.writes.push(Write::Run(Box::new(RunWrite { uid: run.uid.clone(), version: run.version, status })));
    plan.writes.push(Write::Event(Box::new(EventWrite {
        uid: run.uid.clone(),
        kind: Kind::Run,
        name: run.name.clone(),
        event_type: if bad { EventType::Warning } else { EventType::Normal },
        reason: word,
        message,
    })));
}

/// Whether a plan for a run begins it, or another round of it.
#[must_use]
pub fn begins(run: &ObservedRun, plan: &Plan) -> bool {
    let runs = |write: &Write| matches!(write, Write::Run(of) if of.status.phase == Phase::Running);
    run.status.phase != Phase::Running && plan.writes.iter().any(runs)
}

/// Whether a step waits for a person.
#[must_use]
pub fn waits_for_a_person(standing: &Standing) -> bool {
    standing.phase == StepPhase::Running && standing.reason == Reason::WaitingForApproval
}
