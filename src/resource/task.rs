//! Kind Task: one app, one analyzer, some tools.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One app, one analyzer, some tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// Name of the App. Without one the task belongs to no app: its program runs in the workspace. WebSocket analyzers need one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Name of the Analyzer.
    pub analyzer: String,
    /// Tools to run. Empty: all tools of the analyzer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tools: Vec<String>,
    /// Settings for the tools, handed to the analyzer as they are.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// Name of the Pool of which each attempt takes a slot. Default: the analyzer's pool, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Higher runs first. Among equals the owners of tasks take turns, and of one owner the oldest runs first.
    #[serde(default = "default_priority")]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// When a finished task runs again by itself.
    #[serde(default)]
    pub run_policy: RunPolicy,
    /// Whether a result of the same analyzer on the same files may be taken instead of running. For deterministic tools only.
    #[serde(default, skip_serializing_if = "Cache::is_none")]
    pub cache: Cache,
    /// How long one attempt may take, in seconds. Default: the setting `taskTimeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub active_deadline_seconds: Option<u64>,
    /// How often a failed attempt is tried again.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: u32,
    /// A finished task may be deleted so many seconds after it ended. Checked and kept; this version deletes nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<u64>,
    /// While true, no attempt is opened and a running one is stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// How the delays between attempts grow.
    #[serde(default)]
    pub retry: Retry,
}

impl TaskSpec {
    /// Whether it must be known what the files of the app look like before an attempt is opened.
    #[must_use]
    pub fn needs_reading(&self) -> bool {
        self.has_app() && (self.run_policy == RunPolicy::OnAppChange || self.cache == Cache::Content)
    }

    /// Whether it works on an app.
    #[must_use]
    pub fn has_app(&self) -> bool {
        !self.app.is_empty()
    }
}

/// How the delays between attempts grow: `base`, `base x factor`, ... up to `max`, each up to a tenth longer by a jitter derived from the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Delay before the first retry.
    pub base: super::time::Span,
    /// What each delay is multiplied by for the next.
    #[schemars(range(min = 1, max = 10))]
    pub factor: u32,
    /// The longest delay.
    pub max: super::time::Span,
}

impl Default for Retry {
    fn default() -> Self {
        Self { base: super::time::Span::seconds(30), factor: 2, max: super::time::Span::minutes(15) }
    }
}

/// When a finished task runs again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum RunPolicy {
    /// Never: one run for the life of the object, even when the spec changes.
    Once,
    /// When its spec changes.
    #[default]
    OnSpecChange,
    /// When its spec changes, and when the files of its app do.
    OnAppChange,
}

/// Whether a stored result may be taken instead of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Cache {
    /// Never: it always runs.
    #[default]
    None,
    /// When the files of the app, the analyzer, the tools, the config and the target URLs are the same as those of an attempt that completed.
    Content,
}

impl Cache {
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

const fn default_priority() -> i32 {
    100
}

const fn default_backoff_limit() -> u32 {
    3
}
