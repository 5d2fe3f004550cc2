//! Pipelines with the real program: runs that are made, go on, and end as their children did; and people who stop and start them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

#[path = "pipelines/acting.rs"]
mod acting;
#[path = "pipelines/kills.rs"]
mod kills;
mod support;

use support::daemon::{Home, document};

/// A program that works on the item that its config names; `bad` fails.
fn worker() -> String {
    let script = r#"test "$1" != bad"#;
    let argv = serde_json::json!(["sh", "-c", script, "worker", "${config.item}"]);
    document("Analyzer", "worker", &format!("{{command: {{argv: {argv}, tool: worker}}, capacity: 4}}"))
}

/// A pipeline that runs only when asked, with a step for each item and one after it.
fn fan(items: &str, more: &str) -> String {
    document(
        "Pipeline",
        "fan",
        &format!(
            "{{runPolicy: Manual, steps: [{{name: each, analyzer: worker, app: app1, backoffLimit: 0, forEach: {{items: [{items}]}}, \
             config: {{item: \"${{item}}\"}}, {more}}}, {{name: after, analyzer: worker, app: app1, needs: [each], config: {{item: done}}}}]}}"
        ),
    )
}

fn home(items: &str, more: &str) -> Home {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}{}", home.app(1), worker(), fan(items, more)));
    home
}

/// Phase and reason of a run, and how the children of each step were concluded.
fn ended(home: &Home, run: &str) -> (String, String, Vec<String>) {
    let connection = home.database();
    let query = "SELECT phase, reason FROM run WHERE name = ?1";
    let (phase, reason) = connection.query_row(query, [run], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let query = "SELECT c.step || ' ' || c.item || ' ' || c.conclusion FROM child c JOIN run r ON r.uid = c.run
         WHERE r.name = ?1 ORDER BY c.step, c.item";
    let mut statement = connection.prepare(query).unwrap();
    let children = statement.query_map([run], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    (phase, reason, children)
}

#[test]
fn a_run_whose_items_all_succeed_is_completed_and_its_next_step_comes_after() {
    let home = home("a, b, c", "");
    home.run(&["run", "fan"]).ok();
    assert_eq!(home.run(&["reconcile", "--once"]).code, 0, "{}", home.dump());
    let (phase, reason, children) = ended(&home, "fan-1");
    assert_eq!((phase.as_str(), reason.as_str()), ("Completed", "AllStepsCompleted"), "{}", home.dump());
    assert_eq!(children, ["after 0 Succeeded", "each 0 Succeeded", "each 1 Succeeded", "each 2 Succeeded"]);
}

#[test]
fn one_failed_item_makes_a_partial_success_and_a_retry_runs_only_that() {
    let home = home("a, bad, c", "");
    home.run(&["run", "fan"]).ok();
    home.run(&["reconcile", "--once"]);
    let (phase, _, children) = ended(&home, "fan-1");
    assert_eq!(phase, "PartialSuccess", "{}", home.dump());
    assert_eq!(children, ["after 0 Succeeded", "each 0 Succeeded", "each 1 Failed", "each 2 Succeeded"]);
    let attempts = |home: &Home| -> i64 {
        home.database().query_row("SELECT count(*) FROM attempt", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(attempts(&home), 4);
    home.run(&["retry", "fan-1", "--failed"]).ok();
    home.run(&["reconcile", "--once"]);
    assert_eq!(attempts(&home), 5, "what had succeeded ran again\n{}", home.dump());
    assert_eq!(ended(&home, "fan-1").0, "PartialSuccess");
}

#[test]
fn a_failed_critical_step_fails_the_run() {
    let home = home("bad", "critical: true,");
    home.run(&["run", "fan"]).ok();
    home.run(&["reconcile", "--once"]);
    let (phase, reason, _) = ended(&home, "fan-1");
    assert_eq!((phase.as_str(), reason.as_str()), ("Failed", "CriticalStepFailed"), "{}", home.dump());
}

#[test]
fn a_run_that_is_cancelled_before_anything_ran_is_cancelled_with_its_children_and_nothing_runs() {
    let home = home("a", "");
    home.run(&["run", "fan"]).ok();
    home.run(&["cancel", "run/fan-1"]).ok();
    home.run(&["reconcile", "--once"]);
    let (phase, reason, children) = ended(&home, "fan-1");
    assert_eq!((phase.as_str(), reason.as_str()), ("Cancelled", "RunCancelled"), "{}", home.dump());
    assert!(children.is_empty(), "nothing was asked for: {children:?}");
    let attempts: i64 = home.database().query_row("SELECT count(*) FROM attempt", [], |row| row.get(0)).unwrap();
    assert_eq!(attempts, 0);
}
