//! The limits that plans keep to, as settings give them.

use crate::resource::time::Span;

/// How long and how often things may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Deadline of an attempt whose task gives none.
    pub task_timeout: Span,
    /// A running attempt without a sign of life for so long is closed.
    pub stuck_after: Span,
    /// How often in a row an unavailable analyzer is waited for before the task fails.
    pub preflight_retries_max: u32,
    /// How often a task that failed because its analyzer was unavailable is started over when that is back, in a row.
    pub recoveries_max: u32,
    /// How often a silent attempt is started again in one round.
    pub heartbeat_losses_max: u32,
    /// How often an interrupted attempt is started again in one round. High, because it is no fault of the task; not infinite,
    /// because a task that takes the controller down with it must not do so for ever.
    pub interruptions_max: u32,
    /// Whether the tasks of an app whose record was deleted are cancelled; else they wait for an App of that name.
    pub cancel_orphans: bool,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            task_timeout: Span::seconds(1800),
            stuck_after: Span::minutes(15),
            preflight_retries_max: 3,
            recoveries_max: 3,
            heartbeat_losses_max: 3,
            interruptions_max: 10,
            cancel_orphans: true,
        }
    }
}
