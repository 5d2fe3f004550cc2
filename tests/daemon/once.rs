//! `reconcile --once`: alone, beside a daemon, and dry.

use manifestd::resource::phase::Phase;
use rusqlite::types::Value as Cell;
use serde_json::Value;

use super::tasks::one_slot;
use crate::support::daemon::{Home, document, embedded, gated, quick, task, waiter};
use crate::support::stage::group_lives;

fn filled() -> Home {
    let home = Home::new("embeddedAnalyzer: true");
    let set = document("AppSet", "found", "{root: generated/apps, pattern: \"{model}/app{number}\"}");
    home.app(1);
    home.app(2);
    home.drop_in("base.yaml", &format!("{set}{}{}", quick(), embedded(1)));
    home.drop_in("a.yaml", &task("a", "acme-app1", "quick", ""));
    home.drop_in("b.yaml", &task("b", "acme-app2", "embedded", "tools: [patterns],"));
    home
}

/// Every row of every table, in order.
fn rows(home: &Home) -> Vec<String> {
    let connection = home.database();
    let list = |query: &str| -> Vec<Vec<Cell>> {
        let mut statement = connection.prepare(query).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let tables = list("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    let names = tables.into_iter().map(|mut row| match row.remove(0) {
        Cell::Text(name) => name,
        other => panic!("{other:?}"),
    });
    names
        .flat_map(|name| list(&format!("SELECT * FROM {name}")).into_iter().map(move |row| format!("{name} {row:?}")))
        .collect()
}

#[test]
fn without_a_daemon_it_does_everything_and_the_second_time_there_is_nothing_to_do() {
    let home = filled();
    let first = home.run(&["reconcile", "--once"]).ok();
    assert!(first.contains("2 found") && first.contains("2 attempts were run"), "{first}");
    for name in ["a", "b"] {
        assert_eq!(home.task(name).status.phase, Phase::Completed);
    }
    let before = rows(&home);
    let second = home.run(&["reconcile", "--once"]).ok();
    assert!(second.contains("nothing to start"), "{second}");
    assert!(second.contains("0 created, 0 updated, 0 removed"), "{second}");
    assert_eq!(rows(&home), before, "a second pass changed something");
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!((&report["attempts"], &report["phases"]["Completed"]), (&0.into(), &2.into()));
}

#[test]
fn beside_a_daemon_it_goes_through_the_socket_and_waits_for_what_it_starts() {
    let home = filled();
    let daemon = home.serve();
    home.until_phase("b", Phase::Completed);
    std::fs::write(home.path("manifests/c.yaml"), task("c", "acme-app1", "quick", "")).unwrap();
    let said = home.run(&["reconcile", "--once"]).ok();
    assert!(said.contains("Completed"), "{said}");
    assert_eq!(home.task("c").status.phase, Phase::Completed);
    let again = home.run(&["reconcile", "--once"]).ok();
    assert!(again.contains("nothing to start"), "{again}");
    daemon.stop();
}

#[test]
fn a_dry_run_lists_what_the_real_one_then_does_and_changes_nothing() {
    let home = filled();
    // Nothing is there yet, and nothing is there afterwards.
    let dry = home.run(&["reconcile", "--once", "--dry-run"]).ok();
    assert!(
        dry.contains("task/a: AttemptStarted") && dry.contains("acme/app2\" was found by AppSet \"found\" (AppFound)"),
        "{dry}"
    );
    let planned = home.run(&["reconcile", "--once", "--dry-run", "-o", "json"]).json();
    assert!(!home.path(".manifestd/manifestd.db").exists() && !home.path(".manifestd/results").exists());
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!(planned["actions"], report["actions"]);
    let done = home.run(&["events", "-o", "json"]).ok();
    let done: Vec<Value> = done.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(dry.contains("analyzer/embedded: Probe: embedded: would be asked"), "nothing is known of it: {dry}");
    let announced = planned["events"].as_array().unwrap();
    assert!(announced.len() > 5, "{planned}");
    for told in announced.iter().filter(|told| told["reason"] != "Probe") {
        let happened = done.iter().any(|event| ["kind", "name", "reason"].iter().all(|of| event[of] == told[of]));
        assert!(happened, "{told} was announced and did not happen: {done:?}");
    }

    home.drop_in("c.yaml", &task("c", "acme-app1", "quick", ""));
    home.take_away("a.yaml");
    let before = rows(&home);
    let dry = home.run(&["reconcile", "--once", "--dry-run"]).ok();
    assert!(dry.contains("task/c: Created") && dry.contains("task/a: Removed"), "{dry}");
    assert_eq!(rows(&home), before, "a dry run changed something");
    home.run(&["reconcile", "--once"]).ok();
    let dry = home.run(&["reconcile", "--once", "--dry-run"]).ok();
    assert!(dry.contains("Nothing would be done"), "{dry}");
}

#[test]
fn a_dry_run_beside_a_busy_daemon_plans_no_second_attempt() {
    let home = one_slot();
    home.gate("a");
    home.drop_in("a.yaml", &waiter("a", "a", ""));
    home.drop_in("b.yaml", &waiter("b", "a", ""));
    let daemon = home.serve();
    home.until_spawned("a");
    let dry = home.run(&["reconcile", "--once", "--dry-run"]).ok();
    assert!(dry.contains("Nothing would be done"), "a running task is carried by the daemon: {dry}");
    home.run(&["cancel", "b"]).ok();
    home.open_gate("a");
    home.until_phase("a", Phase::Completed);
    daemon.stop();
}

#[test]
fn a_run_that_is_stopped_by_a_signal_leaves_no_program_behind_and_is_taken_up_by_the_next() {
    let home = Home::new("shutdownGracePeriod: 200ms");
    home.gate("a");
    home.drop_in("base.yaml", &format!("{}{}{}", home.app(1), gated(1), waiter("a", "a", "backoffLimit: 0,")));
    // The database is made first, so that it can be looked at while the second run begins.
    home.run(&["reconcile", "--once", "--only", "manifests"]).ok();
    let mut once = home.spawn(&["reconcile", "--once"]);
    let group = home.until_spawned("a");
    once.terminate();
    assert_eq!(once.wait(), Some(2), "{}", home.dump());
    once.says("stopped by a signal");
    assert!(!group_lives(group));
    assert_eq!(home.task("a").status.phase, Phase::Pending);
    std::thread::scope(|scope| {
        scope.spawn(|| home.open_gate("a"));
        home.run(&["reconcile", "--once"]).ok();
    });
    assert_eq!((home.task("a").status.phase, home.attempts("a").len()), (Phase::Completed, 2));
}

#[test]
fn what_failed_makes_it_end_with_1() {
    let home = Home::new("");
    let fails = document("Analyzer", "fails", "{command: {argv: [\"false\"], tool: fails}}");
    home.drop_in("base.yaml", &format!("{}{fails}", home.app(1)));
    home.drop_in("f.yaml", &task("f", "app1", "fails", "backoffLimit: 0,"));
    home.drop_in("g.yaml", &task("g", "app1", "fails", "backoffLimit: 1,"));
    let said = home.run(&["reconcile", "--once"]);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("later: task/g (BackOff)"), "{}", said.out);
}
