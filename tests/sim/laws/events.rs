//! Events: one for each transition, in its transaction, and none without.

use manifestd::resource::phase::Phase;

use super::super::audit::Change;
use super::{Judged, Moment, hold};

/// The word by which the event of a task's or a run's status tells of it.
fn word(change: &Change) -> Option<&str> {
    let new = change.new.as_ref()?;
    let phase: Phase = new.text("phase").parse().expect("a phase");
    Some(if phase.is_terminal() { new.text("phase") } else { new.text("reason") })
}

/// Whether a row of a task or a run has moved by a plan.
fn has_moved(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return false };
    ["phase", "reason"].iter().any(|column| old.text(column) != new.text(column))
        || old.number("round") != new.number("round")
}

/// The events of one transaction and its transitions belong together.
pub(super) fn told(changes: &[Change], _: &Moment<'_>) -> Judged {
    let events: Vec<&Change> =
        changes.iter().filter(|change| change.table == "event" && change.new.is_some()).collect();
    for change in changes.iter().filter(|change| change.table == "task" && has_moved(change)) {
        let row = change.row();
        // A step that asks for its child once more starts it over and is told of itself.
        let by_run = row.maybe_text("run").is_some()
            && change.old.as_ref().is_some_and(|old| old.number("round") != row.number("round"));
        let wanted = word(change).unwrap_or_default();
        let told = events
            .iter()
            .any(|event| event.row().text("uid") == row.text("uid") && event.row().text("reason") == wanted);
        hold!(Events, told || by_run, "{} is {wanted} now, and no event tells of it", row.text("name"));
    }
    for event in events {
        let row = event.row();
        let is_end =
            row.text("reason").parse::<Phase>().is_ok_and(Phase::is_terminal) || row.text("reason") == "AttemptStarted";
        let table = match row.text("kind") {
            "Task" => "task",
            "Run" => "run",
            _ => continue,
        };
        let happened = changes.iter().any(|change| {
            change.table == table
                && change.row().text("uid") == row.text("uid")
                && word(change) == Some(row.text("reason"))
        });
        hold!(
            Events,
            happened || !is_end,
            "an event tells that {} is {}, and it is not",
            row.text("name"),
            row.text("reason")
        );
    }
    Ok(())
}
