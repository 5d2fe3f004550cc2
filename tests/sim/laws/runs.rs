//! Runs of pipelines and their children.

use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use serde_json::Value;

use super::super::audit::{Change, Row};
use super::super::model::Run;
use super::{Judged, Moment, hold};

fn phase(row: &Row) -> Phase {
    row.text("phase").parse().expect("a phase")
}

/// The pinned spec of a run.
pub(super) fn spec<'m>(row: &Row, moment: &Moment<'m>) -> Option<&'m Value> {
    moment.pinned.get(row.text("digest"))
}

/// The steps of a run that count for its phase.
fn steps(spec: &Value) -> impl Iterator<Item = &Value> {
    spec["steps"].as_array().into_iter().flatten()
}

fn children<'m>(run: &'m str, moment: &'m Moment<'_>) -> impl Iterator<Item = (&'m str, &'m Row)> {
    let of_run = moment.model.children.iter().filter(move |((of, _, _), _)| of == run);
    of_run.map(|((_, step, _), row)| (step.as_str(), row))
}

/// One change of one run's row.
pub(super) fn changed(change: &Change, moment: &Moment<'_>) -> Judged {
    let name = change.row().text("name");
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        if let (Some(old), None) = (&change.old, &change.new) {
            hold!(
                OnlyItself,
                phase(old).is_terminal(),
                "the record of run {name} is deleted while it is {}",
                phase(old)
            );
        }
        return Ok(());
    };
    let (before, after) = (old.number("round"), new.number("round"));
    hold!(OneOwner, after == before || after == before + 1, "run {name} went from round {before} to {after}");
    if after == before && phase(old).is_terminal() {
        let same = ["phase", "reason"].iter().all(|column| old.text(column) == new.text(column));
        hold!(OneOwner, same, "run {name} was {} and is {} in the same round", phase(old), phase(new));
    }
    if after > before && new.text("reason") == Reason::RetriedByUser.as_str() {
        hold!(OneOwner, old.number("retry_round") >= before, "run {name} begins round {after}, which nobody asked for");
    }
    if phase(new).is_terminal() && !phase(old).is_terminal() {
        ends(new, moment)?;
    }
    Ok(())
}

/// A run ends as its children did.
fn ends(new: &Row, moment: &Moment<'_>) -> Judged {
    let (name, uid) = (new.text("name"), new.text("uid"));
    let open: Vec<&str> =
        children(uid, moment).filter(|(_, row)| row.maybe_text("conclusion").is_none()).map(|(step, _)| step).collect();
    hold!(Derived, open.is_empty(), "run {name} is {} while children of {open:?} have not ended", phase(new));
    let Some(spec) = spec(new, moment) else { return Ok(()) };
    let counts = |step: &str| steps(spec).any(|of| of["name"] == step);
    let counted: Vec<(&str, &str)> = children(uid, moment)
        .filter(|(step, _)| counts(step))
        .map(|(step, row)| (step, row.text("conclusion")))
        .collect();
    let good = counted.iter().filter(|(_, conclusion)| matches!(*conclusion, "Succeeded" | "Partial")).count();
    let bad = counted.iter().find(|(_, conclusion)| *conclusion != "Succeeded");
    match phase(new) {
        Phase::Completed => {
            hold!(Derived, bad.is_none(), "run {name} is Completed, and a child of {bad:?}");
            for step in steps(spec) {
                let (step_name, expected) = (step["name"].as_str().unwrap_or_default(), expected(step, &counted));
                let asked = counted.iter().filter(|(of, _)| *of == step_name).count() as u64;
                hold!(
                    Derived,
                    asked == expected,
                    "run {name} is Completed, and step {step_name} had {asked} of {expected} items"
                );
            }
            hold!(Derived, new.number("cancel") == 0, "run {name} was cancelled and is Completed");
        }
        Phase::PartialSuccess => {
            let approvals = steps(spec).any(|step| !step["approval"].is_null());
            hold!(Derived, good > 0 || approvals, "run {name} is PartialSuccess, and no child succeeded");
        }
        Phase::Failed if new.text("reason") == Reason::NoStepSucceeded.as_str() => {
            hold!(Derived, good == 0, "run {name} says that nothing succeeded, and {good} children did");
        }
        Phase::Failed if new.text("reason") == Reason::CriticalStepFailed.as_str() => {
            let critical = steps(spec).find(|step| step["critical"] == true).and_then(|step| step["name"].as_str());
            let failed = critical.is_some_and(|critical| {
                let own: Vec<&str> =
                    counted.iter().filter(|(step, _)| *step == critical).map(|(_, said)| *said).collect();
                !own.iter().any(|said| matches!(*said, "Succeeded" | "Partial"))
            });
            hold!(Derived, failed, "run {name} says that its critical step has failed, and it has not");
        }
        Phase::Cancelled | Phase::Failed | Phase::Pending | Phase::Running => {}
    }
    Ok(())
}

/// How many children a step has when nothing is left out.
fn expected(step: &Value, counted: &[(&str, &str)]) -> u64 {
    if !step["approval"].is_null() {
        return 0;
    }
    let each = &step["forEach"];
    if let Some(source) = each["appsFrom"].as_str() {
        return counted.iter().filter(|(of, _)| *of == source).count() as u64;
    }
    match (each["range"]["from"].as_u64(), each["range"]["to"].as_u64()) {
        (Some(from), Some(to)) => to - from + 1,
        _ => 1,
    }
}

/// One change of one child's row.
pub(super) fn child_changed(change: &Change, moment: &Moment<'_>) -> Judged {
    let Some(new) = &change.new else { return Ok(()) };
    let Some(run) = moment.model.runs.get(new.text("run")) else { return Ok(()) };
    let (name, step) = (run.row.text("name"), new.text("step"));
    if change.old.is_none() {
        return asked(run, new, moment);
    }
    let concluded = change.old.as_ref().is_some_and(|old| old.maybe_text("conclusion").is_none());
    let Some(conclusion) = new.maybe_text("conclusion").filter(|_| concluded) else { return Ok(()) };
    let uid = new.text("uid");
    let task = moment.model.tasks.get(uid).map(|task| task.phase);
    let ended = task.or_else(|| moment.model.runs.get(uid).map(|run| run.phase));
    let fits = match (conclusion, ended) {
        (_, None) => false,
        ("Succeeded", Some(phase)) => phase == Phase::Completed,
        ("Partial", Some(phase)) => phase == Phase::PartialSuccess,
        ("Failed", Some(phase)) => phase == Phase::Failed,
        ("Cancelled", Some(phase)) => phase == Phase::Cancelled,
        ("AppNotProduced" | "OutputMissing", Some(phase)) => matches!(phase, Phase::Completed | Phase::PartialSuccess),
        // It was not wanted any more before it could be asked for again.
        (_, Some(phase)) => phase.is_terminal(),
    };
    hold!(Derived, fits, "an item of step {step} of run {name} is {conclusion}, and what it asked for is {ended:?}");
    Ok(())
}

/// A child is asked for: it is one of those that its step has, and not too many are under way.
fn asked(run: &Run, new: &Row, moment: &Moment<'_>) -> Judged {
    let (name, step) = (run.row.text("name"), new.text("step"));
    let uid = run.row.text("uid");
    hold!(Derived, run.phase == Phase::Running, "run {name} asks for an item of step {step} while it is {}", run.phase);
    let Some(spec) = spec(&run.row, moment) else { return Ok(()) };
    let all = steps(spec).chain(spec["finally"].as_array().into_iter().flatten());
    let Some(of) = all.into_iter().find(|of| of["name"] == step) else {
        hold!(Derived, false, "run {name} asks for an item of step {step}, which its pipeline does not have");
        return Ok(());
    };
    let counted: Vec<(&str, &str)> = children(uid, moment).map(|(step, row)| (step, row.text("conclusion"))).collect();
    let (asked, expected) = (counted.iter().filter(|(of, _)| *of == step).count() as u64, expected(of, &counted));
    hold!(Derived, asked <= expected, "run {name} has {asked} items of step {step}, which has {expected}");
    // One that has ended and waits for room for what follows from it takes none itself.
    let is_over = |uid: &str| {
        let task = moment.model.tasks.get(uid).map(|task| task.phase);
        task.or_else(|| moment.model.runs.get(uid).map(|run| run.phase)).is_some_and(Phase::is_terminal)
    };
    let goes = |row: &Row| row.maybe_text("conclusion").is_none() && !is_over(row.text("uid"));
    let under_way = children(uid, moment).filter(|(_, row)| goes(row)).count() as u64;
    let most = spec["parallelism"].as_u64().unwrap_or(64);
    hold!(Slots, under_way <= most, "run {name} has {under_way} children under way, and its pipeline allows {most}");
    Ok(())
}
