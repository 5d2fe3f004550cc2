//! Floor 2: the store. All SQL of the project is in this folder.
//!
//! One thread owns the one write connection and commits groups; reads use their own read-only connections. A [`Store`] is a cheap handle. A
//! simulation has one without threads (`inline.rs`).

pub mod aside;
mod backfill;
pub mod check;
mod checkout;
mod child;
mod commit;
pub mod doctor;
pub mod durable;
pub mod error;
pub mod events;
pub mod exchange;
pub mod glance;
mod graphs;
pub mod history;
pub mod import;
pub mod inline;
pub mod lock;
pub mod made_by;
mod maintenance;
mod mirror;
mod mirror_write;
mod moment;
mod new_run;
mod observe;
mod observe_lane;
pub mod old;
mod open;
pub mod orphan_view;
mod pins;
mod pipeline;
mod pipeline_observe;
pub mod pool;
mod purge;
#[cfg(test)]
mod query_plans;
mod readers;
pub mod rebuild;
pub mod replica;
mod report;
pub mod request;
mod retry_preview;
mod reuse;
mod rows;
mod run_follow;
pub mod run_observe;
pub mod run_request;
pub mod run_view;
#[cfg(test)]
mod run_view_tests;
pub mod standing;
pub mod stray;
mod tree;
mod turn;
pub mod uid;
pub mod view;
mod wakes;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

pub use commit::Committed;
pub use error::StoreError;
pub use lock::StateLock;
pub use mirror::{FileStat, MirrorCommit, MirrorOutcome, OwnedProblem, ScannedFile, existing_objects, object_files};
pub use moment::Moment;
pub use observe::Held;
pub use open::{SCHEMA_VERSION, Step, configure, database_path, open_read_only, pending_steps, upgrade_backup};
pub use wakes::{Due, Wake};

/// A handle to the open store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    id: String,
    backend: Backend,
}

enum Backend {
    Threads {
        writer: writer::Writer,
        readers: readers::Readers,
        // Held as long as the store is open: exactly one process owns a state directory.
        _lock: StateLock,
    },
    Inline(inline::Inline),
}

impl Store {
    /// Opens the store of a locked state directory: creates it, upgrades it after a backup, or refuses a newer one.
    ///
    /// # Errors
    /// See [`StoreError`]; a database of a newer version is never touched.
    pub fn open(lock: StateLock) -> Result<Self, StoreError> {
        let path = database_path(lock.directory());
        let results = lock.directory().join("results");
        // A new database would give numbers again whose results are there.
        if !exchange::holds_database(lock.directory())
            && results.read_dir().is_ok_and(|mut found| found.next().is_some())
        {
            return Err(StoreError::Lost { path });
        }
        let (connection, id) = open::open(&path)?;
        let writer = writer::Writer::start(connection)?;
        let readers = readers::Readers::start(&path)?;
        Ok(Self { inner: Arc::new(Inner { path, id, backend: Backend::Threads { writer, readers, _lock: lock } }) })
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

    /// Comes back once both the writer and a reader have answered.
    ///
    /// # Errors
    /// What either of them says.
    pub async fn answers(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await?;
        self.read(|_| Ok(())).await
    }

    /// Runs `job` in the next group commit and answers once it is durable. It is run once more when another job of its group had to be taken back, so
    /// whatever it does apart from the database must be undone by dropping its answer.
    ///
    /// # Errors
    /// What the job says, after which nothing of it is kept; or why the commit failed.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.inner.backend {
            Backend::Threads { writer, .. } => writer.run(job).await,
            Backend::Inline(inline) => inline.write(job).await,
        }
    }

    /// Runs `query` on a read-only connection, on a thread of its own that may wait for the disk.
    ///
    /// # Errors
    /// What the query says.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.inner.backend {
            Backend::Threads { readers, .. } => readers.run(query).await,
            Backend::Inline(inline) => inline.read(query).await,
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
