//! Where work is done that waits for the disk: on threads that may wait; or, in a simulation, on the only one that there is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::store::inline::{Gate, Step};
use crate::store::{Store, StoreError};

/// Where work is done that waits for the disk. A cheap handle.
#[derive(Clone)]
pub(super) enum Disk {
    /// On threads that may wait.
    Threads,
    /// On the calling task, when the gate lets it.
    Inline(Arc<dyn Gate>),
}

impl Disk {
    /// The disk beside a store: one that has no threads stands for a process that has none.
    pub(super) fn beside(store: &Store) -> Self {
        store.gate().map_or(Self::Threads, |gate| Self::Inline(Arc::clone(gate)))
    }

    /// Whether another thread tells what happens in a directory.
    pub(super) const fn is_watched(&self) -> bool {
        matches!(self, Self::Threads)
    }

    /// Does something that waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Panicked`] when it panicked, [`StoreError::Gone`] when the process ends.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work)
                .await
                .map_err(|error| if error.is_panic() { StoreError::Panicked } else { StoreError::Gone }),
            Self::Inline(gate) => {
                gate.before(Step::Disk).await?;
                let done = work();
                gate.after(Step::Disk).await;
                Ok(done)
            }
        }
    }

    /// The same for something short that somebody waits for: on this thread, whose other work another one takes over meanwhile, so that nobody waits
    /// until two more threads have woken.
    ///
    /// # Errors
    /// As [`Disk::run`].
    pub(super) async fn run_here<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Threads if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread => {
                let work = AssertUnwindSafe(|| tokio::task::block_in_place(work));
                catch_unwind(work).map_err(|_| StoreError::Panicked)
            }
            _ => self.run(work).await,
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_watched() { "Threads" } else { "Inline" })
    }
}
