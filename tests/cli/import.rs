//! `import thesis` with the real binary: what comes over, what is told, what stays as it is, and databases that cannot be read.

use std::fs;

use manifestd::resource::time::Timestamp;
use manifestd::store::StateLock;
use serde_json::{Value, json};

use super::old_world::{MADE, OldWorld};
use super::world::{Ran, World};

fn usual(missing_since: bool) -> (World, OldWorld) {
    let world = World::empty();
    let old = OldWorld::usual(&world.path("old.db"), missing_since);
    (world, old)
}

fn import(world: &World, more: &[&str]) -> Ran {
    world.run(&[&["import", "thesis", "--db", "old.db"], more].concat())
}

/// Every row of every table of the state.
fn rows(world: &World) -> Vec<String> {
    let connection = rusqlite::Connection::open(world.path(".manifestd/manifestd.db")).unwrap();
    let list = |query: &str| {
        let mut statement = connection.prepare(query).unwrap();
        let width = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..width).map(|at| row.get(at)).collect::<Result<Vec<rusqlite::types::Value>, _>>());
        rows.unwrap().map(|row| format!("{:?}", row.unwrap())).collect::<Vec<_>>()
    };
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    names.iter().flat_map(|name| list(&format!("SELECT '{name}', * FROM {name}"))).collect()
}

fn tables(report: &Value) -> Vec<[u64; 5]> {
    let count = |table: &Value, key: &str| table[key].as_u64().unwrap();
    let keys = ["rows", "imported", "known", "merged", "leftOut"];
    report["tables"].as_array().unwrap().iter().map(|table| keys.map(|key| count(table, key))).collect()
}

#[test]
fn apps_tasks_and_pipelines_come_over_and_a_second_import_changes_nothing() {
    for missing_since in [true, false] {
        let (world, _old) = usual(missing_since);
        let dry = import(&world, &["--dry-run", "-o", "json"]).ok().json();
        assert!(!world.state().exists(), "a dry run makes nothing");
        let mut report = import(&world, &["-o", "json"]).ok().json();
        assert_eq!(tables(&report), [[2, 2, 0, 0, 0], [3, 3, 0, 0, 0], [2, 2, 0, 0, 0]]);
        assert_eq!((&report["schema"]["missingSince"], &report["overRetention"]), (&json!(missing_since), &json!(3)));
        assert_eq!(report["schema"]["otherTables"], json!(["users"]));
        assert_eq!(report["schema"]["missingColumns"].as_array().unwrap().is_empty(), missing_since);
        assert_eq!(report["notes"], json!({"OldSpelling": 1, "PhaseDiffers": 3}));
        report["dryRun"] = json!(true);
        assert_eq!(report, dry, "a dry run tells what the real one does");
        let before = rows(&world);
        let again = import(&world, &["-o", "json"]).ok().json();
        assert_eq!(tables(&again), [[2, 0, 2, 0, 0], [3, 0, 3, 0, 0], [2, 0, 2, 0, 0]]);
        assert_eq!(rows(&world), before);
        let gone = world.run(&["get", "app", "openai-gpt-4o-app2", "-o", "json"]).ok().json();
        let since = gone["status"]["missingTime"].as_str();
        assert_eq!(since, missing_since.then_some("2025-11-03T10:00:00.000Z"));
    }
}

#[test]
fn what_was_imported_is_listed_described_and_counted_like_everything_else() {
    let (world, _old) = usual(true);
    import(&world, &[]).ok().says(&["PhaseDiffers (mapped): 3 rows", "3 of them ended more than 30 days ago"]);
    let tasks = world.run(&["get", "tasks", "--no-headers"]).ok().lines();
    for line in [
        "pipeline-one-generate-0 openai-gpt-4o-app1 generator Completed Imported 0 0/0/0",
        "pipeline-one-generate-1 - generator Failed Imported 0 0/0/0",
        "task-main openai-gpt-4o-app1 all-services PartialSuccess Imported 1 0/0/0",
        "task-one openai-gpt-4o-app1 static-analyzer Completed Imported 1 3/1/4+1",
        "task-two openai-gpt-4o-app1 ai-analyzer Failed Imported 1 0/0/0",
    ] {
        assert!(tasks.iter().any(|task| task.starts_with(line)), "{line}: {tasks:#?}");
    }
    world.run(&["describe", "task", "task-main"]).ok().says(&[
        "import/status=COMPLETED",
        "those of task/task-one",
        "2025-11-01T10:01:01.500Z",
    ]);
    world.run(&["why", "task-two"]).ok().says(&["no key [31m at all"]);
    world.run(&["results", "task-main"]).ok().says(&["static-analyzer", "ai-analyzer"]);
    let counted = world.run(&["results", "all"]).ok().lines();
    assert!(
        counted.iter().any(|line| line.starts_with("task-main 1 static-analyzer Completed 0 0 0 0")),
        "{counted:?}"
    );
    assert!(counted.iter().any(|line| line.starts_with("task-one 1 static-analyzer Completed 3 1 4 1")), "{counted:?}");
    world.run(&["get", "tasks", "-l", "parent=task-main", "-o", "name"]).ok().says(&["task/task-one", "task/task-two"]);
    let runs = world.run(&["get", "runs", "--no-headers"]).ok().lines();
    assert!(
        runs.iter().any(|run| run.starts_with("pipeline-one import-thesis Manual PartialSuccess Imported 3/3 1")),
        "{runs:?}"
    );
    assert!(
        runs.iter().any(|run| run.starts_with("pipeline-nothing import-thesis Manual Failed Imported 0/0 0")),
        "{runs:?}"
    );
    world.run(&["tree", "pipeline-one"]).ok().says(&[
        "generate  PartialSuccess  2/2, 1 failed",
        "out of credit",
        "task/task-main",
    ]);
    world.run(&["get", "pipelines"]).ok().says(&["No pipelines found"]);
    world.run(&["retry", "run/pipeline-one"]).with(1).says(&["was imported from another system and cannot run here"]);
    world.run(&["rerun", "pipeline-one"]).with(1).says(&["was imported from another system and cannot run here"]);
    world.write("manifests/none.yaml", "");
    world.run(&["delete", "task", "task-one"]).with(1).says(&["was imported and is declared in no file"]);
    assert_eq!(world.run(&["get", "runs", "-o", "name"]).ok().lines().len(), 2);
}

#[test]
fn the_tools_that_were_asked_for_come_over_with_the_word_of_their_service() {
    let world = World::empty();
    let old = OldWorld::empty(&world.path("old.db"), true);
    let metadata = r#"{"custom_options": {"selected_tools": ["bandit", "ruff", 3]}}"#;
    old.task("good", &[("task_metadata", &metadata), ("issues_found", &4)]);
    old.task("bad", &[("task_metadata", &metadata), ("status", &"failed"), ("error_message", &"timeout")]);
    import(&world, &[]).ok();
    let results = world.run(&["results", "good"]).ok().lines();
    assert!(results.iter().any(|line| line.starts_with("good 1 static-analyzer Completed 0 0 0 4")), "{results:?}");
    assert!(results.iter().any(|line| line.starts_with("good 1 bandit Completed 0 0 0 0")), "{results:?}");
    let results = world.run(&["results", "bad"]).ok().lines();
    assert!(results.iter().any(|line| line.starts_with("bad 1 ruff NotRun")), "{results:?}");
    let task = world.run(&["get", "task", "good", "-o", "json"]).ok().json();
    assert_eq!(task["spec"]["tools"], json!(["bandit", "ruff"]));
}

#[test]
fn apps_that_lie_elsewhere_are_named_with_their_place() {
    let (world, _old) = usual(true);
    for wrong in ["/generated/apps", "../apps", "."] {
        import(&world, &["--apps", wrong]).with(2).says(&["is no directory below the workspace"]);
    }
    fs::create_dir_all(world.path("made/openai_gpt-4o/crud_todo_list/app1")).unwrap();
    import(&world, &["--apps", "./made/"]).ok();
    let apps = world.run(&["get", "apps", "--no-headers"]).ok().lines();
    let nested = "openai-gpt-4o-crud-todo-list-app1 made/openai_gpt-4o/crud_todo_list/app1 openai_gpt-4o 1";
    assert!(apps.iter().any(|app| app.starts_with(nested)), "{apps:?}");
    let task = world.run(&["get", "task", "task-one", "-o", "json"]).ok().json();
    assert_eq!(task["spec"]["app"], "openai-gpt-4o-crud-todo-list-app1");
}

#[test]
fn no_loop_starts_or_removes_what_was_imported_and_an_app_set_takes_the_apps_over() {
    let (world, _old) = usual(true);
    import(&world, &[]).ok();
    let of_tasks = |rows: Vec<String>| {
        let kept = |row: &String| {
            ["task", "attempt", "run", "child"].iter().any(|table| row.starts_with(&format!("[Text(\"{table}\")")))
        };
        rows.into_iter().filter(kept).collect::<Vec<_>>()
    };
    let before = of_tasks(rows(&world));
    fs::create_dir_all(world.path("generated/apps/openai_gpt-4o/app1")).unwrap();
    // An analyzer of the same name, so that whatever could start would.
    let manifests = "apiVersion: manifestd.dev/v1alpha1\nkind: AppSet\nmetadata: {name: found}\nspec: {root: generated/apps}\n---\n\
         apiVersion: manifestd.dev/v1alpha1\nkind: Analyzer\nmetadata: {name: static-analyzer}\nspec: {command: {argv: ['true']}}\n";
    world.write("manifests/all.yaml", manifests);
    for _ in 0..2 {
        let report = world.run(&["reconcile", "--once", "-o", "json"]).json();
        assert_eq!((&report["attempts"], &report["manifests"]["removed"]), (&json!(0), &json!(0)));
        assert_eq!(of_tasks(rows(&world)), before);
        let apps = world.run(&["get", "apps", "-o", "json"]).ok().json();
        let apps = apps["items"].as_array().unwrap();
        let of = |at: usize| {
            (apps[at]["metadata"]["name"].as_str().unwrap(), apps[at]["status"]["appSet"].as_str().unwrap())
        };
        assert_eq!(apps.len(), 2, "no second record");
        assert_eq!((of(0), of(1)), (("openai-gpt-4o-app1", "found"), ("openai-gpt-4o-app2", "import/thesis")));
        assert_eq!(apps[0]["metadata"]["generation"], 1);
        assert_eq!(apps[1]["status"]["missingTime"], "2025-11-03T10:00:00.000Z");
    }
    assert_eq!(tables(&import(&world, &["-o", "json"]).ok().json())[0], [2, 0, 2, 0, 0]);
    let found = world.run(&["get", "app", "openai-gpt-4o-app1", "-o", "json"]).ok().json();
    assert_eq!(found["status"]["appSet"], "found", "a later import takes nothing back");
}

#[test]
fn what_moved_here_since_stays_and_what_is_new_there_comes() {
    let (world, old) = usual(true);
    import(&world, &[]).ok();
    world.run(&["retry", "task-one"]).ok();
    old.execute("UPDATE analysis_tasks SET status = 'failed' WHERE task_id = 'task_one'");
    old.task("task_new", &[]);
    let report = import(&world, &["-o", "json"]).ok().json();
    assert_eq!(tables(&report)[1], [4, 1, 3, 0, 0]);
    let task = world.run(&["get", "task", "task-one", "-o", "json"]).ok().json();
    assert_ne!(task["status"]["phase"], "Failed");
    assert_eq!(world.run(&["get", "task", "task-new", "-o", "json"]).ok().json()["status"]["phase"], "Completed");
}

/// What is told of the odd rows.
const ODD: [&str; 26] = [
    "OlderVersion generated_applications 1",
    "BadIdentity generated_applications 3",
    "OlderVersion generated_applications 6",
    "NameTaken generated_applications 4",
    "BadIdentity generated_applications 5",
    "LocalTime analysis_tasks 1",
    "OddTime analysis_tasks 2",
    "Unfinished analysis_tasks 3",
    "OldSpelling analysis_tasks 3",
    "Unfinished analysis_tasks 4",
    "UnknownStatus analysis_tasks 5",
    "RepeatedIdentity analysis_tasks 7",
    "ParentGone analysis_tasks 8",
    "OddPriority analysis_tasks 8",
    "Renamed analysis_tasks 8",
    "OddCount analysis_tasks 9",
    "BadJson analysis_tasks 10",
    "BadJson analysis_tasks 11",
    "BadIdentity analysis_tasks 12",
    "NoTime analysis_tasks 13",
    "RepeatedIdentity pipeline_executions 4",
    "BadJson pipeline_executions 1",
    "PhaseDiffers pipeline_executions 2",
    "TaskGone pipeline_executions 2",
    "ResultUnclear pipeline_executions 2",
    "Unfinished pipeline_executions 3",
];

#[test]
fn odd_rows_are_told_with_table_and_row_and_harm_nobody_else() {
    let world = World::empty();
    let old = OldWorld::empty(&world.path("old.db"), true);
    old.execute("ALTER TABLE analysis_tasks ADD COLUMN from_the_future TEXT");
    old.app(&[]);
    old.app(&[("version", &2), ("generation_status", &"FAILED")]);
    old.app(&[("model_slug", &"../../etc")]);
    old.app(&[("model_slug", &"openai-gpt-4o")]);
    old.app(&[("app_number", &-3)]);
    old.app(&[("template_slug", &"another")]);
    old.task("local", &[("completed_at", &"2025-11-01 09:00:00"), ("actual_duration", &30.0)]);
    old.task("ahead", &[("completed_at", &"2999-01-01 00:00:00")]);
    old.task("waits", &[("status", &"PENDING"), ("started_at", &None::<String>), ("completed_at", &None::<String>)]);
    old.task("runs", &[("status", &"running"), ("completed_at", &None::<String>)]);
    old.task("strange", &[("status", &"exploded")]);
    old.task("repeats", &[]);
    old.task("repeats", &[("status", &"failed")]);
    old.task("Repeats", &[("parent_task_id", &"nobody"), ("priority", &"asap")]);
    let absurd = r#"{"high": 99999999999999999999, "low": -4, "medium": "many", "info": 2}"#;
    old.task("counts", &[("severity_breakdown", &absurd), ("issues_found", &i64::MAX)]);
    old.task("json", &[("severity_breakdown", &"{'high': 1}"), ("task_metadata", &"[")]);
    old.task("huge", &[("task_metadata", &"x".repeat(9 * 1024 * 1024)), ("error_message", &"e".repeat(100_000))]);
    old.task("blob", &[("task_id", &vec![0_u8, 255]), ("target_model", &3.5)]);
    old.task("never", &[("created_at", &"soon"), ("started_at", &7), ("completed_at", &"")]);
    old.pipeline("broken", "completed", "{");
    old.pipeline(
        "lost",
        "COMPLETED",
        r#"{"analysis": {"main_task_ids": ["nobody", 7]}, "generation": {"results": [3]}}"#,
    );
    old.pipeline("under way", "running", r#"{"generation": {"completed": 2}}"#);
    old.pipeline("lost", "failed", "{}");
    let report = import(&world, &["-o", "json"]).with(1).json();
    assert_eq!(tables(&report), [[6, 1, 0, 2, 3], [13, 9, 0, 0, 4], [4, 3, 0, 0, 1]]);
    assert_eq!(report["schema"]["unknownColumns"], json!(["analysis_tasks.from_the_future"]));
    let told: Vec<String> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| format!("{} {} {}", note["kind"].as_str().unwrap(), note["table"].as_str().unwrap(), note["row"]))
        .collect();
    for wanted in ODD {
        assert!(told.iter().any(|note| note == wanted), "{wanted}: {told:#?}");
    }
    let status = |name: &str| world.run(&["get", "task", name, "-o", "json"]).ok().json()["status"].clone();
    assert_eq!((&status("waits")["phase"], &status("runs")["phase"]), (&json!("Cancelled"), &json!("Failed")));
    assert_eq!(status("local")["completionTime"], "2025-11-01T10:00:31.000Z");
    assert!(status("huge")["message"].as_str().unwrap_or_default().len() <= 1000);
    let app = world.run(&["get", "app", "openai-gpt-4o-app1", "-o", "json"]).ok().json();
    assert_eq!(app["metadata"]["annotations"]["import/version"], "2");
    let run = world.run(&["get", "run", "under-way", "-o", "json"]).ok().json();
    assert_eq!(run["status"]["phase"], "PartialSuccess", "two parts did well, the rest never came");
}

#[test]
fn a_manifest_of_the_same_name_wins_and_the_import_leaves_it() {
    let (world, old) = usual(true);
    old.execute("UPDATE analysis_tasks SET task_id = 'lint-demo' WHERE task_id = 'task_one'");
    world.write("manifests/all.yaml", super::world::MANIFESTS);
    world.mirror("all.yaml");
    let before = world.run(&["get", "task", "lint-demo", "-o", "json"]).ok().json();
    let report = import(&world, &["-o", "json"]).ok().json();
    assert_eq!(report["notes"]["Renamed"], 1);
    assert_eq!(world.run(&["get", "task", "lint-demo", "-o", "json"]).ok().json()["spec"], before["spec"]);
    let names = world.run(&["get", "tasks", "-l", "import=thesis", "-o", "name"]).ok().lines();
    assert!(names.iter().any(|name| name.starts_with("task/lint-demo-")), "{names:?}");
}

#[test]
fn many_tasks_come_in_batches_and_each_once() {
    let world = World::empty();
    let old = OldWorld::empty(&world.path("old.db"), false);
    old.execute("BEGIN");
    for number in 0..1_201 {
        old.task(&format!("task_{number}"), &[]);
    }
    old.execute("COMMIT; DELETE FROM analysis_tasks WHERE id % 7 = 0; UPDATE analysis_tasks SET id = id + 1000000 WHERE id > 600");
    let report = import(&world, &["-o", "json"]).ok().json();
    assert_eq!(tables(&report)[1], [1_030, 1_030, 0, 0, 0]);
    assert_eq!(world.run(&["get", "tasks", "-o", "name"]).ok().lines().len(), 1_030);
}

#[test]
fn nothing_is_written_beside_the_old_database_and_its_log_is_read() {
    let (world, old) = usual(true);
    let beside = |world: &World| {
        let entries = fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> =
            entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
        names.sort();
        names
    };
    old.execute("PRAGMA journal_mode = wal");
    let path = old.path.clone();
    old.connection.close().unwrap();
    let before = beside(&world);
    assert_eq!(before.len(), 1, "closed in good order, it is one file");
    assert_eq!(tables(&import(&world, &["-o", "json"]).ok().json())[1], [3, 3, 0, 0, 0]);
    assert_eq!(beside(&world), before);
    // The old system runs, and what it wrote last is in its log only.
    let old = OldWorld { connection: rusqlite::Connection::open(&path).unwrap(), path };
    old.task("in_the_log", &[]);
    assert_eq!(tables(&import(&world, &["-o", "json"]).ok().json())[1], [4, 1, 3, 0, 0]);
    assert_eq!(before[0].1, fs::read(&old.path).unwrap(), "the database itself is as it was");
}

#[test]
fn a_database_that_cannot_be_read_is_refused_with_what_to_do() {
    let world = World::empty();
    world.write("text.db", "these are no rows");
    world.write("empty.db", "");
    rusqlite::Connection::open(world.path("other.db")).unwrap().execute_batch("CREATE TABLE songs (id)").unwrap();
    let try_on = |file: &str| world.run(&["import", "thesis", "--db", file]).with(2);
    try_on("nowhere.db").says(&["nowhere.db cannot be read"]);
    try_on("text.db").says(&["is no SQLite database"]);
    try_on("empty.db").says(&["it is empty"]);
    try_on(".").says(&["it is a directory"]);
    try_on("other.db").says(&["none of the tables generated_applications", "songs"]);
    let old = OldWorld::usual(&world.path("old.db"), true);
    let whole = fs::read(&old.path).unwrap();
    fs::write(world.path("cut.db"), &whole[..whole.len() / 2]).unwrap();
    try_on("cut.db").says(&["cut.db", "malformed"]);
    old.execute("BEGIN EXCLUSIVE");
    try_on("old.db").says(&["is locked by another program; stop the old system"]);
    old.execute("ROLLBACK");
    assert!(!world.state().exists(), "nothing was made for what cannot be read");
    let held = StateLock::acquire(&world.state()).unwrap();
    import(&world, &[]).with(4).says(&["no controller may run meanwhile", "--dry-run"]);
    import(&world, &["--dry-run"]).ok();
    drop(held);
    import(&world, &[]).ok();
}

#[test]
fn tables_and_columns_that_are_not_there_are_told_and_the_rest_comes() {
    let (world, old) = usual(false);
    old.execute("DROP TABLE pipeline_executions; ALTER TABLE analysis_tasks DROP COLUMN severity_breakdown");
    let report = import(&world, &["-o", "json"]).ok().json();
    assert_eq!(report["schema"]["missingTables"], json!(["pipeline_executions"]));
    assert!(
        report["schema"]["missingColumns"].as_array().unwrap().contains(&json!("analysis_tasks.severity_breakdown"))
    );
    assert_eq!(tables(&report), [[2, 2, 0, 0, 0], [3, 3, 0, 0, 0], [0; 5]]);
    old.execute("ALTER TABLE generated_applications RENAME COLUMN model_slug TO model");
    let report = import(&world, &["-o", "json"]).with(1).json();
    assert_eq!(report["schema"]["neededColumns"], json!(["generated_applications.model_slug"]));
}

#[test]
fn moments_without_a_zone_are_utc_whatever_the_zone_here() {
    let (world, _old) = usual(true);
    let mut command = world.command();
    Ran::of(command.env("TZ", "Asia/Kathmandu").args(["import", "thesis", "--db", "old.db"])).ok();
    let task = world.run(&["get", "task", "task-one", "-o", "json"]).ok().json();
    assert!(MADE.starts_with("2025-11-01 10:00:00"));
    assert_eq!(task["metadata"]["creationTimestamp"], Timestamp(1_761_991_200_000).rfc3339());
}
