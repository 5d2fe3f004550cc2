//! Observing a queue: its head, and the slots that there are for it.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, params};

use super::replica::{replicas, waiting_count};
use super::rows::{Columns, Names, app_facts, json_column, task_columns, task_status, time, word};
use super::{Store, StoreError};
use crate::plan::budgets::Budgets;
use crate::plan::lane::{Candidate, ObservedLane};
use crate::plan::merge::Told;
use crate::plan::write::Write;
use crate::resource::analyzer::{AnalyzerSpec, Rate};
use crate::resource::name::Uid;
use crate::resource::outcome::Outcome;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// Occupied slots by replica, and when the first abandoned one becomes free.
type Occupied = (Vec<(String, u32)>, Option<Timestamp>);

/// Pending tasks that one pass looks at, beyond the free slots: so many may be held back without another pass. A lane with few slots looks often,
/// and reading them is most of what that costs.
const CANDIDATES_EXTRA: usize = 4;

/// Attempts that one pass opens at most; an analyzer with more free slots gets another pass at once.
const OPENINGS_MAX: usize = 1024;

/// What the attempts of a round told of their tools.
pub(super) const TOLD: &str = "SELECT number, generation, asked, outcome, coalesce(message, '') AS message, tools FROM attempt
     WHERE task_uid = ?1 AND round = ?2 AND outcome IS NOT NULL AND tools IS NOT NULL AND tools <> '[]' ORDER BY number";

/// Where the latest attempts of a round went and how they ended, newest first.
pub(super) const EARLIER: &str = "SELECT replica, outcome, reason, generation FROM attempt
     WHERE task_uid = ?1 AND round = ?2 AND outcome IS NOT NULL ORDER BY number DESC";

/// Slots of an analyzer that open attempts occupy, for each replica. Without the hint SQLite reads every attempt that the analyzer ever had.
pub(super) const OPEN: &str = "SELECT replica, count(*) FROM attempt INDEXED BY attempt_slot WHERE analyzer = ?1 AND outcome IS NULL GROUP BY replica";

/// Slots that attempts occupy which have ended, while the other side may still be working. Not those that ended in the future: after a
/// clock was turned back they would stay taken for longer than any of them may run.
pub(super) const DRAINING: &str = "SELECT replica, slot_until FROM attempt INDEXED BY attempt_draining WHERE analyzer = ?1 AND slot_until > ?2 AND ended_at <= ?2";

/// The head of an analyzer's queue, without the tasks of pools that have nothing left. The queue's index alone decides who that is.
pub(super) const CANDIDATES: &str = concat!(
    "SELECT ",
    task_columns!(),
    ", o.spec AS spec, a.uid AS app_uid, a.spec AS app_spec, p.missing_since,
         p.tree_digest, p.tree_seen_at
     FROM (SELECT uid FROM task INDEXED BY task_queue WHERE analyzer = ?1 AND phase = 'Pending' AND reason = 'Queued'
               AND (pool IS NULL OR pool NOT IN (SELECT value FROM json_each(?3)))
           ORDER BY priority DESC, turn, created_at, uid LIMIT ?2) head
     JOIN task t ON t.uid = head.uid
     JOIN object o ON o.uid = t.uid
     LEFT JOIN object a ON a.kind = 'App' AND a.name = t.app AND a.removed_at IS NULL
     LEFT JOIN app p ON p.uid = a.uid
     ORDER BY t.priority DESC, t.turn, t.created_at, t.uid"
);

/// The latest openings of an analyzer, for its rate. Where a result was reused, nothing was started. Bounded on both sides, so that openings
/// which a clock turned back left in the future do not hide those that count.
pub(super) const OPENED: &str =
    "SELECT opened_at FROM attempt WHERE analyzer = ?1 AND opened_at > ?2 AND opened_at < ?3 AND reason IS NOT 'Reused'
     ORDER BY opened_at DESC LIMIT ?4";

impl Store {
    /// What a lane plan looks at.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_lane(
        &self,
        analyzer: String,
        now: Timestamp,
        budgets: Budgets,
    ) -> Result<ObservedLane, StoreError> {
        self.read(move |connection| observed_lane(connection, &analyzer, now, budgets)).await
    }
}

/// Checks, once a plan that was made on an earlier look has opened attempts, that they are of what their tasks ask for by now, and that no replica
/// has more than its analyzer's capacity: the mirror, and endings, may have opened others since.
///
/// # Errors
/// [`StoreError::Conflict`]: observe again.
pub(super) fn check_opened(connection: &Connection, writes: &[Write], now: Timestamp) -> Result<(), StoreError> {
    let opened = || {
        writes.iter().filter_map(|write| match write {
            Write::OpenAttempt(open) if open.runs() => Some(open),
            _ => None,
        })
    };
    for open in opened() {
        let is_asked_for = connection
            .prepare_cached("SELECT 1 FROM object WHERE uid = ?1 AND generation = ?2 AND removed_at IS NULL")?
            .exists(params![open.id.task.0, open.generation])?;
        if !is_asked_for {
            return Err(StoreError::Conflict);
        }
    }
    let lanes: BTreeSet<&str> = opened().map(|open| open.analyzer.as_str()).collect();
    for lane in lanes {
        let capacity = declared(connection, lane)?.map_or(0, |spec| spec.capacity);
        let (used, _) = occupied(connection, lane, now)?;
        let is_over = |replica: &str| used.iter().any(|(of, used)| of == replica && *used > capacity);
        if opened().any(|open| open.analyzer == lane && is_over(&open.replica)) {
            return Err(StoreError::Conflict);
        }
    }
    Ok(())
}

/// The spec of an analyzer, while there is one.
fn declared(connection: &Connection, analyzer: &str) -> Result<Option<AnalyzerSpec>, StoreError> {
    let spec: Option<String> = connection
        .prepare_cached("SELECT spec FROM object WHERE kind = 'Analyzer' AND name = ?1 AND removed_at IS NULL")?
        .query_row([analyzer], |row| row.get(0))
        .optional()?;
    spec.map(|spec| super::rows::json(&spec)).transpose()
}

/// What a lane plan looks at.
pub(super) fn observed_lane(
    connection: &Connection,
    analyzer: &str,
    now: Timestamp,
    budgets: Budgets,
) -> Result<ObservedLane, StoreError> {
    let spec = declared(connection, analyzer)?;
    let (occupied, slot_free_at) = occupied(connection, analyzer, now)?;
    let total = spec.as_ref().map_or(0, |spec| spec.replicas().len() * spec.capacity as usize);
    let used: usize = occupied.iter().map(|(_, used)| *used as usize).sum();
    let limit = total.saturating_sub(used).min(OPENINGS_MAX) + CANDIDATES_EXTRA;
    let pools = super::pool::of_lane(connection, analyzer, now)?;
    let closed = pools.iter().filter(|pool| pool.left(now) == 0).map(|pool| pool.name.as_str()).collect();
    let mut candidates = candidates(connection, analyzer, limit + 1, closed)?;
    let more = candidates.len() > limit;
    candidates.truncate(limit);
    let opened = match spec.as_ref().and_then(|spec| spec.rate) {
        Some(rate) => opened(connection, analyzer, rate, now)?,
        None => Vec::new(),
    };
    let (replicas, waiting) = match spec.as_ref().and_then(|spec| spec.websocket.as_ref()) {
        Some(_) => (replicas(connection, analyzer)?, waiting_count(connection, analyzer)?),
        None => (Vec::new(), 0),
    };
    Ok(ObservedLane {
        analyzer: analyzer.to_owned(),
        spec,
        occupied,
        slot_free_at,
        replicas,
        waiting,
        opened,
        pools,
        candidates,
        more,
        budgets,
    })
}

fn occupied(connection: &Connection, analyzer: &str, now: Timestamp) -> Result<Occupied, StoreError> {
    let mut used: HashMap<String, u32> = HashMap::new();
    let mut open = connection.prepare_cached(OPEN)?;
    for row in open.query_map([analyzer], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?)))? {
        let (replica, count) = row?;
        used.insert(replica, count);
    }
    let mut free_at: Option<Timestamp> = None;
    let mut draining = connection.prepare_cached(DRAINING)?;
    for row in draining.query_map(params![analyzer, now.0], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
        let (replica, until) = row?;
        *used.entry(replica).or_default() += 1;
        free_at = Some(free_at.map_or(Timestamp(until), |at| at.min(Timestamp(until))));
    }
    let mut used: Vec<(String, u32)> = used.into_iter().collect();
    used.sort();
    Ok((used, free_at))
}

fn candidates(
    connection: &Connection,
    analyzer: &str,
    limit: usize,
    closed_pools: Vec<&str>,
) -> Result<Vec<Candidate>, StoreError> {
    let mut statement = connection.prepare_cached(CANDIDATES)?;
    let closed = serde_json::Value::from(closed_pools).to_string();
    let names = Names::of(&statement);
    let mut rows = statement.query(params![analyzer, i64::try_from(limit).unwrap_or(i64::MAX), closed])?;
    let mut candidates = Vec::new();
    while let Some(row) = rows.next()? {
        let row = &names.row(row);
        let status = task_status(row)?;
        let cancel_round: i64 = row.column("cancel_round")?;
        let uid: String = row.column("uid")?;
        // Fresh tasks, which are most of a queue, cost no query of their own.
        let (told, Earlier { ran, tried, silent }) = match status.started_at {
            Some(_) => (told(connection, &uid, status.round)?, earlier(connection, &uid, status.round)?),
            None => Default::default(),
        };
        candidates.push(Candidate {
            uid: Uid(uid),
            told,
            ran,
            tried,
            silent,
            name: row.column("name")?,
            generation: row.column("generation")?,
            unwanted: row.column::<bool>("removed")? || cancel_round >= status.round,
            spec: json_column(row, "spec")?,
            pool: row.column("pool")?,
            version: row.column("version")?,
            app: app_facts(row)?,
            since: time(row, "since")?,
            no_cache: row.column::<i64>("no_cache_round")? >= status.round,
            stamp: None,
            reusable: None,
            status,
        });
    }
    Ok(candidates)
}

/// What the ended attempts of a round told of their tools.
fn told(connection: &Connection, uid: &str, round: i64) -> Result<Vec<Told>, StoreError> {
    let mut statement = connection.prepare_cached(TOLD)?;
    let mut rows = statement.query(params![uid, round])?;
    let mut told = Vec::new();
    while let Some(row) = rows.next()? {
        told.push(Told {
            number: row.get("number")?,
            generation: row.get("generation")?,
            asked: json_column(row, "asked")?,
            outcome: word(row, "outcome")?,
            message: row.get("message")?,
            tools: json_column(row, "tools")?,
        });
    }
    Ok(told)
}

/// Where the ended attempts of a round were.
#[derive(Default)]
struct Earlier {
    /// The generation that the latest one ran.
    ran: Option<i64>,
    /// The replicas at which the latest ones reached nobody. One for which the disk was full sent nothing either, and asked nobody.
    tried: Vec<String>,
    /// The replicas at which any of them was not answered in time, or not to the end.
    silent: Vec<String>,
}

fn earlier(connection: &Connection, uid: &str, round: i64) -> Result<Earlier, StoreError> {
    let mut statement = connection.prepare_cached(EARLIER)?;
    let mut rows = statement.query(params![uid, round])?;
    let (mut earlier, mut has_sent) = (Earlier::default(), false);
    while let Some(row) = rows.next()? {
        if earlier.ran.is_none() {
            earlier.ran = row.get("generation")?;
        }
        match (word(row, "outcome")?, word(row, "reason")?) {
            (_, Reason::DiskFull) => {}
            (Outcome::Unavailable, _) if has_sent => {}
            (Outcome::Unavailable, _) => earlier.tried.push(row.get("replica")?),
            (outcome, _) => {
                has_sent = true;
                if matches!(outcome, Outcome::TimedOut | Outcome::HeartbeatLost | Outcome::ProtocolError) {
                    earlier.silent.push(row.get("replica")?);
                }
            }
        }
    }
    Ok(earlier)
}

/// When attempts were opened on an analyzer that count for its rate, newest first, at most as many as the rate allows.
pub(super) fn opened(
    connection: &Connection,
    analyzer: &str,
    Rate { limit, per }: Rate,
    now: Timestamp,
) -> Result<Vec<Timestamp>, StoreError> {
    let mut statement = connection.prepare_cached(OPENED)?;
    let within = params![analyzer, now.minus(per).0, now.plus(per).0, limit];
    let times = statement.query_map(within, |row| row.get(0).map(Timestamp))?;
    Ok(times.collect::<Result<_, _>>()?)
}
