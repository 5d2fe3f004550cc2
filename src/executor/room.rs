//! Whether there is room on the disk for the result of another attempt. Nothing is begun without.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::results::free_bytes;

/// So long what was found counts: room for a result is far more than what others can fill meanwhile.
const FRESH: Duration = Duration::from_secs(1);

/// What was found last.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Option<(Instant, u64)>>);

impl Room {
    /// What is to be said when the state directory has less room than this; `None` also when that cannot be found out.
    pub(super) async fn lacks(&self, state: &Path, bytes_min: u64) -> Option<String> {
        let free = match self.found() {
            Some(free) => free,
            None => self.look(state).await?,
        };
        let mib = |bytes: u64| bytes >> 20;
        (free < bytes_min).then(|| {
            let (dir, free, wanted) = (state.display(), mib(free), mib(bytes_min));
            format!(
                "nothing was begun: only {free} MiB are free in {dir}, and a result may need {wanted}; make room there"
            )
        })
    }

    fn found(&self) -> Option<u64> {
        let found = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, free)| free)
    }

    async fn look(&self, state: &Path) -> Option<u64> {
        let (dir, at) = (state.to_owned(), Instant::now());
        let free = tokio::task::spawn_blocking(move || free_bytes(&dir)).await.ok()?.ok()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, free));
        Some(free)
    }
}
