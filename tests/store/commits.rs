//! Law 1: every transition is guarded by what it was decided on.

use manifestd::plan::task::TaskReconciler;
use manifestd::plan::write::{OpenAttempt, TaskStatus, TaskWrite};
use manifestd::plan::{Reconciler, Write};
use manifestd::resource::attempt::{AttemptId, Sign};
use manifestd::resource::findings::Findings;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::{Outcome, ToolReport, ToolStatus};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use manifestd::store::Committed;

use serde_json::json;

use crate::fixture::{Fixture, NOW, ending, event, task_with};

fn open(id: AttemptId) -> Write {
    Write::OpenAttempt(Box::new(OpenAttempt {
        id,
        round: 1,
        generation: 1,
        asked: vec![],
        analyzer: "lint".into(),
        replica: "ws://one".into(),
        opened_at: NOW,
        deadline_at: NOW.plus(Span::minutes(30)),
        resumable: false,
        app_digest: None,
        pool: None,
    }))
}

fn status(write: TaskStatus, uid: &manifestd::resource::name::Uid, version: i64) -> Write {
    Write::Task(Box::new(TaskWrite { uid: uid.clone(), version, status: write }))
}

#[tokio::test]
async fn the_next_attempt_is_asked_for_what_the_earlier_ones_of_its_round_left() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.dispatch().await;
    let id = AttemptId { task: fixture.uid(Kind::Task, "a"), number: 1 };
    let tool = |name: &str, status| ToolReport {
        name: name.into(),
        status,
        message: String::new(),
        findings: Findings::default(),
        permanent: false,
    };
    let tools = vec![tool("one", ToolStatus::Completed), tool("two", ToolStatus::NotRun)];
    let mut close = ending(id, Outcome::PartialSuccess, Reason::SomeToolsFailed);
    close.verdict.tools = tools.clone();
    assert!(fixture.store.report_ending(close).await.unwrap().is_some());
    assert_eq!(fixture.seen("a").await.attempts[0].ended.as_ref().unwrap().tools, tools);
    fixture.settle("a").await;
    let seen = fixture.seen("a").await;
    assert_eq!((seen.status.phase, seen.status.reason), (Phase::Pending, Reason::BackOff));
    let queued = status(seen.status.waiting(Reason::Queued, "", None), &seen.uid, seen.version);
    fixture.store.commit(vec![queued], NOW).await.unwrap();
    let plan = fixture.dispatch().await;
    let asked = plan.writes.iter().find_map(|write| match write {
        Write::OpenAttempt(open) => Some(open.asked.clone()),
        _ => None,
    });
    assert_eq!(asked, Some(vec!["two".to_owned()]));
    assert_eq!(fixture.seen("a").await.attempts[1].asked, ["two"]);
}

#[tokio::test]
async fn a_plan_that_was_carried_out_is_stale_and_nothing_of_it_is_written_again() {
    let fixture = Fixture::with_tasks(2, &["a", "b"]).await;
    let plan = fixture.dispatch().await;
    let before = fixture.dump();
    assert_eq!(fixture.commit(&plan).await, Committed::Conflict);
    assert_eq!(fixture.dump(), before);
    assert!(fixture.lane_plan().await.is_empty(), "twice is once");
}

#[tokio::test]
async fn a_plan_of_which_one_write_is_stale_is_not_written_at_all() {
    let fixture = Fixture::with_tasks(2, &["a", "b"]).await;
    let plan = fixture.lane_plan().await;
    // Somebody else moves the second task.
    fixture.store.request_cancel("b".into()).await.unwrap();
    fixture.settle("b").await;
    let before = fixture.dump();
    assert_eq!(fixture.commit(&plan).await, Committed::Conflict);
    assert_eq!(fixture.dump(), before);
}

#[tokio::test]
async fn a_plan_on_an_earlier_look_opens_no_more_than_there_is_room_for_and_nothing_of_an_older_spec() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let early = fixture.lane_plan().await;
    fixture.create(vec![task_with("first", json!({"priority": 200}))]).await;
    let late = fixture.lane_plan().await;
    assert!(matches!(fixture.commit(&late).await, Committed::Applied(_)));
    let before = fixture.dump();
    assert_eq!(fixture.commit(&early).await, Committed::Conflict, "the slot is taken");
    assert_eq!(fixture.dump(), before);
    fixture.finish("first", Outcome::Completed, Reason::AllToolsRan).await;
    let early = fixture.lane_plan().await;
    fixture.respecify(task_with("a", json!({"priority": 7})), 2).await;
    assert_eq!(fixture.commit(&early).await, Committed::Conflict, "it is of an older spec");
    assert!(matches!(fixture.commit(&fixture.lane_plan().await).await, Committed::Applied(_)));
}

#[tokio::test]
async fn two_open_attempts_of_one_task_are_impossible() {
    let fixture = Fixture::with_tasks(2, &["a"]).await;
    fixture.dispatch().await;
    let task = fixture.uid(Kind::Task, "a");
    for number in [1, 2] {
        let opened = fixture.store.commit(vec![open(AttemptId { task: task.clone(), number })], NOW).await.unwrap();
        assert_eq!(opened, Committed::Conflict, "attempt {number}");
    }
    assert_eq!(fixture.one::<u32>("SELECT count(*) FROM attempt"), 1);
}

#[tokio::test]
async fn a_terminal_phase_moves_only_to_a_later_round() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    let task = fixture.seen("a").await;
    assert_eq!(task.status.phase, Phase::Completed);
    let before = fixture.dump();
    let same_round = task.status.waiting(Reason::Queued, "", None);
    let failed = task.status.ended(Phase::Failed, Reason::ToolFailed, "", Findings::default(), NOW);
    let other_reason = TaskStatus { reason: Reason::SomeToolsFailed, ..task.status.clone() };
    let earlier = TaskStatus::fresh(0, 1, 1);
    for refused in [same_round, failed, other_reason, earlier] {
        let error =
            fixture.store.commit(vec![status(refused.clone(), &task.uid, task.version)], NOW).await.unwrap_err();
        assert!(error.to_string().contains("terminal"), "{refused:?}: {error}");
        assert!(!error.is_fatal());
    }
    assert_eq!(fixture.dump(), before);
    let next = TaskStatus::fresh(2, 1, 1);
    let moved = fixture.store.commit(vec![status(next, &task.uid, task.version)], NOW).await.unwrap();
    assert_eq!(moved, Committed::Applied(vec![]));
}

#[tokio::test]
async fn an_ending_is_accepted_once_and_a_late_one_is_rejected() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.dispatch().await;
    assert!(fixture.end("a", Outcome::Completed, Reason::AllToolsRan).await);
    assert!(!fixture.end("a", Outcome::Failed, Reason::ToolFailed).await);
    assert_eq!(fixture.one::<String>("SELECT outcome FROM attempt"), "Completed");
    // Not even by hand, and not for an attempt that never was.
    assert!(fixture.sql().execute("UPDATE attempt SET outcome = 'Failed'", []).is_err());
    let nobody = AttemptId { task: fixture.uid(Kind::Task, "a"), number: 9 };
    assert!(
        fixture.store.report_ending(ending(nobody, Outcome::Completed, Reason::AllToolsRan)).await.unwrap().is_none()
    );
}

#[tokio::test]
async fn an_ending_that_comes_between_observing_and_closing_wins() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.dispatch().await;
    let orphaned = TaskReconciler::plan(&fixture.seen("a").await, NOW);
    assert!(fixture.end("a", Outcome::Completed, Reason::AllToolsRan).await);
    assert_eq!(fixture.commit(&orphaned).await, Committed::Conflict);
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.phase, Phase::Completed);
}

#[tokio::test]
async fn the_result_of_an_older_attempt_is_rejected() {
    let fixture = Fixture::with_tasks(2, &["a"]).await;
    fixture.dispatch().await;
    let old = AttemptId { task: fixture.uid(Kind::Task, "a"), number: 1 };
    // A restart: nobody carries it, so it is closed, and the task runs again on the second slot.
    fixture.settle("a").await;
    fixture.dispatch().await;
    assert_eq!(fixture.seen("a").await.status.attempt, 2);
    assert!(fixture.store.report_ending(ending(old, Outcome::Completed, Reason::AllToolsRan)).await.unwrap().is_none());
    fixture
        .store
        .report_ending(ending(
            AttemptId { task: fixture.uid(Kind::Task, "a"), number: 2 },
            Outcome::Failed,
            Reason::ToolFailed,
        ))
        .await
        .unwrap();
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::BackOff);
}

#[tokio::test]
async fn signs_of_life_are_written_while_an_attempt_is_open_and_not_after() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.dispatch().await;
    let id = AttemptId { task: fixture.uid(Kind::Task, "a"), number: 1 };
    let progress = |stage: &str, fraction| Sign::Progress { stage: stage.into(), message: "m".into(), fraction };
    for sign in [
        Sign::Spawned { pid: 7, pid_start: u64::MAX },
        progress("scanning", Some(0.5)),
        progress("writing", None),
        Sign::Alive,
    ] {
        fixture.store.report_sign(id.clone(), sign).await.unwrap();
    }
    assert_eq!(fixture.one::<String>("SELECT stage || fraction || pid FROM attempt"), "writing0.57");
    assert!(fixture.end("a", Outcome::Completed, Reason::AllToolsRan).await);
    fixture.store.report_sign(id, progress("late", Some(1.0))).await.unwrap();
    assert_eq!(fixture.one::<String>("SELECT stage FROM attempt"), "writing");
}

#[tokio::test]
async fn equal_events_in_a_row_are_one_row_with_a_count() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let uid = fixture.uid(Kind::Task, "a");
    for (reason, message) in [("Slow", "x"), ("Slow", "x"), ("Slow", "y"), ("Slow", "x"), ("Slow", "x"), ("Slow", "x")]
    {
        let later = NOW.plus(Span::seconds(1));
        fixture.store.commit(vec![event(&uid, reason, message)], later).await.unwrap();
    }
    let counts: String = fixture.one("SELECT group_concat(message || count, ' ') FROM event WHERE reason = 'Slow'");
    assert_eq!(counts, "x2 y1 x3");
}

#[tokio::test]
async fn an_empty_plan_touches_nothing() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let before = fixture.dump();
    assert_eq!(fixture.store.commit(vec![], NOW).await.unwrap(), Committed::Applied(vec![]));
    assert_eq!(fixture.dump(), before);
}
