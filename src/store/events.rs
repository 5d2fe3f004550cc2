//! Reading events: the latest of one object or of all, and those that came after a known one.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreError;
use super::rows::{time, word};
use crate::resource::event::Event;
use crate::resource::kind::Kind;

/// Events that were first recorded later than one.
pub(super) const AFTER: &str = "SELECT * FROM event WHERE id > ?1 ORDER BY id";

/// The number of the last event.
pub(super) const LAST: &str = "SELECT coalesce(max(id), 0) FROM event";

/// The latest events, oldest first: of one object, or of all.
///
/// # Errors
/// What the database says.
pub fn latest(connection: &Connection, of: Option<(Kind, &str)>, limit: usize) -> Result<Vec<Event>, StoreError> {
    let uid: Option<String> = match of {
        None => None,
        Some((kind, name)) => connection
            .prepare_cached(
                "SELECT uid FROM object WHERE kind = ?1 AND name = ?2 UNION ALL SELECT uid FROM run WHERE ?1 = 'Run' AND name = ?2",
            )?
            .query_row(params![kind.as_str(), name], |row| row.get(0))
            .optional()?,
    };
    if of.is_some() && uid.is_none() {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(match uid {
        Some(_) => "SELECT * FROM event WHERE uid = ?1 ORDER BY id DESC LIMIT ?2",
        None => "SELECT * FROM event WHERE ?1 IS NULL ORDER BY id DESC LIMIT ?2",
    })?;
    let mut rows = statement.query(params![uid, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event(row)?);
    }
    events.reverse();
    Ok(events)
}

fn event(row: &Row<'_>) -> Result<Event, StoreError> {
    Ok(Event {
        kind: word(row, "kind")?,
        name: row.get("name")?,
        event_type: word(row, "type")?,
        reason: row.get("reason")?,
        message: row.get("message")?,
        first_at: time(row, "first_at")?,
        last_at: time(row, "last_at")?,
        count: row.get("count")?,
    })
}

/// Events that were first recorded after the one with number `after`, oldest first, with their numbers.
///
/// # Errors
/// What the database says.
pub fn after(connection: &Connection, after: i64) -> Result<Vec<(i64, Event)>, StoreError> {
    let mut statement = connection.prepare_cached(AFTER)?;
    let mut rows = statement.query([after])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push((row.get("id")?, event(row)?));
    }
    Ok(events)
}

/// The number of the last event; 0 when there is none.
///
/// # Errors
/// What the database says.
pub fn last_number(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached(LAST)?.query_row([], |row| row.get(0))?)
}
