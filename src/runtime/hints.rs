//! File events as hints: which files are complete by the event itself, and whether the whole directory must be looked at again.
//!
//! Events are never queued. They are folded into this small state, so that a flood of them costs nothing but a rescan.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::scan::is_manifest;

/// What events have told since it was last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Files that were moved in, or closed after writing: they can be read at once.
    pub(super) complete: BTreeSet<PathBuf>,
    /// Files that were made or touched, so that a scan must look at them unless they are closed soon.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Files that were written into and not closed since, whatever was scanned meanwhile.
    pub(super) open: BTreeSet<PathBuf>,
    /// Files that were closed or moved in since the last scan, read by now or not.
    pub(super) closed: BTreeSet<PathBuf>,
    /// Something else happened: only a scan can tell what.
    pub(super) dirty: bool,
    /// A directory was moved in, with all that it holds: the scan need not wait for more.
    pub(super) moved_in: bool,
    /// Events were lost, perhaps those of new directories, which nobody watches then.
    pub(super) lost: bool,
}

impl Hints {
    /// Folds one event below the watched directory in. Returns whether it told anything.
    fn fold(&mut self, root: &Path, event: &Event) -> bool {
        if event.need_rescan() {
            self.lose();
            return true;
        }
        let mut told = false;
        for path in &event.paths {
            told |= match is_in_hidden_directory(root, path) {
                false => self.fold_path(&event.kind, path),
                true => self.fold_hidden(&event.kind, path),
            };
        }
        told
    }

    /// Events were lost: what was closed may be open again, and what was open closed.
    fn lose(&mut self) {
        *self = Self { dirty: true, lost: true, complete: std::mem::take(&mut self.complete), ..Self::default() };
    }

    /// Of all that happens in hidden directories only one thing counts: git has moved HEAD, or written to its log that it did, so that
    /// what was mirrored belongs to another commit now.
    fn fold_hidden(&mut self, kind: &EventKind, path: &Path) -> bool {
        let written = matches!(
            kind,
            EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(RenameMode::To))
        );
        let moved = written && path.file_name().is_some_and(|name| name == "HEAD");
        self.dirty |= moved;
        moved
    }

    fn fold_path(&mut self, kind: &EventKind, path: &Path) -> bool {
        let manifest = is_manifest(path);
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To))
                if manifest =>
            {
                self.touched.remove(path);
                self.open.remove(path);
                self.closed.insert(path.to_owned());
                self.complete.insert(path.to_owned());
            }
            EventKind::Modify(ModifyKind::Data(_)) if manifest => {
                self.complete.remove(path);
                self.closed.remove(path);
                self.touched.insert(path.to_owned());
                self.open.insert(path.to_owned());
            }
            EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Metadata(_)) if manifest => {
                // A hard link or a touch is never followed by a close, so the quiet time ends this too.
                self.touched.insert(path.to_owned());
            }
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Data(_)) => return false,
            EventKind::Create(CreateKind::File) => return false,
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return false,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) => {
                // A directory moved in or out has no manifest's name, but may hold many.
                if !manifest && is_hidden(path) {
                    return false;
                }
                self.dirty = true;
                self.open.remove(path);
                self.closed.remove(path);
                self.moved_in |= matches!(kind, EventKind::Modify(ModifyKind::Name(RenameMode::To))) && path.is_dir();
            }
            EventKind::Any | EventKind::Other => self.dirty = true,
        }
        true
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a path lies in a directory that the scan leaves out, such as `.git`. Hidden directories above the watched one do not count.
fn is_in_hidden_directory(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).ok().and_then(Path::parent);
    below.is_some_and(|below| below.iter().any(|part| part.as_encoded_bytes().starts_with(b".")))
}

/// What file events have told, shared by those who tell and the one who reads.
#[derive(Debug, Default)]
pub(super) struct Told {
    hints: Mutex<Hints>,
    changed: Notify,
}

impl Told {
    fn hints(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of an event below a directory, or that one was lost.
    pub(super) fn hear(&self, root: &Path, event: notify::Result<Event>) {
        let told = match event {
            Ok(event) => self.hints().fold(root, &event),
            Err(error) => {
                // A directory that is one too many stays without a watch; trying again would take those of all others.
                let is_limit = matches!(error.kind, notify::ErrorKind::MaxFilesWatch);
                match is_limit {
                    true => {
                        tracing::warn!(%error, "not every directory is watched; the periodic scan finds its changes")
                    }
                    false => tracing::debug!(%error, "a file event was lost; scanning"),
                }
                let mut hints = self.hints();
                hints.lose();
                hints.lost &= !is_limit;
                true
            }
        };
        if told {
            self.changed.notify_one();
        }
    }

    /// Waits until an event has told something since the last wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the files that can be read at once.
    #[must_use]
    pub(super) fn take_complete(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut self.hints().complete)
    }

    /// Whether a scan is needed once it is quiet.
    #[must_use]
    pub(super) fn needs_scan(&self) -> bool {
        let hints = self.hints();
        hints.dirty || !hints.touched.is_empty()
    }

    /// Whether a directory was moved in.
    #[must_use]
    pub(super) fn is_moved_in(&self) -> bool {
        self.hints().moved_in
    }

    /// Whether events were lost, so that every directory must be watched anew.
    #[must_use]
    pub(super) fn has_lost(&self) -> bool {
        self.hints().lost
    }

    /// Forgets what a scan that is about to begin finds out anyway. Gives the files that are open, and those that were closed since the last one.
    pub(super) fn begin_scan(&self) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        let mut hints = self.hints();
        let open = std::mem::take(&mut hints.open);
        let before = std::mem::replace(&mut *hints, Hints { open: open.clone(), ..Hints::default() });
        (open, before.closed)
    }

    /// Another directory is about to be watched: nothing is known of its files.
    pub(super) fn forget(&self) {
        *self.hints() = Hints::default();
    }
}

/// A watched directory.
pub(super) struct Watch {
    // Device and inode of what is watched: a watch stays with the directory, not with its name.
    place: Option<(u64, u64)>,
    // Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches a directory and all below it.
    ///
    /// # Errors
    /// What the operating system says, such as that its limit of watches is reached; the periodic scan still finds everything.
    pub(super) fn start(directory: &Path, told: Arc<Told>) -> notify::Result<Self> {
        let place = place(directory);
        // Events name files by the absolute path of what is watched.
        let root = std::path::absolute(directory)?;
        let mut watcher = notify::recommended_watcher(move |event| told.hear(&root, event))?;
        watcher.watch(directory, RecursiveMode::Recursive)?;
        Ok(Self { place, _watcher: watcher })
    }

    /// Whether another directory has taken the place of the watched one. While there is none, the watched one may come back.
    pub(super) fn is_left_behind(&self, directory: &Path) -> bool {
        place(directory).is_some_and(|now| Some(now) != self.place)
    }
}

fn place(directory: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(PathBuf::from(path))
    }

    #[test]
    fn a_file_moved_in_or_closed_can_be_read_at_once() {
        let mut hints = Hints::default();
        hints.fold(Path::new("/m"), &event(EventKind::Modify(ModifyKind::Name(RenameMode::To)), "/m/a.yaml"));
        hints.fold(Path::new("/m"), &event(EventKind::Create(CreateKind::File), "/m/b.yaml"));
        assert_eq!(hints.touched.len(), 1);
        hints.fold(Path::new("/m"), &event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/m/b.yaml"));
        assert_eq!(hints.complete.len(), 2);
        assert!(hints.touched.is_empty() && !hints.dirty);
    }

    #[test]
    fn a_file_stays_open_from_the_first_byte_written_until_it_is_closed_or_gone_whatever_is_scanned_meanwhile() {
        let (root, file) = (Path::new("/m"), PathBuf::from("/m/a.yaml"));
        let data = EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any));
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let told = Told::default();
        let hear = |kind| told.hear(root, Ok(event(kind, "/m/a.yaml")));
        hear(close);
        hear(data);
        assert!(told.take_complete().is_empty(), "it is being written again");
        for _ in 0..2 {
            assert_eq!(told.begin_scan(), (BTreeSet::from([file.clone()]), BTreeSet::new()));
            assert!(!told.needs_scan(), "its close is waited for");
        }
        hear(close);
        assert_eq!(told.take_complete(), BTreeSet::from([file.clone()]));
        assert_eq!(told.begin_scan(), (BTreeSet::new(), BTreeSet::from([file])));
        assert_eq!(told.begin_scan(), Default::default());
        for over in [
            event(EventKind::Remove(notify::event::RemoveKind::File), "/m/a.yaml"),
            event(EventKind::Modify(ModifyKind::Name(RenameMode::From)), "/m/a.yaml"),
            Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan),
        ] {
            hear(data);
            told.hear(root, Ok(over.clone()));
            assert_eq!(told.begin_scan(), Default::default(), "{over:?}");
        }
    }

    #[test]
    fn anything_else_needs_a_scan_and_noise_needs_nothing() {
        for (kind, path, dirty) in [
            (EventKind::Remove(notify::event::RemoveKind::File), "/m/a.yaml", true),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "/m/a.yaml", true),
            (EventKind::Create(CreateKind::Folder), "/m/sub", true),
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), "/m/sub", true),
            (EventKind::Any, "/m", true),
            (EventKind::Create(CreateKind::File), "/m/.a.yaml.swp", false),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "/m/.tmp123", false),
            (EventKind::Access(AccessKind::Open(AccessMode::Read)), "/m/a.yaml", false),
            (EventKind::Create(CreateKind::Folder), "/m/.git/refs/heads/new", false),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), "/m/.git/logs/HEAD", true),
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), "/m/.git/HEAD", true),
            (EventKind::Remove(notify::event::RemoveKind::File), "/m/.git/index.lock", false),
        ] {
            let mut hints = Hints::default();
            assert_eq!(hints.fold(Path::new("/m"), &event(kind, path)), dirty, "{kind:?} {path}");
            assert_eq!(hints.dirty, dirty, "{kind:?} {path}");
        }
        let mut hints = Hints::default();
        hints.fold(Path::new("/m"), &Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan));
        assert!(hints.dirty && hints.lost, "a directory may have been made that nobody watches");
    }

    #[test]
    fn a_directory_that_is_moved_in_is_whole_and_anything_else_may_not_be() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(path("study")).unwrap();
        std::fs::write(path("notes"), "").unwrap();
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (kind, name, moved_in) in [
            (to, "study", true),
            (to, "notes", false),
            (to, "gone", false),
            (EventKind::Create(CreateKind::Folder), "study", false),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "study", false),
        ] {
            let mut hints = Hints::default();
            hints.fold(root.path(), &event(kind, &path(name)));
            assert_eq!((hints.moved_in, hints.dirty), (moved_in, true), "{kind:?} {name}");
        }
    }

    #[test]
    fn nothing_in_a_hidden_directory_is_a_manifest_as_in_a_scan() {
        let moved_in = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (root, path, complete) in [
            ("/m", "/m/.git/refs/heads/fix.yaml", 0),
            ("/m", "/m/sub/.cache/deep/a.yaml", 0),
            ("/srv/.config/m", "/srv/.config/m/sub/a.yaml", 1),
        ] {
            let mut hints = Hints::default();
            assert_eq!(hints.fold(Path::new(root), &event(moved_in, path)), complete > 0, "{path}");
            assert_eq!(hints.complete.len(), complete, "{path}");
        }
    }
}
