//! What `why` says of analyzers that cannot be used: which replicas are why, and what each task waits for. Pure, like `chain`.

use super::chain::{Facts, last_attempt, when};
use super::replicas::usable;
use crate::plan::write::TaskStatus;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;

/// What keeps replicas from being used, each as a sentence.
fn troubles(facts: &Facts) -> Vec<String> {
    facts.replicas.iter().filter_map(|replica| replica.sentence(facts.now)).collect()
}

/// What a queued task waits for; says whether that is a replica that can be used at all.
pub(super) fn queued(facts: &Facts, because: &mut Vec<String>) -> bool {
    let analyzer = &facts.spec.analyzer;
    let blocked = !facts.replicas.is_empty() && usable(&facts.replicas) == 0;
    because.push(if blocked {
        format!("it is ready, and no replica of analyzer \"{analyzer}\" can be used")
    } else {
        format!("it is ready and waits for a free slot of analyzer \"{analyzer}\"")
    });
    because.extend(troubles(facts));
    blocked
}

/// What a task waits for that no replica could take.
pub(super) fn waits(facts: &Facts, status: &TaskStatus, because: &mut Vec<String>) -> String {
    let analyzer = &facts.spec.analyzer;
    if let Some(last) = facts.attempts.last().filter(|last| last.ended_at.is_some()) {
        because.push(last_attempt(facts, last));
    }
    because.push(format!("no replica of analyzer \"{analyzer}\" could be used: {}", status.message));
    let sentences = troubles(facts);
    if sentences.len() < facts.replicas.len() {
        because.push("by now one can be used".into());
        return "it is queued at the controller's next look".into();
    }
    because.extend(sentences);
    let at = status.next_at.map_or_else(|| "later".into(), |at| when(at, facts.now));
    match status.reason {
        Reason::BreakerOpen => format!("it is queued again {at}, or as soon as a replica can be used"),
        _ => format!("it goes on as soon as a replica answers; else it is looked at again {at}"),
    }
}

/// How often a task that failed for want of its analyzer may still start over by itself.
pub(super) fn recoveries_left(facts: &Facts, status: &TaskStatus) -> u32 {
    let is_for_want_of_it = (status.phase, status.reason) == (Phase::Failed, Reason::AnalyzerUnavailable);
    match is_for_want_of_it && facts.task.removed_at.is_none() {
        true => facts.recoveries_max.saturating_sub(status.recoveries),
        false => 0,
    }
}

/// What follows for a task that failed for want of its analyzer, if anything does by itself.
pub(super) fn recovers(facts: &Facts, status: &TaskStatus, because: &mut Vec<String>) -> Option<String> {
    let left = recoveries_left(facts, status);
    if (status.phase, status.reason) == (Phase::Failed, Reason::AnalyzerUnavailable) {
        because.extend(troubles(facts));
    }
    let name = &facts.task.name;
    let times = if left == 1 { "once".to_owned() } else { format!("up to {left} times") };
    (left > 0).then(|| {
        format!("it starts over by itself when its analyzer is back ({times} in a row); manifestd retry {name} starts it over now")
    })
}
