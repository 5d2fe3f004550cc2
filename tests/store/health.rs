//! What is stored of replicas: written only when it is news, made doubtful by attempts that reached nobody, and read with what waits.

use manifestd::plan::analyzer::{AnalyzerReconciler, ObservedAnalyzer};
use manifestd::plan::replica::{BreakerState, breaker};
use manifestd::plan::{Budgets, Reconciler};
use manifestd::resource::analyzer::Breaker;
use manifestd::resource::health::Health;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use serde_json::json;

use crate::fixture::{Fixture, NOW, declare, task_with};

async fn analyzer(fixture: &Fixture) -> ObservedAnalyzer {
    fixture.store.observe_analyzer("lint".into(), Budgets::default()).await.unwrap()
}

/// One pass over `lint`, with its questions left out.
async fn look(fixture: &Fixture) {
    let plan = AnalyzerReconciler::plan(&analyzer(fixture).await, NOW);
    fixture.commit(&plan).await;
}

async fn reached_nobody(fixture: &Fixture, name: &str) {
    fixture.dispatch().await;
    assert!(fixture.end(name, Outcome::Unavailable, Reason::AnalyzerUnavailable).await);
}

#[tokio::test]
async fn an_answer_is_written_only_when_it_is_news() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    let later = NOW.plus(Span::seconds(10));
    let before = fixture.dump();
    assert!(!fixture.probe("ws://one", Ok(Health::default()), later).await);
    assert_eq!(fixture.dump(), before);
    let richer =
        Health { version: "lint 2".into(), protocols: vec!["manifestd/v1".into()], tools: vec!["ruff".into()] };
    assert!(fixture.probe("ws://one", Ok(richer.clone()), later).await);
    let known = analyzer(&fixture).await.replicas.remove(0);
    assert_eq!((known.health.said, known.health.changed_at), (richer, NOW));
    // Two failures of three are counted and change nothing else; the third does; the fourth says nothing new.
    for (news, healthy) in [(true, true), (true, true), (true, false), (false, false)] {
        assert_eq!(fixture.probe("ws://one", Err("refused"), later).await, news);
        assert_eq!(analyzer(&fixture).await.replicas[0].health.healthy, healthy);
    }
    assert_eq!(analyzer(&fixture).await.replicas[0].health.changed_at, later);
}

#[tokio::test]
async fn an_attempt_that_reached_nobody_makes_its_replica_doubtful_in_the_same_transaction() {
    let fixture = Fixture::with_tasks(1, &["a", "b"]).await;
    reached_nobody(&fixture, "a").await;
    let known = analyzer(&fixture).await.replicas.remove(0).health;
    assert_eq!((known.healthy, known.message.as_str()), (false, "ended as Unavailable"));
    // It is settled, and nothing else is sent there.
    fixture.settle("a").await;
    let status = fixture.seen("a").await.status;
    assert_eq!((status.reason, status.waits), (Reason::AnalyzerUnavailable, 1));
    let plan = fixture.lane_plan().await;
    assert!(plan.effects.is_empty() && plan.writes.is_empty(), "one slot, and one waits already: {plan}");
    // A late ending, which is not accepted, says nothing of its replica.
    fixture.probe("ws://one", Ok(Health::default()), NOW).await;
    assert!(!fixture.end("a", Outcome::Unavailable, Reason::AnalyzerUnavailable).await);
    assert!(analyzer(&fixture).await.replicas[0].health.healthy);
}

#[tokio::test]
async fn what_waits_is_found_and_let_go_when_a_probe_succeeds() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    reached_nobody(&fixture, "a").await;
    fixture.settle("a").await;
    look(&fixture).await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::AnalyzerUnavailable);
    let seen = analyzer(&fixture).await;
    assert_eq!((seen.waiting.len(), seen.demand, seen.more), (1, true, false));
    fixture.probe("ws://one", Ok(Health::default()), NOW.plus(Span::minutes(1))).await;
    look(&fixture).await;
    let status = fixture.seen("a").await.status;
    assert_eq!((status.phase, status.reason, status.waits), (Phase::Pending, Reason::Queued, 0));
    assert_eq!(fixture.dispatch().await.effects.len(), 1);
}

#[tokio::test]
async fn what_failed_for_want_of_its_analyzer_is_started_over_until_its_budget_is_spent() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    for recoveries in 0..=3 {
        fixture.sql().execute("UPDATE task SET waits = 3", []).unwrap();
        reached_nobody(&fixture, "a").await;
        fixture.settle("a").await;
        let status = fixture.seen("a").await.status;
        assert_eq!((status.phase, status.recoveries), (Phase::Failed, recoveries));
        fixture.probe("ws://one", Ok(Health::default()), NOW).await;
        look(&fixture).await;
    }
    let seen = analyzer(&fixture).await;
    assert_eq!((seen.waiting.len(), seen.demand), (0, false), "nobody asks for it any more");
    // A person gives it another chance, with everything fresh.
    fixture.store.request_retry("a".into(), false).await.unwrap();
    fixture.settle("a").await;
    let status = fixture.seen("a").await.status;
    assert_eq!((status.phase, status.recoveries, status.waits), (Phase::Pending, 0, 0));
}

#[tokio::test]
async fn a_removed_task_that_failed_is_not_started_over() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.sql().execute("UPDATE task SET waits = 3", []).unwrap();
    reached_nobody(&fixture, "a").await;
    fixture.settle("a").await;
    assert_eq!(analyzer(&fixture).await.waiting.len(), 1);
    fixture.remove(Kind::Task, "a").await;
    assert_eq!(analyzer(&fixture).await.waiting.len(), 0);
}

#[tokio::test]
async fn only_tasks_that_could_use_an_analyzer_are_a_demand() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(vec![task_with("a", json!({"suspend": true}))]).await;
    fixture.dispatch().await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::Suspended);
    assert!(!analyzer(&fixture).await.demand);
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    assert!(analyzer(&fixture).await.demand, "queued");
    fixture.dispatch().await;
    assert!(analyzer(&fixture).await.demand, "running");
    fixture.end("a", Outcome::Failed, Reason::ToolFailed).await;
    fixture.settle("a").await;
    assert!(analyzer(&fixture).await.demand, "backing off");
}

#[tokio::test]
async fn a_breaker_is_read_from_the_latest_endings_after_a_restart_too() {
    let policy = Breaker { open_after_failures: 2, half_open_after: Span::minutes(2) };
    let fixture = Fixture::with_tasks(1, &["a", "b", "c"]).await;
    let state = async |fixture: &Fixture| breaker(policy, &analyzer(fixture).await.replicas[0], NOW);
    fixture.finish("a", Outcome::Failed, Reason::ToolFailed).await;
    fixture.finish("b", Outcome::ProtocolError, Reason::ConnectionLost).await;
    assert_eq!(state(&fixture).await, BreakerState::Closed);
    fixture.finish("c", Outcome::ProtocolError, Reason::ConnectionLost).await;
    // All endings of a test are of one moment; the proof of the transport must be older than the failures.
    fixture.sql().execute("UPDATE attempt SET ended_at = ended_at - 1 WHERE outcome = 'Failed'", []).unwrap();
    let until = NOW.plus(Span::minutes(2));
    assert_eq!(state(&fixture).await, BreakerState::Open { until });
    let Fixture { store, directory } = fixture;
    drop(store);
    let store = manifestd::store::Store::open(manifestd::store::StateLock::acquire(directory.path()).unwrap()).unwrap();
    assert_eq!(state(&Fixture { store, directory }).await, BreakerState::Open { until });
}

#[tokio::test]
async fn a_replica_that_an_analyzer_has_no_more_is_forgotten() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    let moved = json!({"websocket": {"urls": ["ws://two"], "request": "static_analyze"}});
    fixture.respecify(declare(Kind::Analyzer, "lint", moved), 2).await;
    look(&fixture).await;
    assert!(analyzer(&fixture).await.replicas.is_empty());
    fixture.probe("ws://two", Ok(Health::default()), NOW).await;
    fixture.remove(Kind::Analyzer, "lint").await;
    assert_eq!(fixture.store.analyzers().await.unwrap(), ["lint"], "what is left of it is still to be cleared");
    look(&fixture).await;
    assert_eq!(fixture.store.known_replicas().await.unwrap(), []);
    assert!(fixture.store.analyzers().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_person_who_does_not_want_to_wait_ends_this_wait_and_no_later_one() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.probe("ws://one", Err("refused"), NOW).await;
    for _ in 0..2 {
        fixture.probe("ws://one", Err("refused"), NOW).await;
    }
    // As a process sees it that has asked itself.
    let wait = async || {
        let mut lane = fixture.store.observe_lane("lint".into(), NOW, Budgets::default()).await.unwrap();
        lane.replicas.iter_mut().for_each(|replica| replica.asked = true);
        let plan = manifestd::plan::lane::LaneReconciler::plan(&lane, NOW);
        fixture.commit(&plan).await;
        fixture.seen("a").await.status
    };
    assert_eq!((wait().await.reason, fixture.seen("a").await.status.attempt), (Reason::AnalyzerUnavailable, 0));
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::AnalyzerUnavailable, "it waits for its time");
    fixture.store.request_retry("a".into(), false).await.unwrap();
    fixture.settle("a").await;
    let status = fixture.seen("a").await.status;
    assert_eq!((status.reason, status.waits), (Reason::Queued, 0));
    assert_eq!(wait().await.reason, Reason::AnalyzerUnavailable);
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::AnalyzerUnavailable, "and waits again");
}
