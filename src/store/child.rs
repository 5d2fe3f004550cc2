//! Children of runs: tasks that are made, and what a later round starts over.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use super::StoreError;
use super::rows::json;
use super::turn::first_turn;
use super::uid::new_uid;
use crate::plan::pipeline::expand::indexed_name;
use crate::plan::pipeline::render::resolve_params;
use crate::plan::pipeline::write::AskChild;
use crate::resource::name::Uid;
use crate::resource::object::Spec;
use crate::resource::outcome::one_line;
use crate::resource::pipeline::PipelineSpec;
use crate::resource::run::{ChildKind, RetryMode};
use crate::resource::task::{RunPolicy, TaskSpec};
use crate::resource::time::Timestamp;

/// A task that can only fail, so that what is wrong has a place where it is told.
pub(super) fn broken(analyzer: &str) -> TaskSpec {
    TaskSpec {
        app: String::new(),
        analyzer: analyzer.to_owned(),
        tools: Vec::new(),
        config: Map::new(),
        pool: None,
        priority: 100,
        run_policy: RunPolicy::Once,
        cache: crate::resource::task::Cache::None,
        active_deadline_seconds: None,
        backoff_limit: 0,
        ttl_seconds_after_finished: None,
        suspend: false,
        retry: crate::resource::task::Retry::default(),
    }
}

pub(super) fn insert_task(
    connection: &Connection,
    ask: &AskChild,
    spec: &TaskSpec,
    failure: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let uid = new_uid(now);
    let text = Spec::Task(Box::new(spec.clone())).to_value().to_string();
    let file = format!("run/{}", ask.run_name);
    let mut insert = connection.prepare_cached(
        "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest, revised_at)
         VALUES (?1, 'Task', ?2, '{}', '{}', ?3, 1, ?4, ?4, ?5, 0, '', ?4)
         ON CONFLICT (kind, name) DO NOTHING",
    )?;
    let mut name = ask.name.clone();
    if insert.execute(params![uid.0, name, text, now.0, file])? == 0 {
        // Another item of the step is called the same.
        name = indexed_name(&ask.run_name, &ask.step, ask.item);
        if insert.execute(params![uid.0, name, text, now.0, file])? == 0 {
            return Err(StoreError::Corrupt(format!("the name {name} is taken by another task")));
        }
    }
    connection
        .prepare_cached(concat!(
            "INSERT INTO task (uid, name, app, analyzer, priority, created_at, since, generation, owner, pool, run, phase, reason, message,
                 finished_at, observed_generation, turn)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1, ?7,
                 coalesce(?8, (SELECT spec ->> 'pool' FROM object WHERE kind = 'Analyzer' AND name = ?4)), ?9,
                 iif(?10 IS NULL, 'Pending', 'Failed'), iif(?10 IS NULL, 'Queued', 'InvalidConfiguration'), coalesce(?10, ''),
                 iif(?10 IS NULL, NULL, ?6), iif(?10 IS NULL, 0, 1), iif(?10 IS NULL, ",
            first_turn!("?4", "?5", "?7"),
            ", 0))",
        ))?
        .execute(params![
            uid.0,
            name,
            spec.app,
            spec.analyzer,
            spec.priority,
            now.0,
            file,
            spec.pool,
            ask.run.0,
            failure.map(one_line),
        ])?;
    insert_child(connection, ask, &uid, ChildKind::Task)
}

pub(super) fn insert_child(
    connection: &Connection,
    ask: &AskChild,
    uid: &Uid,
    kind: ChildKind,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO child (run, step, item, uid, kind, label, app, round, makes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![ask.run.0, ask.step, ask.item, uid.0, kind.as_str(), ask.label, ask.app, ask.round, makes(ask)?])?;
    Ok(())
}

/// The app that a child makes, for its row.
fn makes(ask: &AskChild) -> Result<Option<String>, StoreError> {
    let text = ask.makes.as_ref().map(serde_json::to_string).transpose();
    text.map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Starts a run over that an earlier round of its run has asked for, with the parameters that it is asked for with now.
pub(super) fn run_again(
    connection: &Connection,
    ask: &AskChild,
    uid: &str,
    spec: &PipelineSpec,
    given: &Map<String, Value>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let was: String =
        connection.prepare_cached("SELECT params FROM run WHERE uid = ?1")?.query_row([uid], |row| row.get(0))?;
    let resolved = resolve_params(spec, given);
    let values = Value::Object(resolved.as_ref().unwrap_or(given).clone()).to_string();
    // What succeeded is kept where the round keeps it, unless it was done with other parameters.
    let mode = match asked_mode(connection, ask)? {
        Some(RetryMode::Bad) if values == was => RetryMode::Bad,
        Some(RetryMode::Bad | RetryMode::All) | None => RetryMode::All,
    };
    let modes: Map<String, Value> = spec.steps.iter().map(|step| (step.name.clone(), mode.as_str().into())).collect();
    connection
        .prepare_cached(
            "UPDATE run SET params = ?2, retry_round = round, retry_modes = ?3, cancel = 0, cancel_message = '' WHERE uid = ?1",
        )?
        .execute(params![uid, values, Value::Object(modes).to_string()])?;
    if let Err(why) = resolved {
        connection
            .prepare_cached(
                "UPDATE run SET phase = 'Failed', reason = 'InvalidConfiguration', message = ?2, round = round + 1, version = version + 1,
                     next_at = NULL, round_at = ?3, finished_at = ?3 WHERE uid = ?1 AND finished_at IS NOT NULL",
            )?
            .execute(params![uid, one_line(&why), now.0])?;
    }
    connection
        .prepare_cached("UPDATE child SET round = ?2, label = ?3, conclusion = NULL, ended_at = NULL WHERE uid = ?1")?
        .execute(params![uid, ask.round, ask.label])?;
    Ok(())
}

/// What the round in which a child is asked for does to the children of its step, when a person asked for that round.
fn asked_mode(connection: &Connection, ask: &AskChild) -> Result<Option<RetryMode>, StoreError> {
    let query = "SELECT retry_modes FROM run WHERE uid = ?1 AND round = retry_round + 1 AND retry_round > 0";
    let text: Option<String> =
        connection.prepare_cached(query)?.query_row([&ask.run.0], |row| row.get(0)).optional()?;
    let modes: BTreeMap<String, RetryMode> = text.map_or_else(|| Ok(BTreeMap::new()), |text| json(&text))?;
    Ok(modes.get(&ask.step).copied())
}

/// Starts a task over that an earlier round of its run has asked for.
pub(super) fn again(
    connection: &Connection,
    uid: &str,
    ask: &AskChild,
    spec: &TaskSpec,
    failure: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let text = Spec::Task(Box::new(spec.clone())).to_value().to_string();
    connection
        .prepare_cached(
            "UPDATE object SET generation = generation + (spec <> ?2), spec = ?2, updated_at = ?3 WHERE uid = ?1",
        )?
        .execute(params![uid, text, now.0])?;
    connection
        .prepare_cached(
            "UPDATE task SET app = ?2, analyzer = ?3, priority = ?4,
                 pool = coalesce(?5, (SELECT spec ->> 'pool' FROM object WHERE kind = 'Analyzer' AND name = ?3)),
                 generation = (SELECT generation FROM object WHERE uid = ?1),
                 phase = iif(?6 IS NULL, 'Pending', 'Failed'), reason = iif(?6 IS NULL, 'Queued', 'InvalidConfiguration'),
                 message = coalesce(?6, ''), round = round + 1, version = version + 1, next_at = NULL, started_at = NULL,
                 finished_at = iif(?6 IS NULL, NULL, ?7), since = ?7, aside_at = NULL, purged_at = NULL, high = 0, medium = 0, low = 0, unrated = 0, waits = 0,
                 recoveries = 0
             WHERE uid = ?1 AND finished_at IS NOT NULL",
        )?
        .execute(params![uid, spec.app, spec.analyzer, spec.priority, spec.pool, failure.map(one_line), now.0])?;
    connection
        .prepare_cached(
            "UPDATE child SET round = ?2, label = ?3, app = ?4, makes = ?5, conclusion = NULL, ended_at = NULL WHERE uid = ?1",
        )?
        .execute(params![uid, ask.round, ask.label, ask.app, makes(ask)?])?;
    Ok(())
}
