//! What the command line reads of everything that is on its way out, or was found without a record: missing apps, what was set aside, strays.

use rusqlite::{Connection, params};

use super::rows::{time, time_or_none};
use super::{Store, StoreError};
use crate::resource::time::Timestamp;

/// Lines of each kind that are read when nobody says how many.
pub const LINES_MAX: u32 = 1000;

/// Why something is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its directory is gone; its record is still there.
    Missing,
    /// Its record was deleted.
    Deleted,
    /// It ended long ago.
    SetAside,
    /// It belongs to no attempt.
    Stray,
}

/// One thing that is on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanView {
    /// Such as `task/lint`, or `results/a/b/1`.
    pub object: String,
    /// Why.
    pub why: Why,
    /// Since when.
    pub since: Timestamp,
    /// When a person said that it is to be kept.
    pub kept_at: Option<Timestamp>,
}

const QUERIES: [(&str, Why, &str); 5] = [
    (
        "app/",
        Why::Missing,
        "SELECT name, missing_since AS since, kept_at FROM app JOIN object USING (uid)
         WHERE missing_since IS NOT NULL AND deleted_at IS NULL AND removed_at IS NULL ORDER BY missing_since, name LIMIT ?1",
    ),
    (
        "app/",
        Why::Deleted,
        "SELECT name, deleted_at AS since, kept_at FROM app JOIN object USING (uid)
         WHERE deleted_at IS NOT NULL ORDER BY deleted_at, name LIMIT ?1",
    ),
    (
        "run/",
        Why::SetAside,
        "SELECT name, aside_at AS since, kept_at FROM run
         WHERE parent IS NULL AND aside_at IS NOT NULL AND purged_at IS NULL ORDER BY aside_at, name LIMIT ?1",
    ),
    (
        "task/",
        Why::SetAside,
        "SELECT name, aside_at AS since, kept_at FROM task
         WHERE aside_at IS NOT NULL AND purged_at IS NULL AND run IS NULL ORDER BY aside_at, name LIMIT ?1",
    ),
    ("results/", Why::Stray, "SELECT path AS name, seen_at AS since, kept_at FROM stray ORDER BY seen_at, path LIMIT ?1"),
];

/// Everything that is on its way out, the oldest of each kind first; at most so many of each kind.
///
/// # Errors
/// What the database says.
pub fn orphans(connection: &Connection, limit: u32) -> Result<Vec<OrphanView>, StoreError> {
    let mut orphans = Vec::new();
    for (prefix, why, query) in QUERIES {
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(params![limit])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get("name")?;
            orphans.push(OrphanView {
                object: format!("{prefix}{name}"),
                why,
                since: time(row, "since")?,
                kept_at: time_or_none(row, "kept_at")?,
            });
        }
    }
    Ok(orphans)
}

impl Store {
    /// Everything that could be purged now, but what is kept.
    ///
    /// # Errors
    /// What the database says.
    pub async fn purgeable(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let all = orphans(connection, u32::MAX)?.into_iter();
            let wanted = all.filter(|orphan| orphan.kept_at.is_none() && orphan.why != Why::Missing);
            Ok(wanted.map(|orphan| orphan.object).collect())
        })
        .await
    }
}
