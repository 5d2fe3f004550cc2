//! Turns: owners alternate within one priority, however many tasks each has queued, and no order is lost on the way.

use std::time::Duration;

use manifestd::plan::mirror::{Change, Declared, Difference};
use manifestd::plan::write::TaskStatus;
use manifestd::plan::{Budgets, Reconciler, Write};
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use manifestd::store::view;
use serde_json::json;

use crate::fixture::{Fixture, NOW, task, task_with};

fn owned(owner: &str, declared: Declared) -> Declared {
    Declared { owner: owner.into(), ..declared }
}

fn many(owner: &str, count: usize) -> Vec<Declared> {
    (0..count).map(|number| owned(owner, task(&format!("{owner}{number:04}")))).collect()
}

impl Fixture {
    /// The head of the queue, of which a pass over it sees a part.
    async fn line(&self, length: usize) -> Vec<String> {
        let connection = self.sql();
        let query = "SELECT name FROM task WHERE analyzer = 'lint' AND phase = 'Pending' AND reason = 'Queued'
             ORDER BY priority DESC, turn, created_at, uid LIMIT ?1";
        let mut statement = connection.prepare(query).unwrap();
        let line: Vec<String> = statement.query_map([length], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let lane = self.store.observe_lane("lint".into(), NOW, Budgets::default()).await.unwrap();
        let seen: Vec<String> = lane.candidates.into_iter().take(length).map(|candidate| candidate.name).collect();
        assert!(!seen.is_empty() && line.starts_with(&seen), "{seen:?} of {line:?}");
        line
    }

    fn turn(&self, name: &str) -> i64 {
        self.one(&format!("SELECT turn FROM task WHERE name = '{name}'"))
    }

    /// Runs the head of the queue to its end.
    async fn serve(&self) -> String {
        let plan = self.dispatch().await;
        let name = crate::pools::started(&plan).pop().expect("somebody is started");
        assert!(self.end(&name, Outcome::Completed, Reason::AllToolsRan).await);
        self.settle(&name).await;
        name
    }
}

#[tokio::test]
async fn a_newcomer_is_next_but_one_and_owners_alternate_from_then_on() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(many("x", 2000)).await;
    assert_eq!((fixture.turn("x0000"), fixture.turn("x1999")), (1, 2000));
    for number in 0..3 {
        assert_eq!(fixture.serve().await, format!("x{number:04}"));
    }
    fixture.create(many("y", 3)).await;
    fixture.create(many("z", 1)).await;
    assert_eq!(fixture.line(8).await, ["x0003", "y0000", "z0000", "x0004", "y0001", "x0005", "y0002", "x0006"]);
    let ahead = |name: &str| view::ahead_in_queue(&fixture.sql(), &fixture.uid(Kind::Task, name).0).unwrap();
    assert_eq!((ahead("x0003"), ahead("z0000"), ahead("y0002")), (0, 2, 6), "why says the same");
    assert_eq!(fixture.serve().await, "x0003");
    assert_eq!(fixture.serve().await, "y0000");
}

#[tokio::test]
async fn priority_goes_before_any_turn() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(many("x", 5)).await;
    fixture.create(vec![owned("x", task_with("high", json!({"priority": 101})))]).await;
    fixture.create(vec![owned("y", task_with("low", json!({"priority": 99})))]).await;
    assert_eq!(fixture.line(9).await, ["high", "x0000", "x0001", "x0002", "x0003", "x0004", "low"]);
}

#[tokio::test]
async fn within_its_round_a_task_keeps_its_place_and_another_round_takes_a_new_one() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(many("x", 20)).await;
    fixture.create(many("y", 20)).await;
    // Interrupted, and back at once: it is still the oldest.
    fixture.dispatch().await;
    assert!(fixture.end("x0000", Outcome::Interrupted, Reason::Interrupted).await);
    fixture.settle("x0000").await;
    assert_eq!((fixture.turn("x0000"), fixture.line(2).await), (1, vec!["x0000".into(), "y0000".into()]));
    for _ in 0..10 {
        fixture.serve().await;
    }
    // Everything before it is run again by a person: behind its own, beside the other's.
    fixture.store.request_retry("x0000".into(), false).await.unwrap();
    fixture.settle("x0000").await;
    assert_eq!(fixture.turn("x0000"), 21);
    assert_eq!(fixture.line(3).await, ["x0005", "y0005", "x0006"]);
}

#[tokio::test]
async fn who_comes_back_late_is_first_but_does_not_turn_the_time_of_the_queue_back() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(many("x", 30)).await;
    fixture.dispatch().await;
    assert!(fixture.end("x0000", Outcome::Failed, Reason::ToolFailed).await);
    fixture.settle("x0000").await;
    for number in 1..=10 {
        assert_eq!(fixture.serve().await, format!("x{number:04}"));
    }
    assert_eq!(fixture.turn("x0000"), 1, "it waits for its retry");
    fixture.store.request_retry("x0000".into(), false).await.unwrap();
    fixture.settle("x0000").await;
    assert_eq!(fixture.turn("x0000"), 12, "the head has passed it");
    // Otherwise these would all go before x0011.
    fixture.create(many("y", 9)).await;
    assert_eq!(fixture.line(5).await, ["x0000", "x0011", "y0000", "x0012", "y0001"]);
}

#[tokio::test]
async fn another_priority_analyzer_or_owner_is_another_line() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(many("x", 9)).await;
    fixture.create(vec![owned("y", task("y"))]).await;
    let change = async |declared: Declared, generation| {
        let uid = fixture.uid(Kind::Task, &declared.object.metadata.name);
        let difference = Difference { spec: true, metadata: false, place: false, restored: false };
        fixture.mirror(vec![Change::Update { uid, declared: declared.into(), difference, generation }]).await;
    };
    change(owned("x", task_with("x0008", json!({"priority": 5}))), 2).await;
    assert_eq!(fixture.turn("x0008"), 1);
    change(owned("x", task("x0008")), 3).await;
    assert_eq!(fixture.turn("x0008"), 9);
    change(owned("z", task("x0008")), 3).await;
    assert_eq!(fixture.turn("x0008"), 1, "nobody else of z waits");
    change(owned("z", task("x0008")), 3).await;
    assert_eq!(fixture.turn("x0008"), 1, "nothing has changed");
    // While it is not in the queue, a turn of another line is forgotten.
    let suspended = task_with("x0007", json!({"suspend": true}));
    change(owned("x", suspended.clone()), 2).await;
    fixture.settle("x0007").await;
    assert_eq!(fixture.turn("x0007"), 8);
    change(owned("x", task_with("x0007", json!({"suspend": true, "priority": 3}))), 3).await;
    assert_eq!(fixture.turn("x0007"), 0);
    change(owned("x", task_with("x0007", json!({"priority": 3}))), 4).await;
    fixture.settle("x0007").await;
    assert_eq!(fixture.turn("x0007"), 1);
}

#[tokio::test]
async fn a_turn_is_no_transition() {
    let fixture = Fixture::with_tasks(1, &["t"]).await;
    assert_eq!(fixture.one::<i64>("SELECT version FROM task"), 1);
    fixture.finish("t", Outcome::Failed, Reason::ApiKeyMissing).await;
    let seen = fixture.seen("t").await;
    // What is final stays so, and another round counts one version as ever.
    let same_round = seen.status.waiting(Reason::Queued, "", None);
    let write = |status: TaskStatus| {
        let write = manifestd::plan::write::TaskWrite { uid: seen.uid.clone(), version: seen.version, status };
        vec![Write::Task(Box::new(write))]
    };
    assert!(fixture.store.commit(write(same_round), NOW).await.unwrap_err().to_string().contains("terminal"));
    fixture.store.commit(write(TaskStatus::fresh(2, 1, 1)), NOW).await.unwrap();
    assert_eq!(fixture.seen("t").await.version, seen.version + 1);
    assert!(manifestd::plan::task::TaskReconciler::plan(&fixture.seen("t").await, NOW).is_empty());
}

#[tokio::test]
async fn ten_thousand_tasks_join_a_queue_in_a_moment() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    let began = tokio::time::Instant::now();
    fixture.create(many("x", 10_000)).await;
    // Measured at a few tenths of a second; were a turn looked for by reading the queue, it would be minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(fixture.turn("x9999"), 10_000);
}
