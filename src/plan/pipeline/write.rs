//! Changes of stored state that plans for pipelines and runs ask for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::resource::app::AppSpec;
use crate::resource::name::Uid;
use crate::resource::run::{Cause, ChildKind, Conclusion, RunStatus};
use crate::resource::task::TaskSpec;
use crate::resource::time::Timestamp;

/// Replaces a run's status, if it is still at the version that was seen. Wakes its parent, its pipeline's other runs that wait, when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunWrite {
    /// The run.
    pub uid: Uid,
    /// The version that the plan saw.
    pub version: i64,
    /// The status from now on.
    pub status: RunStatus,
}

/// Makes a run of a pipeline as it stands now, unless one of that name is there. The store pins the spec.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateRun {
    /// Its name, by which a trigger can make it only once.
    pub name: String,
    /// The pipeline.
    pub pipeline_uid: Uid,
    /// The generation that the plan saw; if it moved, the plan is stale.
    pub generation: i64,
    /// Values that differ from the defaults.
    pub params: Map<String, Value>,
    /// What makes it.
    pub cause: Cause,
    /// The slot that it stands for.
    pub scheduled_at: Option<Timestamp>,
}

/// Asks for a child: makes it, or starts it over if it was asked for in an earlier round of the run. One that was asked for in this round
/// already is left as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct AskChild {
    /// The run.
    pub run: Uid,
    /// Its name, which the store gives to the owner of the task.
    pub run_name: String,
    /// The step.
    pub step: String,
    /// The item.
    pub item: u64,
    /// The round of the run.
    pub round: i64,
    /// Name of the task or run.
    pub name: String,
    /// What it stands for, for people; empty for a step without `forEach`.
    pub label: String,
    /// The app that it works on or makes; empty for none.
    pub app: String,
    /// The app that it makes, which is registered once its directory is there.
    pub makes: Option<ProducedApp>,
    /// What it is.
    pub what: ChildSpec,
}

/// What a child is.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildSpec {
    /// A task.
    Task(Box<TaskSpec>),
    /// A task that cannot even be put together: it is made as one that has failed.
    Broken {
        /// Its analyzer.
        analyzer: String,
        /// Why, for a person.
        message: String,
    },
    /// A run of another pipeline, as pinned by the root run. If that is not known, the child is made as a failed one.
    Run {
        /// The pipeline's name.
        pipeline: String,
        /// Its parameters that differ from the defaults.
        params: Map<String, Value>,
    },
}

/// Draws the conclusion from the ending of a child, if that is still as it was seen. With `round`, a concluded child of an earlier round is taken as
/// concluded so in this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclude {
    /// The run.
    pub run: Uid,
    /// The step.
    pub step: String,
    /// The item.
    pub item: u64,
    /// The task or run.
    pub child: Uid,
    /// Which of the two.
    pub kind: ChildKind,
    /// The version of its status that the plan saw.
    pub version: i64,
    /// What it comes to.
    pub conclusion: Conclusion,
    /// The round of the run.
    pub round: i64,
    /// When it ended.
    pub at: Timestamp,
}

/// Asks a child to end, if it has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelChild {
    /// The task or run.
    pub uid: Uid,
    /// Which of the two.
    pub kind: ChildKind,
}

/// Registers an app that a task made, unless an App of that name is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedApp {
    /// Its name.
    pub name: String,
    /// What it is.
    pub spec: AppSpec,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the run that made it, which stands where a file would.
    pub run: String,
}
