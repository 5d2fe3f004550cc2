//! One transition of one task as writes: the new status, and the event that says so, in the same transaction.

use super::write::{EventWrite, TaskStatus, TaskWrite, Write};
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;

/// Which task, at which version of its status.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskRef<'a> {
    /// The task.
    pub uid: &'a Uid,
    /// Its name.
    pub name: &'a str,
    /// The version that the plan saw.
    pub version: i64,
}

/// Moves a task to another status.
pub(super) fn transition(task: TaskRef<'_>, status: TaskStatus) -> [Write; 2] {
    let bad = match status.phase {
        Phase::Failed | Phase::PartialSuccess => true,
        Phase::Pending => !matches!(status.reason, Reason::Queued | Reason::Suspended | Reason::AppNotRead),
        Phase::Running | Phase::Completed | Phase::Cancelled => false,
    };
    let ended = status.phase.is_terminal();
    let event = EventWrite {
        uid: task.uid.clone(),
        kind: Kind::Task,
        name: task.name.to_owned(),
        event_type: if bad { EventType::Warning } else { EventType::Normal },
        reason: if ended { status.phase.as_str() } else { status.reason.as_str() },
        message: if ended { format!("{}: {}", status.reason, status.message) } else { status.message.clone() },
    };
    let write = TaskWrite { uid: task.uid.clone(), version: task.version, status };
    [Write::Task(Box::new(write)), Write::Event(Box::new(event))]
}

/// Something that happened to a task besides a transition, as nothing to worry about.
pub(super) fn note(uid: &Uid, name: &str, reason: &'static str, message: String) -> Write {
    let (uid, name, event_type) = (uid.clone(), name.to_owned(), EventType::Normal);
    Write::Event(Box::new(EventWrite { uid, kind: Kind::Task, name, event_type, reason, message }))
}
