//! kill -9 while things are set aside and while they are deleted for good: whatever was wanted is there, and the next run ends where an
//! undisturbed one ends.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::old::{ago, copy, edit, ended, finished, put_back, results, stray};
use crate::support::daemon::Home;
use crate::support::kills::{Dice, kill_at, steps};

const KILLS: u64 = 25;

const COMMAND: [&str; 2] = ["reconcile", "--once"];

/// Rows of tasks, runs and results, as they are in the end.
fn seen(home: &Home) -> (Vec<String>, Vec<String>) {
    let connection = home.database();
    let rows = |query: &str| -> Vec<String> {
        let mut statement = connection.prepare(query).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let tasks = "SELECT name || ' ' || phase || ' ' || (aside_at IS NULL) || (purged_at IS NULL) FROM task UNION ALL
                 SELECT name || ' ' || phase || ' ' || (aside_at IS NULL) || (purged_at IS NULL) FROM run UNION ALL
                 SELECT 'stray ' || path FROM stray UNION ALL SELECT 'removal ' || path FROM removal ORDER BY 1";
    (rows(tasks), results(home))
}

/// No row says that there is a result where there is none, and what is wanted is untouched.
fn assert_nothing_wanted_is_gone(home: &Home) {
    home.run(&["doctor", "--fix", "--yes"]).ok();
    let connection: Connection = home.database();
    let mut statement =
        connection.prepare("SELECT result_dir FROM attempt WHERE result_dir IS NOT NULL ORDER BY 1").unwrap();
    let known: BTreeSet<String> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let there: BTreeSet<String> = results(home).into_iter().collect();
    assert_eq!(known.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "rows without files");
    for name in ["t5", "t6", "t7", "t8"] {
        assert_eq!(home.attempts(name).len(), 1, "{name} was wanted");
    }
}

#[test]
fn maintenance_that_is_killed_at_any_step_is_finished_by_the_next_run() {
    let home = finished(12);
    let old = "name IN ('t1', 't2') OR run IS NOT NULL";
    ended(&home, old, 60);
    edit(
        &home,
        &format!(
            "UPDATE run SET finished_at = {0}, aside_at = {1};
             UPDATE task SET aside_at = {1} WHERE {old}",
            ago(60),
            ago(20)
        ),
    );
    ended(&home, "name IN ('t3', 't4')", 40);
    stray(&home, "acme-app1/lost/1", 10);
    stray(&home, "acme-app1/found/1", 10);
    edit(&home, &format!("INSERT INTO stray (path, seen_at) VALUES ('acme-app1/found/1', {})", ago(9)));
    let kept = tempfile::tempdir().unwrap();
    copy(&home.state(), kept.path());

    let all = steps(&home, &COMMAND);
    let wanted = seen(&home);
    assert!(
        wanted.0.iter().any(|row| row == "t3 Completed 01") && !wanted.0.iter().any(|row| row.starts_with("removal"))
    );
    let mut dice = Dice::new();
    println!("seed {}", dice.0);
    let mut between = BTreeSet::new();
    for _ in 0..KILLS {
        put_back(&home, kept.path());
        // Copying made it young.
        stray(&home, "acme-app1/lost/1", 10);
        kill_at(&home, &COMMAND, 1 + dice.below(all));
        between.insert(seen(&home));
        assert_nothing_wanted_is_gone(&home);
        home.run(&COMMAND).ok();
        assert_eq!(seen(&home), wanted);
        assert_nothing_wanted_is_gone(&home);
        let again = home.run(&["reconcile", "--once", "--dry-run"]).ok();
        assert!(again.contains("Nothing would be done"), "{again}");
    }
    assert!(between.len() > 2, "every kill came at the same side");
}
