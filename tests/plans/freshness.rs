//! Golden plans about the files of apps: tasks that wait for a reading or run again, results that are taken, and what a reading leads to.

use manifestd::plan::admission::SeenTree;
use manifestd::plan::lane::{Candidate, LaneReconciler};
use manifestd::plan::reuse::{AnalyzerFacts, ProgramFile, Reusable, cache_key, identity};
use manifestd::plan::task::{ObservedTask, TaskReconciler};
use manifestd::plan::tree::{ObservedTree, Reading, SETTLE, SETTLE_MAX, TreeReconciler, Watcher, is_moving};
use manifestd::plan::{Key, Plan, Reconciler, Write};
use manifestd::resource::analyzer::{AnalyzerSpec, KeepResults};
use manifestd::resource::attempt::{Stamp, StoredResult};
use manifestd::resource::findings::Findings;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::{Outcome, ToolReport, ToolStatus, Verdict};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::{Cache, RunPolicy};
use manifestd::resource::time::{Span, Timestamp};
use serde_json::json;

use crate::carry_out::{on_lane, on_task};
use crate::golden::{Golden, NOW};
use crate::lanes::{lane, queued};
use crate::task_case::{TaskCase, command, task, websocket};

fn seen(digest: &str, at: Timestamp) -> Option<SeenTree> {
    Some(SeenTree { digest: digest.into(), at })
}

/// A task that runs again when its app changes, and was asked for just now.
fn watching(tree: Option<SeenTree>) -> ObservedTask {
    task().with(|task| {
        task.spec.run_policy = RunPolicy::OnAppChange;
        task.since = NOW;
        task.app.as_mut().unwrap().tree = tree;
    })
}

/// The same, whose latest attempt saw the app as `old`.
fn saw_old(task: ObservedTask) -> ObservedTask {
    task.with(|task| task.status.app_digest = Some("old".into()))
}

#[test]
fn a_task_waits_for_a_reading_and_runs_again_when_the_files_differ() {
    let before = NOW.minus(Span(1));
    let observed = |task: ObservedTask| task.with(|task| task.status.observed_generation = task.generation);
    let done = |task| observed(saw_old(task)).finished(Phase::Completed, Reason::AllToolsRan);
    let mut golden = Golden::default();
    for (title, case) in [
        ("never read", watching(None)),
        ("read before it was asked for", watching(seen("a", before))),
        ("read since", watching(seen("a", NOW)).waiting(Reason::AppNotRead, None)),
        ("only a task that depends on the files waits", task().with(|task| task.since = NOW)),
        ("cache alone waits as well", task().with(|task| (task.spec.cache, task.since) = (Cache::Content, NOW))),
        ("finished, and the files are the same", done(watching(seen("old", NOW)))),
        ("finished, and the files changed", done(watching(seen("new", NOW)))),
        ("finished, and the files changed, but nobody asked for that", {
            done(watching(seen("new", NOW))).with(|task| task.spec.run_policy = RunPolicy::OnSpecChange)
        }),
        ("finished, and the app is gone", {
            done(watching(seen("new", NOW))).with(|task| task.app.as_mut().unwrap().missing_since = Some(NOW))
        }),
        ("finished, and its spec changed", done(watching(seen("old", NOW))).spec_changed()),
        ("it ended without an attempt: not before the next change", {
            observed(watching(seen("a", NOW))).finished(Phase::Failed, Reason::AnalyzerUnavailable)
        }),
        ("the files changed while it ran: it is not stopped", saw_old(watching(seen("new", NOW)).running())),
        ("the files changed while it ran, and it ends", {
            saw_old(watching(seen("new", NOW)).running()).ends(Outcome::Completed, Reason::AllToolsRan)
        }),
        ("the files changed while it backs off: at once, with fresh budgets", {
            saw_old(watching(seen("new", NOW)).ended(1, Outcome::Failed)).waiting(Reason::BackOff, Some(5))
        }),
        ("cancelled while it ran: not before the next change", {
            saw_old(watching(seen("new", NOW)).running()).cancel().ends(Outcome::Cancelled, Reason::CancelledByUser)
        }),
    ] {
        golden.case(title, case, TaskReconciler::plan, on_task);
    }
    golden.check("task/freshness.txt");
}

fn reusable() -> Reusable {
    let findings = Findings { high: 1, medium: 0, low: 2, unrated: 0 };
    let tool = ToolReport {
        name: "ruff".into(),
        status: ToolStatus::Completed,
        message: String::new(),
        permanent: false,
        findings,
    };
    Reusable {
        task: "first".into(),
        number: 3,
        verdict: Verdict {
            outcome: Outcome::Completed,
            reason: Reason::AllToolsRan,
            message: "1 tool ran".into(),
            tools: vec![tool],
            findings,
            outputs: Box::default(),
        },
        result: Some(StoredResult { directory: "demo/first/3".into(), sha256: "s".into(), bytes: 7 }),
    }
}

/// A task in the queue whose app has been read.
fn cached(name: &str) -> Candidate {
    let mut candidate = queued(name, 100);
    candidate.spec.cache = Cache::Content;
    candidate.app.as_mut().unwrap().tree = seen("files", NOW);
    candidate.stamp = Some(Stamp { app_digest: "files".into(), cache_key: "key".into() });
    candidate
}

#[test]
fn a_stored_result_is_taken_without_a_slot() {
    let takes = |name| Candidate { reusable: Some(reusable()), ..cached(name) };
    let mut golden = Golden::default();
    for (title, case) in [
        ("one slot, and only the last of three has to run", {
            lane(websocket(), vec![takes("a"), takes("b"), cached("c")])
        }),
        ("not read since it was asked for: it waits, whatever could be taken", {
            let late = Candidate { since: NOW.plus(Span(1)), ..takes("a") };
            lane(websocket(), vec![late])
        }),
    ] {
        golden.case(title, case, LaneReconciler::plan, on_lane);
    }
    golden.check("lane/reuse.txt");
}

#[test]
fn what_is_taken_points_to_the_original_and_what_runs_knows_its_files() {
    let takes = Candidate { reusable: Some(reusable()), ..cached("a") };
    let plan = LaneReconciler::plan(&lane(websocket(), vec![takes, cached("b")]), NOW);
    let close = plan.writes.iter().find_map(|write| match write {
        Write::CloseAttempt(close) => Some(close),
        _ => None,
    });
    let close = close.unwrap();
    assert_eq!((&close.result, &close.cache_key), (&reusable().result, &None));
    assert_eq!((&close.verdict.tools, close.verdict.reason), (&reusable().verdict.tools, Reason::Reused));
    for write in &plan.writes {
        match write {
            Write::OpenAttempt(open) => assert_eq!(open.app_digest.as_deref(), Some("files")),
            Write::Task(write) => assert_eq!(write.status.app_digest.as_deref(), Some("files")),
            _ => {}
        }
    }
}

fn key_of(analyzer: &AnalyzerSpec, facts: &AnalyzerFacts, change: impl FnOnce(&mut Candidate)) -> Option<String> {
    let mut candidate = cached("a");
    candidate.spec.tools = vec!["b".into(), "a".into()];
    candidate.spec.config = json!({"x": 1, "y": {"b": 1, "a": 2}}).as_object().unwrap().clone();
    change(&mut candidate);
    let digest = candidate.app.as_ref()?.tree.as_ref()?.digest.clone();
    identity(analyzer, facts).map(|identity| cache_key(&digest, &identity, analyzer, &candidate))
}

fn program(mtime_ns: i64) -> AnalyzerFacts {
    let file = ProgramFile { path: "/bin/lint".into(), bytes: 1, mtime_ns };
    AnalyzerFacts { files: vec![file], versions: vec![] }
}

#[test]
fn the_key_covers_all_that_a_result_depends_on_and_nothing_else() {
    let (lint, facts) = (command(), program(1));
    let key = |change: fn(&mut Candidate)| key_of(&lint, &facts, change).unwrap();
    let plain = key(|_| {});
    let same: [fn(&mut Candidate); 4] = [
        |task| task.name = "other".into(),
        |task| task.spec.app = "other".into(),
        |task| task.spec.tools = vec!["a".into(), "b".into(), "a".into()],
        |task| task.spec.config = json!({"y": {"a": 2, "b": 1}, "x": 1}).as_object().unwrap().clone(),
    ];
    same.into_iter().for_each(|change| assert_eq!(key(change), plain));
    let other: [fn(&mut Candidate); 4] = [
        |task| task.app.as_mut().unwrap().tree = seen("others", NOW),
        |task| task.spec.tools = vec!["a".into()],
        |task| task.spec.config = json!({"x": 2}).as_object().unwrap().clone(),
        |task| task.app.as_mut().unwrap().target_urls = vec!["http://127.0.0.1:1".into()],
    ];
    other.into_iter().for_each(|change| assert_ne!(key(change), plain));
    assert_ne!(key_of(&lint, &program(2), |_| {}).unwrap(), plain, "the program was replaced");
    let bumped = AnalyzerSpec { version: "2".into(), ..command() };
    assert_ne!(key_of(&bumped, &facts, |_| {}).unwrap(), plain, "a person says so");
    let bare = AnalyzerSpec { keep_results: KeepResults::OnFailure, ..command() };
    assert_ne!(key_of(&bare, &facts, |_| {}).unwrap(), plain, "nothing is left that could be taken");
    let mut told = command();
    told.command.as_mut().unwrap().argv.push("${app.name}".into());
    let named = |name: &str| key_of(&told, &facts, |task| task.spec.app = name.into()).unwrap();
    assert_ne!(named("one"), named("two"), "the program is told the name");
}

#[test]
fn an_analyzer_that_cannot_be_told_from_another_gives_no_key() {
    let said = |versions: &[(&str, &str)]| AnalyzerFacts {
        versions: versions.iter().map(|(url, said)| ((*url).to_owned(), (*said).to_owned())).collect(),
        files: vec![],
    };
    let spec = |urls: &[&str], version: &str| -> AnalyzerSpec {
        let websocket = json!({"urls": urls, "request": "static_analyze"});
        serde_json::from_value(json!({"websocket": websocket, "version": version})).unwrap()
    };
    let is_known = |spec: AnalyzerSpec, facts: AnalyzerFacts| identity(&spec, &facts).is_some();
    assert!(!is_known(command(), AnalyzerFacts::default()), "a program that was not found");
    assert!(!is_known(spec(&["ws://one"], ""), said(&[])), "it never said its version");
    assert!(is_known(spec(&["ws://one"], ""), said(&[("ws://one", "1.2")])));
    assert!(is_known(spec(&["ws://one"], "mine"), said(&[])), "a person vouches for it");
    let both = ["ws://one", "ws://two"];
    assert!(!is_known(spec(&both, ""), said(&[("ws://one", "1.2")])), "one of two");
    assert!(!is_known(spec(&both, "mine"), said(&[("ws://one", "1"), ("ws://two", "2")])), "two versions");
    assert!(is_known(spec(&both, ""), said(&[("ws://one", "1"), ("ws://two", "1")])));
}

fn tree(reading: Reading) -> ObservedTree {
    ObservedTree {
        uid: Uid("demo".into()),
        name: "demo".into(),
        path: "apps/demo".into(),
        generation: 1,
        stored: seen("old", NOW.minus(Span::minutes(5))),
        unreadable: None,
        waiting_since: None,
        watchers: vec![watcher("same", Phase::Completed, Some("old")), watcher("fresh", Phase::Pending, None)],
        began_at: NOW,
        reading,
    }
}

fn watcher(uid: &str, phase: Phase, app_digest: Option<&str>) -> Watcher {
    Watcher { uid: Uid(uid.into()), phase, app_digest: app_digest.map(str::to_owned) }
}

fn read(digest: &str, moving_since: Option<Timestamp>) -> Reading {
    Reading::Seen { digest: digest.into(), changed_at: NOW, moving_since }
}

fn unknown(moving_since: Option<Timestamp>) -> Reading {
    Reading::Unknown { why: "a.py: permission denied".into(), moving_since }
}

/// Writes of the plan for an app's files.
fn on_tree(tree: &mut ObservedTree, plan: &Plan, _: Timestamp) {
    for write in &plan.writes {
        match write {
            Write::TreeSeen(write) => {
                tree.stored = seen(&write.digest, write.at);
                tree.waiting_since = None;
            }
            Write::Condition(write) => tree.unreadable = write.holds.then(|| write.message.clone()),
            Write::Event(_) => {}
            other => panic!("a plan for files never writes {other:?}"),
        }
    }
}

#[test]
fn a_reading_is_written_when_it_differs_or_somebody_waits_for_it() {
    let since = |span: Span| Some(NOW.minus(span));
    let waiting = |at| move |tree: ObservedTree| ObservedTree { waiting_since: Some(at), ..tree };
    let long_ago = Span(SETTLE_MAX.0 + 1);
    let mut golden = Golden::default();
    for (title, case) in [
        ("nobody needs it", ObservedTree { watchers: vec![], ..tree(Reading::NotNeeded) }),
        ("the same as before: not one write for each scan", tree(read("old", None))),
        ("never read", ObservedTree { stored: None, ..tree(read("new", None)) }),
        ("it changed", tree(read("new", None))),
        ("the same as before, and a task waits for a reading", waiting(NOW.minus(Span(1)))(tree(read("old", None)))),
        ("the task's clock was ahead", waiting(NOW.plus(Span::minutes(60)))(tree(read("old", None)))),
        ("a lost wake-up is made good", {
            let lost =
                [watcher("lost", Phase::Failed, Some("older")), watcher("backs-off", Phase::Pending, Some("older"))];
            let left = [watcher("never-ran", Phase::Cancelled, None), watcher("runs", Phase::Running, Some("older"))];
            ObservedTree { watchers: lost.into_iter().chain(left).collect(), ..tree(read("old", None)) }
        }),
        ("it is being written: nothing is concluded from half of it", {
            waiting(NOW)(tree(read("new", since(Span(1)))))
        }),
        ("it has been written for too long to wait", tree(read("new", since(long_ago)))),
        ("it changes while it is read", tree(unknown(since(Span(1))))),
        ("it cannot be read", tree(unknown(None))),
        ("it changes for ever while it is read", tree(unknown(since(long_ago)))),
        ("it can be read again", ObservedTree { unreadable: Some("x".into()), ..tree(read("old", None)) }),
    ] {
        let soon = Some(NOW.plus(SETTLE));
        assert_eq!(
            TreeReconciler::plan(&case, NOW).next == soon,
            case.is_settling(NOW),
            "{title}: whom --once waits for"
        );
        golden.case(title, case, TreeReconciler::plan, on_tree);
    }
    golden.check("tree/readings.txt");
}

#[test]
fn a_time_in_the_future_is_no_sign_of_writing() {
    assert!(is_moving(NOW.minus(Span(1)), NOW) && is_moving(NOW.plus(Span(1)), NOW));
    assert!(!is_moving(NOW.minus(SETTLE), NOW) && !is_moving(NOW.plus(Span::minutes(1)), NOW));
}

#[test]
fn a_retry_of_some_tools_does_not_mix_two_states_of_the_files() {
    let mut late = cached("a");
    late.spec.run_policy = RunPolicy::OnAppChange;
    late.status.app_digest = Some("old files".into());
    let plan = LaneReconciler::plan(&lane(websocket(), vec![late.clone()]), NOW);
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(plan.wakes, [Key::Task(late.uid.clone())], "the task loop starts another round");
    late.status.app_digest = Some("files".into());
    assert_eq!(LaneReconciler::plan(&lane(websocket(), vec![late]), NOW).effects.len(), 1);
}

#[test]
fn a_wait_is_not_cut_short_by_a_reading() {
    let waits = watching(seen("files", Timestamp(NOW.0 - 1))).with(|task| {
        task.status.observed_generation = 1;
        task.status = task.status.waiting(Reason::BackOff, "", Some(NOW.plus(Span::minutes(15))));
    });
    let plan = TaskReconciler::plan(&waits, NOW);
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(plan.next, Some(NOW.plus(Span::minutes(15))));
    let over = TaskReconciler::plan(&waits, NOW.plus(Span::minutes(15)));
    assert!(over.wakes.iter().any(|key| matches!(key, Key::Tree(_))), "then it is asked for: {over}");
}
