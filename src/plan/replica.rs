//! What is known of one replica, what a probe's answer changes of it, and whether anything may be sent there now.
//!
//! Health is a row, written by reports of probes and of attempts that reached nobody. The breaker has no row: it follows from the latest
//! endings on the replica, so a restart changes nothing about it.

use crate::resource::analyzer::Breaker;
use crate::resource::health::Health;
use crate::resource::outcome::Outcome;
use crate::resource::time::Timestamp;

/// What is stored of one replica's health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaHealth {
    /// Its address.
    pub url: String,
    /// Whether it can be used, as far as probes and attempts have told.
    pub healthy: bool,
    /// Failed probes in a row, while it still counts as healthy.
    pub failures: u32,
    /// When `healthy` last changed.
    pub changed_at: Timestamp,
    /// When it last answered something new; `None` when it never answered.
    pub answered_at: Option<Timestamp>,
    /// The latest problem; empty when there is none.
    pub message: String,
    /// What it said of itself.
    pub said: Health,
}

/// How an attempt on a replica ended, as the breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaEnding {
    /// Its outcome.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// All that is known of one replica. It has been asked at least once, by this process or by one before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaFacts {
    /// Its health.
    pub health: ReplicaHealth,
    /// Its latest endings, newest first, at least as far as the last one that proves the transport.
    pub endings: Vec<ReplicaEnding>,
    /// Attempts that are open on it.
    pub open: u32,
    /// Whether this process has had an answer about it, good or bad. What an earlier one found bad is asked again before it counts.
    pub asked: bool,
}

/// What an ending says of the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A request went there and an answer came back, be it that the app was at fault.
    Works,
    /// The connection, or the protocol, broke.
    Broke,
    /// Nobody was reached. An answer to a later probe disproves it.
    Unreached,
    /// Nothing: this side ended it, or gave up waiting.
    Neutral,
}

/// What an outcome says of the transport. An app's own fault never trips a breaker.
#[must_use]
pub const fn evidence(outcome: Outcome) -> Evidence {
    match outcome {
        Outcome::Completed | Outcome::PartialSuccess | Outcome::Failed => Evidence::Works,
        Outcome::ProtocolError => Evidence::Broke,
        Outcome::Unavailable => Evidence::Unreached,
        // A request that nobody answers in time may be the app's fault, or that of a service which answers nobody: a trial that ends so
        // closes no breaker.
        Outcome::Cancelled | Outcome::Interrupted | Outcome::HeartbeatLost | Outcome::TimedOut => Evidence::Neutral,
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything may be sent.
    Closed,
    /// Nothing is sent until this time.
    Open {
        /// When a trial is allowed.
        until: Timestamp,
    },
    /// One attempt at a time, as a trial.
    HalfOpen,
}

/// Where the breaker of a replica stands: derived from its endings, newest first.
#[must_use]
pub fn breaker(policy: Breaker, replica: &ReplicaFacts, now: Timestamp) -> BreakerState {
    let Some(broke) = broken_at(policy, replica) else { return BreakerState::Closed };
    let until = broke.plus(policy.half_open_after);
    // A clock that was turned back leaves endings in the future; they keep nobody waiting longer than the policy says.
    if now >= until || broke > now.plus(policy.half_open_after) {
        BreakerState::HalfOpen
    } else {
        BreakerState::Open { until }
    }
}

/// When time alone next changes where the breaker of a replica stands.
#[must_use]
pub fn breaker_turns_at(policy: Breaker, replica: &ReplicaFacts, now: Timestamp) -> Option<Timestamp> {
    let broke = broken_at(policy, replica)?;
    // The first is in the future only after a clock was turned back: then the break begins to count once more.
    [broke.minus(policy.half_open_after), broke.plus(policy.half_open_after)].into_iter().find(|at| *at > now)
}

/// The latest of so many failures in a row that the policy breaks; `None` when there are fewer.
fn broken_at(policy: Breaker, replica: &ReplicaFacts) -> Option<Timestamp> {
    let disproved = |ending: &ReplicaEnding| replica.health.answered_at.is_some_and(|answered| answered > ending.at);
    let mut failures = 0;
    let mut newest = None;
    for ending in &replica.endings {
        match evidence(ending.outcome) {
            Evidence::Works => break,
            Evidence::Neutral => {}
            Evidence::Unreached if disproved(ending) => {}
            Evidence::Unreached | Evidence::Broke => {
                failures += 1;
                newest = newest.or(Some(ending.at));
            }
        }
    }
    newest.filter(|_| failures >= policy.open_after_failures)
}

/// Whether anything may be sent to a replica now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked it yet, so nothing is known.
    Unknown,
    /// It does not answer.
    Unhealthy,
    /// It answers probes, and breaks what is sent to it: left alone until this time.
    Open {
        /// When a trial is allowed.
        until: Timestamp,
    },
    /// It may be used, for one attempt at a time.
    Trial,
    /// It may be used.
    Usable,
}

impl Standing {
    /// Whether something may be sent, as far as slots allow.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Usable | Self::Trial)
    }
}

/// Whether anything may be sent to a replica now, as it was last known.
#[must_use]
pub fn standing(replica: Option<&ReplicaFacts>, policy: Breaker, now: Timestamp) -> Standing {
    let Some(replica) = replica else { return Standing::Unknown };
    match breaker(policy, replica, now) {
        _ if !replica.health.healthy => Standing::Unhealthy,
        BreakerState::Open { until } => Standing::Open { until },
        BreakerState::HalfOpen => Standing::Trial,
        BreakerState::Closed => Standing::Usable,
    }
}

/// The replica of this address, as far as it is known.
#[must_use]
pub fn of<'f>(replicas: &'f [ReplicaFacts], url: &str) -> Option<&'f ReplicaFacts> {
    replicas.iter().find(|replica| replica.health.url == url)
}

/// What a probe's answer makes of a replica's health; `None` when it changes nothing that matters, so nothing is written.
///
/// One answer makes it healthy. `threshold` failures in a row make it unhealthy, or the first one when it has never answered.
#[must_use]
pub fn heard(
    url: &str,
    known: Option<&ReplicaHealth>,
    answer: Result<Health, String>,
    threshold: u32,
    now: Timestamp,
) -> Option<ReplicaHealth> {
    let was_healthy = known.is_some_and(|known| known.healthy);
    let before = known.cloned().unwrap_or_else(|| ReplicaHealth {
        url: url.to_owned(),
        changed_at: now,
        ..ReplicaHealth::default()
    });
    let mut after = before.clone();
    match answer {
        Ok(said) => {
            (after.healthy, after.failures, after.message, after.said) = (true, 0, String::new(), said);
        }
        Err(message) => {
            after.message = message;
            if was_healthy {
                after.failures = before.failures.saturating_add(1);
                after.healthy = after.failures < threshold;
            }
        }
    }
    if after.healthy != was_healthy {
        after.changed_at = now;
    }
    if known == Some(&after) {
        return None;
    }
    if after.healthy && after.failures == 0 {
        after.answered_at = Some(now);
    }
    Some(after)
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
