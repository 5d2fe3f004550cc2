//! What the command line reads: objects with their status, attempts, events, problems and counts. Read-only, with or without a daemon.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde_json::Value;

use super::StoreError;
use super::rows::{
    findings, json_column, json_column_or_empty, seen_tree, task_status, time, time_or_none, word, word_or_none,
};
use crate::manifest::Problem;
use crate::plan::admission::SeenTree;
use crate::plan::write::TaskStatus;
use crate::resource::findings::Findings;
use crate::resource::kind::Kind;
use crate::resource::outcome::{Outcome, ToolReport};
use crate::resource::phase::Phase;
use crate::resource::provenance::Provenance;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// How many tasks are in each phase.
pub(super) const PHASES: &str =
    "SELECT phase, count(*) FROM task WHERE removed = 0 AND aside_at IS NULL GROUP BY phase";

/// How many tasks of a queue come before one of it.
pub(super) const AHEAD: &str = "SELECT count(*) FROM task t JOIN task me ON me.uid = ?1
     WHERE t.analyzer = me.analyzer AND t.phase = 'Pending' AND t.reason = 'Queued'
       AND (t.priority > me.priority OR (t.priority = me.priority AND (t.turn, t.created_at, t.uid) < (me.turn, me.created_at, me.uid)))";

/// Slots in use: open, and draining.
pub(super) const SLOTS: &str = "SELECT analyzer, 1, 0 FROM attempt INDEXED BY attempt_slot WHERE outcome IS NULL
     UNION ALL SELECT analyzer, 0, 1 FROM attempt INDEXED BY attempt_draining WHERE slot_until > ?1 AND ended_at <= ?1";

/// A stored object of any kind.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectView {
    /// Its uid.
    pub uid: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its spec.
    pub spec: Value,
    /// Generation of the spec.
    pub generation: i64,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When its manifest was removed.
    pub removed_at: Option<Timestamp>,
    /// Where it comes from.
    pub provenance: Provenance,
    /// Status of a Task.
    pub task: Option<TaskView>,
    /// Status of an App.
    pub app: Option<AppView>,
    /// Conditions.
    pub conditions: Vec<ConditionView>,
    /// A Run itself.
    pub run: Option<Box<super::run_view::RunView>>,
}

/// Status of a Task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    /// Its status.
    pub status: TaskStatus,
    /// When it came into its phase.
    pub since: Timestamp,
    /// The attempts of its current round, oldest first; before the first of a round, the latest one there is.
    pub attempts: Vec<AttemptView>,
    /// Whether a person asked to cancel this round.
    pub cancel_requested: bool,
    /// Whether a person asked for another round, which has not begun.
    pub retry_requested: bool,
    /// Who it belongs to, for fair share.
    pub owner: String,
    /// The pool of which its attempts take a slot: its own, or its analyzer's.
    pub pool: Option<String>,
}

impl TaskView {
    /// Its latest attempt.
    #[must_use]
    pub fn attempt(&self) -> Option<&AttemptView> {
        self.attempts.last()
    }
}

/// Status of an App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppView {
    /// The AppSet that found it.
    pub app_set: Option<String>,
    /// Since when its directory is gone.
    pub missing_since: Option<Timestamp>,
    /// What its files looked like when they were read last, if a task needed to know.
    pub tree: Option<SeenTree>,
}

/// A condition of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionView {
    /// CamelCase type.
    #[serde(rename = "type")]
    pub condition: String,
    /// `True` or `False`.
    pub status: &'static str,
    /// CamelCase reason.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// When the status changed last.
    pub last_transition_time: String,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptView {
    /// Its number.
    pub number: u32,
    /// The task's round.
    pub round: i64,
    /// Generation of the spec that it ran.
    pub generation: i64,
    /// The analyzer.
    pub analyzer: String,
    /// Address of the replica; empty for a command.
    pub replica: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its deadline.
    pub deadline_at: Timestamp,
    /// Last reported stage.
    pub stage: Option<String>,
    /// Last reported message.
    pub progress: Option<String>,
    /// Last reported share, 0.0 to 1.0.
    pub fraction: Option<f64>,
    /// Process group of a command.
    pub pid: Option<i32>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: Option<Reason>,
    /// Why, for a person.
    pub message: Option<String>,
    /// The tools that it was asked for; empty for all that the analyzer has.
    pub asked: Vec<String>,
    /// What is known of each tool.
    pub tools: Vec<ToolReport>,
    /// What was found.
    pub findings: Findings,
    /// Its result, relative to the state directory's `results/`.
    pub result_dir: Option<String>,
    /// SHA-256 of the result's manifest.json.
    pub result_sha256: Option<String>,
}

/// Which objects to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this name.
    pub name: Option<String>,
    /// Also those whose manifest was removed.
    pub removed: bool,
}

/// Lists objects of a kind by name; runs, which no manifest declares, newest first.
///
/// # Errors
/// What the database says.
pub fn objects(connection: &Connection, kind: Kind, filter: &Filter) -> Result<Vec<ObjectView>, StoreError> {
    if kind == Kind::Run {
        return super::run_view::objects(connection, filter);
    }
    let mut statement = connection.prepare_cached(
        "SELECT o.*, p.app_set, p.missing_since, p.tree_digest, p.tree_seen_at FROM object o LEFT JOIN app p ON p.uid = o.uid
         WHERE o.kind = ?1 AND (?2 IS NULL OR o.name = ?2) AND (?3 OR o.removed_at IS NULL)
           AND (?3 OR ?2 IS NOT NULL OR NOT EXISTS (SELECT 1 FROM task t WHERE t.uid = o.uid AND t.aside_at IS NOT NULL))
         ORDER BY o.name",
    )?;
    let mut rows = statement.query(params![kind.as_str(), filter.name, filter.removed])?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let mut object = object(row)?;
        if kind == Kind::Task {
            object.task = task(connection, &object.uid)?;
        }
        object.conditions = conditions(connection, &object.uid)?;
        objects.push(object);
    }
    Ok(objects)
}

fn object(row: &Row<'_>) -> Result<ObjectView, StoreError> {
    let kind: Kind = word(row, "kind")?;
    let app = (kind == Kind::App)
        .then(|| {
            Ok::<_, StoreError>(AppView {
                app_set: row.get("app_set")?,
                missing_since: time_or_none(row, "missing_since")?,
                tree: seen_tree(row)?,
            })
        })
        .transpose()?;
    Ok(ObjectView {
        uid: row.get("uid")?,
        kind,
        name: row.get("name")?,
        labels: json_column(row, "labels")?,
        annotations: json_column(row, "annotations")?,
        spec: json_column(row, "spec")?,
        generation: row.get("generation")?,
        created_at: time(row, "created_at")?,
        removed_at: time_or_none(row, "removed_at")?,
        provenance: Provenance {
            file: row.get("file")?,
            line: row.get("line")?,
            digest: row.get("digest")?,
            commit: row.get("git_commit")?,
        },
        task: None,
        app,
        conditions: Vec::new(),
        run: None,
    })
}

fn task(connection: &Connection, uid: &str) -> Result<Option<TaskView>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM task WHERE uid = ?1")?;
    let mut rows = statement.query([uid])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let status = task_status(row)?;
    let (cancel_round, retry_round): (i64, i64) = (row.get("cancel_round")?, row.get("retry_round")?);
    let mut attempts = attempts_where(connection, uid, Some(status.round), None)?;
    if attempts.is_empty() && status.attempt > 0 {
        attempts = attempts_where(connection, uid, None, Some(status.attempt))?;
    }
    let (cancel_requested, retry_requested) = (cancel_round >= status.round, retry_round >= status.round);
    let (since, owner, pool) = (time(row, "since")?, row.get("owner")?, row.get("pool")?);
    Ok(Some(TaskView { status, since, attempts, cancel_requested, retry_requested, owner, pool }))
}

/// The attempts of a task, oldest first.
///
/// # Errors
/// What the database says.
pub fn attempts(connection: &Connection, task_uid: &str) -> Result<Vec<AttemptView>, StoreError> {
    attempts_where(connection, task_uid, None, None)
}

fn attempts_where(
    connection: &Connection,
    uid: &str,
    round: Option<i64>,
    number: Option<u32>,
) -> Result<Vec<AttemptView>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM attempt WHERE task_uid = ?1 AND (?2 IS NULL OR round = ?2) AND (?3 IS NULL OR number = ?3) ORDER BY number",
    )?;
    let mut rows = statement.query(params![uid, round, number])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(AttemptView {
            number: row.get("number")?,
            round: row.get("round")?,
            generation: row.get("generation")?,
            analyzer: row.get("analyzer")?,
            replica: row.get("replica")?,
            opened_at: time(row, "opened_at")?,
            deadline_at: time(row, "deadline_at")?,
            stage: row.get("stage")?,
            progress: row.get("progress_message")?,
            fraction: row.get("fraction")?,
            pid: row.get("pid")?,
            ended_at: time_or_none(row, "ended_at")?,
            outcome: word_or_none(row, "outcome")?,
            reason: word_or_none(row, "reason")?,
            message: row.get("message")?,
            asked: json_column(row, "asked")?,
            tools: json_column_or_empty(row, "tools")?,
            findings: findings(row)?,
            result_dir: row.get("result_dir")?,
            result_sha256: row.get("result_sha256")?,
        });
    }
    Ok(attempts)
}

fn conditions(connection: &Connection, uid: &str) -> Result<Vec<ConditionView>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM condition WHERE uid = ?1 ORDER BY type")?;
    let mut rows = statement.query([uid])?;
    let mut conditions = Vec::new();
    while let Some(row) = rows.next()? {
        conditions.push(ConditionView {
            condition: row.get("type")?,
            status: if row.get("holds")? { "True" } else { "False" },
            reason: row.get("reason")?,
            message: row.get("message")?,
            last_transition_time: time(row, "changed_at")?.rfc3339(),
        });
    }
    Ok(conditions)
}

/// Conditions of the manifests directory itself, such as a blown fuse.
///
/// # Errors
/// What the database says.
pub fn directory_conditions(connection: &Connection) -> Result<Vec<ConditionView>, StoreError> {
    conditions(connection, "")
}

/// What is wrong with the manifests as they are.
///
/// # Errors
/// What the database says.
pub fn problems(connection: &Connection) -> Result<Vec<Problem>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT body FROM problem ORDER BY file, line, id")?;
    let mut rows = statement.query([])?;
    let mut problems = Vec::new();
    while let Some(row) = rows.next()? {
        problems.push(json_column(row, "body")?);
    }
    Ok(problems)
}

/// How many tasks are in each phase, of those whose manifest is there.
///
/// # Errors
/// What the database says.
pub fn phase_counts(connection: &Connection) -> Result<BTreeMap<Phase, u64>, StoreError> {
    let mut statement = connection.prepare_cached(PHASES)?;
    let mut rows = statement.query([])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        counts.insert(word(row, "phase")?, row.get(1)?);
    }
    Ok(counts)
}

/// How many queued tasks of the same analyzer are dispatched before this one.
///
/// # Errors
/// What the database says.
pub fn ahead_in_queue(connection: &Connection, uid: &str) -> Result<u64, StoreError> {
    Ok(connection.prepare_cached(AHEAD)?.query_row([uid], |row| row.get(0))?)
}

/// Open attempts, and slots that abandoned attempts still occupy at `now`, by analyzer.
///
/// # Errors
/// What the database says.
pub fn slots_in_use(connection: &Connection, now: Timestamp) -> Result<BTreeMap<String, (u64, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(SLOTS)?;
    let mut rows = statement.query([now.0])?;
    let mut slots: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let used = slots.entry(row.get(0)?).or_default();
        used.0 += row.get::<_, u64>(1)?;
        used.1 += row.get::<_, u64>(2)?;
    }
    Ok(slots)
}
