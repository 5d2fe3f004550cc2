//! Properties of the mapping over rows that hold anything in any column: nothing panics, and what comes out can be stored and shown.

use proptest::prelude::*;

use super::app::{self, ROOT};
use super::cell::{Cell, Row};
use super::note::Notes;
use super::pipeline;
use super::schema::{APPS, OldTable, PIPELINES, TASKS};
use super::task::{self, TaskRecord};
use crate::resource::name::check_name;
use crate::resource::outcome::MESSAGE_BYTES_MAX;
use crate::resource::phase::Phase;
use crate::resource::run::Conclusion;
use crate::resource::time::Timestamp;

const NOW: Timestamp = Timestamp(1_795_428_000_000);

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = Cell> {
    prop::sample::select(choices).prop_map(|text| Cell::Text(text.into()))
}

/// Mostly what a column of this name holds, and sometimes anything.
fn cell(column: &'static str) -> BoxedStrategy<Cell> {
    let anything = prop_oneof![
        Just(Cell::Null),
        Just(Cell::Unreadable),
        any::<i64>().prop_map(Cell::Int),
        any::<f64>().prop_map(Cell::Real),
        ".{0,300}".prop_map(Cell::Text),
    ];
    let usual = match column {
        "status" => text(&["completed", "COMPLETED", "failed", "partial_success", "cancelled", "running", "PENDING", "created"]).boxed(),
        "model_slug" | "target_model" => text(&["openai_gpt-4o", "m", "../x"]).boxed(),
        "app_number" | "target_app_number" => (0_i64..40).prop_map(Cell::Int).boxed(),
        "is_main_task" => (0_i64..2).prop_map(Cell::Int).boxed(),
        "template_slug" => text(&["crud", "", "a/b"]).boxed(),
        "task_id" | "pipeline_id" | "parent_task_id" => text(&["task_1", "A B", "..", "x\u{1b}[31m"]).boxed(),
        "severity_breakdown" => text(&["{}", r#"{"high": 3, "odd": 1}"#, "[", r#"{"low": 1e99, "critical": -1}"#]).boxed(),
        "progress_json" => text(&[
            "{}",
            r#"{"generation": {"completed": 3, "failed": 40}}"#,
            r#"{"generation": {"results": [{"success": true}, {}, null, {"status": "failed"}]}, "analysis": {"main_task_ids": ["a", "b", 1]}}"#,
        ])
        .boxed(),
        _ => text(&["2025-11-01 10:00:00", "2025-11-01 10:00:00.123456", "0001-01-01", "2999-12-31 23:59:59", "-009999-01-01"]).boxed(),
    };
    prop_oneof![4 => usual, 1 => anything].boxed()
}

fn row(table: &'static OldTable) -> impl Strategy<Value = Row> {
    let columns: Vec<&'static str> = table.needed.iter().chain(table.read).copied().collect();
    let cells: Vec<_> = columns.iter().map(|column| cell(column)).collect();
    (cells, any::<i64>()).prop_map(move |(cells, id)| Row {
        table: table.name,
        id,
        cells: columns.iter().copied().zip(cells).collect(),
    })
}

fn is_storable(task: &TaskRecord) -> Result<(), TestCaseError> {
    prop_assert!(check_name(&task.name).is_ok() && check_name(&task.spec.analyzer).is_ok(), "{task:?}");
    prop_assert!(task.spec.app.is_empty() || check_name(&task.spec.app).is_ok());
    prop_assert!(task.phase.is_terminal());
    let began = task.started_at.unwrap_or(task.created_at);
    prop_assert!(task.created_at <= began && began <= task.finished_at && task.finished_at <= NOW, "{task:?}");
    let texts = task.annotations.values().chain(task.labels.values()).chain([&task.message]);
    for text in texts {
        prop_assert!(text.len() <= MESSAGE_BYTES_MAX && !text.contains(char::is_control), "{text:?}");
    }
    prop_assert!(task.findings.total() < 1 << 40);
    Ok(())
}

static TABLES: [OldTable; 3] = [APPS, TASKS, PIPELINES];

proptest! {
    #[test]
    fn any_row_about_an_app_is_mapped_or_told(row in row(&TABLES[0]), nested in any::<bool>()) {
        let mut notes = Notes::default();
        let record = app::app(&row, ROOT, |path| nested && path.matches('/').count() > 3, NOW, &mut notes);
        match record {
            Some(app) => {
                prop_assert!(check_name(&app.name).is_ok() && app.spec.path.starts_with(ROOT) && !app.spec.path.contains(".."));
                prop_assert!(app.created_at <= NOW && app.missing_since.is_none_or(|at| at <= NOW));
            }
            None => prop_assert!(notes.losses() > 0),
        }
    }

    #[test]
    fn any_row_about_a_task_is_mapped_or_told(main in row(&TABLES[1]), children in prop::collection::vec(row(&TABLES[1]), 0..5)) {
        let mut notes = Notes::default();
        match task::task(&main, &children, NOW, &mut notes) {
            Some(task) => {
                is_storable(&task)?;
                prop_assert_eq!(task.attempt.is_none(), task.phase == Phase::Cancelled && task.started_at.is_none());
                prop_assert_eq!(children.is_empty() || task.findings.total() == 0, true, "counted with the children");
                prop_assert_eq!(task::task(&main, &children, NOW, &mut Notes::default()), Some(task), "the same again");
            }
            None => prop_assert!(notes.losses() > 0),
        }
    }

    #[test]
    fn any_row_about_a_pipeline_is_as_good_as_its_parts(row in row(&TABLES[2]), main in row(&TABLES[1])) {
        let mut notes = Notes::default();
        let progress = pipeline::progress(&row, &mut notes);
        let of = |_: &String| task::task(&main, &[], NOW, &mut Notes::default());
        let tasks: Vec<Option<TaskRecord>> = progress.main_tasks.iter().map(of).collect();
        let Some(run) = pipeline::run(&row, &progress, &tasks, NOW, &mut notes) else {
            prop_assert!(notes.losses() > 0);
            return Ok(());
        };
        prop_assert!(run.phase.is_terminal() && check_name(&run.name).is_ok() && run.finished_at <= NOW);
        run.tasks.iter().take(20).try_for_each(is_storable)?;
        let all_good = run.children.iter().all(|child| child.conclusion == Conclusion::Succeeded);
        let proven = !run.children.is_empty() && all_good && tasks.iter().all(Option::is_some);
        prop_assert!(run.phase != Phase::Completed || proven, "{run:?}");
        prop_assert!(serde_json::from_str::<crate::resource::pipeline::PipelineSpec>(&run.spec).is_ok(), "{}", run.spec);
    }
}
