//! Golden plans for an analyzer's queue: order, capacity, slots that drain, rates, and what is held back.

use manifestd::plan::lane::{Candidate, LaneReconciler, ObservedLane};
use manifestd::plan::replica::{ReplicaFacts, ReplicaHealth};
use manifestd::plan::write::TaskStatus;
use manifestd::plan::{Effect, Key, Reconciler, Write};
use manifestd::resource::analyzer::{AnalyzerSpec, Rate};
use manifestd::resource::name::Uid;
use manifestd::resource::task::RunPolicy;
use manifestd::resource::time::{Span, Timestamp};
use serde_json::json;

use crate::carry_out::on_lane;
use crate::golden::{Golden, NOW};
use crate::task_case::{app, command, task_spec, websocket};

/// A task in the queue.
pub(crate) fn queued(name: &str, priority: i32) -> Candidate {
    let mut spec = task_spec();
    spec.priority = priority;
    Candidate {
        uid: Uid(name.into()),
        name: name.into(),
        generation: 1,
        unwanted: false,
        spec,
        pool: None,
        version: 1,
        status: TaskStatus::fresh(1, 0, 0),
        app: Some(app()),
        told: vec![],
        ran: None,
        tried: vec![],
        silent: vec![],
        since: NOW,
        no_cache: false,
        stamp: None,
        reusable: None,
    }
}

/// A queue of these tasks, which the store gives in order, on replicas that are all well.
pub(crate) fn lane(spec: AnalyzerSpec, candidates: Vec<Candidate>) -> ObservedLane {
    let replicas = spec.websocket.iter().flat_map(|ws| &ws.urls).map(|url| healthy(url)).collect();
    ObservedLane { analyzer: "lint".into(), spec: Some(spec), candidates, replicas, ..ObservedLane::default() }
}

/// A replica that answered a minute ago.
pub(crate) fn healthy(url: &str) -> ReplicaFacts {
    let ago = NOW.minus(Span::minutes(1));
    let health =
        ReplicaHealth { url: url.into(), healthy: true, changed_at: ago, answered_at: Some(ago), ..Default::default() };
    ReplicaFacts { health, asked: true, ..ReplicaFacts::default() }
}

fn abc() -> Vec<Candidate> {
    vec![queued("a", 200), queued("b", 100), queued("c", 100)]
}

fn replicas(urls: &[&str], capacity: u32) -> AnalyzerSpec {
    let value = json!({"websocket": {"urls": urls, "request": "static_analyze"}, "capacity": capacity});
    serde_json::from_value(value).unwrap()
}

fn with_rate(limit: u32, opened_ms_ago: &[u64]) -> ObservedLane {
    let spec = AnalyzerSpec { capacity: 10, rate: Some(Rate { limit, per: Span::minutes(1) }), ..command() };
    ObservedLane { opened: opened_ms_ago.iter().map(|ms| NOW.minus(Span(*ms))).collect(), ..lane(spec, abc()) }
}

fn check(file: &str, cases: Vec<(&str, ObservedLane)>) {
    let mut golden = Golden::default();
    for (title, case) in cases {
        golden.case(title, case, LaneReconciler::plan, on_lane);
    }
    golden.check(file);
}

#[test]
fn free_slots_go_to_the_best_tasks() {
    let occupied = |used: &[(&str, u32)]| used.iter().map(|(url, used)| ((*url).to_owned(), *used)).collect();
    check(
        "lane/slots.txt",
        vec![
            ("nobody waits", lane(websocket(), vec![])),
            ("one slot: the first of three", lane(websocket(), abc())),
            ("two slots of a command", lane(AnalyzerSpec { capacity: 2, ..command() }, abc())),
            ("two replicas with one slot each", lane(replicas(&["ws://one", "ws://two"], 1), abc())),
            ("the replica with the fewest in flight comes first", {
                let busy = lane(replicas(&["ws://one", "ws://two"], 3), abc());
                ObservedLane { occupied: occupied(&[("ws://one", 2), ("ws://two", 1)]), ..busy }
            }),
            ("every slot is taken", {
                ObservedLane { occupied: occupied(&[("ws://one", 1)]), ..lane(websocket(), abc()) }
            }),
            (
                "the only slot drains: the pass comes back when it is free",
                ObservedLane {
                    occupied: occupied(&[("ws://one", 1)]),
                    slot_free_at: Some(NOW.plus(Span::minutes(20))),
                    ..lane(websocket(), abc())
                },
            ),
            (
                "a slot drains, and nobody waits for it",
                ObservedLane {
                    occupied: occupied(&[("ws://one", 1)]),
                    slot_free_at: Some(NOW.plus(Span::minutes(20))),
                    ..lane(websocket(), vec![])
                },
            ),
            ("more are in flight than the capacity, which was lowered", {
                ObservedLane { occupied: occupied(&[("ws://one", 5)]), ..lane(websocket(), abc()) }
            }),
            ("a replica that is named no more is used no more", {
                ObservedLane { occupied: occupied(&[("ws://old", 1)]), ..lane(websocket(), abc()) }
            }),
            ("an address that is named twice has its slots once", lane(replicas(&["ws://one", "ws://one"], 1), abc())),
            ("a task's own deadline, tools and second attempt", {
                let mut one = queued("a", 100);
                one.spec.active_deadline_seconds = Some(60);
                one.spec.tools = vec!["bandit".into(), "ruff".into()];
                one.generation = 3;
                one.status = TaskStatus { started_at: Some(Timestamp(1)), ..TaskStatus::fresh(2, 2, 4) };
                lane(websocket(), vec![one])
            }),
        ],
    );
}

#[test]
fn what_may_not_run_leaves_the_queue_and_keeps_nobody_waiting() {
    let with = |change: fn(&mut Candidate)| {
        let mut candidates = abc();
        change(&mut candidates[0]);
        lane(websocket(), candidates)
    };
    check(
        "lane/held.txt",
        vec![
            ("there is no such analyzer", ObservedLane { spec: None, ..lane(websocket(), abc()) }),
            ("the first is suspended", with(|first| first.spec.suspend = true)),
            ("the first names an app that is not known", with(|first| first.app = None)),
            ("the first names an app that is gone", {
                with(|first| first.app.iter_mut().for_each(|app| app.missing_since = Some(NOW)))
            }),
            ("the first is to be cancelled: its own plan does that", with(|first| first.unwanted = true)),
            ("all of a page are held, and there is more", {
                let mut page = abc();
                page.iter_mut().for_each(|candidate| candidate.spec.suspend = true);
                ObservedLane { more: true, ..lane(websocket(), page) }
            }),
            (
                "there is more than a page, and no slot for all of it",
                ObservedLane { more: true, ..lane(websocket(), abc()) },
            ),
        ],
    );
}

#[test]
fn a_rate_is_kept_to_the_millisecond() {
    check(
        "lane/rate.txt",
        vec![
            ("two in a minute, none so far", with_rate(2, &[])),
            ("two in a minute, one a second ago", with_rate(2, &[1000])),
            ("two in a minute, both within it: the older is 59.999 s old", with_rate(2, &[1000, 59_999])),
            ("two in a minute, the older is a minute old and counts no more", with_rate(2, &[1000, 60_000])),
            ("more were opened than the limit, which was lowered", with_rate(1, &[1000, 2000, 3000])),
            ("ten in a minute: enough for everybody", with_rate(10, &[1000])),
            ("the clock was turned back by a year", {
                ObservedLane { opened: vec![NOW.plus(Span::minutes(525_600))], ..with_rate(1, &[]) }
            }),
            ("the clock was turned back by a second", {
                ObservedLane { opened: vec![NOW.plus(Span::seconds(1))], ..with_rate(1, &[]) }
            }),
        ],
    );
}

/// Where the tasks of a queue are opened.
fn opened(lane: &ObservedLane) -> Vec<(String, String)> {
    let plan = LaneReconciler::plan(lane, NOW);
    let place = |write: &Write| match write {
        Write::OpenAttempt(open) => Some((open.id.task.0.clone(), open.replica.clone())),
        _ => None,
    };
    plan.writes.iter().filter_map(place).collect()
}

#[test]
fn a_task_goes_where_it_has_not_been_refused_and_keeps_nobody_from_the_other_place() {
    let on = |name: &str, url: &str| (name.to_owned(), url.to_owned());
    let refused = Candidate { tried: vec!["ws://one".into()], ..queued("a", 200) };
    let both = |occupied: &[(&str, u32)], first: &Candidate| ObservedLane {
        occupied: occupied.iter().map(|(url, used)| ((*url).to_owned(), *used)).collect(),
        ..lane(replicas(&["ws://one", "ws://two"], 1), vec![first.clone(), queued("b", 100)])
    };
    assert_eq!(opened(&both(&[], &refused)), [on("a", "ws://two"), on("b", "ws://one")]);
    // The other replica is busy: it waits for that, and who is behind it takes the free slot.
    assert_eq!(opened(&both(&[("ws://two", 1)], &refused)), [on("b", "ws://one")]);
    // Refused everywhere, it goes wherever there is room.
    let everywhere = Candidate { tried: vec!["ws://two".into(), "ws://one".into()], ..queued("a", 200) };
    assert_eq!(opened(&both(&[("ws://two", 1)], &everywhere)), [on("a", "ws://one")]);
}

#[test]
fn a_retry_goes_to_another_replica_than_the_one_that_never_answered_but_waits_for_none() {
    let silent = Candidate { silent: vec!["ws://one".into()], ..queued("a", 200) };
    let with = |occupied: &[(&str, u32)], capacity| ObservedLane {
        occupied: occupied.iter().map(|(url, used)| ((*url).to_owned(), *used)).collect(),
        ..lane(replicas(&["ws://one", "ws://two"], capacity), vec![silent.clone()])
    };
    let on = |url: &str| vec![("a".to_owned(), url.to_owned())];
    assert_eq!(opened(&with(&[], 1)), on("ws://two"));
    assert_eq!(opened(&with(&[("ws://two", 2)], 3)), on("ws://two"), "however much it has to do");
    assert_eq!(opened(&with(&[("ws://two", 1)], 1)), on("ws://one"));
}

#[test]
fn each_opening_starts_what_it_opened() {
    let plan = LaneReconciler::plan(&lane(replicas(&["ws://one", "ws://two"], 1), abc()), NOW);
    let opened: Vec<_> = plan
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::OpenAttempt(open) => Some((open.id.clone(), open.replica.clone(), open.deadline_at)),
            _ => None,
        })
        .collect();
    let started: Vec<_> = plan
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Start(start) => match &start.target {
                manifestd::resource::attempt::Target::WebSocket { url, .. } => {
                    (start.id.clone(), url.clone(), start.deadline_at)
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(opened.len(), 2);
    assert_eq!(opened, started);
}

#[test]
fn a_round_that_began_with_another_spec_is_started_over_by_its_task_and_not_continued_by_the_queue() {
    let edited = Candidate { generation: 2, ran: Some(1), ..queued("a", 200) };
    let plan = LaneReconciler::plan(&lane(websocket(), vec![edited.clone()]), NOW);
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(plan.wakes, [Key::Task(edited.uid.clone())]);
    let of_this_one = Candidate { ran: Some(2), ..edited.clone() };
    assert_eq!(LaneReconciler::plan(&lane(websocket(), vec![of_this_one]), NOW).effects.len(), 1);
    let mut once = edited;
    once.spec.run_policy = RunPolicy::Once;
    assert_eq!(LaneReconciler::plan(&lane(websocket(), vec![once]), NOW).effects.len(), 1);
}
