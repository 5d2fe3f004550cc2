//! What can go wrong in the store, and which of it must end the process.

use std::path::PathBuf;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("database: {0}{hint}", hint = hint(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// The database cannot be used as it is.
    #[error("the database {path} cannot be used: {said}. {advice}")]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        said: String,
        /// What a person does about it.
        advice: &'static str,
    },
    /// The schema could not be brought up to date.
    #[error("upgrading the database: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// The file system said no.
    #[error("{path}: {source}{hint}", hint = io_hint(.source))]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another process owns the state directory.
    #[error(
        "the state directory {path} is in use by another manifestd{holder}; stop it first, or give another one with --state"
    )]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// ` (process 123)` when it is known.
        holder: String,
    },
    /// The database was made by a newer program.
    #[error(
        "the database {path} has schema version {found}, this manifestd knows up to {known}; use a newer manifestd. Nothing was changed"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest version this program knows.
        known: usize,
    },
    /// The database was made by an older program and has not been upgraded yet.
    #[error(
        "the database {path} has schema version {found}, this manifestd reads {known}; `manifestd serve` or `manifestd reconcile --once` upgrades it, after a backup. Nothing was changed"
    )]
    Older {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The version this program reads.
        known: usize,
    },
    /// There is no database yet.
    #[error(
        "there is no database at {path}; start `manifestd serve` or `manifestd reconcile --once` first, or give the state directory with --state"
    )]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is no database, and yet there are results.
    #[error(
        "there is no database at {path}, but results beside it: it was lost, and everything would run again. Bring a backup back with `manifestd restore FILE`, or make the database anew from the manifests and the results with `manifestd db rebuild`; to begin with nothing, move the directory `results` away"
    )]
    Lost {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A stored value is not what this program writes.
    #[error("the database holds something that manifestd did not write: {0}")]
    Corrupt(String),
    /// Somebody else moved what a plan was decided on.
    #[error("the state moved since it was observed")]
    Conflict,
    /// The store's thread has ended.
    #[error("the store has been closed")]
    Gone,
    /// Whatever was asked of the store panicked; nothing of it was kept.
    #[error("manifestd failed while it worked on the database; this is a bug, its log says more")]
    Panicked,
}

/// What is done about a database whose pages are not what they were.
const DAMAGED: &str = "Its file is damaged; nothing was changed. Bring a backup back with `manifestd restore FILE --force`, or make the \
                       database anew from the manifests and the results with `manifestd db rebuild`";

/// What is done about a database that cannot even be opened.
pub(super) const CLOSED: &str = "Look at its path: it must be a file, in a directory in which this user may read and write; \
                      `manifestd db rebuild` makes another one if it is something else";

/// What is done about a file system that takes no changes.
const READ_ONLY: &str =
    "Its directory or file system is read-only for this user; make it writable, or give another with --state";

/// What is done about a full disk.
const FULL: &str = "There is no room left on its disk; make room, nothing is lost";

fn advice(error: &rusqlite::Error) -> Option<&'static str> {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly};
    match error.sqlite_error_code()? {
        DatabaseCorrupt | NotADatabase => Some(DAMAGED),
        CannotOpen => Some(CLOSED),
        ReadOnly => Some(READ_ONLY),
        DiskFull => Some(FULL),
        _ => None,
    }
}

fn io_hint(error: &std::io::Error) -> String {
    let advice = match error.kind() {
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => READ_ONLY,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => FULL,
        _ => return String::new(),
    };
    format!(". {advice}")
}

fn hint(error: &rusqlite::Error) -> String {
    advice(error).map(|advice| format!(". {advice}")).unwrap_or_default()
}

impl StoreError {
    /// Says in which file it happened and what to do, when that is known of the error.
    #[must_use]
    pub(super) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::Sqlite(said) => match advice(&said) {
                Some(advice) => Self::Unusable { path: path.to_owned(), said: said.to_string(), advice },
                None => Self::Sqlite(said),
            },
            other => other,
        }
    }

    /// Whether there was no room on the disk. It passes once there is some: nothing was written, and nothing is broken.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        // The file that all connections share could not grow, or any other.
        const SHARED: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, rusqlite::ErrorCode::DiskFull) || error.extended_code == SHARED
            }
            _ => false,
        }
    }

    /// Whether going on could only make it worse: the disk is broken, or the database cannot be trusted.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, ReadOnly, SystemIoFailure};
        match self {
            _ if self.is_full() => false,
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, CannotOpen | DatabaseCorrupt | NotADatabase | ReadOnly | SystemIoFailure)
            }
            Self::Gone
            | Self::Unusable { .. }
            | Self::Lost { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Locked { .. }
            | Self::Absent { .. }
            | Self::Migration(_) => true,
            Self::Sqlite(_) | Self::Io { .. } | Self::Corrupt(_) | Self::Conflict | Self::Panicked => false,
        }
    }
}
