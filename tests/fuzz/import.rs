//! Any cells in the tables of the old system: a row is mapped to something that can be stored, or what is lost of it is told.

use manifestd::import::cell::{Cell, Row};
use manifestd::import::note::Notes;
use manifestd::import::schema::{APPS, OldTable, PIPELINES, TASKS};
use manifestd::import::task::TaskRecord;
use manifestd::import::{app, pipeline, task};
use manifestd::resource::name::check_name;
use manifestd::resource::outcome::MESSAGE_BYTES_MAX;
use manifestd::resource::pipeline::PipelineSpec;
use manifestd::resource::time::Timestamp;

use super::corpus::texts;

const NOW: Timestamp = Timestamp(1_795_428_000_000);

pub(crate) const WORDS: &[&str] = &[
    "completed",
    "COMPLETED",
    "failed",
    "partial_success",
    "cancelled",
    "running",
    "PENDING",
    "openai_gpt-4o",
    "../x",
    "1",
    "-1",
    "9223372036854775807",
    "1e300",
    "NaN",
    "2025-11-01 10:00:00",
    "2025-11-01T10:00:00+14:00",
    "-009999-01-01",
    "9999-12-31 23:59:59",
    "{}",
    "[",
    "{\"high\": 3, \"low\": 1e99}",
    "\u{1b}[31m",
    "\\n",
    "\n",
    "main_task_ids",
    "results",
    "success",
    "{\"generation\": {\"results\": [{\"success\": true}], \"completed\": 1}, \"analysis\": {\"main_task_ids\": [\"a\"]}}",
    "true",
    "static-analyzer",
];

/// Lines: the cells of an app, then of two tasks, then of a pipeline, in the order in which the columns are declared.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "",
        &"openai_gpt-4o\n".repeat(90),
        &"1\n".repeat(120),
        &"2025-11-01 10:00:00\ncompleted\n1\nopenai_gpt-4o\n{}\n".repeat(30),
        &"completed\nm\n7\n{\"generation\": {\"results\": [{\"success\": true}]}, \"analysis\": {\"main_task_ids\": [\"a\", \"b\"]}}\n".repeat(30),
    ])
}

static TABLES: [OldTable; 3] = [APPS, TASKS, PIPELINES];

fn row<'l>(table: &'static OldTable, lines: &mut impl Iterator<Item = &'l str>) -> Row {
    let columns = table.needed.iter().chain(table.read).copied();
    let cells = columns.map(|column| (column, cell(lines.next().unwrap_or_default())));
    Row { table: table.name, id: 7, cells: cells.collect() }
}

fn cell(text: &str) -> Cell {
    match text {
        "" => Cell::Null,
        "\u{1}" => Cell::Unreadable,
        text if let Ok(number) = text.parse() => Cell::Int(number),
        text if let Ok(number) = text.parse() => Cell::Real(number),
        text => Cell::Text(text.to_owned()),
    }
}

/// What must hold of any cells.
pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let app_row = row(&TABLES[0], &mut lines);
    let (main, child, of_pipeline) =
        (row(&TABLES[1], &mut lines), row(&TABLES[1], &mut lines), row(&TABLES[2], &mut lines));
    let mut notes = Notes::default();
    match app::app(&app_row, app::ROOT, |path| path.matches('/').count() > 3, NOW, &mut notes) {
        Some(app) => {
            assert!(check_name(&app.name).is_ok() && !app.spec.path.contains(".."), "{app:?}");
            assert!(app.created_at <= NOW);
        }
        None => assert!(notes.losses() > 0, "an app is lost, and nobody is told"),
    }
    for children in [&[][..], std::slice::from_ref(&child)] {
        let mut notes = Notes::default();
        match task::task(&main, children, NOW, &mut notes) {
            Some(task) => assert_storable(&task),
            None => assert!(notes.losses() > 0, "a task is lost, and nobody is told"),
        }
    }
    let mut notes = Notes::default();
    let progress = pipeline::progress(&of_pipeline, &mut notes);
    let of = |_: &String| task::task(&main, &[], NOW, &mut Notes::default());
    let tasks: Vec<Option<TaskRecord>> = progress.main_tasks.iter().map(of).collect();
    match pipeline::run(&of_pipeline, &progress, &tasks, NOW, &mut notes) {
        Some(run) => {
            assert!(run.phase.is_terminal() && check_name(&run.name).is_ok() && run.finished_at <= NOW, "{run:?}");
            run.tasks.iter().for_each(assert_storable);
            assert!(serde_json::from_str::<PipelineSpec>(&run.spec).is_ok(), "{}", run.spec);
        }
        None => assert!(notes.losses() > 0, "a pipeline is lost, and nobody is told"),
    }
}

fn assert_storable(task: &TaskRecord) {
    assert!(check_name(&task.name).is_ok() && check_name(&task.spec.analyzer).is_ok(), "{task:?}");
    assert!(task.spec.app.is_empty() || check_name(&task.spec.app).is_ok());
    let began = task.started_at.unwrap_or(task.created_at);
    assert!(
        task.phase.is_terminal() && task.created_at <= began && began <= task.finished_at && task.finished_at <= NOW
    );
    for text in task.annotations.values().chain(task.labels.values()).chain([&task.message]) {
        assert!(text.len() <= MESSAGE_BYTES_MAX && !text.contains(char::is_control), "{text:?}");
    }
}
