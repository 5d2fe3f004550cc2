//! What the command line reads of runs: runs with their status, their children, how many children stand how. Read-only.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use super::StoreError;
use super::rows::{json_column, time, time_or_none, word, word_or_none};
use super::view::{Filter, ObjectView};
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::resource::provenance::Provenance;
use crate::resource::reason::Reason;
use crate::resource::run::{CancelWish, Cause, ChildKind, Conclusion, RunStatus, Suspension};
use crate::resource::time::Timestamp;

/// Runs that are listed when nobody says how many.
pub const RUNS_MAX: u32 = 1000;

/// Runs, newest first.
const RUNS: &str = "SELECT r.*, o.file, o.line, p.name AS parent_name,
       s.reason AS suspended_reason, s.by AS suspended_by, s.at AS suspended_at, s.until AS suspended_until
     FROM run r JOIN object o ON o.uid = r.pipeline_uid LEFT JOIN run p ON p.uid = r.parent LEFT JOIN suspension s ON s.uid = r.uid
     WHERE (?1 IS NULL OR r.name = ?1) AND (?1 IS NOT NULL OR r.aside_at IS NULL) AND (?2 IS NULL OR r.pipeline = ?2) AND (?3 IS NULL OR r.phase = ?3)
       AND (?4 IS NULL OR (r.created_at, r.uid) < (?4, ?5))
     ORDER BY r.created_at DESC, r.uid DESC LIMIT ?6";

/// The latest run of a pipeline, those within other runs apart.
const LATEST: &str = "SELECT name, phase, created_at FROM run INDEXED BY run_by_pipeline
     WHERE pipeline_uid = ?1 AND cause <> 'Step' ORDER BY created_at DESC, uid DESC LIMIT 1";

/// How many children of each step stand how.
const TALLY: &str = "SELECT c.step, c.conclusion, coalesce(t.phase, r.phase) AS phase, count(*) AS count
     FROM child c LEFT JOIN task t ON t.uid = c.uid LEFT JOIN run r ON r.uid = c.uid
     WHERE c.run = ?1 GROUP BY c.step, c.conclusion, coalesce(t.phase, r.phase)";

/// Children of a step: those first that went wrong, then those under way.
const CHILDREN: &str = "SELECT c.item, c.kind, c.uid, c.label, c.app, c.round, c.conclusion,
       coalesce(t.name, r.name) AS name, coalesce(t.phase, r.phase) AS phase, coalesce(t.reason, r.reason) AS reason,
       coalesce(t.message, r.message) AS message, coalesce(t.started_at, r.started_at) AS started_at,
       coalesce(t.finished_at, r.finished_at) AS finished_at
     FROM child c LEFT JOIN task t ON t.uid = c.uid LEFT JOIN run r ON r.uid = c.uid
     WHERE c.run = ?1 AND c.step = ?2
     ORDER BY CASE
         WHEN c.conclusion IN ('Failed', 'AppNotProduced', 'OutputMissing') THEN 0
         WHEN c.conclusion = 'Partial' THEN 1
         WHEN c.conclusion IS NULL AND coalesce(t.phase, r.phase) = 'Running' THEN 2
         WHEN c.conclusion IN ('Cancelled', 'Skipped') THEN 3
         WHEN c.conclusion IS NULL THEN 4
         ELSE 5 END, c.item
     LIMIT ?3";

/// All of a run, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's uid.
    pub pipeline_uid: String,
    /// Generation of the spec that it is pinned to.
    pub generation: i64,
    /// Revision of the manifest that it is pinned to.
    pub revision: i64,
    /// SHA-256 of that manifest.
    pub manifest_digest: String,
    /// Digest of the spec.
    pub digest: String,
    /// Every parameter with its value.
    pub params: Map<String, Value>,
    /// The commit of the manifest.
    pub commit: Option<String>,
    /// What made it.
    pub cause: Cause,
    /// Its slot of the schedule.
    pub scheduled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Name of the run that has it as a child.
    pub parent: Option<String>,
    /// Whether it shall end.
    pub cancel: CancelWish,
    /// What the person who cancelled it said.
    pub cancel_message: String,
    /// Begin another round after every finished one up to this.
    pub retry_round: i64,
    /// Where it stands.
    pub status: RunStatus,
    /// Who suspended it.
    pub suspension: Option<Suspension>,
    /// Where its pipeline is declared.
    pub provenance: Provenance,
}

impl RunView {
    /// Whether it has ended and is about to begin another round.
    #[must_use]
    pub const fn is_moving(&self) -> bool {
        self.status.phase.is_terminal() && self.retry_round >= self.status.round
    }
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only this name.
    pub name: Option<String>,
    /// Only runs of this pipeline.
    pub pipeline: Option<String>,
    /// Only runs in this phase.
    pub phase: Option<Phase>,
    /// Only those that come after this one in the list: when it was made, and its uid.
    pub after: Option<(Timestamp, String)>,
    /// At most so many; [`RUNS_MAX`] without it.
    pub limit: Option<u32>,
}

/// A run in one line, for its pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestRun {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub phase: Phase,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How many children of a step stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Did all they should.
    pub succeeded: u64,
    /// Did some of it.
    pub partial: u64,
    /// Failed, whatever is to blame.
    pub failed: u64,
    /// Were cancelled.
    pub cancelled: u64,
    /// Were not wanted any more.
    pub skipped: u64,
    /// Run now, or have ended and are about to be judged.
    pub running: u64,
    /// Wait.
    pub pending: u64,
}

impl Tally {
    /// Children that have ended.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.succeeded + self.partial + self.failed + self.cancelled + self.skipped
    }

    /// All children that were asked for.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.ended() + self.running + self.pending
    }
}

/// A child of a run, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildView {
    /// Which item of its step.
    pub item: u64,
    /// A task, or a run.
    pub kind: ChildKind,
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub label: String,
    /// Its app; empty for none.
    pub app: String,
    /// The round that asked for it.
    pub round: i64,
    /// What the run made of its ending.
    pub conclusion: Option<Conclusion>,
    /// Where it stands; `None` when it is not there any more.
    pub phase: Option<Phase>,
    /// Why.
    pub reason: Option<Reason>,
    /// Why, for a person.
    pub message: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Lists runs, newest first.
///
/// # Errors
/// What the database says.
pub fn runs(connection: &Connection, filter: &RunFilter) -> Result<Vec<RunView>, StoreError> {
    let mut statement = connection.prepare_cached(RUNS)?;
    let (at, uid) = filter.after.as_ref().map(|(at, uid)| (at.0, uid.as_str())).unzip();
    let phase = filter.phase.map(Phase::as_str);
    let limit = filter.limit.unwrap_or(RUNS_MAX);
    let mut rows = statement.query(params![filter.name, filter.pipeline, phase, at, uid, limit])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(run_of(row)?);
    }
    Ok(runs)
}

/// One run by its name.
///
/// # Errors
/// What the database says.
pub fn run(connection: &Connection, name: &str) -> Result<Option<RunView>, StoreError> {
    Ok(runs(connection, &RunFilter { name: Some(name.to_owned()), ..RunFilter::default() })?.pop())
}

fn run_of(row: &Row<'_>) -> Result<RunView, StoreError> {
    let suspension = match time_or_none(row, "suspended_at")? {
        None => None,
        Some(at) => Some(Suspension {
            reason: row.get("suspended_reason")?,
            by: row.get("suspended_by")?,
            at,
            until: time_or_none(row, "suspended_until")?,
        }),
    };
    let manifest_digest: String = row.get("manifest_digest")?;
    let commit: Option<String> = row.get("git_commit")?;
    Ok(RunView {
        uid: row.get("uid")?,
        name: row.get("name")?,
        pipeline: row.get("pipeline")?,
        pipeline_uid: row.get("pipeline_uid")?,
        generation: row.get("generation")?,
        revision: row.get("revision")?,
        digest: row.get("digest")?,
        params: json_column(row, "params")?,
        cause: word(row, "cause")?,
        scheduled_at: time_or_none(row, "scheduled_at")?,
        created_at: time(row, "created_at")?,
        parent: row.get("parent_name")?,
        cancel: match row.get::<_, i64>("cancel")? {
            0 => CancelWish::None,
            1 => CancelWish::Steps,
            _ => CancelWish::All,
        },
        cancel_message: row.get("cancel_message")?,
        retry_round: row.get("retry_round")?,
        status: RunStatus {
            phase: word(row, "phase")?,
            reason: word(row, "reason")?,
            message: row.get("message")?,
            round: row.get("round")?,
            next_at: time_or_none(row, "next_at")?,
            started_at: time_or_none(row, "started_at")?,
            round_at: time_or_none(row, "round_at")?,
            finished_at: time_or_none(row, "finished_at")?,
        },
        suspension,
        provenance: Provenance {
            file: row.get("file")?,
            line: row.get("line")?,
            digest: manifest_digest.clone(),
            commit: commit.clone(),
        },
        manifest_digest,
        commit,
    })
}

/// Runs in the shape of objects, newest first.
///
/// # Errors
/// What the database says.
pub fn objects(connection: &Connection, filter: &Filter) -> Result<Vec<ObjectView>, StoreError> {
    let wanted = RunFilter { name: filter.name.clone(), ..RunFilter::default() };
    Ok(runs(connection, &wanted)?.into_iter().map(object).collect())
}

/// A run in the shape of an object.
#[must_use]
pub fn object(run: RunView) -> ObjectView {
    ObjectView {
        uid: run.uid.clone(),
        kind: Kind::Run,
        name: run.name.clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: json!({ "pipeline": run.pipeline, "generation": run.generation, "digest": run.digest, "params": run.params }),
        generation: run.generation,
        created_at: run.created_at,
        removed_at: None,
        provenance: run.provenance.clone(),
        task: None,
        app: None,
        conditions: Vec::new(),
        run: Some(Box::new(run)),
    }
}

/// The latest run of a pipeline.
///
/// # Errors
/// What the database says.
pub fn latest(connection: &Connection, pipeline_uid: &str) -> Result<Option<LatestRun>, StoreError> {
    let mut statement = connection.prepare_cached(LATEST)?;
    let mut rows = statement.query([pipeline_uid])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(LatestRun { name: row.get("name")?, phase: word(row, "phase")?, created_at: time(row, "created_at")? }))
}

/// Who suspended a run or a pipeline.
///
/// # Errors
/// What the database says.
pub fn suspension(connection: &Connection, uid: &str) -> Result<Option<Suspension>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM suspension WHERE uid = ?1")?;
    let found = statement.query_row([uid], |row| {
        Ok(Suspension {
            reason: row.get("reason")?,
            by: row.get("by")?,
            at: Timestamp(row.get("at")?),
            until: row.get::<_, Option<i64>>("until")?.map(Timestamp),
        })
    });
    Ok(found.optional()?)
}

/// How many children of each step of a run stand how.
///
/// # Errors
/// What the database says.
pub fn tally(connection: &Connection, run_uid: &str) -> Result<BTreeMap<String, Tally>, StoreError> {
    let mut statement = connection.prepare_cached(TALLY)?;
    let mut rows = statement.query([run_uid])?;
    let mut steps: BTreeMap<String, Tally> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let count: u64 = row.get("count")?;
        let phase: Option<Phase> = word_or_none(row, "phase")?;
        let tally = steps.entry(row.get("step")?).or_default();
        let place = match word_or_none(row, "conclusion")? {
            Some(Conclusion::Succeeded) => &mut tally.succeeded,
            Some(Conclusion::Partial) => &mut tally.partial,
            Some(Conclusion::Failed | Conclusion::AppNotProduced | Conclusion::OutputMissing) => &mut tally.failed,
            Some(Conclusion::Cancelled) => &mut tally.cancelled,
            Some(Conclusion::Skipped) => &mut tally.skipped,
            None if phase == Some(Phase::Pending) => &mut tally.pending,
            None => &mut tally.running,
        };
        *place += count;
    }
    Ok(steps)
}

/// Children of a step of a run, at most `limit`: those first that went wrong, then those under way.
///
/// # Errors
/// What the database says.
pub fn children(connection: &Connection, run_uid: &str, step: &str, limit: u32) -> Result<Vec<ChildView>, StoreError> {
    let mut statement = connection.prepare_cached(CHILDREN)?;
    let mut rows = statement.query(params![run_uid, step, limit])?;
    let mut children = Vec::new();
    while let Some(row) = rows.next()? {
        let uid: String = row.get("uid")?;
        children.push(ChildView {
            item: row.get("item")?,
            kind: word(row, "kind")?,
            name: row.get::<_, Option<String>>("name")?.unwrap_or_else(|| uid.clone()),
            uid,
            label: row.get("label")?,
            app: row.get("app")?,
            round: row.get("round")?,
            conclusion: word_or_none(row, "conclusion")?,
            phase: word_or_none(row, "phase")?,
            reason: word_or_none(row, "reason")?,
            message: row.get::<_, Option<String>>("message")?.unwrap_or_default(),
            started_at: time_or_none(row, "started_at")?,
            finished_at: time_or_none(row, "finished_at")?,
        });
    }
    Ok(children)
}
