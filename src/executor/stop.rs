//! The two ways in which an attempt is told to end before its time.

use tokio_util::sync::CancellationToken;

/// Tells one attempt to end. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    cancel: CancellationToken,
    leave: CancellationToken,
}

impl Stop {
    /// Nobody has told it anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It is not wanted any more: what works on it is stopped.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// This process ends: what can be taken up again by the next one is left running, anything else is stopped.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// Whether it was told either.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.cancel.is_cancelled() || self.leave.is_cancelled()
    }

    /// Waits until it is told either.
    pub async fn told(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = self.leave.cancelled() => {}
        }
    }

    /// Waits until it is told to leave; never, when it was told to cancel first.
    pub async fn left(&self) {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => std::future::pending().await,
            () = self.leave.cancelled() => {}
        }
    }
}
