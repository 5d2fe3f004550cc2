//! Rows about analyzers that cannot be reached: how long a task waits for one, when it gives up, how it comes back; and the probes and breakers
//! by which that is known.

use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use serde_json::json;

use crate::stage::{
    BACK_OFF, COMPLETED, QUEUED, RUNNING, UNAVAILABLE, URL, just_before, service, task, with_analyzer, with_service,
    with_service_at,
};
use crate::table::Row;
use crate::world::{Act, Reply};

pub(crate) const ROWS: &[&Row] = &[&WAITS, &RETURNS, &PROBES, &BREAKER];

const FAILED: (Phase, Reason) = (Phase::Failed, Reason::AnalyzerUnavailable);

/// When a task has waited for the last time by the defaults: 30 s, 60 s and 120 s after it was submitted.
const GIVES_UP: Span = Span::seconds(210);

fn seconds(list: &[u64]) -> Vec<Span> {
    list.iter().map(|seconds| Span::seconds(*seconds)).collect()
}

// Waiting -------------------------------------------------------------------------------------------------------------------------------

const WAITS: Row = Row {
    what: "analyzer unavailable before the request was sent: wait 30 s, 60 s, 120 s, then Failed",
    settings: &[("preflightMaxRetries", Some("PREFLIGHT_MAX_RETRIES"), "3")],
    cases: &[
        ("three waits of 30 s, 60 s, 120 s", || waits(&[], &[0, 30, 90], GIVES_UP)),
        ("or as many as the setting says", || waits(&[("PREFLIGHT_MAX_RETRIES", "1")], &[0], Span::seconds(30))),
        ("no wait at all with 0", no_wait_at_all),
        ("an attempt that reaches nobody begins the same waits", an_attempt_that_reaches_nobody_waits),
        ("a probe that succeeds ends a wait at once", a_probe_that_succeeds_ends_a_wait),
        ("a restart does not begin the waits anew", a_restart_begins_nothing_anew),
        ("a person need not wait", a_person_need_not_wait),
    ],
    elsewhere: &[(
        "tests/daemon/health.rs",
        "tasks_of_an_analyzer_that_is_away_wait_without_attempts_and_complete_when_it_is_back_and_others_are_not_delayed",
    )],
};

fn waits(environment: &[(&str, &str)], begin_at: &[u64], gives_up: Span) {
    let mut world = with_service_at(environment, |_| false);
    world.submit("t", json!({"backoffLimit": 0}));
    world.turns_at(gives_up, "t", UNAVAILABLE, FAILED);
    assert_eq!(world.times("t", Phase::Pending, Reason::AnalyzerUnavailable), seconds(begin_at));
    assert_eq!(world.outcomes("t"), [], "nothing was sent, and no attempt was used up");
}

fn no_wait_at_all() {
    let mut world = with_service_at(&[("PREFLIGHT_MAX_RETRIES", "0")], |_| false);
    world.submit("t", json!({}));
    assert_eq!(world.state("t"), FAILED);
}

fn an_attempt_that_reaches_nobody_waits() {
    let mut world = with_service_at(&[], |age| age < Span::seconds(5));
    world.advance_to_age(Span::seconds(5));
    world.submit_with("t", json!({"backoffLimit": 0}), Act::reaches_nobody());
    world.turns_at(Span::seconds(215), "t", UNAVAILABLE, FAILED);
    assert_eq!(world.times("t", Phase::Pending, Reason::AnalyzerUnavailable), seconds(&[5, 35, 95]));
    assert_eq!(world.outcomes("t"), [Some(Outcome::Unavailable)]);
}

fn a_probe_that_succeeds_ends_a_wait() {
    let mut world = with_service_at(&[], |age| age >= Span::seconds(41));
    world.submit("t", json!({}));
    // It is asked every 10 s while somebody waits.
    world.turns_at(Span::seconds(50), "t", UNAVAILABLE, RUNNING);
}

fn a_restart_begins_nothing_anew() {
    let mut world = with_service_at(&[], |_| false);
    world.submit("t", json!({}));
    for age in seconds(&[40, 85, 170]) {
        world.advance_to_age(age);
        world.restart();
    }
    world.turns_at(GIVES_UP, "t", UNAVAILABLE, FAILED);
    assert_eq!(world.times("t", Phase::Pending, Reason::AnalyzerUnavailable), seconds(&[0, 30, 90]));
}

fn a_person_need_not_wait() {
    let mut world = with_service_at(&[], |_| false);
    world.submit("t", json!({}));
    world.advance_to_age(Span::seconds(7));
    world.retry("t");
    assert_eq!(world.times("t", Phase::Pending, Reason::AnalyzerUnavailable), seconds(&[0, 7]), "it was looked for");
}

// Coming back ---------------------------------------------------------------------------------------------------------------------------

const RETURNS: Row = Row {
    what: "Failed(AnalyzerUnavailable) is Pending as soon as a probe succeeds, is looked at every 5 min, at most 3 times",
    settings: &[("transientFailureMaxRetries", Some("TRANSIENT_FAILURE_MAX_RETRIES"), "3")],
    cases: &[
        ("it returns with the first probe that succeeds", it_returns_with_the_first_probe),
        ("it returns when every wake-up is lost", it_returns_without_wakes),
        ("it is looked at every 5 min even if probes are rarer", it_is_looked_at_every_five_minutes),
        ("it returns when the controller was down meanwhile", it_returns_after_a_restart),
        ("three times in a row, and then no more", || returns_so_often(&[], 3)),
        ("or as often as the setting says", || returns_so_often(&[("TRANSIENT_FAILURE_MAX_RETRIES", "1")], 1)),
        ("never with 0", || returns_so_often(&[("TRANSIENT_FAILURE_MAX_RETRIES", "0")], 0)),
        ("what failed for another reason stays so", other_failures_stay),
        ("what was run again counts anew", another_round_counts_anew),
    ],
    elsewhere: &[(
        "tests/daemon/health.rs",
        "a_task_that_failed_for_want_of_its_analyzer_starts_over_when_that_is_back",
    )],
};

fn it_returns_with_the_first_probe() {
    let mut world = with_service_at(&[], |age| age > Span::seconds(1000));
    world.submit("t", json!({}));
    world.turns_at(GIVES_UP, "t", UNAVAILABLE, FAILED);
    world.turns_at(Span::seconds(1010), "t", FAILED, RUNNING);
    world.turns_at(Span::seconds(1011), "t", RUNNING, COMPLETED);
}

fn it_returns_without_wakes() {
    let mut world = with_service_at(&[], |age| age > Span::seconds(1000));
    world.submit("t", json!({}));
    world.advance_to_age(Span::seconds(995));
    world.lose(|_| true);
    // Asked at one resync, found to be back at the next, and opened at the third: well within 5 min.
    world.turns_at(Span::seconds(1020), "t", FAILED, QUEUED);
    world.turns_at(Span::seconds(1030), "t", QUEUED, RUNNING);
}

fn it_is_looked_at_every_five_minutes() {
    let is_there = |age| age > Span::seconds(301);
    let replies = move |_: &_, age| if is_there(age) { Reply::healthy() } else { Reply::refused() };
    let mut world = with_analyzer(&[], service(json!({"probe": {"interval": "3h"}})), replies);
    world.submit("t", json!({}));
    world.turns_at(Span::minutes(10), "t", FAILED, RUNNING);
}

fn it_returns_after_a_restart() {
    let mut world = with_service_at(&[], |age| age > Span::seconds(1000));
    world.submit("t", json!({}));
    world.advance_to_age(Span::seconds(995));
    assert_eq!(world.state("t"), FAILED);
    world.kill();
    world.advance_to_age(Span::seconds(5000));
    world.start();
    assert_eq!(world.state("t"), RUNNING);
}

/// A service that answers every probe, and refuses every request.
fn returns_so_often(environment: &[(&str, &str)], times: usize) {
    let mut world = with_service(environment);
    world.submit_with("t", json!({}), Act::reaches_nobody());
    world.advance_to_age(Span::minutes(60));
    assert_eq!(world.times("t", FAILED.0, FAILED.1).len(), times + 1);
    let turns = world.turns("t").len();
    world.advance(Span::minutes(120));
    assert_eq!((world.state("t"), world.turns("t").len()), (FAILED, turns), "it stays so");
    // At most one try and three more in each round.
    let attempts = world.task("t").status.attempt as usize;
    assert!(attempts <= 4 * (times + 1), "{attempts} attempts");
}

fn other_failures_stay() {
    let mut world = with_service_at(&[], |age| age < Span::seconds(20) || age > Span::seconds(900));
    world.submit_with("t", json!({"backoffLimit": 0}), Act::fails(Span::seconds(1), Reason::ConnectionLost));
    world.advance_to_age(Span::minutes(60));
    assert_eq!(world.turns("t").len(), 2, "{:?}", world.turns("t"));
}

fn another_round_counts_anew() {
    let mut world = with_service(&[]);
    world.submit_with("t", json!({}), Act::reaches_nobody());
    world.advance_to_age(Span::minutes(60));
    assert_eq!(world.task("t").status.recoveries, 3);
    world.respecify(Kind::Task, "t", task(json!({"priority": 7})));
    world.advance(Span::minutes(60));
    assert_eq!((world.state("t"), world.task("t").status.recoveries), (FAILED, 3));
    assert_eq!(world.times("t", FAILED.0, FAILED.1).len(), 8);
}

// Probes --------------------------------------------------------------------------------------------------------------------------------

const PROBES: Row = Row {
    what: "a replica is asked every 10 s while it is needed, else every 5 min; three failures of 5 s make it unhealthy",
    settings: &[],
    cases: &[
        ("an idle one is asked every 5 min", an_idle_replica_is_asked_every_five_minutes),
        ("one that is needed is asked every 10 s", a_needed_replica_is_asked_every_ten_seconds),
        ("two failures are forgiven, the third is not", the_third_failure_counts),
        ("an attempt that its analyzer knows by its token is taken up again", a_known_attempt_is_taken_up),
    ],
    elsewhere: &[],
};

fn an_idle_replica_is_asked_every_five_minutes() {
    let mut world = with_service(&[]);
    world.advance(Span::minutes(16));
    assert_eq!(world.probes(URL), seconds(&[0, 300, 600, 900]));
}

fn a_needed_replica_is_asked_every_ten_seconds() {
    let mut world = with_service(&[]);
    world.advance(Span::seconds(301));
    world.submit_with("t", json!({}), Act::completes(Span::seconds(45)));
    world.advance(Span::minutes(7));
    assert_eq!(world.probes(URL), seconds(&[0, 300, 310, 320, 330, 340, 640]));
}

fn the_third_failure_counts() {
    let replies = |_: &_, age| if age < Span::seconds(1) { Reply::healthy() } else { Reply::silence() };
    let mut world = with_analyzer(&[], service(json!({})), replies);
    world.submit_with("t", json!({}), Act::hangs());
    let is_healthy = |world: &crate::world::World| world.one::<bool>("SELECT healthy FROM replica");
    // Asked at 10 s, 20 s and 30 s; each time 5 s pass until it is given up.
    world.advance_to_age(just_before(Span::seconds(35)));
    assert!(is_healthy(&world));
    world.advance_to_age(Span::seconds(35));
    assert!(!is_healthy(&world));
    assert_eq!(world.state("t"), RUNNING, "what runs is judged by its own signs of life");
}

fn a_known_attempt_is_taken_up() {
    let mut world = with_analyzer(&[], service(json!({})), |_, _| Reply::extended());
    world.submit_with("t", json!({"backoffLimit": 0}), Act::completes(Span::minutes(12)));
    for minutes in [3, 6, 9] {
        world.advance_to_age(Span::minutes(minutes));
        world.restart();
        assert_eq!((world.state("t"), world.carried()), (RUNNING, 1));
    }
    world.turns_at(Span::minutes(12), "t", RUNNING, COMPLETED);
    assert_eq!(world.outcomes("t"), [Some(Outcome::Completed)], "one attempt, which nothing interrupted");
}

// The breaker ---------------------------------------------------------------------------------------------------------------------------

const BREAKER: Row = Row {
    what: "five broken requests in a row: the replica is left alone for 2 min, and then tried with one",
    settings: &[],
    cases: &[
        ("the breaker opens with the fifth, for 2 min", the_breaker_opens_for_two_minutes),
        ("an app's own faults never open it", faults_of_apps_open_nothing),
    ],
    elsewhere: &[(
        "tests/daemon/health.rs",
        "a_service_that_answers_probes_and_breaks_requests_is_left_alone_and_a_restart_forgets_nothing",
    )],
};

const BREAKER_OPEN: (Phase, Reason) = (Phase::Pending, Reason::BreakerOpen);

fn quick(limit: u32) -> serde_json::Value {
    json!({"backoffLimit": limit, "retry": {"base": "5s", "factor": 1, "max": "5s"}})
}

fn the_breaker_opens_for_two_minutes() {
    let mut world = with_service(&[]);
    let broke = Verdict::without_tools(Outcome::ProtocolError, Reason::ConnectionLost, "the connection broke");
    world.submit_with("t", quick(100), Act::ends(Span::seconds(1), broke));
    while world.outcomes("t").iter().filter(|outcome| outcome.is_some()).count() < 5 {
        assert!(matches!(world.state("t"), RUNNING | BACK_OFF), "{:?}", world.turns("t"));
        world.advance(Span::seconds(1));
    }
    let fifth = world.task("t").attempts[4].ended.as_ref().unwrap().at.since(crate::world::START);
    world.advance_to_age(Span(fifth.0 + 10_000));
    assert_eq!(world.state("t"), BREAKER_OPEN);
    world.turns_at(Span(fifth.0 + 120_000), "t", BREAKER_OPEN, RUNNING);
}

fn faults_of_apps_open_nothing() {
    let mut world = with_service(&[]);
    world.submit_with("t", quick(9), Act::fails(Span::seconds(1), Reason::ToolFailed));
    world.advance(Span::minutes(2));
    assert_eq!(world.outcomes("t"), [Some(Outcome::Failed); 10]);
    assert_eq!(world.times("t", BREAKER_OPEN.0, BREAKER_OPEN.1), []);
}
