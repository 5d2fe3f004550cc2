//! Observing runs and pipelines. What one pass reads grows with the steps and with what is under way, not with what has ended.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::rows::{json, json_column, time, time_or_none, word};
use super::run_follow::{followers, given, matching, missing};
use super::{Store, StoreError, graphs, pins};
use crate::plan::pipeline::WINDOW;
use crate::plan::pipeline::graph::{Graph, Node};
use crate::plan::pipeline::observed::{Decision, ObservedRun, ObservedStep, OpenChild, StaleChild, Within};
use crate::plan::pipeline::render::Values;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::pipeline::DeletionPolicy;
use crate::resource::run::{CancelWish, Cause, ChildKind, Conclusion, RetryMode, RunStatus, Suspension};
use crate::resource::time::Timestamp;

/// One run with its pinned spec.
pub(super) const RUN: &str =
    "SELECT r.*, s.reason AS suspend_reason, s.by AS suspend_by, s.at AS suspend_at, s.until AS suspend_until,
         o.removed_at AS pipeline_removed_at, o.spec -> 'deletionPolicy' AS deletion_policy
     FROM run r LEFT JOIN suspension s ON s.uid = r.uid LEFT JOIN object o ON o.uid = r.pipeline_uid
     WHERE r.uid = ?1";

/// Children of a step without a conclusion. A run that is to begin another round has not ended.
pub(super) const OPEN_CHILDREN: &str = "SELECT c.item, c.uid, c.kind, c.app, c.round, c.makes,
         coalesce(t.name, r.name, '') AS name, coalesce(t.version, r.version, 0) AS version,
         CASE WHEN t.uid IS NOT NULL THEN t.phase WHEN r.finished_at IS NOT NULL AND r.retry_round >= r.round THEN 'Pending'
              ELSE coalesce(r.phase, 'Cancelled') END AS phase,
         coalesce(t.reason, r.reason, 'ManifestRemoved') AS reason, coalesce(t.finished_at, r.finished_at) AS finished_at,
         coalesce(t.cancel_round >= t.round, r.cancel > 0, 0) AS cancelling, t.attempt AS attempt
     FROM child c INDEXED BY child_open LEFT JOIN task t ON t.uid = c.uid LEFT JOIN run r ON r.uid = c.uid
     WHERE c.run = ?1 AND c.step = ?2 AND c.conclusion IS NULL ORDER BY c.item";

/// Whether a child was concluded so.
pub(super) const HAS: &str =
    "SELECT 1 FROM child INDEXED BY child_concluded WHERE run = ?1 AND step = ?2 AND conclusion = ?3 LIMIT 1";

/// Children of earlier rounds that were concluded so.
pub(super) const STALE: &str = "SELECT c.item, c.uid, c.kind, c.app, coalesce(t.version, r.version, 0) AS version
     FROM child c INDEXED BY child_concluded LEFT JOIN task t ON t.uid = c.uid LEFT JOIN run r ON r.uid = c.uid
     WHERE c.run = ?1 AND c.step = ?2 AND c.conclusion = ?3 AND c.round < ?4 ORDER BY c.round, c.item LIMIT ?5";

/// A run's parts, in one word each for the queries on its children.
pub(super) struct Of<'c> {
    pub(super) connection: &'c Connection,
    pub(super) uid: &'c Uid,
    pub(super) round: i64,
    pub(super) modes: &'c BTreeMap<String, RetryMode>,
    /// Whether a person asked for this round.
    pub(super) asked: bool,
}

impl Store {
    /// What a run's plan looks at; `None` when there is no such run.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_run(&self, uid: Uid) -> Result<Option<ObservedRun>, StoreError> {
        self.read(move |connection| observe_run(connection, &uid)).await
    }
}

/// What a run's plan looks at; `None` when there is no such run.
///
/// # Errors
/// What the database says.
pub fn observe_run(connection: &Connection, uid: &Uid) -> Result<Option<ObservedRun>, StoreError> {
    let mut statement = connection.prepare_cached(RUN)?;
    let mut rows = statement.query([&uid.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let status = status(row)?;
    let digest: String = row.get("digest")?;
    let graph = graphs::graph(&digest, || {
        let query = "SELECT spec FROM pinned WHERE digest = ?1";
        Ok(connection.prepare_cached(query)?.query_row([&digest], |row| row.get(0))?)
    })?;
    let retry_round: i64 = row.get("retry_round")?;
    let asked = status.round == retry_round + 1 && retry_round > 0;
    let modes = if asked { json_column(row, "retry_modes")? } else { BTreeMap::new() };
    let of = Of { connection, uid, round: status.round, modes: &modes, asked };
    let params: Map<String, Value> = json_column(row, "params")?;
    let pipeline: String = row.get("pipeline")?;
    let name: String = row.get("name")?;
    let mut steps = Vec::with_capacity(graph.steps.len());
    for at in 0..graph.steps.len() {
        let mut step = observe_step(&of, &graph, at, &steps)?;
        if step.apps.is_none() && status.phase == Phase::Running {
            let values = Values { params: Some(&params), run: &name, pipeline: &pipeline, ..Values::default() };
            step.matching = matching(connection, &graph.steps[at], &values)?;
        }
        steps.push(step);
    }
    let parent: Option<String> = row.get("parent")?;
    let created_at = time(row, "created_at")?;
    let (pipeline_uid, cause) = (Uid(row.get("pipeline_uid")?), word::<Cause>(row, "cause")?);
    let pending = status.phase == Phase::Pending;
    let within = if pending && parent.is_none() {
        pins::within(connection, &pipeline, &graph, &row.get::<_, String>("pins")?)?
    } else {
        Within::default()
    };
    // What has ended is as it is, whatever became of its pipeline since.
    let over = status.phase.is_terminal() && retry_round < status.round;
    let gone = parent.is_none() && !over && time_or_none(row, "pipeline_removed_at")?.is_some();
    Ok(Some(ObservedRun {
        uid: uid.clone(),
        version: row.get("version")?,
        removed: if gone { Some(deletion_policy(row)?) } else { None },
        superseded: pending && cause == Cause::Apply && superseded(connection, uid)?,
        ahead: if pending { ahead(connection, &pipeline_uid, uid, created_at)? } else { 0 },
        decisions: decisions(&of)?,
        cancel: match row.get::<_, i64>("cancel")? {
            0 => CancelWish::None,
            1 => CancelWish::Steps,
            _ => CancelWish::All,
        },
        cancel_message: row.get("cancel_message")?,
        suspension: suspension(row)?,
        parent: parent.map(Uid),
        depth: row.get("depth")?,
        retry_modes: modes.clone(),
        name,
        pipeline,
        pipeline_uid,
        status,
        created_at,
        cause,
        roots: Vec::new(),
        within,
        graph,
        params,
        retry_round,
        steps,
    }))
}

/// What the definition said last was to happen when it is removed, whatever an older one said that the run is pinned to.
fn deletion_policy(row: &Row<'_>) -> Result<DeletionPolicy, StoreError> {
    let text: Option<String> = row.get("deletion_policy")?;
    text.map_or_else(|| Ok(DeletionPolicy::default()), |text| json(&text))
}

/// The status columns of a run.
pub(super) fn status(row: &Row<'_>) -> Result<RunStatus, StoreError> {
    Ok(RunStatus {
        phase: word(row, "phase")?,
        reason: word(row, "reason")?,
        message: row.get("message")?,
        round: row.get("round")?,
        next_at: time_or_none(row, "next_at")?,
        started_at: time_or_none(row, "started_at")?,
        round_at: time_or_none(row, "round_at")?,
        finished_at: time_or_none(row, "finished_at")?,
    })
}

pub(super) fn suspension(row: &Row<'_>) -> Result<Option<Suspension>, StoreError> {
    let Some(at) = time_or_none(row, "suspend_at")? else { return Ok(None) };
    let (reason, by) = (row.get("suspend_reason")?, row.get("suspend_by")?);
    Ok(Some(Suspension { reason, by, at, until: time_or_none(row, "suspend_until")? }))
}

fn superseded(connection: &Connection, uid: &Uid) -> Result<bool, StoreError> {
    let query = "SELECT 1 FROM run r JOIN run n ON n.pipeline_uid = r.pipeline_uid
         WHERE r.uid = ?1 AND n.cause = 'Apply' AND n.generation > r.generation LIMIT 1";
    Ok(connection.prepare_cached(query)?.exists([&uid.0])?)
}

fn ahead(connection: &Connection, pipeline: &Uid, uid: &Uid, created_at: Timestamp) -> Result<u32, StoreError> {
    let query = "SELECT count(*) FROM run INDEXED BY run_active WHERE pipeline_uid = ?1 AND finished_at IS NULL AND parent IS NULL
         AND uid <> ?2 AND (phase = 'Running' OR (created_at, uid) < (?3, ?2))";
    Ok(connection.prepare_cached(query)?.query_row(params![pipeline.0, uid.0, created_at.0], |row| row.get(0))?)
}

/// What people decided: in this round; or with a yes before, where this round does not run the step again.
fn decisions(of: &Of<'_>) -> Result<BTreeMap<String, Decision>, StoreError> {
    let query =
        "SELECT step, round, approved, by, comment, at FROM approval WHERE run = ?1 AND round <= ?2 ORDER BY round";
    let mut statement = of.connection.prepare_cached(query)?;
    let mut rows = statement.query(params![of.uid.0, of.round])?;
    let mut decisions = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (step, round): (String, i64) = (row.get("step")?, row.get("round")?);
        let decision = Decision {
            approved: row.get("approved")?,
            by: row.get("by")?,
            comment: row.get("comment")?,
            at: time(row, "at")?,
        };
        let counts = round == of.round || (decision.approved && of.modes.get(&step) != Some(&RetryMode::All));
        if counts {
            decisions.insert(step, decision);
        } else {
            decisions.remove(&step);
        }
    }
    Ok(decisions)
}

fn observe_step(of: &Of<'_>, graph: &Graph, at: usize, before: &[ObservedStep]) -> Result<ObservedStep, StoreError> {
    let node = &graph.steps[at];
    let (uid, step) = (&of.uid.0, &node.step.name);
    let top: Option<u64> = of
        .connection
        .prepare_cached("SELECT max(item) FROM child WHERE run = ?1 AND step = ?2")?
        .query_row(params![uid, step], |row| row.get(0))?;
    let mut facts = ObservedStep { next_item: top.map_or(0, |top| top + 1), ..ObservedStep::default() };
    facts.apps = expansion(of, node)?;
    if top.is_some() {
        for conclusion in Conclusion::ALL {
            if of.connection.prepare_cached(HAS)?.exists(params![uid, step, conclusion.as_str()])? {
                facts.has.insert(*conclusion);
            }
        }
        if node.is_counted {
            facts.counts = counts(of, step)?;
        }
        facts.open = open_children(of, node)?;
        facts.stale = stale(of, node, &facts.has)?;
        if node.is_read && node.step.for_each.is_none() {
            facts.outputs = outputs_of_item(of, step, 0)?;
        }
        // The end of a step that is asked about; while children are open it has none, and reading all the others would be in vain.
        if facts.open.is_empty() && graph.steps.iter().any(|other| other.step.approval.is_some()) {
            let query = "SELECT max(ended_at) FROM child WHERE run = ?1 AND step = ?2";
            facts.ended_at = of
                .connection
                .prepare_cached(query)?
                .query_row(params![uid, step], |row| row.get(0))
                .map(|at: Option<i64>| at.map(Timestamp))?;
        }
    }
    if let Some(source) = node.source {
        let source_node = &graph.steps[source];
        if node.streams {
            facts.followers = followers(of, node, &before[source])?;
        }
        facts.missing = missing(of, node, source_node, facts.next_item)?;
        facts.given = given(of, node, source_node, &facts.missing)?;
    }
    Ok(facts)
}

fn expansion(of: &Of<'_>, node: &Node) -> Result<Option<std::sync::Arc<Vec<String>>>, StoreError> {
    if node.step.for_each.as_ref().is_none_or(|each| each.apps.is_none()) {
        return Ok(None);
    }
    let mut text: Option<String> = of
        .connection
        .prepare_cached("SELECT apps FROM expansion WHERE run = ?1 AND step = ?2")?
        .query_row(params![of.uid.0, node.step.name], |row| row.get(0))
        .optional()?;
    let key = format!("{}/{}", of.uid, node.step.name);
    text.take().map(|text| graphs::apps(&key, || Ok(text))).transpose()
}

fn counts(of: &Of<'_>, step: &str) -> Result<BTreeMap<Conclusion, u64>, StoreError> {
    let query = "SELECT conclusion, count(*) FROM child INDEXED BY child_concluded
         WHERE run = ?1 AND step = ?2 AND conclusion IS NOT NULL GROUP BY conclusion";
    let mut statement = of.connection.prepare_cached(query)?;
    let mut rows = statement.query(params![of.uid.0, step])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        counts.insert(word(row, "conclusion")?, row.get(1)?);
    }
    Ok(counts)
}

fn open_children(of: &Of<'_>, node: &Node) -> Result<Vec<OpenChild>, StoreError> {
    let mut statement = of.connection.prepare_cached(OPEN_CHILDREN)?;
    let mut rows = statement.query(params![of.uid.0, node.step.name])?;
    let mut open = Vec::new();
    let reads = node.is_read || !node.step.outputs.is_empty();
    while let Some(row) = rows.next()? {
        let uid: String = row.get("uid")?;
        let phase: Phase = word(row, "phase")?;
        let attempt: Option<u32> = row.get("attempt")?;
        let outputs = match attempt {
            Some(attempt) if reads && phase.is_terminal() => outputs(of.connection, &uid, attempt)?,
            _ => Map::new(),
        };
        open.push(OpenChild {
            item: row.get("item")?,
            uid: Uid(uid),
            kind: word::<ChildKind>(row, "kind")?,
            name: row.get("name")?,
            app: row.get("app")?,
            version: row.get("version")?,
            phase,
            reason: word(row, "reason")?,
            finished_at: time_or_none(row, "finished_at")?,
            cancelling: row.get("cancelling")?,
            outputs,
            makes: row.get::<_, Option<String>>("makes")?.map(|text| json(&text)).transpose()?,
            produced: None,
        });
    }
    Ok(open)
}

/// What the attempts of a round give together, up to this one; of what several give, the latest counts. A later one may have run only some tools.
fn outputs(connection: &Connection, task: &str, attempt: u32) -> Result<Map<String, Value>, StoreError> {
    let query = "SELECT outputs FROM attempt WHERE task_uid = ?1 AND number <= ?2 AND outputs <> '{}'
             AND round = (SELECT round FROM attempt WHERE task_uid = ?1 AND number = ?2) ORDER BY number";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(params![task, attempt])?;
    let mut all = Map::new();
    while let Some(row) = rows.next()? {
        all.append(&mut json_column(row, "outputs")?);
    }
    Ok(all)
}

/// What a concluded child gives.
pub(super) fn outputs_of_item(of: &Of<'_>, step: &str, item: u64) -> Result<Map<String, Value>, StoreError> {
    let query = "SELECT t.uid, t.attempt FROM child c JOIN task t ON t.uid = c.uid
         WHERE c.run = ?1 AND c.step = ?2 AND c.item = ?3 AND c.conclusion IS NOT NULL";
    let found: Option<(String, u32)> = of
        .connection
        .prepare_cached(query)?
        .query_row(params![of.uid.0, step, item], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map_or_else(|| Ok(Map::new()), |(uid, attempt)| outputs(of.connection, &uid, attempt))
}

/// What this round does to the children of a step.
pub(super) fn mode(of: &Of<'_>, node: &Node) -> Option<RetryMode> {
    if node.is_final { Some(RetryMode::All) } else { of.modes.get(&node.step.name).copied() }
}

fn stale(of: &Of<'_>, node: &Node, has: &BTreeSet<Conclusion>) -> Result<Vec<StaleChild>, StoreError> {
    let (Some(mode), 2..) = (mode(of, node), of.round) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for conclusion in has {
        if mode == RetryMode::Bad && *conclusion == Conclusion::Succeeded {
            continue;
        }
        let mut statement = of.connection.prepare_cached(STALE)?;
        let mut rows =
            statement.query(params![of.uid.0, node.step.name, conclusion.as_str(), of.round, WINDOW as i64])?;
        while let Some(row) = rows.next()? {
            found.push(StaleChild {
                item: row.get("item")?,
                uid: Uid(row.get("uid")?),
                kind: word(row, "kind")?,
                app: row.get("app")?,
                conclusion: *conclusion,
                version: row.get("version")?,
            });
        }
    }
    found.sort_by_key(|child| child.item);
    found.truncate(WINDOW);
    Ok(found)
}
