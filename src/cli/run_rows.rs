//! Runs and pipelines in `get`: their rows and their status as JSON.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::history::short;
use super::item::{Beside, put_time};
use super::names::pipeline_spec;
use super::picture::Picture;
use super::rows::{next, or_nothing, place};
use super::table;
use crate::plan::pipeline::schedule;
use crate::resource::pipeline::PipelineSpec;
use crate::resource::run::Suspension;
use crate::resource::time::Timestamp;
use crate::store::run_view::{self, LatestRun};
use crate::store::view::ObjectView;

/// What is known of a pipeline besides its object.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PipelineFacts {
    /// How many steps it has, those of `finally` among them.
    pub(crate) steps: usize,
    /// Its schedule: the cron expression and the time zone.
    pub(crate) schedule: Option<String>,
    /// The next slot.
    pub(crate) next_at: Option<Timestamp>,
    /// Its latest run.
    pub(crate) latest: Option<LatestRun>,
    /// Who suspended it, if that holds.
    pub(crate) suspension: Option<Suspension>,
    /// Whether its manifest suspends it.
    pub(crate) suspended_by_spec: bool,
}

impl PipelineFacts {
    fn read(connection: &Connection, object: &ObjectView, now: Timestamp) -> anyhow::Result<Self> {
        let spec = pipeline_spec(object)?;
        let suspension = run_view::suspension(connection, &object.uid)?.filter(|of| of.holds(now));
        let is_suspended = spec.suspend || suspension.is_some() || object.removed_at.is_some();
        Ok(Self {
            steps: spec.steps.len() + spec.finally.len(),
            schedule: spec.schedule.as_ref().map(|of| match of.time_zone.as_str() {
                "UTC" => of.cron.clone(),
                zone => format!("{} {zone}", of.cron),
            }),
            next_at: if is_suspended { None } else { next_slot(&spec, now) },
            latest: run_view::latest(connection, &object.uid)?,
            suspension,
            suspended_by_spec: spec.suspend,
        })
    }

    /// Whether it makes no runs by itself.
    pub(crate) const fn is_suspended(&self) -> bool {
        self.suspended_by_spec || self.suspension.is_some()
    }
}

/// The next slot of a pipeline's schedule.
fn next_slot(spec: &PipelineSpec, now: Timestamp) -> Option<Timestamp> {
    // An expression that is no longer understood has no slots; `get problems` says so.
    schedule::next(spec.schedule.as_ref()?, now).ok()?
}

/// What `get` needs of runs and pipelines besides the objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunFacts {
    /// By uid: children that have ended, that are expected, that failed.
    done: BTreeMap<String, (u64, Option<u64>, u64)>,
    /// By uid.
    pipelines: BTreeMap<String, PipelineFacts>,
}

impl RunFacts {
    /// Reads what these objects need.
    pub(crate) fn read(connection: &Connection, objects: &[ObjectView], now: Timestamp) -> anyhow::Result<Self> {
        let mut facts = Self::default();
        for object in objects {
            if let Some(run) = &object.run {
                facts.done.insert(object.uid.clone(), Picture::of_run(connection, run, now)?.done());
            } else if object.kind == crate::resource::kind::Kind::Pipeline {
                facts.pipelines.insert(object.uid.clone(), PipelineFacts::read(connection, object, now)?);
            }
        }
        Ok(facts)
    }

    fn done(&self, uid: &str) -> (u64, Option<u64>, u64) {
        self.done.get(uid).copied().unwrap_or_default()
    }
}

/// The columns of runs between NAME and AGE, and those of `-o wide`.
pub(crate) fn run(object: &ObjectView, beside: &Beside) -> (Vec<String>, Vec<String>) {
    let Some(run) = &object.run else { return (Vec::new(), Vec::new()) };
    let (ended, expected, failed) = beside.runs.done(&object.uid);
    let status = &run.status;
    let expected = expected.map_or_else(|| "?".to_owned(), |expected| expected.to_string());
    let took = status.started_at.map(|at| table::length(status.finished_at.unwrap_or(beside.now).since(at)));
    let row = vec![
        run.pipeline.clone(),
        run.cause.to_string(),
        status.phase.to_string(),
        status.reason.to_string(),
        format!("{ended}/{expected}"),
        failed.to_string(),
        or_nothing(&took.unwrap_or_default()),
    ];
    let suspended = run.suspension.as_ref().is_some_and(|of| of.holds(beside.now));
    let more = vec![
        status.round.to_string(),
        run.generation.to_string(),
        run.revision.to_string(),
        or_nothing(&run.commit.as_deref().map(short).unwrap_or_default()),
        run.scheduled_at.map_or_else(|| "-".to_owned(), Timestamp::rfc3339),
        if suspended { "yes".into() } else { "no".into() },
        or_nothing(run.parent.as_deref().unwrap_or_default()),
        next(status.next_at, beside.now),
        or_nothing(&status.message),
    ];
    (row, more)
}

/// The columns of pipelines between NAME and AGE, and those of `-o wide`.
pub(crate) fn pipeline(object: &ObjectView, beside: &Beside) -> (Vec<String>, Vec<String>) {
    let nothing = PipelineFacts::default();
    let facts = beside.runs.pipelines.get(&object.uid).unwrap_or(&nothing);
    let latest = facts.latest.as_ref();
    let row = vec![
        facts.steps.to_string(),
        or_nothing(facts.schedule.as_deref().unwrap_or_default()),
        next(facts.next_at, beside.now),
        or_nothing(latest.map_or("", |run| run.name.as_str())),
        or_nothing(latest.map_or("", |run| run.phase.as_str())),
        if facts.is_suspended() { "yes".into() } else { "no".into() },
    ];
    (row, vec![object.generation.to_string(), place(object)])
}

/// The status of a run as JSON.
pub(crate) fn run_status(object: &ObjectView, beside: &Beside) -> Map<String, Value> {
    let mut map = Map::new();
    let Some(run) = &object.run else { return map };
    let status = &run.status;
    let (ended, expected, failed) = beside.runs.done(&object.uid);
    map.insert("phase".into(), json!(status.phase));
    map.insert("reason".into(), json!(status.reason));
    map.insert("message".into(), json!(status.message));
    map.insert("cause".into(), json!(run.cause));
    map.insert("round".into(), json!(status.round));
    map.insert("revision".into(), json!(run.revision));
    map.insert("manifestDigest".into(), json!(run.manifest_digest));
    map.insert("commit".into(), json!(run.commit));
    map.insert("children".into(), json!({ "ended": ended, "expected": expected, "failed": failed }));
    map.insert("parent".into(), json!(run.parent));
    map.insert("suspension".into(), suspension(run.suspension.as_ref().filter(|of| of.holds(beside.now))));
    put_time(&mut map, "scheduledTime", run.scheduled_at);
    put_time(&mut map, "nextTime", status.next_at);
    put_time(&mut map, "startTime", status.started_at);
    put_time(&mut map, "roundTime", status.round_at);
    put_time(&mut map, "completionTime", status.finished_at);
    map
}

/// The status of a pipeline as JSON.
pub(crate) fn pipeline_status(object: &ObjectView, beside: &Beside) -> Map<String, Value> {
    let mut map = Map::new();
    let Some(facts) = beside.runs.pipelines.get(&object.uid) else { return map };
    if let Some(run) = &facts.latest {
        let latest = json!({ "name": run.name, "phase": run.phase, "creationTimestamp": run.created_at.rfc3339() });
        map.insert("latestRun".into(), latest);
    }
    map.insert("suspended".into(), json!(facts.is_suspended()));
    map.insert("suspension".into(), suspension(facts.suspension.as_ref()));
    put_time(&mut map, "nextTime", facts.next_at);
    map
}

fn suspension(of: Option<&Suspension>) -> Value {
    of.map_or(Value::Null, |of| {
        json!({ "reason": of.reason, "by": of.by, "time": of.at.rfc3339(), "until": of.until.map(Timestamp::rfc3339) })
    })
}
