//! Writes: every change of stored state that a plan can ask for. Each carries what it was decided on, so a stale one is refused.

use super::pipeline::write::{AskChild, CancelChild, Conclude, CreateRun, ProducedApp, RunWrite};
use crate::resource::attempt::{AttemptId, StoredResult};
use crate::resource::event::EventType;
use crate::resource::findings::Findings;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::outcome::Verdict;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// One change of stored state.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Replace a task's status, if it is still at the version that was seen.
    Task(Box<TaskWrite>),
    /// Open an attempt; its task must be made Running by the same plan.
    OpenAttempt(Box<OpenAttempt>),
    /// Change nothing, if this attempt is still open: what is taken up must not have ended meanwhile.
    TakeUp(AttemptId),
    /// Close an attempt that nobody carries, if it is still open.
    CloseAttempt(Box<CloseAttempt>),
    /// Record an app that was found on disk.
    FoundApp(Box<FoundApp>),
    /// Mark an app as missing, or as being there again.
    AppMissing {
        /// The app.
        uid: Uid,
        /// Since when; `None` when it is there.
        since: Option<Timestamp>,
    },
    /// Record what the files of an app look like.
    TreeSeen(Box<TreeSeen>),
    /// Delete the record of an app whose directory is gone, if it is missing since the same moment.
    DeleteApp {
        /// The app.
        uid: Uid,
        /// Since when it is missing.
        missing_since: Timestamp,
    },
    /// Set a finished task aside, if it is still at the version that was seen: it keeps everything and is not listed any more.
    SetAside {
        /// The task.
        uid: Uid,
        /// The version of its status that the plan saw.
        version: i64,
    },
    /// Forget what is known of a replica that the analyzer has no more.
    ForgetReplica {
        /// The analyzer's name.
        analyzer: String,
        /// The address.
        url: String,
    },
    /// Replace a run's status.
    Run(Box<RunWrite>),
    /// Make a run.
    CreateRun(Box<CreateRun>),
    /// Ask for a child of a run.
    AskChild(Box<AskChild>),
    /// Draw the conclusion from a child's ending.
    Conclude(Box<Conclude>),
    /// Ask a child to end.
    CancelChild(CancelChild),
    /// Register an app that a task made.
    ProducedApp(Box<ProducedApp>),
    /// Record the apps that a step's selector gave, if none are recorded.
    Expand {
        /// The run.
        run: Uid,
        /// The step.
        step: String,
        /// Their names.
        apps: Vec<String>,
    },
    /// Pin the pipelines that the steps of a run run, and that were not known when it was made, as they are now; while it has not begun.
    PinRun(Uid),
    /// Record up to which moment the slots of a schedule were dealt with.
    ScheduleSeen {
        /// The pipeline.
        pipeline_uid: Uid,
        /// Its cron expression and time zone.
        expression: String,
        /// Up to when.
        at: Timestamp,
    },
    /// Forget a suspension whose time is over.
    Unsuspend(Uid),
    /// Set a condition of an object.
    Condition(Box<ConditionWrite>),
    /// Record an event.
    Event(Box<EventWrite>),
}

/// A task's status after a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStatus {
    /// Where it stands.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
    /// The generation that this status is about.
    pub observed_generation: i64,
    /// How often the task has been started over: by a changed spec, a person, or a manifest that came back.
    pub round: i64,
    /// Number of the latest attempt; 0 for none.
    pub attempt: u32,
    /// When something will happen by itself.
    pub next_at: Option<Timestamp>,
    /// When its first attempt of this round was opened.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What was found, once it ended.
    pub findings: Findings,
    /// How often in a row it has waited for an analyzer that cannot be reached, before an attempt was opened.
    pub waits: u32,
    /// How often in a row it was started over because its analyzer came back.
    pub recoveries: u32,
    /// What the files of its app looked like when its latest attempt was opened, if that was known.
    pub app_digest: Option<String>,
}

impl TaskStatus {
    /// A status at the start of a round.
    #[must_use]
    pub const fn fresh(round: i64, observed_generation: i64, attempt: u32) -> Self {
        Self {
            phase: Phase::Pending,
            reason: Reason::Queued,
            message: String::new(),
            observed_generation,
            round,
            attempt,
            next_at: None,
            started_at: None,
            finished_at: None,
            findings: Findings { high: 0, medium: 0, low: 0, unrated: 0 },
            waits: 0,
            recoveries: 0,
            app_digest: None,
        }
    }

    /// This status, waiting for `reason` until `next_at` or until something happens.
    #[must_use]
    pub fn waiting(&self, reason: Reason, message: impl Into<String>, next_at: Option<Timestamp>) -> Self {
        let findings = Findings::default();
        Self { phase: Phase::Pending, reason, message: message.into(), next_at, findings, ..self.clone() }
    }

    /// This status, ended.
    #[must_use]
    pub fn ended(
        &self,
        phase: Phase,
        reason: Reason,
        message: impl Into<String>,
        findings: Findings,
        at: Timestamp,
    ) -> Self {
        Self { phase, reason, message: message.into(), next_at: None, finished_at: Some(at), findings, ..self.clone() }
    }
}

/// Replaces a task's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWrite {
    /// The task.
    pub uid: Uid,
    /// The version of the status that the plan saw.
    pub version: i64,
    /// The status from now on.
    pub status: TaskStatus,
}

/// Opens an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttempt {
    /// Which attempt.
    pub id: AttemptId,
    /// The task's round.
    pub round: i64,
    /// The generation of the spec that it runs.
    pub generation: i64,
    /// The tools that it is asked for; empty for all that the analyzer has.
    pub asked: Vec<String>,
    /// The analyzer's name.
    pub analyzer: String,
    /// Address of the replica; empty for a command.
    pub replica: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends at the latest.
    pub deadline_at: Timestamp,
    /// Whether its analyzer can be asked for it again by its token after this process is gone.
    pub resumable: bool,
    /// What the files of its app looked like, when the task depends on them.
    pub app_digest: Option<String>,
    /// The pool of which it takes a slot. Checked again when it is committed, since other lanes take slots of it too.
    pub pool: Option<String>,
}

impl OpenAttempt {
    /// Whether it runs at all: what takes an older result is closed by the plan that opens it, and occupies nothing.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.deadline_at > self.opened_at
    }
}

/// Closes an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseAttempt {
    /// Which attempt.
    pub id: AttemptId,
    /// How it ended.
    pub verdict: Verdict,
    /// Its result, when there is one.
    pub result: Option<StoredResult>,
    /// When it ended.
    pub at: Timestamp,
    /// Until when its slot stays occupied, since the other side may still be working on it.
    pub slot_until: Option<Timestamp>,
    /// Under which key other attempts may take its result; `None` when they may not.
    pub cache_key: Option<String>,
}

/// Records what the files of an app look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeSeen {
    /// The app.
    pub uid: Uid,
    /// Generation of the app's spec that says where the files are; if it moved, the plan is stale.
    pub generation: i64,
    /// Digest of the tree, in hex.
    pub digest: String,
    /// When the reading began that saw it so.
    pub at: Timestamp,
}

/// An app that an AppSet found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundApp {
    /// Name made from its path.
    pub name: String,
    /// Name of the AppSet.
    pub app_set: String,
    /// Canonical JSON of its AppSpec.
    pub spec: String,
    /// Labels taken from the pattern, as JSON.
    pub labels: String,
}

/// Sets a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionWrite {
    /// The object; empty for the manifests directory itself.
    pub uid: Uid,
    /// CamelCase, such as `SourceSuspect`.
    pub condition: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// One line for a person.
    pub message: String,
}

/// Records an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventWrite {
    /// The object; empty for the manifests directory itself.
    pub uid: Uid,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Normal or Warning.
    pub event_type: EventType,
    /// CamelCase, such as `Started`.
    pub reason: &'static str,
    /// One line for a person.
    pub message: String,
}
