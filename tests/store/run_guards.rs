//! What the store refuses of runs: a stale commit, a child that is asked for twice, an ending that is not one; and that a database of version 2
//! becomes one of today with nothing lost. And that an old run is set aside whole.

use std::path::Path;

use manifestd::plan::maintenance::{MaintenanceReconciler, Rules};
use manifestd::plan::pipeline::run::RunReconciler;
use manifestd::plan::pipeline::write::CreateRun;
use manifestd::plan::{Reconciler, Write};
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::phase::Phase;
use manifestd::resource::run::{Cause, ChildKind, Conclusion};
use manifestd::resource::time::Span;
use manifestd::store::{Committed, Held, StateLock, Store};
use rusqlite::{Connection, params};
use serde_json::{Map, json};

use super::fixture::{Fixture, NOW, declare};

/// Every row that a commit about runs could write.
fn rows(fixture: &Fixture) -> Vec<String> {
    let sql = fixture.sql();
    let mut lines = fixture.dump();
    for table in ["run", "child", "expansion", "approval", "suspension"] {
        let mut statement = sql.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let of_row = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at)).collect::<Result<Vec<_>, _>>()
        };
        lines.extend(statement.query_map([], of_row).unwrap().map(|row| format!("{table} {:?}", row.unwrap())));
    }
    lines
}

/// A run that has begun, with the plan that asks for its two children, not committed yet.
async fn begun() -> (Fixture, Uid, Vec<Write>) {
    let fixture = Fixture::empty();
    let steps =
        json!({"runPolicy": "Manual", "steps": [{"name": "a", "analyzer": "lint", "forEach": {"items": ["x", "y"]}}]});
    fixture.create(vec![declare(Kind::Pipeline, "p", steps)]).await;
    let (name, pipeline_uid, params) = ("p-1".to_owned(), fixture.uid(Kind::Pipeline, "p"), Map::new());
    let create = CreateRun { name, pipeline_uid, generation: 1, params, cause: Cause::Manual, scheduled_at: None };
    fixture.store.commit(vec![Write::CreateRun(Box::new(create))], NOW).await.unwrap();
    let run = Uid(fixture.one("SELECT uid FROM run"));
    let start = plan(&fixture, &run).await;
    assert!(matches!(fixture.store.commit(start, NOW).await.unwrap(), Committed::Applied(_)));
    let asks = plan(&fixture, &run).await;
    assert_eq!(asks.iter().filter(|write| matches!(write, Write::AskChild(_))).count(), 2);
    (fixture, run, asks)
}

async fn plan(fixture: &Fixture, run: &Uid) -> Vec<Write> {
    let observed = fixture.store.observe_run(run.clone()).await.unwrap().unwrap();
    RunReconciler::plan(&observed, NOW).writes
}

#[tokio::test]
async fn a_child_that_is_asked_for_twice_is_made_once() {
    let (fixture, _, asks) = begun().await;
    fixture.store.commit(asks.clone(), NOW).await.unwrap();
    let before = rows(&fixture);
    assert!(before.iter().filter(|line| line.starts_with("child ")).count() == 2);
    fixture.store.commit(asks, NOW).await.unwrap();
    assert_eq!(rows(&fixture), before);
}

#[tokio::test]
async fn a_run_does_not_end_while_a_child_starts_over_that_it_had_heard_the_end_of() {
    let (fixture, run, asks) = begun().await;
    fixture.store.commit(asks, NOW).await.unwrap();
    let sql = fixture.sql();
    let ended = |name: &str| {
        let end = "UPDATE task SET phase = 'Completed', finished_at = 9, version = version + 1 WHERE name = ?1";
        assert_eq!(sql.execute(end, [name]).unwrap(), 1);
    };
    ended("p-1_a_x");
    let heard = plan(&fixture, &run).await;
    assert!(matches!(fixture.store.commit(heard, NOW).await.unwrap(), Committed::Applied(_)));
    ended("p-1_a_y");
    let ends = plan(&fixture, &run).await;
    assert!(ends.iter().any(|write| matches!(write, Write::Run(write) if write.status.phase.is_terminal())));
    let again = "UPDATE task SET phase = 'Pending', reason = 'Queued', finished_at = NULL, round = 2, version = version + 1 WHERE name = 'p-1_a_x'";
    sql.execute(again, []).unwrap();
    let before = rows(&fixture);
    assert!(matches!(fixture.store.commit(ends, NOW).await.unwrap(), Committed::Conflict));
    assert_eq!(rows(&fixture), before);
}

#[tokio::test]
async fn a_stale_status_or_conclusion_is_a_conflict_and_changes_nothing() {
    let (fixture, run, asks) = begun().await;
    fixture.store.commit(asks, NOW).await.unwrap();
    let sql = fixture.sql();
    sql.execute("UPDATE task SET phase = 'Completed', finished_at = 9, version = version + 1", []).unwrap();
    let ends = plan(&fixture, &run).await;
    let conclusions = |writes: &[Write]| writes.iter().filter(|write| matches!(write, Write::Conclude(_))).count();
    assert_eq!((conclusions(&ends), ends.iter().any(|write| matches!(write, Write::Run(_)))), (2, true));
    // One of the children has moved since: nothing of the plan is written, the conclusion about the other neither.
    sql.execute("UPDATE task SET version = version + 1 WHERE name = 'p-1_a_y'", []).unwrap();
    let before = rows(&fixture);
    assert!(matches!(fixture.store.commit(ends, NOW).await.unwrap(), Committed::Conflict));
    assert_eq!(rows(&fixture), before);
    let ends = plan(&fixture, &run).await;
    assert!(matches!(fixture.store.commit(ends.clone(), NOW).await.unwrap(), Committed::Applied(_)));
    assert_eq!(fixture.one::<String>("SELECT phase FROM run"), "Completed");
    let before = rows(&fixture);
    assert!(matches!(fixture.store.commit(ends, NOW).await.unwrap(), Committed::Conflict), "a run ended twice");
    assert_eq!(rows(&fixture), before);
    for change in ["phase = 'Failed'", "reason = 'Queued'", "finished_at = 1", "round = 0"] {
        assert!(sql.execute(&format!("UPDATE run SET {change}"), []).is_err(), "{change}");
    }
}

#[tokio::test]
async fn an_ending_that_was_planned_before_a_cancellation_is_planned_anew() {
    let (fixture, run, asks) = begun().await;
    fixture.store.commit(asks, NOW).await.unwrap();
    fixture.sql().execute("UPDATE task SET phase = 'Completed', finished_at = 9, version = version + 1", []).unwrap();
    let ends = plan(&fixture, &run).await;
    let name = fixture.one::<String>("SELECT name FROM run");
    fixture.store.cancel_runs(vec![name], "enough".into(), false, false).await.unwrap().unwrap();
    assert!(
        matches!(fixture.store.commit(ends, NOW).await.unwrap(), Committed::Conflict),
        "it was told to be cancelled"
    );
    let ends = plan(&fixture, &run).await;
    fixture.store.commit(ends, NOW).await.unwrap();
    assert_eq!(fixture.one::<String>("SELECT phase FROM run"), "Cancelled");
}

#[test]
fn the_words_of_runs_and_children_are_those_of_the_program() {
    let fixture = Fixture::empty();
    let sql = fixture.sql();
    sql.execute_batch(
        "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)
             VALUES ('p', 'Pipeline', 'p', '{}', '{}', '{}', 1, 5, 5, 'a.yaml', 1, '');
         INSERT INTO pinned VALUES ('d', '{}');",
    )
    .unwrap();
    let run = |name: &str, cause: &str, phase: &str, finished_at: Option<i64>| {
        let insert = "INSERT INTO run (uid, name, pipeline, pipeline_uid, generation, revision, manifest_digest, digest, cause, created_at, phase, finished_at)
             VALUES (?1, ?1, 'p', 'p', 1, 1, '', 'd', ?2, 5, ?3, ?4)";
        sql.execute(insert, params![name, cause, phase, finished_at]).is_ok()
    };
    for cause in Cause::ALL {
        assert!(run(cause.as_str(), cause.as_str(), "Pending", None), "{cause}");
        assert!(!run("wrong", &cause.as_str().to_lowercase(), "Pending", None), "{cause}");
    }
    for phase in Phase::ALL {
        for finished_at in [None, Some(9)] {
            let name = format!("{phase}-{finished_at:?}");
            assert_eq!(run(&name, "Manual", phase.as_str(), finished_at), finished_at.is_some() == phase.is_terminal());
        }
        assert!(!run("wrong", "Manual", &phase.as_str().to_lowercase(), phase.is_terminal().then_some(9)));
    }
    let child = |item: usize, kind: &str, conclusion: Option<&str>, ended_at: Option<i64>| {
        let insert = "INSERT INTO child (run, step, item, uid, kind, round, conclusion, ended_at) VALUES ('Manual', 's', ?1, ?2, ?3, 1, ?4, ?5)";
        sql.execute(insert, params![item, format!("c{item}"), kind, conclusion, ended_at]).is_ok()
    };
    for (item, conclusion) in Conclusion::ALL.iter().enumerate() {
        let word = conclusion.as_str();
        assert!(!child(item, "Task", Some(word), None), "{word} without a time");
        assert!(!child(item, "Task", Some(&word.to_lowercase()), Some(9)), "{word}");
        assert!(child(item, "Task", Some(word), Some(9)), "{word}");
    }
    for (item, kind) in (100..).zip(ChildKind::ALL) {
        assert!(!child(item, &kind.as_str().to_uppercase(), None, None), "{kind}");
        assert!(child(item, kind.as_str(), None, None), "{kind}");
        assert!(!child(item, kind.as_str(), None, None), "{kind}: an item has one child");
    }
}

#[test]
fn a_database_of_version_2_becomes_one_of_today_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manifestd.db");
    let old = Connection::open(&path).unwrap();
    for name in ["01-first", "02-trust"] {
        let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(name).join("up.sql");
        old.execute_batch(&std::fs::read_to_string(up).unwrap()).unwrap();
    }
    old.pragma_update(None, "user_version", 2).unwrap();
    old.execute_batch(
        "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)
             VALUES ('a', 'App', 'demo', '{}', '{}', '{\"path\": \"apps/1\"}', 3, 5, 6, 'a.yaml', 1, 'x'),
                    ('t', 'Task', 't', '{}', '{}', '{\"app\": \"demo\", \"analyzer\": \"lint\"}', 2, 5, 7, 'a.yaml', 4, 'y');
         INSERT INTO app (uid) VALUES ('a');
         INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation, phase, finished_at, round, attempt)
             VALUES ('t', 't', 'demo', 'lint', 1, 5, 2, 'Completed', 9, 1, 1);
         INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, ended_at, outcome)
             VALUES ('t', 1, 1, 2, 'lint', '', 5, 9, 7, 'Completed');",
    )
    .unwrap();
    drop(old);
    let store = Store::open(StateLock::acquire(directory.path()).unwrap()).unwrap();
    let new = Connection::open(store.path()).unwrap();
    let one = |query: &str| new.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        one(
            "SELECT group_concat(uid || kind || name || spec || generation || updated_at || file || line, ' ') FROM object"
        ),
        "aAppdemo{\"path\": \"apps/1\"}36a.yaml1 tTaskt{\"app\": \"demo\", \"analyzer\": \"lint\"}27a.yaml4"
    );
    assert_eq!(one("SELECT phase || round || attempt || finished_at || coalesce(run, '-') FROM task"), "Completed119-");
    assert_eq!(one("SELECT outcome || number || ended_at || outputs FROM attempt"), "Completed17{}");
    assert_eq!(one("SELECT revision || ' ' || revised_at FROM object WHERE uid = 't'"), "1 7");
    assert_eq!(one("SELECT CAST(count(*) AS TEXT) FROM pragma_foreign_key_check"), "0");
    assert_eq!(one("PRAGMA integrity_check"), "ok");
}

#[tokio::test]
async fn a_run_that_is_set_aside_in_several_steps_is_looked_at_again_until_it_is_gone() {
    let names: Vec<String> = (0..60).map(|number| format!("t{number}")).collect();
    let fixture = Fixture::with_tasks(1, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    fixture
        .sql()
        .execute_batch(
            "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)
                 VALUES ('p', 'Pipeline', 'p', '{}', '{}', '{}', 1, 5, 5, 'a.yaml', 1, '');
             INSERT INTO pinned VALUES ('d', '{}');
             INSERT INTO run (uid, name, pipeline, pipeline_uid, generation, revision, manifest_digest, digest, cause, created_at, phase, finished_at)
                 VALUES ('r', 'r', 'p', 'p', 1, 1, '', 'd', 'Manual', 5, 'Completed', 9);
             UPDATE task SET run = 'r';",
        )
        .unwrap();
    let rules = Rules { finished: Some(Span::minutes(60)), grace: Span::minutes(5), ..Rules::default() };
    let mut passes = 0;
    loop {
        let observed = fixture.store.observe_maintenance(rules, None, Held::new(), NOW).await.unwrap();
        let plan = MaintenanceReconciler::plan(&observed, NOW);
        let next = plan.next;
        fixture.store.commit(plan.writes, NOW).await.unwrap();
        passes += 1;
        assert!(passes < 10, "it does not end");
        if next.is_none() {
            break;
        }
    }
    let left =
        "SELECT (SELECT count(*) FROM run WHERE aside_at IS NULL) + (SELECT count(*) FROM task WHERE aside_at IS NULL)";
    assert_eq!((fixture.one::<i64>(left), passes), (0, 4), "three with something to do, and one without");
}
