//! Runs over the real store: random pipelines, random outcomes in random order, plans that are lost before they are committed. Whatever happens, every
//! item is asked for once, no limit is passed, and the run comes to what an algebra written apart from the program says.

use std::collections::BTreeMap;

use manifestd::plan::pipeline::run::RunReconciler;
use manifestd::plan::pipeline::write::CreateRun;
use manifestd::plan::write::{TaskStatus, TaskWrite};
use manifestd::plan::{Reconciler, Write};
use manifestd::resource::findings::Findings;
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::run::Cause;
use manifestd::store::Committed;
use serde_json::{Map, Value, json};

use super::fixture::{Fixture, NOW, declare};

/// Numbers that a seed gives, the same on every machine.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        // The generator of Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    pub(crate) fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One step as the test knows it.
struct Plain {
    name: String,
    needs: Vec<usize>,
    source: Option<usize>,
    items: u64,
    critical: bool,
    most: Option<u64>,
}

fn random_steps(chance: &mut Chance) -> Vec<Plain> {
    let mut steps: Vec<Plain> = Vec::new();
    for at in 0..2 + chance.below(5) as usize {
        let source = (at > 0 && chance.is(40)).then(|| chance.below(at as u64) as usize);
        let needs = (0..at).filter(|_| chance.is(25)).collect();
        let (items, critical) = (1 + chance.below(6), chance.is(25));
        let most = chance.is(30).then(|| 1 + chance.below(3));
        steps.push(Plain { name: format!("s{at}"), needs, source, items, critical, most });
    }
    steps
}

fn spec_of(steps: &[Plain], parallelism: u64) -> Value {
    let step = |step: &Plain| {
        let each = match step.source {
            Some(source) => json!({"appsFrom": steps[source].name}),
            None => json!({"range": {"from": 1, "to": step.items}}),
        };
        let needs: Vec<&str> = step.needs.iter().map(|need| steps[*need].name.as_str()).collect();
        let mut value =
            json!({"name": step.name, "analyzer": "lint", "needs": needs, "forEach": each, "critical": step.critical});
        if step.source.is_none() {
            value["app"] = json!("app${item}");
        }
        if let Some(most) = step.most {
            value["maxParallel"] = json!(most);
        }
        value
    };
    let all: Vec<Value> = steps.iter().map(step).collect();
    json!({"parallelism": parallelism, "runPolicy": "Manual", "steps": all, "finally": [{"name": "last", "analyzer": "lint"}]})
}

/// How a list of endings counts, written apart from the program: S, P, F or C.
fn fold(endings: &str) -> char {
    let count = |of: char| endings.chars().filter(|one| *one == of).count();
    match (count('S'), count('P'), count('C'), endings.len()) {
        (good, _, _, all) if good == all => 'S',
        (0, 0, out, all) if out == all => 'C',
        (0, 0, ..) => 'F',
        _ => 'P',
    }
}

/// What the whole run comes to, from how each item ended.
fn expected(steps: &[Plain], outcomes: &BTreeMap<(String, u64), char>) -> (char, Vec<char>) {
    let mut ends: Vec<char> = Vec::new();
    let mut good: Vec<Vec<bool>> = Vec::new();
    for step in steps {
        let needs = step.needs.iter().chain(&step.source);
        let blocked = needs.into_iter().any(|need| !matches!(ends[*need], 'S' | 'P'));
        let items: Vec<bool> = match step.source {
            Some(source) => good[source].clone(),
            None => vec![true; step.items as usize],
        };
        let end = |(at, wanted): (usize, &bool)| match outcomes.get(&(step.name.clone(), at as u64)) {
            Some(end) if *wanted && !blocked => *end,
            _ => 'C',
        };
        let each: String = items.iter().enumerate().map(end).collect();
        good.push(each.chars().map(|end| matches!(end, 'S' | 'P')).collect());
        ends.push(if blocked { 'C' } else { fold(&each) });
    }
    let failed = steps.iter().zip(&ends).any(|(step, end)| step.critical && *end == 'F');
    (if failed { 'F' } else { fold(&ends.iter().collect::<String>()) }, ends)
}

const CHILDREN: &str = "SELECT c.step, c.item, c.uid, t.version, t.phase FROM child c JOIN task t ON t.uid = c.uid ORDER BY c.step, c.item";

fn children(fixture: &Fixture) -> Vec<(String, u64, String, i64, String)> {
    let sql = fixture.sql();
    let mut statement = sql.prepare(CHILDREN).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Plans and commits until a pass has nothing to write.
async fn settle(fixture: &Fixture, run: &Uid, chance: &mut Chance) -> Phase {
    for _ in 0..200 {
        let observed = fixture.store.observe_run(run.clone()).await.unwrap().unwrap();
        let plan = RunReconciler::plan(&observed, NOW);
        if plan.writes.is_empty() {
            return observed.status.phase;
        }
        // A crash before the commit: the plan is lost, and made again.
        if chance.is(20) {
            continue;
        }
        assert!(matches!(fixture.commit(&plan).await, Committed::Applied(_)));
    }
    panic!("the plans do not come to rest");
}

async fn end(fixture: &Fixture, uid: &str, version: i64, phase: Phase) {
    let status = TaskStatus::fresh(1, 1, 0).ended(phase, Reason::Queued, "", Findings::default(), NOW);
    let write = Write::Task(Box::new(TaskWrite { uid: Uid(uid.to_owned()), version, status }));
    assert!(matches!(fixture.store.commit(vec![write], NOW).await.unwrap(), Committed::Applied(_)));
}

async fn one_run(seed: u64) {
    let mut chance = Chance(seed);
    let steps = random_steps(&mut chance);
    let parallelism = 1 + chance.below(6);
    let fixture = Fixture::empty();
    fixture.create(vec![declare(Kind::Pipeline, "study", spec_of(&steps, parallelism))]).await;
    let (pipeline_uid, name) = (fixture.uid(Kind::Pipeline, "study"), "study-1".to_owned());
    let create =
        CreateRun { name, pipeline_uid, generation: 1, params: Map::new(), cause: Cause::Manual, scheduled_at: None };
    let create = vec![Write::CreateRun(Box::new(create))];
    fixture.store.commit(create.clone(), NOW).await.unwrap();
    // A trigger that fires twice makes one run.
    fixture.store.commit(create, NOW).await.unwrap();
    let run = Uid(fixture.one("SELECT uid FROM run"));
    let mut outcomes = BTreeMap::new();
    for turn in 0.. {
        assert!(turn < 1000, "seed {seed}: the run does not end");
        let phase = settle(&fixture, &run, &mut chance).await;
        let all = children(&fixture);
        let open: Vec<_> = all.iter().filter(|child| child.4 == "Pending").collect();
        assert!(open.len() as u64 <= parallelism, "seed {seed}: {} at once", open.len());
        for step in &steps {
            let active = open.iter().filter(|child| child.0 == step.name).count() as u64;
            assert!(step.most.is_none_or(|most| active <= most), "seed {seed}: {active} of {} at once", step.name);
        }
        if phase.is_terminal() {
            assert!(open.is_empty(), "seed {seed}: the run has ended and children have not");
            let (whole, ends) = expected(&steps, &outcomes);
            let came = match phase {
                Phase::Completed => 'S',
                Phase::PartialSuccess => 'P',
                Phase::Cancelled => 'C',
                Phase::Failed | Phase::Pending | Phase::Running => 'F',
            };
            assert_eq!(came, whole, "seed {seed}: steps {ends:?}");
            assert_eq!(
                all.iter().filter(|child| child.0 == "last").count(),
                1,
                "seed {seed}: what runs finally ran once"
            );
            assert_eq!(fixture.one::<i64>("SELECT count(*) FROM child WHERE conclusion IS NULL"), 0, "seed {seed}");
            return;
        }
        assert!(!open.is_empty(), "seed {seed}: nothing is under way, and the run has not ended");
        for _ in 0..=chance.below(2) {
            let (step, item, uid, version, _) = open[chance.below(open.len() as u64) as usize];
            if outcomes.contains_key(&(step.clone(), *item)) {
                continue;
            }
            let (end_word, phase) = match chance.below(10) {
                0..6 => ('S', Phase::Completed),
                6 => ('P', Phase::PartialSuccess),
                7 => ('C', Phase::Cancelled),
                _ => ('F', Phase::Failed),
            };
            outcomes.insert((step.clone(), *item), end_word);
            end(&fixture, uid, *version, phase).await;
        }
    }
}

#[tokio::test]
async fn whatever_the_steps_and_their_outcomes_a_run_ends_as_the_algebra_says_and_asks_for_each_item_once() {
    for seed in 0..60 {
        one_run(seed).await;
    }
}
