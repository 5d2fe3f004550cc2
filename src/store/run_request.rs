//! What people ask of runs and pipelines. Each request is one transaction: it is desired state, and the loops act on it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use super::new_run::{Definition, NewRun, declared, insert_run};
use super::retry_preview::preview;
use super::rows::{json, word};
use super::{Store, StoreError};
use crate::plan::Key;
use crate::plan::pipeline::render::resolve_params;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::pipeline::PipelineSpec;
use crate::resource::run::{Cause, RetryMode, Suspension};
use crate::resource::time::Timestamp;

/// What a request came to for one run, step or slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The run, step or pipeline.
    pub name: String,
    /// What happened to it, or would, for a person.
    pub message: String,
    /// Whether anything happens.
    pub effective: bool,
    /// What is to be looked at now; `None` when nothing was written.
    pub key: Option<Key>,
}

/// One line for each run or step; or why the request was refused as a whole, in which case nothing was written.
pub type Verdict = Result<Vec<Told>, String>;

/// What is needed of a run to answer for it.
struct Found {
    uid: Uid,
    phase: Phase,
    round: i64,
    params: String,
    pins: String,
    /// Whether it was imported: its steps cannot be run.
    imported: bool,
    aside: bool,
    purged: bool,
}

fn find(connection: &Connection, name: &str) -> Result<Option<Found>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT uid, phase, round, params, pins, reason = 'Imported' AS imported, aside_at IS NOT NULL AS aside,
             purged_at IS NOT NULL AS purged FROM run WHERE name = ?1",
    )?;
    let mut rows = statement.query([name])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Found {
        uid: Uid(row.get("uid")?),
        phase: word(row, "phase")?,
        round: row.get("round")?,
        params: row.get("params")?,
        pins: row.get("pins")?,
        imported: row.get("imported")?,
        aside: row.get("aside")?,
        purged: row.get("purged")?,
    }))
}

fn only_history<T>(name: &str) -> Result<T, String> {
    Err(format!("run {name} was imported from another system and cannot run here; `manifestd retry` takes its tasks"))
}

fn no_run<T>(name: &str) -> Result<T, String> {
    Err(format!("there is no run {name:?}; `manifestd get runs` lists them"))
}

pub(super) fn told(name: &str, message: impl Into<String>, effective: bool, key: Option<Key>) -> Told {
    Told { name: name.to_owned(), message: message.into(), effective, key }
}

/// The next name of a run that a person asks for. Counting alone could give one that is taken, when older runs have been forgotten.
fn next_name(connection: &Connection, definition: &Definition) -> Result<String, StoreError> {
    let query = "SELECT count(*) FROM run WHERE pipeline_uid = ?1 AND cause IN ('Manual', 'Rerun')";
    let made: i64 = connection.prepare_cached(query)?.query_row([&definition.uid.0], |row| row.get(0))?;
    let mut number = made + 1;
    loop {
        let name = format!("{}-{number}", definition.name);
        if !connection.prepare_cached("SELECT 1 FROM run WHERE name = ?1")?.exists([&name])? {
            return Ok(name);
        }
        number += 1;
    }
}

/// Makes a run that a person asks for; with the pins of an older one, if it is to be like that.
fn make(
    connection: &Connection,
    definition: Definition,
    params: Map<String, Value>,
    (cause, pins): (Cause, Option<String>),
    dry_run: bool,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    let (name, pipeline, generation) =
        (next_name(connection, &definition)?, definition.name.clone(), definition.generation);
    let message = |word: &str| format!("{word} of pipeline {pipeline}, generation {generation}");
    if dry_run {
        return Ok(Ok(vec![told(&name, message("would be made"), true, None)]));
    }
    let mut woken = Vec::new();
    let new = NewRun { name: &name, definition, params, cause, scheduled_at: None, parent: None, pins };
    let uid = insert_run(connection, new, now, &mut woken)?.ok_or(StoreError::Conflict)?;
    Ok(Ok(vec![told(&name, message("made"), true, Some(Key::Run(uid)))]))
}

impl Store {
    /// The spec of a pipeline as it is now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn pipeline_spec(&self, name: String) -> Result<Option<PipelineSpec>, StoreError> {
        self.read(move |connection| declared(connection, &name)?.map(|found| found.spec(connection)).transpose()).await
    }

    /// The spec that a run is pinned to; with `latest` that of its pipeline as it is now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn run_spec(&self, name: String, latest: bool) -> Result<Option<PipelineSpec>, StoreError> {
        self.read(move |connection| {
            definition(connection, &name, latest)?.map(|found| found.spec(connection)).transpose()
        })
        .await
    }

    /// Makes a run of a pipeline, with these parameters beside the defaults.
    ///
    /// # Errors
    /// What the database says.
    pub async fn make_run(
        &self,
        pipeline: String,
        params: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        self.write(move |connection| match declared(connection, &pipeline)? {
            Some(found) => make(connection, found, params.clone(), (Cause::Manual, None), false, now),
            None => Ok(Err(format!("there is no pipeline {pipeline:?}"))),
        })
        .await
    }

    /// Makes a run like an older one: its spec, or with `latest` that of the pipeline now; its parameters, but for those given.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rerun(
        &self,
        run: String,
        params: Map<String, Value>,
        latest: bool,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        self.write(move |connection| {
            let Some(older) = find(connection, &run)? else { return Ok(no_run(&run)) };
            if older.imported {
                return Ok(only_history(&run));
            }
            let Some(found) = definition(connection, &run, latest)? else {
                return Ok(Err(format!("the pipeline of run {run} is not declared any more")));
            };
            let mut values: Map<String, Value> = json(&older.params)?;
            if latest {
                let known = found.spec(connection)?.params;
                values.retain(|key, _| known.contains_key(key));
            }
            values.extend(params.clone());
            if let Err(message) = resolve_params(&found.spec(connection)?, &values) {
                return Ok(Err(message));
            }
            make(connection, found, values, (Cause::Rerun, (!latest).then_some(older.pins)), dry_run, now)
        })
        .await
    }

    /// Asks runs to end; with `finally` also what they run finally.
    ///
    /// # Errors
    /// What the database says.
    pub async fn cancel_runs(
        &self,
        runs: Vec<String>,
        message: String,
        finally: bool,
        dry_run: bool,
    ) -> Result<Verdict, StoreError> {
        self.write(move |connection| {
            let mut lines = Vec::new();
            for name in &runs {
                let Some(found) = find(connection, name)? else { return Ok(no_run(name)) };
                if found.phase.is_terminal() {
                    lines.push(told(name, format!("has ended as {} already", found.phase), false, None));
                } else if dry_run {
                    lines.push(told(name, "would be cancelled", true, None));
                } else {
                    connection
                        .prepare_cached("UPDATE run SET cancel = max(cancel, ?2), cancel_message = ?3, version = version + (cancel < ?2) WHERE uid = ?1")?
                        .execute(params![found.uid.0, if finally { 2 } else { 1 }, message])?;
                    lines.push(told(name, "is being cancelled", true, Some(Key::Run(found.uid))));
                }
            }
            Ok(Ok(lines))
        })
        .await
    }

    /// Asks for another round of a run that has ended, which runs these steps again.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retry_run(
        &self,
        run: String,
        modes: BTreeMap<String, RetryMode>,
        dry_run: bool,
    ) -> Result<Verdict, StoreError> {
        self.write(move |connection| {
            let Some(found) = find(connection, &run)? else { return Ok(no_run(&run)) };
            if found.imported {
                return Ok(only_history(&run));
            }
            if found.purged {
                return Ok(Err(format!("run {run} ended long ago and was purged; run its pipeline anew")));
            }
            if found.aside {
                return Ok(Err(format!("run {run} was set aside; bring it back first: manifestd orphans restore run/{run}")));
            }
            if !found.phase.is_terminal() {
                return Ok(Ok(vec![told(&run, format!("is {}; only a run that has ended is retried", found.phase), false, None)]));
            }
            let mut lines = Vec::new();
            for step in preview(connection, &found.uid, &modes, dry_run)? {
                lines.push(told(&step.name, step.message, step.moves, None));
            }
            if !dry_run {
                let text = serde_json::to_string(&modes).map_err(|error| StoreError::Corrupt(error.to_string()))?;
                connection
                    .prepare_cached("UPDATE run SET retry_round = round, retry_modes = ?2, cancel = 0, cancel_message = '' WHERE uid = ?1")?
                    .execute(params![found.uid.0, text])?;
            }
            let message = format!("round {} {}", found.round + 1, if dry_run { "would begin" } else { "begins" });
            lines.insert(0, told(&run, message, true, (!dry_run).then_some(Key::Run(found.uid))));
            Ok(Ok(lines))
        })
        .await
    }

    /// Suspends a run or a pipeline; one that is suspended already is from now on as asked for last.
    ///
    /// # Errors
    /// What the database says.
    pub async fn suspend(&self, target: String, suspension: Suspension, dry_run: bool) -> Result<Verdict, StoreError> {
        self.write(move |connection| {
            let (name, uid, key, ended) = match aim(connection, &target)? {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            };
            if ended {
                return Ok(Ok(vec![told(&name, "has ended already", false, None)]));
            }
            if dry_run {
                return Ok(Ok(vec![told(&name, "would be suspended", true, None)]));
            }
            let Suspension { reason, by, at, until } = &suspension;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO suspension (uid, reason, by, at, until) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![uid.0, reason, by, at.0, until.map(|at| at.0)])?;
            Ok(Ok(vec![told(&name, "is suspended", true, Some(key))]))
        })
        .await
    }

    /// Ends a suspension.
    ///
    /// # Errors
    /// What the database says.
    pub async fn resume(&self, target: String, dry_run: bool) -> Result<Verdict, StoreError> {
        self.write(move |connection| {
            let (name, uid, key, _) = match aim(connection, &target)? {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            };
            let query = "SELECT 1 FROM suspension WHERE uid = ?1";
            if !connection.prepare_cached(query)?.exists([&uid.0])? {
                return Ok(Ok(vec![told(&name, "is not suspended", false, None)]));
            }
            if dry_run {
                return Ok(Ok(vec![told(&name, "would go on", true, None)]));
            }
            connection.prepare_cached("DELETE FROM suspension WHERE uid = ?1")?.execute([&uid.0])?;
            Ok(Ok(vec![told(&name, "goes on", true, Some(key))]))
        })
        .await
    }

    /// Records a decision for the current round of a run; the first one counts. `said` is who decided, and what they say.
    ///
    /// # Errors
    /// What the database says.
    pub async fn decide(
        &self,
        run: String,
        step: String,
        approved: bool,
        said: (String, String),
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        self.write(move |connection| {
            let Some(found) = find(connection, &run)? else { return Ok(no_run(&run)) };
            if found.phase.is_terminal() {
                return Ok(Ok(vec![told(&step, format!("the run has ended as {} already", found.phase), false, None)]));
            }
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO approval (run, step, round, approved, by, comment, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![found.uid.0, step, found.round, approved, said.0, said.1, now.0])?;
            if inserted == 0 {
                return Ok(Ok(vec![told(&step, "is decided already", false, None)]));
            }
            let message = if approved { "is approved" } else { "is rejected" };
            Ok(Ok(vec![told(&step, message, true, Some(Key::Run(found.uid)))]))
        })
        .await
    }
}

fn definition(connection: &Connection, run: &str, latest: bool) -> Result<Option<Definition>, StoreError> {
    match Definition::of_run(connection, run)? {
        Some(pinned) if latest => Definition::of_uid(connection, &pinned.uid),
        pinned => Ok(pinned),
    }
}

/// What a suspension is for: its name, with its kind; its uid, its key, and whether it has ended.
type Aim = (String, Uid, Key, bool);

fn aim(connection: &Connection, target: &str) -> Result<Result<Aim, String>, StoreError> {
    let (kind, name) = target.split_once('/').map_or((None, target), |(kind, name)| (Some(kind), name));
    let run = if kind == Some("pipeline") { None } else { find(connection, name)? };
    let pipeline = if kind == Some("run") {
        None
    } else {
        connection
            .prepare_cached("SELECT uid FROM object WHERE kind = 'Pipeline' AND name = ?1 AND removed_at IS NULL")?
            .query_row([name], |row| row.get(0))
            .optional()?
            .map(Uid)
    };
    Ok(match (run, pipeline) {
        (Some(_), Some(_)) => Err(format!("{name:?} is a run and a pipeline; say run/{name} or pipeline/{name}")),
        (Some(run), None) => Ok((format!("run/{name}"), run.uid.clone(), Key::Run(run.uid), run.phase.is_terminal())),
        (None, Some(uid)) => Ok((format!("pipeline/{name}"), uid.clone(), Key::Pipeline(uid), false)),
        (None, None) => Err(format!("there is no run or pipeline {target:?}")),
    })
}
