//! Golden plans for analyzers that are unwell: who is asked when, what the conditions say, who waits how long, and who goes on when.

use manifestd::plan::analyzer::{AnalyzerReconciler, Asked, ObservedAnalyzer, Waiting};
use manifestd::plan::lane::{LaneReconciler, ObservedLane};
use manifestd::plan::replica::{ReplicaEnding, ReplicaFacts};
use manifestd::plan::task::{ObservedTask, TaskReconciler};
use manifestd::plan::write::TaskStatus;
use manifestd::plan::{Effect, Key, Reconciler, Write};
use manifestd::resource::analyzer::AnalyzerSpec;
use manifestd::resource::findings::Findings;
use manifestd::resource::health::MANIFESTD_V1;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use serde_json::json;

use crate::carry_out::{on_analyzer, on_lane, on_task};
use crate::golden::{Golden, NOW};
use crate::lanes::{healthy, lane, queued};
use crate::task_case::{REPLICA, TaskCase, command, task, websocket};

/// A service with these replicas.
fn service(urls: &[&str], capacity: u32) -> AnalyzerSpec {
    let value = json!({"websocket": {"urls": urls, "request": "static_analyze"}, "capacity": capacity});
    serde_json::from_value(value).unwrap()
}

/// A replica that does not answer.
pub(crate) fn dead(url: &str) -> ReplicaFacts {
    let mut replica = healthy(url);
    (replica.health.healthy, replica.health.message) = (false, "connection refused".into());
    replica
}

/// A replica that answers, on which the latest attempts ended so, the newest so many seconds ago.
fn ended(url: &str, outcomes: &[Outcome], seconds: u64) -> ReplicaFacts {
    let at = |age| NOW.minus(Span::seconds(seconds + age));
    let endings = (0..).zip(outcomes).map(|(age, &outcome)| ReplicaEnding { outcome, at: at(age) }).collect();
    ReplicaFacts { endings, ..healthy(url) }
}

/// A replica whose breaker opened so many seconds ago.
fn broken(url: &str, seconds: u64) -> ReplicaFacts {
    ended(url, &[Outcome::ProtocolError; 5], seconds)
}

fn names(names: &[&str]) -> Vec<manifestd::plan::lane::Candidate> {
    names.iter().map(|name| queued(name, 100)).collect()
}

fn queue(spec: AnalyzerSpec, replicas: Vec<ReplicaFacts>, tasks: &[&str]) -> ObservedLane {
    ObservedLane { replicas, ..lane(spec, names(tasks)) }
}

fn one(replica: ReplicaFacts, tasks: &[&str]) -> ObservedLane {
    queue(websocket(), vec![replica], tasks)
}

#[test]
fn a_queue_waits_for_replicas_that_cannot_be_used() {
    let mut golden = Golden::default();
    let mut case = |title: &str, case| golden.case(title, case, LaneReconciler::plan, on_lane);
    let two = || service(&["ws://one", "ws://two"], 1);
    let waited = |waits| {
        let mut lane = one(dead(REPLICA), &["a", "b"]);
        lane.candidates[0].status.waits = waits;
        lane
    };
    case("nobody has asked it yet: it is asked, and the queue stays as it is", queue(websocket(), vec![], &["a", "b"]));
    case("only a process that is gone found it dead: it is asked first", {
        one(ReplicaFacts { asked: false, ..dead(REPLICA) }, &["a"])
    });
    case("it is dead: one waits for each slot, the others stay queued", waited(0));
    case("it is dead: the second wait", waited(1));
    case("it is dead: the third wait", waited(2));
    case("it is dead: three waits are over, and the next has its place", waited(3));
    case("it is dead: somebody waits already", ObservedLane { waiting: 1, ..waited(0) });
    case("it is dead: what may not run anyway is still told so", {
        let mut lane = one(dead(REPLICA), &["a", "b"]);
        lane.candidates[0].spec.suspend = true;
        lane
    });
    case("one of two is dead: it gets nothing", queue(two(), vec![dead("ws://one"), healthy("ws://two")], &["a", "b"]));
    case("one is dead and the other unknown", queue(two(), vec![dead("ws://one")], &["a"]));
    case("both are dead", queue(two(), vec![dead("ws://one"), dead("ws://two")], &["a", "b", "c"]));
    case("its breaker is open", one(broken(REPLICA, 20), &["a", "b"]));
    case("one is dead, the breaker of the other is open", {
        queue(two(), vec![dead("ws://one"), broken("ws://two", 20)], &["a"])
    });
    case("the breaker of one is open, the other can be used", {
        queue(two(), vec![broken("ws://one", 20), healthy("ws://two")], &["a", "b"])
    });
    case("its breaker is half open: one trial, whatever the capacity", {
        queue(service(&[REPLICA], 3), vec![broken(REPLICA, 120)], &["a", "b"])
    });
    case("its breaker is half open, and the trial is under way", {
        let trial = ReplicaFacts { open: 1, ..broken(REPLICA, 120) };
        ObservedLane { occupied: vec![(REPLICA.into(), 1)], ..queue(service(&[REPLICA], 3), vec![trial], &["a"]) }
    });
    case("its breaker is half open, and an abandoned request drains", {
        let lane = queue(service(&[REPLICA], 3), vec![broken(REPLICA, 120)], &["a", "b"]);
        ObservedLane { occupied: vec![(REPLICA.into(), 1)], ..lane }
    });
    case("five faults of the app itself", one(ended(REPLICA, &[Outcome::Failed; 5], 20), &["a"]));
    golden.check("lane/health.txt");
}

#[test]
fn an_attempt_is_extended_and_resumable_where_the_replica_says_so() {
    let starts = |url: &str, protocols: &[&str]| {
        let mut replica = healthy(url);
        replica.health.said.protocols = protocols.iter().map(|&protocol| protocol.to_owned()).collect();
        let plan = LaneReconciler::plan(&queue(service(&[url], 1), vec![replica], &["a"]), NOW);
        let resumable = plan.writes.iter().any(|write| matches!(write, Write::OpenAttempt(open) if open.resumable));
        let extended = plan.effects.iter().any(|effect| match effect {
            Effect::Start(start) => {
                matches!(start.target, manifestd::resource::attempt::Target::WebSocket { extended: true, .. })
            }
            _ => false,
        });
        (extended, resumable)
    };
    assert_eq!(starts("ws://one", &[]), (false, false));
    assert_eq!(starts("ws://one", &["something/v9"]), (false, false));
    assert_eq!(starts("ws://one", &[MANIFESTD_V1]), (true, true));
    assert_eq!(starts("embedded:", &[MANIFESTD_V1]), (true, false), "it ends with this process");
}

/// A question that was answered after a moment.
fn asked(at: Timestamp) -> Asked {
    Asked { at, under_way: false, answered: Some(at.plus(Span(5))) }
}

/// The analyzer `lint`, needed by some task, each replica asked by this process so many seconds ago.
fn analyzer(spec: AnalyzerSpec, replicas: Vec<ReplicaFacts>, seconds: u64) -> ObservedAnalyzer {
    let asked = asked(NOW.minus(Span::seconds(seconds)));
    ObservedAnalyzer {
        name: "lint".into(),
        uid: Some(Uid("uid-lint".into())),
        asked: spec.replicas().into_iter().map(|url| (url, asked)).collect(),
        spec: Some(spec),
        replicas,
        demand: true,
        ..ObservedAnalyzer::default()
    }
}

/// As it is after its conditions were written.
fn quiet(analyzer: ObservedAnalyzer) -> ObservedAnalyzer {
    let mut analyzer = analyzer;
    let mut plan = AnalyzerReconciler::plan(&analyzer, NOW);
    plan.effects.clear();
    on_analyzer(&mut analyzer, &plan, NOW);
    analyzer
}

#[test]
fn replicas_are_asked_when_it_is_time() {
    let mut golden = Golden::default();
    let mut case = |title: &str, case| golden.case(title, case, AnalyzerReconciler::plan, on_analyzer);
    let well = |seconds| quiet(analyzer(websocket(), vec![healthy(REPLICA)], seconds));
    let idle = |seconds| ObservedAnalyzer { demand: false, ..well(seconds) };
    let found_dead = |changed: u64, asked: u64| {
        let mut replica = dead(REPLICA);
        replica.health.changed_at = NOW.minus(Span(changed));
        quiet(analyzer(websocket(), vec![replica], 0)).with_asked(self::asked(NOW.minus(Span(asked))))
    };
    case("it was never declared", ObservedAnalyzer { name: "lint".into(), ..ObservedAnalyzer::default() });
    case("new: nothing is known of it", ObservedAnalyzer { asked: vec![], ..analyzer(websocket(), vec![], 0) });
    case("known from before, not asked by this process", ObservedAnalyzer { asked: vec![], ..well(0) });
    case("needed: 9 s after the last question", well(9));
    case("needed: 10 s after the last question", well(10));
    case("not needed: 10 s after the last question", idle(10));
    case("not needed: 5 minutes after the last question", idle(300));
    case("the question is under way", {
        well(60).with_asked(Asked { under_way: true, ..asked(NOW.minus(Span::seconds(3))) })
    });
    case("the clock was turned back by a year", well(0).with_asked(asked(NOW.plus(Span::minutes(525_600)))));
    case("an attempt found it dead since it was asked: at once", found_dead(100, 2000));
    case("an attempt found it dead right after it had answered: soon", found_dead(100, 200));
    case("found dead by the last question itself: in its turn", found_dead(1995, 2000));
    case("its address was changed", {
        let asked = vec![("ws://old".to_owned(), asked(NOW))];
        ObservedAnalyzer { asked, ..quiet(analyzer(websocket(), vec![healthy("ws://old")], 0)) }
    });
    case("it was removed", ObservedAnalyzer { spec: None, ..well(0) });
    case("a program has nothing to be asked", analyzer(command(), vec![], 0));
    case("an address that is named twice is asked once", {
        ObservedAnalyzer { asked: vec![], ..analyzer(service(&["ws://one", "ws://one"], 1), vec![], 0) }
    });
    golden.check("analyzer/probes.txt");
}

trait AnalyzerCase {
    fn with_asked(self, asked: Asked) -> Self;
}

impl AnalyzerCase for ObservedAnalyzer {
    fn with_asked(mut self, asked: Asked) -> Self {
        self.asked.iter_mut().for_each(|(_, known)| *known = asked);
        self
    }
}

#[test]
fn conditions_say_what_can_be_used() {
    let mut golden = Golden::default();
    let mut case = |title: &str, case| golden.case(title, case, AnalyzerReconciler::plan, on_analyzer);
    let two = |one, two| analyzer(service(&["ws://one", "ws://two"], 1), vec![one, two], 0);
    let (well, ill) = (|| two(healthy("ws://one"), healthy("ws://two")), || two(healthy("ws://one"), dead("ws://two")));
    let then = |before: ObservedAnalyzer, after: ObservedAnalyzer| ObservedAnalyzer {
        conditions: quiet(before).conditions,
        ..after
    };
    case("both are well", well());
    case("both are well, as before", quiet(well()));
    case("one dies", then(well(), ill()));
    case("the other dies too", then(ill(), two(dead("ws://one"), dead("ws://two"))));
    case("both come back", then(two(dead("ws://one"), dead("ws://two")), well()));
    case("one is well and the other was not asked yet", {
        analyzer(service(&["ws://one", "ws://two"], 1), vec![healthy("ws://one")], 0)
    });
    case("a breaker opens", then(well(), two(healthy("ws://one"), broken("ws://two", 20))));
    case("the only breaker is open: there will be another look when it is half open", {
        quiet(analyzer(websocket(), vec![broken(REPLICA, 115)], 1))
    });
    case("and half open it can be used", {
        then(analyzer(websocket(), vec![broken(REPLICA, 20)], 0), analyzer(websocket(), vec![broken(REPLICA, 120)], 0))
    });
    case("seven are dead, and three are named", {
        let urls: Vec<String> = (1..=7).map(|number| format!("ws://r{number}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        analyzer(service(&urls, 1), urls.iter().map(|url| dead(url)).collect(), 0)
    });
    golden.check("analyzer/conditions.txt");
}

/// A task that waits for the analyzer, or failed for want of it.
fn waits(name: &str, phase: Phase, reason: Reason, recoveries: u32) -> Waiting {
    let status = TaskStatus { waits: 2, recoveries, ..TaskStatus::fresh(1, 1, 3) };
    let status = match phase {
        Phase::Failed => status.ended(phase, reason, "", Findings::default(), NOW),
        _ => status.waiting(reason, "", Some(NOW.plus(Span::minutes(1)))),
    };
    Waiting { uid: Uid(name.into()), name: name.into(), version: 7, status, unreached_at: None }
}

#[test]
fn what_waits_goes_on_the_moment_a_replica_can_be_used() {
    let mut golden = Golden::default();
    let mut case = |title: &str, case| golden.case(title, case, AnalyzerReconciler::plan, on_analyzer);
    let waiting = || {
        vec![
            waits("a", Phase::Pending, Reason::AnalyzerUnavailable, 0),
            waits("b", Phase::Pending, Reason::BreakerOpen, 0),
            waits("c", Phase::Failed, Reason::AnalyzerUnavailable, 0),
            waits("d", Phase::Failed, Reason::AnalyzerUnavailable, 2),
        ]
    };
    let with = |replica| {
        let seen = quiet(analyzer(websocket(), vec![replica], 0));
        ObservedAnalyzer { waiting: waiting(), ..seen }
    };
    case("it is dead still", with(dead(REPLICA)));
    case("its breaker is open still", with(broken(REPLICA, 20)));
    case("it is well", with(healthy(REPLICA)));
    case("its breaker is half open", with(broken(REPLICA, 120)));
    case("it is a program now", ObservedAnalyzer { waiting: waiting(), ..quiet(analyzer(command(), vec![], 0)) });
    golden.check("analyzer/back.txt");

    let many = ObservedAnalyzer { more: true, ..with(healthy(REPLICA)) };
    assert_eq!(AnalyzerReconciler::plan(&many, NOW).next, Some(NOW), "the others come at once");
    let spent = vec![waits("e", Phase::Failed, Reason::AnalyzerUnavailable, 3)];
    let spent = ObservedAnalyzer { waiting: spent, ..with(healthy(REPLICA)) };
    assert!(AnalyzerReconciler::plan(&spent, NOW).writes.is_empty(), "three times in a row is enough");
}

#[test]
fn a_replica_that_refuses_attempts_and_answers_probes_does_not_spin() {
    // It is well again, since a minute ago, and refused the task's attempt so many seconds before or after that.
    let goes_on = |waits_so_far: u32, refused: Timestamp| {
        let mut task = waits("a", Phase::Pending, Reason::AnalyzerUnavailable, 0);
        (task.status.waits, task.unreached_at) = (waits_so_far, Some(refused));
        let seen = quiet(analyzer(websocket(), vec![healthy(REPLICA)], 0));
        let plan = AnalyzerReconciler::plan(&ObservedAnalyzer { waiting: vec![task], more: true, ..seen }, NOW);
        assert_eq!(plan.next == Some(NOW), !plan.writes.is_empty(), "another look only if this one did something");
        plan.writes.iter().find_map(|write| match write {
            Write::Task(write) => Some(write.status.waits),
            _ => None,
        })
    };
    let well_since = NOW.minus(Span::minutes(1));
    assert_eq!(goes_on(3, well_since.minus(Span::minutes(60))), Some(0), "a real outage");
    assert_eq!(goes_on(1, well_since.minus(Span::seconds(1))), Some(1), "the first time it goes on at once");
    assert_eq!(goes_on(2, well_since.minus(Span::seconds(1))), None, "then it keeps to the schedule");
    assert_eq!(goes_on(2, NOW), None, "and so when the refusal is the newest that is known");
}

/// A task whose latest attempts reached nobody, one on each of these replicas.
fn reached_nobody(replicas: &[&str]) -> ObservedTask {
    replicas.iter().fold(task(), |case, url| {
        let case = case.running().attempt(|attempt| attempt.replica = (*url).to_owned());
        case.ends(Outcome::Unavailable, Reason::AnalyzerUnavailable)
    })
}

#[test]
fn an_attempt_that_reached_nobody_goes_on_elsewhere_or_waits() {
    let mut golden = Golden::default();
    let mut case = |title: &str, case| golden.case(title, case, TaskReconciler::plan, on_task);
    let on_two = |mut case: ObservedTask, two: ReplicaFacts| {
        case.analyzer = Some(service(&["ws://one", "ws://two"], 1));
        case.replicas = vec![dead("ws://one"), two];
        case
    };
    case("it was the only replica", reached_nobody(&["ws://one"]));
    case("the other is well: at once, and no wait is counted", {
        on_two(reached_nobody(&["ws://one"]), healthy("ws://two"))
    });
    case("the other is dead as well", on_two(reached_nobody(&["ws://one"]), dead("ws://two")));
    case("the other is well, and was tried in vain already", {
        on_two(reached_nobody(&["ws://two", "ws://one"]), healthy("ws://two"))
    });
    case("the third wait is over", reached_nobody(&["ws://one"]).with(|task| task.status.waits = 3));
    case("something was sent in between, so waits are counted anew", {
        let sent = task().running().ends(Outcome::ProtocolError, Reason::ConnectionLost);
        sent.with(|task| task.status.waits = 3)
    });
    case("it answers probes and refuses requests: the fifth attempt in a row", reached_nobody(&["ws://one"; 5]));
    case("the fifth in a row of two replicas, though one of them looks well and was never tried", {
        on_two(reached_nobody(&["ws://one"; 5]), healthy("ws://two"))
    });
    let waiting = |minutes| {
        let waits = task().waiting(Reason::AnalyzerUnavailable, Some(minutes));
        waits.with(|task| (task.status.waits, task.status.observed_generation) = (2, 1))
    };
    case("a wait is over", waiting(0));
    case("a wait is not over", waiting(1));
    case("a person does not want to wait", waiting(1).with(|task| task.hurry_version = 1));
    case("the clock was turned back while it waited", waiting(600).with(|task| task.since = NOW.plus(Span(1))));
    case("it waits for its analyzer, and its spec changed", waiting(1).spec_changed());
    golden.check("task/unavailable.txt");
}

/// One task on one service over time, by the three plans in turn. `healthy_from` is when the service answers.
struct Outage {
    now: Timestamp,
    status: TaskStatus,
    healthy_from: Option<Timestamp>,
}

impl Outage {
    fn replica(&self) -> ReplicaFacts {
        if self.healthy_from.is_some_and(|from| from <= self.now) { healthy(REPLICA) } else { dead(REPLICA) }
    }

    /// Passes until nothing happens any more at this moment; says when the next thing does.
    fn settle(&mut self) -> Option<Timestamp> {
        loop {
            let mut seen = queued("a", 100);
            seen.status = self.status.clone();
            let is_queued = (self.status.phase, self.status.reason) == (Phase::Pending, Reason::Queued);
            let candidates = if is_queued { vec![seen] } else { vec![] };
            let lane = ObservedLane { replicas: vec![self.replica()], ..lane(websocket(), candidates) };
            let pending = task().with(|task| task.status = self.status.clone());
            let mut waiting = waits("a", Phase::Pending, Reason::AnalyzerUnavailable, 0);
            waiting.status = self.status.clone();
            let mut analyzer = quiet(analyzer(websocket(), vec![self.replica()], 0));
            if self.status.reason == Reason::AnalyzerUnavailable {
                analyzer.waiting = vec![waiting];
            }
            let plans = [
                LaneReconciler::plan(&lane, self.now),
                TaskReconciler::plan(&pending, self.now),
                AnalyzerReconciler::plan(&analyzer, self.now),
            ];
            let moved = plans.iter().flat_map(|plan| &plan.writes).find_map(|write| match write {
                Write::Task(write) => Some(write.status.clone()),
                _ => None,
            });
            match moved {
                Some(status) => self.status = status,
                None => return self.status.next_at,
            }
            if self.status.phase == Phase::Running {
                return None;
            }
        }
    }
}

#[test]
fn a_task_waits_30_60_and_120_seconds_without_an_attempt_then_fails_and_starts_over_when_the_service_is_back() {
    let mut outage = Outage { now: NOW, status: TaskStatus::fresh(1, 0, 0), healthy_from: None };
    let mut waits = Vec::new();
    while let Some(next) = outage.settle() {
        assert_eq!((outage.status.phase, outage.status.attempt), (Phase::Pending, 0));
        waits.push(next.since(outage.now));
        outage.now = next;
    }
    assert_eq!(waits, [30, 60, 120].map(Span::seconds));
    assert_eq!((outage.status.phase, outage.status.reason), (Phase::Failed, Reason::AnalyzerUnavailable));
    assert_eq!(outage.status.attempt, 0, "no attempt was burnt");
    outage.now = outage.now.plus(Span::minutes(60));
    outage.healthy_from = Some(outage.now);
    outage.settle();
    assert_eq!((outage.status.phase, outage.status.round, outage.status.recoveries), (Phase::Running, 2, 1));
    assert_eq!((outage.status.attempt, outage.status.waits), (1, 0));
}

#[test]
fn a_service_that_is_back_in_time_costs_the_task_nothing() {
    let mut outage = Outage { now: NOW, status: TaskStatus::fresh(1, 0, 0), healthy_from: None };
    outage.settle();
    outage.now = NOW.plus(Span::seconds(7));
    outage.healthy_from = Some(outage.now);
    outage.settle();
    assert_eq!((outage.status.phase, outage.status.round, outage.status.waits), (Phase::Running, 1, 0));
    assert_eq!(outage.status.recoveries, 0);
}

#[test]
fn a_plan_that_makes_a_task_wait_has_the_replicas_asked() {
    let plan = LaneReconciler::plan(&one(dead(REPLICA), &["a"]), NOW);
    assert!(plan.wakes.contains(&Key::Analyzer("lint".into())) && plan.wakes.contains(&Key::Task(Uid("a".into()))));
    let plan = TaskReconciler::plan(&reached_nobody(&["ws://one"]), NOW);
    assert!(plan.wakes.contains(&Key::Analyzer("lint".into())));
}
