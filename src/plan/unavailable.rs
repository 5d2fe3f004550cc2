//! Waiting for an analyzer that cannot be used: the one schedule for tasks that found no replica before they were sent, and for those
//! whose attempt reached nobody.

use super::backoff::UNAVAILABLE_BASE;
use super::budgets::Budgets;
use super::replica::{ReplicaFacts, Standing, of, standing};
use super::write::TaskStatus;
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::findings::Findings;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// How an analyzer stands as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Something may be sent, as far as slots allow.
    Usable,
    /// Nothing is known of some replica that could still be usable: it has to be asked first.
    Asking,
    /// No replica answers.
    Unreachable {
        /// What is wrong, for a person.
        message: String,
    },
    /// Some replica answers, and is left alone until its breaker allows a trial.
    BreakerOpen {
        /// When the first breaker allows one.
        until: Timestamp,
        /// What is wrong, for a person.
        message: String,
    },
}

/// How an analyzer stands for its queue. What only an earlier process found bad counts as unknown: it is being asked again.
#[must_use]
pub fn readiness(spec: &AnalyzerSpec, replicas: &[ReplicaFacts], now: Timestamp) -> Readiness {
    if spec.websocket.is_none() {
        return Readiness::Usable;
    }
    let mut asking = false;
    let mut until: Option<(Timestamp, String)> = None;
    let mut dead: Vec<(String, &str)> = Vec::new();
    for url in spec.replicas() {
        let replica = of(replicas, &url);
        match standing(replica, spec.breaker, now) {
            Standing::Usable | Standing::Trial => return Readiness::Usable,
            Standing::Unknown => asking = true,
            Standing::Unhealthy if replica.is_some_and(|replica| !replica.asked) => asking = true,
            Standing::Unhealthy => dead.push((url, replica.map_or("", |replica| replica.health.message.as_str()))),
            Standing::Open { until: at } => {
                if until.as_ref().is_none_or(|(first, _)| at < *first) {
                    until = Some((at, url));
                }
            }
        }
    }
    match (asking, until, dead.as_slice()) {
        (true, ..) => Readiness::Asking,
        (false, Some((until, url)), _) => {
            let failures = spec.breaker.open_after_failures;
            let message =
                format!("the last {failures} requests to {url} broke; it is left alone, and then tried with one");
            Readiness::BreakerOpen { until, message }
        }
        (false, None, [(url, problem), rest @ ..]) => {
            let more = match rest.len() {
                0 => String::new(),
                1 => ", nor can the other replica".into(),
                more => format!(", nor can the {more} other replicas"),
            };
            Readiness::Unreachable { message: format!("{url} cannot be used: {problem}{more}") }
        }
        (false, None, []) => Readiness::Unreachable { message: "it has no replicas".into() },
    }
}

/// The next wait of a task for an analyzer that cannot be reached: 30 s, 60 s, 120 s, ... and then Failed.
#[must_use]
pub fn wait_or_fail(status: &TaskStatus, message: &str, budgets: &Budgets, now: Timestamp) -> TaskStatus {
    let waits = status.waits.saturating_add(1);
    let limit = budgets.preflight_retries_max;
    if waits > limit {
        let message = if limit == 0 { message.to_owned() } else { format!("waited {limit} times: {message}") };
        return status.ended(Phase::Failed, Reason::AnalyzerUnavailable, message, Findings::default(), now);
    }
    let at = now.plus(UNAVAILABLE_BASE.times(1 << status.waits.min(20)));
    let message = format!("{message} (wait {waits} of {limit})");
    TaskStatus { waits, ..status.waiting(Reason::AnalyzerUnavailable, message, Some(at)) }
}
