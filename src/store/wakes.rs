//! What a resync looks at again: whatever a lost wake-up could have left behind, found by partial indexes, so that its cost does not
//! grow with finished history.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::maintenance::REVIVED;
use super::rows::json_column;
use super::{Store, StoreError};
use crate::plan::Key;
use crate::plan::pipeline::schedule;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::pipeline::Schedule;
use crate::resource::time::Timestamp;

/// Analyzers with a queue. The loose index scan jumps from one to the next instead of reading the whole queue.
pub(super) const LANES: &str = "WITH RECURSIVE lane (analyzer) AS (
         SELECT min(analyzer) FROM task WHERE phase = 'Pending' AND reason = 'Queued'
         UNION ALL
         SELECT (SELECT min(analyzer) FROM task WHERE phase = 'Pending' AND reason = 'Queued' AND analyzer > lane.analyzer)
         FROM lane WHERE analyzer IS NOT NULL
     ) SELECT analyzer FROM lane WHERE analyzer IS NOT NULL";

/// Tasks with an open attempt, or with an ending that nothing was made of yet.
pub(super) const RUNNING: &str = "SELECT uid, NULL FROM task WHERE phase = 'Running'";

/// Tasks that wait for their time, or for an event. One that came to wait in the future is looked at now: the clock was turned back.
pub(super) const HELD: &str =
    "SELECT uid, iif(since > ?1, NULL, next_at) FROM task WHERE phase = 'Pending' AND reason <> 'Queued'";

/// The condition of the index task_unsettled, word by word: SQLite uses a partial index only if it recognises it.
pub(super) const UNSETTLED: &str = "SELECT uid, NULL FROM task WHERE
     (finished_at IS NOT NULL AND removed = 0
         AND (generation > observed_generation OR retry_round >= round OR (phase = 'Cancelled' AND reason = 'ManifestRemoved')))
     OR (phase = 'Pending'
         AND (removed = 1 OR cancel_round >= round
             OR (next_at IS NOT NULL AND (generation > observed_generation OR hurry_version >= version))))";

/// Runs that may have something to do.
pub(super) const RUNS: &str = "SELECT uid FROM run INDEXED BY run_active WHERE finished_at IS NULL
     UNION SELECT uid FROM run INDEXED BY run_unsettled WHERE finished_at IS NOT NULL AND retry_round >= round
     UNION SELECT run FROM child INDEXED BY child_open WHERE conclusion IS NULL";

/// Tasks to which something happens later by itself.
pub(super) const DUE: &str = "SELECT 'task/' || name, reason, next_at FROM task
     WHERE phase = 'Pending' AND reason <> 'Queued' AND next_at IS NOT NULL ORDER BY next_at LIMIT ?1";

/// Runs to which something happens later by itself: a deadline, the end of a suspension, a decision that nobody took.
pub(super) const DUE_RUNS: &str = "SELECT 'run/' || name, reason, next_at FROM run INDEXED BY run_active
     WHERE finished_at IS NULL AND next_at IS NOT NULL ORDER BY next_at LIMIT ?1";

/// Pipelines with a schedule.
const SCHEDULES: &str =
    "SELECT o.name, o.spec -> 'schedule' AS schedule, o.spec ->> 'suspend' AS held, s.uid AS suspended, s.until
     FROM object o LEFT JOIN suspension s ON s.uid = o.uid
     WHERE o.kind = 'Pipeline' AND o.removed_at IS NULL AND o.spec ->> 'schedule' IS NOT NULL";

/// What happens later by itself: KIND/NAME, why, when.
pub type Due = (String, String, Timestamp);

/// A key and when to look at it: at once, or at a stored time.
pub type Wake = (Key, Option<Timestamp>);

impl Store {
    /// Every task and every queue that may have something to do.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unsettled(&self, now: Timestamp) -> Result<Vec<Wake>, StoreError> {
        self.read(move |connection| {
            let mut wakes = Vec::new();
            lanes(connection, &mut wakes)?;
            pipelines(connection, &mut wakes)?;
            for (query, given) in [(RUNNING, None), (HELD, Some(now.0)), (UNSETTLED, None), (REVIVED, None)] {
                let mut statement = connection.prepare_cached(query)?;
                let given = rusqlite::params_from_iter(given);
                for row in statement.query_map(given, |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)))? {
                    let (uid, at) = row?;
                    wakes.push((Key::Task(Uid(uid)), at.map(Timestamp)));
                }
            }
            Ok(wakes)
        })
        .await
    }
}

impl Store {
    /// What happens later by itself, earliest first: tasks, runs, and slots of schedules.
    ///
    /// # Errors
    /// What the database says.
    pub async fn due(&self, limit: usize, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        self.read(move |connection| {
            let mut all = slots(connection, now)?;
            for query in [DUE, DUE_RUNS] {
                let mut statement = connection.prepare_cached(query)?;
                let due = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    Ok((row.get(0)?, row.get(1)?, Timestamp(row.get(2)?)))
                })?;
                all.extend(due.collect::<Result<Vec<_>, _>>()?);
            }
            all.sort_by(|one, other| (one.2, &one.0).cmp(&(other.2, &other.0)));
            all.truncate(limit);
            Ok(all)
        })
        .await
    }

    /// How many tasks are in each phase.
    ///
    /// # Errors
    /// What the database says.
    pub async fn phase_counts(&self) -> Result<BTreeMap<Phase, u64>, StoreError> {
        self.read(super::view::phase_counts).await
    }
}

/// Every pipeline, and every run that has not ended, or that has more to do: a person asked, or a child started over.
fn pipelines(connection: &Connection, wakes: &mut Vec<Wake>) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT uid FROM object WHERE kind = 'Pipeline' AND removed_at IS NULL")?;
    for uid in statement.query_map([], |row| row.get(0))? {
        wakes.push((Key::Pipeline(Uid(uid?)), None));
    }
    let mut statement = connection.prepare_cached(RUNS)?;
    for uid in statement.query_map([], |row| row.get(0))? {
        wakes.push((Key::Run(Uid(uid?)), None));
    }
    Ok(())
}

/// The next slot of every schedule; for a pipeline that is suspended, the end of that.
fn slots(connection: &Connection, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let mut statement = connection.prepare_cached(SCHEDULES)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name = format!("pipeline/{}", row.get::<_, String>("name")?);
        let until = row.get::<_, Option<i64>>("until")?.map(Timestamp);
        let is_suspended =
            row.get::<_, Option<String>>("suspended")?.is_some() && until.is_none_or(|until| now < until);
        let schedule: Schedule = json_column(row, "schedule")?;
        if is_suspended {
            found.extend(until.map(|until| (name, "Suspended".to_owned(), until)));
        } else if row.get::<_, Option<bool>>("held")? != Some(true)
            // One that cannot be read has no slots; the pipeline's events say so.
            && let Ok(Some(slot)) = schedule::next(&schedule, now)
        {
            found.push((name, "Schedule".to_owned(), slot));
        }
    }
    Ok(found)
}

fn lanes(connection: &Connection, wakes: &mut Vec<Wake>) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(LANES)?;
    for analyzer in statement.query_map([], |row| row.get(0))? {
        wakes.push((Key::Lane(analyzer?), None));
    }
    Ok(())
}
