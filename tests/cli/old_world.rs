//! A database of the old system, made in code: its three tables with all of their columns, with and without `missing_since`.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ToSql, params_from_iter};

const APPS: &str = "id INTEGER PRIMARY KEY, model_slug VARCHAR(200) NOT NULL, app_number INTEGER NOT NULL, version INTEGER NOT NULL,
    parent_app_id INTEGER, batch_id VARCHAR(100), app_type VARCHAR(50) NOT NULL, provider VARCHAR(100) NOT NULL, template_slug VARCHAR(100),
    generation_mode VARCHAR(7), generation_status VARCHAR(15), has_backend BOOLEAN, has_frontend BOOLEAN, has_docker_compose BOOLEAN,
    backend_framework VARCHAR(50), frontend_framework VARCHAR(50), container_status VARCHAR(50), build_id VARCHAR(8),
    last_status_check DATETIME, is_generation_failed BOOLEAN, failure_stage VARCHAR(50), error_message TEXT, generation_attempts INTEGER,
    last_error_at DATETIME, retry_fixes INTEGER, automatic_fixes INTEGER, llm_fixes INTEGER, manual_fixes INTEGER, metadata_json TEXT,
    created_at DATETIME, updated_at DATETIME";

const TASKS: &str = "id INTEGER PRIMARY KEY, task_id VARCHAR(100) NOT NULL, parent_task_id VARCHAR(100), is_main_task BOOLEAN,
    service_name VARCHAR(100), analyzer_config_id INTEGER NOT NULL, status VARCHAR(15), priority VARCHAR(6),
    target_model VARCHAR(200) NOT NULL, target_app_number INTEGER NOT NULL, target_path VARCHAR(500), task_name VARCHAR(200),
    description TEXT, task_metadata TEXT, progress_percentage FLOAT, current_step VARCHAR(200), total_steps INTEGER,
    completed_steps INTEGER, batch_id VARCHAR(100), assigned_worker VARCHAR(100), execution_context TEXT, result_summary TEXT,
    issues_found INTEGER, severity_breakdown TEXT, estimated_duration INTEGER, actual_duration FLOAT, queue_time FLOAT,
    error_message TEXT, retry_count INTEGER, max_retries INTEGER, created_at DATETIME NOT NULL, updated_at DATETIME,
    started_at DATETIME, completed_at DATETIME";

const PIPELINES: &str = "id INTEGER PRIMARY KEY, pipeline_id VARCHAR(50) NOT NULL, user_id INTEGER NOT NULL, name VARCHAR(200),
    status VARCHAR(20) NOT NULL, current_stage VARCHAR(20) NOT NULL, current_job_index INTEGER NOT NULL, config_json TEXT NOT NULL,
    progress_json TEXT NOT NULL, error_message TEXT, created_at DATETIME NOT NULL, started_at DATETIME, completed_at DATETIME,
    updated_at DATETIME NOT NULL";

/// When everything in it was made.
pub(crate) const MADE: &str = "2025-11-01 10:00:00.000000";

/// A database of the old system.
pub(crate) struct OldWorld {
    /// The file.
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
}

impl OldWorld {
    /// An empty one. `missing_since` came with a migration that not everybody ran.
    pub(crate) fn empty(path: &Path, missing_since: bool) -> Self {
        let connection = Connection::open(path).unwrap();
        let more = if missing_since { ", missing_since DATETIME" } else { "" };
        connection
            .execute_batch(&format!(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT);
                 CREATE TABLE generated_applications ({APPS}{more});
                 CREATE TABLE analysis_tasks ({TASKS});
                 CREATE TABLE pipeline_executions ({PIPELINES});"
            ))
            .unwrap();
        Self { path: path.to_owned(), connection }
    }

    /// Two apps, a main task with two children that came to less than it says, a pipeline that says so, too, and one that did nothing.
    pub(crate) fn usual(path: &Path, missing_since: bool) -> Self {
        let old = Self::empty(path, missing_since);
        for number in [1, 2] {
            old.app(&[("app_number", &number)]);
        }
        if missing_since {
            old.execute("UPDATE generated_applications SET missing_since = '2025-11-03 10:00:00' WHERE app_number = 2");
        }
        let found = r#"{"critical": 1, "high": 2, "medium": 1, "low": 3, "info": 1}"#;
        let main: &dyn ToSql = &"task_main";
        old.task(
            "task_main",
            &[("is_main_task", &1), ("service_name", &None::<String>), ("status", &"COMPLETED"), ("issues_found", &8)],
        );
        old.task("task_one", &[("parent_task_id", main), ("severity_breakdown", &found), ("issues_found", &9)]);
        let failed: &[(&str, &dyn ToSql)] = &[
            ("parent_task_id", main),
            ("service_name", &"ai-analyzer"),
            ("status", &"failed"),
            ("error_message", &"no key\u{1b}[31m\nat all"),
        ];
        old.task("task_two", failed);
        let progress = r#"{"generation": {"results": [{"success": true, "model_slug": "openai_gpt-4o", "app_number": 1},
            {"success": false, "error": "out of credit"}], "completed": 1, "failed": 1}, "analysis": {"main_task_ids": ["task_main"]}}"#;
        old.pipeline("pipeline_one", "completed", progress);
        old.pipeline("pipeline_nothing", "completed", "{}");
        old
    }

    /// Runs SQL.
    pub(crate) fn execute(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    fn insert(&self, table: &str, usual: &[(&str, &dyn ToSql)], given: &[(&str, &dyn ToSql)]) {
        let rest = usual.iter().filter(|(name, _)| !given.iter().any(|(other, _)| other == name));
        let cells: Vec<&(&str, &dyn ToSql)> = rest.chain(given).collect();
        let names: Vec<&str> = cells.iter().map(|(name, _)| *name).collect();
        let holes = vec!["?"; names.len()].join(", ");
        let query = format!("INSERT INTO {table} ({}) VALUES ({holes})", names.join(", "));
        self.connection.execute(&query, params_from_iter(cells.iter().map(|(_, cell)| *cell))).unwrap();
    }

    /// Adds a row about an app.
    pub(crate) fn app(&self, given: &[(&str, &dyn ToSql)]) {
        let usual: &[(&str, &dyn ToSql)] = &[
            ("model_slug", &"openai_gpt-4o"),
            ("app_number", &1),
            ("version", &1),
            ("app_type", &"web_app"),
            ("provider", &"openai"),
            ("template_slug", &"crud_todo_list"),
            ("generation_mode", &"GUARDED"),
            ("generation_status", &"COMPLETED"),
            ("created_at", &MADE),
        ];
        self.insert("generated_applications", usual, given);
    }

    /// Adds a row about a task that has completed.
    pub(crate) fn task(&self, id: &str, given: &[(&str, &dyn ToSql)]) {
        let usual: &[(&str, &dyn ToSql)] = &[
            ("task_id", &id),
            ("service_name", &"static-analyzer"),
            ("analyzer_config_id", &1),
            ("status", &"completed"),
            ("priority", &"normal"),
            ("target_model", &"openai_gpt-4o"),
            ("target_app_number", &1),
            ("created_at", &MADE),
            ("started_at", &"2025-11-01 10:00:01"),
            ("completed_at", &"2025-11-01 10:01:01.500000"),
        ];
        self.insert("analysis_tasks", usual, given);
    }

    /// Adds a row about a pipeline.
    pub(crate) fn pipeline(&self, id: &str, status: &str, progress: &str) {
        let given: &[(&str, &dyn ToSql)] = &[
            ("pipeline_id", &id),
            ("user_id", &1),
            ("name", &"nightly"),
            ("status", &status),
            ("current_stage", &"done"),
            ("current_job_index", &0),
            ("config_json", &r#"{"generation": {"mode": "generate"}}"#),
            ("progress_json", &progress),
            ("created_at", &MADE),
            ("started_at", &MADE),
            ("completed_at", &"2025-11-01 11:00:00"),
            ("updated_at", &"2025-11-01 11:00:00"),
        ];
        self.insert("pipeline_executions", &[], given);
    }
}
