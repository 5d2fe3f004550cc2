//! The outside world as somebody else plays it: a simulation stands in for every executor, every replica and every leftover.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use super::leftover::Reaped;
use super::stop::Stop;
use crate::resource::attempt::{Assignment, AttemptId, Ending, Sign};
use crate::resource::health::Health;
use crate::resource::time::Timestamp;

/// What the outside world answers with.
pub type Played<'o, T> = Pin<Box<dyn Future<Output = T> + Send + 'o>>;

/// Plays the outside world. What each method promises is what the method of [`Executors`](super::Executors) of the same name says.
pub trait Outside: Debug + Send + Sync {
    /// Drives one attempt to its end; `None` when it was told to leave and goes on by itself.
    fn run<'o>(
        &'o self,
        assignment: &'o Assignment,
        now: Timestamp,
        signs: mpsc::Sender<Sign>,
        stop: Stop,
    ) -> Played<'o, Option<Ending>>;

    /// Says how a replica is, within `timeout`.
    fn probe<'o>(&'o self, url: &'o str, timeout: Duration) -> Played<'o, Result<Health, String>>;

    /// Ends what a controller that is gone left of an attempt.
    fn reap<'o>(&'o self, id: &'o AttemptId) -> Played<'o, Reaped>;
}
