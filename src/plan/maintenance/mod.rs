//! Plans for maintenance: what has been as it is for too long, what was set aside long ago, and what lies on the disk without a record.
//!
//! It is off in the daemon unless the settings say otherwise. Every rule has a threshold of its own and can be switched off; nothing that is
//! younger than the grace is touched. Nothing is taken away at once: it is set aside, or listed, and for some days everything can be brought
//! back.

mod aged;
mod purge;
mod rules;

use super::action::{Action, Permit};
use super::write::{EventWrite, TaskStatus, Write};
use super::{Plan, Reconciler};
use crate::resource::attempt::AttemptId;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::time::{Span, Timestamp};

pub use rules::Rules;

/// What is seen of everything that may be too old.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedMaintenance {
    /// The thresholds.
    pub rules: Rules,
    /// What may be done.
    pub permit: Permit,
    /// Apps that were found on disk and are marked missing.
    pub apps: Vec<MissingApp>,
    /// Tasks that have been in their phase for long.
    pub tasks: Vec<AgedTask>,
    /// Runs that ended long ago.
    pub runs: Vec<AgedRun>,
    /// What was set aside.
    pub aside: Vec<Aside>,
    /// Directories below results/ that belong to no attempt.
    pub strays: Vec<Stray>,
    /// Directories that are listed as strays and are not there any more.
    pub strays_gone: Vec<String>,
    /// Events that are too old, and up to which number they were looked at.
    pub events: OldEvents,
    /// Directories whose attempts were purged and that are still there.
    pub removals: bool,
    /// Whether there may be more than was read, or more to do about what was.
    pub more: bool,
}

/// An app whose directory is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingApp {
    /// The App.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its directory, relative to the workspace.
    pub path: String,
    /// When its record was made.
    pub created_at: Timestamp,
    /// Since when it is marked missing.
    pub missing_since: Timestamp,
    /// Whether its source is not to be believed.
    pub suspect: bool,
    /// Whether its directory is there now; `None` when that could not be seen.
    pub present: Option<bool>,
}

/// A task that has been in its phase for long.
#[derive(Debug, Clone, PartialEq)]
pub struct AgedTask {
    /// The task.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Name of its analyzer.
    pub analyzer: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Version of its status.
    pub version: i64,
    /// Its status.
    pub status: TaskStatus,
    /// When it came into its phase.
    pub since: Timestamp,
    /// Its open attempt.
    pub open: Option<AgedAttempt>,
    /// When an attempt was last opened on its analyzer: while others are, it only waits for its turn.
    pub lane_moved_at: Option<Timestamp>,
    /// The period of the rate of its analyzer or its pool, the longer one; zero without any. Nothing may be opened for so long.
    pub lane_period: Span,
    /// Whether something runs on its analyzer or in its pool, or still takes a slot there: then it waits for that to end.
    pub lane_busy: bool,
}

/// The open attempt of a task that has been in its phase for long.
#[derive(Debug, Clone, PartialEq)]
pub struct AgedAttempt {
    /// Which one.
    pub id: AttemptId,
    /// Whose slot it takes: the task may name another analyzer by now.
    pub analyzer: String,
    /// Until when it may run.
    pub deadline_at: Timestamp,
    /// Whether this process carries it.
    pub carried: bool,
}

/// A run that ended long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgedRun {
    /// The run.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Version of its status.
    pub version: i64,
    /// How it ended.
    pub phase: Phase,
    /// When.
    pub finished_at: Timestamp,
}

/// Something that was set aside, or whose record was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// What it is.
    pub kind: Kind,
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Since when.
    pub at: Timestamp,
}

/// A directory below results/ that belongs to no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Its path, relative to results/.
    pub path: String,
    /// When it was last written.
    pub changed_at: Timestamp,
    /// When it was seen first; `None` when it was not seen before.
    pub seen_at: Option<Timestamp>,
}

/// Events that are too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OldEvents {
    /// How many, at most one batch.
    pub count: u64,
    /// The number of the newest of them.
    pub last: i64,
    /// Events that happened last before this moment are too old.
    pub before: Timestamp,
}

/// Reconciles what is too old.
#[derive(Debug)]
pub struct MaintenanceReconciler;

impl Reconciler for MaintenanceReconciler {
    type Observed = ObservedMaintenance;

    fn plan(observed: &ObservedMaintenance, now: Timestamp) -> Plan {
        let mut pass = Pass { observed, now, plan: Plan::default() };
        pass.aged();
        pass.purge();
        let mut plan = pass.plan;
        // Only what was done can have made room for more; what cannot be removed from the disk is tried again at the next pass.
        if observed.more && !plan.actions.is_empty() {
            plan.look_again(now);
        }
        plan
    }
}

/// One pass while it is being planned.
struct Pass<'o> {
    observed: &'o ObservedMaintenance,
    now: Timestamp,
    plan: Plan,
}

impl Pass<'_> {
    /// Does this, if it may be done.
    fn act(&mut self, action: Action, writes: impl IntoIterator<Item = Write>) {
        if self.observed.permit.allows(action.rule, &action.object) {
            self.plan.writes.extend(writes);
            self.plan.actions.push(action);
        }
    }
}

/// An event about something that maintenance did.
fn told(uid: &Uid, kind: Kind, name: &str, reason: &'static str, message: String) -> Write {
    let name = name.to_owned();
    Write::Event(Box::new(EventWrite { uid: uid.clone(), kind, name, event_type: EventType::Normal, reason, message }))
}
