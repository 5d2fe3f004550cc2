//! Open attempts that nobody carries: the controller that did is gone. What goes on elsewhere is taken up, what cannot be is closed as
//! interrupted, and what a command left running goes first.

use super::assignment::{Order, spec_digest};
use super::settle::settle;
use super::task::{AttemptFacts, EndedAttempt, ObservedTask, unwanted_attempt};
use super::transition::note;
use super::write::{CloseAttempt, Write};
use super::{Effect, Plan};
use crate::resource::address::EMBEDDED;
use crate::resource::attempt::Origin;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// An open attempt that nobody carries: the controller that did is gone. A command may have left processes, which go first; what its
/// analyzer knows by its token goes on.
pub(super) fn orphaned(task: &ObservedTask, attempt: &AttemptFacts, now: Timestamp, plan: &mut Plan) {
    if attempt.replica.is_empty() {
        plan.effects.push(Effect::Reap { id: attempt.id.clone(), process: attempt.process });
        return;
    }
    if attempt.resumable && !attempt.replica.starts_with(EMBEDDED) && take_up(task, attempt, now, plan) {
        return;
    }
    let verdict = interrupted();
    let ended = EndedAttempt {
        outcome: verdict.outcome,
        reason: verdict.reason,
        message: verdict.message.clone(),
        at: now,
        findings: verdict.findings,
        tools: Vec::new(),
    };
    plan.writes.push(Write::CloseAttempt(Box::new(CloseAttempt {
        id: attempt.id.clone(),
        verdict,
        result: None,
        at: now,
        slot_until: slot_until(&attempt.replica, attempt.deadline_at),
        cache_key: None,
    })));
    let mut closed = task.clone();
    if let Some(last) = closed.attempts.iter_mut().find(|other| other.id == attempt.id) {
        last.ended = Some(ended.clone());
    }
    settle(&closed, attempt, &ended, now, plan);
}

/// Takes up an attempt where its analyzer has it. One that is not wanted any more, or is past its deadline, is taken up as well, for only who
/// carries it can have it stopped there. It cannot be when its app or its analyzer is not known any more, so that there is nothing to ask.
fn take_up(task: &ObservedTask, attempt: &AttemptFacts, now: Timestamp, plan: &mut Plan) -> bool {
    // Under `runPolicy: Once` as well: what the attempt was opened with is not known any more.
    let stop = unwanted_attempt(task, task.generation > attempt.generation);
    let service = task.analyzer.as_ref().filter(|spec| spec.websocket.is_some());
    if stop.is_none() && (task.app.is_none() || service.is_none()) {
        return false;
    }
    let order = Order {
        id: attempt.id.clone(),
        task: &task.name,
        spec: &task.spec,
        // As it was asked: the token stands for this very request.
        tools: attempt.asked.clone(),
        app: task.app.as_ref(),
        analyzer: &attempt.analyzer,
        analyzer_spec: service,
        replica: &attempt.replica,
        extended: true,
        opened_at: attempt.opened_at,
        deadline_at: attempt.deadline_at,
        origin: Origin {
            round: task.status.round,
            generation: attempt.generation,
            spec_digest: (attempt.generation == task.generation).then(|| spec_digest(&task.spec)),
            app_digest: task.status.app_digest.clone(),
        },
        // A controller was gone for a while: nobody knows what became of the app meanwhile.
        stamp: None,
        resumed: true,
    };
    let (number, at) = (attempt.id.number, &attempt.replica);
    plan.effects.push(Effect::Resume { assignment: order.assignment(), stop });
    plan.writes.push(Write::TakeUp(attempt.id.clone()));
    let message = match stop {
        None => format!("attempt {number} goes on at {at}; its controller had ended"),
        Some(reason) => format!("attempt {number} is stopped at {at} ({reason}); its controller had ended"),
    };
    plan.writes.push(note(&task.uid, &task.name, "TakenUp", message));
    if stop.is_none() {
        plan.look_again(now.plus(task.budgets.stuck_after));
    }
    true
}

/// The verdict on an attempt whose controller is gone.
#[must_use]
pub fn interrupted() -> Verdict {
    let message = "the controller ended while it ran";
    Verdict::without_tools(Outcome::Interrupted, Reason::Interrupted, message)
}

/// Until when an attempt keeps its slot whose controller is gone, so that nobody could ask: services go on working after their client has
/// left. The embedded analyzer is gone as well, and so is a command.
fn slot_until(replica: &str, deadline_at: Timestamp) -> Option<Timestamp> {
    (!replica.is_empty() && !replica.starts_with(EMBEDDED)).then_some(deadline_at)
}
