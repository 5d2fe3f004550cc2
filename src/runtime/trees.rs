//! Reading the files of apps: what was read before is remembered, and a disk that hangs is waited for only so long.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::Core;
use super::disk::Disk;
use super::tree_scan::{Scanned, Unread, scan};
use crate::plan::tree::{ObservedTree, Reading, SETTLE_MAX, is_moving};
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;
use crate::store::StoreError;

/// No reading takes longer; a tree at its limits is read within a fraction of it.
const READ_MAX: Duration = Duration::from_secs(300);

/// What was read of apps before, by path. In memory only: after a restart every tree that is needed is read once.
#[derive(Debug)]
pub(super) struct Trees {
    disk: Disk,
    known: Mutex<HashMap<String, Known>>,
    // Readings that took too long, by path, and whether they have ended since: while one hangs in the kernel, another would hang beside it.
    hanging: Mutex<HashMap<String, Arc<AtomicBool>>>,
    // Apps that are looked at again in a moment, since they are being written.
    settling: Mutex<HashSet<Uid>>,
}

#[derive(Debug, Clone)]
struct Known {
    scanned: Option<Scanned>,
    read_at: Timestamp,
    moving_since: Option<Timestamp>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single insert or remove.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trees {
    /// Nothing was read yet.
    pub(super) fn new(disk: Disk) -> Self {
        Self { disk, known: Mutex::default(), hanging: Mutex::default(), settling: Mutex::default() }
    }

    /// Reads the files of the app in `path`; `now` is the time at the call.
    pub(super) async fn read(&self, workspace: &Path, path: &str, now: Timestamp) -> Reading {
        let before = locked(&self.known).get(path).cloned();
        let before = before.unwrap_or(Known { scanned: None, read_at: now, moving_since: None });
        let scanned = self.scan(workspace, path, before.scanned.clone(), now).await;
        let moving = match &scanned {
            Ok(scanned) => is_moving(scanned.changed_at, now),
            Err(unread) => unread.moving,
        };
        // What was seen long ago, with nobody looking since, is no pause that was waited through; nor is what a clock turned back left in the
        // future.
        let already = before.moving_since.filter(|since| *since <= now && now.since(before.read_at) < SETTLE_MAX);
        let moving_since = moving.then(|| already.unwrap_or(now));
        let known = Known { scanned: scanned.as_ref().ok().cloned().or(before.scanned), read_at: now, moving_since };
        locked(&self.known).insert(path.to_owned(), known);
        match scanned {
            Ok(Scanned { digest, changed_at, .. }) => Reading::Seen { digest, changed_at, moving_since },
            Err(Unread { why, .. }) => Reading::Unknown { why, moving_since },
        }
    }

    /// Reads the files of an app beside the loop that follows it; what they looked like is not remembered.
    pub(super) async fn peek(&self, workspace: &Path, path: &str, now: Timestamp) -> Option<(String, Timestamp)> {
        let known = locked(&self.known).get(path).and_then(|known| known.scanned.clone());
        let scanned = self.scan(workspace, path, known, now).await.ok()?;
        Some((scanned.digest, scanned.changed_at))
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
        let work = self.disk.run(move || {
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

    /// Notes whether an app is looked at again in a moment, since it is being written.
    pub(super) fn note(&self, app: &Uid, is_settling: bool) {
        let mut settling = locked(&self.settling);
        if is_settling {
            settling.insert(app.clone());
        } else {
            settling.remove(app);
        }
    }

    /// Whether an app is looked at again in a moment.
    pub(super) fn is_settling(&self) -> bool {
        !locked(&self.settling).is_empty()
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
