//! A clock that was turned back leaves times in the future. They keep nobody waiting, and hide nothing that counts.

use manifestd::plan::lane::LaneReconciler;
use manifestd::plan::task::TaskReconciler;
use manifestd::plan::{Budgets, Effect, Key, Plan, Reconciler};
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use serde_json::json;

use crate::fixture::{Fixture, NOW, declare, ending, task};

/// When the clock was ahead.
fn ahead() -> Timestamp {
    NOW.plus(Span::minutes(360))
}

/// One pass over the queue of `lint` at a time.
async fn pass(fixture: &Fixture, now: Timestamp) -> Plan {
    let lane = fixture.store.observe_lane("lint".into(), now, Budgets::default()).await.unwrap();
    let plan = LaneReconciler::plan(&lane, now);
    fixture.store.commit(plan.writes.clone(), now).await.unwrap();
    plan
}

fn started(plan: &Plan) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::Start(assignment) => Some(assignment.task.clone()),
        _ => None,
    };
    plan.effects.iter().filter_map(name).collect()
}

#[tokio::test]
async fn openings_of_the_future_do_not_hide_those_that_count_for_the_rate() {
    let fixture = Fixture::with_tasks(9, &["a", "b", "c"]).await;
    let websocket = json!({"urls": ["ws://one"], "request": "static_analyze"});
    let spec = json!({"websocket": websocket, "capacity": 9, "rate": {"limit": 1, "per": "1m"}});
    fixture.respecify(declare(Kind::Analyzer, "lint", spec), 2).await;
    assert_eq!(started(&pass(&fixture, ahead()).await), ["a"]);
    // The opening of the future counts for one period, not until that time comes; the next one counts as always.
    assert_eq!(started(&pass(&fixture, NOW).await), ["b"]);
    assert!(started(&pass(&fixture, NOW.plus(Span::seconds(59))).await).is_empty());
    assert_eq!(started(&pass(&fixture, NOW.plus(Span::seconds(60))).await), ["c"]);
}

#[tokio::test]
async fn a_slot_that_was_abandoned_in_the_future_is_free() {
    let fixture = Fixture::with_tasks(1, &["a", "b"]).await;
    assert_eq!(started(&pass(&fixture, ahead()).await), ["a"]);
    let deadline = ahead().plus(Span::minutes(30));
    let id = manifestd::resource::attempt::AttemptId { task: fixture.uid(Kind::Task, "a"), number: 1 };
    let close = ending(id, Outcome::Cancelled, Reason::CancelledByUser);
    let close = manifestd::plan::write::CloseAttempt { slot_until: Some(deadline), at: ahead(), ..close };
    fixture.store.report_ending(close).await.unwrap();
    assert!(started(&pass(&fixture, ahead()).await).is_empty(), "the other side may still work");
    assert_eq!(started(&pass(&fixture, NOW).await), ["b"]);
}

#[tokio::test]
async fn a_slot_that_is_abandoned_after_the_clock_was_turned_back_is_taken_no_longer_than_its_attempt_was_allowed() {
    let fixture = Fixture::with_tasks(1, &["a", "b"]).await;
    assert_eq!(started(&pass(&fixture, ahead()).await), ["a"]);
    let deadline = Timestamp(fixture.one("SELECT deadline_at FROM attempt"));
    let id = manifestd::resource::attempt::AttemptId { task: fixture.uid(Kind::Task, "a"), number: 1 };
    let close = ending(id, Outcome::Cancelled, Reason::CancelledByUser);
    let close = manifestd::plan::write::CloseAttempt { slot_until: Some(deadline), at: NOW, ..close };
    fixture.store.report_ending(close).await.unwrap();
    let free = NOW.plus(deadline.since(ahead()));
    assert!(started(&pass(&fixture, NOW).await).is_empty(), "the other side may still work");
    assert!(started(&pass(&fixture, free.minus(Span(1))).await).is_empty());
    assert_eq!(started(&pass(&fixture, free).await), ["b"]);
}

#[tokio::test]
async fn a_wait_of_the_future_is_over_and_a_resync_finds_it() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    pass(&fixture, ahead()).await;
    let id = manifestd::resource::attempt::AttemptId { task: fixture.uid(Kind::Task, "a"), number: 1 };
    let close = ending(id.clone(), Outcome::Failed, Reason::ToolFailed);
    fixture.store.report_ending(manifestd::plan::write::CloseAttempt { at: ahead(), ..close }).await.unwrap();
    let plan = TaskReconciler::plan(&fixture.seen("a").await, ahead());
    fixture.store.commit(plan.writes, ahead()).await.unwrap();
    assert_eq!(fixture.seen("a").await.status.reason, Reason::BackOff);
    let key = Key::Task(id.task);
    let at = |wakes: Vec<(Key, Option<Timestamp>)>| wakes.into_iter().find(|(found, _)| *found == key).unwrap().1;
    assert!(at(fixture.store.unsettled(ahead()).await.unwrap()).is_some(), "at its time");
    assert_eq!(at(fixture.store.unsettled(NOW).await.unwrap()), None, "at once");
    fixture.settle("a").await;
    let seen = fixture.seen("a").await;
    assert_eq!((seen.status.phase, seen.status.reason, seen.since), (Phase::Pending, Reason::Queued, NOW));
}

#[tokio::test]
async fn a_replica_that_reached_nobody_is_left_to_others_while_one_is_untried() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let websocket = json!({"urls": ["ws://one", "ws://two"], "request": "static_analyze"});
    fixture.respecify(declare(Kind::Analyzer, "lint", json!({"websocket": websocket, "capacity": 1})), 2).await;
    fixture.probe("ws://two", Ok(Default::default()), NOW).await;
    pass(&fixture, NOW).await;
    assert!(fixture.end("a", Outcome::Unavailable, Reason::AnalyzerUnavailable).await);
    fixture.settle("a").await;
    // The first one answers its probes again, and would be the first among equals.
    fixture.probe("ws://one", Ok(Default::default()), NOW).await;
    let plan = pass(&fixture, NOW).await;
    assert_eq!(started(&plan), ["a"]);
    assert_eq!(fixture.seen("a").await.attempts[1].replica, "ws://two");
    // Somebody else may have the one that is left.
    fixture.create(vec![task("b")]).await;
    assert_eq!(started(&pass(&fixture, NOW).await), ["b"]);
}
