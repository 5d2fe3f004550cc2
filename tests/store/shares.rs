//! Properties over random sequences of arrivals, passes, endings and time, on a real store: slots of lanes and pools are never exceeded,
//! no task that could run is passed over for a lesser one, nobody starves, and everything is done in the end.

use std::collections::BTreeMap;

use manifestd::plan::lane::{LaneReconciler, ObservedLane};
use manifestd::plan::mirror::Declared;
use manifestd::plan::task::TaskReconciler;
use manifestd::plan::write::CloseAttempt;
use manifestd::plan::{Budgets, Plan, Reconciler};
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use manifestd::store::Committed;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::fixture::{Fixture, NOW, ending, task_with};
use crate::pools::{analyzer, pool, started};

/// The analyzers with their slots, and the pools with theirs.
const LANES: [(&str, u32); 3] = [("a", 1), ("b", 2), ("c", 4)];
const POOLS: [(&str, u32); 2] = [("gpu", 2), ("key", 1)];

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// So many tasks of one owner arrive.
    Arrive { lane: usize, pool: Option<&'static str>, owner: &'static str, priority: i32, count: usize },
    /// One lane is looked at.
    Pass(usize),
    /// Two lanes plan on the same observation, then commit one after the other.
    Race(usize, usize),
    /// One of the running attempts ends; abandoned, its slot drains.
    End { which: usize, abandoned: bool },
    /// Time passes.
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let pool = prop_oneof![1 => Just(None), 2 => Just(Some("gpu")), 2 => Just(Some("key"))];
    let arrive = (0usize..3, pool, select(&["x", "y", "z"][..]), 0i32..2, 1usize..6)
        .prop_map(|(lane, pool, owner, priority, count)| Step::Arrive { lane, pool, owner, priority, count });
    prop_oneof![
        4 => arrive,
        2 => (0usize..3).prop_map(Step::Pass),
        4 => (0usize..3, 1usize..3).prop_map(|(one, more)| Step::Race(one, (one + more) % 3)),
        4 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, abandoned)| Step::End { which, abandoned }),
        2 => (1u64..400).prop_map(Step::Wait),
    ]
}

/// A store and what the test knows of it.
struct World {
    fixture: Fixture,
    now: Timestamp,
    arrived: usize,
    running: Vec<String>,
}

impl World {
    async fn new() -> Self {
        let fixture = Fixture::with_tasks(1, &[]).await;
        let lanes = LANES.iter().map(|(name, slots)| analyzer(name, *slots));
        let pools = POOLS.iter().map(|(name, slots)| pool(name, json!({"slots": slots})));
        fixture.create(lanes.chain(pools).collect()).await;
        Self { fixture, now: NOW, arrived: 0, running: Vec::new() }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Arrive { lane, pool, owner, priority, count } => {
                let make = |number: usize| {
                    let spec = json!({"analyzer": LANES[*lane].0, "pool": pool, "priority": priority});
                    Declared { owner: (*owner).into(), ..task_with(&format!("t{number}"), spec) }
                };
                self.fixture.create((self.arrived..self.arrived + count).map(make).collect()).await;
                self.arrived += count;
            }
            Step::Pass(lane) => {
                let (seen, plan) = self.look(*lane).await;
                self.commit(&seen, &plan).await;
            }
            Step::Race(one, other) => {
                let (first, second) = (self.look(*one).await, self.look(*other).await);
                self.commit(&first.0, &first.1).await;
                self.commit(&second.0, &second.1).await;
            }
            Step::End { which, abandoned } => self.end(*which, *abandoned).await,
            Step::Wait(ms) => self.now = self.now.plus(Span(*ms)),
        }
        self.check_slots();
    }

    async fn look(&self, lane: usize) -> (ObservedLane, Plan) {
        let seen = self.fixture.store.observe_lane(LANES[lane].0.into(), self.now, Budgets::default()).await.unwrap();
        let plan = LaneReconciler::plan(&seen, self.now);
        (seen, plan)
    }

    async fn commit(&mut self, seen: &ObservedLane, plan: &Plan) {
        let queued = self.queue(&seen.analyzer);
        if self.fixture.store.commit(plan.writes.clone(), self.now).await.unwrap() == Committed::Conflict {
            return;
        }
        let opened = started(plan);
        let Some(last) = queued.iter().rposition(|(name, _)| opened.contains(name)) else { return };
        for (name, wanted) in &queued[..last] {
            // Whoever is before the last that was opened was opened too, or its pool has nothing for it.
            let used = |pool: &manifestd::plan::pool::ObservedPool| {
                let taken = queued.iter().filter(|(name, of)| opened.contains(name) && of.as_ref() == Some(&pool.name));
                pool.used + u32::try_from(taken.count()).unwrap()
            };
            let is_closed = wanted.as_ref().is_some_and(|wanted| {
                let pool = seen.pools.iter().find(|pool| pool.name == *wanted).expect("a pool of the lane");
                pool.yields_until.is_some() || used(pool) >= pool.spec.slots
            });
            assert!(opened.contains(name) || is_closed, "{name} was passed over: {seen:#?}\n{plan}");
        }
        self.running.extend(opened);
    }

    async fn end(&mut self, which: usize, abandoned: bool) {
        if self.running.is_empty() {
            return;
        }
        let name = self.running.remove(which % self.running.len());
        let task = self.fixture.seen(&name).await;
        let id = AttemptId { task: task.uid, number: task.status.attempt };
        let close = CloseAttempt {
            at: self.now,
            slot_until: abandoned.then(|| self.now.plus(Span(300))),
            ..ending(id, Outcome::Completed, Reason::AllToolsRan)
        };
        self.fixture.store.report_ending(close).await.unwrap().expect("it was open");
        let plan = TaskReconciler::plan(&self.fixture.seen(&name).await, self.now);
        assert!(matches!(self.fixture.store.commit(plan.writes, self.now).await.unwrap(), Committed::Applied(_)));
    }

    /// The queue of a lane in the order that README promises, with the pool of each task; past the program's own query.
    fn queue(&self, lane: &str) -> Vec<(String, Option<String>)> {
        let sql = self.fixture.sql();
        let query = "SELECT name, pool FROM task WHERE analyzer = ?1 AND phase = 'Pending' AND reason = 'Queued'
                     ORDER BY priority DESC, turn, created_at, uid";
        let mut statement = sql.prepare(query).unwrap();
        let rows = statement.query_map([lane], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn check_slots(&self) {
        let sql = self.fixture.sql();
        for (column, limits) in [("pool", &POOLS[..]), ("analyzer", &LANES[..])] {
            let query = format!(
                "SELECT {column}, count(*) FROM attempt WHERE {column} IS NOT NULL AND (outcome IS NULL OR slot_until > ?1) GROUP BY 1"
            );
            let mut statement = sql.prepare(&query).unwrap();
            let used = statement.query_map([self.now.0], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let used: BTreeMap<String, u32> = used.collect::<Result<_, _>>().unwrap();
            for (name, slots) in limits {
                let used = used.get(*name).copied().unwrap_or(0);
                assert!(used <= *slots, "{used} of {slots} slots of {name}");
            }
        }
    }

    /// Looks at every lane and ends what runs, until nothing is left; a queue that never comes to its end is a deadlock.
    async fn drain(&mut self) {
        for _ in 0..=self.arrived {
            for lane in 0..LANES.len() {
                self.step(&Step::Pass(lane)).await;
            }
            while !self.running.is_empty() {
                self.end(0, false).await;
            }
            self.now = self.now.plus(Span(300));
            if LANES.iter().all(|(lane, _)| self.queue(lane).is_empty()) {
                return;
            }
        }
        panic!("tasks are left that nobody opens:\n{}", self.fixture.dump().join("\n"));
    }
}

proptest! {
    // Each step is a transaction on a disk.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn slots_hold_and_nobody_who_could_run_is_passed_over(steps in prop::collection::vec(any_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.step(step).await;
            }
            world.drain().await;
            let completed: usize = world.fixture.one("SELECT count(*) FROM task WHERE phase = 'Completed'");
            assert_eq!(completed, world.arrived);
        });
    }

    #[test]
    fn the_single_task_of_another_owner_is_next_but_one(
        lane in 0usize..3,
        in_pool in any::<bool>(),
        waiting in 1usize..120,
        served in 0usize..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            let pool = in_pool.then_some("key");
            world.step(&Step::Arrive { lane, pool, owner: "x", priority: 0, count: waiting }).await;
            for _ in 0..served.min(waiting) {
                world.step(&Step::Pass(lane)).await;
                world.step(&Step::End { which: 0, abandoned: false }).await;
            }
            let newcomer = format!("t{}", world.arrived);
            world.step(&Step::Arrive { lane, pool, owner: "y", priority: 0, count: 1 }).await;
            let place = world.queue(LANES[lane].0).iter().position(|(name, _)| *name == newcomer).unwrap();
            assert!(place <= 1, "{place} are before it");
            // What runs holds its slots; each further one must be free for the next two.
            for _ in 0..2 {
                world.step(&Step::End { which: 0, abandoned: false }).await;
                world.step(&Step::Pass(lane)).await;
            }
            let Uid(uid) = world.fixture.uid(manifestd::resource::kind::Kind::Task, &newcomer);
            let attempts: u32 = world.fixture.one(&format!("SELECT attempt FROM task WHERE uid = '{uid}'"));
            assert_eq!(attempts, 1, "{:?}", world.queue(LANES[lane].0));
        });
    }
}
