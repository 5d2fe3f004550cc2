//! Observing the apps on disk: what the AppSets' patterns match, and whether the directories of hand-written Apps are there.

use std::path::Path;

use super::app_scan::{device_of, find_apps};
use super::core::Core;
use crate::plan::action::Permit;
use crate::plan::apps::ObservedApps;
use crate::store::StoreError;

/// Reads the store, then the disk.
///
/// # Errors
/// What the store says. What the disk says is part of the observation.
pub(super) async fn observe_apps(core: &Core) -> Result<ObservedApps, StoreError> {
    let (sets, mut apps) = core.store.observe_apps().await?;
    let workspace = core.workspace.clone();
    core.disk
        .run(move || {
            let sets = sets
                .into_iter()
                .map(|(mut set, spec)| {
                    set.scan = match find_apps(&workspace, &spec) {
                        // A root that is not there has no apps, once a person says that this is right.
                        Err(_) if set.accepted && presence(&workspace, &spec.root) == Some(false) => Ok(Vec::new()),
                        found => found.map_err(|error| error.to_string()),
                    };
                    set.device = device_of(&workspace, &spec);
                    set
                })
                .collect();
            for app in apps.iter_mut().filter(|app| app.set.is_none()) {
                app.present = presence(&workspace, &app.path);
            }
            ObservedApps { sets, apps, permit: Permit::All }
        })
        .await
}

/// Whether an app's directory is there; `None` when that cannot be seen, as when a directory above it may not be read.
pub(super) fn presence(workspace: &Path, path: &str) -> Option<bool> {
    match workspace.join(path).metadata() {
        Ok(metadata) => Some(metadata.is_dir()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => workspace.is_dir().then_some(false),
        Err(_) => None,
    }
}
