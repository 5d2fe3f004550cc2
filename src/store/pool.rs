//! Pools as rows say: who takes their slots, who waits for one, and whose turn it is when lanes share a pool. Nothing is counted but what
//! is there, so no crash can leave a slot taken.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::commit::wake_tasks;
use super::observe_lane::{DRAINING, OPEN, opened};
use super::replica::replicas;
use super::rows::json;
use crate::plan::Key;
use crate::plan::pool::{ObservedPool, YIELD};
use crate::plan::replica::standing;
use crate::plan::write::OpenAttempt;
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::attempt::AttemptId;
use crate::resource::pool::PoolSpec;
use crate::resource::time::Timestamp;

/// The pools that queued tasks of an analyzer name.
pub(super) const OF_LANE: &str = "SELECT o.name, o.spec FROM object o WHERE o.kind = 'Pool' AND o.removed_at IS NULL
     AND EXISTS (SELECT 1 FROM task t INDEXED BY task_pool WHERE t.pool = o.name AND t.analyzer = ?1 AND t.phase = 'Pending' AND t.reason = 'Queued')
     ORDER BY o.name";

/// A pool by its name.
const SPEC: &str = "SELECT spec FROM object WHERE kind = 'Pool' AND name = ?1 AND removed_at IS NULL";

/// Slots that open attempts take.
pub(super) const TAKEN: &str =
    "SELECT count(*) FROM attempt INDEXED BY attempt_pool_open WHERE pool = ?1 AND outcome IS NULL";

/// Slots that are taken after the end of their attempts, and when the first of them becomes free; those of the future as for one analyzer.
pub(super) const TAKEN_UNTIL: &str = "SELECT count(*), min(slot_until) FROM attempt INDEXED BY attempt_pool_draining
     WHERE pool = ?1 AND slot_until > ?2 AND ended_at <= ?2";

/// The latest openings of a pool, for its rate. Bounded on both sides, so that openings which a clock turned back left in the future do not
/// hide those that count.
pub(super) const OPENED: &str = "SELECT opened_at FROM attempt INDEXED BY attempt_pool_opened
     WHERE pool = ?1 AND opened_at > ?2 AND opened_at < ?3 ORDER BY opened_at DESC LIMIT ?4";

/// Since when at least so many slots have been free.
pub(super) const FREED: &str =
    "SELECT max(ended_at, coalesce(slot_until, 0)) FROM attempt INDEXED BY attempt_pool_freed
     WHERE pool = ?1 AND outcome IS NOT NULL AND max(ended_at, coalesce(slot_until, 0)) <= ?2
     ORDER BY max(ended_at, coalesce(slot_until, 0)) DESC LIMIT 1 OFFSET ?3";

/// Analyzers whose queued tasks name a pool. The loose index scan jumps from one to the next.
pub(super) const LANES: &str = "WITH RECURSIVE lane (analyzer) AS (
         SELECT min(analyzer) FROM task INDEXED BY task_pool WHERE pool = ?1 AND phase = 'Pending' AND reason = 'Queued'
         UNION ALL
         SELECT (SELECT min(analyzer) FROM task
                 WHERE pool = ?1 AND phase = 'Pending' AND reason = 'Queued' AND analyzer > lane.analyzer)
         FROM lane WHERE analyzer IS NOT NULL
     ) SELECT analyzer FROM lane WHERE analyzer IS NOT NULL";

/// The highest priority that waits for a pool in a lane, and when the lane was last given one of its slots.
pub(super) const CLAIM: &str = "SELECT
     (SELECT max(priority) FROM task INDEXED BY task_pool WHERE pool = ?1 AND analyzer = ?2 AND phase = 'Pending' AND reason = 'Queued'),
     (SELECT max(opened_at) FROM attempt INDEXED BY attempt_pool_lane WHERE pool = ?1 AND analyzer = ?2)";

/// Queued tasks of a pool.
pub(super) const WAITING: &str =
    "SELECT count(*) FROM task INDEXED BY task_pool WHERE pool = ?1 AND phase = 'Pending' AND reason = 'Queued'";

/// Open attempts of a pool, oldest first.
pub(super) const OCCUPANTS: &str = "SELECT t.name, a.analyzer, a.opened_at, a.deadline_at
     FROM attempt a INDEXED BY attempt_pool_open CROSS JOIN task t ON t.uid = a.task_uid
     WHERE a.pool = ?1 AND a.outcome IS NULL ORDER BY a.opened_at, t.name LIMIT ?2";

/// The pools that a lane's tasks name, with what is left of each for this lane.
pub(super) fn of_lane(
    connection: &Connection,
    analyzer: &str,
    now: Timestamp,
) -> Result<Vec<ObservedPool>, StoreError> {
    let mut statement = connection.prepare_cached(OF_LANE)?;
    let named = statement.query_map([analyzer], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut pools = Vec::new();
    for row in named {
        let (name, spec) = row?;
        let mut pool = observed(connection, name, json(&spec)?, now)?;
        if pool.left(now) > 0 {
            share(connection, analyzer, &mut pool, now)?;
        }
        pools.push(pool);
    }
    Ok(pools)
}

fn observed(connection: &Connection, name: String, spec: PoolSpec, now: Timestamp) -> Result<ObservedPool, StoreError> {
    let (open, draining, slot_free_at) = taken(connection, &name, now)?;
    let mut opened = Vec::new();
    if let Some(rate) = spec.rate {
        let mut statement = connection.prepare_cached(OPENED)?;
        let within = params![name, now.minus(rate.per).0, now.plus(rate.per).0, rate.limit];
        opened = statement.query_map(within, |row| row.get(0).map(Timestamp))?.collect::<Result<_, _>>()?;
    }
    let used = open.saturating_add(draining);
    Ok(ObservedPool { name, spec, used, slot_free_at, opened, contested: false, yields_until: None })
}

/// Open attempts, draining ones, and when the first of these becomes free.
fn taken(connection: &Connection, pool: &str, now: Timestamp) -> Result<(u32, u32, Option<Timestamp>), StoreError> {
    let open = connection.prepare_cached(TAKEN)?.query_row([pool], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(TAKEN_UNTIL)?;
    let (draining, free_at) = statement
        .query_row(params![pool, now.0], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(Timestamp))))?;
    Ok((open, draining, free_at))
}

/// A lane whose tasks wait for a pool. Higher priority goes first; among equals the one that was served longest ago.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    priority_below: i64,
    served_at: Option<i64>,
    analyzer: String,
}

/// Compares this lane with the others that wait for the pool and have a free slot of their own. A lane that only seems able to go
/// holds the others up for [`YIELD`] and no longer.
fn share(connection: &Connection, lane: &str, pool: &mut ObservedPool, now: Timestamp) -> Result<(), StoreError> {
    let mine = claim(connection, &pool.name, lane.to_owned())?;
    let mut better = 0;
    for analyzer in lanes(connection, &pool.name)? {
        if analyzer == lane || !can_open(connection, &analyzer, now)? {
            continue;
        }
        pool.contested = true;
        better += u32::from(claim(connection, &pool.name, analyzer)? < mine);
    }
    if better > 0 && better >= pool.left(now) {
        pool.yields_until = open_since(connection, pool, now)?.map(|at| at.plus(YIELD)).filter(|until| *until > now);
    }
    Ok(())
}

fn claim(connection: &Connection, pool: &str, analyzer: String) -> Result<Claim, StoreError> {
    let mut statement = connection.prepare_cached(CLAIM)?;
    let (priority, served_at) = statement.query_row(params![pool, analyzer], |row| {
        Ok((row.get::<_, Option<i64>>(0)?.unwrap_or(i64::MIN + 1), row.get(1)?))
    })?;
    Ok(Claim { priority_below: -priority, served_at, analyzer })
}

/// Whether a lane has a slot of its own for another attempt on a replica that can be used, and its rate allows it.
fn can_open(connection: &Connection, analyzer: &str, now: Timestamp) -> Result<bool, StoreError> {
    let spec: Option<String> = connection
        .prepare_cached("SELECT spec FROM object WHERE kind = 'Analyzer' AND name = ?1 AND removed_at IS NULL")?
        .query_row([analyzer], |row| row.get(0))
        .optional()?;
    let Some(spec) = spec else { return Ok(false) };
    let spec: AnalyzerSpec = json(&spec)?;
    if spec.websocket.is_some() {
        let known = replicas(connection, analyzer)?;
        if !known.iter().any(|replica| standing(Some(replica), spec.breaker, now).is_usable()) {
            return Ok(false);
        }
    }
    let mut open = 0;
    for count in connection.prepare_cached(OPEN)?.query_map([analyzer], |row| row.get::<_, usize>(1))? {
        open += count?;
    }
    let draining = connection.prepare_cached(DRAINING)?.query_map(params![analyzer, now.0], |_| Ok(()))?.count();
    let mut can = open + draining < spec.replicas().len() * spec.capacity as usize;
    if let Some(rate) = spec.rate.filter(|_| can) {
        can = opened(connection, analyzer, rate, now)?.len() < rate.limit as usize;
    }
    Ok(can)
}

/// Since when the pool has had as much left as it has now; `None` when nobody ever took any of it.
fn open_since(connection: &Connection, pool: &ObservedPool, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let free = pool.spec.slots.saturating_sub(pool.used);
    let mut since: Option<i64> = connection
        .prepare_cached(FREED)?
        .query_row(params![pool.name, now.0, free.saturating_sub(1)], |row| row.get(0))
        .optional()?;
    if let Some(rate) = pool.spec.rate {
        // What the rate allows again since a moment ago was opened one period before.
        let (until, from) = (now.minus(rate.per), now.minus(rate.per).minus(YIELD));
        let mut statement = connection.prepare_cached(OPENED)?;
        let opened = statement.query_map(params![pool.name, from.0, until.0 + 1, rate.limit], |row| row.get(0))?;
        let opened: Vec<i64> = opened.collect::<Result<_, _>>()?;
        let allowed = rate.limit as usize - pool.opened.len().min(rate.limit as usize);
        let lifted = opened.get(allowed.saturating_sub(1)).map(|at| Timestamp(*at).plus(rate.per).0);
        since = since.max(lifted);
    }
    Ok(since.map(Timestamp))
}

/// Checks, in the transaction that opens an attempt, that its pool is still what the task names and has a slot left: whoever planned it
/// did not see what other lanes have opened since.
///
/// # Errors
/// [`StoreError::Conflict`]: observe again.
pub(super) fn check_slot(connection: &Connection, open: &OpenAttempt, now: Timestamp) -> Result<(), StoreError> {
    let named: Option<Option<String>> = connection
        .prepare_cached("SELECT pool FROM task WHERE uid = ?1")?
        .query_row([&open.id.task.0], |row| row.get(0))
        .optional()?;
    if named.as_ref() != Some(&open.pool) {
        return Err(StoreError::Conflict);
    }
    let Some(name) = &open.pool else { return Ok(()) };
    let spec: Option<String> = connection.prepare_cached(SPEC)?.query_row([name], |row| row.get(0)).optional()?;
    let spec: PoolSpec = json(&spec.ok_or(StoreError::Conflict)?)?;
    let pool = observed(connection, name.clone(), spec, now)?;
    if pool.left(now) > 0 { Ok(()) } else { Err(StoreError::Conflict) }
}

/// The lanes that wait for a slot of the pool of an attempt, which has just ended.
pub(super) fn freed_by(connection: &Connection, id: &AttemptId) -> Result<Vec<Key>, StoreError> {
    let pool: Option<String> = connection
        .prepare_cached("SELECT pool FROM attempt WHERE task_uid = ?1 AND number = ?2")?
        .query_row(params![id.task.0, id.number], |row| row.get(0))?;
    let lanes = pool.map(|pool| lanes(connection, &pool)).transpose()?.unwrap_or_default();
    Ok(lanes.into_iter().map(Key::Lane).collect())
}

fn lanes(connection: &Connection, pool: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(LANES)?;
    let lanes = statement.query_map([pool], |row| row.get(0))?;
    Ok(lanes.collect::<Result<_, _>>()?)
}

/// Tasks that are held since their pool is not declared.
pub(super) const WAITING_FOR_POOL: &str =
    "SELECT uid FROM task INDEXED BY task_held WHERE phase = 'Pending' AND reason <> 'Queued'
     AND reason = 'PoolNotFound' AND pool = ?1";

/// Adds whoever waits for a pool that was declared, changed or removed: lanes with queued tasks of it, and tasks that are held without it.
pub(super) fn waiting_for(connection: &Connection, pool: &str, woken: &mut Vec<Key>) -> Result<(), StoreError> {
    woken.extend(lanes(connection, pool)?.into_iter().map(Key::Lane));
    wake_tasks(connection, WAITING_FOR_POOL, pool, woken)
}

/// Gives the tasks of an analyzer its pool, as far as they name none themselves. Called before the analyzer is written; reads its tasks
/// only when the pool is another one.
pub(super) fn follow_analyzer(connection: &Connection, analyzer: &str, pool: Option<&str>) -> Result<(), StoreError> {
    let before: Option<String> = connection
        .prepare_cached("SELECT spec ->> 'pool' FROM object WHERE kind = 'Analyzer' AND name = ?1")?
        .query_row([analyzer], |row| row.get(0))
        .optional()?
        .flatten();
    if before.as_deref() != pool {
        connection
            .prepare_cached(
                "UPDATE task SET pool = coalesce((SELECT o.spec ->> 'pool' FROM object o WHERE o.uid = task.uid), ?2)
                 WHERE analyzer = ?1",
            )?
            .execute(params![analyzer, pool])?;
    }
    Ok(())
}

/// How a pool is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUse {
    /// Its spec.
    pub spec: PoolSpec,
    /// Open attempts.
    pub used: u32,
    /// Slots that abandoned attempts still take.
    pub draining: u32,
    /// Queued tasks that name it.
    pub waiting: u64,
    /// When something may be left by itself, if nothing is left now: a slot that drains, or the rate.
    pub free_at: Option<Timestamp>,
    /// Whether slots are free and only the rate keeps tasks waiting.
    pub rate_limited: bool,
}

/// How a pool is used now; `None` when there is no such pool.
///
/// # Errors
/// What the database says.
pub fn pool_use(connection: &Connection, name: &str, now: Timestamp) -> Result<Option<PoolUse>, StoreError> {
    let spec: Option<String> = connection.prepare_cached(SPEC)?.query_row([name], |row| row.get(0)).optional()?;
    let Some(spec) = spec else { return Ok(None) };
    let pool = observed(connection, name.to_owned(), json(&spec)?, now)?;
    let (used, draining, _) = taken(connection, name, now)?;
    let waiting = connection.prepare_cached(WAITING)?.query_row([name], |row| row.get(0))?;
    let closed = pool.left(now) == 0;
    let free_at = if closed { pool.next_at(0, now) } else { None };
    let rate_limited = closed && pool.used < pool.spec.slots;
    Ok(Some(PoolUse { spec: pool.spec, used, draining, waiting, free_at, rate_limited }))
}

/// An open attempt that takes a slot of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolOccupant {
    /// Name of the task.
    pub task: String,
    /// Name of the analyzer.
    pub analyzer: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends at the latest.
    pub deadline_at: Timestamp,
}

/// The open attempts of a pool, oldest first, at most `limit`.
///
/// # Errors
/// What the database says.
pub fn pool_occupants(connection: &Connection, pool: &str, limit: u32) -> Result<Vec<PoolOccupant>, StoreError> {
    let mut statement = connection.prepare_cached(OCCUPANTS)?;
    let occupants = statement.query_map(params![pool, limit], |row| {
        Ok(PoolOccupant {
            task: row.get(0)?,
            analyzer: row.get(1)?,
            opened_at: Timestamp(row.get(2)?),
            deadline_at: Timestamp(row.get(3)?),
        })
    })?;
    Ok(occupants.collect::<Result<_, _>>()?)
}
