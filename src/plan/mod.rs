//! Floor 1: deciding. Each file turns one observation into one [`Plan`]: pure, total, with the time handed in.
//!
//! A plan is data. The runtime commits its writes in one transaction and only then performs its effects; nothing here could do
//! either. Planning again after a plan was carried out gives an empty plan.

pub mod action;
pub mod admission;
pub mod analyzer;
pub mod apps;
pub mod assignment;
pub mod backoff;
pub mod budgets;
pub mod doctor;
mod freshness;
pub mod key;
pub mod lane;
pub mod maintenance;
pub mod merge;
pub mod mirror;
pub mod orphan;
pub mod owner;
pub mod pipeline;
pub mod pool;
mod print;
pub mod rebuild;
pub mod replica;
pub mod reuse;
mod settle;
mod slots;
pub mod task;
mod transition;
pub mod tree;
pub mod unavailable;
pub mod write;

use crate::resource::analyzer::Credentials;
use crate::resource::attempt::{Assignment, AttemptId};
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};

pub use action::Action;
pub use budgets::Budgets;
pub use key::Key;
pub use write::Write;

/// What one pass decided.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Changes of stored state, committed in one transaction or not at all.
    pub writes: Vec<Write>,
    /// What to do in the outside world once the writes are durable.
    pub effects: Vec<Effect>,
    /// Other keys that the writes concern.
    pub wakes: Vec<Key>,
    /// When to look again though nothing happened; `None` to wait for something to happen.
    pub next: Option<Timestamp>,
    /// What the writes do, for a person; told by the loops of the file system and of maintenance.
    pub actions: Vec<Action>,
}

impl Plan {
    /// Whether there is nothing to write and nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.effects.is_empty()
    }

    /// Looks again at `at`, or earlier if that was planned already.
    pub fn look_again(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// Something to do in the outside world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Carry an attempt that was opened by the same plan.
    Start(Box<Assignment>),
    /// Carry an attempt that a controller that is gone has begun, and that its analyzer knows by its token.
    Resume {
        /// What is carried.
        assignment: Box<Assignment>,
        /// Why it is stopped at once, when it is not wanted any more: its analyzer must hear of that.
        stop: Option<Reason>,
    },
    /// Stop an attempt that this process carries; its ending is reported as always.
    Stop {
        /// Which attempt.
        id: AttemptId,
        /// Why, as its ending shall say.
        reason: Reason,
    },
    /// Kill what a controller that is gone left of a command's processes, then close the attempt as interrupted.
    Reap {
        /// Which attempt.
        id: AttemptId,
        /// Process id and start time, when they were recorded.
        process: Option<(i32, u64)>,
    },
    /// Ask a replica how it is; its answer is reported as always.
    Probe(Box<Probe>),
    /// Remove the directories of results whose attempts were purged.
    Sweep,
}

/// One question to one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The analyzer's name.
    pub analyzer: String,
    /// Address of the replica.
    pub url: String,
    /// How long to wait for the connection.
    pub connect_timeout: Span,
    /// The secrets that the connection needs.
    pub credentials: Credentials,
    /// How long to wait for the answer.
    pub timeout: Span,
    /// Failed probes in a row before the replica counts as unhealthy.
    pub failure_threshold: u32,
    /// Whether something may wait for the answer: nothing is known of the replica yet, or an attempt has just found it unreachable.
    pub urgent: bool,
}

/// Something that turns observations into plans.
pub trait Reconciler {
    /// What it looks at.
    type Observed;

    /// Decides what follows from an observation at a moment.
    fn plan(observed: &Self::Observed, now: Timestamp) -> Plan;
}
