//! Tests of the hot queries: which index each one uses, and that its work does not grow with finished history.

use rusqlite::types::Null;
use rusqlite::{Connection, StatementStatus, ToSql};

use super::{
    aside, commit, events, glance, maintenance, mirror, mirror_write, observe, observe_lane, open, pool, purge,
    replica, reuse, run_follow, run_observe, standing, stray, tree, view, wakes,
};

/// Finished tasks behind the few that are not.
const HISTORY: usize = 100_000;

fn database() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let (connection, _) = open::open(&open::database_path(directory.path())).unwrap();
    (directory, connection)
}

/// SQLite's own words on how it runs a query.
fn explain(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
    let parameters = statement.parameter_count();
    let nothing: Vec<&dyn ToSql> = (0..parameters).map(|_| &rusqlite::types::Null as &dyn ToSql).collect();
    let steps = statement.query_map(nothing.as_slice(), |row| row.get(3)).unwrap();
    steps.collect::<Result<_, _>>().unwrap()
}

/// A hot query with its parameters, and the index it stands on.
type Hot = (&'static str, &'static str, Vec<&'static dyn ToSql>);

/// Every hot query.
fn hot() -> Vec<Hot> {
    [of_tasks(), of_records()].concat()
}

/// Those of the loops that open and end attempts.
fn of_tasks() -> Vec<Hot> {
    vec![
        ("COVERING INDEX task_", wakes::LANES, vec![]),
        ("task_running", wakes::RUNNING, vec![]),
        ("task_held", wakes::HELD, vec![&2_000_000]),
        ("task_unsettled", wakes::UNSETTLED, vec![]),
        ("task_held", wakes::DUE, vec![&10]),
        ("run_active", wakes::DUE_RUNS, vec![&10]),
        ("PRIMARY KEY", observe::TASK, vec![&"uid-1"]),
        ("PRIMARY KEY", observe::ATTEMPTS, vec![&"uid-1", &1]),
        ("PRIMARY KEY", observe_lane::TOLD, vec![&"uid-1", &1]),
        ("PRIMARY KEY", observe_lane::EARLIER, vec![&"uid-1", &1]),
        ("attempt_slot", observe_lane::OPEN, vec![&"lint"]),
        ("attempt_draining", observe_lane::DRAINING, vec![&"lint", &2_000_000]),
        ("COVERING INDEX task_queue", observe_lane::CANDIDATES, vec![&"lint", &3, &"[\"full\"]"]),
        ("sqlite_autoindex_object_2", mirror::BY_NAME, vec![&"Task", &"[\"nobody\"]"]),
        ("object_by_file", mirror::BY_FILE, vec![&"[\"nowhere\"]"]),
        ("task_pool", pool::OF_LANE, vec![&"lint"]),
        ("attempt_pool_open", pool::TAKEN, vec![&"gpu"]),
        ("attempt_pool_draining", pool::TAKEN_UNTIL, vec![&"gpu", &2_000_000]),
        ("attempt_pool_opened", pool::OPENED, vec![&"gpu", &2_000_000, &4_000_000, &60]),
        ("attempt_pool_freed", pool::FREED, vec![&"gpu", &2_000_000, &0]),
        ("task_pool", pool::LANES, vec![&"gpu"]),
        ("attempt_pool_lane", pool::CLAIM, vec![&"gpu", &"lint"]),
        ("task_pool", pool::CLAIM, vec![&"gpu", &"lint"]),
        ("task_pool", pool::WAITING, vec![&"gpu"]),
        ("attempt_pool_open", pool::OCCUPANTS, vec![&"gpu", &10]),
        ("attempt_opened", observe_lane::OPENED, vec![&"lint", &2_000_000, &4_000_000, &60]),
        ("PRIMARY KEY", replica::REPLICAS, vec![&"lint"]),
        ("attempt_replica_ended", replica::ENDINGS, vec![&"lint", &"ws://one", &10]),
        ("task_waiting", replica::WAITING, vec![&"lint", &9]),
        ("task_waiting", replica::WAITING_COUNT, vec![&"lint"]),
        ("task_recoverable", replica::RECOVERABLE, vec![&"lint", &3, &9]),
        ("task_recoverable", replica::DEMAND, vec![&"nobody", &3]),
        ("sqlite_autoindex_object", replica::ANALYZERS, vec![]),
        ("task_held", commit::WAITING_FOR_APP, vec![&"demo"]),
        ("task_held", mirror_write::WAITING_FOR_ANALYZER, vec![&"noop"]),
        ("task_waiting", mirror_write::SITTING_OUT, vec![&"noop"]),
        ("task_held", pool::WAITING_FOR_POOL, vec![&"llm"]),
    ]
}

/// Those of everything else.
fn of_records() -> Vec<Hot> {
    vec![
        ("app_missing", maintenance::MISSING, vec![&1_000_000, &500, &"SourceSuspect", &Null, &"old"]),
        ("task_since", maintenance::AGED, vec![&"Pending", &1_000_000, &500, &Null, &false, &1_000_000]),
        ("task_finished", maintenance::FINISHED, vec![&0, &500, &Null]),
        ("run_finished", maintenance::FINISHED_RUNS, vec![&0, &500, &Null]),
        ("task_aside", purge::TASKS, vec![&0, &500, &Null]),
        ("run_aside", purge::RUNS, vec![&0, &500, &Null]),
        ("app_deleted", purge::APPS, vec![&0, &500, &Null]),
        ("task_of_run", purge::TASKS_OF_RUN, vec![&"run-1", &500]),
        ("task_of_run", aside::TASKS_ASIDE, vec![&"run-1", &1, &500]),
        ("task_of_run", aside::TASKS_BACK, vec![&"run-1", &500]),
        ("INTEGER PRIMARY KEY", purge::EVENTS, vec![&0, &0, &500]),
        ("task_by_name", stray::OWNER_BY_NAME, vec![&"name-1", &1, &"demo/name-1/1"]),
        ("PRIMARY KEY", stray::OWNER_BY_UID, vec![&"uid-1", &1, &"demo/name-1/1"]),
        ("attempt_reused", stray::REUSED, vec![&"demo/name-1/1"]),
        ("task_running", maintenance::RUNNING_ON, vec![&"demo"]),
        ("task_of_deleted_app", maintenance::REVIVED, vec![]),
        ("task_of_deleted_app", maintenance::CANCELLED_WITH, vec![&"demo"]),
        ("event_by_object", commit::REPEAT, vec![&"uid-1", &"r", &"m", &1]),
        ("task_watching", tree::NEEDED, vec![]),
        ("PRIMARY KEY", tree::TREE, vec![&"uid-1", &"TreeUnreadable"]),
        ("task_watching", tree::WATCHERS, vec![&"demo"]),
        ("task_held", tree::WAITING, vec![&"demo"]),
        ("attempt_reusable", reuse::REUSABLE, vec![&"key"]),
        ("task_queue", view::AHEAD, vec![&"queued-1"]),
        ("task_queue", standing::OLDEST, vec![]),
        ("PRIMARY KEY", run_observe::RUN, vec![&"run-1"]),
        ("child_open", run_observe::OPEN_CHILDREN, vec![&"run-1", &"a"]),
        ("child_concluded", run_observe::STALE, vec![&"run-1", &"a", &"Succeeded", &1, &10]),
        ("PRIMARY KEY", run_follow::SOURCES, vec![&"run-1", &"a", &0, &10]),
        ("PRIMARY KEY", run_follow::MISSING, vec![&"run-1", &"a", &"b", &1, &1, &1, &10]),
        ("attempt_slot", view::SLOTS, vec![&2_000_000]),
        ("attempt_slot", glance::RUNNING, vec![&10]),
        ("attempt_slot", glance::OCCUPANTS, vec![&"lint", &10]),
        ("INTEGER PRIMARY KEY", events::AFTER, vec![&1_000_000_000]),
        ("SEARCH event", events::LAST, vec![]),
    ]
}

#[test]
fn every_hot_query_stands_on_its_index_and_scans_no_table() {
    let (_directory, connection) = database();
    for (index, query, _) in hot() {
        let steps = explain(&connection, query);
        assert!(steps.iter().any(|step| step.contains(index)), "{index} is not used:\n{query}\n{steps:#?}");
        for step in &steps {
            // A scan is fine over a partial index, and over what an earlier step made.
            let over_a_table = step.starts_with("SCAN") && !step.contains("USING") && !step.contains("CONSTANT");
            let made = ["SCAN t", "SCAN lane", "SCAN head", "SCAN tree"].contains(&step.as_str())
                || step.contains("VIRTUAL TABLE");
            assert!(!over_a_table || made, "{step}:\n{query}\n{steps:#?}");
        }
    }
    let steps = explain(&connection, standing::PENDING);
    assert!(steps.iter().any(|step| step.contains("task_by_phase")), "{steps:#?}");
    let steps = explain(&connection, view::PHASES);
    assert!(steps.iter().all(|step| step.contains("COVERING INDEX task_by_phase")), "{steps:#?}");
}

/// Puts a few tasks that wait or run, and as many finished ones as asked, each with an attempt and an event.
fn fill(connection: &Connection, finished: usize) {
    let many = format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {finished})");
    let object = "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest)";
    let few = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)";
    connection
        .execute_batch(&format!(
            "BEGIN;
             {object} {many} SELECT 'uid-' || i, 'Task', 'name-' || i, '{{}}', '{{}}', '{{}}', 1, i, i, 'a.yaml', i, '' FROM n WHERE i <= {finished};
             {object} {few} SELECT 'queued-' || i, 'Task', 'queued-' || i, '{{}}', '{{}}', '{{}}', 1, i, i, 'b.yaml', i, '' FROM n;
             INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation, observed_generation, phase, reason, attempt, finished_at, recoveries)
                 {many} SELECT 'uid-' || i, 'name-' || i, 'demo', 'lint', 100, i, 1, 1,
                     CASE i % 3 WHEN 0 THEN 'Failed' WHEN 1 THEN 'Completed' ELSE 'Cancelled' END,
                     iif(i % 3 = 0, 'AnalyzerUnavailable', 'AllToolsRan'), 1, i, 3 FROM n WHERE i <= {finished};
             INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation, phase, reason)
                 {few} SELECT 'queued-' || i, 'queued-' || i, 'demo', 'lint', 100, i, 1,
                     CASE WHEN i > 18 THEN 'Running' ELSE 'Pending' END, CASE WHEN i > 15 THEN 'Suspended' WHEN i > 12 THEN 'BreakerOpen' ELSE 'Queued' END FROM n;
             INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, ended_at, outcome, slot_until, pool)
                 {many} SELECT 'uid-' || i, 1, 1, 1, 'lint', 'ws://one', i, i, i, 'Interrupted', i, 'gpu' FROM n WHERE i <= {finished};
             INSERT INTO event (uid, kind, name, type, reason, message, first_at, last_at)
                 {many} SELECT 'uid-' || i, 'Task', 'name-' || i, 'Normal', 'r', 'm', i, i FROM n WHERE i <= {finished};
             COMMIT;"
        ))
        .unwrap();
}

/// Steps of SQLite's machine that each hot query takes.
fn work(connection: &Connection) -> Vec<(&'static str, i32)> {
    let count = |(_, query, parameters): (&str, &'static str, Vec<&dyn ToSql>)| {
        let mut statement = connection.prepare(query).unwrap();
        if statement.column_count() == 0 {
            statement.execute(parameters.as_slice()).unwrap();
        } else {
            let mut rows = statement.query(parameters.as_slice()).unwrap();
            while rows.next().unwrap().is_some() {}
        }
        (query, statement.get_status(StatementStatus::VmStep))
    };
    hot().into_iter().map(count).collect()
}

#[test]
fn the_work_of_a_pass_does_not_grow_with_finished_history() {
    let (_small, small) = database();
    let (_large, large) = database();
    fill(&small, 10);
    fill(&large, HISTORY);
    for ((query, little), (_, much)) in work(&small).into_iter().zip(work(&large)) {
        // Ten finished ones may cost what they cost; a hundred thousand may not cost more.
        assert!(much <= little + 20, "{little} steps before, {much} with history:\n{query}");
    }
}
