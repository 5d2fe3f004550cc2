//! What `why` says in situations that only a running controller brings about.

use serde_json::json;

use super::{Controller, Facts, explain};
use crate::plan::write::TaskStatus;
use crate::resource::findings::Findings;
use crate::resource::kind::Kind;
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
    }
}

fn facts(status: TaskStatus) -> Facts {
    let spec = json!({"app": "demo", "analyzer": "lint"});
    let mut task = object(Kind::Task, "t", spec.clone());
    task.task = Some(TaskView {
        status,
        attempt: None,
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
