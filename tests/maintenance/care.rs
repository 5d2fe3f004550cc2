//! What is on its way out is listed, kept, brought back whole, or deleted for good with its files.

use serde_json::Value;

use crate::old::{TASKS, edit, ended, finished, one, results, stray};
use crate::support::daemon::{Home, document, task};

/// More than one batch.
const ITEMS: usize = 130;

fn reconcile(home: &Home) -> Value {
    home.run(&["reconcile", "--once", "-o", "json"]).json()
}

/// How often each rule was applied.
fn rules(report: &Value) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for action in report["actions"].as_array().unwrap() {
        *counts.entry(action["rule"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

fn listed(home: &Home) -> Vec<String> {
    home.run(&["orphans", "list", "-o", "name"]).ok().lines().map(str::to_owned).collect()
}

/// All that people see of a run and its tasks.
fn seen(home: &Home) -> (Value, Value, usize) {
    let run = home.run(&["get", "run/line-1", "-o", "json"]).json();
    let tasks = home.run(&["get", "tasks", "-o", "json"]).json();
    (run, tasks, results(home).len())
}

#[test]
fn a_run_of_many_children_is_set_aside_whole_brought_back_whole_and_purged_whole() {
    let home = finished(ITEMS);
    let before = seen(&home);
    ended(&home, "run IS NOT NULL", 31);
    edit(&home, &format!("UPDATE run SET finished_at = {}", crate::old::ago(31)));
    let report = reconcile(&home);
    assert_eq!(rules(&report), [("RunSetAside".to_owned(), 1)], "{report}");
    assert_eq!(one(&home, "SELECT count(*) FROM task WHERE aside_at IS NOT NULL"), ITEMS as i64);
    assert_eq!(listed(&home), ["run/line-1"]);
    assert_eq!(home.run(&["get", "tasks", "-o", "name"]).ok().lines().count(), TASKS);

    assert_eq!(rules(&reconcile(&home)), [], "it stays so for a week");
    home.run(&["orphans", "restore", "run/line-1"]).ok();
    let after = seen(&home);
    let names = |tasks: &Value| tasks["items"].as_array().unwrap().len();
    assert_eq!((names(&after.1), after.2), (names(&before.1), before.2));
    assert_eq!(after.0["status"]["phase"], before.0["status"]["phase"]);
    assert_eq!(rules(&reconcile(&home)), [], "what was restored is kept");

    home.run(&["orphans", "release", "run/line-1"]).ok();
    reconcile(&home);
    edit(&home, &format!("UPDATE run SET aside_at = {} WHERE aside_at IS NOT NULL", crate::old::ago(8)));
    let report = reconcile(&home);
    assert!(rules(&report).contains(&("RunPurged".to_owned(), 1)), "{report}");
    assert_eq!(one(&home, "SELECT count(*) FROM task"), TASKS as i64);
    assert_eq!(one(&home, "SELECT count(*) FROM child"), 0);
    assert_eq!(results(&home).len(), TASKS, "with the files of its tasks, and no others");
    home.run(&["db", "check"]).ok();
    assert_eq!(listed(&home), Vec::<String>::new());
    // Its name is not given again: whoever has noted it does not find another run under it.
    home.run(&["run", "line", "--wait"]).ok();
    assert_eq!(one(&home, "SELECT count(*) FROM run WHERE name = 'line-2' AND phase = 'Completed'"), 1);
}

#[test]
fn a_purged_task_that_is_still_declared_does_not_run_again_and_one_that_is_not_is_gone() {
    let home = finished(1);
    ended(&home, "name IN ('t1', 't2')", 35);
    let text = std::fs::read_to_string(home.path("manifests/all.yaml")).unwrap();
    home.drop_in("all.yaml", &text.replace(&task("t2", "acme-app3", "echo", ""), ""));
    let report = reconcile(&home);
    assert_eq!(rules(&report), [("TaskSetAside".to_owned(), 2)], "{report}");
    assert_eq!(listed(&home), ["task/t1", "task/t2"]);
    let kept = home.run(&["orphans", "keep", "task/t2", "-o", "json"]).json();
    assert_eq!((&kept[0]["object"], &kept[0]["effective"]), (&"task/t2".into(), &true.into()), "{kept}");
    let refused = home.run(&["orphans", "purge", "task/t1"]);
    assert!(refused.code == 1 && refused.err.contains("--yes"), "nobody is there to be asked: {}", refused.err);
    home.run(&["orphans", "purge", "--all", "--yes"]).ok();
    assert_eq!(listed(&home), ["task/t2"], "what is kept is not among all");
    let purged = home.run(&["orphans", "purge", "task/t2", "--yes", "-o", "json"]).json();
    assert_eq!(purged[0]["rule"], "TaskPurged", "{purged}");
    let left = results(&home);
    assert!(!left.iter().any(|path| path.contains("/t1/") || path.contains("/t2/")), "{left:?}");
    let report = reconcile(&home);
    assert_eq!((&report["attempts"], rules(&report)), (&0.into(), vec![]));
    assert_eq!(one(&home, "SELECT count(*) FROM object WHERE name = 't2'"), 0);
    assert_eq!(one(&home, "SELECT count(*) FROM attempt JOIN task ON uid = task_uid WHERE name = 't1'"), 0);
    // A person can have it run again.
    home.run(&["retry", "t1"]).ok();
    reconcile(&home);
    assert!(results(&home).iter().any(|path| path.contains("/t1/")));
}

#[test]
fn a_result_that_another_attempt_has_taken_over_stays_as_long_as_that_one() {
    let home = Home::new("");
    let analyzer = document("Analyzer", "echo", "{command: {argv: [echo, done], tool: echo}, capacity: 2}");
    let cached = |name: &str| task(name, "app1", "echo", "cache: Content,");
    home.drop_in("all.yaml", &format!("{}{analyzer}{}", home.app(1), cached("first")));
    reconcile(&home);
    home.drop_in("more.yaml", &cached("second"));
    reconcile(&home);
    assert_eq!(one(&home, "SELECT count(*) FROM attempt WHERE reason = 'Reused'"), 1, "the scene is what it should be");
    ended(&home, "name = 'first'", 40);
    reconcile(&home);
    home.run(&["orphans", "purge", "task/first", "--yes"]).ok();
    assert_eq!(results(&home).len(), 1, "the second task has its result there");
    assert!(home.run(&["results", "second"]).ok().contains("echo"));
    ended(&home, "name = 'second'", 40);
    reconcile(&home);
    home.run(&["orphans", "purge", "task/second", "--yes"]).ok();
    // Now it belongs to nobody: either it went with the last who had it, or it is found as a stray.
    edit(&home, &format!("UPDATE stray SET seen_at = {}", crate::old::ago(8)));
    reconcile(&home);
    assert_eq!(results(&home), Vec::<String>::new());
}

#[test]
fn a_directory_of_results_that_belongs_to_nobody_is_listed_then_deleted_and_a_kept_one_stays() {
    let home = finished(1);
    stray(&home, "acme-app1/gone/1", 10);
    stray(&home, "acme-app1/t4/77", 10);
    stray(&home, "acme-app1/young/1", 1);
    let report = reconcile(&home);
    assert_eq!(rules(&report), [("StrayFound".to_owned(), 2)], "{report}");
    assert_eq!(listed(&home), ["results/acme-app1/gone/1", "results/acme-app1/t4/77"]);
    home.run(&["orphans", "keep", "results/acme-app1/t4/77"]).ok();
    edit(&home, &format!("UPDATE stray SET seen_at = {}", crate::old::ago(8)));
    let report = reconcile(&home);
    assert_eq!(rules(&report), [("StrayPurged".to_owned(), 1)], "{report}");
    let left = results(&home);
    assert!(left.contains(&"acme-app1/t4/77".to_owned()) && left.contains(&"acme-app1/young/1".to_owned()), "{left:?}");
    assert!(!left.contains(&"acme-app1/gone/1".to_owned()) && left.len() == TASKS + 1 + 2, "{left:?}");
}

#[test]
fn directories_that_belong_to_nobody_are_purged_on_request_by_name_and_all_of_them() {
    let home = finished(1);
    for path in ["acme-app1/gone/1", "acme-app1/gone/2", "acme-app1/t4/77"] {
        stray(&home, path, 10);
    }
    assert_eq!(rules(&reconcile(&home)), [("StrayFound".to_owned(), 3)]);
    let said = home.run(&["orphans", "purge", "results/acme-app1/gone/1", "--yes"]).ok();
    assert_eq!(said.matches("results/acme-app1/gone/1").count(), 1, "{said}");
    assert_eq!(listed(&home), ["results/acme-app1/gone/2", "results/acme-app1/t4/77"]);
    home.run(&["orphans", "purge", "--all", "--yes"]).ok();
    assert_eq!(listed(&home), Vec::<String>::new());
    assert_eq!(results(&home).len(), TASKS + 1, "only what belongs to nobody went: {:?}", results(&home));
}
