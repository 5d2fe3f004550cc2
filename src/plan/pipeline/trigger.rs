//! Plans for one pipeline: which runs are made, because its spec changed or because it is time.

use serde_json::Map;

use super::observed::ObservedPipeline;
use super::schedule::{expression, next, slot_name, slots};
use super::write::{CancelChild, CreateRun};
use crate::plan::write::{EventWrite, Write};
use crate::plan::{Key, Plan, Reconciler};
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
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
    if seen > now {
        // The clock was turned back. The schedule goes on from here, instead of when it is there again; names keep a slot from having two runs.
        plan.writes.push(dealt_with(pipeline, expression, now));
        plan.wakes.push(Key::Pipeline(pipeline.uid.clone()));
        return;
    }
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
    // Only after a clock was turned back is the run of a slot there before that slot is due; it is in nobody's way.
    let own: Vec<String> = slots.iter().map(|slot| slot_name(&pipeline.name, *slot)).collect();
    let others: Vec<&(Uid, String)> = pipeline.scheduled.iter().filter(|(_, name)| !own.contains(name)).collect();
    let busy = others.first();
    let chosen: &[Timestamp] = match (schedule.concurrency_policy, busy) {
        (ConcurrencyPolicy::Forbid, Some((_, name))) => {
            let message = format!("the slot of {last} is passed over, since {name} has not ended");
            plan.writes.push(tell(pipeline, EventType::Warning, "SlotPassedOver", message));
            return;
        }
        (ConcurrencyPolicy::Replace, _) => {
            for (uid, _) in others {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::pipeline::observed::Applied;
    use crate::resource::run::Suspension;

    const HOUR: Span = Span::minutes(60);
    /// 2026-01-05T12:00:00Z.
    const NOON: Timestamp = Timestamp(1_767_614_400_000);

    fn pipeline(more: serde_json::Value) -> ObservedPipeline {
        let mut spec = json!({"steps": [{"name": "a", "analyzer": "lint"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ObservedPipeline {
            uid: Uid("p".into()),
            name: "study".into(),
            generation: 3,
            removed: false,
            spec: std::sync::Arc::new(serde_json::from_value(spec).unwrap()),
            created_at: NOON,
            applied: Applied { current: true, any: true },
            suspension: None,
            scheduled: Vec::new(),
            seen: None,
            unfinished: Vec::new(),
        }
    }

    /// Every hour, dealt with up to noon.
    fn hourly(more: serde_json::Value) -> ObservedPipeline {
        let mut schedule = json!({"cron": "0 * * * *"});
        schedule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let seen = pipeline(json!({"schedule": schedule}));
        ObservedPipeline { seen: Some(("0 * * * * UTC".into(), NOON)), ..seen }
    }

    fn made(seen: &ObservedPipeline, now: Timestamp) -> Vec<String> {
        let writes = PipelineReconciler::plan(seen, now).writes.into_iter();
        writes.filter_map(|write| if let Write::CreateRun(create) = write { Some(create.name) } else { None }).collect()
    }

    #[test]
    fn a_new_spec_makes_one_run_that_is_named_after_its_generation() {
        let new = ObservedPipeline { applied: Applied { current: false, any: true }, ..pipeline(json!({})) };
        assert_eq!(made(&new, NOON), ["study-g3"]);
        assert_eq!(made(&pipeline(json!({})), NOON), Vec::<String>::new());
        for (policy, any, runs) in
            [("Once", true, 0), ("Once", false, 1), ("Manual", false, 0), ("OnSpecChange", true, 1)]
        {
            let seen = pipeline(json!({"runPolicy": policy}));
            let seen = ObservedPipeline { applied: Applied { current: false, any }, ..seen };
            assert_eq!(made(&seen, NOON).len(), runs, "{policy}");
        }
    }

    #[test]
    fn a_schedule_fires_at_its_slots_and_never_for_those_before_it_was_seen() {
        let fresh = ObservedPipeline { seen: None, ..hourly(json!({})) };
        assert_eq!(made(&fresh, NOON), Vec::<String>::new());
        let seen = hourly(json!({}));
        assert_eq!(made(&seen, NOON), Vec::<String>::new());
        assert_eq!(PipelineReconciler::plan(&seen, NOON).next, Some(NOON.plus(HOUR)));
        assert_eq!(made(&seen, Timestamp(NOON.plus(HOUR).0 - 1)), Vec::<String>::new());
        assert_eq!(made(&seen, NOON.plus(HOUR)), ["study-20260105t130000z"]);
    }

    #[test]
    fn missed_slots_are_made_up_for_as_the_schedule_says() {
        let later = NOON.plus(HOUR.times(3)).plus(Span::minutes(30));
        assert_eq!(made(&hourly(json!({"catchUp": "None"})), later), Vec::<String>::new());
        assert_eq!(made(&hourly(json!({"catchUp": "Latest"})), later), ["study-20260105t150000z"]);
        assert_eq!(made(&hourly(json!({"catchUp": "All"})), later).len(), 3);
        let strict = json!({"catchUp": "All", "startingDeadlineSeconds": 5400});
        assert_eq!(made(&hourly(strict), later), ["study-20260105t140000z", "study-20260105t150000z"]);
        let years = NOON.plus(HOUR.times(24 * 365));
        assert_eq!(made(&hourly(json!({"catchUp": "All"})), years).len(), CATCH_UP_MAX);
    }

    #[test]
    fn a_slot_beside_an_unfinished_run_is_passed_over_or_takes_its_place() {
        let busy = |policy: &str| ObservedPipeline {
            scheduled: vec![(Uid("r".into()), "study-20260105t120000z".into())],
            ..hourly(json!({"concurrencyPolicy": policy}))
        };
        let at = NOON.plus(HOUR);
        assert_eq!(made(&busy("Forbid"), at), Vec::<String>::new());
        assert_eq!(made(&busy("Allow"), at).len(), 1);
        assert_eq!(made(&busy("Replace"), at).len(), 1);
        let cancels = |policy: &str| {
            let writes = PipelineReconciler::plan(&busy(policy), at).writes;
            writes.iter().filter(|write| matches!(write, Write::CancelChild(_))).count()
        };
        assert_eq!((cancels("Forbid"), cancels("Allow"), cancels("Replace")), (0, 0, 1));
    }

    #[test]
    fn a_slot_that_comes_again_after_a_clock_was_turned_back_leaves_its_own_run_alone() {
        for policy in ["Forbid", "Replace"] {
            let own = ObservedPipeline {
                scheduled: vec![(Uid("r".into()), "study-20260105t130000z".into())],
                ..hourly(json!({"concurrencyPolicy": policy}))
            };
            let plan = PipelineReconciler::plan(&own, NOON.plus(HOUR));
            let harms = |write: &Write| matches!(write, Write::CancelChild(_) | Write::Event(_));
            assert!(!plan.writes.iter().any(harms), "{policy}: {plan}");
        }
    }

    #[test]
    fn nothing_is_made_while_it_is_suspended_and_its_end_makes_up_for_what_was_missed() {
        let suspension = |until| Suspension { reason: String::new(), by: "me".into(), at: NOON, until };
        let at = NOON.plus(HOUR.times(2));
        let held = ObservedPipeline { suspension: Some(suspension(None)), ..hourly(json!({})) };
        assert!(PipelineReconciler::plan(&held, at).is_empty());
        let over = ObservedPipeline { suspension: Some(suspension(Some(at))), ..hourly(json!({})) };
        assert_eq!(made(&over, at), ["study-20260105t140000z"]);
        assert!(PipelineReconciler::plan(&over, at).writes.contains(&Write::Unsuspend(Uid("p".into()))));
    }

    #[test]
    fn a_schedule_goes_on_after_a_clock_that_was_ahead_is_set_right() {
        let expression = || expression(hourly(json!({})).spec.schedule.as_ref().expect("a schedule"));
        let ahead = ObservedPipeline { seen: Some((expression(), NOON.plus(HOUR.times(700)))), ..hourly(json!({})) };
        let plan = PipelineReconciler::plan(&ahead, NOON);
        let Some(Write::ScheduleSeen { at, .. }) = plan.writes.first() else { panic!("{plan}") };
        assert_eq!((*at, plan.wakes), (NOON, vec![Key::Pipeline(Uid("p".into()))]));
        let set_right = ObservedPipeline { seen: Some((expression(), *at)), ..hourly(json!({})) };
        assert_eq!(made(&set_right, NOON.plus(HOUR)), ["study-20260105t130000z"]);
    }

    #[test]
    fn every_slot_of_many_days_has_one_run_however_often_it_is_looked_at() {
        let mut seen = hourly(json!({"catchUp": "All", "concurrencyPolicy": "Allow"}));
        let mut names = std::collections::BTreeSet::new();
        let mut now = NOON;
        for step in 0..120_u64 {
            // Irregular looks, some of them hours apart.
            now = now.plus(Span::minutes([7, 31, 3, 200, 1, 59][(step % 6) as usize]));
            let plan = PipelineReconciler::plan(&seen, now);
            for write in plan.writes {
                match write {
                    Write::CreateRun(create) => assert!(names.insert(create.name.clone()), "{} twice", create.name),
                    Write::ScheduleSeen { expression, at, .. } => seen.seen = Some((expression, at)),
                    other => panic!("{other:?}"),
                }
            }
            assert!(PipelineReconciler::plan(&seen, now).is_empty());
        }
        assert_eq!(names.len() as i64, now.since(NOON).ms() / HOUR.ms());
    }
}
