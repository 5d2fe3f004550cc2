//! One task: dropped, edited, removed, restored.

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use crate::support::daemon::{Home, document, embedded, gated, quick, task, waiter};
use crate::support::stage::group_lives;

/// A workspace with an app and an analyzer whose programs wait at gates, one at a time.
pub(crate) fn one_slot() -> Home {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), gated(1)));
    home
}

#[test]
fn a_dropped_manifest_is_run_and_an_edited_one_runs_again() {
    let home = Home::new("embeddedAnalyzer: true");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), embedded(1)));
    let daemon = home.serve();
    home.drop_in("look.yaml", &task("look", "app1", "embedded", "tools: [patterns],"));
    let first = home.until_phase("look", Phase::Completed);
    assert_eq!((first.generation, home.attempts("look").len()), (1, 1));

    // The same again is no change.
    home.drop_in("look.yaml", &format!("# a word\n{}", task("look", "app1", "embedded", "tools: [patterns],")));
    home.drop_in("look.yaml", &task("look", "app1", "embedded", "tools: [patterns, secrets],"));
    let second = home.until_task("look", "to have run as generation 2", |task| {
        task.status.phase == Phase::Completed && task.status.observed_generation == 2
    });
    assert_eq!((second.uid, second.generation), (first.uid, 2));
    let generations: Vec<i64> = home.attempts("look").iter().map(|attempt| attempt.generation).collect();
    assert_eq!(generations, [1, 2]);
    daemon.stop();
}

#[test]
fn a_task_removed_while_it_waits_is_cancelled_and_goes_on_when_its_manifest_is_back() {
    let home = one_slot();
    home.gate("a");
    home.gate("b");
    let daemon = home.serve();
    home.drop_in("first.yaml", &waiter("first", "a", ""));
    home.until_spawned("first");
    home.drop_in("second.yaml", &waiter("second", "b", ""));
    home.until_reason("second", Phase::Pending, Reason::Queued);
    home.take_away("second.yaml");
    let gone = home.until_reason("second", Phase::Cancelled, Reason::ManifestRemoved);
    assert!(gone.removed_at.is_some());
    assert!(home.attempts("second").is_empty());
    assert_eq!(home.task("first").status.phase, Phase::Running);

    home.drop_in("second.yaml", &waiter("second", "b", ""));
    let back = home.until_phase("second", Phase::Pending);
    assert_eq!((&back.uid, back.removed_at), (&gone.uid, None));
    home.open_gate("a");
    home.open_gate("b");
    home.until_phase("second", Phase::Completed);
    assert_eq!(home.attempts("second").len(), 1);
    let came_back = home.events(Kind::Task, "second").iter().any(|event| event.contains("its manifest came back"));
    assert!(came_back, "{:?}", home.events(Kind::Task, "second"));
    daemon.stop();
}

#[test]
fn a_suspended_task_waits_is_cancelled_when_removed_and_runs_when_it_is_suspended_no_longer() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    home.drop_in("t.yaml", &task("t", "app1", "quick", "suspend: true,"));
    let daemon = home.serve();
    home.until_reason("t", Phase::Pending, Reason::Suspended);
    home.take_away("t.yaml");
    home.until_reason("t", Phase::Cancelled, Reason::ManifestRemoved);
    home.drop_in("t.yaml", &task("t", "app1", "quick", "suspend: true,"));
    home.until_reason("t", Phase::Pending, Reason::Suspended);
    home.drop_in("t.yaml", &task("t", "app1", "quick", ""));
    home.until_phase("t", Phase::Completed);
    assert_eq!(home.attempts("t").len(), 1);
    daemon.stop();
}

#[test]
fn a_task_removed_while_it_runs_is_cancelled_with_its_processes_and_runs_again_when_restored() {
    let home = one_slot();
    home.gate("a");
    let daemon = home.serve();
    home.drop_in("t.yaml", &waiter("t", "a", ""));
    let group = home.until_spawned("t");
    assert!(group_lives(group));
    home.take_away("t.yaml");
    home.until_reason("t", Phase::Cancelled, Reason::ManifestRemoved);
    assert!(!group_lives(group), "its program still runs");

    home.drop_in("t.yaml", &waiter("t", "a", ""));
    home.until_spawned("t");
    home.open_gate("a");
    home.until_phase("t", Phase::Completed);
    assert_eq!(home.attempts("t").len(), 2);
    daemon.stop();
}

#[test]
fn a_running_task_that_is_edited_is_stopped_and_started_with_the_new_spec() {
    let home = one_slot();
    home.gate("a");
    home.gate("b");
    let daemon = home.serve();
    home.drop_in("t.yaml", &waiter("t", "a", ""));
    let group = home.until_spawned("t");
    home.drop_in("t.yaml", &waiter("t", "b", ""));
    home.until_task("t", "to run as generation 2", |task| {
        task.status.phase == Phase::Running && task.status.observed_generation == 2
    });
    assert!(!group_lives(group), "the first program still runs");
    home.open_gate("b");
    home.until_phase("t", Phase::Completed);
    daemon.stop();
}

#[test]
fn a_running_task_that_is_suspended_is_stopped_and_goes_on_later() {
    let home = one_slot();
    home.gate("a");
    let daemon = home.serve();
    home.drop_in("t.yaml", &waiter("t", "a", "backoffLimit: 0,"));
    let group = home.until_spawned("t");
    home.drop_in("t.yaml", &waiter("t", "a", "backoffLimit: 0, suspend: true,"));
    home.until_reason("t", Phase::Pending, Reason::Suspended);
    assert!(!group_lives(group), "its program still runs");
    home.drop_in("t.yaml", &waiter("t", "a", "backoffLimit: 0,"));
    home.open_gate("a");
    home.until_phase("t", Phase::Completed);
    daemon.stop();
}

#[test]
fn what_waits_for_a_removed_analyzer_says_so_and_what_runs_on_it_runs_on() {
    let home = one_slot();
    home.drop_in("gated.yaml", &gated(1));
    home.drop_in("base.yaml", &home.app(1));
    home.gate("a");
    let daemon = home.serve();
    home.drop_in("a.yaml", &waiter("a", "a", ""));
    home.until_spawned("a");
    home.drop_in("b.yaml", &waiter("b", "a", ""));
    home.until_reason("b", Phase::Pending, Reason::Queued);
    home.take_away("gated.yaml");
    home.until_reason("b", Phase::Pending, Reason::AnalyzerNotFound);
    home.open_gate("a");
    home.until_phase("a", Phase::Completed);
    home.drop_in("gated.yaml", &gated(1));
    home.open_gate("a");
    home.until_phase("b", Phase::Completed);
    daemon.stop();
}

#[test]
fn a_task_of_an_unknown_app_or_analyzer_waits_and_runs_by_itself_when_they_appear() {
    let home = Home::new("");
    home.drop_in("t.yaml", &task("t", "app1", "quick", ""));
    let daemon = home.serve();
    home.until_reason("t", Phase::Pending, Reason::AnalyzerNotFound);
    home.drop_in("analyzers.yaml", &quick());
    home.until_reason("t", Phase::Pending, Reason::AppNotFound);
    home.drop_in("apps.yaml", &home.app(1));
    home.until_phase("t", Phase::Completed);
    daemon.stop();
}

#[test]
fn an_app_whose_directory_is_made_later_is_found_and_its_task_runs() {
    let home = Home::new("scanInterval: 200ms");
    let set = document("AppSet", "found", "{root: generated/apps, pattern: \"{model}/app{number}\"}");
    home.drop_in("base.yaml", &format!("{set}{}{}", quick(), task("t", "acme-app7", "quick", "")));
    let daemon = home.serve();
    home.until_reason("t", Phase::Pending, Reason::AppNotFound);
    std::fs::create_dir_all(home.path("generated/apps/acme/app7")).unwrap();
    home.until_phase("t", Phase::Completed);
    assert!(home.object(Kind::App, "acme-app7").app.unwrap().app_set.is_some());

    // It goes: what names it is held. It returns: that runs.
    std::fs::remove_dir(home.path("generated/apps/acme/app7")).unwrap();
    home.until("the app to be marked missing", |connection| {
        let app = crate::support::daemon::find(connection, Kind::App, "acme-app7")?;
        app.app?.missing_since
    });
    home.drop_in("u.yaml", &task("u", "acme-app7", "quick", ""));
    home.until_reason("u", Phase::Pending, Reason::AppMissing);
    std::fs::create_dir_all(home.path("generated/apps/acme/app7")).unwrap();
    home.until_phase("u", Phase::Completed);
    daemon.stop();
}

#[test]
fn a_retry_asks_only_for_the_tools_that_did_not_run_and_the_result_is_that_of_both_attempts() {
    let home = Home::new("");
    // Says of `a` at the first call, and of whatever it is asked for at the next one.
    let script = r#"echo "$*" >> "$0.asked"
run() { printf '{"tool": {"driver": {"name": "%s"}}, "results": [{"level": "error", "message": {"text": "x"}}]}' "$1"; }
[ "$(wc -l < "$0.asked")" -eq 1 ] && set -- a
printf '{"version": "2.1.0", "runs": ['
run "$1"
printf ']}'
"#;
    let path = home.path("lint.sh");
    std::fs::write(&path, script).unwrap();
    let argv = format!("[sh, \"{}\", \"${{tools}}\"]", path.display());
    let lint = document("Analyzer", "lint", &format!("{{command: {{argv: {argv}, output: sarif}}}}"));
    home.drop_in("base.yaml", &format!("{}{lint}", home.app(1)));
    home.drop_in("both.yaml", &task("both", "app1", "lint", "tools: [a, b], retry: {base: 10ms},"));
    let daemon = home.serve();
    let done = home.until_phase("both", Phase::Completed);
    assert_eq!(std::fs::read_to_string(home.path("lint.sh.asked")).unwrap(), "a b\nb\n");
    let attempts = home.attempts("both");
    assert_eq!(
        (attempts.len(), &attempts[0].asked, &attempts[1].asked),
        (2, &vec!["a".into(), "b".into()], &vec!["b".into()])
    );
    assert_eq!(done.task.unwrap().status.findings.high, 2);
    let sarif = home.run(&["results", "both", "-o", "sarif"]).json();
    let ids: Vec<_> = sarif["runs"].as_array().unwrap().iter().map(|run| &run["automationDetails"]["id"]).collect();
    assert_eq!(ids, ["both/1", "both/2"], "{sarif}");
    daemon.stop();
}
