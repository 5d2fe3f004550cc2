//! What an app and its files have to do with a task's phase, as sentences: the part of [`super::chain`] about apps.

use super::chain::Facts;
use super::rows::place;
use super::table;
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

/// What is wrong with the app that a task waits for, and what happens next.
pub(super) fn app_trouble(facts: &Facts, reason: Reason, because: &mut Vec<String>) -> String {
    let Some(app) = &facts.app else {
        because.push(format!("no App is called \"{}\" any more; {}", facts.spec.app, facts.app_hint));
        return "it goes on by itself once an App of that name is declared, or found by an AppSet".into();
    };
    let path = super::rows::text(&app.spec, "path");
    let missing = app.app.as_ref().and_then(|state| state.missing_since);
    match (reason, missing) {
        (Reason::AppMissing, Some(since)) => {
            because.push(format!(
                "the directory {path} of app \"{}\" is gone since {since} ({} ago)",
                app.name,
                table::age(facts.now, since)
            ));
            "it goes on by itself when the directory is there again".into()
        }
        (Reason::AppMissing, None) => {
            because.push(format!("the directory {path} of app \"{}\" was gone and is there again", app.name));
            "it is queued at the controller's next look".into()
        }
        _ => {
            because.push(format!(
                "app \"{}\", from {}, has no spec.model and spec.number, by which the WebSocket analyzer \"{}\" finds its sources",
                app.name, place(app), facts.spec.analyzer
            ));
            "it goes on by itself once the App has both".into()
        }
    }
}
