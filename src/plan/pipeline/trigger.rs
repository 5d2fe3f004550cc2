//! Plans for one pipeline: which runs are made, because its spec changed or because it is time.

use serde_json::Map;

use super::observed::ObservedPipeline;
use super::schedule::{expression, next, slot_name, slots};
use super::write::{CancelChild, CreateRun};
use crate::plan::write::{EventWrite, Write};
use crate::plan::{Key, Plan, Reconciler};
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::pipeline::{CatchUp, ConcurrencyPolicy, PipelineRunPolicy, Schedule};
use crate::resource::run::{Cause, ChildKind};
use crate::resource::time::{Span, Timestamp};

/// Missed slots that `catchUp: All` makes up for; the latest of them.
pub const CATCH_UP_MAX: usize = 100;

/// A slot is on time for so long: a controller may be busy for a moment.
const ON_TIME: Span = Span::minutes(1);

/// Reconciles one pipeline.
#[derive(Debug)]
pub struct PipelineReconciler;

impl Reconciler for PipelineReconciler {
    type Observed = ObservedPipeline;

    fn plan(pipeline: &ObservedPipeline, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        if pipeline.removed {
            // What waits or runs has to hear of it.
            plan.wakes.extend(pipeline.unfinished.iter().cloned().map(Key::Run));
            return plan;
        }
        let suspended = match &pipeline.suspension {
            Some(suspension) if suspension.holds(now) => {
                suspension.until.into_iter().for_each(|until| plan.look_again(until));
                true
            }
            Some(_) => {
                plan.writes.push(Write::Unsuspend(pipeline.uid.clone()));
                pipeline.spec.suspend
            }
            None => pipeline.spec.suspend,
        };
        if !suspended {
            apply(pipeline, &mut plan);
        }
        if let Some(schedule) = &pipeline.spec.schedule {
            by_the_clock(pipeline, schedule, suspended, now, &mut plan);
        }
        plan
    }
}

/// A run because the pipeline is new, or its spec is.
fn apply(pipeline: &ObservedPipeline, plan: &mut Plan) {
    let due = match pipeline.spec.runs_on() {
        PipelineRunPolicy::Manual => false,
        PipelineRunPolicy::Once => !pipeline.applied.any,
        PipelineRunPolicy::OnSpecChange => !pipeline.applied.current,
    };
    if due {
        let name = format!("{}-g{}", pipeline.name, pipeline.generation);
        plan.writes.push(create(pipeline, name, Cause::Apply, None));
        // Runs of older generations that have not begun make way.
        plan.wakes.extend(pipeline.unfinished.iter().cloned().map(Key::Run));
    }
}

fn create(pipeline: &ObservedPipeline, name: String, cause: Cause, scheduled_at: Option<Timestamp>) -> Write {
    Write::CreateRun(Box::new(CreateRun {
        name,
        pipeline_uid: pipeline.uid.clone(),
        generation: pipeline.generation,
        params: Map::new(),
        cause,
        scheduled_at,
    }))
}

fn by_the_clock(pipeline: &ObservedPipeline, schedule: &Schedule, suspended: bool, now: Timestamp, plan: &mut Plan) {
    let expression = expression(schedule);
    let seen = pipeline.seen.as_ref().filter(|(of, _)| *of == expression).map(|(_, at)| *at);
    let Some(seen) = seen else {
        // Slots before the schedule was first seen are nobody's.
        plan.writes.push(dealt_with(pipeline, expression, now));
        plan.wakes.push(Key::Pipeline(pipeline.uid.clone()));
        return;
    };
    // While it is suspended nothing is dealt with: what follows from the slots is decided when that is over.
    if suspended {
        return;
    }
    // A clock that was turned back must not stop the schedule until it is there again; the names keep a slot from having two runs.
    let seen = seen.min(now);
    let due = match slots(schedule, seen, now, CATCH_UP_MAX) {
        Ok(due) => due,
        Err(why) => {
            plan.writes.push(tell(pipeline, EventType::Warning, "ScheduleInvalid", why));
            return;
        }
    };
    if let Some(last) = due.last() {
        let chosen = choose(schedule, &due, now);
        fire(pipeline, schedule, &chosen, plan);
        plan.writes.push(dealt_with(pipeline, expression, *last));
    }
    if let Ok(Some(at)) = next(schedule, now) {
        plan.look_again(at);
    }
}

/// Which of the slots that are due are taken.
fn choose(schedule: &Schedule, due: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    let limit = schedule.starting_deadline_seconds.map(Span::seconds);
    let in_time = |slot: &&Timestamp| limit.is_none_or(|limit| now.since(**slot) <= limit);
    let left: Vec<Timestamp> = due.iter().filter(in_time).copied().collect();
    match schedule.catch_up {
        CatchUp::None => {
            left.into_iter().rfind(|slot| now.since(*slot) <= limit.unwrap_or(ON_TIME)).into_iter().collect()
        }
        CatchUp::Latest => left.last().copied().into_iter().collect(),
        CatchUp::All => left,
    }
}

fn fire(pipeline: &ObservedPipeline, schedule: &Schedule, slots: &[Timestamp], plan: &mut Plan) {
    let Some(last) = slots.last() else { return };
    let busy = pipeline.scheduled.first();
    let chosen: &[Timestamp] = match (schedule.concurrency_policy, busy) {
        (ConcurrencyPolicy::Forbid, Some((_, name))) => {
            let message = format!("the slot of {last} is passed over, since {name} has not ended");
            plan.writes.push(tell(pipeline, EventType::Warning, "SlotPassedOver", message));
            return;
        }
        (ConcurrencyPolicy::Replace, _) => {
            for (uid, _) in &pipeline.scheduled {
                plan.writes.push(Write::CancelChild(CancelChild { uid: uid.clone(), kind: ChildKind::Run }));
            }
            std::slice::from_ref(last)
        }
        (ConcurrencyPolicy::Allow | ConcurrencyPolicy::Forbid, _) => slots,
    };
    for slot in chosen {
        plan.writes.push(create(pipeline, slot_name(&pipeline.name, *slot), Cause::Schedule, Some(*slot)));
    }
}

fn dealt_with(pipeline: &ObservedPipeline, expression: String, at: Timestamp) -> Write {
    Write::ScheduleSeen { pipeline_uid: pipeline.uid.clone(), expression, at }
}

fn tell(pipeline: &ObservedPipeline, event_type: EventType, reason: &'static str, message: String) -> Write {
    Write::Event(Box::new(EventWrite {
        uid: pipeline.uid.clone(),
        kind: Kind::Pipeline,
        name: pipeline.name.clone(),
        event_type,
        reason,
        message,
    }))
}
