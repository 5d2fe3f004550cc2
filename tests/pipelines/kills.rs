//! kill -9 of the controller, fifty times in the middle of one run of six hundred children: half of them make apps, the others stream from
//! these. After one quiet pass everything is as in a run that nobody disturbed.
//!
//! The moments come from a seed, which is printed; `MANIFESTD_TEST_SEED` gives another. A moment is a number of accepted endings to wait for,
//! and for some a number of further commits, so that kills hit asking, following, concluding and everything between.

use std::collections::BTreeMap;

use manifestd::store::glance::data_version;
use rusqlite::Connection;
use serde_json::Value;

use crate::support::daemon::{Home, document};
use crate::support::kills::Dice;

const ITEMS: usize = 300;
const KILLS: usize = 50;

fn home() -> Home {
    let home = Home::new("");
    let analyzer = |name: &str, argv: Value| {
        document("Analyzer", name, &format!("{{command: {{argv: {argv}, tool: {name}}}, capacity: 3}}"))
    };
    let maker = analyzer("maker", serde_json::json!(["mkdir", "-p", "${config.out}"]));
    // One in ten is not well, so that the whole is no plain success.
    let checker =
        analyzer("checker", serde_json::json!(["sh", "-c", "case $1 in *7) exit 1;; esac", "checker", "${app.name}"]));
    let spec = format!(
        "{{runPolicy: Manual, parallelism: 12, steps: [
           {{name: make, analyzer: maker, backoffLimit: 0, forEach: {{range: {{from: 1, to: {ITEMS}}}}}, config: {{out: \"${{produces.path}}\"}},
             produces: {{app: \"made-${{item}}\", path: \"generated/made-${{item}}\"}}}},
           {{name: check, analyzer: checker, backoffLimit: 0, forEach: {{appsFrom: make}}}}],
         finally: [{{name: last, analyzer: maker, config: {{out: generated/last}}}}]}}"
    );
    home.drop_in("all.yaml", &format!("{maker}{checker}{}", document("Pipeline", "fan", &spec)));
    home
}

fn count(connection: &Connection, query: &str) -> usize {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

const ACCEPTED: &str = "SELECT count(*) FROM attempt WHERE outcome IN ('Completed', 'Failed')";

/// Takes away what differs between two runs that went the same way: identities and times.
fn normal(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| key != "uid" && !key.ends_with("Time") && !key.ends_with("Timestamp"));
            map.values_mut().for_each(normal);
        }
        Value::Array(items) => items.iter_mut().for_each(normal),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// All that people see of the run in the end.
fn seen(home: &Home) -> (Value, Vec<String>, String) {
    let mut run = home.run(&["get", "run/fan-1", "-o", "json"]).json();
    normal(&mut run);
    let tree = home.run(&["tree", "fan-1", "--all"]).ok();
    // The name and the phase; behind them are durations.
    let words =
        |line: &str| line.split_whitespace().filter(|word| word.is_ascii()).take(2).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = tree.lines().map(words).collect();
    lines.sort();
    (run, lines, home.run(&["graph", "fan-1", "-o", "mermaid"]).ok())
}

/// Each child has one life, and one accepted attempt, which is its last; everything else was interrupted.
fn check_children(home: &Home) {
    let connection = home.database();
    let query = "SELECT c.step || '/' || c.item, t.round, c.round,
             (SELECT count(*) FROM attempt a WHERE a.task_uid = t.uid AND a.outcome IN ('Completed', 'Failed')),
             (SELECT count(*) FROM attempt a WHERE a.task_uid = t.uid AND a.outcome NOT IN ('Completed', 'Failed', 'Interrupted')),
             (SELECT a.outcome IN ('Completed', 'Failed') FROM attempt a WHERE a.task_uid = t.uid AND a.number = t.attempt)
         FROM child c JOIN task t ON t.uid = c.uid";
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, [row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]))
    });
    let lives: BTreeMap<String, [i64; 5]> = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!(lives.len(), 2 * ITEMS + 1);
    for (child, life) in lives {
        assert_eq!(life, [1, 1, 1, 0, 1], "{child}: rounds, accepted attempts, others, last accepted\n{}", home.dump());
    }
    assert_eq!(count(&connection, "SELECT count(*) FROM child WHERE conclusion IS NULL"), 0);
    assert_eq!(count(&connection, "SELECT count(*) FROM attempt WHERE outcome IS NULL"), 0);
    assert_eq!(count(&connection, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(count(&connection, "SELECT count(*) FROM run"), 1);
}

#[test]
fn a_run_of_six_hundred_children_survives_fifty_kills_and_ends_as_if_there_had_been_none() {
    let seed =
        std::env::var_os("MANIFESTD_TEST_SEED").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20_261_124);
    println!("seed {seed}; replay with MANIFESTD_TEST_SEED={seed}");
    let quiet = home();
    quiet.run(&["run", "fan"]).ok();
    quiet.run(&["reconcile", "--once"]);
    check_children(&quiet);

    let (home, mut dice) = (home(), Dice(seed));
    home.run(&["run", "fan"]).ok();
    for kill in 0..KILLS {
        let before = count(&home.database(), ACCEPTED);
        let daemon = home.spawn(&["serve"]);
        let endings = usize::try_from(dice.below(4)).unwrap();
        let (mut commits, mut last) = (1 + dice.below(3), None);
        home.until(&format!("kill {kill}: {endings} endings after {before}"), |connection| {
            if count(connection, ACCEPTED) < before + endings {
                return None;
            }
            let version = Some(data_version(connection).unwrap());
            commits = commits.saturating_sub(u64::from(last.is_some() && version != last));
            last = version;
            (commits == 0).then_some(())
        });
        daemon.kill();
        let phase: String = home.database().query_row("SELECT phase FROM run", [], |row| row.get(0)).unwrap();
        assert!(matches!(phase.as_str(), "Pending" | "Running"), "kill {kill} came after the end: {phase}");
    }
    let interrupted = count(&home.database(), "SELECT count(*) FROM attempt WHERE outcome = 'Interrupted'");
    println!("{interrupted} attempts were interrupted");
    assert!(interrupted >= KILLS / 2, "the kills hit next to nothing, so they prove nothing: {interrupted}");
    home.run(&["reconcile", "--once"]);
    check_children(&home);
    assert_eq!(seen(&home), seen(&quiet), "{}", home.dump());
}
