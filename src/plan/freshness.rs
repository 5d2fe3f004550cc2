//! What the files of its app mean for one task: whether they changed since its latest attempt, and that it starts over then.

use super::Plan;
use super::task::{ObservedTask, again, turn};
use super::transition::note;
use super::write::{TaskStatus, TaskWrite, Write};
use crate::resource::reason::Reason;
use crate::resource::task::RunPolicy;

impl ObservedTask {
    /// What the files of the app look like, if this task runs again when they change and they are there.
    pub(super) fn tree(&self) -> Option<&str> {
        let app = self.app.as_ref().filter(|app| app.missing_since.is_none())?;
        let tree = app.tree.as_ref().filter(|_| self.spec.run_policy == RunPolicy::OnAppChange)?;
        Some(&tree.digest)
    }

    /// Whether the files of the app are known to differ from those that the latest attempt saw.
    pub(super) fn app_changed_since(&self, seen: Option<&str>) -> bool {
        seen.is_some() && self.tree().is_some_and(|digest| seen != Some(digest))
    }
}

/// Starts over, since the files of the app changed.
pub(super) fn app_changed(task: &ObservedTask, plan: &mut Plan) {
    let next = again(task, Reason::AppChanged);
    plan.writes.push(note(&task.uid, &task.name, Reason::AppChanged.as_str(), next.message.clone()));
    turn(task, next, plan);
}

/// Notes what the files look like to a finished task that never saw them, since it ended without an attempt: from now on it is about these,
/// so that it does not start by itself.
pub(super) fn remember_tree(task: &ObservedTask, plan: &mut Plan) {
    let (None, Some(digest)) = (&task.status.app_digest, task.tree()) else { return };
    let status = TaskStatus { app_digest: Some(digest.to_owned()), ..task.status.clone() };
    let write = TaskWrite { uid: task.uid.clone(), version: task.version, status };
    plan.writes.push(Write::Task(Box::new(write)));
}
