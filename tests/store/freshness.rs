//! What is stored of the files of apps, who is woken by a reading, and which results can be taken.

use manifestd::plan::lane::LaneReconciler;
use manifestd::plan::reuse::Reusable;
use manifestd::plan::tree::{ObservedTree, Watcher};
use manifestd::plan::write::{CloseAttempt, TreeSeen};
use manifestd::plan::{Key, Reconciler, Write};
use manifestd::resource::attempt::{AttemptId, StoredResult};
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use manifestd::store::Committed;
use serde_json::json;

use crate::fixture::{Fixture, NOW, declare, ending, task, task_with};

async fn watched() -> Fixture {
    let fixture = Fixture::with_tasks(1, &["plain"]).await;
    fixture.create(vec![task_with("a", json!({"runPolicy": "OnAppChange"}))]).await;
    fixture
}

fn app(fixture: &Fixture) -> Uid {
    fixture.uid(Kind::App, "demo")
}

async fn tree(fixture: &Fixture) -> ObservedTree {
    fixture.store.observe_tree(app(fixture), NOW).await.unwrap().unwrap()
}

async fn see(fixture: &Fixture, digest: &str, at: Timestamp) -> Committed {
    let seen = TreeSeen { uid: app(fixture), generation: 1, digest: digest.into(), at };
    fixture.store.commit(vec![Write::TreeSeen(Box::new(seen))], NOW).await.unwrap()
}

#[tokio::test]
async fn only_apps_that_a_task_depends_on_are_read() {
    let fixture = Fixture::with_tasks(1, &["plain"]).await;
    assert!(fixture.store.needed_trees().await.unwrap().is_empty());
    assert!(!tree(&fixture).await.is_needed());
    fixture.create(vec![task_with("a", json!({"runPolicy": "OnAppChange"}))]).await;
    assert_eq!(fixture.store.needed_trees().await.unwrap(), [app(&fixture)]);
    fixture.remove(Kind::Task, "a").await;
    assert!(fixture.store.needed_trees().await.unwrap().is_empty());
    // One that only shares results needs its app while it waits for a reading.
    fixture.create(vec![task_with("b", json!({"cache": "Content", "priority": 900}))]).await;
    fixture.dispatch().await;
    assert_eq!(fixture.seen("b").await.status.reason, Reason::AppNotRead);
    assert_eq!(fixture.store.needed_trees().await.unwrap(), [app(&fixture)]);
    assert_eq!(tree(&fixture).await.waiting_since, Some(NOW));
    see(&fixture, "x", NOW).await;
    fixture.settle("b").await;
    assert!(fixture.store.needed_trees().await.unwrap().is_empty());
    // What is gone is not read.
    fixture.restore(task_with("a", json!({"runPolicy": "OnAppChange"}))).await;
    fixture.commit_missing(Some(NOW)).await;
    assert!(fixture.store.needed_trees().await.unwrap().is_empty());
    assert_eq!(fixture.store.observe_tree(app(&fixture), NOW).await.unwrap(), None);
}

impl Fixture {
    async fn commit_missing(&self, since: Option<Timestamp>) {
        let write = Write::AppMissing { uid: app(self), since };
        self.store.commit(vec![write], NOW).await.unwrap();
    }
}

#[tokio::test]
async fn a_reading_wakes_who_waits_for_it_and_the_attempt_remembers_what_it_saw() {
    let fixture = watched().await;
    fixture.sql().execute("UPDATE task SET priority = 900 WHERE name = 'a'", []).unwrap();
    fixture.dispatch().await;
    let key = Key::Task(fixture.uid(Kind::Task, "a"));
    let held = fixture.seen("a").await;
    assert_eq!(held.status.reason, Reason::AppNotRead);
    // One that is too old wakes it for nothing.
    assert_eq!(see(&fixture, "x", NOW.minus(Span(1))).await, Committed::Applied(vec![key.clone()]));
    let plan = fixture.settle("a").await;
    assert!(plan.is_empty());
    assert_eq!(plan.wakes, [Key::Tree(app(&fixture))]);
    see(&fixture, "x", NOW).await;
    fixture.settle("a").await;
    fixture.sql().execute("UPDATE task SET phase = 'Cancelled', finished_at = 1 WHERE name = 'plain'", []).unwrap();
    fixture.sql().execute("UPDATE attempt SET ended_at = 1, outcome = 'Cancelled'", []).unwrap();
    fixture.dispatch().await;
    assert_eq!(fixture.seen("a").await.status.app_digest.as_deref(), Some("x"));
    let stored: String = fixture.one("SELECT app_digest FROM attempt WHERE app_digest IS NOT NULL");
    assert_eq!(stored, "x");

    // While it runs, the app changes; afterwards it starts over.
    fixture.end("a", Outcome::Completed, Reason::AllToolsRan).await;
    fixture.settle("a").await;
    assert_eq!(fixture.settle("a").await.writes, []);
    see(&fixture, "y", NOW).await;
    let watcher = Watcher { uid: held.uid, phase: Phase::Completed, app_digest: Some("x".into()) };
    assert_eq!(tree(&fixture).await.watchers, [watcher]);
    fixture.settle("a").await;
    let status = fixture.seen("a").await.status;
    assert_eq!((status.round, status.phase, status.app_digest), (2, Phase::Pending, None));
}

#[tokio::test]
async fn what_was_read_in_another_place_or_before_it_went_is_forgotten() {
    let fixture = watched().await;
    see(&fixture, "x", NOW).await;
    assert_eq!(tree(&fixture).await.stored.unwrap().digest, "x");
    let moved = declare(Kind::App, "demo", json!({"path": "apps/other", "model": "demo", "number": 1}));
    let outcome = fixture.respecify(moved, 2).await;
    assert!(outcome.woken.contains(&Key::Tree(app(&fixture))));
    assert_eq!(tree(&fixture).await.stored, None);
    assert_eq!(see(&fixture, "x", NOW).await, Committed::Conflict, "it was read in the old place");
    assert_eq!(tree(&fixture).await.stored, None);

    let fixture = watched().await;
    see(&fixture, "x", NOW).await;
    fixture.commit_missing(Some(NOW)).await;
    fixture.commit_missing(None).await;
    assert_eq!(tree(&fixture).await.stored, None);
}

/// Runs `name` to its end under a cache key.
async fn finish_with_key(fixture: &Fixture, name: &str, at: Timestamp) {
    fixture.dispatch().await;
    let id = AttemptId { task: fixture.uid(Kind::Task, name), number: fixture.seen(name).await.status.attempt };
    let result = StoredResult { directory: format!("demo/{name}/1"), sha256: "s".into(), bytes: 1 };
    let close = CloseAttempt {
        result: Some(result),
        cache_key: Some("key".into()),
        at,
        ..ending(id, Outcome::Completed, Reason::AllToolsRan)
    };
    assert!(fixture.store.report_ending(close).await.unwrap().is_some());
    fixture.settle(name).await;
}

async fn reusable(fixture: &Fixture) -> Option<Reusable> {
    fixture.store.reusable(vec!["key".into(), "other".into()]).await.unwrap().remove("key")
}

#[tokio::test]
async fn the_latest_attempt_with_the_key_is_the_one_to_take() {
    let fixture = Fixture::with_tasks(1, &["a", "b"]).await;
    assert_eq!(reusable(&fixture).await, None);
    finish_with_key(&fixture, "a", NOW).await;
    finish_with_key(&fixture, "b", NOW.plus(Span(1))).await;
    let found = reusable(&fixture).await.unwrap();
    assert_eq!((found.task.as_str(), found.number, found.result.unwrap().directory.as_str()), ("b", 1, "demo/b/1"));
    // One without files can be taken as well.
    fixture.sql().execute("UPDATE attempt SET result_dir = NULL, result_sha256 = NULL", []).unwrap();
    assert_eq!(reusable(&fixture).await.unwrap().result, None);
}

#[tokio::test]
async fn the_versions_of_replicas_are_those_that_they_said() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    let insert = "INSERT OR REPLACE INTO replica (analyzer, url, healthy, failures, changed_at, message, version)
         VALUES ('lint', 'ws://one', 1, 0, 0, '', '1.2'), ('lint', 'ws://two', 1, 0, 0, '', ''), ('other', 'ws://one', 1, 0, 0, '', '3')";
    fixture.sql().execute(insert, []).unwrap();
    let versions = fixture.store.replica_versions("lint".into()).await.unwrap();
    assert_eq!(versions, [("ws://one".to_owned(), "1.2".to_owned())]);
}

#[tokio::test]
async fn a_retry_without_cache_counts_for_the_round_that_it_starts() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let no_cache = || async {
        let lane = fixture.store.observe_lane("lint".into(), NOW, Default::default()).await.unwrap();
        lane.candidates.iter().map(|candidate| candidate.no_cache).collect::<Vec<_>>()
    };
    assert_eq!(no_cache().await, [false]);
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    fixture.store.request_retry("a".into(), true).await.unwrap();
    fixture.settle("a").await;
    assert_eq!(no_cache().await, [true]);
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    fixture.store.request_retry("a".into(), false).await.unwrap();
    fixture.settle("a").await;
    assert_eq!(no_cache().await, [false]);
    // One that waits is in its round already.
    fixture.store.request_retry("a".into(), true).await.unwrap();
    assert_eq!(no_cache().await, [true]);
}

#[tokio::test]
async fn a_reused_result_does_not_count_against_the_rate() {
    let fixture = Fixture::empty();
    let analyzer = json!({"command": {"argv": ["true"]}, "rate": {"limit": 1, "per": "1h"}});
    let app = declare(Kind::App, "demo", json!({"path": "apps/demo/app1"}));
    fixture.create(vec![declare(Kind::Analyzer, "lint", analyzer), app, task("a")]).await;
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    let opened =
        || async { fixture.store.observe_lane("lint".into(), NOW, Default::default()).await.unwrap().opened.len() };
    assert_eq!(opened().await, 1);
    fixture.sql().execute("UPDATE attempt SET reason = 'Reused'", []).unwrap();
    assert_eq!(opened().await, 0);
}

#[tokio::test]
async fn a_reused_result_takes_no_slot_of_a_pool_and_holds_nobody_up() {
    let fixture = Fixture::with_tasks(1, &["first"]).await;
    finish_with_key(&fixture, "first", NOW).await;
    let pool = declare(Kind::Pool, "gpu", json!({"slots": 1}));
    let pooled = |name| task_with(name, json!({"pool": "gpu"}));
    fixture.create(vec![pool, pooled("same"), pooled("other")]).await;
    let found = reusable(&fixture).await;
    let mut lane = fixture.store.observe_lane("lint".into(), NOW, Default::default()).await.unwrap();
    let same = lane.candidates.iter_mut().find(|candidate| candidate.name == "same").unwrap();
    same.reusable = found;
    let plan = LaneReconciler::plan(&lane, NOW);
    assert_eq!(plan.effects.len(), 1, "the other one runs");
    assert!(matches!(fixture.commit(&plan).await, Committed::Applied(_)), "{plan}");
    let same = fixture.seen("same").await.status;
    assert_eq!((same.phase, same.reason), (Phase::Completed, Reason::Reused));
    assert_eq!(fixture.seen("other").await.status.phase, Phase::Running);
}
