//! The phases of a task, and which of them are final.

crate::words! {
    /// Where a task stands.
    pub enum Phase {
        /// Waiting: for a slot, a reference, a delay. The reason says for what.
        Pending,
        /// One attempt is open.
        Running,
        /// Every requested tool ran and said so.
        Completed,
        /// Some tools ran, some did not.
        PartialSuccess,
        /// No tool is known to have worked.
        Failed,
        /// Stopped on request before it ended.
        Cancelled,
    }
}

impl Phase {
    /// Whether this phase never changes by itself. The one list of final phases in the program.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Completed | Self::PartialSuccess | Self::Failed | Self::Cancelled => true,
        }
    }
}
