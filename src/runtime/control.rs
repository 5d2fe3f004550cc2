//! What people can ask of a running controller, as data: the words of the control socket. The same code answers them in the daemon and,
//! when none runs, in the command line itself.

use serde::{Deserialize, Serialize};

use super::report::{CareAnswer, HeldReport, ReconcileReport, StatusReport, SyncReport};
use crate::plan::action::Action;
use crate::plan::doctor::Fix;
use crate::resource::phase::Phase;
use crate::resource::time::Timestamp;
use crate::store::aside::Care;

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
        /// `manifests`, `filesystem`, `pipelines`, `tasks`, `maintenance`; empty for all.
        only: Vec<String>,
        /// Of `filesystem` and `maintenance`, do only this, which a person has seen in a plan.
        #[serde(default)]
        planned: Option<Vec<Action>>,
    },
    /// Keep, restore or release what is missing, set aside, deleted or stray.
    Care {
        /// Such as `task/lint`, `run/study-1`, `app/acme-app1`, `results/a/b/1`.
        objects: Vec<String>,
        /// What is wanted.
        care: Care,
    },
    /// Delete for good what was set aside, deleted or is stray, whatever its age.
    Purge {
        /// What; `None` for all of it, but what is kept.
        objects: Option<Vec<String>>,
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
    /// Do what doctor found to be safe.
    Mend {
        /// What.
        fixes: Vec<Fix>,
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
    Reconciled(Box<ReconcileReport>),
    /// What became of each.
    Cared {
        /// In the order asked.
        objects: Vec<CareAnswer>,
    },
    /// What was deleted for good.
    Purged {
        /// One line for each thing.
        actions: Vec<Action>,
    },
    /// To Mend.
    Mended {
        /// What was done, one line for each thing.
        lines: Vec<String>,
    },
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
