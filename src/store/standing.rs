//! How things stand as a whole, for `manifestd status`: what waits for what, for how long, and what is in doubt.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::rows::{time, word};
use crate::plan::apps::SOURCE_SUSPECT;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// Pending tasks by reason. What is queued is counted from its index, and the rest is held.
pub(super) const PENDING: &str =
    "SELECT reason, count(*) FROM task WHERE phase = 'Pending' AND removed = 0 GROUP BY reason";

/// The task that has been queued for longest.
pub(super) const OLDEST: &str =
    "SELECT name, since FROM task INDEXED BY task_queue WHERE phase = 'Pending' AND reason = 'Queued'
     ORDER BY since LIMIT 1";

/// AppSets whose scan is not believed.
const SUSPECT: &str = "SELECT o.name, c.message FROM condition c JOIN object o ON o.uid = c.uid
     WHERE c.type = ?1 AND c.holds = 1 AND o.removed_at IS NULL ORDER BY o.name";

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Pending tasks by reason.
    pub pending: BTreeMap<Reason, u64>,
    /// Which task has been queued for longest, and since when it has been Pending.
    pub oldest_queued: Option<(String, Timestamp)>,
    /// AppSets whose scan is not believed, each with why.
    pub suspect: Vec<(String, String)>,
}

/// Reads how things stand.
///
/// # Errors
/// What the database says.
pub fn standing(connection: &Connection) -> Result<Standing, StoreError> {
    let mut standing = Standing::default();
    let mut statement = connection.prepare_cached(PENDING)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        standing.pending.insert(word(row, "reason")?, row.get(1)?);
    }
    standing.oldest_queued = connection
        .prepare_cached(OLDEST)?
        .query_row([], |row| Ok((row.get("name")?, time(row, "since"))))
        .optional()?
        .map(|(name, since)| since.map(|since| (name, since)))
        .transpose()?;
    let mut statement = connection.prepare_cached(SUSPECT)?;
    let suspect = statement.query_map([SOURCE_SUSPECT], |row| Ok((row.get(0)?, row.get(1)?)))?;
    standing.suspect = suspect.collect::<Result<_, _>>()?;
    Ok(standing)
}
