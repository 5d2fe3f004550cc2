//! Writing imported records: apps, tasks that have ended, and runs that have ended. What is here already is never touched.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{Store, StoreError};
use crate::import::FROM_THE_OLD_SYSTEM;
use crate::import::app::AppRecord;
use crate::import::identity;
use crate::import::pipeline::{ChildRecord, RunRecord};
use crate::import::task::TaskRecord;
use crate::resource::digest::sha256;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::object::Spec;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// Name of the pipeline that imported runs are of. It is declared nowhere, so nobody can run it.
const PIPELINE: &str = "import-thesis";

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// An app.
    App(Box<AppRecord>),
    /// A task.
    Task(Box<TaskRecord>),
    /// A run with what it made.
    Run(Box<RunRecord>),
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is here now.
    New,
    /// It is here now, under this name, as its own was taken.
    Renamed(String),
    /// It was here before, from an earlier import or since an AppSet or a manifest knows it.
    Known,
    /// It is not here: its name stands for something else, as told.
    Taken(String),
}

impl Store {
    /// Writes a batch of records in one transaction, and says what became of each.
    ///
    /// # Errors
    /// What the database says; then nothing of the batch is written.
    pub async fn write_imported(&self, records: Vec<Record>, now: Timestamp) -> Result<Vec<Written>, StoreError> {
        self.write(move |connection| records.iter().map(|record| write(connection, record, now)).collect()).await
    }
}

/// What would become of a record.
///
/// # Errors
/// What the database says.
pub fn look_up(connection: &Connection, record: &Record) -> Result<Written, StoreError> {
    let (kind, uid, name, path) = match record {
        Record::App(app) => (Kind::App, &app.uid, &app.name, Some(&app.spec.path)),
        Record::Task(task) => (Kind::Task, &task.uid, &task.name, None),
        Record::Run(run) => return look_up_run(connection, run),
    };
    let known = connection.prepare_cached("SELECT 1 FROM object WHERE uid = ?1")?.exists([&uid.0])?;
    if known {
        return Ok(Written::Known);
    }
    let holder: Option<Option<String>> = connection
        .prepare_cached("SELECT spec ->> 'path' FROM object WHERE kind = ?1 AND name = ?2")?
        .query_row(params![kind.as_str(), name], |row| row.get(0))
        .optional()?;
    Ok(match (holder, path) {
        (None, _) => Written::New,
        (Some(holder), Some(path)) => match holder.unwrap_or_default() {
            holder if is_same_path(&holder, path) => Written::Known,
            holder => Written::Taken(holder),
        },
        (Some(_), None) => Written::Renamed(identity::other_name(name, uid)),
    })
}

/// Whether two paths as people write them are one.
fn is_same_path(one: &str, other: &str) -> bool {
    let parts = |path: &str| {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect::<Vec<_>>()
    };
    parts(one) == parts(other)
}

fn look_up_run(connection: &Connection, run: &RunRecord) -> Result<Written, StoreError> {
    let exists = |query: &str, value: &str| connection.prepare_cached(query)?.exists([value]);
    if exists("SELECT 1 FROM run WHERE uid = ?1", &run.uid.0)? {
        return Ok(Written::Known);
    }
    let taken = exists("SELECT 1 FROM run WHERE name = ?1", &run.name)?;
    Ok(if taken { Written::Renamed(identity::other_name(&run.name, &run.uid)) } else { Written::New })
}

fn write(connection: &Connection, record: &Record, now: Timestamp) -> Result<Written, StoreError> {
    let written = look_up(connection, record)?;
    let name = match (&written, record) {
        (Written::Renamed(name), _) => name,
        (Written::New, Record::App(app)) => &app.name,
        (Written::New, Record::Task(task)) => &task.name,
        (Written::New, Record::Run(run)) => &run.name,
        (Written::Known | Written::Taken(_), _) => return Ok(written),
    };
    match record {
        Record::App(app) => insert_app(connection, app, now)?,
        Record::Task(task) => insert_task(connection, task, name, now)?,
        Record::Run(run) => insert_run(connection, run, name, now)?,
    }
    Ok(written)
}

/// What every imported object has in its row.
struct NewObject<'r> {
    kind: Kind,
    uid: &'r Uid,
    name: &'r str,
    spec: String,
    labels: &'r BTreeMap<String, String>,
    annotations: &'r BTreeMap<String, String>,
    created_at: Timestamp,
    removed_at: Option<Timestamp>,
}

fn insert_object(connection: &Connection, new: &NewObject<'_>, now: Timestamp) -> Result<(), StoreError> {
    let json = |map: &BTreeMap<String, String>| {
        serde_json::to_string(map).map_err(|error| StoreError::Corrupt(error.to_string()))
    };
    connection
        .prepare_cached(
            "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, removed_at, file, line, digest,
                 revised_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, 0, '', ?8)",
        )?
        .execute(params![
            new.uid.0,
            new.kind.as_str(),
            new.name,
            json(new.labels)?,
            json(new.annotations)?,
            new.spec,
            new.created_at.0,
            now.0,
            new.removed_at.map(|at| at.0),
            FROM_THE_OLD_SYSTEM,
        ])?;
    Ok(())
}

fn insert_app(connection: &Connection, app: &AppRecord, now: Timestamp) -> Result<(), StoreError> {
    // The text that an AppSet would store, so that it changes nothing when it finds the app.
    let spec = serde_json::to_string(&app.spec).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let new = NewObject {
        kind: Kind::App,
        uid: &app.uid,
        name: &app.name,
        spec,
        labels: &app.labels,
        annotations: &app.annotations,
        created_at: app.created_at,
        removed_at: None,
    };
    insert_object(connection, &new, now)?;
    connection
        .prepare_cached("INSERT INTO app (uid, app_set, missing_since) VALUES (?1, ?2, ?3)")?
        .execute(params![app.uid.0, FROM_THE_OLD_SYSTEM, app.missing_since.map(|at| at.0)])?;
    Ok(())
}

fn insert_task(connection: &Connection, task: &TaskRecord, name: &str, now: Timestamp) -> Result<(), StoreError> {
    let spec = Spec::Task(Box::new(task.spec.clone())).to_value().to_string();
    let new = NewObject {
        kind: Kind::Task,
        uid: &task.uid,
        name,
        spec,
        labels: &task.labels,
        annotations: &task.annotations,
        created_at: task.created_at,
        removed_at: None,
    };
    insert_object(connection, &new, now)?;
    let found = task.findings;
    connection
        .prepare_cached(
            "INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation, phase, reason, message, observed_generation, attempt,
                 started_at, finished_at, since, high, medium, low, unrated, owner, kept_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, 1, ?10, ?11, ?12, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            task.uid.0,
            name,
            task.spec.app,
            task.spec.analyzer,
            task.spec.priority,
            task.created_at.0,
            task.phase.as_str(),
            Reason::Imported.as_str(),
            task.message,
            i64::from(task.attempt.is_some()),
            task.started_at.map(|at| at.0),
            task.finished_at.0,
            found.high,
            found.medium,
            found.low,
            found.unrated,
            FROM_THE_OLD_SYSTEM,
            // Whoever takes old history over wants it; maintenance would put all of it aside.
            now.0,
        ])?;
    let Some(attempt) = &task.attempt else { return Ok(()) };
    let json = |value: Result<String, serde_json::Error>| value.map_err(|error| StoreError::Corrupt(error.to_string()));
    connection
        .prepare_cached(
            "INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, ended_at, outcome, reason,
                 message, tools, high, medium, low, unrated, asked)
             VALUES (?1, 1, 1, 1, ?2, '', ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            task.uid.0,
            task.spec.analyzer,
            attempt.opened_at.0,
            task.finished_at.0,
            attempt.outcome.as_str(),
            Reason::Imported.as_str(),
            task.message,
            json(serde_json::to_string(&attempt.tools))?,
            found.high,
            found.medium,
            found.low,
            found.unrated,
            json(serde_json::to_string(&task.spec.tools))?,
        ])?;
    Ok(())
}

fn insert_run(connection: &Connection, run: &RunRecord, name: &str, now: Timestamp) -> Result<(), StoreError> {
    let (pipeline, pipeline_uid) = pipeline(connection, now)?;
    let digest = sha256(&run.spec);
    connection
        .prepare_cached("INSERT INTO pinned (digest, spec) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![digest, run.spec])?;
    connection
        .prepare_cached(
            "INSERT INTO run (uid, name, pipeline, pipeline_uid, generation, revision, manifest_digest, digest, params, cause, created_at, phase,
                 reason, message, started_at, round_at, finished_at, kept_at)
             VALUES (?1, ?2, ?3, ?4, 1, 1, '', ?5, ?6, 'Manual', ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?13)",
        )?
        .execute(params![
            run.uid.0,
            name,
            pipeline,
            pipeline_uid.0,
            digest,
            Value::Object(run.params.clone()).to_string(),
            run.created_at.0,
            run.phase.as_str(),
            Reason::Imported.as_str(),
            run.message,
            run.started_at.map(|at| at.0),
            run.finished_at.0,
            now.0,
        ])?;
    for task in &run.tasks {
        write(connection, &Record::Task(Box::new(task.clone())), now)?;
    }
    run.children.iter().try_for_each(|child| insert_child(connection, run, child))
}

fn insert_child(connection: &Connection, run: &RunRecord, child: &ChildRecord) -> Result<(), StoreError> {
    // A task that several pipelines name is the child of the first.
    connection
        .prepare_cached(
            "INSERT INTO child (run, step, item, uid, kind, label, app, round, conclusion, ended_at)
             VALUES (?1, ?2, ?3, ?4, 'Task', ?5, ?6, 1, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            run.uid.0,
            child.step,
            child.item as u64,
            child.uid.0,
            child.label,
            child.app,
            child.conclusion.as_str(),
            child.ended_at.0,
        ])?;
    Ok(())
}

/// The pipeline that imported runs are of: made with the first of them, and declared nowhere.
fn pipeline(connection: &Connection, now: Timestamp) -> Result<(String, Uid), StoreError> {
    let uid = identity::uid("pipeline", PIPELINE);
    let mut find = connection.prepare_cached("SELECT name FROM object WHERE uid = ?1")?;
    if let Some(name) = find.query_row([&uid.0], |row| row.get(0)).optional()? {
        return Ok((name, uid));
    }
    let mut taken = connection.prepare_cached("SELECT 1 FROM object WHERE kind = 'Pipeline' AND name = ?1")?;
    let name = if taken.exists([PIPELINE])? { identity::other_name(PIPELINE, &uid) } else { PIPELINE.to_owned() };
    let spec = serde_json::json!({
        "steps": [{"name": "analyse", "analyzer": crate::import::task::ALL_SERVICES}], "runPolicy": "Manual", "suspend": true
    });
    let nothing = BTreeMap::new();
    let new = NewObject {
        kind: Kind::Pipeline,
        uid: &uid,
        name: &name,
        spec: spec.to_string(),
        labels: &nothing,
        annotations: &nothing,
        created_at: now,
        removed_at: Some(now),
    };
    insert_object(connection, &new, now)?;
    Ok((name, uid))
}
