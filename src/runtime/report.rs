//! What loops and requests came to, as data: the reports that people and programs read.

use serde::{Deserialize, Serialize};

use crate::plan::action::{Action, Rule};
use crate::resource::attempt::AttemptId;
use crate::resource::phase::Phase;
use crate::resource::time::Timestamp;

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
    /// Files that somebody is writing: they are read once they are closed.
    #[serde(default)]
    pub open: u64,
    /// Files that changed a moment ago and declare less than before, and one more if files came and went while they were listed: nothing is
    /// removed because of them before another look, in a moment.
    #[serde(default)]
    pub settling: u64,
    /// Problems of the directory as it is.
    pub problems: u64,
    /// Why the scan was not complete, if so.
    pub incomplete: Option<String>,
}

impl SyncReport {
    /// This report together with that of a later scan.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            files_read: self.files_read + later.files_read,
            created: self.created + later.created,
            updated: self.updated + later.updated,
            removed: self.removed + later.removed,
            ..later
        }
    }
}

/// What `reconcile --once` came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReconcileReport {
    /// What the mirror did; `None` when it was not asked to run.
    pub manifests: Option<SyncReport>,
    /// Apps found new, marked missing, restored; `None` when that loop was not asked to run.
    pub apps: Option<AppsReport>,
    /// What maintenance did; `None` when it was not asked to run.
    #[serde(default)]
    pub maintenance: Option<MaintenanceReport>,
    /// What the file system and maintenance led to, one line for each thing.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// How many more there were than are listed.
    #[serde(default)]
    pub actions_left_out: u64,
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

impl AppsReport {
    /// Counts what was done.
    #[must_use]
    pub fn of(actions: &[Action]) -> Self {
        let count = |rule| count(actions, rule);
        Self { found: count(Rule::AppFound), missing: count(Rule::AppMissing), restored: count(Rule::AppRestored) }
    }
}

/// How often maintenance did what, by rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MaintenanceReport(pub std::collections::BTreeMap<Rule, u64>);

impl MaintenanceReport {
    /// Counts what was done.
    #[must_use]
    pub fn of(actions: &[Action]) -> Self {
        let counted = Rule::ALL.into_iter().map(|rule| (rule, count(actions, rule)));
        Self(counted.filter(|(_, count)| *count > 0).collect())
    }

    /// How often a rule led to something.
    #[must_use]
    pub fn count(&self, rule: Rule) -> u64 {
        self.0.get(&rule).copied().unwrap_or(0)
    }
}

fn count(actions: &[Action], rule: Rule) -> u64 {
    actions.iter().filter(|action| action.rule == rule).count() as u64
}

/// What became of something that a person cared for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CareAnswer {
    /// What.
    pub object: String,
    /// What happened, for a person.
    pub message: String,
    /// Whether anything happened.
    pub effective: bool,
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
    /// The longest that looking and deciding for one key took since the process started, with what it waited for, in microseconds; `None` for a
    /// loop that has no plans.
    #[serde(default)]
    pub longest_look_us: Option<u64>,
    /// The longest that deciding alone took, in microseconds.
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
