//! Kind Analyzer: anything that can run a task.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::time::Span;

/// What an analyzer is. Exactly one of `websocket` and `command` must be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnalyzerSpec {
    /// Services that are driven over WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<WebSocketSpec>,
    /// A program on this machine, run once for each task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,
    /// Requests in flight for each replica. The existing analyzers corrupt each other's work above 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 4096))]
    pub capacity: u32,
    /// At most so many attempts are opened in so much time, over all replicas. Without it: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Which version of itself it is, as a person says: another text makes older results of tasks with `cache: Content` useless. Bump it when
    /// what the analyzer runs has changed in a way that nothing else tells.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 200))]
    pub version: String,
    /// Name of the Pool of which each attempt on this analyzer takes a slot, unless its task names another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Which attempts leave their result, SARIF and log as files below `results/`. What is known of each tool, how many findings it had, and outputs
    /// are kept in any case.
    #[serde(default, skip_serializing_if = "KeepResults::is_always")]
    pub keep_results: KeepResults,
    /// How the health of a WebSocket replica is asked for. Without tasks that need it, it is asked every 5 minutes only.
    #[serde(default)]
    pub probe: Probe,
    /// When a replica that keeps failing is left alone for a while. Only transport errors count, never an app's own fault.
    #[serde(default)]
    pub breaker: Breaker,
}

impl AnalyzerSpec {
    /// Addresses of the replicas; one empty address for a command, which has a single local replica.
    #[must_use]
    pub fn replicas(&self) -> Vec<String> {
        self.websocket.as_ref().map_or_else(|| vec![String::new()], |ws| ws.urls.clone())
    }
}

/// Services that are driven over WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebSocketSpec {
    /// Addresses of the replicas: `wss://HOST:PORT`, `ws://HOST:PORT` without encryption, or `embedded:` for the analyzer inside the daemon.
    #[schemars(length(min = 1, max = 64))]
    pub urls: Vec<String>,
    /// `type` of the request frame, such as `static_analyze`.
    pub request: String,
    /// How long to wait for a connection before the replica counts as unavailable.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
    /// Name of the secret with the token that is shown to the replicas, as `Authorization: Bearer`. It is a file in the `secretsDirectory` of
    /// the settings, and is sent only over wss:// or to a loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_name: Option<String>,
    /// Name of the secret with the authorities (PEM) that may have signed the certificates of the replicas, instead of those that this
    /// system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_name: Option<String>,
}

impl WebSocketSpec {
    /// What its connections need.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials { token: self.token_secret_name.clone(), ca: self.ca_secret_name.clone() }
    }
}

/// The secrets that a connection needs, by their names; what is in them is read when connecting, and is kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Credentials {
    /// The token to show.
    pub token: Option<String>,
    /// The authorities to trust, instead of those of the system.
    pub ca: Option<String>,
}

/// A program on this machine, run once for each task, in a process group of its own and never through a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandSpec {
    /// Program and arguments. `${app.path}`, `${app.name}`, `${app.model}`, `${app.number}`, `${task.name}` and `${config.KEY}` are replaced;
    /// an argument that is exactly `${tools}` becomes one argument for each tool.
    #[schemars(length(min = 1, max = 256))]
    pub argv: Vec<String>,
    /// What the program writes to standard output.
    #[serde(default)]
    pub output: Output,
    /// Exit codes that mean the program did its work. Linters often use 1 for "findings".
    #[serde(default = "only_zero")]
    pub success_exit_codes: Vec<u8>,
    /// The tool the program stands for when a task names none. Default: the analyzer's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Environment of the program. Nothing is inherited but PATH, HOME, LANG, LC_ALL, TZ and TMPDIR.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Time between TERM and KILL when the program is stopped.
    #[serde(default = "five_seconds")]
    pub termination_grace: Span,
    /// Working directory: the app's own directory when true, else the workspace.
    #[serde(default)]
    pub in_app_directory: bool,
}

/// What a tool writes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Output {
    /// One SARIF 2.1.0 document.
    Sarif,
    /// One JSON document, kept as it is; findings are counted when it is a list.
    Json,
    /// Nothing to read: the exit code alone says whether it worked.
    #[default]
    ExitCode,
}

/// At most `limit` in every `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: u32,
    /// In how much time.
    pub per: Span,
}

/// Which attempts leave files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum KeepResults {
    /// All that have something to leave.
    #[default]
    Always,
    /// All but those that completed. For work whose success says everything, such as a notification, or a check of which only the count matters.
    OnFailure,
}

impl KeepResults {
    /// Whether an attempt that ended so leaves files.
    #[must_use]
    pub fn keeps(self, outcome: Outcome) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => outcome != Outcome::Completed,
        }
    }

    const fn is_always(&self) -> bool {
        matches!(self, Self::Always)
    }
}

/// How the health of a replica is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Probe {
    /// Time between two probes while some task needs the analyzer.
    pub interval: Span,
    /// How long an answer may take; `connectTimeout` of the replica is apart from it.
    pub timeout: Span,
    /// Failed probes in a row before the replica counts as unhealthy. One that never answered does so at once, and one answer makes it healthy.
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self { interval: Span::seconds(10), timeout: Span::seconds(5), failure_threshold: 3 }
    }
}

/// When a replica that keeps failing is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breaker {
    /// Transport errors in a row before nothing more is sent.
    #[schemars(range(min = 1, max = 1000))]
    pub open_after_failures: u32,
    /// After how long one trial is allowed: when it works, the replica is used as before.
    pub half_open_after: Span,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { open_after_failures: 5, half_open_after: Span::minutes(2) }
    }
}

const fn one() -> u32 {
    1
}

const fn five_seconds() -> Span {
    Span::seconds(5)
}

fn only_zero() -> Vec<u8> {
    vec![0]
}
