//! Tests of what probes and endings make of a replica.

use super::*;
use crate::resource::time::Span;

const NOW: Timestamp = Timestamp(1_000_000_000);
const POLICY: Breaker = Breaker { open_after_failures: 3, half_open_after: Span::minutes(2) };

fn seconds_ago(seconds: u64) -> Timestamp {
    NOW.minus(Span::seconds(seconds))
}

/// A healthy replica on which attempts ended so, the newest first, one each second up to now.
fn after(outcomes: &[Outcome]) -> ReplicaFacts {
    let endings =
        (1u64..).zip(outcomes).map(|(ago, &outcome)| ReplicaEnding { outcome, at: seconds_ago(ago) }).collect();
    let health = ReplicaHealth {
        url: "ws://one".into(),
        healthy: true,
        answered_at: Some(seconds_ago(3600)),
        ..Default::default()
    };
    ReplicaFacts { health, endings, open: 0, asked: true }
}

#[test]
fn a_breaker_opens_at_its_limit_allows_a_trial_later_and_follows_what_the_trial_shows() {
    use Outcome::{Completed, ProtocolError};
    let state = |outcomes: &[Outcome], now| breaker(POLICY, &after(outcomes), now);
    assert_eq!(state(&[], NOW), BreakerState::Closed);
    assert_eq!(state(&[ProtocolError; 2], NOW), BreakerState::Closed);
    let until = seconds_ago(1).plus(Span::minutes(2));
    assert_eq!(state(&[ProtocolError; 3], NOW), BreakerState::Open { until });
    assert_eq!(state(&[ProtocolError; 3], until.minus(Span(1))), BreakerState::Open { until });
    assert_eq!(state(&[ProtocolError; 3], until), BreakerState::HalfOpen);
    // The trial failed: open again, since then. The trial worked: closed, whatever was before.
    assert_eq!(state(&[ProtocolError; 4], NOW), BreakerState::Open { until });
    assert_eq!(state(&[Completed, ProtocolError, ProtocolError, ProtocolError], NOW), BreakerState::Closed);
    // The trial was never answered: the next one is a trial again.
    let silent = [Outcome::TimedOut, ProtocolError, ProtocolError, ProtocolError];
    assert_eq!(state(&silent, until), BreakerState::HalfOpen);
    // It is derived from rows and nothing else, so there is nothing that a restart could forget.
    let (mut stopped, running) = (after(&[ProtocolError; 3]), after(&[ProtocolError; 3]));
    stopped.asked = false;
    assert_eq!(breaker(POLICY, &stopped, NOW), breaker(POLICY, &running, NOW));
}

#[test]
fn only_the_transport_trips_a_breaker() {
    use Outcome::{Cancelled, Failed, HeartbeatLost, Interrupted, PartialSuccess, ProtocolError, TimedOut};
    for fault_of_the_app in [Failed, PartialSuccess] {
        assert_eq!(breaker(POLICY, &after(&[fault_of_the_app; 20]), NOW), BreakerState::Closed);
        let mixed = [ProtocolError, ProtocolError, fault_of_the_app, ProtocolError, ProtocolError];
        assert_eq!(
            breaker(POLICY, &after(&mixed), NOW),
            BreakerState::Closed,
            "{fault_of_the_app} proves the transport"
        );
    }
    for neutral in [Cancelled, Interrupted, HeartbeatLost, TimedOut] {
        assert_eq!(breaker(POLICY, &after(&[neutral; 20]), NOW), BreakerState::Closed);
        let mixed = [ProtocolError, neutral, ProtocolError, neutral, ProtocolError];
        assert!(matches!(breaker(POLICY, &after(&mixed), NOW), BreakerState::Open { .. }), "{neutral} says nothing");
    }
}

#[test]
fn attempts_that_reached_nobody_count_until_a_probe_disproves_them() {
    let mut replica = after(&[Outcome::Unavailable; 3]);
    assert!(matches!(breaker(POLICY, &replica, NOW), BreakerState::Open { .. }));
    replica.health.answered_at = Some(NOW);
    assert_eq!(breaker(POLICY, &replica, NOW), BreakerState::Closed);
}

#[test]
fn endings_in_the_future_of_a_clock_that_was_turned_back_keep_nobody_waiting() {
    let mut replica = after(&[Outcome::ProtocolError; 3]);
    replica.endings.iter_mut().for_each(|ending| ending.at = NOW.plus(Span::minutes(525_600)));
    assert_eq!(breaker(POLICY, &replica, NOW), BreakerState::HalfOpen);
}

#[test]
fn time_alone_changes_where_a_breaker_stands_only_when_it_says_so() {
    let offsets = [-300_000, -120_000, -119_000, -1_000, 0, 1_000, 60_000, 119_000, 120_000, 121_000, 400_000_i64];
    for offset in offsets {
        for breaks in [0, 2, 3] {
            let mut replica = after(&vec![Outcome::ProtocolError; breaks]);
            replica.endings.iter_mut().for_each(|ending| ending.at = Timestamp(NOW.0 + offset));
            let mut turns = breaker_turns_at(POLICY, &replica, NOW);
            let mut state = breaker(POLICY, &replica, NOW);
            for second in 0..600 {
                let now = NOW.plus(Span::seconds(second));
                if turns.is_some_and(|at| at <= now) {
                    (state, turns) = (breaker(POLICY, &replica, now), breaker_turns_at(POLICY, &replica, now));
                }
                assert_eq!(breaker(POLICY, &replica, now), state, "{breaks} breaks at {offset} ms, after {second} s");
            }
            assert_eq!(turns, None, "{breaks} breaks at {offset} ms: in the end it stands still");
        }
    }
}

#[test]
fn a_replica_stands_as_its_health_and_its_breaker_say() {
    let healthy = after(&[]);
    assert_eq!(standing(None, POLICY, NOW), Standing::Unknown);
    assert_eq!(standing(Some(&healthy), POLICY, NOW), Standing::Usable);
    let mut dead = after(&[Outcome::ProtocolError; 3]);
    assert!(matches!(standing(Some(&dead), POLICY, NOW), Standing::Open { .. }));
    assert_eq!(standing(Some(&dead), POLICY, NOW.plus(Span::minutes(2))), Standing::Trial);
    dead.health.healthy = false;
    assert_eq!(standing(Some(&dead), POLICY, NOW.plus(Span::minutes(2))), Standing::Unhealthy);
}

/// Answers one after the other, a second apart; gives what is stored in the end and how often it was written.
fn answers(mut known: Option<ReplicaHealth>, answers: &[Result<Health, &str>]) -> (Option<ReplicaHealth>, usize) {
    let mut writes = 0;
    for (second, answer) in (0u64..).zip(answers) {
        let answer = answer.clone().map_err(str::to_owned);
        if let Some(next) = heard("ws://one", known.as_ref(), answer, 3, NOW.plus(Span::seconds(second))) {
            (known, writes) = (Some(next), writes + 1);
        }
    }
    (known, writes)
}

fn well() -> Result<Health, &'static str> {
    Ok(Health { version: "lint 1".into(), ..Health::default() })
}

#[test]
fn one_answer_makes_a_replica_healthy_and_further_ones_write_nothing() {
    let (known, writes) = answers(None, &[well(), well(), well()]);
    let known = known.unwrap();
    assert_eq!((known.healthy, writes, known.changed_at, known.answered_at), (true, 1, NOW, Some(NOW)));
    let (newer, writes) = answers(Some(known), &[Ok(Health { version: "lint 2".into(), ..Health::default() })]);
    assert_eq!((newer.unwrap().said.version.as_str(), writes), ("lint 2", 1), "another version is news");
}

#[test]
fn a_replica_that_never_answered_is_unhealthy_at_the_first_failure() {
    let (known, writes) = answers(None, &[Err("refused"), Err("refused"), Err("refused")]);
    let known = known.unwrap();
    assert_eq!((known.healthy, known.answered_at, known.message.as_str(), writes), (false, None, "refused", 1));
}

#[test]
fn failures_below_the_threshold_leave_a_replica_healthy_and_an_answer_forgets_them() {
    let refused = Err("refused");
    let (known, writes) = answers(None, &[well(), refused.clone(), refused.clone()]);
    let flapping = known.clone().unwrap();
    assert_eq!((flapping.healthy, flapping.failures, writes), (true, 2, 3));
    let (again, _) = answers(known, &[well(), refused.clone(), refused.clone()]);
    let again = again.unwrap();
    assert_eq!((again.healthy, again.failures, again.changed_at), (true, 2, NOW), "it never was unhealthy");
    let (dead, _) = answers(Some(again), &[refused.clone(), refused.clone(), refused]);
    let dead = dead.unwrap();
    assert_eq!((dead.healthy, dead.failures, dead.changed_at), (false, 3, NOW));
    let (back, writes) = answers(Some(dead), &[well()]);
    assert_eq!((back.unwrap().healthy, writes), (true, 1));
}
