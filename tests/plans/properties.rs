//! Properties of plans over random observations.

use std::collections::HashMap;

use manifestd::plan::admission::{SeenTree, admit, admit_reading};
use manifestd::plan::lane::{LaneReconciler, ObservedLane};
use manifestd::plan::mirror::{ObservedMirror, plan as plan_mirror};
use manifestd::plan::task::{Carried, ObservedTask, TaskReconciler};
use manifestd::plan::write::OpenAttempt;
use manifestd::plan::{Plan, Reconciler, Write};
use manifestd::resource::analyzer::{AnalyzerSpec, Rate};
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::{Cache, RunPolicy};
use manifestd::resource::time::{Span, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;

use crate::carry_out::{on_lane, on_mirror, on_task, stored};
use crate::golden::NOW;
use crate::lanes::queued;
use crate::task_case::{TaskCase, command, task, websocket};

/// Passes after which a task must have nothing to do.
const PASSES_MAX: usize = 4;

/// Where the latest attempt stands.
#[derive(Debug, Clone, Copy)]
enum Last {
    Carried { silent_minutes: u64, stopping: bool },
    Orphaned { local: bool, resumable: bool },
    Ended(Outcome, Reason),
}

fn last() -> impl Strategy<Value = Last> {
    prop_oneof![
        (0u64..20, any::<bool>()).prop_map(|(silent_minutes, stopping)| Last::Carried { silent_minutes, stopping }),
        any::<(bool, bool)>().prop_map(|(local, resumable)| Last::Orphaned { local, resumable }),
        (select(Outcome::ALL), select(Reason::ALL)).prop_map(|(outcome, reason)| Last::Ended(outcome, reason)),
    ]
}

/// A task as the store can hold it.
fn any_task() -> impl Strategy<Value = ObservedTask> {
    let past = prop::collection::vec((select(Outcome::ALL), 1usize..4), 0..5);
    let phase = prop_oneof![Just(Phase::Running), select(Phase::ALL)];
    let wishes = (any::<bool>(), 0i64..2, 0i64..3, 0i64..2, 0i64..3, any::<bool>(), any::<bool>());
    let world = (0u8..5, 0i64..3, 0u32..4, select(Reason::ALL), prop::option::of(0u64..3));
    let files = (prop::option::of((0u8..2, any::<bool>())), prop::option::of(0u8..2), any::<bool>(), any::<bool>());
    (past, phase, last(), wishes, world, files).prop_map(|(past, phase, last, wishes, world, files)| {
        let (tree, seen, on_app_change, cache) = files;
        let (removed, cancel_round, cancel_generation, retry_round, hurry_version, suspend, once) = wishes;
        let (admission, newer, backoff_limit, reason, minutes) = world;
        let mut case = task();
        for (outcome, times) in past {
            case = case.ended(times, outcome);
        }
        case = match phase {
            Phase::Pending => {
                // A wait belongs to an attempt, or to an analyzer that cannot be used.
                let reason = match minutes {
                    Some(_) if case.status.attempt > 0 => Reason::BackOff,
                    Some(_) => Reason::AnalyzerUnavailable,
                    None => reason,
                };
                case.waiting(reason, minutes)
            }
            Phase::Running => match last {
                Last::Carried { silent_minutes, stopping } => {
                    let alive_at = NOW.minus(Span::minutes(silent_minutes));
                    case.running().attempt(|attempt| attempt.carried = Some(Carried { alive_at, stopping }))
                }
                Last::Orphaned { local: true, .. } => {
                    case.with(|task| task.analyzer = Some(command())).running().orphaned()
                }
                Last::Orphaned { resumable: true, .. } => case.running().resumable(),
                Last::Orphaned { .. } => case.running().orphaned(),
                Last::Ended(outcome, reason) => case.running().ends(outcome, reason),
            },
            terminal => case.finished(terminal, reason),
        };
        case.generation += newer;
        case.removed = removed;
        (case.cancel_round, case.cancel_generation) = (cancel_round, cancel_generation.min(case.generation));
        (case.retry_round, case.hurry_version) = (retry_round, hurry_version);
        case.spec.suspend = suspend;
        case.spec.backoff_limit = backoff_limit;
        case.spec.run_policy = match (once, on_app_change) {
            (true, _) => RunPolicy::Once,
            (false, true) => RunPolicy::OnAppChange,
            (false, false) => RunPolicy::OnSpecChange,
        };
        case.spec.cache = if cache { Cache::Content } else { Cache::None };
        (case.since, case.status.app_digest) = (NOW, seen.map(|digest| format!("digest {digest}")));
        case.app.iter_mut().for_each(|app| {
            let read_at = |old| if old { NOW.minus(Span(1)) } else { NOW };
            app.tree = tree.map(|(digest, old)| SeenTree { digest: format!("digest {digest}"), at: read_at(old) });
        });
        match admission {
            0 => case.app = None,
            1 => case.app.iter_mut().for_each(|app| app.missing_since = Some(NOW)),
            2 => case.analyzer = None,
            _ => {}
        }
        case
    })
}

/// Whether something is going to happen by itself, or an event is going to lift what holds the task.
fn goes_on(task: &ObservedTask, plan: &Plan) -> bool {
    let held = admit(&task.spec, task.app.as_ref(), task.analyzer.as_ref());
    // A reading is asked for once a wait is over.
    let sits = task.status.next_at.is_some_and(|at| at > NOW) && task.hurry_version < task.version;
    let held = held.and_then(|()| match sits {
        true => Ok(()),
        false => admit_reading(&task.spec, task.app.as_ref(), task.since),
    });
    match task.status.phase {
        Phase::Running => task.attempts.last().is_some_and(|attempt| {
            let carried = attempt.carried.filter(|_| attempt.ended.is_none());
            carried.is_some_and(|carried| carried.stopping || plan.next.is_some())
        }),
        Phase::Pending => match held {
            Err(hold) => hold.reason == task.status.reason && task.status.next_at.is_none(),
            Ok(()) if task.status.reason == Reason::Queued => task.status.next_at.is_none(),
            Ok(()) => task.status.next_at.is_some() && plan.next == task.status.next_at,
        },
        Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_task_settles_and_then_either_goes_on_by_itself_or_waits_for_an_event(mut task in any_task()) {
        let mut passes = 0;
        let settled = loop {
            let plan = TaskReconciler::plan(&task, NOW);
            if plan.is_empty() {
                break plan;
            }
            on_task(&mut task, &plan, NOW);
            passes += 1;
            prop_assert!(passes <= PASSES_MAX, "{task:#?}\n{plan}");
        };
        prop_assert!(goes_on(&task, &settled), "{task:#?}\n{settled}");
        // What was wanted last is what is there.
        if task.cancel_round >= task.status.round {
            prop_assert!(!matches!(task.status.phase, Phase::Pending), "{task:#?}");
        }
    }

    #[test]
    fn a_terminal_task_moves_only_to_another_round(task in any_task()) {
        for write in TaskReconciler::plan(&task, NOW).writes {
            if let Write::Task(write) = write
                && task.status.phase.is_terminal()
            {
                let kept = (write.status.phase, write.status.reason) == (task.status.phase, task.status.reason);
                prop_assert!(write.status.round == task.status.round + 1 || kept);
            }
        }
    }

    #[test]
    fn rows_that_no_program_wrote_are_planned_for_without_panic(
        mut task in any_task(),
        attempt in any::<u32>(),
        round in any::<i64>(),
        times in any::<[i64; 4]>(),
        now in any::<i64>(),
        backoff_limit in any::<u32>(),
    ) {
        task.status.attempt = attempt.min(u32::MAX - 1);
        task.status.round = round.min(i64::MAX - 1);
        task.spec.backoff_limit = backoff_limit;
        task.status.next_at = Some(Timestamp(times[0]));
        if let Some(attempt) = task.attempts.last_mut() {
            attempt.deadline_at = Timestamp(times[1]);
            attempt.carried = Some(Carried { alive_at: Timestamp(times[2]), stopping: false });
            attempt.ended.iter_mut().for_each(|ended| ended.at = Timestamp(times[3]));
        }
        let _ = TaskReconciler::plan(&task, Timestamp(now)).to_string();
    }
}

fn any_lane() -> impl Strategy<Value = ObservedLane> {
    let replicas = prop::collection::vec(select(&["ws://one", "ws://two", "ws://three"][..]), 1..4);
    let occupied = prop::collection::vec(0u32..4, 3);
    let rate = prop::option::of((1u32..6, prop::collection::vec(0u64..90_000, 0..6)));
    let candidates = prop::collection::vec((0u8..6, 0i32..3), 0..12);
    (replicas, 1u32..4, occupied, rate, candidates, any::<bool>(), 0u8..8).prop_map(
        |(urls, capacity, occupied, rate, candidates, more, known)| {
            let mut spec = AnalyzerSpec { capacity, ..websocket() };
            if let Some(websocket) = &mut spec.websocket {
                websocket.urls = urls.into_iter().map(str::to_owned).collect();
            }
            let (rate, mut ages) = rate.map_or((None, vec![]), |(limit, ages)| (Some((limit, ages.clone())), ages));
            spec.rate = rate.map(|(limit, _)| Rate { limit, per: Span::minutes(1) });
            ages.sort_unstable();
            ages.truncate(spec.rate.map_or(0, |rate| rate.limit as usize));
            let mut candidates: Vec<_> = candidates
                .into_iter()
                .enumerate()
                .map(|(age, (kind, priority))| {
                    let mut candidate = queued(&format!("t{age}"), priority);
                    match kind {
                        0 => candidate.spec.suspend = true,
                        1 => candidate.app = None,
                        2 => candidate.unwanted = true,
                        _ => {}
                    }
                    candidate
                })
                .collect();
            // The store's order: by priority, and the sort is stable, so by age.
            candidates.sort_by_key(|candidate| -candidate.spec.priority);
            let urls = ["ws://one", "ws://two", "ws://three"].into_iter().map(str::to_owned);
            ObservedLane {
                analyzer: "lint".into(),
                spec: (known > 0).then_some(spec),
                occupied: urls.zip(occupied).collect(),
                opened: ages.into_iter().map(|age| NOW.minus(Span(age))).collect(),
                candidates,
                more,
                replicas: ["ws://one", "ws://two", "ws://three"].map(crate::lanes::healthy).into(),
                ..ObservedLane::default()
            }
        },
    )
}

fn openings(plan: &Plan) -> Vec<OpenAttempt> {
    let opened = plan.writes.iter().filter_map(|write| match write {
        Write::OpenAttempt(open) => Some((**open).clone()),
        _ => None,
    });
    opened.collect()
}

/// Free slots of each replica.
fn free(lane: &ObservedLane) -> HashMap<String, usize> {
    let Some(spec) = &lane.spec else { return HashMap::new() };
    let used = |url: &str| lane.occupied.iter().find(|(known, _)| known == url).map_or(0, |(_, used)| *used);
    spec.replicas().into_iter().map(|url| (url.clone(), spec.capacity.saturating_sub(used(&url)) as usize)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_first_admissible_tasks_get_exactly_the_slots_that_are_free_and_allowed(mut lane in any_lane()) {
        let plan = LaneReconciler::plan(&lane, NOW);
        let opened = openings(&plan);
        let free = free(&lane);
        for (replica, slots) in &free {
            prop_assert!(opened.iter().filter(|open| open.replica == *replica).count() <= *slots, "{plan}");
        }
        let rate = lane.spec.as_ref().and_then(|spec| spec.rate);
        let recent = lane.opened.iter().filter(|at| NOW.since(**at) < Span::minutes(1)).count();
        let allowed = rate.map_or(usize::MAX, |rate| (rate.limit as usize).saturating_sub(recent));
        let admissible: Vec<_> = lane
            .candidates
            .iter()
            .filter(|candidate| !candidate.unwanted)
            .filter(|candidate| admit(&candidate.spec, candidate.app.as_ref(), lane.spec.as_ref()).is_ok())
            .map(|candidate| candidate.uid.clone())
            .collect();
        let wanted = admissible.len().min(free.values().sum()).min(allowed);
        let opened: Vec<_> = opened.into_iter().map(|open| open.id.task).collect();
        prop_assert_eq!(&opened, &admissible[..wanted], "{}", plan);
        // When only the rate keeps somebody waiting, the pass comes back by itself.
        if allowed < admissible.len() {
            prop_assert!(plan.next.is_some(), "{plan}");
        }
        on_lane(&mut lane, &plan, NOW);
        let again = LaneReconciler::plan(&lane, NOW);
        prop_assert!(again.is_empty(), "{plan}\nthen\n{again}");
    }

    #[test]
    fn over_any_time_a_rate_is_neither_exceeded_nor_wasted(limit in 1u32..5, tasks in 1usize..20, per_ms in 1u64..5000) {
        let spec = AnalyzerSpec { capacity: 100, rate: Some(Rate { limit, per: Span(per_ms) }), ..command() };
        let candidates = (0..tasks).map(|number| queued(&format!("t{number}"), 0)).collect();
        let mut lane = crate::lanes::lane(spec, candidates);
        let (mut now, mut opened) = (NOW, Vec::new());
        loop {
            let plan = LaneReconciler::plan(&lane, now);
            opened.extend(openings(&plan).into_iter().map(|open| open.opened_at));
            on_lane(&mut lane, &plan, now);
            let Some(next) = plan.next.filter(|_| !lane.candidates.is_empty()) else { break };
            prop_assert!(next > now, "a look into the past never ends");
            now = next;
        }
        prop_assert_eq!(opened.len(), tasks);
        for window in opened.windows(limit as usize + 1) {
            prop_assert!(window[limit as usize].since(window[0]) >= Span(per_ms));
        }
        let periods = (tasks as u64).div_ceil(u64::from(limit)) - 1;
        prop_assert_eq!(now, NOW.plus(Span(per_ms).times(periods)));
    }

    #[test]
    fn the_mirror_settles_at_once_and_never_removes_what_it_could_not_read(mirror in any_mirror()) {
        let first = plan_mirror(&mirror);
        let mut after = mirror.clone();
        on_mirror(&mut after, &first);
        let second = plan_mirror(&after);
        prop_assert!(second.changes.is_empty() && second.removals.is_empty(), "{first:#?}\nthen\n{second:#?}");
        for (identity, existing) in &mirror.existing {
            let file = &existing.provenance.file;
            let seen = mirror.read.contains(file) || mirror.gone.contains(file);
            if !seen || mirror.unreadable.contains(file) || mirror.broken.contains(&(identity.clone(), file.clone())) {
                prop_assert_eq!(after.existing[identity].removed, existing.removed && after.existing[identity].removed);
                prop_assert!(existing.removed || !after.existing[identity].removed);
            }
        }
        // Whoever declares a name is either taken or told.
        let taken = first.changes.len() + first.unchanged + first.duplicates.len();
        prop_assert_eq!(taken, mirror.declared.len());
    }
}

fn any_mirror() -> impl Strategy<Value = ObservedMirror> {
    let files = || select(&["a.yaml", "b.yaml", "c.yaml"][..]);
    let names = || select(&["x", "y"][..]);
    let declared = prop::collection::vec((names(), files(), 0i32..2), 0..5);
    let existing = prop::collection::vec((names(), files(), 0i32..2, any::<bool>()), 0..3);
    let fates = prop::collection::vec((0u8..4, any::<bool>()), 3);
    let broken = prop::collection::vec((names(), files()), 0..2);
    (declared, existing, fates, broken).prop_map(|(declared, existing, fates, broken)| {
        let mut mirror = ObservedMirror::default();
        for (file, (fate, is_unreadable)) in ["a.yaml", "b.yaml", "c.yaml"].into_iter().zip(fates) {
            match fate {
                0 => drop(mirror.gone.insert(file.to_owned())),
                1 | 2 => drop(mirror.read.insert(file.to_owned())),
                _ => {}
            }
            if is_unreadable && mirror.read.contains(file) {
                mirror.unreadable.insert(file.to_owned());
            }
        }
        for (line, (name, file, priority)) in (1u32..).zip(declared) {
            if mirror.read.contains(file) {
                mirror.declared.push(crate::mirrors::prioritised(name, priority, file, line).into());
            }
        }
        for (name, file, priority, removed) in existing {
            let declared = crate::mirrors::prioritised(name, priority, file, 1);
            let uid = manifestd::resource::name::Uid(format!("uid-{name}"));
            let (identity, mut existing) = stored(&declared, uid, 1);
            existing.removed = removed;
            mirror.existing.insert(identity, existing);
        }
        for (name, file) in broken {
            if mirror.read.contains(file) {
                let identity = (manifestd::resource::kind::Kind::Task, name.to_owned());
                mirror.broken.insert((identity, file.to_owned()));
            }
        }
        mirror
    })
}
