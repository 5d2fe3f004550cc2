//! The tables of the old system that are imported, and the columns that are known of them.

/// A table of the old system.
#[derive(Debug, Clone, Copy)]
pub struct OldTable {
    /// Its name.
    pub name: &'static str,
    /// Without these no row of it can be mapped.
    pub needed: &'static [&'static str],
    /// These are read as well, where they are there.
    pub read: &'static [&'static str],
    /// These are known, and have no place here.
    pub left: &'static [&'static str],
}

impl OldTable {
    /// Whether a column is known.
    #[must_use]
    pub fn knows(&self, column: &str) -> bool {
        [self.needed, self.read, self.left].iter().any(|columns| columns.contains(&column))
    }
}

/// Generated applications.
pub const APPS: OldTable = OldTable {
    name: "generated_applications",
    needed: &["model_slug", "app_number", "created_at"],
    read: &[
        "id",
        "version",
        "app_type",
        "provider",
        "template_slug",
        "generation_status",
        "missing_since",
        "is_generation_failed",
        "failure_stage",
        "error_message",
        "updated_at",
    ],
    left: &[
        "parent_app_id",
        "batch_id",
        "generation_mode",
        "has_backend",
        "has_frontend",
        "has_docker_compose",
        "backend_framework",
        "frontend_framework",
        "container_status",
        "build_id",
        "last_status_check",
        "generation_attempts",
        "last_error_at",
        "retry_fixes",
        "automatic_fixes",
        "llm_fixes",
        "manual_fixes",
        "metadata_json",
    ],
};

/// Analysis tasks.
pub const TASKS: OldTable = OldTable {
    name: "analysis_tasks",
    needed: &["task_id", "status", "target_model", "target_app_number", "created_at"],
    read: &[
        "id",
        "parent_task_id",
        "is_main_task",
        "service_name",
        "priority",
        "task_name",
        "task_metadata",
        "batch_id",
        "issues_found",
        "severity_breakdown",
        "actual_duration",
        "error_message",
        "updated_at",
        "started_at",
        "completed_at",
    ],
    left: &[
        "analyzer_config_id",
        "target_path",
        "description",
        "progress_percentage",
        "current_step",
        "total_steps",
        "completed_steps",
        "assigned_worker",
        "execution_context",
        "result_summary",
        "estimated_duration",
        "queue_time",
        "retry_count",
        "max_retries",
    ],
};

/// Pipelines that were run.
pub const PIPELINES: OldTable = OldTable {
    name: "pipeline_executions",
    needed: &["pipeline_id", "status", "progress_json", "created_at"],
    read: &["id", "name", "config_json", "error_message", "started_at", "completed_at", "updated_at"],
    left: &["user_id", "current_stage", "current_job_index"],
};

/// All of them, in the order in which they are imported.
pub const TABLES: [OldTable; 3] = [APPS, TASKS, PIPELINES];
