//! Floor 2: the store. All SQL of the project is in this folder.
//!
//! One thread owns the one write connection and commits groups; reads use their own read-only connections. A [`Store`] is a cheap handle.

mod checkout;
mod commit;
pub mod error;
pub mod glance;
pub mod lock;
mod mirror;
mod observe;
mod open;
mod report;
pub mod request;
mod rows;
pub mod view;
mod wakes;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

pub use commit::Committed;
pub use error::StoreError;
pub use lock::StateLock;
pub use mirror::{FileStat, MirrorCommit, MirrorOutcome, OwnedProblem, ScannedFile, existing_objects, object_files};
pub use observe::Held;
pub use open::{SCHEMA_VERSION, database_path, open_read_only};
pub use wakes::Wake;

/// Read connections that are kept open; more are opened when needed and closed after use.
const IDLE_READERS_MAX: usize = 4;

/// A handle to the open store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    id: String,
    writer: writer::Writer,
    readers: Mutex<Vec<Connection>>,
    // Held as long as the store is open: exactly one process owns a state directory.
    _lock: StateLock,
}

impl Store {
    /// Opens the store of a locked state directory: creates it, upgrades it after a backup, or refuses a newer one.
    ///
    /// # Errors
    /// See [`StoreError`]; a database of a newer version is never touched.
    pub fn open(lock: StateLock) -> Result<Self, StoreError> {
        let path = database_path(lock.directory());
        let (connection, id) = open::open(&path)?;
        let writer = writer::Writer::start(connection)?;
        Ok(Self { inner: Arc::new(Inner { path, id, writer, readers: Mutex::default(), _lock: lock }) })
    }

    /// A short random word that names this state directory, so that processes started from it can be told from others.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `job` in a savepoint of the next group commit and answers once it is durable.
    ///
    /// # Errors
    /// What the job says, after which nothing of it is kept; or why the commit failed.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.writer.run(job).await
    }

    /// Runs `query` on a read-only connection, on a thread that may wait for the disk.
    ///
    /// # Errors
    /// What the query says.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let joined = tokio::task::spawn_blocking(move || {
            let idle = inner.readers.lock().map_err(|_| StoreError::Gone)?.pop();
            let connection = idle.map_or_else(|| open_read_only(&inner.path), Ok)?;
            // One read transaction, so that all queries of an observation see the same moment.
            let moment = connection.unchecked_transaction()?;
            let answer = query(&connection);
            moment.finish()?;
            let mut readers = inner.readers.lock().map_err(|_| StoreError::Gone)?;
            if readers.len() < IDLE_READERS_MAX {
                readers.push(connection);
            }
            answer
        });
        joined.await.map_err(|_| StoreError::Gone)?
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
