//! One try of a task: its identity, what is handed to an executor, and what the executor says while it runs and at its end.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::analyzer::{CommandSpec, Credentials, KeepResults, Rate};
use super::name::Uid;
use super::outcome::Verdict;
use super::time::{Span, Timestamp};

/// Which try of which task. Numbers rise by one for the life of the task, so an id is never used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task.
    pub task: Uid,
    /// 1 for the first try.
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.number)
    }
}

/// All that an executor needs to know: the plan is so specific that it has no choices left.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Which attempt.
    pub id: AttemptId,
    /// Name of the task.
    pub task: String,
    /// Name of the analyzer.
    pub analyzer: String,
    /// The app.
    pub app: AppTarget,
    /// Where and how to run it.
    pub target: Target,
    /// The analyzer's rate, by which starts are paced.
    pub rate: Option<Rate>,
    /// Requested tools; empty means all that the analyzer has.
    pub tools: Vec<String>,
    /// `spec.config` of the task.
    pub config: Map<String, Value>,
    /// Whether it leaves files.
    pub keep_results: KeepResults,
    /// What it belongs to; kept with its result, which can then be understood without the database.
    pub origin: Origin,
    /// What makes its result fit for other attempts; `None` when no other may take it.
    pub stamp: Option<Stamp>,
    /// When the attempt was opened.
    pub opened_at: Timestamp,
    /// When the attempt ends at the latest.
    pub deadline_at: Timestamp,
    /// Whether a controller that is gone has begun it, so that its analyzer may know it already.
    pub resumed: bool,
}

impl Assignment {
    /// How long it may still run: never longer than it was allowed at all, though the clock was turned back since it was opened.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Span {
        self.deadline_at.since(now).min(self.deadline_at.since(self.opened_at))
    }
}

/// What an attempt belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The round of its task.
    pub round: i64,
    /// Generation of the spec that it runs.
    pub generation: i64,
    /// Digest of that spec; `None` when it is not known any more.
    pub spec_digest: Option<String>,
    /// What the files of the app looked like, when that was known.
    pub app_digest: Option<String>,
}

/// What makes the result of an attempt fit for other attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// What the files of the app looked like when the attempt was opened. If they look otherwise at its end, its result is nobody else's.
    pub app_digest: String,
    /// All that a result depends on, as one digest.
    pub cache_key: String,
}

/// The app an attempt works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppTarget {
    /// Name of the App.
    pub name: String,
    /// Its directory, relative to the workspace.
    pub path: String,
    /// Its model, checked as a slug.
    pub model: Option<String>,
    /// Its number.
    pub number: Option<u32>,
    /// Where it answers when it runs.
    pub target_urls: Vec<String>,
}

/// Where and how an attempt runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// On a WebSocket service.
    WebSocket {
        /// `wss://HOST:PORT`, `ws://HOST:PORT`, or `embedded:`.
        url: String,
        /// `type` of the request frame.
        request: String,
        /// How long to wait for a connection.
        connect_timeout: Span,
        /// The secrets that a connection needs.
        credentials: Credentials,
        /// Whether it speaks the extension `manifestd/v1`: many requests on one connection, cancel, and taking an attempt up again.
        extended: bool,
    },
    /// As a program on this machine.
    Command(Box<CommandSpec>),
}

/// What a running attempt says of itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Sign {
    /// The program runs as this process group.
    Spawned {
        /// Process id, which is also the group's id.
        pid: i32,
        /// Start time of the process in clock ticks since boot, so that a reused pid is never taken for it.
        pid_start: u64,
    },
    /// It is alive: a pong, a frame, a running process.
    Alive,
    /// It tells how far it is.
    Progress {
        /// A short word, such as `scanning`.
        stage: String,
        /// One line for a person.
        message: String,
        /// 0.0 to 1.0, when known.
        fraction: Option<f64>,
    },
}

/// How an attempt ended, as its executor reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// What the evidence came to.
    pub verdict: Verdict,
    /// The stored result, when there is one.
    pub result: Option<StoredResult>,
    /// Whether the other side may still be working on it: this side left before there was a result, and nothing confirmed that the work
    /// was stopped. Its slot stays taken until the deadline.
    pub may_still_run: bool,
}

impl Ending {
    /// An ending without a result.
    #[must_use]
    pub const fn bare(verdict: Verdict) -> Self {
        Self { verdict, result: None, may_still_run: false }
    }
}

/// Where a result lies, once it is safely on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResult {
    /// Directory relative to the state directory's `results/`: `<app>/<task>/<attempt>`.
    pub directory: String,
    /// SHA-256 of `manifest.json`, which lists every file with its own, in hex.
    pub sha256: String,
    /// Size of all files together.
    pub bytes: u64,
}
