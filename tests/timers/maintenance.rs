//! Rows about maintenance: what has been as it is for too long, on the boundary of every threshold, and what is left alone.

use manifestd::plan::Key;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use manifestd::runtime::wakes::Loop;
use serde_json::json;

use crate::stage::{COMPLETED, DAY, MS, QUEUED, RUNNING, just_before, with_program};
use crate::table::Row;
use crate::world::{Act, World};

pub(crate) const ROWS: &[&Row] = &[&LOOP, &MISSING_APPS, &TASKS_OF_DELETED_APPS, &STUCK, &PENDING, &FINISHED, &GRACE];

/// Where days pass, the loops that have nothing to do with it look less often. (A resync is more often than silence is noticed, or the settings
/// are refused.)
const SLOWLY: [(&str, &str); 3] =
    [("STUCK_AFTER", "13h"), ("TASK_POLL_INTERVAL", "12h"), ("MANIFESTD_SCAN_INTERVAL", "1h")];

/// The same with one more variable.
fn slowly_with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    SLOWLY.into_iter().chain([(name, value)]).collect()
}

/// Runs maintenance at this age but for a millisecond, and then at that millisecond: it does nothing the first time.
fn found_at(world: &mut World, age: Span, is_done: impl Fn(&World) -> bool) {
    world.advance_to_age(just_before(age));
    world.look_at(Key::Maintenance);
    assert!(!is_done(world), "before {age}");
    world.advance(MS);
    world.look_at(Key::Maintenance);
    assert!(is_done(world), "at {age}");
}

// The loop ------------------------------------------------------------------------------------------------------------------------------

const LOOP: Row = Row {
    what: "maintenance is off; when it is on, it runs every hour",
    settings: &[
        ("maintenanceAutoStart", Some("MAINTENANCE_AUTO_START"), "false"),
        ("maintenanceInterval", Some("MAINTENANCE_INTERVAL_SECONDS"), "1h"),
    ],
    cases: &[
        ("nothing is cleaned up unless it is switched on", it_is_off),
        ("it runs every hour when it is on", || {
            it_runs_every(&[("MAINTENANCE_AUTO_START", "true")], Span::minutes(300))
        }),
        ("or as often as the setting says", || {
            let often = [("MAINTENANCE_AUTO_START", "true"), ("MAINTENANCE_INTERVAL_SECONDS", "420")];
            it_runs_every(&often, Span::minutes(245));
        }),
    ],
    elsewhere: &[],
};

/// A task that waits for an app that was never declared.
fn waits_for_nobody(environment: &[(&str, &str)]) -> World {
    let mut world = with_program(environment);
    world.declare(Kind::Task, "t", json!({"app": "nobody", "analyzer": "lint"}));
    assert_eq!(world.state("t"), WAITING);
    world
}

const WAITING: (Phase, Reason) = (Phase::Pending, Reason::AppNotFound);
const PENDING_TOO_LONG: (Phase, Reason) = (Phase::Cancelled, Reason::PendingTooLong);

fn it_is_off() {
    let mut world = waits_for_nobody(&SLOWLY);
    world.advance_to_age(DAY.times(60));
    assert_eq!(world.state("t"), WAITING);
}

/// 240 minutes have passed at the fourth hour, but not more than 240.
fn it_runs_every(environment: &[(&str, &str)], found_at: Span) {
    let mut world = waits_for_nobody(environment);
    world.turns_at(found_at, "t", WAITING, PENDING_TOO_LONG);
}

// Apps that stay away -------------------------------------------------------------------------------------------------------------------

const MISSING_APPS: Row = Row {
    what: "an app that is missing is marked; its record is deleted after 7 d, and restored when it returns",
    settings: &[
        ("orphanAppRetentionDays", Some("ORPHAN_APP_RETENTION_DAYS"), "7"),
        ("cleanupOrphanApps", Some("CLEANUP_ORPHAN_APPS"), "true"),
    ],
    cases: &[
        ("7 d are not yet too long, 7 d and 1 ms are", || deleted_at(&SLOWLY, DAY.times(7))),
        ("or as long as the setting says", || {
            deleted_at(&slowly_with("ORPHAN_APP_RETENTION_DAYS", "2"), DAY.times(2));
        }),
        ("never when it is switched off", apps_are_kept_when_told_so),
        ("what returns on the last day is restored", what_returns_is_restored),
        ("the days count anew when it goes again", days_count_anew),
        ("a record that was deleted is restored when its directory returns", a_deleted_record_is_restored),
        ("what an app set no longer sees of a broken disk is not deleted", a_suspect_source_deletes_nothing),
        ("an app that was written by hand is never deleted", a_hand_written_app_is_kept),
        ("gone, back, gone for good, and purged: the whole way", the_whole_way),
    ],
    elsewhere: &[],
};

/// A world in which an app set has found `acme-app1` and marked it missing at the end of its first hour, when it looked again.
fn missing(environment: &[(&str, &str)]) -> World {
    let mut world = World::new(environment);
    world.make_directory("found/acme/app1");
    world.make_directory("found/acme/app2");
    world.declare(Kind::AppSet, "found", json!({"root": "found"}));
    world.declare(Kind::Analyzer, "lint", json!({"command": {"argv": ["lint"]}}));
    world.look_at(Key::Apps);
    world.declare(Kind::Task, "t", json!({"app": "acme-app1", "analyzer": "lint"}));
    assert_eq!(world.state("t"), RUNNING);
    world.advance(Span::minutes(30));
    assert_eq!(world.state("t"), COMPLETED);
    world.take_directory("found/acme/app1");
    world.advance_to_age(HOUR);
    assert!(is_missing(&world) && !is_deleted(&world));
    world
}

const HOUR: Span = Span::minutes(60);

fn is_missing(world: &World) -> bool {
    world.one("SELECT missing_since IS NOT NULL FROM app JOIN object USING (uid) WHERE name = 'acme-app1'")
}

fn is_deleted(world: &World) -> bool {
    world.one("SELECT removed_at IS NOT NULL FROM object WHERE kind = 'App' AND name = 'acme-app1'")
}

fn deleted_at(environment: &[(&str, &str)], retention: Span) {
    let mut world = missing(environment);
    found_at(&mut world, Span(HOUR.0 + retention.0 + 1), is_deleted);
}

fn apps_are_kept_when_told_so() {
    let mut world = missing(&slowly_with("CLEANUP_ORPHAN_APPS", "false"));
    world.advance_to_age(DAY.times(40));
    world.look_at(Key::Maintenance);
    assert!(!is_deleted(&world));
}

fn what_returns_is_restored() {
    let mut world = missing(&SLOWLY);
    world.advance_to_age(Span(HOUR.0 + DAY.times(7).0));
    world.make_directory("found/acme/app1");
    world.advance(MS);
    // The disk is asked before anything is deleted, though nobody has seen yet that it is back.
    world.look_at(Key::Maintenance);
    assert!(is_missing(&world) && !is_deleted(&world));
    world.advance(HOUR);
    assert!(!is_missing(&world) && !is_deleted(&world));
}

fn days_count_anew() {
    let mut world = missing(&SLOWLY);
    world.advance_to_age(DAY.times(6));
    world.make_directory("found/acme/app1");
    world.advance(HOUR);
    world.take_directory("found/acme/app1");
    world.advance(HOUR);
    assert!(is_missing(&world));
    let gone = world.age();
    found_at(&mut world, Span(gone.0 + DAY.times(7).0 + 1), is_deleted);
}

fn a_deleted_record_is_restored() {
    let mut world = missing(&SLOWLY);
    world.advance_to_age(DAY.times(9));
    world.look_at(Key::Maintenance);
    assert!(is_deleted(&world));
    let uid = world.identity(Kind::App, "acme-app1").0;
    world.advance_to_age(DAY.times(30));
    world.make_directory("found/acme/app1");
    world.look_at(Key::Apps);
    assert!(!is_deleted(&world) && !is_missing(&world));
    assert_eq!(world.identity(Kind::App, "acme-app1").0, uid, "with all of its history");
}

/// Marked, held, restored, run, marked again, deleted at 7 d and 1 ms with its tasks cancelled, and purged 7 d after that.
fn the_whole_way() {
    let mut world = missing(&SLOWLY);
    let held = (Phase::Pending, Reason::AppMissing);
    world.declare(Kind::Task, "first", json!({"app": "acme-app1", "analyzer": "lint"}));
    assert_eq!(world.state("first"), held);
    world.advance_to_age(DAY.times(5));
    world.look_at(Key::Maintenance);
    assert_eq!(world.state("first"), held, "nothing is cancelled while it is only missing");
    world.make_directory("found/acme/app1");
    world.look_at(Key::Apps);
    assert!(!is_missing(&world));
    let restored: i64 = world.one("SELECT count(*) FROM event WHERE kind = 'App' AND reason = 'Restored'");
    assert_eq!((world.state("first"), restored), (RUNNING, 1));
    world.advance(HOUR);
    assert_eq!(world.state("first"), COMPLETED);

    world.take_directory("found/acme/app1");
    world.look_at(Key::Apps);
    world.declare(Kind::Task, "second", json!({"app": "acme-app1", "analyzer": "lint"}));
    let gone = world.age();
    assert!(is_missing(&world));
    found_at(&mut world, Span(gone.0 + DAY.times(7).0 + 1), |world| {
        assert_eq!(
            world.state("second"),
            if is_deleted(world) { (Phase::Cancelled, Reason::AppDeleted) } else { held }
        );
        is_deleted(world)
    });
    assert_eq!(world.state("first"), COMPLETED, "what has ended stays as it is");

    // The record itself can be brought back for another seven days.
    let deleted = world.age();
    let is_purged =
        |world: &World| world.one("SELECT count(*) = 0 FROM object WHERE kind = 'App' AND name = 'acme-app1'");
    found_at(&mut world, Span(deleted.0 + DAY.times(7).0 + 1), is_purged);
    assert_eq!(world.state("first"), COMPLETED, "its tasks are not its record");
    // And an app that comes after that is a new one.
    world.make_directory("found/acme/app1");
    world.look_at(Key::Apps);
    assert!(!is_missing(&world) && !is_deleted(&world));
}

fn a_suspect_source_deletes_nothing() {
    let mut world = missing(&SLOWLY);
    world.take_directory("found");
    world.advance_to_age(DAY.times(30));
    world.look_at(Key::Maintenance);
    assert!(is_missing(&world) && !is_deleted(&world));
}

fn a_hand_written_app_is_kept() {
    let mut world = with_program(&SLOWLY);
    world.take_directory("apps/demo/app1");
    world.advance_to_age(DAY.times(60));
    world.look_at(Key::Maintenance);
    assert!(world.one::<bool>("SELECT removed_at IS NULL FROM object WHERE kind = 'App' AND name = 'demo'"));
    assert!(world.one::<bool>("SELECT missing_since IS NOT NULL FROM app"));
}

// Tasks of apps that are gone -----------------------------------------------------------------------------------------------------------

const TASKS_OF_DELETED_APPS: Row = Row {
    what: "tasks of a deleted app are Cancelled at once; while it is only missing they are Pending(AppMissing)",
    settings: &[("cleanupOrphanTasks", Some("CLEANUP_ORPHAN_TASKS"), "true")],
    cases: &[
        ("held for 7 d, then cancelled at once, then run when it returns", held_then_cancelled_then_run),
        ("held on for ever when it is switched off", held_for_ever_when_told_so),
    ],
    elsewhere: &[],
};

const APP_MISSING: (Phase, Reason) = (Phase::Pending, Reason::AppMissing);

fn held_then_cancelled_then_run() {
    let mut world = missing(&SLOWLY);
    world.declare(Kind::Task, "held", json!({"app": "acme-app1", "analyzer": "lint"}));
    let cancelled = (Phase::Cancelled, Reason::AppDeleted);
    found_at(&mut world, Span(HOUR.0 + DAY.times(7).0 + 1), |world| match world.state("held") {
        APP_MISSING => false,
        state => state == cancelled,
    });
    assert_eq!(world.state("t"), COMPLETED, "what has ended stays as it is");
    world.make_directory("found/acme/app1");
    world.look_at(Key::Apps);
    assert_eq!(world.state("held"), RUNNING);
}

fn held_for_ever_when_told_so() {
    let mut world = missing(&slowly_with("CLEANUP_ORPHAN_TASKS", "false"));
    world.declare(Kind::Task, "held", json!({"app": "acme-app1", "analyzer": "lint"}));
    world.advance_to_age(DAY.times(9));
    world.look_at(Key::Maintenance);
    assert!(is_deleted(&world));
    assert_eq!(world.state("held").0, Phase::Pending);
    world.make_directory("found/acme/app1");
    world.look_at(Key::Apps);
    assert_eq!(world.state("held"), RUNNING);
}

// Running with nobody -------------------------------------------------------------------------------------------------------------------

const STUCK: Row = Row {
    what: "Running for over 120 min with no carried attempt: Failed",
    settings: &[
        ("stuckTaskTimeoutMinutes", Some("STUCK_TASK_TIMEOUT_MINUTES"), "120"),
        ("cleanupStuckTasks", Some("CLEANUP_STUCK_TASKS"), "true"),
    ],
    cases: &[
        ("120 min are not yet too long, 1 ms more is", || stuck_at(&[], Span::minutes(120))),
        ("or as long as the setting says", || stuck_at(&[("STUCK_TASK_TIMEOUT_MINUTES", "45")], Span::minutes(45))),
        ("never when it is switched off", stuck_tasks_are_kept_when_told_so),
        ("a task whose attempt is carried runs as long as it may", what_is_carried_is_not_stuck),
    ],
    elsewhere: &[],
};

/// A task that is Running while nobody carries it, since the loop that would notice has stalled.
fn running_with_nobody(environment: &[(&str, &str)]) -> World {
    let mut world = with_program(environment);
    world.submit_with("t", json!({}), Act::hangs());
    world.kill();
    world.stall(Loop::Tasks, true);
    world.start();
    assert_eq!((world.state("t"), world.carried()), (RUNNING, 0));
    world
}

fn stuck_at(environment: &[(&str, &str)], limit: Span) {
    let mut world = running_with_nobody(environment);
    let failed = (Phase::Failed, Reason::Stuck);
    found_at(&mut world, Span(limit.0 + 1), |world| world.state("t") == failed);
    assert_eq!(world.outcomes("t"), [Some(Outcome::Interrupted)]);
    world.stall(Loop::Tasks, false);
    world.advance(Span::minutes(60));
    assert_eq!(world.state("t"), failed, "and it stays so");
}

fn stuck_tasks_are_kept_when_told_so() {
    let mut world = running_with_nobody(&[("CLEANUP_STUCK_TASKS", "false")]);
    world.advance_to_age(DAY);
    world.look_at(Key::Maintenance);
    assert_eq!(world.state("t"), RUNNING);
}

fn what_is_carried_is_not_stuck() {
    let mut world = with_program(&[]);
    let act = Act::completes(Span::minutes(300)).with_signs_every(Span::minutes(10));
    world.submit_with("t", json!({"activeDeadlineSeconds": 36_000}), act);
    for minutes in [120, 121, 240, 299] {
        world.advance_to_age(Span::minutes(minutes));
        world.look_at(Key::Maintenance);
        assert_eq!((world.state("t"), world.carried()), (RUNNING, 1), "after {minutes} min");
    }
    world.turns_at(Span::minutes(300), "t", RUNNING, COMPLETED);
}

// Waiting for too long ------------------------------------------------------------------------------------------------------------------

const PENDING: Row = Row {
    what: "Pending for over 240 min: Cancelled; 0 is never",
    settings: &[("pendingTaskTimeoutMinutes", Some("PENDING_TASK_TIMEOUT_MINUTES"), "240")],
    cases: &[
        ("240 min are not yet too long, 1 ms more is", || cancelled_at(&[], Span::minutes(240))),
        ("or as long as the setting says", || {
            cancelled_at(&[("PENDING_TASK_TIMEOUT_MINUTES", "30")], Span::minutes(30));
        }),
        ("never when it is 0", || waits_for_ever(&slowly_with("PENDING_TASK_TIMEOUT_MINUTES", "0"))),
        ("never when it is switched off", || waits_for_ever(&slowly_with("CLEANUP_STUCK_TASKS", "false"))),
        ("what waits for its turn in a queue that moves is left alone", a_queue_that_moves_is_left_alone),
        ("what a person suspended is left alone", what_is_suspended_is_left_alone),
        ("many that are left alone do not hide one behind them", many_that_are_left_alone_hide_nothing),
        ("the wait counts from when it began, and not from the manifest", the_wait_counts_from_its_beginning),
        ("waiting for something else goes on counting", another_reason_goes_on_counting),
    ],
    elsewhere: &[],
};

fn cancelled_at(environment: &[(&str, &str)], limit: Span) {
    let mut world = waits_for_nobody(environment);
    found_at(&mut world, Span(limit.0 + 1), |world| world.state("t") == PENDING_TOO_LONG);
}

fn waits_for_ever(environment: &[(&str, &str)]) {
    let mut world = waits_for_nobody(environment);
    world.advance_to_age(DAY.times(60));
    world.look_at(Key::Maintenance);
    assert_eq!(world.state("t"), WAITING);
}

fn a_queue_that_moves_is_left_alone() {
    let mut world = with_program(&[("TASK_POLL_INTERVAL", "60")]);
    world.script(|_| Act::completes(Span::minutes(25)).with_signs_every(Span::minutes(5)));
    for number in 0..12 {
        world.submit(&format!("t{number}"), json!({"priority": 100 - number}));
    }
    for minutes in [239, 241, 250, 270] {
        world.advance_to_age(Span::minutes(minutes));
        world.look_at(Key::Maintenance);
        assert_eq!(world.state("t11"), QUEUED, "after {minutes} min");
    }
    world.turns_at(Span::minutes(300), "t11", RUNNING, COMPLETED);
}

fn what_is_suspended_is_left_alone() {
    let mut world = with_program(&SLOWLY);
    world.submit("t", json!({"suspend": true}));
    world.advance_to_age(DAY.times(60));
    world.look_at(Key::Maintenance);
    assert_eq!(world.state("t"), (Phase::Pending, Reason::Suspended));
}

fn many_that_are_left_alone_hide_nothing() {
    let mut world = with_program(&SLOWLY);
    for number in 0..60 {
        world.submit(&format!("held{number}"), json!({"suspend": true}));
    }
    world.declare(Kind::Task, "t", json!({"app": "nobody", "analyzer": "lint"}));
    found_at(&mut world, Span(Span::minutes(240).0 + 1), |world| world.state("t") == PENDING_TOO_LONG);
}

fn the_wait_counts_from_its_beginning() {
    let mut world = with_program(&SLOWLY);
    world.submit_with("t", json!({}), Act::completes(Span::seconds(1)));
    world.advance_to_age(DAY.times(20));
    world.respecify(Kind::Task, "t", json!({"app": "nobody", "analyzer": "lint"}));
    assert_eq!(world.state("t"), WAITING);
    found_at(&mut world, Span(DAY.times(20).0 + Span::minutes(240).0 + 1), |world| {
        world.state("t") == PENDING_TOO_LONG
    });
}

fn another_reason_goes_on_counting() {
    let mut world = waits_for_nobody(&[]);
    world.advance_to_age(Span::minutes(100));
    world.respecify(Kind::Task, "t", json!({"app": "demo", "analyzer": "unknown"}));
    assert_eq!(world.state("t"), (Phase::Pending, Reason::AnalyzerNotFound));
    found_at(&mut world, Span(Span::minutes(240).0 + 1), |world| world.state("t") == PENDING_TOO_LONG);
}

// Finished long ago ---------------------------------------------------------------------------------------------------------------------

const FINISHED: Row = Row {
    what: "finished tasks are set aside after 30 d, whatever their phase",
    settings: &[
        ("taskRetentionDays", Some("TASK_RETENTION_DAYS"), "30"),
        ("cleanupOldTasks", Some("CLEANUP_OLD_TASKS"), "true"),
    ],
    cases: &[
        ("30 d are not yet too long, 1 ms more is", || set_aside_at(&SLOWLY, DAY.times(30))),
        ("or as long as the setting says", || {
            set_aside_at(&slowly_with("TASK_RETENTION_DAYS", "3"), DAY.times(3));
        }),
        ("never when it is switched off", finished_tasks_are_kept_when_told_so),
        ("it runs again when its spec changes", what_was_set_aside_runs_again),
    ],
    elsewhere: &[("tests/plans/maintenance.rs", "every_terminal_phase_is_set_aside_after_thirty_days")],
};

fn is_aside(world: &World) -> bool {
    world.one("SELECT min(aside_at IS NOT NULL) FROM task")
}

/// Four tasks that end after a second, each in another phase.
fn finished(environment: &[(&str, &str)]) -> World {
    use manifestd::resource::outcome::Verdict;
    let mut world = with_program(environment);
    world.respecify(Kind::Analyzer, "lint", json!({"command": {"argv": ["lint"]}, "capacity": 4}));
    world.script(|attempt| match attempt.task.as_str() {
        "completed" => Act::completes(Span::seconds(1)),
        "failed" => Act::fails(Span::seconds(1), Reason::ToolNotRun),
        _ => Act::ends(
            Span::seconds(1),
            Verdict::without_tools(Outcome::PartialSuccess, Reason::SomeToolsFailed, "some did not run"),
        ),
    });
    ["completed", "failed", "partial"].into_iter().for_each(|name| world.submit(name, json!({"backoffLimit": 0})));
    world.submit("cancelled", json!({"suspend": true}));
    world.advance(Span::seconds(1));
    world.cancel("cancelled");
    for (name, phase) in [
        ("completed", Phase::Completed),
        ("failed", Phase::Failed),
        ("partial", Phase::PartialSuccess),
        ("cancelled", Phase::Cancelled),
    ] {
        assert_eq!(world.state(name).0, phase);
    }
    world
}

fn set_aside_at(environment: &[(&str, &str)], limit: Span) {
    let mut world = finished(environment);
    found_at(&mut world, Span(1000 + limit.0 + 1), is_aside);
}

fn finished_tasks_are_kept_when_told_so() {
    let mut world = finished(&slowly_with("CLEANUP_OLD_TASKS", "false"));
    world.advance_to_age(DAY.times(90));
    world.look_at(Key::Maintenance);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM task WHERE aside_at IS NOT NULL"), 0);
}

fn what_was_set_aside_runs_again() {
    let mut world = finished(&SLOWLY);
    world.advance_to_age(DAY.times(31));
    world.look_at(Key::Maintenance);
    assert!(is_aside(&world));
    world.respecify(Kind::Task, "failed", crate::stage::task(json!({"priority": 7})));
    assert_eq!(world.state("failed"), RUNNING);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM task WHERE aside_at IS NULL"), 1);
}

// The grace -----------------------------------------------------------------------------------------------------------------------------

const GRACE: Row = Row {
    what: "maintenance leaves alone whatever is younger than 5 min",
    settings: &[("gracePeriodMinutes", Some("GRACE_PERIOD_MINUTES"), "5")],
    cases: &[
        ("a threshold below the grace waits for the grace", || {
            cancelled_at(&[("PENDING_TASK_TIMEOUT_MINUTES", "1")], Span::minutes(5));
        }),
        ("or for as long as the setting says", || {
            let short = [("PENDING_TASK_TIMEOUT_MINUTES", "1"), ("GRACE_PERIOD_MINUTES", "9")];
            cancelled_at(&short, Span::minutes(9));
        }),
        ("finished tasks are kept as long, too", || {
            let mut world = finished(&[("TASK_RETENTION_DAYS", "0")]);
            found_at(&mut world, Span(1000 + Span::minutes(5).0 + 1), is_aside);
        }),
        ("and records of apps", || {
            let mut world = missing(&slowly_with("ORPHAN_APP_RETENTION_DAYS", "0"));
            found_at(&mut world, Span(HOUR.0 + Span::minutes(5).0 + 1), is_deleted);
        }),
    ],
    elsewhere: &[],
};
