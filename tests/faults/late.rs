//! Analyzers that are silent, or too late: deadlines, and slots that an abandoned request still occupies. That a silent analyzer which answers
//! no pings loses its task after `stuckAfter` is shown on a virtual clock (`plans`), since that is two minutes at least.

use manifestd::resource::outcome::Outcome::{Cancelled, Completed, TimedOut};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use crate::scene::{More, ONCE, Scene, TWICE};
use crate::support::misbehaving::{Behaviour, Gate, static_result};

/// Two requests meet the same silence: one ends at its deadline, by both of its attempts; the other has far to go, and tasks run beside it.
fn misses_its_deadline(behaviour: Behaviour) {
    let mut scene = Scene::new(behaviour, &More::default());
    scene.give("held", ONCE);
    scene.request();
    scene.neighbours_run_beside("held");
    scene.give("bad", &format!("{TWICE} activeDeadlineSeconds: 1,"));
    let ended = scene.ends("bad", Phase::Failed, Reason::DeadlineExceeded, &[TimedOut, TimedOut]);
    assert!(ended.message.contains("1s"), "{}", ended.message);
    for attempt in scene.home.attempts("bad") {
        assert!(attempt.ended_at.unwrap() >= attempt.deadline_at, "{attempt:?}");
    }
    scene.home.run(&["cancel", "held"]).ok();
    scene.ends("held", Phase::Cancelled, Reason::CancelledByUser, &[Cancelled]);
    scene.stop();
}

#[test]
fn silence_with_answered_pings_lasts_until_the_deadline() {
    misses_its_deadline(Behaviour::Silent);
}

#[test]
fn silence_without_answered_pings_lasts_until_the_deadline() {
    misses_its_deadline(Behaviour::Deaf);
}

#[test]
fn progress_without_end_lasts_until_the_deadline() {
    misses_its_deadline(Behaviour::Floods);
}

#[test]
fn half_a_frame_and_then_nothing_lasts_until_the_deadline() {
    misses_its_deadline(Behaviour::StopsMidFrame);
}

#[test]
fn a_result_after_the_deadline_is_not_taken_and_the_next_attempt_has_its_own() {
    let gate = Gate::new();
    let late = Behaviour::DeafThen(gate.clone(), Box::new(Behaviour::Answers(static_result("ruff", 7))));
    let mut scene = Scene::new(
        Behaviour::InTurn(vec![late, Behaviour::Answers(static_result("ruff", 1))]),
        &More { analyzer: "capacity: 1", ..More::default() },
    );
    scene.give("bad", &format!("{TWICE} activeDeadlineSeconds: 2,"));
    scene.request();
    // With one slot, the second request is proof that the deadline has freed it.
    scene.request();
    let first = &scene.home.attempts("bad")[0];
    assert_eq!((first.outcome, first.reason), (Some(TimedOut), Some(Reason::DeadlineExceeded)));
    scene.wait_for(|bad| Box::pin(bad.client_left()));
    gate.open();
    scene.wait_for(|bad| Box::pin(bad.client_left()));
    let ended = scene.ends("bad", Phase::Completed, Reason::AllToolsRan, &[TimedOut, Completed]);
    assert_eq!(ended.results[0], None, "the late result was stored");
    assert_eq!(scene.result(ended.results[1].as_ref().unwrap()), static_result("ruff", 1));
    scene.stop();
}

#[test]
fn an_abandoned_request_keeps_its_slot_and_who_waits_behind_it_is_told() {
    let mut scene = Scene::new(Behaviour::Silent, &More { analyzer: "capacity: 1", ..More::default() });
    scene.give("left", ONCE);
    scene.request();
    scene.home.run(&["cancel", "left"]).ok();
    scene.ends("left", Phase::Cancelled, Reason::CancelledByUser, &[Cancelled]);
    scene.give("next", ONCE);
    scene.home.until_reason("next", Phase::Pending, Reason::Queued);
    scene.neighbours_run_beside("next");
    let why = scene.home.run(&["why", "next"]).ok();
    assert!(why.contains("1 of them by abandoned requests"), "{why}");
    assert!(scene.home.attempts("next").is_empty(), "{}", scene.home.dump());
    scene.home.run(&["cancel", "next"]).ok();
    scene.ends("next", Phase::Cancelled, Reason::CancelledByUser, &[]);
    scene.stop();
}

#[test]
fn the_slot_of_an_abandoned_request_is_free_at_its_deadline() {
    let turns = vec![Behaviour::Silent, Behaviour::Answers(static_result("ruff", 0))];
    let mut scene = Scene::new(Behaviour::InTurn(turns), &More { analyzer: "capacity: 1", ..More::default() });
    scene.give("left", &format!("{ONCE} activeDeadlineSeconds: 4,"));
    scene.request();
    scene.home.run(&["cancel", "left"]).ok();
    scene.ends("left", Phase::Cancelled, Reason::CancelledByUser, &[Cancelled]);
    scene.give("next", ONCE);
    scene.ends("next", Phase::Completed, Reason::AllToolsRan, &[Completed]);
    let (left, next) = (&scene.home.attempts("left")[0], &scene.home.attempts("next")[0]);
    assert!(next.opened_at >= left.deadline_at, "{left:?} {next:?}");
    scene.stop();
}
