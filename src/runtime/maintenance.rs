//! Maintenance on the real state: what it looks at, one whole run of it, and the removal of results whose attempts were purged.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use super::apps::{observe_apps, presence};
use super::core::Core;
use super::reconcile::{Verdict, carry_out};
use super::stray_scan::{find_results, look_at, remove_all, task_uid};
use crate::plan::Reconciler;
use crate::plan::action::{Action, Permit, Rule};
use crate::plan::apps::AppsReconciler;
use crate::plan::maintenance::{MaintenanceReconciler, ObservedMaintenance, Rules, Stray};
use crate::resource::time::Span;
use crate::store::StoreError;
use crate::store::aside::Care;

/// Directories of results that one pass of the daemon looks at; the next one goes on there.
const SLICE: usize = 2_000;

/// Actions of a permit that are looked for at once.
const PERMITTED: usize = 100;

/// Directories that are asked about at once.
const ASKED: usize = 500;

/// Passes of one run at most: each does something or ends the run, so this only guards against a plan that never comes to rest.
const PASSES_MAX: usize = 1_000_000;

/// How much of results/ is searched for directories that belong to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Search {
    /// Nothing.
    None,
    /// The next part of it.
    Slice,
    /// All of it.
    All,
    /// These directories.
    Only(BTreeSet<String>),
}

/// Reads the store, then looks at the disk.
///
/// # Errors
/// What the store says. What the disk says is part of the observation.
pub(super) async fn observe_maintenance(
    core: &Core,
    rules: Rules,
    permit: Permit,
    search: Search,
) -> Result<ObservedMaintenance, StoreError> {
    let only = match &permit {
        Permit::All => None,
        Permit::Only(known) => Some(known.iter().map(|(_, object)| object.clone()).collect()),
    };
    // Before the store is read: an attempt that ends in between has written its outcome.
    let held = core.attempts.held(core.now());
    let mut observed = core.store.observe_maintenance(rules, only, held, core.now()).await?;
    observed.permit = permit;
    let workspace = core.workspace.clone();
    let mut observed = core
        .disk
        .run(move || {
            for app in &mut observed.apps {
                app.present = presence(&workspace, &app.path);
            }
            observed
        })
        .await?;
    // Once more, last of all: an attempt that was opened or taken up in between is carried by now.
    for open in observed.tasks.iter_mut().filter_map(|task| task.open.as_mut()) {
        open.carried |= core.attempts.carried(&open.id, core.now()).is_some();
    }
    if rules.strays {
        observed.strays = match &search {
            Search::None => Vec::new(),
            Search::Slice => {
                let after = core.stray_cursor.lock().map(|after| after.clone()).unwrap_or_default();
                let (strays, reached) = strays(core, after, SLICE).await?;
                if let Ok(mut cursor) = core.stray_cursor.lock() {
                    *cursor = reached;
                }
                strays
            }
            Search::All => strays(core, None, usize::MAX).await?.0,
            Search::Only(paths) => {
                let (results, paths) = (results(core), paths.clone());
                let found =
                    core.disk.run(move || paths.iter().filter_map(|path| look_at(&results, path)).collect()).await?;
                core.store.strays(found).await?
            }
        };
        if search != Search::None {
            let (listed, results) = (core.store.listed_strays().await?, results(core));
            let is_gone = move |path: &String| !results.join(path).exists();
            observed.strays_gone = core.disk.run(move || listed.into_iter().filter(is_gone).collect()).await?;
        }
    }
    Ok(observed)
}

/// Directories of results that belong to nobody, from one on, and how far that went; `None` when the end was reached.
async fn strays(
    core: &Core,
    mut after: Option<String>,
    enough: usize,
) -> Result<(Vec<Stray>, Option<String>), StoreError> {
    let results = results(core);
    let (mut strays, mut seen) = (Vec::new(), 0);
    loop {
        let (place, from) = (results.clone(), after.clone());
        let found = core
            .disk
            .run(move || {
                let mut found = find_results(&place, from.as_deref(), ASKED)?;
                // Only a task with an odd name is not told by its directory.
                for directory in found.iter_mut().filter(|directory| directory.path.len() > 100) {
                    directory.task_uid = task_uid(&place, &directory.path);
                }
                Ok::<_, std::io::Error>(found)
            })
            .await?;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "results/ could not be searched for what belongs to nobody");
                return Ok((Vec::new(), None));
            }
        };
        let Some(last) = found.last().map(|directory| directory.path.clone()) else { return Ok((strays, None)) };
        seen += found.len();
        strays.extend(core.store.strays(found).await?);
        after = Some(last);
        if seen >= enough {
            return Ok((strays, after));
        }
    }
}

fn results(core: &Core) -> PathBuf {
    core.workspace.join(&core.settings.state).join("results")
}

/// One run of maintenance, until nothing is left to do by these rules. Gives what was done, each thing once.
///
/// # Errors
/// What the store says.
pub(super) async fn maintain_once(core: &Core, rules: Rules, permit: Permit) -> Result<Vec<Action>, StoreError> {
    let mut done = Vec::new();
    match permit {
        Permit::All => maintain(core, rules, Permit::All, Search::All, &mut done).await?,
        Permit::Only(known) => {
            let known: Vec<_> = known.into_iter().collect();
            for some in known.chunks(PERMITTED) {
                let paths = some.iter().filter_map(|(_, object)| object.strip_prefix("results/")).map(str::to_owned);
                let search = Search::Only(paths.collect());
                maintain(core, rules, Permit::Only(some.iter().cloned().collect()), search, &mut done).await?;
            }
        }
    }
    let mut known = HashSet::new();
    done.retain(|action| known.insert(action.clone()));
    Ok(done)
}

/// Passes over what a permit allows, as long as they do something.
async fn maintain(
    core: &Core,
    rules: Rules,
    permit: Permit,
    mut search: Search,
    done: &mut Vec<Action>,
) -> Result<(), StoreError> {
    for _ in 0..PASSES_MAX {
        let observed = observe_maintenance(core, rules, permit.clone(), search.clone()).await?;
        let plan = MaintenanceReconciler::plan(&observed, core.now());
        let actions = plan.actions.clone();
        tracing::debug!(actions = actions.len(), "maintenance has a plan");
        if !plan.is_empty() && carry_out(core, plan).await? == Verdict::Conflict {
            continue;
        }
        // The disk is searched once; what was found then is done by now.
        search = Search::None;
        let goes_on = observed.more || !observed.aside.is_empty();
        let is_over = actions.is_empty();
        done.extend(actions);
        if is_over || !goes_on {
            break;
        }
    }
    Ok(())
}

/// Deletes for good what is set aside, deleted or stray, whatever its age: these objects, or all of them. Gives what was done.
///
/// # Errors
/// What the store says.
pub(super) async fn purge_now(core: &Core, objects: Option<Vec<String>>) -> Result<Vec<Action>, StoreError> {
    let rules = Rules { quarantine: Some(Span(0)), strays: true, ..Rules::default() };
    let purges = [Rule::AppPurged, Rule::TaskPurged, Rule::RunPurged, Rule::StrayPurged];
    let objects = match objects {
        Some(objects) => objects,
        None => core.store.purgeable().await?,
    };
    // A person who names it wants it gone, whatever was said before.
    for object in &objects {
        core.store.care(object.clone(), Care::Release, core.now()).await?;
    }
    let named = objects.iter().flat_map(|object| purges.map(|rule| (rule, object.clone())));
    maintain_once(core, rules, Permit::Only(named.collect())).await
}

/// One pass over the apps on disk. Gives what was done.
///
/// # Errors
/// What the store says.
pub(super) async fn scan_apps(core: &Core, permit: Permit) -> Result<Vec<Action>, StoreError> {
    loop {
        let mut observed = observe_apps(core).await?;
        observed.permit = permit.clone();
        let plan = AppsReconciler::plan(&observed, core.now());
        let actions = plan.actions.clone();
        if carry_out(core, plan).await? == Verdict::Conflict {
            continue;
        }
        return Ok(actions);
    }
}

/// Removes the directories of results whose attempts were purged. What cannot be removed stays on the list for the next time.
///
/// # Errors
/// What the store says.
pub(super) async fn sweep(core: &Core) -> Result<(), StoreError> {
    loop {
        let paths = core.store.removals().await?;
        if paths.is_empty() {
            return Ok(());
        }
        let (results, count) = (results(core), paths.len());
        let gone = core.disk.run(move || remove_all(&results, paths)).await?;
        let stuck = gone.len() < count;
        core.store.removed(gone).await?;
        if stuck {
            return Ok(());
        }
    }
}
