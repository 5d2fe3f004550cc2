//! Runs and their children: what plans write of them, each guarded by what the plan saw.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use super::child::{again, broken, insert_child, insert_task, run_again};
use super::commit::{record, wake_waiting_for_app};
use super::new_run::{Definition, NewRun, insert_run};
use super::uid::new_uid;
use super::{StoreError, history, maintenance};
use crate::plan::Key;
use crate::plan::pipeline::expand::indexed_name;
use crate::plan::pipeline::write::{AskChild, CancelChild, ChildSpec, Conclude, CreateRun, ProducedApp, RunWrite};
use crate::plan::write::EventWrite;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::object::Spec;
use crate::resource::run::{ChildKind, Conclusion};
use crate::resource::task::TaskSpec;
use crate::resource::time::Timestamp;

/// Runs that are woken when one of their pipeline ends.
const NEXT_RUNS: i64 = 64;

pub(super) fn set_run(
    connection: &Connection,
    write: &RunWrite,
    _: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let status = &write.status;
    // A child may have started over since the plan looked; then the run has not ended.
    let found: Option<(Option<String>, String)> = connection
        .prepare_cached(
            "UPDATE run SET phase = ?3, reason = ?4, message = ?5, round = ?6, next_at = ?7, started_at = ?8, round_at = ?9,
                 finished_at = ?10, aside_at = iif(?10 IS NULL, NULL, aside_at), version = version + 1
             WHERE uid = ?1 AND version = ?2
                 AND (?10 IS NULL OR NOT EXISTS (SELECT 1 FROM child INDEXED BY child_open WHERE run = ?1 AND conclusion IS NULL))
             RETURNING parent, pipeline_uid",
        )?
        .query_row(
            params![
                write.uid.0,
                write.version,
                status.phase.as_str(),
                status.reason.as_str(),
                status.message,
                status.round,
                status.next_at.map(|at| at.0),
                status.started_at.map(|at| at.0),
                status.round_at.map(|at| at.0),
                status.finished_at.map(|at| at.0),
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((parent, pipeline)) = found else { return Err(StoreError::Conflict) };
    woken.extend(parent.map(|parent| Key::Run(Uid(parent))));
    if status.phase.is_terminal() {
        let query = "SELECT uid FROM run INDEXED BY run_active WHERE pipeline_uid = ?1 AND finished_at IS NULL AND phase = 'Pending'
             ORDER BY created_at, uid LIMIT ?2";
        let mut statement = connection.prepare_cached(query)?;
        for uid in statement.query_map(params![pipeline, NEXT_RUNS], |row| row.get(0))? {
            woken.push(Key::Run(Uid(uid?)));
        }
    }
    Ok(())
}

pub(super) fn create_run(
    connection: &Connection,
    create: &CreateRun,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let Some(definition) = Definition::of_uid(connection, &create.pipeline_uid)? else {
        return Err(StoreError::Conflict);
    };
    if definition.generation != create.generation {
        return Err(StoreError::Conflict);
    }
    let new = NewRun {
        name: &create.name,
        definition,
        params: create.params.clone(),
        cause: create.cause,
        scheduled_at: create.scheduled_at,
        parent: None,
        pins: None,
    };
    insert_run(connection, new, now, woken).map(|_| ())
}

pub(super) fn ask_child(
    connection: &Connection,
    ask: &AskChild,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let known: Option<(String, String, i64)> = connection
        .prepare_cached("SELECT uid, kind, round FROM child WHERE run = ?1 AND step = ?2 AND item = ?3")?
        .query_row(params![ask.run.0, ask.step, ask.item], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let spec = match &ask.what {
        ChildSpec::Task(spec) => Some(((**spec).clone(), None)),
        ChildSpec::Broken { analyzer, message } => Some((broken(analyzer), Some(message.clone()))),
        ChildSpec::Run { pipeline, params } => match Definition::pinned(connection, &ask.run, pipeline)? {
            Ok((definition, parent)) => {
                return ask_run(connection, ask, (definition, parent), params, known, now, woken);
            }
            Err(why) => Some((broken(pipeline), Some(why))),
        },
    };
    let Some((spec, failure)) = spec else { return Ok(()) };
    match known {
        Some((_, _, round)) if round >= ask.round => Ok(()),
        Some((uid, kind, _)) if kind == ChildKind::Task.as_str() => {
            again(connection, &uid, ask, &spec, failure.as_deref(), now)?;
            woken.push(wake_of(&spec, ask, failure.is_some()));
            Ok(())
        }
        Some((uid, ..)) => {
            // It was a run, and is a task now: the old one keeps its history, the row stands for the new one.
            connection.prepare_cached("DELETE FROM child WHERE uid = ?1")?.execute([&uid])?;
            insert_task(connection, ask, &spec, failure.as_deref(), now)?;
            woken.push(wake_of(&spec, ask, failure.is_some()));
            Ok(())
        }
        None => {
            insert_task(connection, ask, &spec, failure.as_deref(), now)?;
            woken.push(wake_of(&spec, ask, failure.is_some()));
            Ok(())
        }
    }
}

fn wake_of(spec: &TaskSpec, ask: &AskChild, failed: bool) -> Key {
    if failed { Key::Run(ask.run.clone()) } else { Key::Lane(spec.analyzer.clone()) }
}

/// Asks for a run of another pipeline as a child.
fn ask_run(
    connection: &Connection,
    ask: &AskChild,
    (definition, parent): (Definition, (Uid, u32, String)),
    given: &Map<String, Value>,
    known: Option<(String, String, i64)>,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    match known {
        Some((_, _, round)) if round >= ask.round => Ok(()),
        Some((uid, kind, _)) if kind == ChildKind::Run.as_str() => {
            run_again(connection, ask, &uid, &definition.graph(connection)?.spec, given, now)?;
            woken.extend([Key::Run(Uid(uid)), Key::Run(ask.run.clone())]);
            Ok(())
        }
        known => {
            if let Some((uid, ..)) = known {
                connection.prepare_cached("DELETE FROM child WHERE uid = ?1")?.execute([&uid])?;
            }
            let mut name = ask.name.clone();
            let taken = connection.prepare_cached("SELECT 1 FROM run WHERE name = ?1")?.exists([&name])?;
            if taken {
                name = indexed_name(&ask.run_name, &ask.step, ask.item);
            }
            let new = NewRun {
                name: &name,
                definition,
                params: given.clone(),
                cause: crate::resource::run::Cause::Step,
                scheduled_at: None,
                parent: Some(parent),
                pins: None,
            };
            let uid = insert_run(connection, new, now, woken)?;
            uid.map_or(Err(StoreError::Conflict), |uid| insert_child(connection, ask, &uid, ChildKind::Run))
        }
    }
}

pub(super) fn conclude(connection: &Connection, done: &Conclude) -> Result<(), StoreError> {
    let status = match done.kind {
        ChildKind::Task => "task",
        ChildKind::Run => "run",
    };
    let guard = match done.conclusion {
        // What is not wanted any more has been concluded before.
        Conclusion::Skipped => "AND round < ?7",
        _ => "AND conclusion IS NULL",
    };
    let changed = connection
        .prepare_cached(&format!(
            "UPDATE child SET conclusion = ?5, ended_at = ?6, round = max(round, ?7)
             WHERE run = ?1 AND step = ?2 AND item = ?3 AND uid = ?4 {guard}
                 AND EXISTS (SELECT 1 FROM {status} s WHERE s.uid = ?4 AND s.version = ?8 AND s.finished_at IS NOT NULL)"
        ))?
        .execute(params![
            done.run.0,
            done.step,
            done.item,
            done.child.0,
            done.conclusion.as_str(),
            done.at.0,
            done.round,
            done.version,
        ])?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

pub(super) fn cancel_child(
    connection: &Connection,
    cancel: &CancelChild,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let (update, key) = match cancel.kind {
        ChildKind::Task => (
            "UPDATE task SET cancel_round = round, cancel_generation = generation WHERE uid = ?1 AND finished_at IS NULL",
            Key::Task(cancel.uid.clone()),
        ),
        ChildKind::Run => (
            "UPDATE run SET cancel = max(cancel, 1), version = version + (cancel < 1) WHERE uid = ?1 AND finished_at IS NULL",
            Key::Run(cancel.uid.clone()),
        ),
    };
    if connection.prepare_cached(update)?.execute([&cancel.uid.0])? == 1 {
        woken.push(key);
    }
    Ok(())
}

pub(super) fn produced_app(
    connection: &Connection,
    made: &ProducedApp,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let spec = Spec::App(made.spec.clone()).to_value().to_string();
    let labels = serde_json::to_string(&made.labels).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let file = format!("run/{}", made.run);
    // Like what a scan found: only a removed App, or none, gives way.
    history::keep_removed(connection, Kind::App, &made.name)?;
    let uid: Option<String> = connection
        .prepare_cached(
            "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest, revised_at)
             VALUES (?1, 'App', ?2, ?3, '{}', ?4, 1, ?5, ?5, ?6, 0, '', ?5)
             ON CONFLICT (kind, name) DO UPDATE SET
                 generation = generation + (spec <> excluded.spec), spec = excluded.spec, labels = excluded.labels,
                 annotations = excluded.annotations, file = excluded.file, line = 0, digest = '', git_commit = NULL,
                 revision = revision + (manifest_digest <> ''), manifest = '', manifest_digest = '', revised_at = excluded.updated_at,
                 updated_at = excluded.updated_at, removed_at = NULL
             WHERE removed_at IS NOT NULL
             RETURNING uid",
        )?
        .query_row(params![new_uid(now).0, made.name, labels, spec, now.0, file], |row| row.get(0))
        .optional()?;
    let Some(uid) = uid else {
        // It may be marked as missing still.
        woken.push(Key::Apps);
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT INTO app (uid, app_set) VALUES (?1, NULL)
             ON CONFLICT (uid) DO UPDATE SET app_set = NULL, missing_since = NULL, deleted_at = NULL, tree_digest = NULL, tree_seen_at = NULL",
        )?
        .execute([&uid])?;
    maintenance::wake_cancelled_with(connection, &made.name, woken)?;
    let event = EventWrite {
        uid: Uid(uid),
        kind: Kind::App,
        name: made.name.clone(),
        event_type: EventType::Normal,
        reason: "Produced",
        message: format!("by run {}", made.run),
    };
    record(connection, &event, now)?;
    wake_waiting_for_app(connection, &made.name, woken)
}

pub(super) fn expand(connection: &Connection, run: &Uid, step: &str, apps: &[String]) -> Result<(), StoreError> {
    let apps = serde_json::to_string(apps).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    connection
        .prepare_cached("INSERT INTO expansion (run, step, apps) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![run.0, step, apps])?;
    Ok(())
}

pub(super) fn schedule_seen(
    connection: &Connection,
    pipeline: &Uid,
    expression: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO schedule (pipeline_uid, expression, seen_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (pipeline_uid) DO UPDATE SET expression = excluded.expression, seen_at = excluded.seen_at",
        )?
        .execute(params![pipeline.0, expression, at.0])?;
    Ok(())
}

pub(super) fn unsuspend(connection: &Connection, uid: &Uid, now: Timestamp) -> Result<(), StoreError> {
    // A person may have suspended it anew since the plan looked; that one stands.
    connection
        .prepare_cached("DELETE FROM suspension WHERE uid = ?1 AND until <= ?2")?
        .execute(params![uid.0, now.0])?;
    Ok(())
}
