//! Directories below results/: those that belong to no attempt, and those whose attempts were purged and that are to be removed.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError};
use crate::plan::maintenance::Stray;
use crate::resource::time::Timestamp;

/// Lines that are read at once.
const BATCH: usize = 100;

/// Whether an attempt of this task has its result in this directory, or may yet store it there.
pub(super) const OWNER_BY_NAME: &str = "SELECT 1 FROM task t JOIN attempt a ON a.task_uid = t.uid
     WHERE t.name = ?1 AND a.number = ?2 AND (a.outcome IS NULL OR a.result_dir = ?3)";

/// The same for a task whose name cannot be a directory.
pub(super) const OWNER_BY_UID: &str =
    "SELECT 1 FROM attempt WHERE task_uid = ?1 AND number = ?2 AND (outcome IS NULL OR result_dir = ?3)";

/// Whether an attempt has taken the result in this directory from another one.
pub(super) const REUSED: &str =
    "SELECT 1 FROM attempt INDEXED BY attempt_reused WHERE reason = 'Reused' AND result_dir = ?1 LIMIT 1";

/// A directory of results as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultDirectory {
    /// Its path, relative to results/: `APP/TASK/NUMBER`.
    pub path: String,
    /// The uid of its task, when what lies in it says so.
    pub task_uid: Option<String>,
    /// When it was last written.
    pub changed_at: Timestamp,
}

impl ResultDirectory {
    /// Whether some attempt has its result here, or may yet store it here.
    pub(super) fn is_owned(&self, connection: &Connection) -> Result<bool, StoreError> {
        let mut parts = self.path.splitn(3, '/').skip(1);
        let (Some(task), Some(Ok(number))) = (parts.next(), parts.next().map(str::parse::<u32>)) else {
            return Ok(false);
        };
        let exists = |query: &str, of: &str| -> Result<bool, StoreError> {
            Ok(connection.prepare_cached(query)?.exists(params![of, number, self.path])?)
        };
        if exists(OWNER_BY_NAME, task)? {
            return Ok(true);
        }
        if let Some(uid) = &self.task_uid
            && exists(OWNER_BY_UID, uid)?
        {
            return Ok(true);
        }
        Ok(connection.prepare_cached(REUSED)?.exists([&self.path])?)
    }
}

/// Length of a directory's name that stands for a longer or odder name of a task, with a digest; see `executor::results::file_name`.
const DIGEST_NAME: usize = 113;

/// Whether the result in a directory is still some attempt's. A directory whose name cannot be told from a task's counts as held.
pub(super) fn is_held(connection: &Connection, path: &str) -> Result<bool, StoreError> {
    if path.split('/').nth(1).is_some_and(|name| name.len() == DIGEST_NAME) {
        return Ok(!is_asked(connection, path)?);
    }
    ResultDirectory { path: path.to_owned(), task_uid: None, changed_at: Timestamp(0) }.is_owned(connection)
}

impl Store {
    /// Those of these directories that belong to no attempt, with when each was seen first. Kept ones and those that are to be removed
    /// anyway are left out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn strays(&self, directories: Vec<ResultDirectory>) -> Result<Vec<Stray>, StoreError> {
        self.read(move |connection| find(connection, directories)).await
    }

    /// Strays that are listed, by path.
    ///
    /// # Errors
    /// What the database says.
    pub async fn listed_strays(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT path FROM stray ORDER BY path")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Directories that are to be removed; a batch. One that an attempt has taken into use again is taken off the list instead.
    ///
    /// # Errors
    /// What the database says.
    pub async fn removals(&self) -> Result<Vec<String>, StoreError> {
        self.write(|connection| {
            let paths: Vec<String> = connection
                .prepare_cached("SELECT path FROM removal ORDER BY path LIMIT ?1")?
                .query_map([BATCH], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut free = Vec::new();
            for path in paths {
                let directory = ResultDirectory { path, task_uid: None, changed_at: Timestamp(0) };
                match directory.is_owned(connection)? {
                    true => removed(connection, &directory.path)?,
                    false => free.push(directory.path),
                }
            }
            Ok(free)
        })
        .await
    }

    /// Takes directories off the list that are gone.
    ///
    /// # Errors
    /// What the database says.
    pub async fn removed(&self, paths: Vec<String>) -> Result<(), StoreError> {
        self.write(move |connection| paths.iter().try_for_each(|path| removed(connection, path))).await
    }
}

/// Those of these directories that belong to no attempt; see [`Store::strays`].
///
/// # Errors
/// What the database says.
pub fn find(connection: &Connection, directories: Vec<ResultDirectory>) -> Result<Vec<Stray>, StoreError> {
    let mut strays = Vec::new();
    for directory in directories {
        if directory.is_owned(connection)? {
            continue;
        }
        let listed: Option<(i64, Option<i64>)> = connection
            .prepare_cached("SELECT seen_at, kept_at FROM stray WHERE path = ?1")?
            .query_row([&directory.path], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let is_kept = listed.is_some_and(|(_, kept)| kept.is_some());
        if is_kept || is_asked(connection, &directory.path)? {
            continue;
        }
        let seen_at = listed.map(|(seen, _)| Timestamp(seen));
        strays.push(Stray { path: directory.path, changed_at: directory.changed_at, seen_at });
    }
    Ok(strays)
}

/// How many directories are to be removed.
///
/// # Errors
/// What the database says.
pub fn count_removals(connection: &Connection) -> Result<u64, StoreError> {
    Ok(connection.query_row("SELECT count(*) FROM removal", [], |row| row.get(0))?)
}

fn removed(connection: &Connection, path: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM removal WHERE path = ?1")?.execute([path])?;
    Ok(())
}

fn is_asked(connection: &Connection, path: &str) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("SELECT 1 FROM removal WHERE path = ?1")?.exists([path])?)
}

/// Whether any directory is to be removed.
pub(super) fn has_removals(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("SELECT 1 FROM removal LIMIT 1")?.exists([])?)
}

/// Asks for the removal of a directory, unless another attempt has taken the result in it.
pub(super) fn ask_removal(connection: &Connection, path: &str, now: Timestamp) -> Result<(), StoreError> {
    if !connection.prepare_cached(REUSED)?.exists([path])? {
        connection
            .prepare_cached("INSERT INTO removal (path, asked_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![path, now.0])?;
    }
    Ok(())
}

/// Takes a stray off the list.
pub(super) fn forget(connection: &Connection, path: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM stray WHERE path = ?1")?.execute([path])?;
    Ok(())
}

/// Lists a stray.
pub(super) fn list(connection: &Connection, path: &str, now: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO stray (path, seen_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![path, now.0])?;
    Ok(())
}

/// Asks for the removal of a stray that is listed since a moment.
pub(super) fn purge(connection: &Connection, path: &str, seen_at: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    let changed = connection
        .prepare_cached("DELETE FROM stray WHERE path = ?1 AND seen_at = ?2 AND kept_at IS NULL")?
        .execute(params![path, seen_at.0])?;
    if changed == 0 {
        return Err(StoreError::Conflict);
    }
    ask_removal(connection, path, now)
}
