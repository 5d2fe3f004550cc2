//! Runs over the real store, round after round: conditions, approvals with and without time-outs, matrices, selectors that find nothing, people
//! who suspend, resume, cancel and retry at any moment, plans that are lost or stale. Each round comes to what `run_algebra.rs` says, asks for
//! each item once, and every number that people see adds up.
//!
//! `MANIFESTD_TEST_SEED=N` plays one seed again, `MANIFESTD_TEST_RUNS=N` tries so many.

use std::collections::BTreeSet;

use manifestd::plan::pipeline::graph::Graph;
use manifestd::plan::pipeline::run::RunReconciler;
use manifestd::plan::pipeline::steps::standings;
use manifestd::plan::pipeline::write::CreateRun;
use manifestd::plan::write::{TaskStatus, TaskWrite};
use manifestd::plan::{Reconciler, Write};
use manifestd::resource::findings::Findings;
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::run::{Cause, RetryMode, StepPhase, Suspension};
use manifestd::resource::time::{Span, Timestamp};
use manifestd::store::{Committed, run_view};
use serde_json::{Map, json};

use super::fixture::{Fixture, NOW, declare};
use super::run_algebra::{Again, Each, Ledger, Plain, random_steps, spec_of};
use super::runs::Chance;

/// A child as the database has it.
struct Child {
    step: String,
    item: u64,
    uid: String,
    version: i64,
    round: i64,
    open: bool,
    cancelled: bool,
}

struct World {
    seed: u64,
    fixture: Fixture,
    chance: Chance,
    now: Timestamp,
    steps: Vec<Plain>,
    parallelism: u64,
    run: Uid,
    next: Option<Timestamp>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let (steps, parallelism) = (random_steps(&mut chance), 1 + chance.below(6));
        let fixture = Fixture::empty();
        let apps = (1..=3).map(|number| {
            let app = declare(Kind::App, &format!("three{number}"), json!({"path": format!("apps/{number}")}));
            let mut object = (*app.object).clone();
            object.metadata.labels.insert("set".into(), "three".into());
            app.of(object)
        });
        let pipeline = declare(Kind::Pipeline, "study", spec_of(&steps, parallelism));
        fixture.create(apps.chain([pipeline]).collect()).await;
        let (pipeline_uid, name) = (fixture.uid(Kind::Pipeline, "study"), "study-1".to_owned());
        let (params, cause) = (Map::new(), Cause::Manual);
        let create = CreateRun { name, pipeline_uid, generation: 1, params, cause, scheduled_at: None };
        fixture.store.commit(vec![Write::CreateRun(Box::new(create))], NOW).await.unwrap();
        let run = Uid(fixture.one("SELECT uid FROM run"));
        Self { seed, fixture, chance, now: NOW, steps, parallelism, run, next: None }
    }

    fn spec(&self) -> String {
        spec_of(&self.steps, self.parallelism).to_string()
    }

    fn children(&self) -> Vec<Child> {
        let sql = self.fixture.sql();
        let query = "SELECT c.step, c.item, c.uid, t.version, t.round, t.finished_at IS NULL, t.cancel_round >= t.round
             FROM child c JOIN task t ON t.uid = c.uid ORDER BY c.step, c.item";
        let mut statement = sql.prepare(query).unwrap();
        let rows = statement.query_map([], |row| {
            let (step, item, uid, version) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Child { step, item, uid, version, round: row.get(4)?, open: row.get(5)?, cancelled: row.get(6)? })
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Plans and commits until a pass has nothing to write. Some plans are lost, some are committed twice.
    async fn settle(&mut self) -> Phase {
        for _ in 0..300 {
            let observed = self.fixture.store.observe_run(self.run.clone()).await.unwrap().unwrap();
            let plan = RunReconciler::plan(&observed, self.now);
            self.next = plan.next;
            if plan.writes.is_empty() {
                return observed.status.phase;
            }
            if self.chance.is(20) {
                continue;
            }
            let first = self.fixture.store.commit(plan.writes.clone(), self.now).await.unwrap();
            assert!(
                matches!(first, Committed::Applied(_)),
                "seed {}: nobody else moved, and the plan is stale: {:?} round {}",
                self.seed,
                plan.writes,
                observed.status.round
            );
            if self.chance.is(10) && plan.writes.iter().any(|write| matches!(write, Write::Run(_))) {
                let second = self.fixture.store.commit(plan.writes, self.now).await.unwrap();
                assert!(matches!(second, Committed::Conflict), "seed {}: a stale plan was committed", self.seed);
            }
        }
        panic!("seed {}: the plans do not come to rest", self.seed);
    }

    /// No limit is passed, and no number is greater than what is expected.
    fn check_limits(&self, all: &[Child]) {
        let seed = self.seed;
        let open = |step: Option<&str>| {
            all.iter().filter(|child| child.open && step.is_none_or(|step| child.step == step)).count() as u64
        };
        assert!(open(None) <= self.parallelism, "seed {seed}: {} at once", open(None));
        for step in &self.steps {
            let active = open(Some(&step.name));
            assert!(step.most.is_none_or(|most| active <= most), "seed {seed}: {active} of {} at once", step.name);
        }
        let tallies = run_view::tally(&self.fixture.sql(), &self.run.0).unwrap();
        for (step, tally) in tallies {
            let rows = all.iter().filter(|child| child.step == step).count() as u64;
            assert_eq!(tally.all(), rows, "seed {seed}: {step} counts {tally:?}");
        }
    }

    async fn end_one(&mut self, ledger: &mut Ledger, child: &Child) {
        let (word, phase) = match self.chance.below(12) {
            _ if child.cancelled => ('C', Phase::Cancelled),
            0..7 => ('S', Phase::Completed),
            7 => ('P', Phase::PartialSuccess),
            8 => ('C', Phase::Cancelled),
            _ => ('F', Phase::Failed),
        };
        if let Some(at) = self.steps.iter().position(|step| step.name == child.step) {
            ledger.lives.entry((at, child.item)).or_default().push(word);
        }
        let status =
            TaskStatus::fresh(child.round, 1, 0).ended(phase, Reason::Queued, "", Findings::default(), self.now);
        let write = Write::Task(Box::new(TaskWrite { uid: Uid(child.uid.clone()), version: child.version, status }));
        let done = self.fixture.store.commit(vec![write], self.now).await.unwrap();
        assert!(matches!(done, Committed::Applied(_)));
    }

    async fn decide(&mut self, ledger: &mut Ledger) {
        let approvals: Vec<usize> =
            (0..self.steps.len()).filter(|at| matches!(self.steps[*at].each, Each::Approval(_))).collect();
        for at in approvals {
            if !ledger.decided.contains_key(&at) && self.chance.is(60) {
                let (name, yes) = (self.steps[at].name.clone(), self.chance.is(60));
                let said = ("tester".to_owned(), String::new());
                self.fixture.store.decide("study-1".into(), name, yes, said, self.now).await.unwrap().unwrap();
                ledger.decided.insert(at, yes);
            }
        }
    }

    /// One round to its end. Says whether a person cancelled it.
    async fn round(&mut self, ledger: &mut Ledger) -> (Phase, bool) {
        let (mut stopped, mut suspended) = (false, false);
        for turn in 0.. {
            assert!(turn < 1000, "seed {}: the round does not end", self.seed);
            let rows = self.fixture.one::<i64>("SELECT count(*) FROM child");
            let phase = self.settle().await;
            let all = self.children();
            self.check_limits(&all);
            assert!(!suspended || rows == all.len() as i64, "seed {}: a suspended run began something", self.seed);
            if phase.is_terminal() {
                if suspended {
                    self.fixture.store.resume("run/study-1".into(), false).await.unwrap().unwrap();
                }
                return (phase, stopped);
            }
            let open: Vec<&Child> = all.iter().filter(|child| child.open).collect();
            if suspended && (open.is_empty() || self.chance.is(30)) {
                self.fixture.store.resume("run/study-1".into(), false).await.unwrap().unwrap();
                suspended = false;
                continue;
            }
            if open.is_empty() {
                match self.next.filter(|_| self.chance.is(50)) {
                    Some(next) => self.now = next,
                    None => self.decide(ledger).await,
                }
                continue;
            }
            if self.chance.is(2) && !stopped {
                let cancelled = self.fixture.store.cancel_runs(vec!["study-1".into()], String::new(), false, false);
                cancelled.await.unwrap().unwrap();
                stopped = true;
            } else if self.chance.is(8) && !suspended {
                let suspension = Suspension { reason: String::new(), by: "tester".into(), at: self.now, until: None };
                self.fixture.store.suspend("run/study-1".into(), suspension, false).await.unwrap().unwrap();
                suspended = true;
            } else if self.chance.is(10) {
                self.decide(ledger).await;
            }
            self.now = self.now.plus(Span::seconds(1));
            let child = open[self.chance.below(open.len() as u64) as usize];
            self.end_one(ledger, child).await;
        }
        unreachable!("the loop has no other end")
    }

    /// Asks for another round: what failed, from a step on, or one step only.
    async fn retry(&mut self) -> Vec<Again> {
        let spec = serde_json::from_value(spec_of(&self.steps, self.parallelism)).unwrap();
        let chosen = self.steps[self.chance.below(self.steps.len() as u64) as usize].name.clone();
        let (names, mode): (Vec<String>, _) = match self.chance.below(3) {
            0 => (self.steps.iter().map(|step| step.name.clone()).collect(), RetryMode::Bad),
            1 => (Graph::new(spec).from(&chosen).into_iter().map(str::to_owned).collect(), RetryMode::All),
            _ => (vec![chosen], RetryMode::All),
        };
        let modes = names.iter().map(|name| (name.clone(), mode)).collect();
        self.fixture.store.retry_run("study-1".into(), modes, false).await.unwrap().unwrap();
        let again = |step: &Plain| match mode {
            _ if !names.contains(&step.name) => Again::Nothing,
            RetryMode::Bad => Again::Bad,
            RetryMode::All => Again::All,
        };
        self.steps.iter().map(again).collect()
    }

    /// What people see of each step adds up, and is what the algebra says.
    async fn check_numbers(&self, ends: &[char], sizes: &[u64], round: usize) {
        let observed = self.fixture.store.observe_run(self.run.clone()).await.unwrap().unwrap();
        let tallies = run_view::tally(&self.fixture.sql(), &self.run.0).unwrap();
        for (node, standing) in observed.graph.steps.iter().zip(standings(&observed, self.now)) {
            let tally = tallies.get(&node.step.name).copied().unwrap_or_default();
            let Some(at) = self.steps.iter().position(|step| step.name == node.step.name) else { continue };
            let about =
                format!("seed {} round {round} step {}: {standing:?} {tally:?} {ends:?}", self.seed, node.step.name);
            let word = match standing.phase {
                StepPhase::Completed => 'S',
                StepPhase::PartialSuccess => 'P',
                StepPhase::Failed => 'F',
                StepPhase::Cancelled => 'C',
                StepPhase::Skipped => {
                    if standing.counts {
                        'X'
                    } else {
                        'K'
                    }
                }
                StepPhase::Waiting | StepPhase::Running => '?',
            };
            let same = word == ends[at] || matches!((word, ends[at]), ('X' | 'K', 'X' | 'K'));
            assert!(same, "{about}");
            assert_eq!(tally.running + tally.pending, 0, "{about}");
            assert!(tally.ended() <= sizes[at], "{about}");
            if let Some(expected) = standing.expected {
                assert_eq!(expected, sizes[at], "{about}");
            }
        }
    }
}

async fn one_run(seed: u64) {
    let mut world = World::new(seed).await;
    let mut ledger = Ledger::default();
    let mut again = vec![Again::Nothing; world.steps.len()];
    for round in 1..=3 {
        let (phase, stopped) = world.round(&mut ledger).await;
        let lives = ledger.lives.clone();
        let end = ledger.close(&world.steps, &again, stopped);
        let about =
            format!("seed {seed} round {round}: {again:?}, {:?}; {lives:?}; steps {:?}", world.spec(), end.steps);
        let came = match phase {
            Phase::Completed => 'S',
            Phase::PartialSuccess => 'P',
            Phase::Cancelled => 'C',
            Phase::Failed | Phase::Pending | Phase::Running => 'F',
        };
        assert_eq!(came, end.whole, "{about}");
        assert!(lives.values().all(|ends| ends.len() == 1), "{about}: {lives:?}");
        assert_eq!(world.fixture.one::<i64>("SELECT count(*) FROM child WHERE conclusion IS NULL"), 0, "{about}");
        if stopped {
            // What it had not come to is not known to the algebra any more.
            return;
        }
        assert_eq!(lives.keys().copied().collect::<BTreeSet<_>>(), end.asked, "{about}");
        world.check_numbers(&end.steps, &end.sizes, round).await;
        again = world.retry().await;
    }
}

#[tokio::test]
async fn round_after_round_a_run_comes_to_what_the_algebra_says_whatever_people_do() {
    let number = |name: &str| std::env::var_os(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
    let seeds = match number("MANIFESTD_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MANIFESTD_TEST_RUNS").unwrap_or(40),
    };
    for seed in seeds {
        println!("seed {seed}; replay with MANIFESTD_TEST_SEED={seed}");
        one_run(seed).await;
    }
}
