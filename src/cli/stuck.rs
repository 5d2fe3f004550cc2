//! Tasks that will not move by themselves, or are suspiciously long where they are, each with what to do about it. The judging is pure.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::advice::{advice, waits_for_a_person};
use super::item::{self, Beside};
use super::request::ask;
use super::{rows, table};
use crate::resource::attempt::AttemptId;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};
use crate::runtime::control::{Request, Response};
use crate::store::view::{ObjectView, TaskView};

/// A task that is Pending for so long is worth a look, whatever its reason.
const PENDING_MAX: Span = Span::minutes(60);

/// What the controller says that it carries.
#[derive(Debug, Clone)]
pub(crate) enum Carriers {
    /// A controller runs, and carries these, with their last sign of life.
    Held(HashMap<AttemptId, Timestamp>),
    /// None runs.
    Absent,
    /// One is there and does not say.
    Unknown,
}

/// Asks the controller what it carries.
pub(crate) async fn carriers(state: &Path) -> Carriers {
    match ask(state, &Request::Held).await {
        Ok(Some(Response::Held { attempts })) => {
            Carriers::Held(attempts.into_iter().map(|held| (held.id, held.alive_at)).collect())
        }
        Ok(None) => Carriers::Absent,
        Ok(Some(_)) | Err(_) => Carriers::Unknown,
    }
}

/// Why a task is called stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// Since when it is so.
    pub(crate) since: Timestamp,
    /// What is wrong, and what to do.
    pub(crate) hint: String,
}

/// Judges one task; `None` when it is on its way.
pub(crate) fn judge(task: &ObjectView, carriers: &Carriers, stuck_after: Span, now: Timestamp) -> Option<Stuck> {
    let state = task.task.as_ref()?;
    let status = &state.status;
    let about = |hint: String| Some(Stuck { since: state.since, hint });
    match (status.phase, status.reason) {
        (Phase::Running, _) => running(task, state, carriers, stuck_after, now),
        (Phase::Failed, Reason::Stuck) => about(advice(Reason::Stuck).into()),
        (Phase::Pending, reason) if waits_for_a_person(reason) => about(advice(reason).into()),
        (Phase::Pending, reason) if now.since(state.since) > PENDING_MAX => {
            about(format!("pending for {}: {}", table::age(now, state.since), advice(reason)))
        }
        _ => None,
    }
}

fn running(
    task: &ObjectView,
    state: &TaskView,
    carriers: &Carriers,
    stuck_after: Span,
    now: Timestamp,
) -> Option<Stuck> {
    let stuck = |since, hint: String| Some(Stuck { since, hint });
    let Some(attempt) = state.attempt().filter(|attempt| attempt.ended_at.is_none()) else {
        // Its end is settled at the controller's next look.
        return match carriers {
            Carriers::Absent => stuck(state.since, NOBODY.into()),
            Carriers::Held(_) | Carriers::Unknown => None,
        };
    };
    let id = AttemptId { task: Uid(task.uid.clone()), number: attempt.number };
    if now > attempt.deadline_at {
        let hint = format!("past its deadline for {}: manifestd cancel stops it", table::age(now, attempt.deadline_at));
        return stuck(attempt.deadline_at, hint);
    }
    match carriers {
        Carriers::Absent => stuck(state.since, NOBODY.into()),
        Carriers::Unknown => None,
        Carriers::Held(held) => match held.get(&id) {
            None => {
                let hint = "the controller does not carry it: it is started again at the next look; if it stays so, restart manifestd serve";
                stuck(state.since, hint.into())
            }
            Some(alive_at) if now.since(*alive_at) > Span(stuck_after.0 / 2) => {
                let silent = table::age(now, *alive_at);
                let end = table::length(stuck_after);
                stuck(
                    *alive_at,
                    format!("silent for {silent}: after {end} it is stopped and tried again; does the analyzer hang?"),
                )
            }
            Some(_) => None,
        },
    }
}

const NOBODY: &str = "no controller runs: manifestd serve";

/// Titles of the columns.
pub(crate) fn header(wide: bool) -> Vec<&'static str> {
    let mut header = vec!["NAME", "PHASE", "REASON", "SINCE", "NEXT", "HINT"];
    if wide {
        header.extend(["MESSAGE", "FILE:LINE"]);
    }
    header
}

/// One row.
pub(crate) fn row(task: &ObjectView, stuck: &Stuck, now: Timestamp, wide: bool) -> Vec<String> {
    let Some(state) = &task.task else { return vec![task.name.clone()] };
    let status = &state.status;
    let mut row = vec![
        task.name.clone(),
        status.phase.to_string(),
        status.reason.to_string(),
        table::age(now, stuck.since),
        rows::next(status.next_at, now),
        stuck.hint.clone(),
    ];
    if wide {
        row.extend([status.message.clone(), rows::place(task)]);
    }
    row
}

/// The object as JSON, with what is wrong beside its status.
pub(crate) fn item(task: &ObjectView, stuck: &Stuck, beside: &Beside) -> Value {
    let mut item = item::item(task, beside);
    item["stuck"] = json!({ "since": stuck.since.rfc3339(), "hint": stuck.hint });
    item
}
