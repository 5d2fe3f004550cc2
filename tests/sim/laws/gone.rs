//! What goes: objects, apps, records and results, each only for a reason that is there, and in the end all that should.

use std::collections::BTreeMap;
use std::path::Path;

use manifestd::resource::app_set::MaxDisappear;
use manifestd::resource::kind::Kind;

use super::super::audit::{Change, Row};
use super::super::ledger::Course;
use super::super::model::PASS_MAX;
use super::{Breach, Judged, Law, Moment, hold};

/// How long before something is taken for gone it must really have been.
fn was_lately(at: Option<u64>, age: u64) -> bool {
    at.is_some_and(|at| age.saturating_sub(at) <= PASS_MAX)
}

/// An object's row changed.
pub(super) fn object_changed(change: &Change, moment: &Moment<'_>) -> Judged {
    let Some(old) = &change.old else { return Ok(()) };
    let kind: Kind = old.text("kind").parse().expect("a kind");
    let (name, found) = (old.text("name"), old.number("line") == 0);
    match &change.new {
        Some(new) if old.maybe("removed_at").is_none() && new.maybe("removed_at").is_some() => {
            let absent = moment.declared.absent_at(kind, name, moment.age);
            hold!(
                OnlyItself,
                found || was_lately(absent, moment.age),
                "{kind}/{name} is taken for removed, and a file declares it"
            );
            Ok(())
        }
        Some(new) => {
            let (before, after) = (old.number("generation"), new.number("generation"));
            hold!(
                Generation,
                after == before || after == before + 1,
                "{kind}/{name} went from generation {before} to {after}"
            );
            let same = old.text("spec") == new.text("spec");
            hold!(Generation, !(same && after != before), "{kind}/{name} has another generation and the same spec");
            Ok(())
        }
        None => {
            let gone = old.maybe("removed_at").is_some() || found || moment.cared_at.is_some();
            hold!(OnlyItself, gone, "the record of {kind}/{name} is deleted, and its manifest is there");
            Ok(())
        }
    }
}

fn path(moment: &Moment<'_>, uid: &str) -> Option<(String, String)> {
    let object = moment.model.objects.get(uid)?;
    let spec: serde_json::Value = serde_json::from_str(&object.spec).ok()?;
    Some((object.name.clone(), spec["path"].as_str()?.to_owned()))
}

/// What is known of an app on disk changed.
pub(super) fn app_changed(change: &Change, moment: &Moment<'_>) -> Judged {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return Ok(()) };
    let Some((name, path)) = path(moment, new.text("uid")) else { return Ok(()) };
    match (old.maybe("missing_since"), new.maybe("missing_since")) {
        (None, Some(_)) => {
            let gone = was_lately(moment.declared.gone_at(&path, moment.age), moment.age);
            hold!(OnlyItself, gone, "app {name} is taken for missing, and {path} is there");
        }
        (Some(_), None) => {
            let there =
                moment.declared.is_there(&path) || was_lately(moment.declared.gone_at(&path, moment.age), moment.age);
            hold!(OnlyItself, there, "app {name} is taken for there, and {path} is not");
        }
        _ => {}
    }
    if old.maybe("deleted_at").is_none() && new.maybe("deleted_at").is_some() {
        let days = i64::from(moment.settings.orphan_app_retention_days) * 86_400_000;
        let since = old.maybe("missing_since");
        hold!(OnlyItself, since.is_some(), "the record of app {name} is deleted, and it was not missing");
        let gone = moment.wall - since.unwrap_or(moment.wall);
        // By the clock at the commit, which is a pass later than the plan.
        hold!(OnlyItself, gone > days - PASS_MAX as i64, "the record of app {name} is deleted {gone} ms after it went");
        let there =
            moment.declared.is_there(&path) && !was_lately(moment.declared.gone_at(&path, moment.age), moment.age);
        hold!(OnlyItself, !there, "the record of app {name} is deleted, and {path} is there");
    }
    Ok(())
}

/// No more goes in one scan than the fuses allow.
pub(super) fn fuses(changes: &[Change], moment: &Moment<'_>) -> Judged {
    if moment.cared_at.is_some_and(|at| moment.age.saturating_sub(at) <= PASS_MAX + moment.settings.rescan_interval.0) {
        return Ok(());
    }
    let turned = |change: &&Change, column: &str| {
        let (Some(old), Some(new)) = (&change.old, &change.new) else { return false };
        old.maybe(column).is_none() && new.maybe(column).is_some()
    };
    let removed = changes
        .iter()
        .filter(|change| change.table == "object" && turned(change, "removed_at") && change.row().number("line") > 0);
    let removed = removed.count();
    let known = moment.model.objects.values().filter(|object| !object.removed && !object.found).count() + removed;
    let settings = moment.settings;
    let fuse = MaxDisappear { percent: settings.prune_percent, count: settings.prune_count };
    hold!(OnlyItself, !exceeds(fuse, removed, known), "{removed} of {known} manifests are taken for removed at once");
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.table == "app" && turned(change, "missing_since")) {
        if let Some(set) = change.row().maybe_text("app_set") {
            *missing.entry(set).or_default() += 1;
        }
    }
    for (set, gone) in missing {
        let own = |row: &&Row| row.maybe_text("app_set") == Some(set) && row.maybe("missing_since").is_none();
        let known = moment.model.apps.values().filter(own).count() + gone;
        // Without its AppSet, which says how many may go, an app is looked at by itself, like one that was written by hand.
        let declared = moment.model.find(Kind::AppSet, set).filter(|(_, object)| !object.removed);
        let Some((uid, object)) = declared else { continue };
        // What a person accepts counts for the next whole scan, however late that comes.
        let was_accepted = |change: &&Change| {
            let is_of_it = change.table == "condition" && change.row().text("uid") == *uid;
            let is_it = is_of_it && change.row().text("type") == "GoneAccepted";
            is_it && change.old.as_ref().is_some_and(|old| old.number("holds") == 1)
        };
        if changes.iter().any(|change| was_accepted(&change)) {
            continue;
        }
        let spec: manifestd::resource::app_set::AppSetSpec = serde_json::from_str(&object.spec).expect("an AppSet");
        hold!(
            OnlyItself,
            !exceeds(spec.max_disappear, gone, known),
            "{gone} of {known} apps of {set} are taken for missing at once"
        );
    }
    Ok(())
}

/// Five or fewer may always go; beyond that neither more than a number nor more than a share.
fn exceeds(fuse: MaxDisappear, gone: usize, known: usize) -> bool {
    gone > 5 && (gone > fuse.count as usize || gone * 100 > known * fuse.percent as usize)
}

/// In the end nothing is left of what should be gone: no work that nobody waits for, no directory that was purged, nothing half done.
pub(crate) fn all_gone(moment: &Moment<'_>) -> Judged {
    for (id, work) in &moment.ledger.works {
        let closed = moment
            .model
            .tasks
            .get(&id.task.0)
            .and_then(|task| task.attempts.get(&id.number))
            .is_none_or(|attempt| !attempt.is_open());
        let left = work.course == Course::Going && closed && work.side != super::super::ledger::Side::Base;
        hold!(Gone, !left, "{} goes on as attempt {}, which has ended", work.task, id.number);
    }
    hold!(
        Gone,
        moment.model.removals.is_empty(),
        "these results were purged and are still to be removed: {:?}",
        moment.model.removals
    );
    for (uid, task) in &moment.model.tasks {
        let purged = task.row.maybe("purged_at").is_some();
        hold!(Gone, !purged || task.attempts.is_empty(), "{} was purged and has attempts", task.name());
        let object = moment.model.objects.get(uid);
        let wanted = object.is_some_and(|object| !object.removed);
        hold!(
            Gone,
            wanted || task.phase.is_terminal(),
            "{} is {} though its manifest is gone",
            task.name(),
            task.phase
        );
    }
    stray_rows(moment)
}

/// Every row that says where a result is, is right.
fn stray_rows(moment: &Moment<'_>) -> Judged {
    let results = moment.results;
    for (task, attempt) in moment.model.attempts() {
        if let Some(directory) = attempt.row.maybe_text("result_dir") {
            let there = results.join(directory).is_dir();
            hold!(
                OnlyItself,
                there,
                "the result of {} in {directory} is gone, and its row says that it is there",
                task.name()
            );
        }
    }
    for directory in directories(results) {
        let purged = moment.model.removals.contains(&directory);
        if purged {
            return Err(Breach::new(Law::Gone, format!("{directory} was purged and is still there")));
        }
    }
    Ok(())
}

/// Every directory of results, as a row would name it.
fn directories(results: &Path) -> Vec<String> {
    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
    let mut found = Vec::new();
    for app in names(results) {
        for task in names(&results.join(&app)) {
            for number in names(&results.join(&app).join(&task)) {
                found.push(format!("{app}/{task}/{number}"));
            }
        }
    }
    found
}
