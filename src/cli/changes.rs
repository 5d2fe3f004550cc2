//! Waits for changes of files: the system says when to look, and a slow tick covers what it does not say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc::{Receiver, channel};

use crate::store::{database_path, glance};

/// How often to look without being told: file systems without notifications, a lost event, a watch that could not be set.
const TICK: Duration = Duration::from_secs(1);

/// The first look after one that was told. A commit can be seen only some milliseconds after its last event, once it is synced; each
/// further look waits twice as long, up to [`TICK`].
const SOON: Duration = Duration::from_millis(5);

/// Something below a directory changed.
pub(crate) struct Changes {
    // Kept for its thread; `None` where the system has no notifications for this directory.
    watcher: Option<notify::RecommendedWatcher>,
    signals: Receiver<()>,
    pause: Duration,
}

impl Changes {
    /// Watches files in these directories whose name passes. Reading them is no change.
    pub(crate) fn of(directories: &[&Path], wanted: impl Fn(&Path) -> bool + Send + 'static) -> Self {
        // One signal is enough: it says "look", not what happened.
        let (sender, signals) = channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let matters = match &event {
                Ok(event) => is_change(event.kind) && event.paths.iter().any(|path| wanted(path)),
                Err(_) => true,
            };
            if matters {
                // Full means that a look is due already.
                let _ = sender.try_send(());
            }
        })
        .ok();
        for directory in directories {
            if let Some(watcher) = &mut watcher {
                // Without a watch the tick still looks.
                let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
            }
        }
        Self { watcher, signals, pause: SOON }
    }

    /// Watches the database of a state directory.
    pub(crate) fn of_database(state: &Path) -> Self {
        let database = database_path(state);
        let name = database.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::of(&[state], move |path| is_database(path, &name))
    }

    /// Watches one more directory.
    pub(crate) fn add(&mut self, directory: &Path) {
        if let Some(watcher) = &mut self.watcher {
            let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
        }
    }

    /// Waits until something changed, or until it is time to look anyway.
    pub(crate) async fn next(&mut self) {
        // A closed channel (the watcher's thread ended) must not turn the waits into a busy loop.
        let told = async {
            if self.signals.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let was_told = tokio::time::timeout(self.pause, told).await.is_ok();
        self.pause = if was_told { SOON } else { (self.pause * 2).min(TICK) };
    }
}

/// Whether an event may tell of other contents. Reading is none, nor is what opening the database does for a privileged user: SQLite gives its log
/// the owner of the database then, and whoever looks because of that opens it again.
const fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)))
}

/// The database itself and its log; not the shared memory beside it, which reading changes.
pub(crate) fn is_database(path: &Path, name: &str) -> bool {
    path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file == name || file == format!("{name}-wal"))
}

/// The database, open for reading, and its changes by others.
pub(crate) struct Watched {
    connection: rusqlite::Connection,
    state: PathBuf,
    changes: Option<Changes>,
    version: Option<i64>,
}

impl Watched {
    /// Watches the database of a state directory.
    pub(crate) fn new(connection: rusqlite::Connection, state: &Path) -> Self {
        Self { connection, state: state.to_owned(), changes: None, version: None }
    }

    /// The connection.
    pub(crate) const fn connection(&self) -> &rusqlite::Connection {
        &self.connection
    }

    /// Waits until somebody committed something since the last call. The first call returns at once.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<()> {
        let state = &self.state;
        // Before the first look, so that nothing between the two is lost.
        let changes = self.changes.get_or_insert_with(|| Changes::of_database(state));
        loop {
            let version = glance::data_version(&self.connection)?;
            if self.version.replace(version) != Some(version) {
                return Ok(());
            }
            changes.next().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_the_database_is_no_change_of_it() {
        for (path, counts) in
            [("s/manifestd.db", true), ("s/manifestd.db-wal", true), ("s/manifestd.db-shm", false), ("s/lock", false)]
        {
            assert_eq!(is_database(Path::new(path), "manifestd.db"), counts, "{path}");
        }
    }

    #[test]
    fn nobody_wakes_himself_by_looking_whoever_he_is() {
        use notify::event::{AccessKind, AccessMode, DataChange, MetadataKind};
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any))), "root opened it");
        assert!(is_change(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
    }
}
