//! Spaces out starts on an analyzer that has a `rate`. The planner already counts starts; this keeps bursts of a restarted controller apart.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::resource::analyzer::Rate;

/// More analyzers than this start afresh; it only bounds the memory of a controller whose analyzers come and go.
const LIMITERS_MAX: usize = 1024;

/// The runtime's clock, so that a paused clock paces too.
#[derive(Debug, Clone, Copy)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A limiter with the rate it stands for and the clock it reads.
type Paced = (Rate, RuntimeClock, Arc<Limiter>);

type Limiter = RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Duration>>;

/// One limiter for each analyzer; a changed rate starts a new one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    limiters: Mutex<HashMap<String, Paced>>,
}

impl Pace {
    fn limiter(&self, analyzer: &str, rate: Rate) -> Option<(RuntimeClock, Arc<Limiter>)> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, clock, limiter)) = limiters.get(analyzer).filter(|(have, _, _)| *have == rate) {
            return Some((*clock, limiter.clone()));
        }
        let limit = NonZeroU32::new(rate.limit)?;
        let quota = Quota::with_period(rate.per.std().checked_div(rate.limit)?)?.allow_burst(limit);
        let clock = RuntimeClock(Instant::now());
        let limiter = Arc::new(Limiter::direct_with_clock(quota, clock));
        if limiters.len() >= LIMITERS_MAX {
            limiters.clear();
        }
        limiters.insert(analyzer.to_owned(), (rate, clock, limiter.clone()));
        Some((clock, limiter))
    }

    /// Waits for the analyzer's next opening; at once when the rate is no limit at all (zero per zero time).
    pub(super) async fn wait(&self, analyzer: &str, rate: Rate) {
        let Some((clock, limiter)) = self.limiter(analyzer, rate) else { return };
        while let Err(not_yet) = limiter.check() {
            // A millisecond more, since the runtime's timers are no finer.
            tokio::time::sleep(not_yet.wait_time_from(clock.now()) + Duration::from_millis(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::time::Span;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_next_waits() {
        let pace = Pace::default();
        let rate = Rate { limit: 3, per: Span::seconds(30) };
        let start = Instant::now();
        for _ in 0..3 {
            pace.wait("a", rate).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.wait("b", rate).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.wait("a", rate).await;
        let waited = start.elapsed();
        assert!(waited >= Duration::from_secs(10) && waited < Duration::from_secs(11), "{waited:?}");
    }
}
