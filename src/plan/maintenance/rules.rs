//! The thresholds of maintenance.

use crate::resource::time::{Span, Timestamp};

/// How long things may stay as they are. `None` switches a rule off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// The record of an app whose directory is gone for longer is deleted.
    pub missing_app: Option<Span>,
    /// A task that is Running for longer while nobody carries its attempt is Failed.
    pub stuck: Option<Span>,
    /// A task that waits for longer, and not for its turn, is Cancelled.
    pub pending: Option<Span>,
    /// A task or run that ended longer ago is set aside, and events that are older are deleted.
    pub finished: Option<Span>,
    /// What was set aside or lies without a record for longer is deleted for good.
    pub quarantine: Option<Span>,
    /// Whether the disk is searched for directories that belong to no attempt.
    pub strays: bool,
    /// Whatever is younger is left alone.
    pub grace: Span,
}

impl Rules {
    /// The earliest moment that a rule may still find too old at `now`; `None` when the rule is off.
    #[must_use]
    pub fn before(self, threshold: Option<Span>, now: Timestamp) -> Option<Timestamp> {
        threshold.map(|threshold| now.minus(threshold.max(self.grace)))
    }

    /// Before which moment events must have happened last to be deleted: those of a task are kept as long as it can be brought back.
    #[must_use]
    pub fn events_before(self, now: Timestamp) -> Option<Timestamp> {
        let age = Span(self.finished?.0.saturating_add(self.quarantine?.0));
        self.before(Some(age), now)
    }

    /// The threshold, if something that began at `since` is over it, and no longer under the grace.
    pub(super) fn is_over(self, threshold: Option<Span>, since: Timestamp, now: Timestamp) -> Option<Span> {
        let age = now.since(since);
        threshold.filter(|threshold| age > *threshold && age > self.grace)
    }
}
