//! What plans and people read: the head of a queue, slots, rates, views, and connections that cannot write.

use manifestd::plan::Budgets;
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use manifestd::store::view::{self, Filter};
use manifestd::store::{Held, StateLock, Store, StoreError, open_read_only};
use serde_json::json;

use crate::fixture::{Fixture, NOW, declare, ending, task, task_with};

#[tokio::test]
async fn a_queue_is_read_by_priority_then_age_then_place_in_the_manifest() {
    let fixture = Fixture::with_tasks(1, &["z", "y", "x"]).await;
    let low = task_with("low", json!({"priority": -5}));
    fixture.create(vec![low, task_with("high", json!({"priority": 500})), task("w")]).await;
    // Declared in the same millisecond, hundreds of them: the order of the manifest holds.
    let many: Vec<String> = (0..300).map(|number| format!("m{:03}", 999 - number)).collect();
    fixture.create(many.iter().map(|name| task(name)).collect()).await;
    let lane = fixture.store.observe_lane("lint".into(), NOW, Budgets::default()).await.unwrap();
    let names: Vec<&str> = lane.candidates.iter().map(|candidate| candidate.name.as_str()).collect();
    let mut wanted = vec!["high", "z", "y", "x", "w"];
    wanted.extend(many.iter().map(String::as_str));
    wanted.truncate(names.len());
    assert_eq!(names, wanted);
    assert_eq!((names.len(), lane.more), (17, true), "a page, and word of the rest");
    let ahead = view::ahead_in_queue(&fixture.sql(), &fixture.uid(Kind::Task, "w").0).unwrap();
    assert_eq!(ahead, 4);
}

#[tokio::test]
async fn slots_are_taken_by_open_attempts_and_by_abandoned_ones_until_their_time() {
    let fixture = Fixture::with_tasks(2, &["a", "b", "c"]).await;
    fixture.dispatch().await;
    // Nobody carries it: the service goes on with it.
    fixture.settle("a").await;
    let lane = async |now| fixture.store.observe_lane("lint".into(), now, Budgets::default()).await.unwrap();
    let deadline = NOW.plus(Span::seconds(1800));
    let seen = lane(NOW).await;
    assert_eq!(seen.occupied, [("ws://one".to_owned(), 2)]);
    assert_eq!(seen.slot_free_at, Some(deadline));
    assert_eq!(view::slots_in_use(&fixture.sql(), NOW).unwrap()["lint"], (1, 1));
    let later = lane(deadline).await;
    assert_eq!((later.occupied, later.slot_free_at), (vec![("ws://one".to_owned(), 1)], None));
    assert_eq!(view::slots_in_use(&fixture.sql(), deadline).unwrap()["lint"], (1, 0));
}

#[tokio::test]
async fn openings_within_the_period_are_read_newest_first_to_the_millisecond() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let rate = json!({"command": {"argv": ["x"]}, "capacity": 9, "rate": {"limit": 2, "per": "1m"}});
    fixture.respecify(declare(Kind::Analyzer, "lint", rate), 2).await;
    fixture.dispatch().await;
    let opened = async |ms| {
        let now = NOW.plus(Span(ms));
        fixture.store.observe_lane("lint".into(), now, Budgets::default()).await.unwrap().opened
    };
    assert_eq!(opened(0).await, [NOW]);
    assert_eq!(opened(59_999).await, [NOW]);
    assert_eq!(opened(60_000).await, []);
}

#[tokio::test]
async fn an_observation_says_who_carries_what() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.dispatch().await;
    let seen = fixture.seen("a").await;
    assert_eq!(seen.attempts[0].carried, None);
    let carried = manifestd::plan::task::Carried { alive_at: NOW, stopping: false };
    let held = Held::from([(seen.attempts[0].id.clone(), carried)]);
    let seen = fixture.store.observe_task(seen.uid, held, Budgets::default()).await.unwrap().unwrap();
    assert_eq!(seen.attempts[0].carried, Some(carried));
    let nobody = fixture.store.observe_task(Uid("nobody".into()), Held::new(), Budgets::default()).await.unwrap();
    assert_eq!(nobody, None);
}

#[tokio::test]
async fn only_attempts_of_the_current_round_count() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.finish("a", Outcome::Failed, Reason::ApiKeyMissing).await;
    assert_eq!(fixture.seen("a").await.attempts.len(), 1);
    fixture.store.request_retry("a".into(), false).await.unwrap();
    fixture.settle("a").await;
    let seen = fixture.seen("a").await;
    assert_eq!((seen.attempts.len(), seen.status.attempt, seen.status.round), (0, 1, 2));
    fixture.dispatch().await;
    assert_eq!(fixture.seen("a").await.attempts[0].id.number, 2, "numbers are never used twice");
}

#[tokio::test]
async fn people_see_objects_with_their_status() {
    let fixture = Fixture::with_tasks(1, &["a", "b"]).await;
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    fixture.store.request_cancel("b".into()).await.unwrap();
    let sql = fixture.sql();
    let named = |name: &str| Filter { name: Some(name.into()), removed: false };
    let a = &view::objects(&sql, Kind::Task, &named("a")).unwrap()[0];
    let status = a.task.as_ref().unwrap();
    assert_eq!((status.status.phase, status.cancel_requested), (Phase::Completed, false));
    assert_eq!(status.attempt().and_then(|attempt| attempt.outcome), Some(Outcome::Completed));
    let b = &view::objects(&sql, Kind::Task, &named("b")).unwrap()[0];
    assert!(b.task.as_ref().is_some_and(|task| task.cancel_requested && task.attempt().is_none()));
    let app = &view::objects(&sql, Kind::App, &Filter::default()).unwrap()[0];
    assert_eq!(app.app.as_ref().map(|app| app.app_set.clone()), Some(None));
    let counts = view::phase_counts(&sql).unwrap();
    assert_eq!((counts[&Phase::Completed], counts[&Phase::Pending]), (1, 1));
    fixture.remove(Kind::Task, "a").await;
    assert_eq!(view::phase_counts(&sql).unwrap().get(&Phase::Completed), None, "its manifest is gone");
    let names = |filter: &Filter| {
        let objects = view::objects(&sql, Kind::Task, filter).unwrap();
        objects.into_iter().map(|object| object.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&Filter::default()), ["b"]);
    assert_eq!(names(&Filter { name: None, removed: true }), ["a", "b"]);
    let last: Vec<String> =
        manifestd::store::events::latest(&sql, None, 2).unwrap().into_iter().map(|event| event.reason).collect();
    assert_eq!(last, ["Completed", "Removed"], "the latest, oldest first");
    assert!(manifestd::store::events::latest(&sql, Some((Kind::Task, "nobody")), 9).unwrap().is_empty());
}

#[tokio::test]
async fn foreign_keys_hold_on_every_side() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let nobody = manifestd::resource::attempt::AttemptId { task: Uid("nobody".into()), number: 1 };
    let open = manifestd::plan::write::OpenAttempt {
        id: nobody,
        round: 1,
        generation: 1,
        asked: vec![],
        analyzer: "lint".into(),
        replica: String::new(),
        opened_at: NOW,
        deadline_at: NOW,
        resumable: false,
        app_digest: None,
        pool: None,
    };
    let writes = vec![manifestd::plan::Write::OpenAttempt(Box::new(open))];
    assert_eq!(fixture.store.commit(writes, NOW).await.unwrap(), manifestd::store::Committed::Conflict);
    fixture.dispatch().await;
    fixture.sql().execute("DELETE FROM object WHERE kind = 'Task'", []).unwrap();
    assert_eq!(fixture.one::<u32>("SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM attempt)"), 0);
}

#[tokio::test]
async fn a_read_only_connection_reads_beside_a_writer_and_writes_nothing() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let reader = open_read_only(fixture.store.path()).unwrap();
    fixture.dispatch().await;
    assert_eq!(view::phase_counts(&reader).unwrap()[&Phase::Running], 1);
    for statement in ["DELETE FROM task", "CREATE TABLE t (x)", "PRAGMA user_version = 7"] {
        let refused = reader.execute_batch(statement).unwrap_err();
        assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::ReadOnly), "{statement}");
    }
}

#[tokio::test]
async fn a_store_has_one_owner_and_is_the_same_when_it_is_opened_again() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.dispatch().await;
    assert!(matches!(StateLock::acquire(fixture.directory.path()), Err(StoreError::Locked { .. })));
    let (before, id) = (fixture.dump(), fixture.store.id().to_owned());
    let Fixture { store, directory } = fixture;
    drop(store);
    let store = Store::open(StateLock::acquire(directory.path()).unwrap()).unwrap();
    assert_eq!(store.id(), id);
    let fixture = Fixture { store, directory };
    assert_eq!(fixture.dump(), before);
    let id = fixture.seen("a").await.attempts[0].id.clone();
    assert!(fixture.store.report_ending(ending(id, Outcome::Completed, Reason::AllToolsRan)).await.unwrap().is_some());
}
