//! Maintenance at its thresholds: nothing a millisecond too early, nothing that is carried, wanted, suspect or young.

use manifestd::plan::maintenance::{
    AgedAttempt, AgedTask, MaintenanceReconciler, MissingApp, ObservedMaintenance, Rules,
};
use manifestd::plan::write::{TaskStatus, Write};
use manifestd::plan::{Key, Plan, Reconciler};
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::name::Uid;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};

use crate::golden::NOW;

const DAY: Span = Span::minutes(24 * 60);

fn rules() -> Rules {
    Rules {
        missing_app: Some(DAY.times(7)),
        stuck: Some(Span::minutes(120)),
        pending: Some(Span::minutes(240)),
        finished: Some(DAY.times(30)),
        grace: Span::minutes(5),
        ..Rules::default()
    }
}

fn plan(rules: Rules, apps: Vec<MissingApp>, tasks: Vec<AgedTask>, now: Timestamp) -> Plan {
    MaintenanceReconciler::plan(&ObservedMaintenance { rules, apps, tasks, ..ObservedMaintenance::default() }, now)
}

fn app() -> MissingApp {
    MissingApp {
        uid: Uid("a".into()),
        name: "a".into(),
        path: "apps/a".into(),
        created_at: Timestamp(0),
        missing_since: NOW,
        suspect: false,
        present: Some(false),
    }
}

fn task(phase: Phase, reason: Reason) -> AgedTask {
    let ended = phase.is_terminal().then_some(NOW);
    let status = TaskStatus { phase, reason, finished_at: ended, ..TaskStatus::fresh(1, 1, 1) };
    AgedTask {
        uid: Uid("t".into()),
        name: "t".into(),
        analyzer: "lint".into(),
        generation: 1,
        version: 3,
        status,
        since: NOW,
        open: (phase == Phase::Running).then(|| AgedAttempt {
            id: AttemptId { task: Uid("t".into()), number: 1 },
            analyzer: "lint-before".into(),
            deadline_at: NOW.plus(Span::minutes(30)),
            carried: false,
        }),
        lane_moved_at: None,
        lane_period: Span(0),
        lane_busy: false,
    }
}

/// The plan for one task so long after it came into its phase.
fn after(age: Span, task: AgedTask) -> Plan {
    plan(rules(), vec![], vec![task], NOW.plus(age))
}

fn ending(plan: &Plan) -> Option<(Phase, Reason)> {
    plan.writes.iter().find_map(|write| match write {
        Write::Task(write) => Some((write.status.phase, write.status.reason)),
        _ => None,
    })
}

const MS: Span = Span(1);

fn just_over(span: Span) -> Span {
    Span(span.0 + MS.0)
}

#[test]
fn the_record_of_a_missing_app_is_deleted_after_seven_days_and_not_a_millisecond_before() {
    let at = |age: Span| plan(rules(), vec![app()], vec![], NOW.plus(age));
    assert!(at(DAY.times(7)).is_empty());
    let plan = at(just_over(DAY.times(7)));
    assert!(matches!(&plan.writes[0], Write::DeleteApp { missing_since, .. } if *missing_since == NOW), "{plan}");
}

#[test]
fn an_app_that_is_there_or_cannot_be_seen_or_whose_source_is_suspect_is_never_deleted() {
    let late = NOW.plus(DAY.times(70));
    for spared in [
        MissingApp { present: Some(true), ..app() },
        MissingApp { present: None, ..app() },
        MissingApp { suspect: true, ..app() },
        MissingApp { created_at: late.minus(Span::minutes(5)), ..app() },
    ] {
        assert!(plan(rules(), vec![spared.clone()], vec![], late).is_empty(), "{spared:?}");
    }
}

#[test]
fn a_task_that_runs_for_two_hours_is_failed_only_when_nobody_carries_it() {
    let running = || task(Phase::Running, Reason::AttemptStarted);
    assert!(after(Span::minutes(120), running()).is_empty());
    let plan = after(just_over(Span::minutes(120)), running());
    assert!(matches!(&plan.writes[0], Write::CloseAttempt(_)), "{plan}");
    assert_eq!(ending(&plan), Some((Phase::Failed, Reason::Stuck)));
    // The queue behind the slot that it leaves, whatever the task names by now.
    assert!(plan.wakes.contains(&Key::Lane("lint-before".into())), "{:?}", plan.wakes);
    let mut carried = running();
    carried.open = carried.open.map(|open| AgedAttempt { carried: true, ..open });
    assert!(after(DAY.times(3), carried).is_empty(), "carried for three days, and alive");
    let ended = AgedTask { open: None, ..running() };
    assert!(after(DAY, ended).is_empty(), "its ending is there, and the task loop settles it");
}

#[test]
fn a_task_that_waits_for_four_hours_is_cancelled_unless_it_waits_for_its_turn_or_is_asked_to() {
    let held = || task(Phase::Pending, Reason::AppNotFound);
    assert!(after(Span::minutes(240), held()).is_empty());
    let plan = after(just_over(Span::minutes(240)), held());
    assert_eq!(ending(&plan), Some((Phase::Cancelled, Reason::PendingTooLong)));
    // Its own loop looks at it at once: it may have to note what files it is about now.
    let Some(Write::Task(write)) = plan.writes.first() else { panic!("it is cancelled") };
    assert!(plan.wakes.contains(&Key::Task(write.uid.clone())), "{:?}", plan.wakes);
    for reason in [Reason::Suspended, Reason::AppMissing] {
        assert!(after(DAY, task(Phase::Pending, reason)).is_empty(), "{reason}");
    }
    let queued = |moved: Option<Span>| AgedTask {
        lane_moved_at: moved.map(|ago| NOW.plus(DAY).minus(ago)),
        ..task(Phase::Pending, Reason::Queued)
    };
    assert!(after(DAY, queued(Some(Span::minutes(239)))).is_empty(), "the queue moves");
    assert_eq!(ending(&after(DAY, queued(Some(Span::minutes(241))))), Some((Phase::Cancelled, Reason::PendingTooLong)));
    assert_eq!(ending(&after(DAY, queued(None))), Some((Phase::Cancelled, Reason::PendingTooLong)));
    let rare = AgedTask { lane_period: DAY, ..queued(Some(Span::minutes(241))) };
    assert!(after(DAY, rare).is_empty(), "nothing may be opened for a day");
    // One attempt of many hours is something that it waits for.
    assert!(after(DAY, AgedTask { lane_busy: true, ..queued(None) }).is_empty());
    // Cancelled for the spec as it is, although it never ran: nothing starts it again by itself.
    let never_ran = AgedTask { generation: 7, ..queued(None) };
    let Some(Write::Task(write)) = after(DAY, never_ran).writes.into_iter().next() else { panic!("it is cancelled") };
    assert_eq!(write.status.observed_generation, 7);
}

#[test]
fn every_terminal_phase_is_set_aside_after_thirty_days() {
    for phase in [Phase::Completed, Phase::PartialSuccess, Phase::Failed, Phase::Cancelled] {
        let finished = || task(phase, Reason::AllToolsRan);
        assert!(after(DAY.times(30), finished()).is_empty());
        let plan = after(just_over(DAY.times(30)), finished());
        assert!(matches!(&plan.writes[..], [Write::SetAside { version: 3, .. }]), "{plan}");
    }
}

#[test]
fn a_rule_that_is_off_does_nothing_and_the_grace_stands_above_every_threshold() {
    let off = Rules::default();
    let all = || {
        vec![
            task(Phase::Running, Reason::AttemptStarted),
            task(Phase::Pending, Reason::AppNotFound),
            task(Phase::Completed, Reason::AllToolsRan),
        ]
    };
    assert!(plan(off, vec![app()], all(), NOW.plus(DAY.times(400))).is_empty());
    let none = Some(Span(0));
    let eager =
        Rules { missing_app: none, stuck: none, pending: none, finished: none, grace: Span::minutes(5), ..rules() };
    assert!(plan(eager, vec![app()], all(), NOW.plus(Span::minutes(5))).is_empty());
    assert!(!plan(eager, vec![app()], all(), NOW.plus(just_over(Span::minutes(5)))).is_empty());
}
