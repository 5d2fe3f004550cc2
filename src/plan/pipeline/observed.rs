//! What is seen of a run and of a pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::graph::Graph;
use super::write::ProducedApp;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::pipeline::{DeletionPolicy, PipelineSpec};
use crate::resource::reason::Reason;
use crate::resource::run::{CancelWish, Cause, ChildKind, Conclusion, RetryMode, RunStatus, Suspension};
use crate::resource::time::Timestamp;

/// What is seen of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedRun {
    /// The run.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline.
    pub pipeline_uid: Uid,
    /// Version of the status, for compare-and-set.
    pub version: i64,
    /// Where it stands.
    pub status: RunStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// What made it.
    pub cause: Cause,
    /// The run that has it as a child.
    pub parent: Option<Uid>,
    /// How many runs it lies within.
    pub depth: u32,
    /// The pinned spec.
    pub graph: Arc<Graph>,
    /// Every parameter with its value.
    pub params: Map<String, Value>,
    /// Whether it shall end.
    pub cancel: CancelWish,
    /// What the person who cancelled said.
    pub cancel_message: String,
    /// Who suspended it.
    pub suspension: Option<Suspension>,
    /// Begin another round after every finished one up to this.
    pub retry_round: i64,
    /// What the current round (or, once it has ended, the next) runs again, by step; steps that are not named keep what they have, but for
    /// those of `finally`, which always run.
    pub retry_modes: BTreeMap<String, RetryMode>,
    /// Its pipeline's manifest is gone, and this was to happen then.
    pub removed: Option<DeletionPolicy>,
    /// Whether a run of a newer generation was made by a change of the spec, while this one was, too, and has not begun.
    pub superseded: bool,
    /// Runs of its pipeline that have begun and not ended, or were made before it and have not begun. Runs within runs do not count.
    pub ahead: u32,
    /// Directories that apps may lie in, relative to the workspace. The runtime knows them; empty where it was not asked.
    pub roots: Vec<String>,
    /// The pipelines that run within it; looked at until it has begun.
    pub within: Within,
    /// How each step stands, in the order of `graph.steps`.
    pub steps: Vec<ObservedStep>,
    /// What people decided in this round, by step.
    pub decisions: BTreeMap<String, Decision>,
}

/// What is seen of the pipelines that the steps of a run run, and that the steps of those run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Within {
    /// Names that no Pipeline has.
    pub unknown: Vec<String>,
    /// Whether some that were not known when the run was made are known now, and not pinned yet.
    pub late: bool,
    /// Pipelines that run each other for ever, from one of them to itself; empty when there are none.
    pub circle: Vec<String>,
}

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub approved: bool,
    /// Who.
    pub by: String,
    /// What they said.
    pub comment: String,
    /// When.
    pub at: Timestamp,
}

/// What is seen of the children of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedStep {
    /// One more than the highest item that has a row. The rows of a step that does not stream have no gaps.
    pub next_item: u64,
    /// What at least one child was concluded as, whatever the round.
    pub has: BTreeSet<Conclusion>,
    /// How many children were concluded as what.
    pub counts: BTreeMap<Conclusion, u64>,
    /// Children without a conclusion, by item. At most [`super::WINDOW`] and some.
    pub open: Vec<OpenChild>,
    /// Concluded children of earlier rounds that this round is to run again, by item; at most [`super::WINDOW`] of them. For mode `Bad`: those that
    /// did not succeed; for mode `All`, and for steps of `finally`: all of them.
    pub stale: Vec<StaleChild>,
    /// For a step with `appsFrom`: items of this step that have no row (or one of an earlier round in mode `All`), though their source was concluded
    /// well; at most [`super::WINDOW`]. Each with the app of its source. Not looked for in the first round of a step that streams: there a source
    /// is concluded together with the making of what follows from it.
    pub missing: Vec<(u64, String)>,
    /// Whether there may be more to do for it than is seen here: the plan itself has just changed what it follows from. Never so in what is observed.
    pub unsure: bool,
    /// For a step with `appsFrom` that uses the outputs of its source: what the sources of `missing` gave, by item of the source.
    pub given: BTreeMap<u64, Map<String, Value>>,
    /// For a step with `appsFrom`: its rows that follow from open children of its source, by item, which were asked for in this round.
    pub followers: BTreeSet<u64>,
    /// The apps that its selector gave when it began; `None` while that was not recorded.
    pub apps: Option<Arc<Vec<String>>>,
    /// The apps that its selector gives now; only while none are recorded and the run has begun.
    pub matching: Vec<String>,
    /// When its last child ended.
    pub ended_at: Option<Timestamp>,
    /// Outputs of its only child, for a step without `forEach` whose outputs some step uses.
    pub outputs: Map<String, Value>,
}

/// A child that the run has drawn no conclusion from.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenChild {
    /// Which item of the step.
    pub item: u64,
    /// The task or run.
    pub uid: Uid,
    /// Which of the two.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// The app that it works on or makes; empty for none.
    pub app: String,
    /// Version of its status.
    pub version: i64,
    /// Where it stands.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether it has been asked to end.
    pub cancelling: bool,
    /// What it gives to later steps, once it has ended.
    pub outputs: Map<String, Value>,
    /// The app that it makes, as it was worked out when it was asked for.
    pub makes: Option<ProducedApp>,
    /// Whether the directory of the app that it should make is there; looked at once it has ended well. `None`: not looked at, or it cannot be seen.
    pub produced: Option<bool>,
}

/// A child of an earlier round that is to be asked for again, or not to count any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleChild {
    /// Which item of the step.
    pub item: u64,
    /// The task or run.
    pub uid: Uid,
    /// Which of the two.
    pub kind: ChildKind,
    /// Its app; empty for none.
    pub app: String,
    /// What it was concluded as.
    pub conclusion: Conclusion,
    /// Version of its status.
    pub version: i64,
}

/// What is seen of one pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedPipeline {
    /// The pipeline.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Whether its manifest is gone.
    pub removed: bool,
    /// What is desired.
    pub spec: Arc<PipelineSpec>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// Whether a run was ever made by itself for this generation, and for any.
    pub applied: Applied,
    /// Who suspended it.
    pub suspension: Option<Suspension>,
    /// Unfinished runs that the schedule made, oldest first; at most 64.
    pub scheduled: Vec<(Uid, String)>,
    /// The cron expression and time zone whose slots have been dealt with, and up to when.
    pub seen: Option<(String, Timestamp)>,
    /// Unfinished runs, whose waiting depends on this pipeline; woken when it changes. At most 1,024.
    pub unfinished: Vec<Uid>,
}

/// For which generations runs were made by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// For the current one.
    pub current: bool,
    /// For any one.
    pub any: bool,
}

impl ObservedRun {
    /// Whether it ends because its definition is gone.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        match self.removed {
            Some(DeletionPolicy::Cancel) => true,
            Some(DeletionPolicy::Finish) => self.status.started_at.is_none(),
            Some(DeletionPolicy::Orphan) | None => false,
        }
    }

    /// Whether it may begin nothing now.
    #[must_use]
    pub fn is_suspended(&self, now: Timestamp) -> bool {
        self.suspension.as_ref().is_some_and(|suspension| suspension.holds(now))
    }
}
