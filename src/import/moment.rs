//! Moments of the old system: text without a zone, meant as UTC. Some rows hold local time, which shows where something ends before it begins.

use super::cell::{Cell, Row};
use super::note::{NoteKind, Notes};
use crate::resource::time::{Span, Timestamp};

/// When something was made, began and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it was made.
    pub created: Timestamp,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended, or was touched last.
    pub ended: Timestamp,
}

/// Reads a moment: `YYYY-MM-DD HH:MM:SS[.ffffff]` as UTC, also with `T`, or with `Z` or an offset, which then counts.
#[must_use]
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // With a zone first: a civil time would read the same text and pass over its offset.
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp(at.as_millisecond()));
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| Timestamp(at.timestamp().as_millisecond()))
}

/// The moment in a column, with a note when it cannot be read or lies in the future: then it counts as `now`.
pub fn read(row: &Row, column: &str, now: Timestamp, notes: &mut Notes) -> Option<Timestamp> {
    let at = match row.cell(column) {
        Cell::Null => return None,
        Cell::Text(text) => moment(text),
        Cell::Int(_) | Cell::Real(_) | Cell::Unreadable => None,
    };
    match at {
        None => {
            notes.add(NoteKind::OddTime, row, format!("{column} is no moment that can be read; it is taken as absent"));
            None
        }
        Some(at) if at > now => {
            notes.add(
                NoteKind::OddTime,
                row,
                format!("{column} is {at}, in the future; the time of the import counts"),
            );
            Some(now)
        }
        at => at,
    }
}

/// The times of a row; `None`, with a note, when it has none at all.
///
/// What ended before it began holds local time in one of the two. Which one cannot be told, so the beginning stands, and the end is as much
/// later as `actual_duration` says, or the same moment.
pub fn times(row: &Row, now: Timestamp, notes: &mut Notes) -> Option<Times> {
    let created = read(row, "created_at", now, notes);
    let started = read(row, "started_at", now, notes);
    let completed = read(row, "completed_at", now, notes);
    let updated = read(row, "updated_at", now, notes);
    let Some(first) = created.or(started).or(completed).or(updated) else {
        notes.add(NoteKind::NoTime, row, "no moment of it can be read, so it has no place in history");
        return None;
    };
    if created.is_none() {
        notes.add(NoteKind::OddTime, row, format!("created_at is missing; {first} counts"));
    }
    let ended = completed.or(updated).or(started).unwrap_or(first);
    let began = started.unwrap_or(first);
    let Some(completed) = completed.filter(|completed| *completed < began) else {
        return Some(Times { created: first.min(began), started, ended: ended.max(began) });
    };
    let seconds = row.real("actual_duration").filter(|seconds| (0.0..=DURATION_SECONDS_MAX).contains(seconds));
    let length = Span((seconds.unwrap_or(0.0) * 1000.0) as u64);
    let ended = began.plus(length).min(now).max(began);
    let message = format!(
        "completed_at {completed} is before {began}, when it began: one of the two is local time; {ended} counts as its end"
    );
    notes.add(NoteKind::LocalTime, row, message);
    Some(Times { created: first.min(began), started, ended })
}

/// The longest duration that is believed: a year.
const DURATION_SECONDS_MAX: f64 = 31_622_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_428_000_000);

    fn row(cells: &[(&'static str, &str)]) -> Row {
        let cells = cells.iter().map(|(column, text)| (*column, Cell::Text((*text).into())));
        Row { table: "analysis_tasks", id: 1, cells: cells.collect() }
    }

    #[test]
    fn a_moment_without_a_zone_is_utc() {
        for text in ["2025-11-01 12:00:00", "2025-11-01 12:00:00.000000", "2025-11-01T12:00:00", "2025-11-01T12:00:00Z"]
        {
            assert_eq!(moment(text), Some(Timestamp(1_761_998_400_000)), "{text}");
        }
        assert_eq!(moment("2025-11-01 13:00:00.250+01:00"), Some(Timestamp(1_761_998_400_250)));
        for text in ["", "yesterday", "2025-13-01 00:00:00", "0", "99999-01-01", "NULL", "2025-11-01 25:00:00"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn what_ended_before_it_began_is_told_and_lasts_as_long_as_it_said() {
        let mut notes = Notes::default();
        let mut local = row(&[
            ("created_at", "2025-11-01 12:00:00"),
            ("started_at", "2025-11-01 12:00:05"),
            ("completed_at", "2025-11-01 11:01:00"),
        ]);
        let times = super::times(&local, NOW, &mut notes).unwrap();
        assert_eq!((times.ended, times.started), (times.created.plus(Span::seconds(5)), Some(times.ended)));
        assert_eq!(notes.counts[&NoteKind::LocalTime], 1);
        local.cells.insert("actual_duration", Cell::Real(55.5));
        let times = super::times(&local, NOW, &mut notes).unwrap();
        assert_eq!(times.ended.since(times.started.unwrap()), Span(55_500));
        for absurd in [-1.0, 1e300, f64::INFINITY, f64::NAN] {
            local.cells.insert("actual_duration", Cell::Real(absurd));
            let times = super::times(&local, NOW, &mut notes).unwrap();
            assert_eq!(times.started, Some(times.ended), "{absurd}");
        }
    }

    #[test]
    fn the_future_and_what_cannot_be_read_are_told_and_nothing_ends_before_it_begins() {
        let mut notes = Notes::default();
        let odd = row(&[
            ("created_at", "soon"),
            ("started_at", "2025-11-01 12:00:00"),
            ("completed_at", "2999-01-01 00:00:00"),
        ]);
        let times = super::times(&odd, NOW, &mut notes).unwrap();
        assert_eq!((times.created, times.ended), (Timestamp(1_761_998_400_000), NOW));
        assert_eq!(notes.counts[&NoteKind::OddTime], 3);
        assert_eq!(super::times(&row(&[("created_at", "soon")]), NOW, &mut notes), None);
        assert_eq!(notes.counts[&NoteKind::NoTime], 1);
    }
}
