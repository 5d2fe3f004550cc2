//! Rows about attempts: the resync behind every wake-up, deadlines, silence, attempts that nobody carries, failures, and the shutdown.

use manifestd::plan::backoff::delay;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::{Retry, TaskSpec};
use manifestd::resource::time::Span;
use serde_json::json;

use crate::stage::{BACK_OFF, COMPLETED, MS, QUEUED, RUNNING, just_before, task, with_program, with_service};
use crate::table::Row;
use crate::world::{Act, World};

pub(crate) const ROWS: &[&Row] = &[&RESYNC, &DEADLINE, &SILENCE, &ORPHANS, &FAILURES, &SHUTDOWN];

const TEN_SECONDS: Span = Span::seconds(10);
const QUARTER: Span = Span::minutes(15);

// The resync ----------------------------------------------------------------------------------------------------------------------------

const RESYNC: Row = Row {
    what: "resync of the task loop every 10 s; events make it immediate",
    settings: &[("taskPollInterval", Some("TASK_POLL_INTERVAL"), "10s")],
    cases: &[
        ("an event is acted on at once", an_event_is_acted_on_at_once),
        ("a lost wake-up costs one interval", || lost_wakes_cost_one_interval(&[], TEN_SECONDS)),
        ("a lost wake-up costs what the setting says", || {
            lost_wakes_cost_one_interval(&[("TASK_POLL_INTERVAL", "2")], Span::seconds(2));
        }),
        ("a timer that is lost every time fires all the same", lost_timers_fire_all_the_same),
        ("silence is noticed at the next resync when its timer is lost", silence_is_noticed_without_its_timer),
    ],
    elsewhere: &[("tests/store/unsettled.rs", "a_running_task_is_found_whether_its_attempt_is_open_or_has_ended")],
};

fn an_event_is_acted_on_at_once() {
    let mut world = with_program(&[]);
    world.advance_to_age(Span(1234));
    world.submit_with("t", json!({}), Act::completes(Span::seconds(1)));
    assert_eq!(world.state("t"), RUNNING);
    world.turns_at(Span(2234), "t", RUNNING, COMPLETED);
}

fn lost_wakes_cost_one_interval(environment: &[(&str, &str)], interval: Span) {
    let mut world = with_program(environment);
    world.lose(|_| true);
    world.submit_with("t", json!({}), Act::completes(Span::seconds(1)));
    world.turns_at(interval, "t", QUEUED, RUNNING);
    // Its end is not told either.
    world.turns_at(interval.times(2), "t", RUNNING, COMPLETED);
}

fn lost_timers_fire_all_the_same() {
    let mut world = with_program(&[]);
    world.lose(|_| true);
    world.submit_with("t", json!({}), Act::fails(Span::seconds(1), Reason::ToolFailed));
    world.turns_at(TEN_SECONDS.times(2), "t", RUNNING, BACK_OFF);
    let next_at = world.task("t").status.next_at.unwrap();
    let due = next_at.since(crate::world::START);
    assert!(due < Span::seconds(44), "{due}");
    // The resync knows the time of what waits, so this costs nothing; the queue that it then joins is found by the next one.
    world.turns_at(due, "t", BACK_OFF, QUEUED);
    world.turns_at(Span::seconds(due.0.div_ceil(10_000) * 10), "t", QUEUED, RUNNING);
}

fn silence_is_noticed_without_its_timer() {
    let mut world = with_service(&[]);
    world.advance_to_age(Span(5000));
    world.submit_with("t", json!({}), Act::hangs());
    world.lose(|_| true);
    world.advance_to_age(Span::minutes(1));
    world.lose_nothing();
    world.turns_at(Span(5000 + QUARTER.0), "t", RUNNING, QUEUED);
}

// Deadlines -----------------------------------------------------------------------------------------------------------------------------

const DEADLINE: Row = Row {
    what: "deadline of an attempt after 1800 s",
    settings: &[("taskTimeout", Some("TASK_TIMEOUT"), "30m")],
    cases: &[
        ("an attempt ends at 1800 s", || an_attempt_ends_at(&[], json!({}), Span::seconds(1800))),
        ("or when the setting says", || {
            an_attempt_ends_at(&[("TASK_TIMEOUT", "60")], json!({}), Span::seconds(60));
        }),
        ("or when its task says, which wins", || {
            let more = json!({"activeDeadlineSeconds": 90});
            an_attempt_ends_at(&[("TASK_TIMEOUT", "60")], more, Span::seconds(90));
        }),
        ("each attempt has its own", each_attempt_has_a_deadline_of_its_own),
        ("an analysis of 29 minutes that gives signs completes", || completes_with_signs(Span::minutes(29))),
    ],
    elsewhere: &[("tests/executors.rs", "every_executor_keeps_to_the_documented_endings")],
};

fn signs() -> Span {
    Span::seconds(20)
}

fn an_attempt_ends_at(environment: &[(&str, &str)], more: serde_json::Value, limit: Span) {
    let mut world = with_program(environment);
    world.submit_with("t", more, Act::hangs().with_signs_every(signs()));
    let attempt = &world.task("t").attempts[0];
    assert_eq!(attempt.deadline_at, crate::world::START.plus(limit));
    world.turns_at(limit, "t", RUNNING, BACK_OFF);
    assert_eq!(world.outcomes("t"), [Some(Outcome::TimedOut)]);
}

fn each_attempt_has_a_deadline_of_its_own() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({"backoffLimit": 1}), Act::hangs().with_signs_every(signs()));
    world.advance_to_age(Span::minutes(32));
    let second = world.task("t").attempts[1].clone();
    assert_eq!(second.deadline_at.since(second.opened_at), Span::minutes(30));
    let end = second.deadline_at.since(crate::world::START);
    world.turns_at(end, "t", RUNNING, (Phase::Failed, Reason::DeadlineExceeded));
}

fn completes_with_signs(after: Span) {
    let mut world = with_service(&[]);
    world.submit_with("t", json!({}), Act::completes(after).with_signs_every(signs()));
    world.turns_at(after, "t", RUNNING, COMPLETED);
    assert_eq!(world.turns("t").len(), 2, "{:?}", world.turns("t"));
}

// Silence -------------------------------------------------------------------------------------------------------------------------------

const SILENCE: Row = Row {
    what: "no sign of life for 15 min: the attempt is closed as HeartbeatLost, back to Pending, at most 3 times",
    settings: &[("stuckAfter", Some("STUCK_AFTER"), "15m")],
    cases: &[
        ("a silent attempt is closed at 15 min", || silence_is_noticed_after(&[], QUARTER)),
        ("or when the setting says", || silence_is_noticed_after(&[("STUCK_AFTER", "180")], Span::minutes(3))),
        ("it is back three times, and the fourth time it is Stuck", three_silences_are_forgiven),
        ("a sign in the last millisecond counts", a_sign_in_the_last_millisecond_counts),
        ("a task that runs for 20 min and gives signs is left alone", twenty_minutes_with_signs),
        ("an attempt that takes its time to stop is told once", a_slow_stop_is_waited_for),
        ("a service that was left keeps its slot until the deadline", a_silent_service_keeps_its_slot),
        ("a failure in between does not count as silence", failures_are_not_silence),
    ],
    elsewhere: &[("tests/executors.rs", "what_a_websocket_peer_may_do_has_one_meaning")],
};

fn silence_is_noticed_after(environment: &[(&str, &str)], limit: Span) {
    let mut world = with_service(environment);
    world.submit_with("t", json!({}), Act::hangs());
    world.turns_at(limit, "t", RUNNING, QUEUED);
    assert_eq!(world.outcomes("t"), [Some(Outcome::HeartbeatLost)]);
}

fn three_silences_are_forgiven() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({"backoffLimit": 0}), Act::hangs());
    world.turns_at(QUARTER.times(4), "t", RUNNING, (Phase::Failed, Reason::Stuck));
    assert_eq!(world.times("t", Phase::Pending, Reason::Queued), [QUARTER, QUARTER.times(2), QUARTER.times(3)]);
    assert_eq!(world.outcomes("t"), [Some(Outcome::HeartbeatLost); 4]);
}

fn a_sign_in_the_last_millisecond_counts() {
    let mut world = with_service(&[]);
    let last = just_before(QUARTER);
    world.submit_with("t", json!({}), Act::hangs().with_signs_at(&[last]));
    world.turns_at(Span(last.0 + QUARTER.0), "t", RUNNING, QUEUED);
}

fn twenty_minutes_with_signs() {
    let mut world = with_service(&[]);
    let act = Act::completes(Span::minutes(20)).with_signs_at(&[Span::minutes(8), Span::minutes(14)]);
    world.submit_with("t", json!({}), act);
    world.turns_at(Span::minutes(20), "t", RUNNING, COMPLETED);
    assert_eq!(world.turns("t").len(), 2, "{:?}", world.turns("t"));
}

fn a_slow_stop_is_waited_for() {
    let mut world = with_service(&[]);
    world.submit_with("t", json!({}), Act::hangs().stops_after(Span::seconds(7)));
    world.turns_at(Span(QUARTER.0 + 7000), "t", RUNNING, QUEUED);
    assert_eq!(world.outcomes("t"), [Some(Outcome::HeartbeatLost)]);
}

fn a_silent_service_keeps_its_slot() {
    let mut world = with_service(&[]);
    world.submit_with("t", json!({}), Act::hangs());
    world.advance_to_age(QUARTER);
    assert_eq!((world.state("t"), world.carried()), (QUEUED, 0));
    world.turns_at(Span::minutes(30), "t", QUEUED, RUNNING);
}

fn failures_are_not_silence() {
    let mut world = with_program(&[]);
    world.script(|attempt| match attempt.id.number % 2 {
        1 => Act::hangs(),
        _ => Act::fails(Span::seconds(1), Reason::ToolFailed),
    });
    world.submit("t", json!({}));
    world.advance(QUARTER.times(4));
    let counted = |wanted| world.outcomes("t").into_iter().filter(|outcome| *outcome == Some(wanted)).count();
    assert_eq!((counted(Outcome::HeartbeatLost), counted(Outcome::Failed)), (3, 3));
    assert_eq!(world.state("t"), RUNNING, "the fourth silence is still to come");
}

// Attempts that nobody carries ----------------------------------------------------------------------------------------------------------

const ORPHANS: Row = Row {
    what: "attempts that nobody carries: back to Pending at once, no budget burnt, at most 10 times",
    settings: &[],
    cases: &[
        ("a service's attempt is back at once", an_orphan_of_a_service_is_back_at_once),
        ("a program's attempt runs again at once", an_orphan_of_a_program_runs_again_at_once),
        ("ten times are forgiven, the eleventh is not", ten_interruptions_are_forgiven),
        ("no failure is counted", interruptions_are_no_failures),
        ("what was down for long is back at once, too", time_that_passes_while_it_is_down_changes_nothing),
    ],
    elsewhere: &[("tests/daemon/stopping.rs", "a_second_signal_ends_at_once_with_5_and_nothing_is_lost")],
};

fn an_orphan_of_a_service_is_back_at_once() {
    let mut world = with_service(&[]);
    world.submit_with("t", json!({}), Act::hangs());
    world.advance_to_age(Span::minutes(5));
    world.restart();
    assert_eq!(world.times("t", Phase::Pending, Reason::Queued), [Span::minutes(5)]);
    assert_eq!(world.outcomes("t"), [Some(Outcome::Interrupted)]);
    // The service may still be working on it.
    world.turns_at(Span::minutes(30), "t", QUEUED, RUNNING);
}

fn an_orphan_of_a_program_runs_again_at_once() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({}), Act::completes(Span::minutes(9)));
    world.advance_to_age(Span::minutes(5));
    world.restart();
    assert_eq!(world.times("t", Phase::Pending, Reason::Queued), [Span::minutes(5)]);
    world.turns_at(Span::minutes(14), "t", RUNNING, COMPLETED);
}

fn ten_interruptions_are_forgiven() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({"backoffLimit": 0}), Act::hangs());
    for _ in 0..10 {
        world.advance(Span::minutes(1));
        world.restart();
        assert_eq!(world.state("t"), RUNNING);
    }
    world.advance(Span::minutes(1));
    world.restart();
    assert_eq!(world.state("t"), (Phase::Failed, Reason::TooManyInterruptions));
    assert_eq!(world.outcomes("t"), [Some(Outcome::Interrupted); 11]);
}

fn interruptions_are_no_failures() {
    let mut world = with_program(&[]);
    world.script(|attempt| match attempt.id.number {
        6 => Act::fails(Span::seconds(1), Reason::ToolFailed),
        7 => Act::completes(Span::seconds(1)),
        _ => Act::hangs(),
    });
    world.submit("t", json!({"backoffLimit": 1}));
    for _ in 0..5 {
        world.advance(Span::minutes(1));
        world.restart();
    }
    world.advance(Span::seconds(1));
    assert_eq!(world.state("t"), BACK_OFF);
    world.advance(Span::minutes(1));
    assert_eq!(world.state("t"), COMPLETED);
}

fn time_that_passes_while_it_is_down_changes_nothing() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({}), Act::completes(Span::minutes(1)));
    world.advance_to_age(Span(30_000));
    world.kill();
    world.advance(Span::minutes(600));
    world.start();
    assert_eq!((world.state("t"), world.outcomes("t").len()), (RUNNING, 2));
    world.advance(Span::minutes(1));
    assert_eq!(world.state("t"), COMPLETED);
}

// Failures ------------------------------------------------------------------------------------------------------------------------------

const FAILURES: Row = Row {
    what: "real failures: base 30 s, factor 2, capped, jitter derived from the key, backoffLimit 3",
    settings: &[],
    cases: &[
        ("the defaults of a task are those of the design", a_task_has_the_defaults),
        ("three tries follow after 30 s, 60 s, 120 s", || failures_are_tried_again(json!({}), &[30, 60, 120])),
        ("or as many as backoffLimit says", || failures_are_tried_again(json!({"backoffLimit": 1}), &[30])),
        ("none with backoffLimit 0", || failures_are_tried_again(json!({"backoffLimit": 0}), &[])),
        ("delays are capped at 15 min", || {
            failures_are_tried_again(json!({"backoffLimit": 7}), &[30, 60, 120, 240, 480, 900, 900]);
        }),
        ("or as spec.retry says", || {
            let retry = json!({"retry": {"base": "1s", "factor": 10, "max": "50s"}});
            failures_are_tried_again(retry, &[1, 10, 50]);
        }),
        ("what a person must mend is not tried again", what_must_be_mended_is_not_tried_again),
        ("tasks that failed together do not come back together", the_jitter_spreads),
        ("a wait survives a restart", a_wait_survives_a_restart),
        ("a person need not wait", a_person_need_not_wait),
    ],
    elsewhere: &[],
};

fn a_task_has_the_defaults() {
    let spec: TaskSpec = serde_json::from_value(task(json!({}))).unwrap();
    assert_eq!(spec.backoff_limit, 3);
    assert_eq!((spec.retry.base, spec.retry.factor, spec.retry.max), (Span::seconds(30), 2, QUARTER));
}

/// Every attempt fails after a second; then it waits so many seconds, and up to a tenth more, and runs again.
fn failures_are_tried_again(more: serde_json::Value, seconds: &[u64]) {
    let mut world = with_program(&[]);
    world.submit_with("t", more, Act::fails(Span::seconds(1), Reason::ToolFailed));
    let (uid, retry) = (world.identity(Kind::Task, "t").0, world.task("t").spec.retry);
    for (tries, seconds) in (1..).zip(seconds) {
        world.advance(Span::seconds(1));
        let wait = delay(retry, &uid, tries);
        assert!((seconds * 1000..=seconds * 1100).contains(&wait.0), "try {tries} after {wait}");
        let due = Span(world.age().0 + wait.0);
        world.turns_at(due, "t", BACK_OFF, RUNNING);
    }
    let end = Span(world.age().0 + 1000);
    world.turns_at(end, "t", RUNNING, (Phase::Failed, Reason::ToolFailed));
    world.advance(Span::minutes(60));
    assert_eq!(world.outcomes("t").len(), seconds.len() + 1);
}

fn what_must_be_mended_is_not_tried_again() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({}), Act::fails(Span::seconds(1), Reason::ApiKeyMissing));
    world.turns_at(Span::seconds(1), "t", RUNNING, (Phase::Failed, Reason::ApiKeyMissing));
    world.advance(Span::minutes(60));
    assert_eq!(world.outcomes("t").len(), 1);
}

fn the_jitter_spreads() {
    let mut world = with_program(&[]);
    let spec = json!({"command": {"argv": ["lint"]}, "capacity": 8});
    world.respecify(Kind::Analyzer, "lint", spec);
    world.script(|_| Act::fails(Span::seconds(1), Reason::ToolFailed));
    let names: Vec<String> = (0..8).map(|number| format!("t{number}")).collect();
    names.iter().for_each(|name| world.submit(name, json!({})));
    world.advance(Span::seconds(1));
    let mut times: Vec<_> = names.iter().map(|name| world.task(name).status.next_at).collect();
    times.dedup();
    assert!(times.len() > 1, "all of them at {times:?}");
}

fn a_wait_survives_a_restart() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({}), Act::fails(Span::seconds(1), Reason::ToolFailed));
    world.advance(Span::seconds(10));
    let uid = world.identity(Kind::Task, "t").0;
    let due = Span(1000 + delay(Retry::default(), &uid, 1).0);
    world.restart();
    world.turns_at(due, "t", BACK_OFF, RUNNING);
}

fn a_person_need_not_wait() {
    let mut world = with_program(&[]);
    world.submit_with("t", json!({}), Act::fails(Span::seconds(1), Reason::ToolFailed));
    world.advance(Span::seconds(5));
    assert_eq!(world.state("t"), BACK_OFF);
    world.retry("t");
    assert_eq!(world.state("t"), RUNNING);
    world.advance(MS);
    assert_eq!(world.outcomes("t"), [Some(Outcome::Failed), None]);
}

// The shutdown --------------------------------------------------------------------------------------------------------------------------

const SHUTDOWN: Row = Row {
    what: "shutdown: stop opening, wait 30 s for what runs, then Interrupted; a second signal ends at once",
    settings: &[("shutdownGracePeriod", None, "30s")],
    cases: &[("what a shutdown interrupted is as if it had been killed", interruption_by_shutdown_is_free)],
    elsewhere: &[
        (
            "tests/daemon/stopping.rs",
            "sigterm_ends_with_0_and_what_ran_longer_than_the_grace_period_runs_again_for_free",
        ),
        ("tests/daemon/stopping.rs", "what_ends_within_the_grace_period_is_waited_for_and_nothing_new_is_started"),
        ("tests/daemon/stopping.rs", "a_second_signal_ends_at_once_with_5_and_nothing_is_lost"),
    ],
};

/// The executors end what they run as Interrupted, which is told before the process ends.
fn interruption_by_shutdown_is_free() {
    let mut world: World = with_program(&[]);
    let interrupted = manifestd::plan::orphan::interrupted();
    world.script(move |attempt| match attempt.id.number {
        1 => Act::ends(Span::minutes(1), interrupted.clone()),
        _ => Act::completes(Span::seconds(1)),
    });
    world.submit("t", json!({"backoffLimit": 0}));
    world.turns_at(Span(61_000), "t", RUNNING, COMPLETED);
    assert_eq!(world.outcomes("t"), [Some(Outcome::Interrupted), Some(Outcome::Completed)]);
}
