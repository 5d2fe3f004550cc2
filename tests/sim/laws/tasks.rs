//! How a task moves from phase to phase.

use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::RunPolicy;

use super::super::audit::{Change, Row};
use super::super::model::{PASS_MAX, Task};
use super::{Judged, Moment, budgets, hold, proof};

fn phase(row: &Row) -> Phase {
    row.text("phase").parse().expect("a phase")
}

/// One change of one task's row.
pub(super) fn changed(change: &Change, all: &[Change], moment: &Moment<'_>) -> Judged {
    let name = change.row().text("name");
    let Some(new) = &change.new else {
        return hold_deleted(change, moment);
    };
    let task = &moment.model.tasks[new.text("uid")];
    let (observed, generation) = (new.number("observed_generation"), new.number("generation"));
    hold!(Generation, observed <= generation, "{name} speaks of generation {observed} of {generation}");
    let Some(old) = &change.old else { return Ok(()) };
    hold!(
        Generation,
        observed >= old.number("observed_generation"),
        "{name} spoke of generation {} and now of {observed}",
        old.number("observed_generation")
    );
    moves(old, new, task, moment)?;
    if phase(new) == Phase::Running && phase(old) != Phase::Running {
        begins_to_run(old, new, task, all, moment)?;
    }
    if phase(old) == Phase::Running && phase(new) != Phase::Running {
        let attempt = task.attempts.get(&u32::try_from(old.number("attempt")).unwrap_or(0));
        hold!(
            OneOwner,
            attempt.is_some_and(|attempt| !attempt.is_open()),
            "{name} left Running while its attempt {} is open",
            old.number("attempt")
        );
    }
    if phase(new).is_terminal() && (!phase(old).is_terminal() || new.number("round") != old.number("round")) {
        ends(old, new, task, moment)?;
    }
    let (waits, recoveries) = (new.number("waits"), new.number("recoveries"));
    let settings = moment.settings;
    hold!(Budgets, waits <= i64::from(settings.preflight_max_retries), "{name} waits for the {waits}th time");
    hold!(
        Budgets,
        recoveries <= i64::from(settings.transient_failure_max_retries),
        "{name} is started over for the {recoveries}th time since its analyzer is back"
    );
    set_aside(old, new, moment)
}

/// Rounds, and what never changes within one.
fn moves(old: &Row, new: &Row, task: &Task, moment: &Moment<'_>) -> Judged {
    let name = new.text("name");
    let (before, after) = (old.number("round"), new.number("round"));
    hold!(OneOwner, after == before || after == before + 1, "{name} went from round {before} to {after}");
    if after == before {
        if phase(old).is_terminal() {
            let same = ["phase", "reason"].iter().all(|column| old.text(column) == new.text(column))
                && old.maybe("finished_at") == new.maybe("finished_at");
            let (was, is) = (old.text("phase"), new.text("phase"));
            hold!(
                OneOwner,
                same,
                "{name} was {was} ({}) and is {is} ({}) in the same round",
                old.text("reason"),
                new.text("reason")
            );
        }
        return Ok(());
    }
    // Something must ask for another round.
    let reason = old.text("reason");
    let by_child = new.maybe_text("run").is_some();
    let older =
        task.of_round(before).last().is_some_and(|last| last.row.number("generation") < new.number("generation"));
    let is_asked = old.number("retry_round") >= before
        || new.number("generation") > old.number("observed_generation")
        || older
        || new.number("on_app_change") == 1
        || reason == Reason::ManifestRemoved.as_str()
        || reason == Reason::AppDeleted.as_str()
        || (phase(old) == Phase::Failed && reason == Reason::AnalyzerUnavailable.as_str())
        || by_child;
    hold!(OneOwner, is_asked, "{name} was {} ({reason}) and begins round {after}, which nothing asks for", phase(old));
    let once = task.spec.run_policy == RunPolicy::Once;
    let by_spec = new.number("generation") > old.number("observed_generation") && !by_child;
    let only_spec = by_spec && old.number("retry_round") < before && phase(old) == Phase::Completed;
    let changed_lately = moment.model.objects.get(new.text("uid")).is_none_or(|object| object.generation == 1);
    hold!(
        OneOwner,
        !(once && only_spec) || changed_lately || was_edited_lately(task, moment),
        "{name} runs once and begins round {after} for another spec"
    );
    Ok(())
}

/// The policy may have been another one when the plan was made.
fn was_edited_lately(task: &Task, moment: &Moment<'_>) -> bool {
    moment.age.saturating_sub(task.edited_at) <= PASS_MAX
}

fn begins_to_run(old: &Row, new: &Row, task: &Task, all: &[Change], moment: &Moment<'_>) -> Judged {
    let (name, uid) = (new.text("name"), new.text("uid"));
    let number = new.number("attempt");
    hold!(OneOwner, phase(old) == Phase::Pending, "{name} went from {} to Running", phase(old));
    hold!(
        OneOwner,
        number == old.number("attempt") + 1,
        "{name} runs attempt {number} after {}",
        old.number("attempt")
    );
    let opened = all.iter().any(|change| {
        change.table == "attempt"
            && change.old.is_none()
            && change.row().text("task_uid") == uid
            && change.row().number("number") == number
            && change.row().number("round") == new.number("round")
    });
    hold!(OneOwner, opened, "{name} is Running, and its attempt {number} was not opened with it");
    if let Some(since) = task.unwanted_since {
        let late = moment.age.saturating_sub(since);
        hold!(Wanted, late <= PASS_MAX, "{name} runs, though for {late} ms nobody has wanted it to");
    }
    let app = moment.model.find(manifestd::resource::kind::Kind::App, &task.spec.app);
    if let Some(missing) = app.and_then(|(uid, _)| moment.model.missing.get(uid)) {
        let late = moment.age.saturating_sub(*missing);
        hold!(Wanted, late <= PASS_MAX, "{name} runs, though its app {} has been missing for {late} ms", task.spec.app);
    }
    Ok(())
}

/// Why a round ended as it did.
fn ends(old: &Row, new: &Row, task: &Task, moment: &Moment<'_>) -> Judged {
    let name = new.text("name");
    match phase(new) {
        Phase::Completed => {
            let lacks = proof::is_complete(task).err();
            hold!(Proven, lacks.is_none(), "{name} is Completed: {}", lacks.unwrap_or_default());
        }
        Phase::PartialSuccess => {
            let good = proof::good_tools(task, new.number("round"), new.number("observed_generation"));
            hold!(Proven, !good.is_empty(), "{name} is PartialSuccess, and no tool ran well");
        }
        Phase::Failed => budgets::failed(old, new, task, moment)?,
        Phase::Cancelled => {
            let reason = new.text("reason").parse::<Reason>().expect("a reason");
            let holds = match reason {
                Reason::CancelledByUser => new.number("cancel_round") >= new.number("round"),
                // It may have come back since the plan was made.
                Reason::ManifestRemoved => {
                    new.number("removed") == 1 || moment.age.saturating_sub(task.edited_at) <= PASS_MAX
                }
                Reason::AppDeleted | Reason::PendingTooLong => true,
                _ => false,
            };
            hold!(OneOwner, holds, "{name} is Cancelled for {reason}, and that does not hold");
        }
        Phase::Pending | Phase::Running => {}
    }
    Ok(())
}

/// What is set aside has been over for as long as the settings say, and what is purged has been set aside for as long.
fn set_aside(old: &Row, new: &Row, moment: &Moment<'_>) -> Judged {
    if new.maybe("purged_at").is_some() && old.maybe("purged_at").is_none() && new.maybe_text("run").is_none() {
        let (name, aside) = (new.text("name"), old.maybe("aside_at"));
        hold!(OnlyItself, aside.is_some(), "{name} is purged, and was not set aside");
        let days = i64::from(moment.settings.quarantine_days) * 86_400_000;
        let age = moment.wall - aside.unwrap_or(moment.wall);
        let by_hand = moment.cared_at.is_some_and(|at| moment.age.saturating_sub(at) <= PASS_MAX);
        hold!(OnlyItself, by_hand || age >= days, "{name} is purged {age} ms after it was set aside");
    }
    let Some(aside) = new.maybe("aside_at").filter(|_| old.maybe("aside_at").is_none()) else { return Ok(()) };
    let name = new.text("name");
    let days = i64::from(moment.settings.task_retention_days) * 86_400_000;
    let of_run = new.maybe_text("run").is_some();
    let finished = new.maybe("finished_at");
    hold!(OnlyItself, finished.is_some(), "{name} is set aside and has not ended");
    let age = aside - finished.unwrap_or(aside);
    hold!(OnlyItself, of_run || age > days, "{name} is set aside {age} ms after it ended");
    Ok(())
}

/// A task's row goes only with its object, and never while something of it is open.
fn hold_deleted(change: &Change, moment: &Moment<'_>) -> Judged {
    let row = change.row();
    let name = row.text("name");
    hold!(OnlyItself, phase(row).is_terminal(), "the record of {name} is deleted while it is {}", phase(row));
    let purged = row.maybe("aside_at").is_some() || moment.cared_at.is_some();
    hold!(OnlyItself, purged, "the record of {name} is deleted, and was not set aside");
    Ok(())
}
