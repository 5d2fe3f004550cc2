//! `reconcile --once --dry-run` on random states: the real run that follows does the same things, word for word, and a second one nothing.

use std::fs;

use serde_json::Value;

use crate::old::{DAY, TASKS, ago, copy, edit, finished, make_app, put_back, stray};
use crate::support::daemon::Home;
use crate::support::kills::Dice;

/// States that are tried.
const STATES: u64 = 40;

/// A child less than a batch, so that one state stays small.
const ITEMS: usize = 6;

/// Changes the database and the disk at random.
fn shake(home: &Home, dice: &mut Dice) {
    let mut statements = String::new();
    let mut say = |statement: String| statements.push_str(&(statement + ";\n"));
    for number in 1..=TASKS {
        let (name, days) = (format!("name = 't{number}'"), dice.below(60) as i64);
        let at = ago(days);
        match dice.below(8) {
            0 => say(format!("UPDATE task SET finished_at = {at}, since = {at}, aside_at = {at} WHERE {name}")),
            1 => say(format!("UPDATE task SET finished_at = {at}, since = {at}, kept_at = {at} WHERE {name}")),
            // Nobody carries it: its controller is gone since then.
            2 => {
                let minutes = ago(0) - dice.below(300) as i64 * 60_000;
                say(format!(
                    "UPDATE attempt SET outcome = NULL, ended_at = NULL, opened_at = {minutes}, result_dir = NULL, result_sha256 = NULL
                     WHERE task_uid = (SELECT uid FROM task WHERE {name})"
                ));
                say(format!(
                    "UPDATE task SET phase = 'Running', reason = 'AttemptStarted', finished_at = NULL, since = {minutes} WHERE {name}"
                ));
            }
            3 => {
                let minutes = ago(0) - dice.below(600) as i64 * 60_000;
                say(format!(
                    "UPDATE task SET phase = 'Pending', reason = 'AnalyzerNotFound', analyzer = 'nobody', finished_at = NULL, since = {minutes}
                     WHERE {name}"
                ));
                say(format!(
                    "UPDATE object SET spec = json_set(spec, '$.analyzer', 'nobody') WHERE {name} AND kind = 'Task'"
                ));
            }
            _ => say(format!("UPDATE task SET finished_at = {at}, since = {at} WHERE {name}")),
        }
    }
    let days = dice.below(60) as i64;
    say(format!("UPDATE run SET finished_at = {}", ago(days)));
    if dice.below(3) == 0 {
        say(format!("UPDATE run SET aside_at = {}", ago(dice.below(20) as i64)));
        say("UPDATE task SET aside_at = (SELECT aside_at FROM run) WHERE run IS NOT NULL".into());
    }
    say(format!("UPDATE event SET first_at = first_at - id % 50 * {DAY}, last_at = first_at - id % 50 * {DAY}"));
    for number in 1..=4 {
        let which = format!("uid = (SELECT uid FROM object WHERE kind = 'App' AND name = 'acme-app{number}')");
        let place = home.path(&format!("generated/apps/acme/app{number}"));
        if dice.below(2) == 0 {
            let _ = fs::remove_dir_all(&place);
        } else {
            make_app(home, number);
        }
        let missing = ago(dice.below(15) as i64);
        match dice.below(4) {
            0 => say(format!("UPDATE app SET missing_since = {missing} WHERE {which}")),
            1 => {
                say(format!("UPDATE app SET missing_since = {missing}, deleted_at = {missing} WHERE {which}"));
                say(format!("UPDATE object SET removed_at = {missing} WHERE {which}"));
            }
            _ => {}
        }
    }
    for number in 0..dice.below(4) {
        stray(home, &format!("acme-app1/lost{number}/1"), dice.below(20));
        if dice.below(2) == 0 {
            let seen = ago(dice.below(15) as i64);
            say(format!("INSERT INTO stray (path, seen_at) VALUES ('acme-app1/lost{number}/1', {seen})"));
        }
    }
    edit(home, &statements);
}

fn texts(report: &Value) -> Vec<String> {
    report["actions"].as_array().unwrap().iter().map(Value::to_string).collect()
}

#[test]
fn a_dry_run_and_the_run_after_it_list_the_same_actions_word_for_word() {
    let home = finished(ITEMS);
    let kept = tempfile::tempdir().unwrap();
    copy(&home.state(), kept.path());
    let mut dice = Dice::new();
    let mut done = std::collections::BTreeSet::new();
    for number in 0..STATES {
        println!("state {number}, dice {}", dice.0);
        put_back(&home, kept.path());
        shake(&home, &mut dice);
        let planned = home.run(&["reconcile", "--once", "--dry-run", "-o", "json"]).json();
        let report: Value = serde_json::from_str(&home.run(&["reconcile", "--once", "-o", "json"]).out).unwrap();
        assert_eq!(texts(&planned), texts(&report), "state {number}");
        done.extend(report["actions"].as_array().unwrap().iter().map(|action| action["rule"].to_string()));
        // Law 7: nothing is left to do.
        let again = home.run(&["reconcile", "--once", "--dry-run", "-o", "json"]).json();
        assert_eq!(texts(&again), Vec::<String>::new(), "state {number}");
        assert_eq!(again["events"], serde_json::json!([]), "state {number}");
        home.run(&["db", "check"]).ok();
    }
    assert!(done.len() >= 10, "these states come to too little: {done:?}");
}

#[test]
fn a_saved_plan_is_done_exactly_and_refused_when_the_state_has_moved() {
    let home = finished(1);
    crate::old::ended(&home, "name IN ('t1', 't2', 't3')", 35);
    home.run(&["reconcile", "--once", "--plan", "plan.json"]).ok();
    crate::old::ended(&home, "name = 't4'", 35);
    // More than was planned is no reason to refuse, and is not done.
    let report = home.run(&["reconcile", "--once", "--from-plan", "plan.json", "-o", "json"]).json();
    let plan: Value = serde_json::from_str(&fs::read_to_string(home.path("plan.json")).unwrap()).unwrap();
    assert_eq!(report["actions"], plan["actions"]);
    assert_eq!(crate::old::one(&home, "SELECT count(*) FROM task WHERE aside_at IS NOT NULL"), 3);
    let refused = home.run(&["reconcile", "--once", "--from-plan", "plan.json"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("the state has moved") && refused.err.contains("task/t1"), "{}", refused.err);
    fs::write(home.path("plan.json"), "{}").unwrap();
    let wrong = home.run(&["reconcile", "--once", "--from-plan", "plan.json"]);
    assert!(wrong.code == 2 && wrong.err.contains("is not a plan"), "{}", wrong.err);
    let verified = home.run(&["reconcile", "--once", "--verify"]);
    assert!(verified.code == 0 && verified.out.contains("a second run would do nothing"), "{}", verified.out);
}
