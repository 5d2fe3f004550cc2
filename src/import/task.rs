//! A row of `analysis_tasks` as a Task that has ended, with the one attempt that the old system kept of it.
//!
//! A main task, which has one child for each service, is a Task as well: its tools are the services, and its phase is what its children came
//! to, by the same algebra as everywhere. Its findings stay with the children, so that nothing is counted twice.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::app::{ROOT, flat, target};
use super::cell::{Cell, Row, whole};
use super::identity;
use super::moment::{self, Times};
use super::note::{NoteKind, Notes};
use super::schema::TASKS;
use super::status::{OldStatus, outcome, phase};
use crate::resource::algebra::{Ended, fold};
use crate::resource::findings::Findings;
use crate::resource::name::{Uid, to_name};
use crate::resource::outcome::{Outcome, ToolReport, ToolStatus, one_line, tool_name};
use crate::resource::phase::Phase;
use crate::resource::task::{Cache, Retry, RunPolicy, TaskSpec};
use crate::resource::time::Timestamp;

/// Children of a main task that are looked at; the old system had four services.
pub const CHILDREN_MAX: usize = 64;

/// Tools of a task that are kept, as in a manifest.
const TOOLS_MAX: usize = 64;

/// The most findings of one severity that are believed.
const FINDINGS_MAX: i64 = 10_000_000;

/// The analyzer of a main task: it stands for all services.
pub const ALL_SERVICES: &str = "all-services";

/// A Task that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Its table.
    pub table: &'static str,
    /// The row's id.
    pub row: i64,
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: TaskSpec,
    /// Labels, to select it by.
    pub labels: BTreeMap<String, String>,
    /// What else the old system knew of it.
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it ended; a terminal phase.
    pub phase: Phase,
    /// The same for a person.
    pub message: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// What was found.
    pub findings: Findings,
    /// Its attempt, unless it never ran.
    pub attempt: Option<AttemptRecord>,
}

/// The attempt of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// What is known of its tools.
    pub tools: Vec<ToolReport>,
}

/// Maps a row with those of its children.
pub fn task(row: &Row, children: &[Row], now: Timestamp, notes: &mut Notes) -> Option<TaskRecord> {
    let Some(id) = row.text("task_id") else {
        notes.add(NoteKind::BadIdentity, row, "task_id is empty");
        return None;
    };
    let stated = OldStatus::read(row, notes)?;
    let (model, number) = target(row, "target_model", "target_app_number", notes)?;
    let times = moment::times(row, now, notes)?;
    let services: Vec<(ToolReport, Ended)> = children.iter().map(service).collect();
    let ended = settled(row, stated, &services, notes);
    let service = row.text("service_name").map(to_name);
    let analyzer = service.unwrap_or_else(|| ALL_SERVICES.to_owned());
    let findings = if children.is_empty() { findings(row, notes) } else { Findings::default() };
    let message = message(row, stated, &services);
    let asked = tools(row, notes);
    let of_tools = match children.is_empty() {
        true => alone(&analyzer, &asked, ended, findings),
        false => services.into_iter().map(|(tool, _)| tool).collect(),
    };
    let attempt = (times.started.is_some() || ended != Ended::Cancelled).then(|| AttemptRecord {
        opened_at: times.started.unwrap_or(times.created),
        outcome: if stated == OldStatus::Running { Outcome::Interrupted } else { outcome(ended) },
        tools: of_tools,
    });
    let Times { created, started, ended: finished_at } = times;
    Some(TaskRecord {
        table: TASKS.name,
        row: row.id,
        uid: identity::uid(TASKS.name, id),
        name: identity::name(id),
        spec: spec(flat(ROOT, &model, number).name(), analyzer, asked, priority(row, notes)),
        labels: labels(row),
        annotations: annotations(row, id),
        created_at: created,
        phase: phase(ended),
        message,
        started_at: started.or(attempt.as_ref().map(|attempt| attempt.opened_at)),
        finished_at,
        findings,
        attempt,
    })
}

/// The spec of what ran long ago: `Once`, so that no change starts it again, and without retries.
#[must_use]
pub fn spec(app: String, analyzer: String, tools: Vec<String>, priority: i32) -> TaskSpec {
    TaskSpec {
        app,
        analyzer,
        tools,
        config: Map::new(),
        pool: None,
        priority,
        run_policy: RunPolicy::Once,
        cache: Cache::None,
        active_deadline_seconds: None,
        backoff_limit: 0,
        ttl_seconds_after_finished: None,
        suspend: false,
        retry: Retry::default(),
    }
}

/// What a child tells of one service.
fn service(child: &Row) -> (ToolReport, Ended) {
    // What is wrong with the child is told where it is mapped itself.
    let ended = OldStatus::read(child, &mut Notes::default()).map_or(Ended::Failed, OldStatus::ended);
    let id = child.text("task_id").unwrap_or_default();
    let name = child.text("service_name").unwrap_or(id);
    let status = match ended {
        Ended::Completed => ToolStatus::Completed,
        Ended::Partial | Ended::Failed => ToolStatus::Failed,
        Ended::Cancelled => ToolStatus::NotRun,
    };
    let message = format!("{} in the old system; its findings are those of task/{}", phase(ended), identity::name(id));
    let report = ToolReport {
        name: tool_name(name),
        status,
        message: one_line(&message),
        findings: Findings::default(),
        permanent: false,
    };
    (report, ended)
}

/// What is known of the tools of a task without children: the old system kept findings of the service as a whole, and took its word for the rest.
fn alone(analyzer: &str, asked: &[String], ended: Ended, findings: Findings) -> Vec<ToolReport> {
    let report = |name: &str, status, message: &str, findings| ToolReport {
        name: tool_name(name),
        status,
        message: message.to_owned(),
        findings,
        permanent: false,
    };
    let status = match ended {
        Ended::Completed => ToolStatus::Completed,
        Ended::Partial | Ended::Failed => ToolStatus::Failed,
        Ended::Cancelled => ToolStatus::NotRun,
    };
    let each = if ended == Ended::Completed { ToolStatus::Completed } else { ToolStatus::NotRun };
    let whole = report(analyzer, status, "the whole service, in the old system", findings);
    let single =
        |name: &String| report(name, each, "the old system counted no findings of single tools", Findings::default());
    std::iter::once(whole).chain(asked.iter().filter(|name| *name != analyzer).map(single)).collect()
}

/// What it came to: its children if it has some, else what its row says.
fn settled(row: &Row, stated: OldStatus, services: &[(ToolReport, Ended)], notes: &mut Notes) -> Ended {
    let parts = services.iter().map(|(_, ended)| *ended);
    match stated {
        OldStatus::Ended(ended) => {
            let whole = fold(parts).unwrap_or(ended);
            if whole != ended {
                let message = format!(
                    "it was said to be {}, and its {} services came to {}, which counts",
                    phase(ended),
                    services.len(),
                    phase(whole)
                );
                notes.add(NoteKind::PhaseDiffers, row, message);
            }
            whole
        }
        OldStatus::Waiting | OldStatus::Running => {
            let own = stated.ended();
            let whole = fold(parts.chain([own])).unwrap_or(own);
            let status = row.text("status").unwrap_or_default();
            let message =
                format!("it was {status:?} and had not ended; it is {} here and does not go on", phase(whole));
            notes.add(NoteKind::Unfinished, row, message);
            whole
        }
    }
}

fn message(row: &Row, stated: OldStatus, services: &[(ToolReport, Ended)]) -> String {
    let said = row.text("error_message").map(one_line);
    match stated {
        OldStatus::Waiting => "was waiting in the old system when it was imported; it never goes on by itself".into(),
        OldStatus::Running => "was running in the old system when it was imported; it never goes on by itself".into(),
        OldStatus::Ended(_) if !services.is_empty() => {
            let good = services.iter().filter(|(_, ended)| *ended == Ended::Completed).count();
            let rest = said.map(|said| format!("; {said}")).unwrap_or_default();
            one_line(&format!("{good} of {} services completed in the old system{rest}", services.len()))
        }
        OldStatus::Ended(Ended::Completed) => said.unwrap_or_default(),
        OldStatus::Ended(_) => said.unwrap_or_else(|| "the old system does not say why".into()),
    }
}

/// Severities as the old system counted them. What its total knows besides is unrated.
fn findings(row: &Row, notes: &mut Notes) -> Findings {
    let mut found = Findings::default();
    let mut odd = Vec::new();
    match row.json("severity_breakdown") {
        Ok(None | Some(Value::Null)) => {}
        Ok(Some(Value::Object(severities))) => {
            for (severity, count) in &severities {
                let Some(count) = counted(count) else {
                    odd.push(format!("{severity:?}: {count}"));
                    continue;
                };
                match severity.to_ascii_lowercase().as_str() {
                    "critical" | "high" | "error" => found.high += count,
                    "medium" | "moderate" | "warning" => found.medium += count,
                    "low" | "info" | "informational" | "note" => found.low += count,
                    "total" => {}
                    _ => found.unrated += count,
                }
            }
        }
        Ok(Some(_)) => notes.add(NoteKind::BadJson, row, "severity_breakdown is no map of counts; it is left out"),
        Err(why) => notes.add(NoteKind::BadJson, row, format!("severity_breakdown is left out: {why}")),
    }
    let total = match row.cell("issues_found") {
        Cell::Null => 0,
        _ => match row.int("issues_found").and_then(|total| counted(&Value::from(total))) {
            Some(total) => total,
            None => {
                odd.push("issues_found".into());
                0
            }
        },
    };
    found.unrated += total.saturating_sub(found.total());
    if !odd.is_empty() {
        notes.add(
            NoteKind::OddCount,
            row,
            format!("left out, as no number from 0 to {FINDINGS_MAX}: {}", odd.join(", ")),
        );
    }
    found
}

fn counted(count: &Value) -> Option<u64> {
    let number = count.as_i64().or_else(|| count.as_f64().and_then(whole))?;
    (0..=FINDINGS_MAX).contains(&number).then(|| number.unsigned_abs())
}

/// The tools that it was asked for, if its metadata says so.
fn tools(row: &Row, notes: &mut Notes) -> Vec<String> {
    const KEYS: [&str; 4] = ["tools", "selected_tools", "selected_tool_names", "tool_names"];
    let metadata = match row.json("task_metadata") {
        Ok(metadata) => metadata.unwrap_or_default(),
        Err(why) => {
            notes.add(NoteKind::BadJson, row, format!("task_metadata is left out: {why}"));
            return Vec::new();
        }
    };
    let inner = metadata.get("custom_options").unwrap_or(&Value::Null);
    let list = [&metadata, inner].into_iter().find_map(|map| KEYS.iter().find_map(|key| map.get(key)?.as_array()));
    let names = list.into_iter().flatten().filter_map(Value::as_str).map(tool_name);
    names.filter(|name| !name.is_empty()).take(TOOLS_MAX).collect()
}

/// The queue's order as numbers: 100 is that of a task which says nothing.
fn priority(row: &Row, notes: &mut Notes) -> i32 {
    match row.text("priority").unwrap_or("normal").to_ascii_lowercase().as_str() {
        "low" => 50,
        "normal" => 100,
        "high" => 200,
        "urgent" => 300,
        other => {
            notes.add(NoteKind::OddPriority, row, format!("priority {other:?} is unknown; normal counts"));
            100
        }
    }
}

fn labels(row: &Row) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("import".to_owned(), "thesis".to_owned())]);
    if row.is_true("is_main_task") {
        labels.insert("main".into(), "true".into());
    }
    labels.extend(row.text("parent_task_id").map(|parent| ("parent".to_owned(), identity::name(parent))));
    labels
}

fn annotations(row: &Row, id: &str) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([
        ("import/row".to_owned(), format!("{} {}", TASKS.name, row.id)),
        ("import/task-id".to_owned(), one_line(id)),
    ]);
    for column in ["status", "task_name", "batch_id", "parent_task_id"] {
        annotations
            .extend(row.text(column).map(|text| (format!("import/{}", column.replace('_', "-")), one_line(text))));
    }
    annotations
}
