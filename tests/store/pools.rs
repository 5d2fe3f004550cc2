//! Pools over several lanes: slots are counted from rows, checked again when they are taken, and whoever waits is woken.

use manifestd::plan::lane::LaneReconciler;
use manifestd::plan::pool::YIELD;
use manifestd::plan::task::TaskReconciler;
use manifestd::plan::{Budgets, Effect, Key, Plan, Reconciler, Write};
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use manifestd::store::pool::{pool_occupants, pool_use};
use manifestd::store::{Committed, StateLock, Store};
use serde_json::{Value, json};

use crate::fixture::{Fixture, NOW, declare, ending, task, task_with};

pub(crate) fn pool(name: &str, spec: Value) -> manifestd::plan::mirror::Declared {
    declare(Kind::Pool, name, spec)
}

/// An analyzer that runs a program, so many at once.
pub(crate) fn analyzer(name: &str, capacity: u32) -> manifestd::plan::mirror::Declared {
    declare(Kind::Analyzer, name, json!({"command": {"argv": ["x"]}, "capacity": capacity}))
}

/// A task on an analyzer, in a pool.
fn pooled(name: &str, analyzer: &str, pool: &str) -> manifestd::plan::mirror::Declared {
    task_with(name, json!({"analyzer": analyzer, "pool": pool}))
}

impl Fixture {
    /// Two analyzers `a` and `b` of four slots each, and the pool `gpu`.
    async fn with_pool(spec: Value) -> Self {
        let fixture = Self::with_tasks(1, &[]).await;
        fixture.create(vec![analyzer("a", 4), analyzer("b", 4), pool("gpu", spec)]).await;
        fixture
    }

    pub(crate) async fn plan_of(&self, analyzer: &str, now: Timestamp) -> Plan {
        let lane = self.store.observe_lane(analyzer.into(), now, Budgets::default()).await.unwrap();
        LaneReconciler::plan(&lane, now)
    }

    /// One pass over a lane at a time; gives what it started.
    pub(crate) async fn pass(&self, analyzer: &str, now: Timestamp) -> Vec<String> {
        let plan = self.plan_of(analyzer, now).await;
        let committed = self.store.commit(plan.writes.clone(), now).await.unwrap();
        assert!(matches!(committed, Committed::Applied(_)));
        started(&plan)
    }

    /// Ends the latest attempt of a task and settles it; gives who is woken by the slot.
    pub(crate) async fn frees(&self, name: &str, at: Timestamp) -> Vec<Key> {
        let task = self.seen(name).await;
        let id = AttemptId { task: task.uid, number: task.status.attempt };
        let close = manifestd::plan::write::CloseAttempt { at, ..ending(id, Outcome::Completed, Reason::AllToolsRan) };
        let woken = self.store.report_ending(close).await.unwrap().expect("it was open");
        let plan = TaskReconciler::plan(&self.seen(name).await, at);
        assert!(matches!(self.store.commit(plan.writes, at).await.unwrap(), Committed::Applied(_)));
        woken
    }
}

/// The names of the tasks that a plan starts.
pub(crate) fn started(plan: &Plan) -> Vec<String> {
    let names = plan.effects.iter().filter_map(|effect| match effect {
        Effect::Start(assignment) => Some(assignment.task.clone()),
        Effect::Resume { .. } | Effect::Stop { .. } | Effect::Reap { .. } | Effect::Probe(_) | Effect::Sweep => None,
    });
    names.collect()
}

#[tokio::test]
async fn a_pool_holds_over_all_analyzers_and_an_ending_wakes_whoever_waits_for_it() {
    let fixture = Fixture::with_pool(json!({"slots": 2})).await;
    let tasks = [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")].map(|(name, of)| pooled(name, of, "gpu"));
    fixture.create(tasks.to_vec()).await;
    // Lanes take turns, one at a time.
    assert_eq!(fixture.pass("a", NOW).await, ["a1"]);
    assert_eq!(fixture.pass("b", NOW).await, ["b1"]);
    for lane in ["a", "b"] {
        assert!(fixture.plan_of(lane, NOW).await.is_empty(), "full");
    }
    let later = NOW.plus(Span::seconds(9));
    assert_eq!(fixture.frees("b1", later).await, [Key::Lane("a".into()), Key::Lane("b".into())], "whoever freed it");
    // The slot of lane a was given earlier than that of b, so a goes first; b leaves it the slot for a moment.
    let plan = fixture.plan_of("b", later).await;
    assert_eq!((plan.is_empty(), plan.next), (true, Some(later.plus(YIELD))));
    assert_eq!(fixture.pass("a", later).await, ["a2"]);
    fixture.frees("a1", later).await;
    assert_eq!(fixture.pass("b", later).await, ["b2"], "nobody else waits");
    assert_eq!(fixture.frees("a2", later).await, [], "nobody waits any more");
}

#[tokio::test]
async fn two_lanes_that_plan_at_the_same_time_never_take_more_than_there_is() {
    let fixture = Fixture::with_pool(json!({"slots": 1})).await;
    fixture.create(vec![pooled("a1", "a", "gpu")]).await;
    let first = fixture.plan_of("a", NOW).await;
    fixture.create(vec![pooled("b1", "b", "gpu"), task_with("b2", json!({"analyzer": "b"}))]).await;
    // Neither has seen the other's opening.
    let second = fixture.plan_of("b", NOW.plus(YIELD)).await;
    assert_eq!((started(&first).len(), started(&second).len()), (1, 2));
    assert!(matches!(fixture.commit(&first).await, Committed::Applied(_)));
    let before = fixture.dump();
    assert_eq!(fixture.commit(&second).await, Committed::Conflict);
    assert_eq!(fixture.dump(), before, "all or nothing");
    assert_eq!(fixture.pass("b", NOW).await, ["b2"], "what needs no slot of it goes on");
}

#[tokio::test]
async fn a_rate_holds_over_all_analyzers_and_is_checked_again_too() {
    let fixture = Fixture::with_pool(json!({"slots": 9, "rate": {"limit": 1, "per": "1m"}})).await;
    fixture.create(vec![pooled("a1", "a", "gpu"), pooled("b1", "b", "gpu")]).await;
    let (first, second) = (fixture.plan_of("a", NOW).await, fixture.plan_of("b", NOW).await);
    assert!(matches!(fixture.commit(&first).await, Committed::Applied(_)));
    if !second.is_empty() {
        assert_eq!(fixture.commit(&second).await, Committed::Conflict);
    }
    let again = fixture.plan_of("b", NOW.plus(Span(59_999))).await;
    assert_eq!((again.is_empty(), again.next), (true, Some(NOW.plus(Span::minutes(1)))));
    let found = pool_use(&fixture.sql(), "gpu", NOW).unwrap().unwrap();
    assert_eq!((found.used, found.waiting, found.rate_limited), (1, 1, true));
    assert_eq!(fixture.pass("b", NOW.plus(Span::minutes(1))).await, ["b1"]);
}

#[tokio::test]
async fn an_abandoned_attempt_keeps_its_slot_until_its_deadline_and_a_restart_loses_none() {
    let fixture = Fixture::with_tasks(4, &[]).await;
    fixture.create(vec![pool("gpu", json!({"slots": 1})), analyzer("b", 1)]).await;
    fixture.create(vec![pooled("t", "lint", "gpu"), pooled("u", "b", "gpu")]).await;
    fixture.create(vec![task("free")]).await;
    assert_eq!(fixture.pass("lint", NOW).await, ["t", "free"]);
    // kill -9: the store is opened again, and nobody carries the attempt.
    let Fixture { store, directory } = fixture;
    drop(store);
    let store = Store::open(StateLock::acquire(directory.path()).unwrap()).unwrap();
    let fixture = Fixture { store, directory };
    assert_eq!(pool_use(&fixture.sql(), "gpu", NOW).unwrap().unwrap().used, 1);
    assert_eq!(pool_occupants(&fixture.sql(), "gpu", 9).unwrap()[0].task, "t");
    assert!(fixture.plan_of("b", NOW).await.is_empty());
    // It is closed as interrupted; the service may still work on it.
    let plan = TaskReconciler::plan(&fixture.seen("t").await, NOW);
    let Committed::Applied(woken) = fixture.commit(&plan).await else { panic!("{plan}") };
    assert_eq!(woken, [Key::Lane("b".into())], "to learn until when the slot drains");
    let deadline = NOW.plus(Span::seconds(1800));
    let waits = fixture.plan_of("b", NOW).await;
    assert_eq!((waits.is_empty(), waits.next), (true, Some(deadline)));
    let found = pool_use(&fixture.sql(), "gpu", NOW).unwrap().unwrap();
    assert_eq!((found.used, found.draining, found.free_at), (0, 1, Some(deadline)));
    // Both lanes wait now; the one that was never served goes first when the time has come.
    assert!(fixture.plan_of("lint", deadline).await.is_empty());
    assert_eq!(fixture.pass("b", deadline).await, ["u"]);
}

#[tokio::test]
async fn a_thousand_tasks_of_a_full_pool_keep_nobody_waiting() {
    let fixture = Fixture::with_pool(json!({"slots": 1})).await;
    let many = (0..1000)
        .map(|number| task_with(&format!("p{number}"), json!({"analyzer": "a", "pool": "gpu", "priority": 500})));
    let mut objects: Vec<_> = many.collect();
    objects.extend([task_with("x", json!({"analyzer": "a"})), task_with("y", json!({"analyzer": "a"}))]);
    fixture.create(objects).await;
    let first = fixture.plan_of("a", NOW).await;
    assert_eq!((started(&first), first.next), (vec!["p0".to_owned()], Some(NOW)), "the pool filled up within the page");
    fixture.commit(&first).await;
    let second = fixture.plan_of("a", NOW).await;
    assert_eq!((started(&second), second.next), (vec!["x".to_owned(), "y".to_owned()], None));
    fixture.commit(&second).await;
    assert_eq!(fixture.plan_of("a", NOW).await, Plan::default(), "and twice is once");
}

#[tokio::test]
async fn a_task_without_a_pool_has_its_analyzers_and_never_two() {
    let fixture = Fixture::with_pool(json!({"slots": 1})).await;
    fixture.create(vec![pool("other", json!({"slots": 5}))]).await;
    let of_lint = async |pool: Option<&str>, generation| {
        let spec = json!({"command": {"argv": ["x"]}, "capacity": 9, "pool": pool});
        fixture.respecify(declare(Kind::Analyzer, "lint", spec), generation).await
    };
    // Before and after its tasks, and another one later.
    fixture.create(vec![task("t"), task_with("own", json!({"pool": "other"}))]).await;
    let pools = || {
        let query =
            "SELECT group_concat(name || ' ' || coalesce(pool, '-'), ', ') FROM (SELECT * FROM task ORDER BY name)";
        fixture.one::<String>(query)
    };
    assert_eq!(pools(), "own other, t -");
    of_lint(Some("gpu"), 2).await;
    fixture.create(vec![task("later")]).await;
    assert_eq!(pools(), "later gpu, own other, t gpu");
    assert_eq!(fixture.pass("lint", NOW).await, ["t", "own"]);
    of_lint(None, 3).await;
    assert_eq!(pools(), "later -, own other, t -");
    assert_eq!(fixture.pass("lint", NOW).await, ["later"]);
    let slots = |name: &str| pool_use(&fixture.sql(), name, NOW).unwrap().unwrap().used;
    assert_eq!((slots("gpu"), slots("other")), (1, 1), "a slot belongs to the attempt that took it");
}

#[tokio::test]
async fn a_plan_whose_task_has_another_pool_by_now_is_stale() {
    let fixture = Fixture::with_tasks(1, &["t"]).await;
    fixture.create(vec![pool("gpu", json!({"slots": 1}))]).await;
    let plan = fixture.lane_plan().await;
    let spec = json!({"websocket": {"urls": ["ws://one"], "request": "r"}, "pool": "gpu"});
    fixture.respecify(declare(Kind::Analyzer, "lint", spec), 2).await;
    assert_eq!(fixture.commit(&plan).await, Committed::Conflict);
    let plan = fixture.lane_plan().await;
    fixture.remove(Kind::Pool, "gpu").await;
    assert_eq!(fixture.commit(&plan).await, Committed::Conflict);
}

#[tokio::test]
async fn a_pool_that_is_not_there_holds_its_tasks_and_lets_them_go_when_it_is() {
    let fixture = Fixture::with_tasks(4, &[]).await;
    fixture.create(vec![pooled("t", "lint", "gpu"), pooled("u", "lint", "gpu"), task("free")]).await;
    assert_eq!(fixture.pass("lint", NOW).await, ["free"]);
    let held = fixture.seen("t").await.status;
    assert_eq!((held.phase, held.reason), (Phase::Pending, Reason::PoolNotFound));
    assert!(held.message.contains("no Pool is called \"gpu\""), "{held:?}");
    assert!(fixture.settle("t").await.is_empty(), "nothing to do about it");
    let woken = fixture.create(vec![pool("gpu", json!({"slots": 1}))]).await.woken;
    let keys = ["t", "u"].map(|name| Key::Task(fixture.uid(Kind::Task, name)));
    assert_eq!(woken, keys);
    fixture.settle("t").await;
    fixture.settle("u").await;
    assert_eq!(fixture.pass("lint", NOW).await, ["t"]);
    // More slots, and no pool any more, are told to the lanes that wait.
    let more = fixture.respecify(pool("gpu", json!({"slots": 2})), 2).await.woken;
    assert_eq!(more, [Key::Lane("lint".into())]);
    assert_eq!(fixture.remove(Kind::Pool, "gpu").await.woken, [Key::Lane("lint".into())]);
    assert_eq!(fixture.pass("lint", NOW).await, Vec::<String>::new());
    assert_eq!(fixture.seen("u").await.status.reason, Reason::PoolNotFound);
    assert_eq!(fixture.seen("t").await.status.phase, Phase::Running, "what runs goes on");
}

#[tokio::test]
async fn of_lanes_that_share_a_pool_the_best_priority_goes_first_and_equals_take_turns() {
    let fixture = Fixture::with_pool(json!({"slots": 1})).await;
    let mut objects: Vec<_> = (0..20).map(|number| pooled(&format!("a{number:02}"), "a", "gpu")).collect();
    objects.push(pooled("b00", "b", "gpu"));
    objects.push(pooled("b01", "b", "gpu"));
    fixture.create(objects).await;
    let mut now = NOW;
    let mut order = Vec::new();
    for round in 0..6 {
        // Lane a is always the first to look: what it must not take is not left to who is faster.
        let mut opened = fixture.pass("a", now).await;
        opened.extend(fixture.pass("b", now).await);
        assert_eq!(opened.len(), 1, "round {round}: {opened:?}");
        order.append(&mut opened);
        if round == 3 {
            fixture.create(vec![task_with("b99", json!({"analyzer": "b", "pool": "gpu", "priority": 101}))]).await;
        }
        now = now.plus(Span::seconds(1));
        fixture.frees(order.last().unwrap(), now).await;
    }
    assert_eq!(order, ["a00", "b00", "a01", "b01", "b99", "a02"]);
}

#[tokio::test]
async fn a_lane_that_cannot_use_its_turn_costs_the_others_no_more_than_a_moment() {
    let fixture = Fixture::with_pool(json!({"slots": 1})).await;
    let broken = task_with("b1", json!({"analyzer": "b", "pool": "gpu", "priority": 900}));
    fixture.create(vec![pooled("a1", "a", "gpu"), pooled("a2", "a", "gpu")]).await;
    assert_eq!(fixture.pass("a", NOW).await, ["a1"]);
    fixture.create(vec![broken]).await;
    let freed = NOW.plus(Span::seconds(1));
    fixture.frees("a1", freed).await;
    let plan = fixture.plan_of("a", freed).await;
    assert_eq!((plan.is_empty(), plan.next), (true, Some(freed.plus(YIELD))));
    // b never looks.
    assert_eq!(fixture.pass("a", freed.plus(YIELD)).await, ["a2"]);
    fixture.frees("a2", freed.plus(YIELD)).await;
    // A lane without a free slot of its own has no claim at all.
    let fixture = Fixture::with_pool(json!({"slots": 1})).await;
    fixture.create(vec![analyzer("c", 1), task_with("busy", json!({"analyzer": "c"}))]).await;
    assert_eq!(fixture.pass("c", NOW).await, ["busy"]);
    fixture.create(vec![pooled("a1", "a", "gpu"), pooled("a2", "a", "gpu")]).await;
    fixture.create(vec![task_with("c1", json!({"analyzer": "c", "pool": "gpu", "priority": 900}))]).await;
    assert_eq!(fixture.pass("a", NOW).await, ["a1"]);
    fixture.frees("a1", freed).await;
    assert_eq!(fixture.pass("a", freed).await, ["a2"]);
}

#[tokio::test]
async fn every_opening_of_a_pass_is_checked_after_those_before_it() {
    let fixture = Fixture::with_pool(json!({"slots": 2})).await;
    fixture.create((0..3).map(|number| pooled(&format!("t{number}"), "a", "gpu")).collect()).await;
    let plan = fixture.plan_of("a", NOW).await;
    assert_eq!(started(&plan).len(), 2);
    fixture.respecify(pool("gpu", json!({"slots": 1})), 2).await;
    assert_eq!(fixture.commit(&plan).await, Committed::Conflict);
    assert_eq!(fixture.one::<u32>("SELECT count(*) FROM attempt"), 0);
    assert!(plan.writes.iter().any(|write| matches!(write, Write::OpenAttempt(open) if open.pool.is_some())));
}
