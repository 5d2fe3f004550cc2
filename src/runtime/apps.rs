//! Observing the apps on disk: what the AppSets' patterns match, and whether the directories of hand-written Apps are there.

use std::path::Path;

use super::app_scan::find_apps;
use super::core::Core;
use super::mirror::run_blocking;
use crate::plan::apps::ObservedApps;
use crate::plan::maintenance::ObservedMaintenance;
use crate::store::StoreError;

/// Reads the store, then the disk.
///
/// # Errors
/// What the store says. What the disk says is part of the observation.
pub(super) async fn observe_apps(core: &Core) -> Result<ObservedApps, StoreError> {
    let (sets, mut apps) = core.store.observe_apps().await?;
    let workspace = core.workspace.clone();
    run_blocking(move || {
        let sets = sets
            .into_iter()
            .map(|(mut set, spec)| {
                set.scan = find_apps(&workspace, &spec).map_err(|error| error.to_string());
                set
            })
            .collect();
        for app in apps.iter_mut().filter(|app| app.set.is_none()) {
            app.present = presence(&workspace, &app.path);
        }
        ObservedApps { sets, apps }
    })
    .await
}

/// Reads the store, then looks at the disk for every app that might be deleted.
///
/// # Errors
/// What the store says.
pub(super) async fn observe_maintenance(core: &Core) -> Result<ObservedMaintenance, StoreError> {
    // Before the store is read: an attempt that ends in between has written its outcome.
    let held = core.attempts.held();
    let mut observed = core.store.observe_maintenance(core.settings.rules(), held, core.now()).await?;
    let workspace = core.workspace.clone();
    let mut observed = run_blocking(move || {
        for app in &mut observed.apps {
            app.present = presence(&workspace, &app.path);
        }
        observed
    })
    .await?;
    // Once more, last of all: an attempt that was opened or taken up in between is carried by now.
    for (id, carried) in observed.tasks.iter_mut().filter_map(|task| task.open.as_mut()) {
        *carried |= core.attempts.carried(id).is_some();
    }
    Ok(observed)
}

/// Whether an app's directory is there; `None` when that cannot be seen, as when a directory above it may not be read.
fn presence(workspace: &Path, path: &str) -> Option<bool> {
    match workspace.join(path).metadata() {
        Ok(metadata) => Some(metadata.is_dir()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => workspace.is_dir().then_some(false),
        Err(_) => None,
    }
}
