//! A resync finds whatever a lost wake-up left behind, and nothing else.

use manifestd::plan::Key;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use serde_json::json;

use crate::fixture::{Fixture, NOW, declare, task, task_with};

/// The reasons a resync gives for looking at the task `a`: at once, or later.
async fn looks(fixture: &Fixture) -> Vec<bool> {
    let key = Key::Task(fixture.uid(Kind::Task, "a"));
    fixture.unsettled().await.into_iter().filter(|(found, _)| *found == key).map(|(_, at)| at.is_none()).collect()
}

async fn is_looked_at(fixture: &Fixture) -> bool {
    looks(fixture).await.contains(&true)
}

async fn finished(outcome: Outcome, reason: Reason) -> Fixture {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.finish("a", outcome, reason).await;
    assert!(fixture.unsettled().await.is_empty(), "what is finished is left alone");
    fixture
}

async fn backing_off() -> Fixture {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.finish("a", Outcome::Failed, Reason::ToolFailed).await;
    assert_eq!(looks(&fixture).await, [false], "at its time");
    fixture
}

#[tokio::test]
async fn a_queue_is_found_once_whatever_its_length() {
    let fixture = Fixture::with_tasks(1, &["a", "b", "c"]).await;
    let other = declare(Kind::Task, "other", json!({"app": "demo", "analyzer": "another"}));
    fixture.create(vec![other]).await;
    let lanes = [Key::Lane("another".into()), Key::Lane("lint".into())].map(|key| (key, None));
    assert_eq!(fixture.unsettled().await, lanes);
}

#[tokio::test]
async fn a_running_task_is_found_whether_its_attempt_is_open_or_has_ended() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.dispatch().await;
    assert!(is_looked_at(&fixture).await);
    fixture.end("a", Outcome::Completed, Reason::AllToolsRan).await;
    assert!(is_looked_at(&fixture).await);
    fixture.settle("a").await;
    assert_eq!(fixture.unsettled().await, []);
}

#[tokio::test]
async fn a_held_task_is_found() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(vec![task_with("a", json!({"suspend": true}))]).await;
    fixture.dispatch().await;
    assert!(is_looked_at(&fixture).await);
}

#[tokio::test]
async fn a_wait_is_found_with_its_time_and_at_once_when_it_is_cut_short() {
    let fixture = backing_off().await;
    let due = fixture.store.due(10, NOW).await.unwrap();
    assert_eq!((due.len(), due[0].0.as_str(), due[0].1.as_str()), (1, "task/a", "BackOff"));
    assert!(due[0].2 >= NOW.plus(Span::seconds(30)));

    fixture.store.request_retry("a".into(), false).await.unwrap();
    assert!(is_looked_at(&fixture).await, "a person asked to try now");
    let fixture = backing_off().await;
    fixture.respecify(task_with("a", json!({"priority": 7})), 2).await;
    assert!(is_looked_at(&fixture).await, "its spec changed");
    let fixture = backing_off().await;
    fixture.store.request_cancel("a".into()).await.unwrap();
    assert!(is_looked_at(&fixture).await, "a person cancelled it");
    let fixture = backing_off().await;
    fixture.remove(Kind::Task, "a").await;
    assert!(is_looked_at(&fixture).await, "its manifest is gone");
}

#[tokio::test]
async fn a_queued_task_that_is_not_wanted_is_found() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    assert!(!is_looked_at(&fixture).await);
    fixture.store.request_cancel("a".into()).await.unwrap();
    assert!(is_looked_at(&fixture).await);
    fixture.settle("a").await;
    assert_eq!(fixture.unsettled().await, []);
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.remove(Kind::Task, "a").await;
    assert!(is_looked_at(&fixture).await);
    fixture.settle("a").await;
    assert_eq!(fixture.unsettled().await, []);
}

#[tokio::test]
async fn a_finished_task_is_found_when_it_shall_run_again() {
    let fixture = finished(Outcome::Completed, Reason::AllToolsRan).await;
    fixture.store.request_retry("a".into(), false).await.unwrap();
    assert!(is_looked_at(&fixture).await, "a person asked for another run");
    let fixture = finished(Outcome::Failed, Reason::ApiKeyMissing).await;
    fixture.respecify(task_with("a", json!({"priority": 7})), 2).await;
    assert!(is_looked_at(&fixture).await, "its spec changed");

    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.remove(Kind::Task, "a").await;
    fixture.settle("a").await;
    fixture.restore(task("a")).await;
    assert!(is_looked_at(&fixture).await, "its manifest came back");
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.phase, Phase::Pending);
}

#[tokio::test]
async fn a_finished_task_that_shall_not_run_again_is_looked_at_no_more() {
    // runPolicy Once: the changed spec is taken note of, once.
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(vec![task_with("a", json!({"runPolicy": "Once"}))]).await;
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    fixture.respecify(task_with("a", json!({"runPolicy": "Once", "priority": 7})), 2).await;
    assert!(is_looked_at(&fixture).await);
    fixture.settle("a").await;
    assert_eq!(fixture.unsettled().await, []);
    assert_eq!(fixture.seen("a").await.status.phase, Phase::Completed);
    // Its spec changed and then its manifest was removed.
    let fixture = finished(Outcome::Completed, Reason::AllToolsRan).await;
    fixture.respecify(task_with("a", json!({"priority": 7})), 2).await;
    fixture.remove(Kind::Task, "a").await;
    assert_eq!(fixture.unsettled().await, []);
}

#[tokio::test]
async fn requests_say_whether_anything_will_happen() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let cancel = async || fixture.store.request_cancel("a".into()).await.unwrap().unwrap();
    let retry = async || fixture.store.request_retry("a".into(), false).await.unwrap().unwrap();
    assert_eq!(fixture.store.request_retry("nobody".into(), false).await.unwrap(), None);
    assert!(cancel().await.effective && retry().await.effective, "the last word counts");
    fixture.settle("a").await;
    assert_eq!((retry().await.phase, retry().await.effective), (Phase::Pending, true));
    fixture.dispatch().await;
    assert_eq!((retry().await.phase, retry().await.effective), (Phase::Running, false));
    fixture.end("a", Outcome::Failed, Reason::ToolFailed).await;
    fixture.settle("a").await;
    assert!(retry().await.effective, "it waits for its time");
    fixture.settle("a").await;
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    fixture.settle("a").await;
    let status = fixture.seen("a").await.status;
    assert_eq!((status.phase, status.round, status.attempt), (Phase::Completed, 1, 2), "one retry is one run");
    assert!(!cancel().await.effective, "it is finished");
    assert!(retry().await.effective);
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.round, 2);
    assert!(cancel().await.effective);
    fixture.settle("a").await;
    fixture.settle("a").await;
    let status = fixture.seen("a").await.status;
    assert_eq!((status.phase, status.round), (Phase::Cancelled, 2), "and stays so");
    fixture.remove(Kind::Task, "a").await;
    assert!(!retry().await.effective, "its manifest is gone");
}
