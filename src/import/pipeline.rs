//! A row of `pipeline_executions` as a run that has ended, of a pipeline that is declared nowhere.
//!
//! The old system said COMPLETED when everything had failed. So the phase is derived: from the results of generation and from the main tasks,
//! by the same algebra as everywhere; nothing at all proves no success. What differs from what was said is told.

use serde_json::{Map, Value, json};

use super::app::{NUMBER_MAX, ROOT, flat};
use super::cell::Row;
use super::identity;
use super::moment;
use super::note::{NoteKind, Notes};
use super::schema::PIPELINES;
use super::status::{OldStatus, phase};
use super::task::{TaskRecord, spec};
use crate::resource::algebra::{Ended, fold};
use crate::resource::findings::Findings;
use crate::resource::name::{Uid, check_slug};
use crate::resource::outcome::one_line;
use crate::resource::phase::Phase;
use crate::resource::run::Conclusion;
use crate::resource::time::Timestamp;

/// Parts of one pipeline that are looked at.
pub const PARTS_MAX: usize = 100_000;

/// The analyzer that stands for what made the apps.
pub const GENERATOR: &str = "generator";

/// A run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// The row's id.
    pub row: i64,
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// The steps that it is pinned to, as the JSON of a pipeline's spec.
    pub spec: String,
    /// Its parameters: what the old system called it.
    pub params: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How it ended, as its parts did.
    pub phase: Phase,
    /// The same for a person.
    pub message: String,
    /// Its children: generated apps and main tasks.
    pub children: Vec<ChildRecord>,
    /// The generated apps as Tasks.
    pub tasks: Vec<TaskRecord>,
}

/// A child of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildRecord {
    /// Its step.
    pub step: &'static str,
    /// Which item of the step.
    pub item: usize,
    /// The task.
    pub uid: Uid,
    /// What it stands for.
    pub label: String,
    /// The app.
    pub app: String,
    /// What came of it.
    pub conclusion: Conclusion,
    /// When.
    pub ended_at: Timestamp,
}

/// What a pipeline says of itself, before its tasks are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    generation: Map<String, Value>,
    /// The main tasks that it names.
    pub main_tasks: Vec<String>,
}

/// Reads what a pipeline says of its parts, with a note when it cannot be read.
pub fn progress(row: &Row, notes: &mut Notes) -> Progress {
    let value = match row.json("progress_json") {
        Ok(value) => value.unwrap_or_default(),
        Err(why) => {
            notes.add(NoteKind::BadJson, row, format!("progress_json is left out: {why}"));
            Value::Null
        }
    };
    let named = value.pointer("/analysis/main_task_ids").and_then(Value::as_array);
    let main_tasks = named.into_iter().flatten().filter_map(Value::as_str).take(PARTS_MAX).map(str::to_owned).collect();
    let generation = value.get("generation").and_then(Value::as_object).cloned().unwrap_or_default();
    Progress { generation, main_tasks }
}

/// Maps a row. `tasks` are the main tasks that `progress` names, in that order; `None` for one that is not there.
pub fn run(
    row: &Row,
    progress: &Progress,
    tasks: &[Option<TaskRecord>],
    now: Timestamp,
    notes: &mut Notes,
) -> Option<RunRecord> {
    let Some(id) = row.text("pipeline_id") else {
        notes.add(NoteKind::BadIdentity, row, "pipeline_id is empty");
        return None;
    };
    let stated = OldStatus::read(row, notes)?;
    let times = moment::times(row, now, notes)?;
    let made = generated(row, id, progress, times.created, times.ended, notes);
    let mut endings: Vec<Ended> = made.iter().map(|made| ending(made.phase)).collect();
    let mut children: Vec<ChildRecord> =
        made.iter().enumerate().map(|(at, made)| child("generate", at, made)).collect();
    for (at, (named, task)) in progress.main_tasks.iter().zip(tasks).enumerate() {
        match task {
            Some(task) => {
                endings.push(ending(task.phase));
                children.push(child("analyse", at, task));
            }
            None => {
                // Nothing proves that it ever did anything.
                endings.push(Ended::Failed);
                notes.add(
                    NoteKind::TaskGone,
                    row,
                    format!("its task {named:?} is not in analysis_tasks; it counts as failed"),
                );
            }
        }
    }
    let ended = derive(row, stated, &endings, notes);
    Some(RunRecord {
        row: row.id,
        uid: identity::uid(PIPELINES.name, id),
        name: identity::name(id),
        spec: steps(made.len(), progress.main_tasks.len()),
        params: params(row, notes),
        created_at: times.created,
        started_at: times.started,
        finished_at: times.ended,
        phase: phase(ended),
        message: message(row, &endings),
        children,
        tasks: made,
    })
}

/// What the parts came to. Parts that had not begun count as cancelled, and no parts as a failure.
fn derive(row: &Row, stated: OldStatus, endings: &[Ended], notes: &mut Notes) -> Ended {
    let unfinished = match stated {
        OldStatus::Waiting | OldStatus::Running | OldStatus::Ended(Ended::Cancelled) => Some(Ended::Cancelled),
        OldStatus::Ended(_) => None,
    };
    let whole = fold(endings.iter().copied().chain(unfinished)).unwrap_or(Ended::Failed);
    match stated {
        OldStatus::Ended(said) if said != whole => {
            let (good, all) = (good(endings), endings.len());
            let message = format!(
                "it was said to be {}; {good} of its {all} parts did well, which makes it {}",
                phase(said),
                phase(whole)
            );
            notes.add(NoteKind::PhaseDiffers, row, message);
        }
        OldStatus::Ended(_) => {}
        OldStatus::Waiting | OldStatus::Running => {
            let status = row.text("status").unwrap_or_default();
            let message =
                format!("it was {status:?} and had not ended; it is {} here and does not go on", phase(whole));
            notes.add(NoteKind::Unfinished, row, message);
        }
    }
    whole
}

fn ending(phase: Phase) -> Ended {
    match phase {
        Phase::Completed => Ended::Completed,
        Phase::PartialSuccess => Ended::Partial,
        Phase::Cancelled => Ended::Cancelled,
        Phase::Failed | Phase::Pending | Phase::Running => Ended::Failed,
    }
}

fn child(step: &'static str, item: usize, task: &TaskRecord) -> ChildRecord {
    let conclusion = match ending(task.phase) {
        Ended::Completed => Conclusion::Succeeded,
        Ended::Partial => Conclusion::Partial,
        Ended::Failed => Conclusion::Failed,
        Ended::Cancelled => Conclusion::Cancelled,
    };
    let (app, ended_at) = (task.spec.app.clone(), task.finished_at);
    ChildRecord { step, item, uid: task.uid.clone(), label: app.clone(), app, conclusion, ended_at }
}

/// The results of generation as Tasks: those that are listed, else as many as were counted.
fn generated(
    row: &Row,
    id: &str,
    progress: &Progress,
    created: Timestamp,
    ended: Timestamp,
    notes: &mut Notes,
) -> Vec<TaskRecord> {
    let of = &progress.generation;
    let listed = of.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let count =
        |key: &str| of.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    let (completed, failed) = (count("completed").min(PARTS_MAX), count("failed").min(PARTS_MAX));
    let results: Vec<(Option<bool>, &Value)> = if listed.is_empty() {
        let good = std::iter::repeat_n((Some(true), &Value::Null), completed);
        good.chain(std::iter::repeat_n((Some(false), &Value::Null), failed)).take(PARTS_MAX).collect()
    } else {
        listed.iter().take(PARTS_MAX).map(|result| (success(result), result)).collect()
    };
    let task = |(at, (good, result)): (usize, (Option<bool>, &Value))| {
        if good.is_none() {
            notes.add(
                NoteKind::ResultUnclear,
                row,
                format!("result {at} of its generation says neither success nor failure; it counts as failed"),
            );
        }
        let phase = if good == Some(true) { Phase::Completed } else { Phase::Failed };
        let said = result.get("error").or_else(|| result.get("message")).and_then(Value::as_str).map(one_line);
        let identity = format!("{id}\ngenerate\n{at}");
        TaskRecord {
            table: PIPELINES.name,
            row: row.id,
            uid: identity::uid(PIPELINES.name, &identity),
            name: identity::name(&format!("{id}-generate-{at}")),
            spec: spec(app_of(result), GENERATOR.into(), Vec::new(), 100),
            labels: [("import".to_owned(), "thesis".to_owned())].into(),
            annotations: [("import/row".to_owned(), format!("{} {}", PIPELINES.name, row.id))].into(),
            created_at: created,
            phase,
            message: said.unwrap_or_else(|| "from the progress of its pipeline, which tells no times".into()),
            started_at: None,
            finished_at: ended,
            findings: Findings::default(),
            attempt: None,
        }
    };
    results.into_iter().enumerate().map(task).collect()
}

/// Whether a result says that it succeeded.
fn success(result: &Value) -> Option<bool> {
    if let Some(success) = result.get("success").and_then(Value::as_bool) {
        return Some(success);
    }
    match result.get("status").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
        Some("completed" | "success" | "succeeded") => Some(true),
        Some("failed" | "error" | "cancelled") => Some(false),
        _ => result.get("error").filter(|error| !error.is_null()).map(|_| false),
    }
}

/// The app that a result is about; empty when it does not say.
fn app_of(result: &Value) -> String {
    let text = |keys: &[&str]| keys.iter().find_map(|key| result.get(key)?.as_str());
    let number = ["app_number", "app_num", "number"].iter().find_map(|key| result.get(key)?.as_i64());
    let model = text(&["model_slug", "model"]).filter(|model| check_slug(model).is_ok());
    let number =
        number.filter(|number| (0..=NUMBER_MAX).contains(number)).and_then(|number| u32::try_from(number).ok());
    model.zip(number).map_or_else(String::new, |(model, number)| flat(ROOT, model, number).name())
}

/// The steps of the run with how many children each had.
fn steps(made: usize, analysed: usize) -> String {
    let step = |name: &str, analyzer: &str, count: usize, needs: &[&str]| json!({"name": name, "needs": needs, "analyzer": analyzer, "forEach": {"range": {"from": 1, "to": count}}});
    let generate = (made > 0).then(|| step("generate", GENERATOR, made, &[]));
    let needs: &[&str] = if made > 0 { &["generate"] } else { &[] };
    // A run has at least one step.
    let analyse = (analysed > 0 || made == 0).then(|| step("analyse", super::task::ALL_SERVICES, analysed, needs));
    let steps: Vec<Value> = generate.into_iter().chain(analyse).collect();
    json!({ "steps": steps, "runPolicy": "Manual" }).to_string()
}

fn params(row: &Row, notes: &mut Notes) -> Map<String, Value> {
    let mut params = Map::new();
    params.extend(row.text("name").map(|name| ("name".to_owned(), Value::from(one_line(name)))));
    params.extend(row.text("status").map(|status| ("status".to_owned(), Value::from(one_line(status)))));
    match row.json("config_json") {
        Ok(config) => {
            let mode = config.as_ref().and_then(|config| config.pointer("/generation/mode")).and_then(Value::as_str);
            params.extend(mode.map(|mode| ("mode".to_owned(), Value::from(one_line(mode)))));
        }
        Err(why) => notes.add(NoteKind::BadJson, row, format!("config_json is left out: {why}")),
    }
    params
}

fn message(row: &Row, endings: &[Ended]) -> String {
    let said = row.text("error_message").map(|error| format!("; {error}")).unwrap_or_default();
    one_line(&format!("{} of {} parts did well in the old system{said}", good(endings), endings.len()))
}

fn good(endings: &[Ended]) -> usize {
    endings.iter().filter(|ended| matches!(ended, Ended::Completed | Ended::Partial)).count()
}
