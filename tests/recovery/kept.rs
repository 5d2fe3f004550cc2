//! Attempts that left no files since nobody wanted them: whoever looks after results misses nothing, and brings back what is proven.

use std::fs;

use manifestd::resource::outcome::ToolStatus;
use manifestd::store::database_path;
use serde_json::Value;

use crate::doctor::{assert_well, found};
use crate::support::daemon::{Home, document, task};

/// A tool that has run well where there is a file `good`, and says something in any case. What completed leaves no files.
fn analyzer() -> String {
    let command = "{argv: [sh, -c, \"echo looked; test -e good\"], tool: look, inAppDirectory: true}";
    document("Analyzer", "look", &format!("{{command: {command}, keepResults: OnFailure}}"))
}

/// The app of a task that does well, or fails.
fn app(home: &Home, number: u32, good: bool) -> String {
    let declared = home.app(number);
    if good {
        make_good(home, number);
    }
    declared
}

fn make_good(home: &Home, number: u32) {
    fs::write(home.path(&format!("generated/apps/acme/app{number}/good")), "").unwrap();
}

/// How each attempt of a task ended, and whether it left files; a row that names files must be right.
fn attempts(home: &Home, name: &str) -> Vec<(String, bool)> {
    let of = |attempt: manifestd::store::view::AttemptView| {
        let there = attempt.result_dir.as_ref().map(|place| home.state().join("results").join(place).is_dir());
        assert_ne!(there, Some(false), "{name}: {attempt:?}");
        (attempt.outcome.unwrap().to_string(), there.is_some())
    };
    home.attempts(name).into_iter().map(of).collect()
}

/// What a pass says; it ends with 1 where a task has failed.
fn pass(home: &Home) -> Value {
    serde_json::from_str(&home.run(&["reconcile", "--once", "-o", "json"]).out).unwrap()
}

#[test]
fn who_looks_after_results_misses_none_of_those_that_nobody_wanted() {
    let home = Home::new("gracePeriodMinutes: 0");
    let apps = format!("{}{}{}", app(&home, 1, true), app(&home, 2, false), app(&home, 3, false));
    let tasks = [("good", "app1"), ("bad", "app2"), ("mended", "app3")];
    let tasks: String = tasks.map(|(name, app)| task(name, app, "look", "backoffLimit: 0,")).concat();
    home.drop_in("all.yaml", &format!("{apps}{}{tasks}", analyzer()));
    assert_eq!(pass(&home)["attempts"], 3);
    make_good(&home, 3);
    home.run(&["retry", "mended"]).ok();
    assert_eq!(pass(&home)["attempts"], 1);

    let (completed, failed) = (("Completed".to_owned(), false), ("Failed".to_owned(), true));
    assert_eq!(attempts(&home, "good"), std::slice::from_ref(&completed));
    assert_eq!(attempts(&home, "bad"), std::slice::from_ref(&failed));
    assert_eq!(attempts(&home, "mended"), [failed, completed]);
    let tools = home.attempts("good").remove(0).tools;
    assert!(tools.len() == 1 && tools[0].status == ToolStatus::Completed, "what was found is in the row: {tools:?}");
    assert!(home.run(&["results", "good"]).ok().contains("look"), "and shown from there");
    let log = home.run(&["logs", "good"]);
    assert!(log.err.contains("so there is no log"), "{}{}", log.out, log.err);

    for _ in 0..2 {
        let report = pass(&home);
        assert_eq!((&report["attempts"], report["actions"].as_array().unwrap().len()), (&0.into(), 0), "{report}");
        assert_well(&home);
    }
    assert_eq!(home.run(&["orphans", "list", "-o", "name"]).ok(), "");

    // A failure that is still there proves nothing of what came behind it, so all of them run once more.
    fs::remove_file(database_path(&home.state())).unwrap();
    let report = home.run(&["db", "rebuild", "-o", "json"]).json();
    let told = ["pending", "attempts", "damagedCount", "undeclared"].map(|figure| report[figure].as_u64().unwrap());
    assert_eq!((told, &report["finished"]), ([3, 2, 0, 0], &serde_json::json!({})), "{report}");
    assert_eq!(pass(&home)["attempts"], 3);
    let phases = ["good", "bad", "mended"].map(|name| home.task(name).status.phase.to_string());
    assert_eq!(phases, ["Completed", "Failed", "Completed"]);
    assert_eq!(found(&home, &[]).1, Vec::<String>::new());
    assert_eq!(pass(&home)["attempts"], 0);
}
