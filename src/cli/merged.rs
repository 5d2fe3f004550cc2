//! The result of a round as people see it: of each tool the report that counts, with the attempt that it comes from.

use crate::plan::merge::{Merged, Told, merge};
use crate::resource::outcome::Outcome;
use crate::store::view::{AttemptView, ObjectView};

/// What the attempts of one round came to.
#[derive(Debug, Clone)]
pub(crate) struct RoundResult {
    /// The tools.
    pub(crate) merged: Merged,
    /// The attempts that the tools come from, oldest first; of a round that told of no tool the latest one that left files.
    pub(crate) attempts: Vec<AttemptView>,
}

impl RoundResult {
    /// The attempt of this number.
    pub(crate) fn attempt(&self, number: u32) -> Option<&AttemptView> {
        self.attempts.iter().find(|attempt| attempt.number == number)
    }

    /// What a single attempt told, whatever became of the round.
    pub(crate) fn of_attempt(attempt: AttemptView) -> Self {
        let told = Told { asked: Vec::new(), ..told(&attempt) };
        // All of its tools count, and what it said of each of them stands as it is.
        let told = Told { outcome: Outcome::Completed, ..told };
        Self { merged: merge(&[], &[told]), attempts: vec![attempt] }
    }
}

/// The result of the latest round that has one; `None` when no attempt left anything.
pub(crate) fn latest(task: &ObjectView, attempts: &[AttemptView]) -> Option<RoundResult> {
    let last = attempts.iter().rev().find(|attempt| attempt.result_dir.is_some() || !attempt.tools.is_empty())?;
    // An attempt with another spec starts over, also within a round.
    let of_round =
        || attempts.iter().filter(|attempt| attempt.round == last.round && attempt.generation == last.generation);
    let first_asked = of_round().next().map(|attempt| attempt.asked.clone()).unwrap_or_default();
    let requested = if last.generation == task.generation { requested(task) } else { first_asked };
    let told: Vec<Told> = of_round().filter(|attempt| attempt.outcome.is_some()).map(told).collect();
    let merged = merge(&requested, &told);
    let counts = |attempt: &&AttemptView| merged.tools.iter().any(|tool| tool.attempt == attempt.number);
    let mut chosen: Vec<AttemptView> = of_round().filter(counts).cloned().collect();
    if chosen.is_empty() {
        chosen.push(last.clone());
    }
    Some(RoundResult { merged, attempts: chosen })
}

fn requested(task: &ObjectView) -> Vec<String> {
    let tools = task.spec.get("tools").and_then(|tools| tools.as_array()).map(Vec::as_slice).unwrap_or_default();
    tools.iter().filter_map(|tool| tool.as_str().map(str::to_owned)).collect()
}

fn told(attempt: &AttemptView) -> Told {
    Told {
        number: attempt.number,
        generation: attempt.generation,
        asked: attempt.asked.clone(),
        outcome: attempt.outcome.unwrap_or(Outcome::Failed),
        message: attempt.message.clone().unwrap_or_default(),
        tools: attempt.tools.clone(),
    }
}
