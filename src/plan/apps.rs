//! Plans for the apps on disk: which are new, which are gone, which came back, and when to believe none of it.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::action::{Action, Permit, Rule};
use super::write::{ConditionWrite, EventWrite, FoundApp, Write};
use super::{Plan, Reconciler};
use crate::resource::app::AppSpec;
use crate::resource::app_set::MaxDisappear;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::{Uid, to_name};
use crate::resource::time::Timestamp;

/// Condition of an AppSet whose scan is not to be believed.
pub const SOURCE_SUSPECT: &str = "SourceSuspect";

/// Condition of a source whose disappearances a person has accepted; it holds for one scan.
pub const GONE_ACCEPTED: &str = "GoneAccepted";

/// Condition of an AppSet that found a directory whose App would have a name that another directory has already.
pub const NAME_TAKEN: &str = "NameTaken";

/// Directories that a message names; the rest is counted.
const TAKEN_NAMED_MAX: usize = 3;

/// What is seen of all apps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedApps {
    /// Every AppSet with what its scan saw.
    pub sets: Vec<ObservedSet>,
    /// Every known App.
    pub apps: Vec<KnownApp>,
    /// What may be done.
    pub permit: Permit,
}

/// One AppSet and what its scan saw.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedSet {
    /// The AppSet.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its fuse.
    pub max_disappear: MaxDisappear,
    /// Message of the condition SourceSuspect, when it holds.
    pub suspect: Option<String>,
    /// Message of the condition NameTaken, when it holds.
    pub taken: Option<String>,
    /// A person accepted that apps are gone.
    pub accepted: bool,
    /// The device that its root lay on when a scan was last believed; `None` when none was yet.
    pub known_device: Option<i64>,
    /// The device that its root lies on now; `None` when that cannot be seen.
    pub device: Option<i64>,
    /// The directories that match, or why the scan is not complete.
    pub scan: Result<Vec<FoundDirectory>, String>,
}

/// A directory that matches an AppSet's pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundDirectory {
    /// Its path, relative to the workspace.
    pub path: String,
    /// What `{model}` stands for.
    pub model: Option<String>,
    /// What `{template}` stands for.
    pub template: Option<String>,
    /// What `{number}` stands for.
    pub number: u32,
}

impl FoundDirectory {
    /// The name of the App made for it.
    #[must_use]
    pub fn name(&self) -> String {
        let parts = [self.model.as_deref(), self.template.as_deref()];
        let prefix: String = parts.into_iter().flatten().map(|part| format!("{part}-")).collect();
        to_name(&format!("{prefix}app{}", self.number))
    }
}

/// A known App.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownApp {
    /// The App.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: String,
    /// The AppSet that found it; `None` when it was written by hand.
    pub set: Option<String>,
    /// Whether it is nobody's, though no hand wrote it: it was imported, or the AppSet that found it is gone or has another name. The first
    /// AppSet that finds it has it from then on.
    pub ownerless: bool,
    /// Since when it is marked missing.
    pub missing_since: Option<Timestamp>,
    /// Whether its directory is there; `None` when that could not be seen.
    pub present: Option<bool>,
}

/// Reconciles the apps on disk.
#[derive(Debug)]
pub struct AppsReconciler;

impl Reconciler for AppsReconciler {
    type Observed = ObservedApps;

    fn plan(observed: &ObservedApps, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let mut holders: HashMap<String, &str> =
            observed.apps.iter().map(|app| (app.name.clone(), app.path.as_str())).collect();
        let mut known: HashMap<&str, &KnownApp> = observed.apps.iter().map(|app| (app.name.as_str(), app)).collect();
        for set in &observed.sets {
            if let Ok(found) = &set.scan {
                plan_found((set, found), &observed.permit, &mut holders, &mut known, &mut plan);
            }
            plan_known(set, observed, &known, now, &mut plan);
        }
        for app in observed.apps.iter().filter(|app| app.set.is_none() && known.contains_key(app.name.as_str())) {
            see(app, app.present, &observed.permit, now, &mut plan);
        }
        plan
    }
}

/// Makes an App of each directory that has none, takes over those that are nobody's or whose directory has moved, and says which directories cannot
/// have one since their name is taken. `known` are the Apps that nobody has taken over yet.
fn plan_found<'o>(
    (set, found): (&'o ObservedSet, &'o [FoundDirectory]),
    permit: &Permit,
    holders: &mut HashMap<String, &'o str>,
    known: &mut HashMap<&str, &KnownApp>,
    plan: &mut Plan,
) {
    let mut taken = Vec::new();
    let paths = LazyCell::new(|| found.iter().map(|directory| directory.path.as_str()).collect::<HashSet<&str>>());
    let wanted = LazyCell::new(|| {
        let mut wanted: HashMap<String, usize> = HashMap::new();
        found.iter().for_each(|directory| *wanted.entry(directory.name()).or_default() += 1);
        wanted
    });
    // One that is gone from where it was is the only directory that has its name now, unless it is another set's. Not one that was there beside
    // it: two directories that want one name must not take turns.
    let has_moved = |app: &KnownApp| {
        let is_own = app.ownerless || app.set.as_deref() == Some(set.name.as_str());
        let is_only = || wanted.get(&app.name) == Some(&1);
        is_own && !paths.contains(app.path.as_str()) && set.taken.is_none() && is_only()
    };
    for directory in found {
        let name = directory.name();
        match holders.get(&name) {
            None => {
                holders.insert(name.clone(), &directory.path);
                let what = format!("{:?} was found by AppSet {:?}", directory.path, set.name);
                let action = Action::new(Rule::AppFound, format!("app/{name}"), what);
                let write = Write::FoundApp(Box::new(found_app(set, directory, name)));
                act(action, permit, [write], plan);
            }
            Some(holder) if is_same_path(holder, &directory.path) => {
                if known.get(name.as_str()).is_some_and(|app| app.ownerless) {
                    known.remove(name.as_str());
                    plan.writes.push(Write::FoundApp(Box::new(found_app(set, directory, name))));
                }
            }
            Some(_) if known.get(name.as_str()).is_some_and(|app| has_moved(app)) => {
                known.remove(name.as_str());
                holders.insert(name.clone(), &directory.path);
                let what = format!("{:?} was found by AppSet {:?}, where it is now", directory.path, set.name);
                let action = Action::new(Rule::AppFound, format!("app/{name}"), what);
                act(action, permit, [Write::FoundApp(Box::new(found_app(set, directory, name)))], plan);
            }
            Some(holder) => {
                taken.push(format!("{:?} is ignored, since App {name:?} stands for {holder:?}", directory.path));
            }
        }
    }
    let holds = !taken.is_empty();
    let message = if holds { name_taken(&taken) } else { "every directory has an App of its own".into() };
    if holds != set.taken.is_some() || (holds && set.taken.as_ref() != Some(&message)) {
        if holds {
            warn(set, "NameTaken", message.clone(), plan);
        }
        let condition =
            ConditionWrite { uid: set.uid.clone(), condition: NAME_TAKEN, holds, reason: "NameTaken", message };
        plan.writes.push(Write::Condition(Box::new(condition)));
    }
}

fn name_taken(taken: &[String]) -> String {
    let named = taken.iter().take(TAKEN_NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    match taken.len().saturating_sub(TAKEN_NAMED_MAX) {
        0 => format!("{named}. Rename one of the two directories"),
        more => format!("{named}; and {more} more. Rename one directory of each pair"),
    }
}

/// Whether two paths as people write them are one: `./a//b/` is `a/b`.
fn is_same_path(one: &str, other: &str) -> bool {
    fn parts(path: &str) -> impl Iterator<Item = &str> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".")
    }
    parts(one).eq(parts(other))
}

/// Marks what is gone and what is back of the apps that this set found before, and that nobody has taken over.
fn plan_known(
    set: &ObservedSet,
    observed: &ObservedApps,
    known: &HashMap<&str, &KnownApp>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let (apps, permit) = (&observed.apps, &observed.permit);
    let found = match &set.scan {
        Ok(found) => found,
        Err(message) => return suspect(set, "ScanIncomplete", message.clone(), plan),
    };
    let paths: HashSet<&str> = found.iter().map(|directory| directory.path.as_str()).collect();
    let is_own =
        |app: &&KnownApp| app.set.as_deref() == Some(set.name.as_str()) && known.contains_key(app.name.as_str());
    let own = || apps.iter().filter(is_own);
    let is_there = |app: &KnownApp| paths.contains(app.path.as_str());
    let gone = own().filter(|app| app.missing_since.is_none() && !is_there(app)).count();
    // With those that are there again, so that the next scan counts the same.
    let all = own().filter(|app| app.missing_since.is_none() || is_there(app)).count();
    if let Some((reason, message)) = fuse(set, gone, all).filter(|_| !set.accepted) {
        suspect(set, reason, message, plan);
        for app in own().filter(|app| is_there(app)) {
            see(app, Some(true), permit, now, plan);
        }
        return;
    }
    if let Some(device) = set.device.filter(|device| set.known_device != Some(*device)) {
        plan.writes.push(Write::SourceSeen { uid: set.uid.clone(), device });
    }
    let lifted = [(set.suspect.is_some(), SOURCE_SUSPECT), (set.accepted, GONE_ACCEPTED)];
    for (_, condition) in lifted.into_iter().filter(|(holds, _)| *holds) {
        plan.writes.push(Write::Condition(Box::new(ConditionWrite {
            uid: set.uid.clone(),
            condition,
            holds: false,
            reason: "ScanComplete",
            message: format!("{} directories match", found.len()),
        })));
    }
    for app in own() {
        see(app, Some(is_there(app)), permit, now, plan);
    }
}

/// Why it is not to be believed that so many of the known apps are gone, if it is not.
fn fuse(set: &ObservedSet, gone: usize, known: usize) -> Option<(&'static str, String)> {
    let accept = "nothing is marked. If that is right: manifestd orphans accept";
    if set.max_disappear.is_exceeded(gone, known) {
        let message = format!("{gone} of {known} apps are gone in one scan, more than maxDisappear allows; {accept}");
        return Some(("TooManyGone", message));
    }
    let moved = set.known_device.zip(set.device).is_some_and(|(before, now)| before != now);
    (moved && gone > 0).then(|| {
        let message = format!(
            "{gone} of {known} apps are gone, and the root lies on another device than before, as when a disk is not mounted; {accept}"
        );
        ("OtherDevice", message)
    })
}

fn found_app(set: &ObservedSet, directory: &FoundDirectory, name: String) -> FoundApp {
    let spec = AppSpec {
        path: directory.path.clone(),
        model: directory.model.clone(),
        number: Some(directory.number),
        target_urls: Vec::new(),
    };
    let mut labels = serde_json::Map::new();
    labels.insert("appset".into(), json!(set.name));
    for (label, value) in [("model", &directory.model), ("template", &directory.template)] {
        if let Some(value) = value {
            labels.insert(label.into(), json!(value));
        }
    }
    let spec = serde_json::to_string(&spec).unwrap_or_default();
    FoundApp { name, app_set: set.name.clone(), spec, labels: serde_json::Value::Object(labels).to_string() }
}

/// Marks an app as missing or as there again, when that is known and differs from what is stored.
fn see(app: &KnownApp, present: Option<bool>, permit: &Permit, now: Timestamp, plan: &mut Plan) {
    let (rule, since, event_type, reason, message) = match (present, app.missing_since) {
        (Some(false), None) => {
            (Rule::AppMissing, Some(now), EventType::Warning, "Missing", format!("{:?} is gone", app.path))
        }
        (Some(true), Some(_)) => {
            (Rule::AppRestored, None, EventType::Normal, "Restored", format!("{:?} is there again", app.path))
        }
        (Some(false), Some(_)) | (Some(true), None) | (None, _) => return,
    };
    let word = if since.is_some() { "marked missing, since " } else { "restored, since " };
    let action = Action::new(rule, format!("app/{}", app.name), format!("{word}{message}"));
    let mark = Write::AppMissing { uid: app.uid.clone(), since };
    let event = Write::Event(Box::new(EventWrite {
        uid: app.uid.clone(),
        kind: Kind::App,
        name: app.name.clone(),
        event_type,
        reason,
        message,
    }));
    act(action, permit, [mark, event], plan);
}

/// Does this, if it may be done.
fn act(action: Action, permit: &Permit, writes: impl IntoIterator<Item = Write>, plan: &mut Plan) {
    if permit.allows(action.rule, &action.object) {
        plan.writes.extend(writes);
        plan.actions.push(action);
    }
}

fn suspect(set: &ObservedSet, reason: &'static str, message: String, plan: &mut Plan) {
    if set.suspect.as_ref() == Some(&message) {
        return;
    }
    warn(set, reason, message.clone(), plan);
    let condition = ConditionWrite { uid: set.uid.clone(), condition: SOURCE_SUSPECT, holds: true, reason, message };
    plan.writes.push(Write::Condition(Box::new(condition)));
}

fn warn(set: &ObservedSet, reason: &'static str, message: String, plan: &mut Plan) {
    plan.writes.push(Write::Event(Box::new(EventWrite {
        uid: set.uid.clone(),
        kind: Kind::AppSet,
        name: set.name.clone(),
        event_type: EventType::Warning,
        reason,
        message,
    })));
}
