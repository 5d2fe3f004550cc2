//! How an attempt is opened, carried and ended.

use manifestd::resource::attempt::{Assignment, AttemptId};
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::RunPolicy;

use super::super::audit::{Change, Row};
use super::super::ledger::{Course, Side};
use super::super::model::{Attempt, Task};
use super::{Judged, Moment, hold};

/// What never changes of an attempt once it has ended.
const ENDING: [&str; 7] = ["outcome", "reason", "tools", "ended_at", "slot_until", "result_dir", "result_sha256"];

/// What never changes of an attempt at all.
const OPENING: [&str; 8] = ["round", "generation", "analyzer", "replica", "opened_at", "deadline_at", "asked", "pool"];

fn differ(old: &Row, new: &Row, columns: &[&'static str]) -> Option<&'static str> {
    let same =
        |column: &str| old.maybe(column) == new.maybe(column) && old.maybe_text(column) == new.maybe_text(column);
    columns.iter().copied().find(|column| !same(column))
}

fn id(row: &Row) -> AttemptId {
    let number = u32::try_from(row.number("number")).unwrap_or(0);
    AttemptId { task: Uid(row.text("task_uid").into()), number }
}

/// One change of one attempt's row.
pub(super) fn changed(change: &Change, all: &[Change], moment: &Moment<'_>) -> Judged {
    let row = change.row();
    let Some(task) = moment.model.tasks.get(row.text("task_uid")) else {
        // Deleted with its task, which is judged for itself.
        return Ok(());
    };
    let (name, number) = (task.name(), row.number("number"));
    match (&change.old, &change.new) {
        (None, Some(new)) => {
            opened(new, task, all)?;
            let open =
                new.maybe_text("outcome").is_none() && task.attempts.get(&id(row).number).is_some_and(Attempt::is_open);
            let seen = moment.carried.is_none_or(|carried| carried(&id(row)));
            hold!(
                HeldOrOrphaned,
                !open || seen,
                "attempt {number} of {name} is open by its row, and nobody carries it yet"
            );
            Ok(())
        }
        (Some(old), Some(new)) => {
            if let Some(column) = differ(old, new, &OPENING) {
                hold!(OneOwner, false, "{column} of attempt {number} of {name} changed after it was opened");
            }
            if old.maybe_text("outcome").is_some()
                && let Some(column) = differ(old, new, &ENDING)
            {
                hold!(OneOwner, false, "attempt {number} of {name} had ended, and then its {column} changed");
            }
            // What a controller that is gone had opened may be ended by a plan, and so is what takes an older result; all else by who carries it,
            // who lets go of it only then.
            let planned =
                new.text("outcome") == Outcome::Interrupted.as_str() || new.text("reason") == Reason::Reused.as_str();
            let seen = planned || moment.carried.is_none_or(|carried| carried(&id(row)));
            let ends = old.maybe_text("outcome").is_none() && new.maybe_text("outcome").is_some();
            hold!(HeldOrOrphaned, !ends || seen, "attempt {number} of {name} ended when nobody carried it any more");
            Ok(())
        }
        (Some(old), None) => {
            let ended = old.maybe_text("outcome").is_some();
            hold!(OnlyItself, ended, "attempt {number} of {name} is deleted while it is open");
            let aside = task.row.maybe("aside_at").is_some();
            hold!(OnlyItself, aside, "attempt {number} of {name} is deleted, and the task was not set aside");
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

fn opened(new: &Row, task: &Task, all: &[Change]) -> Judged {
    let (name, number) = (task.name(), new.number("number"));
    let highest = task.attempts.keys().copied().max().map_or(0, i64::from);
    let others = task.attempts.values().filter(|other| other.row.number("number") != number);
    hold!(OneOwner, number == highest, "attempt {number} of {name} is opened beside attempt {highest}");
    let open: Vec<i64> = others.filter(|other| other.is_open()).map(|other| other.row.number("number")).collect();
    hold!(OneOwner, open.is_empty(), "attempt {number} of {name} is opened while {open:?} are open");
    let runs = all.iter().any(|change| {
        change.table == "task"
            && change.row().text("uid") == new.text("task_uid")
            && change.row().text("phase") == Phase::Running.as_str()
    });
    let ended = new.maybe_text("outcome").is_some() || new.number("deadline_at") <= new.number("opened_at");
    hold!(OneOwner, runs || ended, "attempt {number} of {name} is opened, and the task is not made Running with it");
    Ok(())
}

/// Work begins in the outside world, or is taken up again.
pub(crate) fn begins(assignment: &Assignment, moment: &Moment<'_>) -> Judged {
    let id = &assignment.id;
    let name = &assignment.task;
    let task = moment.model.tasks.get(&id.task.0);
    let row = task.and_then(|task| task.attempts.get(&id.number));
    let durable = row.is_some_and(Attempt::is_open)
        && task.is_some_and(|task| task.phase == Phase::Running && task.row.number("attempt") == i64::from(id.number));
    hold!(CommitThenAct, durable, "attempt {} of {name} begins, and no row says that it is open", id.number);
    let held = moment.carried.is_some_and(|carried| carried(id));
    hold!(HeldOrOrphaned, held, "attempt {} of {name} begins, and the controller does not carry it", id.number);
    let work = moment.ledger.works.get(id);
    let twice = work.is_some_and(|work| work.carried == Some(moment.life));
    hold!(HeldOrOrphaned, !twice, "attempt {} of {name} is carried twice", id.number);
    let is_known = work.is_some() || moment.ledger.told.contains_key(id);
    hold!(OneOwner, assignment.resumed || !is_known, "attempt {} of {name} begins a second time", id.number);
    let beside = moment.ledger.works.iter().find(|(other, work)| {
        other.task == id.task && other.number != id.number && work.side == Side::Program && work.course == Course::Going
    });
    if let Some((other, _)) = beside {
        hold!(HeldOrOrphaned, false, "{name} runs as attempt {}, and as attempt {} beside it", id.number, other.number);
    }
    super::slots::begins(assignment, moment)
}

/// What is carried and not wanted any more has been told to stop, and what nobody carries does not stay open.
pub(super) fn stand(moment: &Moment<'_>) -> Judged {
    let Some(carried) = moment.carried else { return Ok(()) };
    let model = moment.model;
    for (uid, task) in &model.tasks {
        for (number, attempt) in task.attempts.iter().filter(|(_, attempt)| attempt.is_open()) {
            let id = AttemptId { task: Uid(uid.clone()), number: *number };
            let name = task.name();
            let seen = moment.undisturbed_since(attempt.opened);
            let late = moment.age.saturating_sub(seen);
            if !carried(&id) {
                hold!(
                    HeldOrOrphaned,
                    late <= moment.patience(attempt.opened),
                    "attempt {number} of {name} is open and nobody has carried it for {late} ms"
                );
                continue;
            }
            let edited = attempt.row.number("generation") < task.row.number("generation")
                && task.spec.run_policy != RunPolicy::Once;
            let since = [task.unwanted_since, edited.then_some(task.edited_at)].into_iter().flatten().min();
            let Some(since) = since else { continue };
            let late = moment.age.saturating_sub(since.max(seen));
            let stopping =
                moment.ledger.works.get(&id).is_none_or(|work| work.stopping || work.course != Course::Going);
            hold!(
                Wanted,
                stopping || moment.is_stopping || late <= moment.patience(since),
                "attempt {number} of {name} runs on, though for {late} ms nobody has wanted it to"
            );
        }
    }
    Ok(())
}
