//! What a run says of itself while it is being stopped.

use manifestd::plan::pipeline::run::RunReconciler;
use manifestd::plan::pipeline::write::CreateRun;
use manifestd::plan::{Reconciler, Write};
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::run::{Cause, Suspension};
use manifestd::resource::time::{Span, Timestamp};
use manifestd::store::Committed;
use serde_json::{Map, json};

use super::fixture::{Fixture, NOW, declare};

/// A run of one step, and one at its end, that may take a minute; its first child was asked for.
async fn begun() -> (Fixture, Uid) {
    let fixture = Fixture::empty();
    let steps = json!({"runPolicy": "Manual", "activeDeadlineSeconds": 60,
        "steps": [{"name": "a", "analyzer": "lint"}], "finally": [{"name": "last", "analyzer": "lint"}]});
    fixture.create(vec![declare(Kind::Pipeline, "p", steps)]).await;
    let (name, pipeline_uid, params) = ("p-1".to_owned(), fixture.uid(Kind::Pipeline, "p"), Map::new());
    let create = CreateRun { name, pipeline_uid, generation: 1, params, cause: Cause::Manual, scheduled_at: None };
    fixture.store.commit(vec![Write::CreateRun(Box::new(create))], NOW).await.unwrap();
    let run = Uid(fixture.one("SELECT uid FROM run"));
    settle(&fixture, &run, NOW).await;
    (fixture, run)
}

/// Plans and commits until a pass has nothing to write; gives what the run says then.
async fn settle(fixture: &Fixture, run: &Uid, now: Timestamp) -> (String, String) {
    for _ in 0..20 {
        let observed = fixture.store.observe_run(run.clone()).await.unwrap().unwrap();
        let plan = RunReconciler::plan(&observed, now);
        if plan.writes.is_empty() {
            return (fixture.one("SELECT phase || ' ' || reason FROM run"), fixture.one("SELECT message FROM run"));
        }
        assert!(matches!(fixture.store.commit(plan.writes, now).await.unwrap(), Committed::Applied(_)));
    }
    panic!("the plans do not come to rest");
}

fn end(fixture: &Fixture, child: &str, phase: &str) {
    let update = "UPDATE task SET phase = ?2, finished_at = 9, version = version + 1 WHERE name = ?1";
    assert_eq!(fixture.sql().execute(update, [child, phase]).unwrap(), 1);
}

#[tokio::test]
async fn a_suspended_run_past_its_deadline_says_that_its_end_waits_for_a_person_and_goes_on_when_resumed() {
    let (fixture, run) = begun().await;
    let suspension = Suspension { reason: "wait".into(), by: "tester".into(), at: NOW, until: None };
    fixture.store.suspend("run/p-1".into(), suspension, false).await.unwrap().unwrap();
    let late = NOW.plus(Span::minutes(2));
    let (state, message) = settle(&fixture, &run, late).await;
    assert_eq!(state, "Running DeadlineExceeded");
    assert_eq!(message, "its deadline has passed; what runs is being cancelled");
    end(&fixture, "p-1_a", "Cancelled");
    let (state, message) = settle(&fixture, &run, late).await;
    assert_eq!(state, "Running DeadlineExceeded");
    assert!(message.contains("it is suspended") && message.contains("until it is resumed"), "{message}");
    assert_eq!(fixture.one::<i64>("SELECT count(*) FROM task"), 1, "a suspended run began something");
    fixture.store.resume("run/p-1".into(), false).await.unwrap().unwrap();
    let (_, message) = settle(&fixture, &run, late).await;
    assert!(!message.contains("suspended") && !message.contains("cancelled"), "{message}");
    end(&fixture, "p-1_last", "Completed");
    assert_eq!(settle(&fixture, &run, late).await.0, "Failed DeadlineExceeded");
}

#[tokio::test]
async fn the_suspension_of_a_run_that_has_ended_is_nothing_to_do() {
    let (fixture, run) = begun().await;
    let until = NOW.plus(Span::minutes(5));
    let suspension = Suspension { reason: "wait".into(), by: "tester".into(), at: NOW, until: Some(until) };
    fixture.store.suspend("run/p-1".into(), suspension, false).await.unwrap().unwrap();
    fixture.store.cancel_runs(vec!["p-1".into()], String::new(), true, false).await.unwrap().unwrap();
    settle(&fixture, &run, NOW).await;
    end(&fixture, "p-1_a", "Cancelled");
    assert_eq!(settle(&fixture, &run, NOW).await.0, "Cancelled RunCancelled");
    let late = until.plus(Span::minutes(1));
    let observed = fixture.store.observe_run(run.clone()).await.unwrap().unwrap();
    let plan = RunReconciler::plan(&observed, late);
    assert!(plan.writes.is_empty() && plan.next.is_none(), "{plan}");
}
