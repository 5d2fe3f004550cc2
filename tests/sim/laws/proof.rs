//! What is known to have run: the rows compared with what analyzers really said, and Completed with the tools that ran well.

use std::collections::BTreeSet;

use manifestd::executor::results::file_name;
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::{Outcome, ToolStatus};
use manifestd::resource::reason::Reason;

use super::super::audit::Change;
use super::super::ledger::Course;
use super::super::model::{Attempt, PASS_MAX, Task};
use super::{Judged, Moment, hold};

/// The tools that attempts of a round on one generation of the spec ran well.
pub(super) fn good_tools(task: &Task, round: i64, generation: i64) -> BTreeSet<String> {
    let of_spec = task.of_round(round).filter(|attempt| attempt.row.number("generation") == generation);
    let succeeded =
        of_spec.filter(|attempt| matches!(attempt.outcome, Some(Outcome::Completed | Outcome::PartialSuccess)));
    let tools = succeeded.flat_map(|attempt| &attempt.tools);
    let good = tools.filter(|tool| matches!(tool.status, ToolStatus::Completed | ToolStatus::NotApplicable));
    good.map(|tool| tool.name.to_ascii_lowercase()).collect()
}

/// Whether every tool that was wanted is known to have run well.
pub(super) fn is_complete(task: &Task) -> Result<(), String> {
    let (round, generation) = (task.round(), task.row.number("observed_generation"));
    let good = good_tools(task, round, generation);
    let mut of_spec = task.of_round(round).filter(|attempt| attempt.row.number("generation") == generation);
    let Some(first) = of_spec.next() else {
        return Err(format!("no attempt of round {round} ran generation {generation}"));
    };
    if good.is_empty() {
        return Err("no tool ran well".into());
    }
    // The first attempt of a round is asked for all that its spec wants.
    let wanted: BTreeSet<String> = if first.asked.is_empty() {
        let told = task.of_round(round).filter(|attempt| attempt.asked.is_empty());
        let last = told.filter(|attempt| !attempt.tools.is_empty()).last();
        last.into_iter().flat_map(|attempt| &attempt.tools).map(|tool| tool.name.to_ascii_lowercase()).collect()
    } else {
        first.asked.iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    match wanted.iter().find(|name| !good.contains(*name)) {
        Some(name) => Err(format!("tool {name} is not known to have run well")),
        None => Ok(()),
    }
}

/// An attempt was opened or has ended.
pub(super) fn changed(change: &Change, moment: &Moment<'_>) -> Judged {
    let Some(new) = &change.new else { return Ok(()) };
    let task = &moment.model.tasks[new.text("task_uid")];
    let number = u32::try_from(new.number("number")).unwrap_or(0);
    let attempt = &task.attempts[&number];
    if change.old.is_none() {
        asks_for_no_good_tool(task, attempt)?;
    }
    let has_ended = change.old.as_ref().is_none_or(|old| old.maybe_text("outcome").is_none());
    match attempt.outcome.filter(|_| has_ended) {
        Some(outcome) => says_what_was_said(task, attempt, outcome, moment),
        None => Ok(()),
    }
}

fn asks_for_no_good_tool(task: &Task, attempt: &Attempt) -> Judged {
    let (round, generation) = (attempt.row.number("round"), attempt.row.number("generation"));
    let number = attempt.row.number("number");
    let before: Vec<&Attempt> = task.of_round(round).filter(|other| other.row.number("number") < number).collect();
    let earlier = Task { attempts: Default::default(), ..task.clone() };
    let mut earlier = earlier;
    for other in before {
        earlier.attempts.insert(u32::try_from(other.row.number("number")).unwrap_or(0), other.clone());
    }
    let good = good_tools(&earlier, round, generation);
    let again: Vec<&String> = if attempt.asked.is_empty() {
        good.iter().collect()
    } else {
        attempt.asked.iter().filter(|name| good.contains(&name.to_ascii_lowercase())).collect()
    };
    hold!(Kept, again.is_empty(), "attempt {number} of {} asks again for {again:?}, which ran well", task.name());
    Ok(())
}

/// What a row says of an ending is what the outside world said, and its result is on disk.
fn says_what_was_said(task: &Task, attempt: &Attempt, outcome: Outcome, moment: &Moment<'_>) -> Judged {
    let number = u32::try_from(attempt.row.number("number")).unwrap_or(0);
    let name = task.name();
    let id = AttemptId { task: Uid(attempt.row.text("task_uid").into()), number };
    if attempt.reason == Some(Reason::Reused) {
        return is_reused(task, attempt, moment);
    }
    let ledger = moment.ledger;
    match outcome {
        Outcome::Completed
        | Outcome::PartialSuccess
        | Outcome::Failed
        | Outcome::TimedOut
        | Outcome::Unavailable
        | Outcome::ProtocolError => {
            // One that was cancelled though nobody had asked for that has failed.
            let unasked = attempt.reason == Some(Reason::AnalyzerError) && outcome == Outcome::Failed;
            let said =
                ledger.has_told(&id, outcome).or_else(|| ledger.has_told(&id, Outcome::Cancelled).filter(|_| unasked));
            hold!(Proven, said.is_some(), "attempt {number} of {name} is {outcome}, which nobody said");
            let same = said.is_some_and(|said| said.tools == attempt.tools);
            hold!(Proven, same, "attempt {number} of {name} tells of other tools than its analyzer did");
        }
        Outcome::Cancelled | Outcome::HeartbeatLost => {
            let said = ledger.has_told(&id, Outcome::Cancelled).is_some();
            hold!(Proven, said, "attempt {number} of {name} is {outcome}, and nobody said that it was stopped");
            let heard = ledger.works.get(&id).map_or(moment.age, |work| work.heard);
            let silent = moment.age.saturating_sub(heard);
            let long = outcome == Outcome::Cancelled || silent + PASS_MAX >= moment.settings.stuck_after.0;
            hold!(Proven, long, "attempt {number} of {name} is called silent after {silent} ms");
        }
        Outcome::Interrupted => {
            let said = ledger.has_told(&id, Outcome::Cancelled).is_some();
            let own = attempt.by == moment.life;
            let carried = ledger
                .works
                .get(&id)
                .is_some_and(|work| work.carried == Some(moment.life) && work.course == Course::Going);
            hold!(
                HeldOrOrphaned,
                said || !(own || carried),
                "attempt {number} of {name} is taken for interrupted by the controller whose it is"
            );
        }
    }
    if let Some(directory) = attempt.row.maybe_text("result_dir") {
        let app = if task.spec.app.is_empty() { "_".to_owned() } else { file_name(&task.spec.app) };
        let own = format!("{app}/{}/{number}", file_name(name));
        // The app may be another one by now; the task and the number are not.
        let is_own = directory == own || directory.ends_with(&format!("/{}/{number}", file_name(name)));
        hold!(CommitThenAct, is_own, "the result of attempt {number} of {name} lies in {directory}");
        is_on_disk(directory, attempt.row.text("result_sha256"), name, moment)?;
    }
    Ok(())
}

fn is_on_disk(directory: &str, sha256: &str, name: &str, moment: &Moment<'_>) -> Judged {
    let path = moment.results.join(directory).join("manifest.json");
    let found = std::fs::read(&path).map(|bytes| super::super::outside::digest(&bytes));
    let same = found.as_ref().is_ok_and(|found| found == sha256);
    hold!(CommitThenAct, same, "the row of {name} says that a result is in {directory}, and it is not");
    Ok(())
}

/// A result that was taken from another attempt is one that completed.
fn is_reused(task: &Task, attempt: &Attempt, moment: &Moment<'_>) -> Judged {
    let directory = attempt.row.text("result_dir");
    let source = moment.model.attempts().any(|(_, other)| {
        other.outcome == Some(Outcome::Completed)
            && other.reason != Some(Reason::Reused)
            && other.row.text("result_dir") == directory
            && other.row.text("analyzer") == attempt.row.text("analyzer")
            && other.tools == attempt.tools
    });
    hold!(
        Proven,
        source,
        "{} takes the result in {directory}, which is that of no attempt that completed",
        task.name()
    );
    is_on_disk(directory, attempt.row.text("result_sha256"), task.name(), moment)
}
