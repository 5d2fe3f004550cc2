//! What `why` says in situations that only a running controller brings about.

use std::collections::HashMap;

use serde_json::json;

use super::{Controller, Facts, explain};
use crate::cli::advice::advice;
use crate::cli::replicas::Replica;
use crate::cli::stuck::{Carriers, judge};
use crate::plan::replica::{ReplicaFacts, ReplicaHealth, Standing};
use crate::plan::write::TaskStatus;
use crate::resource::attempt::AttemptId;
use crate::resource::findings::Findings;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::provenance::Provenance;
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};
use crate::store::view::{AppView, AttemptView, ObjectView, TaskView};

const NOW: Timestamp = Timestamp(1_000_000);

fn object(kind: Kind, name: &str, spec: serde_json::Value) -> ObjectView {
    ObjectView {
        uid: "u".into(),
        kind,
        name: name.into(),
        labels: Default::default(),
        annotations: Default::default(),
        spec,
        generation: 1,
        created_at: NOW,
        removed_at: None,
        provenance: Provenance { file: "t.yaml".into(), line: 4, ..Provenance::default() },
        task: None,
        app: (kind == Kind::App).then_some(AppView { app_set: None, missing_since: None, tree: None }),
        conditions: Vec::new(),
        run: None,
    }
}

fn facts(status: TaskStatus) -> Facts {
    let spec = json!({"app": "demo", "analyzer": "lint"});
    let mut task = object(Kind::Task, "t", spec.clone());
    task.task = Some(TaskView {
        status,
        since: NOW,
        attempts: Vec::new(),
        cancel_requested: false,
        retry_requested: false,
        owner: "web".into(),
        pool: None,
    });
    Facts {
        now: NOW,
        controller: Controller::Running { pid: 1 },
        task,
        spec: serde_json::from_value(spec).unwrap(),
        attempts: Vec::new(),
        app: Some(object(Kind::App, "demo", json!({"path": "apps/demo"}))),
        app_hint: "did you mean `x`?".into(),
        analyzer: Some(object(Kind::Analyzer, "lint", json!({"rate": {"limit": 6, "per": "1m"}}))),
        analyzer_hint: String::new(),
        pool: None,
        replicas: Vec::new(),
        recoveries_max: 3,
        capacity: 2,
        occupants: Vec::new(),
        in_flight: 0,
        draining: 0,
        ahead: 0,
        file_problems: 0,
    }
}

#[test]
fn a_task_that_waits_for_a_reading_says_for_what_and_why_it_cannot_be_read() {
    let mut facts = facts(fresh().waiting(Reason::AppNotRead, "", None));
    assert!(explain(&facts).next.contains("as soon as they are read"));
    facts.app.as_mut().unwrap().conditions.push(crate::store::view::ConditionView {
        condition: crate::plan::tree::TREE_UNREADABLE.into(),
        status: "True",
        reason: "ReadFailed".into(),
        message: "a.py: permission denied".into(),
        last_transition_time: String::new(),
    });
    let why = explain(&facts);
    assert!(why.because.iter().any(|sentence| sentence.contains("a.py: permission denied")), "{why:?}");
    assert!(why.next.contains("once they can be read"));
}

#[test]
fn a_finished_task_whose_app_changed_says_that_it_runs_again() {
    let status = TaskStatus { app_digest: Some("old".into()), ..fresh() };
    let mut facts = facts(status.ended(Phase::Completed, Reason::AllToolsRan, "", Findings::default(), NOW));
    let tree = crate::plan::admission::SeenTree { digest: "new".into(), at: NOW };
    facts.app.as_mut().unwrap().app = Some(AppView { app_set: None, missing_since: None, tree: Some(tree) });
    assert!(explain(&facts).next.starts_with("nothing"));
    facts.spec.run_policy = crate::resource::task::RunPolicy::OnAppChange;
    let why = explain(&facts);
    assert!(why.because.contains(&"the files of its app changed since".into()), "{why:?}");
    assert!(why.next.contains("runs again at the controller's next look"));
    facts.task.task.as_mut().unwrap().status.app_digest = Some("new".into());
    assert!(explain(&facts).next.contains("when the files of its app change"));
}

fn fresh() -> TaskStatus {
    TaskStatus::fresh(1, 1, 0)
}

fn attempt() -> AttemptView {
    AttemptView {
        number: 2,
        round: 1,
        generation: 1,
        analyzer: "lint".into(),
        replica: "ws://h:1".into(),
        opened_at: NOW.minus(Span::seconds(20)),
        deadline_at: NOW.plus(Span::seconds(90)),
        stage: Some("scanning".into()),
        progress: Some("3 of 4 files".into()),
        fraction: Some(0.75),
        pid: None,
        ended_at: None,
        outcome: None,
        reason: None,
        message: None,
        asked: Vec::new(),
        tools: Vec::new(),
        findings: Default::default(),
        result_dir: None,
        result_sha256: None,
    }
}

#[track_caller]
fn says(facts: &Facts, because: &[&str], next: &str) {
    let why = explain(facts);
    let all = why.because.join("\n");
    because.iter().for_each(|part| assert!(all.contains(part), "{part:?} is not in:\n{all}"));
    assert!(why.next.contains(next), "{next:?} is not in {:?}", why.next);
}

#[test]
fn a_queued_task_says_who_goes_first_and_what_holds_the_slots() {
    let mut facts = facts(fresh());
    (facts.ahead, facts.in_flight, facts.draining) = (3, 1, 1);
    says(
        &facts,
        &["3 queued tasks go first", "2 of 2 slots", "1 of them by abandoned requests", "and 1 more run"],
        "when slots become free",
    );
    facts.draining = 0;
    says(&facts, &["1 of 2 slots", "allows 6 starts in 1m"], "the rate allows it");
}

#[test]
fn a_delay_says_when_it_is_over() {
    let mut facts = facts(fresh().waiting(Reason::BackOff, "AnalyzerError: boom", Some(NOW.plus(Span::seconds(43)))));
    says(&facts, &["AnalyzerError: boom"], "(in 43s)");
    assert_eq!(explain(&facts).next_at, Some(NOW.plus(Span::seconds(43))));
    facts.controller = Controller::Absent;
    says(&facts, &["no controller is running"], "nothing will happen until a controller runs: manifestd serve");
    facts.controller = Controller::Silent("slow".into());
    says(&facts, &["does not answer: slow"], "(in 43s)");
}

/// A replica as it is known.
fn replica(healthy: bool, standing: Standing) -> Replica {
    let message = if healthy { "" } else { "connection refused" }.to_owned();
    let health = ReplicaHealth { url: "ws://h:1".into(), healthy, changed_at: NOW, message, ..Default::default() };
    Replica { url: "ws://h:1".into(), standing, facts: Some(ReplicaFacts { health, ..Default::default() }) }
}

#[test]
fn an_analyzer_that_cannot_be_used_is_told_with_its_replicas() {
    let dead = || replica(false, Standing::Unhealthy);
    let open = || replica(true, Standing::Open { until: NOW.plus(Span::seconds(50)) });
    let mut facts = facts(fresh());
    facts.replicas = vec![dead()];
    says(&facts, &["no replica of analyzer \"lint\" can be used", "connection refused"], "when a replica can be used");
    facts.replicas.push(replica(true, Standing::Usable));
    says(&facts, &["waits for a free slot", "replica ws://h:1 does not answer"], "the rate allows it");

    let until = Some(NOW.plus(Span::seconds(30)));
    let mut facts = self::facts(fresh().waiting(Reason::AnalyzerUnavailable, "wait 1 of 3", until));
    facts.replicas = vec![dead()];
    says(&facts, &["wait 1 of 3", "connection refused"], "as soon as a replica answers; else it is looked at again at");
    facts.replicas = vec![replica(true, Standing::Usable)];
    says(&facts, &["by now one can be used"], "queued at the controller's next look");
    let mut facts = self::facts(fresh().waiting(Reason::BreakerOpen, "broke", until));
    facts.replicas = vec![open()];
    says(&facts, &["broke too many requests in a row", "(in 50s)"], "or as soon as a replica can be used");
}

#[test]
fn a_task_that_failed_for_want_of_its_analyzer_says_whether_it_starts_over() {
    let failed = fresh().ended(Phase::Failed, Reason::AnalyzerUnavailable, "waited 3 times", Findings::default(), NOW);
    let mut facts = facts(failed);
    facts.replicas = vec![replica(false, Standing::Unhealthy)];
    says(
        &facts,
        &["waited 3 times", "connection refused"],
        "starts over by itself when its analyzer is back (up to 3 times",
    );
    facts.controller = Controller::Absent;
    says(&facts, &["no controller is running"], "nothing will happen until a controller runs");
    facts.recoveries_max = 0;
    says(&facts, &[], "nothing by itself");
}

#[test]
fn a_running_task_says_how_far_it_is_and_its_deadline() {
    let mut facts = facts(TaskStatus { phase: Phase::Running, attempt: 2, ..fresh() });
    facts.attempts.push(attempt());
    says(
        &facts,
        &["attempt 2 runs on analyzer \"lint\" at ws://h:1", "scanning, 75 %, 3 of 4 files"],
        "(in 90s) at the latest",
    );
    facts.task.generation = 2;
    says(&facts, &["its spec changed"], "the attempt is stopped");
    facts.task.task.as_mut().unwrap().cancel_requested = true;
    says(&facts, &["asked to cancel"], "stopped at the controller's next look");
}

#[test]
fn references_that_are_missing_or_back_are_told_apart() {
    let mut facts = facts(fresh().waiting(Reason::AppNotFound, "", None));
    says(&facts, &["was not known, and is by now"], "queued at the controller's next look");
    facts.app = None;
    says(
        &facts,
        &["no App is called \"demo\", which t.yaml:4 names; did you mean `x`?"],
        "once an App of that name is declared",
    );
    let mut facts = self::facts(fresh().waiting(Reason::AppMissing, "", None));
    says(&facts, &["is there again"], "queued at the controller's next look");
    facts.app.as_mut().unwrap().app =
        Some(AppView { app_set: None, missing_since: Some(NOW.minus(Span::seconds(5))), tree: None });
    says(&facts, &["apps/demo", "(5s ago)"], "when the directory is there again");
}

#[test]
fn an_ended_task_says_whether_it_runs_again() {
    let ended = fresh().ended(Phase::Completed, Reason::AllToolsRan, "all", Findings::default(), NOW);
    let mut facts = facts(ended);
    facts.controller = Controller::Absent;
    let why = explain(&facts);
    assert!(
        !why.because.join(" ").contains("controller") && why.next.starts_with("nothing; see manifestd results t"),
        "{why:?}"
    );
    facts.task.generation = 2;
    says(&facts, &["its spec changed since", "no controller"], "nothing will happen until a controller runs");
    facts.spec.run_policy = crate::resource::task::RunPolicy::Once;
    says(&facts, &["runPolicy is Once"], "nothing; see");
    let removed = self::facts(fresh().ended(Phase::Cancelled, Reason::ManifestRemoved, "", Findings::default(), NOW));
    says(&removed, &["its manifest is there again"], "runs again at the controller's next look");
}

#[test]
fn there_is_an_answer_for_every_reason_in_every_phase() {
    for &reason in Reason::ALL {
        assert!(advice(reason).len() > 10, "{reason}");
        for &phase in Phase::ALL {
            let mut status = TaskStatus { phase, reason, message: "because of this".into(), ..fresh() };
            status.finished_at = phase.is_terminal().then_some(NOW);
            let why = explain(&facts(status));
            assert!(!why.because.is_empty() && !why.next.is_empty(), "{phase} {reason}: {why:?}");
            if phase == Phase::Failed {
                assert!(why.because.iter().any(|sentence| sentence.contains(advice(reason))), "{reason}: {why:?}");
            }
        }
    }
}

fn stuck(status: TaskStatus, minutes: u64, carriers: &Carriers) -> Option<String> {
    let now = NOW.plus(Span::minutes(minutes));
    let mut facts = facts(status);
    let running = AttemptView { deadline_at: NOW.plus(Span::minutes(30)), ..attempt() };
    let state = facts.task.task.as_mut().unwrap();
    state.attempts = vec![running];
    judge(&facts.task, carriers, Span::minutes(15), now).map(|stuck| stuck.hint)
}

#[test]
fn stuck_is_what_waits_for_a_person_or_too_long_or_is_carried_by_nobody() {
    let held = |minutes| {
        let id = AttemptId { task: Uid("u".into()), number: 2 };
        Carriers::Held(HashMap::from([(id, NOW.plus(Span::minutes(minutes)))]))
    };
    let waits = |reason| fresh().waiting(reason, "", None);
    let runs = || TaskStatus { phase: Phase::Running, reason: Reason::AttemptStarted, attempt: 2, ..fresh() };
    let hint = |hint: Option<String>, word: &str| {
        assert!(hint.as_deref().is_some_and(|hint| hint.contains(word)), "{hint:?} has no {word:?}");
    };
    assert_eq!(stuck(waits(Reason::Queued), 59, &held(0)), None);
    hint(stuck(waits(Reason::Queued), 61, &held(0)), "pending for");
    for reason in
        [Reason::AppNotFound, Reason::AnalyzerNotFound, Reason::AppMissing, Reason::Suspended, Reason::DiskFull]
    {
        hint(stuck(waits(reason), 0, &held(0)), advice(reason));
    }
    assert_eq!(stuck(runs(), 10, &held(9)), None);
    hint(stuck(runs(), 10, &held(1)), "silent for 9m");
    hint(stuck(runs(), 31, &held(31)), "past its deadline");
    hint(stuck(runs(), 1, &Carriers::Held(HashMap::new())), "does not carry it");
    hint(stuck(runs(), 1, &Carriers::Absent), "no controller");
    assert_eq!(stuck(runs(), 1, &Carriers::Unknown), None);
    let ended = |reason| fresh().ended(Phase::Failed, reason, "", Findings::default(), NOW);
    hint(stuck(ended(Reason::Stuck), 0, &held(0)), "restart the analyzer");
    assert_eq!(stuck(ended(Reason::ToolFailed), 90, &held(0)), None);
}
