//! Making a run: the definition it is pinned to, with those of the pipelines that its steps run, and its row.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::commit::record;
use super::pins;
use super::rows::json;
use super::uid::new_uid;
use super::{StoreError, graphs};
use crate::plan::Key;
use crate::plan::pipeline::DEPTH_MAX;
use crate::plan::pipeline::graph::Graph;
use crate::plan::pipeline::render::resolve_params;
use crate::plan::write::EventWrite;
use crate::resource::digest::sha256;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::outcome::one_line;
use crate::resource::pipeline::PipelineSpec;
use crate::resource::run::Cause;
use crate::resource::time::Timestamp;

/// A pipeline as a run is pinned to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) uid: Uid,
    pub(super) name: String,
    pub(super) generation: i64,
    pub(super) revision: i64,
    pub(super) manifest_digest: String,
    pub(super) git_commit: Option<String>,
    /// Digest of the spec.
    pub(super) digest: String,
    /// The spec as text; `None` when it is pinned already.
    #[serde(skip)]
    text: Option<String>,
}

/// A definition with the run whose step asks for it, how deep that lies, and the pins of both.
pub(super) type Pinned = (Definition, (Uid, u32, String));

/// A run to be made.
pub(super) struct NewRun<'a> {
    pub(super) name: &'a str,
    pub(super) definition: Definition,
    pub(super) params: Map<String, Value>,
    pub(super) cause: Cause,
    pub(super) scheduled_at: Option<Timestamp>,
    /// The run that has it as a child, how deep that lies, and the pins of both.
    pub(super) parent: Option<(Uid, u32, String)>,
    /// The pins of the older run that this one is to be like; else the pipelines that its steps run are pinned as they are now.
    pub(super) pins: Option<String>,
}

const COLUMNS: &str = "uid, name, generation, revision, manifest_digest, git_commit, spec";

fn definition(row: &Row<'_>) -> rusqlite::Result<Definition> {
    let text: String = row.get("spec")?;
    Ok(Definition {
        uid: Uid(row.get("uid")?),
        name: row.get("name")?,
        generation: row.get("generation")?,
        revision: row.get("revision")?,
        manifest_digest: row.get("manifest_digest")?,
        git_commit: row.get("git_commit")?,
        digest: sha256(&text),
        text: Some(text),
    })
}

fn pinned_text(connection: &Connection, digest: &str) -> Result<String, StoreError> {
    let query = "SELECT spec FROM pinned WHERE digest = ?1";
    Ok(connection.prepare_cached(query)?.query_row([digest], |row| row.get(0))?)
}

/// The pipeline that is declared under a name.
pub(super) fn declared(connection: &Connection, name: &str) -> Result<Option<Definition>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM object WHERE kind = 'Pipeline' AND name = ?1 AND removed_at IS NULL");
    Ok(connection.prepare_cached(&query)?.query_row([name], definition).optional()?)
}

impl Definition {
    /// The pipeline of a uid, if it is still declared.
    pub(super) fn of_uid(connection: &Connection, uid: &Uid) -> Result<Option<Self>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM object WHERE uid = ?1 AND kind = 'Pipeline' AND removed_at IS NULL");
        Ok(connection.prepare_cached(&query)?.query_row([&uid.0], definition).optional()?)
    }

    /// The definition that an existing run is pinned to.
    pub(super) fn of_run(connection: &Connection, run: &str) -> Result<Option<Self>, StoreError> {
        let query = "SELECT r.pipeline_uid AS uid, r.pipeline AS name, r.generation, r.revision, r.manifest_digest, r.git_commit, p.spec
             FROM run r JOIN pinned p ON p.digest = r.digest WHERE r.name = ?1";
        Ok(connection.prepare_cached(query)?.query_row([run], definition).optional()?)
    }

    /// A pipeline that a step of a run runs, as it was when the root was made; or why there is none. With the run, its depth and its pins.
    pub(super) fn pinned(connection: &Connection, run: &Uid, name: &str) -> Result<Result<Pinned, String>, StoreError> {
        let (pins, depth): (String, u32) = connection
            .prepare_cached("SELECT pins, depth FROM run WHERE uid = ?1")?
            .query_row([&run.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if depth + 1 >= DEPTH_MAX {
            return Ok(Err(format!("pipelines run each other {DEPTH_MAX} deep, which is surely a circle")));
        }
        let mut all: BTreeMap<String, Self> = json(&pins)?;
        let Some(found) = all.remove(name) else {
            return Ok(Err(format!("no Pipeline was called {name:?} when the run was made")));
        };
        Ok(Ok((found, (run.clone(), depth + 1, pins))))
    }

    /// The spec, in its graph, which is made once for each digest.
    pub(super) fn graph(&self, connection: &Connection) -> Result<Arc<Graph>, StoreError> {
        graphs::graph(&self.digest, || match &self.text {
            Some(text) => Ok(text.clone()),
            None => pinned_text(connection, &self.digest),
        })
    }

    /// The spec.
    pub(super) fn spec(&self, connection: &Connection) -> Result<PipelineSpec, StoreError> {
        Ok(self.graph(connection)?.spec.clone())
    }

    /// Keeps its spec under its digest.
    pub(super) fn pin(&self, connection: &Connection) -> Result<(), StoreError> {
        if self.text.is_none() {
            return Ok(());
        }
        connection
            .prepare_cached("INSERT INTO pinned (digest, spec) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![self.digest, self.text])?;
        Ok(())
    }
}

/// Makes a run, unless one of that name is there: then `None`. One whose parameters cannot be resolved is made as one that has failed.
pub(super) fn insert_run(
    connection: &Connection,
    new: NewRun<'_>,
    now: Timestamp,
    woken: &mut Vec<Key>,
) -> Result<Option<Uid>, StoreError> {
    let NewRun { name, definition, params, cause, scheduled_at, parent, pins: older } = new;
    definition.pin(connection)?;
    let resolved = resolve_params(&definition.graph(connection)?.spec, &params);
    let failure = resolved.as_ref().err().map(|why| one_line(why));
    let values = Value::Object(resolved.unwrap_or(params)).to_string();
    let uid = new_uid(now);
    let (parent, depth, pins) = match (parent, older) {
        (Some((parent, depth, pins)), _) => (Some(parent.0), depth, pins),
        (None, Some(pins)) => (None, 0, pins),
        (None, None) => (None, 0, pins::fresh(connection, &definition)?),
    };
    let inserted = connection
        .prepare_cached(
            "INSERT INTO run (uid, name, pipeline, pipeline_uid, generation, revision, manifest_digest, digest, pins, params, git_commit, cause,
                 scheduled_at, created_at, parent, depth, phase, reason, message, finished_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                 iif(?17 IS NULL, 'Pending', 'Failed'), iif(?17 IS NULL, 'Queued', 'InvalidConfiguration'), coalesce(?17, ''),
                 iif(?17 IS NULL, NULL, ?14))
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![
            uid.0,
            name,
            definition.name,
            definition.uid.0,
            definition.generation,
            definition.revision,
            definition.manifest_digest,
            definition.digest,
            pins,
            values,
            definition.git_commit,
            cause.as_str(),
            scheduled_at.map(|at| at.0),
            now.0,
            parent,
            depth,
            failure,
        ])?;
    if inserted == 0 {
        return Ok(None);
    }
    let event = EventWrite {
        uid: uid.clone(),
        kind: Kind::Run,
        name: name.to_owned(),
        event_type: if failure.is_some() { EventType::Warning } else { EventType::Normal },
        reason: if failure.is_some() { "Failed" } else { "Created" },
        message: failure
            .unwrap_or_else(|| format!("{cause}, generation {} of {}", definition.generation, definition.name)),
    };
    record(connection, &event, now)?;
    woken.push(Key::Run(uid.clone()));
    woken.extend(parent.map(|parent| Key::Run(Uid(parent))));
    Ok(Some(uid))
}
