//! When the slots of a schedule are, and what the run of a slot is called.

use cronexpr::{Crontab, MakeTimestamp};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::resource::pipeline::Schedule;
use crate::resource::time::Timestamp;

/// The slots after one moment and up to another, that one included, in order; at most `max`. The expression is about the clock on the wall: a
/// time that a change of the clocks leaves out is taken at the end of the gap, one that comes twice when it comes first.
///
/// # Errors
/// When the expression or the time zone is none, for a person.
pub fn slots(schedule: &Schedule, after: Timestamp, until: Timestamp, max: usize) -> Result<Vec<Timestamp>, String> {
    let (crontab, zone) = parse(&schedule.cron, &schedule.time_zone)?;
    let text = |error: jiff::Error| error.to_string();
    let of_jiff = |at: jiff::Timestamp| Timestamp(at.as_millisecond());
    let start = jiff::Timestamp::from_millisecond(after.0).map_err(text)?;
    // The expression is asked in UTC for times on the wall, since the library passes over a gap and takes a repeated hour twice.
    let mut wall = TimeZone::UTC.to_timestamp(zone.to_datetime(start)).map_err(text)?;
    let mut slots: Vec<Timestamp> = Vec::new();
    while slots.len() < max {
        // An expression that never comes again has no further slots.
        let Ok(next) = crontab.find_next(MakeTimestamp(wall)) else { break };
        wall = next.timestamp();
        let at = of_jiff(on_the_wall(&zone, TimeZone::UTC.to_datetime(wall)).map_err(text)?);
        if at > until {
            break;
        }
        // Several times of one gap are one slot.
        if at > slots.last().copied().unwrap_or(after) {
            slots.push(at);
        }
    }
    Ok(slots)
}

/// When the clock on the wall shows a time, for the first time; the end of the gap when it never does.
fn on_the_wall(zone: &TimeZone, time: DateTime) -> Result<jiff::Timestamp, jiff::Error> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    let is_gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    let earlier = ambiguous.earlier()?;
    let end = || zone.following(earlier).next().map(|change| change.timestamp());
    Ok(if is_gap { end().unwrap_or(earlier) } else { earlier })
}

/// The name of a slot's run, by which it can be made only once: `NAME-YYYYMMDDtHHMMSSz`, in UTC.
#[must_use]
pub fn slot_name(pipeline: &str, slot: Timestamp) -> String {
    let digits: String =
        slot.rfc3339().chars().take("2026-11-23T18:16:02".len()).filter(|c| !"-:".contains(*c)).collect();
    format!("{pipeline}-{}z", digits.to_lowercase())
}

/// Whether an expression and a time zone can be understood.
///
/// # Errors
/// Why not, for a person.
pub fn check(cron: &str, time_zone: &str) -> Result<(), String> {
    parse(cron, time_zone).map(|_| ())
}

/// The expression with its time zone, by which a changed schedule is known.
#[must_use]
pub fn expression(schedule: &Schedule) -> String {
    format!("{} {}", schedule.cron, schedule.time_zone)
}

fn parse(cron: &str, time_zone: &str) -> Result<(Crontab, TimeZone), String> {
    // The fields are counted here, since a sixth would be taken for the time zone.
    if cron.split_whitespace().count() != 5 {
        return Err("write five fields: minute, hour, day of the month, month, day of the week".into());
    }
    let zone = TimeZone::get(time_zone)
        .map_err(|_| format!("{time_zone:?} is no time zone; write an IANA name, such as Europe/Warsaw"))?;
    Ok((cronexpr::parse_crontab(&format!("{cron} UTC")).map_err(|error| error.to_string())?, zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::pipeline::{CatchUp, ConcurrencyPolicy};

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn between(cron: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
        let schedule = Schedule {
            cron: cron.into(),
            time_zone: zone.into(),
            concurrency_policy: ConcurrencyPolicy::default(),
            starting_deadline_seconds: None,
            catch_up: CatchUp::default(),
        };
        slots(&schedule, at(after), at(until), 10).unwrap().into_iter().map(Timestamp::rfc3339).collect()
    }

    #[test]
    fn slots_lie_after_one_moment_and_up_to_another() {
        let found = between("0 3 * * *", "Europe/Warsaw", "2026-11-01T02:00:00Z", "2026-11-03T02:00:00Z");
        assert_eq!(found, ["2026-11-02T02:00:00.000Z", "2026-11-03T02:00:00.000Z"]);
        assert_eq!(between("* * * * *", "UTC", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z").len(), 10);
    }

    #[test]
    fn a_time_that_a_change_of_the_clocks_leaves_out_or_repeats_comes_once() {
        let gap = between("30 2 * * *", "Europe/Warsaw", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        let fold = between("30 2 * * *", "Europe/Warsaw", "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
        assert_eq!(gap, ["2026-03-29T01:00:00.000Z"]);
        assert_eq!(fold, ["2026-10-25T00:30:00.000Z"]);
        let again = between("30 2 * * *", "Europe/Warsaw", "2026-10-25T00:45:00Z", "2026-10-25T12:00:00Z");
        assert!(again.is_empty(), "{again:?}");
        let many = between("*/20 2 * * *", "Europe/Warsaw", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z");
        assert_eq!(many, ["2026-03-29T01:00:00.000Z"]);
    }

    #[test]
    fn a_slot_gives_its_run_a_name() {
        assert_eq!(slot_name("nightly", at("2026-11-23T18:16:00Z")), "nightly-20261123t181600z");
    }

    #[test]
    fn what_is_no_expression_or_no_time_zone_is_refused() {
        assert!(check("0 3 * * *", "UTC").is_ok());
        for (cron, zone) in [("0 3 * *", "UTC"), ("0 3 * * * UTC", "UTC"), ("61 3 * * *", "UTC"), ("0 3 * * *", "Mars")]
        {
            assert!(check(cron, zone).is_err(), "{cron} {zone}");
        }
    }
}
