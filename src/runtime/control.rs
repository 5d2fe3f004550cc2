//! What people can ask of a running controller, as data: the words of the control socket. The same code answers them in the daemon and,
//! when none runs, in the command line itself.

use serde::{Deserialize, Serialize};

use crate::resource::attempt::AttemptId;
use crate::resource::phase::Phase;
use crate::resource::time::Timestamp;

/// Something that changes things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Cancel the current round of these tasks.
    Cancel {
        /// Names.
        tasks: Vec<String>,
    },
    /// Run these finished tasks again, or try these waiting ones now.
    Retry {
        /// Names.
        tasks: Vec<String>,
        /// Really run them, though a stored result could be taken.
        #[serde(default)]
        no_cache: bool,
    },
    /// Scan the manifests directory now and wait until it is mirrored.
    Sync,
    /// Accept that what the fuse froze is really gone.
    AcceptOrphans,
    /// Run every loop, or only these, until nothing more can be done now.
    Reconcile {
        /// `manifests`, `apps`, `pipelines`, `tasks`; empty for all.
        only: Vec<String>,
    },
    /// Make a run of a pipeline.
    Run {
        /// The pipeline's name.
        pipeline: String,
        /// Values of parameters as a person wrote them.
        params: std::collections::BTreeMap<String, String>,
    },
    /// Make a run like an older one.
    Rerun {
        /// The older run's name.
        run: String,
        /// Values of parameters that shall differ.
        params: std::collections::BTreeMap<String, String>,
        /// Take the pipeline as it is now, and not as it was then.
        latest: bool,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Cancel runs.
    CancelRuns {
        /// Their names.
        runs: Vec<String>,
        /// Why.
        message: String,
        /// Also what they run finally.
        finally: bool,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Begin another round of a run that has ended.
    RetryRun {
        /// Its name.
        run: String,
        /// What to run again.
        what: RetryWhat,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Suspend a run or a pipeline.
    Suspend {
        /// `run/NAME`, `pipeline/NAME`, or a name that only one of them has.
        target: String,
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// Until when; for ever without it.
        until: Option<Timestamp>,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// End a suspension.
    Resume {
        /// As for Suspend.
        target: String,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Decide where a run waits for a person.
    Decide {
        /// The run's name.
        run: String,
        /// The step.
        step: String,
        /// Yes or no.
        approved: bool,
        /// Who.
        by: String,
        /// What they say.
        comment: String,
    },
    /// Make the runs of a schedule's slots of the past, as far as there are none.
    Backfill {
        /// The pipeline's name.
        pipeline: String,
        /// The first moment.
        from: Timestamp,
        /// The last moment.
        to: Timestamp,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Say who is there, and how its loops are.
    Status,
    /// Say which attempts are carried.
    Held,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Response {
    /// To Cancel and Retry: one answer for each name, in order.
    Requested {
        /// The answers.
        tasks: Vec<TaskAnswer>,
    },
    /// To Sync.
    Synced(SyncReport),
    /// To AcceptOrphans.
    Accepted {
        /// How many conditions were lifted.
        sources: u64,
    },
    /// To Reconcile.
    Reconciled(ReconcileReport),
    /// To whatever concerns runs: what happened, or would, line by line.
    Told {
        /// One for each run or step.
        lines: Vec<ToldLine>,
    },
    /// To Status.
    Status(StatusReport),
    /// To Held.
    Held {
        /// The attempts that are carried now.
        attempts: Vec<HeldReport>,
    },
    /// The request could not be carried out.
    Failed {
        /// Why, for a person.
        message: String,
    },
}

/// What another round of a run is to run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryWhat {
    /// What did not succeed.
    Failed,
    /// A step and all that comes after it.
    From(String),
    /// One step.
    Only(String),
}

/// What happened to one run, or to one step of it, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldLine {
    /// The run, or the step of the run that was asked about.
    pub name: String,
    /// For a person.
    pub message: String,
    /// Whether anything happens.
    pub effective: bool,
}

/// What a request came to for one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAnswer {
    /// The task's name.
    pub name: String,
    /// The phase it was in; `None` when there is no such task.
    pub phase: Option<Phase>,
    /// Whether anything will happen.
    pub effective: bool,
}

/// What a scan of the manifests directory came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncReport {
    /// Files read.
    pub files_read: u64,
    /// New objects.
    pub created: u64,
    /// Objects that changed.
    pub updated: u64,
    /// Objects whose manifest is gone.
    pub removed: u64,
    /// Objects that would have been removed, had the fuse not blown.
    pub frozen: u64,
    /// Problems of the directory as it is.
    pub problems: u64,
    /// Why the scan was not complete, if so.
    pub incomplete: Option<String>,
}

/// What `reconcile --once` came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReconcileReport {
    /// What the mirror did; `None` when it was not asked to run.
    pub manifests: Option<SyncReport>,
    /// Apps found new, marked missing, restored; `None` when that loop was not asked to run.
    pub apps: Option<AppsReport>,
    /// Attempts that were opened and waited for.
    pub attempts: u64,
    /// Tasks in each phase afterwards.
    pub phases: std::collections::BTreeMap<Phase, u64>,
    /// What will happen later by itself, earliest first, bounded.
    pub due: Vec<Due>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What a scan for apps came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppsReport {
    /// New apps.
    pub found: u64,
    /// Apps marked as missing.
    pub missing: u64,
    /// Apps that are there again.
    pub restored: u64,
}

/// Something that happens later by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The task, run or pipeline, as KIND/NAME.
    pub name: String,
    /// Why it waits.
    pub reason: String,
    /// When it goes on.
    pub at: Timestamp,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Process id.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Attempts that it carries.
    pub held: u64,
    /// Attempts that it works on: those it carries, and what it ends of an earlier controller's.
    #[serde(default)]
    pub in_flight: u64,
    /// Address of the embedded analyzer.
    pub embedded: Option<String>,
    /// How each loop is.
    #[serde(default)]
    pub loops: Vec<LoopReport>,
    /// When the database cannot be written for want of room.
    #[serde(default)]
    pub disk_full: Option<DiskReport>,
}

/// How a loop is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopReport {
    /// `tasks`, `apps`, `manifests`, `resync`, `pipelines` or `maintenance`.
    pub name: String,
    /// Passes that have ended since the process started.
    pub passes: u64,
    /// When the last of them began.
    pub last_at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub took_ms: Option<u64>,
    /// The longest that observing and planning for one key took since the process started, in microseconds; `None` for a loop that has no plans.
    #[serde(default)]
    pub longest_plan_us: Option<u64>,
    /// The same of the commit of a plan, with the wait for those in one group with it.
    #[serde(default)]
    pub longest_commit_us: Option<u64>,
    /// Since when the oldest pass under way has been so.
    pub busy_since: Option<Timestamp>,
    /// The longest time between two passes when all is well, in milliseconds.
    pub interval_ms: u64,
    /// Whether it has made no pass for much longer than that.
    pub stalled: bool,
}

/// That there is no room for the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Since when.
    pub since: Timestamp,
    /// When writing was last tried.
    pub tried_at: Timestamp,
}

/// An attempt that is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldReport {
    /// Which one.
    pub id: AttemptId,
    /// Its last sign of life.
    pub alive_at: Timestamp,
    /// Whether it was told to stop.
    pub stopping: bool,
}
