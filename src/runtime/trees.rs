//! Reading the files of apps: what was read before is remembered, and a disk that hangs is waited for only so long.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::Core;
use super::tree_scan::{Scanned, Unread, scan};
use crate::plan::tree::{ObservedTree, Reading, SETTLE_MAX, is_moving};
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;
use crate::store::StoreError;

/// No reading takes longer; a tree at its limits is read within a fraction of it.
const READ_MAX: Duration = Duration::from_secs(300);

/// What was read of apps before, by path. In memory only: after a restart every tree that is needed is read once.
#[derive(Debug, Default)]
pub(super) struct Trees {
    known: Mutex<HashMap<String, Known>>,
    // Readings that took too long, by path, and whether they have ended since: while one hangs in the kernel, another would hang beside it.
    hanging: Mutex<HashMap<String, Arc<AtomicBool>>>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    scanned: Option<Scanned>,
    moving_since: Option<Timestamp>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single insert or remove.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trees {
    /// Reads the files of the app in `path`; `now` is the time at the call.
    pub(super) async fn read(&self, workspace: &Path, path: &str, now: Timestamp) -> Reading {
        let before = locked(&self.known).get(path).cloned().unwrap_or_default();
        let scanned = self.scan(workspace, path, before.scanned.clone(), now).await;
        let moving = match &scanned {
            Ok(scanned) => is_moving(scanned.changed_at, now),
            Err(unread) => unread.moving,
        };
        let moving_since = moving.then(|| before.moving_since.unwrap_or(now));
        let known = Known { scanned: scanned.as_ref().ok().cloned().or(before.scanned), moving_since };
        locked(&self.known).insert(path.to_owned(), known);
        match scanned {
            Ok(Scanned { digest, changed_at, .. }) => Reading::Seen { digest, changed_at, moving_since },
            Err(Unread { why, .. }) => Reading::Unknown { why, moving_since },
        }
    }

    async fn scan(
        &self,
        workspace: &Path,
        path: &str,
        known: Option<Scanned>,
        now: Timestamp,
    ) -> Result<Scanned, Unread> {
        if locked(&self.hanging).get(path).is_some_and(|ended| !ended.load(Ordering::SeqCst)) {
            return Err(Unread { why: format!("the disk below {path:?} does not answer"), moving: false });
        }
        let (stop, ended) = (Flag::default(), Arc::<AtomicBool>::default());
        let (asked, over) = (Arc::clone(&stop.0), Flag(Arc::clone(&ended)));
        let (workspace, owned) = (workspace.to_owned(), path.to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let _over = over;
            scan(&workspace, &owned, known.as_ref(), now, &|| asked.load(Ordering::SeqCst))
        });
        match tokio::time::timeout(READ_MAX, work).await {
            Ok(Ok(scanned)) => scanned,
            Ok(Err(_)) => Err(Unread { why: format!("reading {path:?} failed; the log says more"), moving: false }),
            Err(_) => {
                locked(&self.hanging).insert(path.to_owned(), Arc::clone(&ended));
                let why = format!("reading {path:?} takes longer than {} s", READ_MAX.as_secs());
                Err(Unread { why, moving: false })
            }
        }
    }

    /// Whether an app is being written, so that another look at it follows soon.
    pub(super) fn is_settling(&self, now: Timestamp) -> bool {
        let is_settling = |known: &Known| known.moving_since.is_some_and(|since| now.since(since) < SETTLE_MAX);
        locked(&self.known).values().any(is_settling)
    }

    /// Forgets what was read of an app that nobody needs any more.
    fn forget(&self, path: &str) {
        locked(&self.known).remove(path);
    }
}

/// Set when it is dropped: a reading that nobody waits for is told so, and tells that it has ended.
#[derive(Debug, Default)]
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Reads the store, then the disk: who waits for a reading is known before it begins.
///
/// # Errors
/// What the store says. What the disk says is part of the observation.
pub(super) async fn observe_tree(core: &Core, uid: &Uid) -> Result<Option<ObservedTree>, StoreError> {
    let began_at = core.now();
    let Some(mut tree) = core.store.observe_tree(uid.clone(), began_at).await? else { return Ok(None) };
    if tree.is_needed() {
        tree.reading = core.trees.read(&core.workspace, &tree.path, began_at).await;
    } else {
        core.trees.forget(&tree.path);
    }
    Ok(Some(tree))
}
