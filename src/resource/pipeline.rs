//! Kind Pipeline: steps that depend on each other, each a task or many, another pipeline, or a person's decision.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::task::{Cache, Retry};
use super::time::Span;

/// Steps that depend on each other. Each trigger makes a run, which keeps to the spec as it was then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineSpec {
    /// Parameters, used as `${params.NAME}`. Each is its default, such as `model: gpt-4o`, or a map of `type` (string, number, boolean), `enum`,
    /// `default` and `description`; one without a default must be given to every run.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Tasks and sub-pipelines of a run that are under way at once.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 4096))]
    pub parallelism: u32,
    /// Runs at once; further ones wait in the order of their making. Default: 1, and no limit when the schedule says `Allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_concurrent_runs: Option<u32>,
    /// When a run is made by itself. Default: OnSpecChange; Manual when there is a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_policy: Option<PipelineRunPolicy>,
    /// The steps. They begin as soon as what they need has ended; their order here says nothing.
    #[schemars(length(min = 1, max = 200))]
    pub steps: Vec<Step>,
    /// Steps that run when all others have ended, whatever came of them. They never change the phase of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub finally: Vec<Step>,
    /// When runs are made by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How long a run may take, in seconds, `finally` apart. What is not done then is cancelled, and the run has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<u64>,
    /// What becomes of unfinished runs when this manifest is removed.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// While true, no run is made by the schedule or by a change of the spec.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

impl PipelineSpec {
    /// When runs are made by themselves, with the default.
    #[must_use]
    pub fn runs_on(&self) -> PipelineRunPolicy {
        self.run_policy.unwrap_or(if self.schedule.is_some() {
            PipelineRunPolicy::Manual
        } else {
            PipelineRunPolicy::OnSpecChange
        })
    }

    /// Runs at once, with the default.
    #[must_use]
    pub fn runs_at_once(&self) -> u32 {
        let allow =
            self.schedule.as_ref().is_some_and(|schedule| schedule.concurrency_policy == ConcurrencyPolicy::Allow);
        self.max_concurrent_runs.unwrap_or(if allow { u32::MAX } else { 1 })
    }
}

/// When a run is made without anybody asking and without a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PipelineRunPolicy {
    /// When the pipeline is first seen.
    Once,
    /// When the pipeline is first seen, and when its spec changes.
    OnSpecChange,
    /// Never.
    Manual,
}

/// What becomes of unfinished runs when their definition is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are cancelled.
    #[default]
    Cancel,
    /// Those that have begun go on to their end, the others are cancelled.
    Finish,
    /// All go on, those that wait begin in their turn.
    Orphan,
}

/// One step: exactly one of `analyzer`, `pipeline` and `approval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Unique within the pipeline: lower-case letters, digits and '-'.
    pub name: String,
    /// Steps that must have ended before. `forEach.appsFrom` is one of them without being named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Conditions, all of which must hold; else the step is skipped and does not count. Without one on a needed step: that step has
    /// completed, at least in part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
    /// Name of the Analyzer that runs its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analyzer: Option<String>,
    /// Name of the Pipeline that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// A person's decision that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// One child for each of many items; without it, one child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Children of this step under way at once, within the pipeline's `parallelism`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_parallel: Option<u32>,
    /// Whether its failure is the failure of the whole run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
    /// The App that its tasks work on; placeholders are filled. Default: that of `forEach.apps` or `forEach.appsFrom`, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// An app that each of its tasks makes. It is registered when the task has ended well and the directory is there; else that item has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produces: Option<Produces>,
    /// Names of the outputs that its tasks give; without one of them an item has failed. Later steps use them as `${steps.NAME.outputs.KEY}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Tools of its tasks. Empty: all tools of the analyzer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tools: Vec<String>,
    /// Config of its tasks; placeholders in texts are filled, and a text that is one placeholder becomes what it stands for.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// Parameters of the pipeline that it runs; placeholders are filled.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Pool of its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Priority of its tasks; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: Option<i32>,
    /// Whether its tasks may take stored results.
    #[serde(default, skip_serializing_if = "Cache::is_none")]
    pub cache: Cache,
    /// How long one attempt of its tasks may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub active_deadline_seconds: Option<u64>,
    /// How often a failed attempt of its tasks is tried again; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: Option<u32>,
    /// How the delays between attempts grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// What must hold of a step that is needed. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// The step; one of `needs`.
    pub step: String,
    /// It has ended in one of these phases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<StepEnd>,
    /// At least so many of its items have succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at_least: Option<u64>,
    /// At least so many of its items have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at_least: Option<u64>,
    /// At most so many of its items have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at_most: Option<u64>,
}

impl Condition {
    /// Whether the items of the step must be counted.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.succeeded_at_least.is_some() || self.failed_at_least.is_some() || self.failed_at_most.is_some()
    }
}

crate::words! {
    /// How a step ended.
    pub enum StepEnd {
        /// Every item did all it should.
        Completed,
        /// Some items did not.
        PartialSuccess,
        /// No item succeeded.
        Failed,
        /// It was cancelled.
        Cancelled,
        /// It never began.
        Skipped,
    }
}

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// What is asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long it is waited for. Without it: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What is taken for decided then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

/// What a missing decision counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum OnTimeout {
    /// No.
    #[default]
    Reject,
    /// Yes.
    Approve,
}

/// What a step has a child for: one of `items`, `range`, `apps` and `appsFrom`, or none; times every combination of `matrix`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForEach {
    /// Texts, numbers, booleans, used as `${item}`; or maps of these, used as `${item.KEY}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Value>,
    /// Whole numbers, used as `${item}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// The apps with these labels at the moment the step begins, used as `${app}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Selector>,
    /// The apps of a step, used as `${app}`: those that it made, or worked on. Each is gone on with as soon as it is there, when nothing else is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps_from: Option<String>,
    /// Lists of values, used as `${matrix.KEY}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matrix: BTreeMap<String, Vec<Value>>,
    /// Whether no app at all is fine: the step is skipped then and does not count. Else it has failed, since nothing proves success.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
}

/// Whole numbers from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first.
    pub from: i64,
    /// The last.
    pub to: i64,
}

/// Which apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels that they have; placeholders are filled. Empty: all apps.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// An app that a task makes. Placeholders are filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Produces {
    /// Its name, used as `${produces.app}`.
    pub app: String,
    /// Its directory relative to the workspace, used as `${produces.path}`.
    pub path: String,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its number, as a text that becomes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// When runs are made by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// An IANA name, such as `Europe/Warsaw`. A time that a change of the clocks leaves out is taken at the end of the gap; one that comes
    /// twice is taken once, when it comes first.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What happens when the run before has not ended.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// A slot that could not be taken for so many seconds is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub starting_deadline_seconds: Option<u64>,
    /// Which slots are made up for that passed while no controller ran, or while it was suspended.
    #[serde(default)]
    pub catch_up: CatchUp,
}

/// What happens at a slot while the run of an earlier one has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// Both run, within `maxConcurrentRuns`.
    Allow,
    /// The slot is passed over.
    #[default]
    Forbid,
    /// The earlier one is cancelled.
    Replace,
}

/// Which missed slots are made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum CatchUp {
    /// None of them.
    None,
    /// The latest.
    #[default]
    Latest,
    /// All, at most the latest 100.
    All,
}

const fn default_parallelism() -> u32 {
    64
}

fn utc() -> String {
    "UTC".into()
}
