//! Runs: what one trigger of a pipeline made, and the words about its children. Runs live in the database only.

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use super::reason::Reason;
use super::time::Timestamp;

crate::words! {
    /// What made a run.
    pub enum Cause {
        /// The pipeline was first seen, or its spec changed.
        Apply,
        /// A person asked.
        Manual,
        /// A slot of its schedule.
        Schedule,
        /// A person asked for a slot of the past.
        Backfill,
        /// A person asked for an older run once more.
        Rerun,
        /// A step of another run.
        Step,
    }
}

crate::words! {
    /// What a run made of the ending of one child.
    pub enum Conclusion {
        /// It did all it should.
        Succeeded,
        /// It did some of it.
        Partial,
        /// It failed.
        Failed,
        /// It was cancelled.
        Cancelled,
        /// It was not wanted any more before it could be asked for again.
        Skipped,
        /// It ended well, and the app that it should have made is not there.
        AppNotProduced,
        /// It ended well, and did not give an output that its step promises.
        OutputMissing,
    }
}

impl Conclusion {
    /// Whether later steps can go on with it.
    #[must_use]
    pub const fn is_good(self) -> bool {
        match self {
            Self::Succeeded | Self::Partial => true,
            Self::Failed | Self::Cancelled | Self::Skipped | Self::AppNotProduced | Self::OutputMissing => false,
        }
    }
}

crate::words! {
    /// What another round of a run does to the children of a step.
    pub enum RetryMode {
        /// Runs all of them again.
        All,
        /// Runs those again that did not succeed.
        Bad,
    }
}

crate::words! {
    /// What a child is.
    pub enum ChildKind {
        /// A task.
        Task,
        /// A run of another pipeline.
        Run,
    }
}

/// How far a wish to cancel a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum CancelWish {
    /// Nobody asked.
    #[default]
    None,
    /// Its steps end; what it runs finally still runs.
    Steps,
    /// All of it ends.
    All,
}

/// A run's status after a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// Where it stands.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
    /// How often it has been started over.
    pub round: i64,
    /// When something will happen by itself.
    pub next_at: Option<Timestamp>,
    /// When its first round began.
    pub started_at: Option<Timestamp>,
    /// When this round began.
    pub round_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Who suspended something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Why; may be empty.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl Suspension {
    /// Whether it still counts.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

crate::words! {
    /// Where a step of a run stands.
    pub enum StepPhase {
        /// What it needs has not ended.
        Waiting,
        /// It has begun: children are under way, or a person is asked.
        Running,
        /// Every item did all it should.
        Completed,
        /// Some items did not.
        PartialSuccess,
        /// No item succeeded.
        Failed,
        /// It was cancelled.
        Cancelled,
        /// It never began, and never will in this round.
        Skipped,
    }
}
