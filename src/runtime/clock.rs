//! The one place that reads the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::resource::time::Timestamp;

/// Tells the time: the machine's, or one that a test turns.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's.
    System,
    /// A test's: the shared number of milliseconds.
    Manual(Arc<AtomicI64>),
    /// That of the asynchronous runtime, which a test can pause, so that waits and times agree; it can be set like any other clock.
    Runtime {
        /// A moment of the runtime's clock.
        origin: Instant,
        /// What this clock showed at that moment.
        at: Timestamp,
        /// By how many milliseconds it was set forward since, or back if it is negative.
        set: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_time(),
            Self::Manual(ms) => Timestamp(ms.load(Ordering::SeqCst)),
            Self::Runtime { origin, at, set } => {
                let passed = i64::try_from(origin.elapsed().as_millis()).unwrap_or(i64::MAX);
                Timestamp(at.0.saturating_add(passed).saturating_add(set.load(Ordering::SeqCst)))
            }
        }
    }
}

/// The machine's time in UTC milliseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is handed")]
pub fn system_time() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_runtimes_clock_goes_with_what_is_waited_for_and_can_be_set() {
        let set = Arc::new(AtomicI64::new(0));
        let clock = Clock::Runtime { origin: Instant::now(), at: Timestamp(5_000), set: Arc::clone(&set) };
        assert_eq!(clock.now(), Timestamp(5_000));
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
        assert_eq!(clock.now(), Timestamp(8_000));
        set.store(-4_000, Ordering::SeqCst);
        assert_eq!(clock.now(), Timestamp(4_000));
    }
}
