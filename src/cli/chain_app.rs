//! What the files of an app have to do with a task's phase, as sentences: the part of [`super::chain`] about freshness.

use super::chain::Facts;
use crate::plan::tree::TREE_UNREADABLE;
use crate::resource::reason::Reason;
use crate::resource::task::RunPolicy;
use crate::store::view::TaskView;

/// Whether the files of the app are known to differ from those that the latest attempt saw, and that matters.
pub(super) fn app_changed(facts: &Facts, task: &TaskView) -> bool {
    let app = facts.app.as_ref().and_then(|app| app.app.as_ref()).filter(|app| app.missing_since.is_none());
    let now = app.and_then(|app| app.tree.as_ref()).map(|tree| &tree.digest);
    let differs = now.zip(task.status.app_digest.as_ref()).is_some_and(|(now, seen)| now != seen);
    facts.spec.run_policy == RunPolicy::OnAppChange && differs
}

/// Why a task waits for a reading of its app, and what happens next.
pub(super) fn not_read(facts: &Facts, because: &mut Vec<String>) -> String {
    because.push(format!(
        "it depends on the files of app \"{}\", which have not been read since it was asked for",
        facts.spec.app
    ));
    let conditions = facts.app.iter().flat_map(|app| &app.conditions);
    let mut unreadable = conditions.filter(|it| it.condition == TREE_UNREADABLE && it.status == "True");
    match unreadable.next() {
        Some(condition) => {
            because.push(format!("they cannot be read: {}", condition.message));
            "it goes on by itself once they can be read as a whole".into()
        }
        None => {
            "it goes on by itself as soon as they are read; an app that is being written is waited for a moment".into()
        }
    }
}

/// What happens next to a task that completed.
pub(super) fn after_completion(facts: &Facts, reason: Reason) -> String {
    let name = &facts.task.name;
    match (facts.spec.run_policy, reason) {
        (RunPolicy::OnAppChange, _) => {
            format!("it runs again when the files of its app change; see manifestd results {name}")
        }
        (_, Reason::Reused) => {
            format!("nothing; see manifestd results {name}; to really run it: manifestd retry --no-cache {name}")
        }
        _ => format!("nothing; see manifestd results {name}"),
    }
}
