//! Slots of a schedule, as moments. Cron expressions speak of local time, which the change of the clocks tears: a schedule at fixed hours
//! has each of its local times once (one that is left out comes as much later as the clocks jump, one that comes twice is taken the first
//! time); one that goes through the hours (`*` or `*/n` there) keeps its pace in real time.

use std::collections::BTreeSet;

use cronexpr::{Crontab, MakeTimestamp, parse_crontab};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::resource::pipeline::Schedule;
use crate::resource::time::{Span, Timestamp};

/// Clocks are turned by less than this.
const TURN_MAX: Span = Span::minutes(24 * 60);

/// How far back the latest slots are looked for at first: some hundred for a schedule of every minute.
const FIRST_LOOK: Span = Span::minutes(4 * 60);

/// Local times that are looked at for one answer: half a year of minutes.
const LOOKED_AT_MAX: usize = 300_000;

/// Local times from this year on are not looked at: the calendar ends after 9999, and the next time is looked for in four years (cronexpr).
const LAST_YEAR: i16 = 9995;

/// A schedule that was read.
struct Plan {
    cron: Crontab,
    zone: TimeZone,
    keeps_pace: bool,
}

/// Whether an expression and a time zone can be read.
///
/// # Errors
/// What is wrong with them.
pub fn check(cron: &str, time_zone: &str) -> Result<(), String> {
    read(cron, time_zone).map(|_| ())
}

/// The expression together with its time zone: another text is another schedule.
#[must_use]
pub fn expression(schedule: &Schedule) -> String {
    format!("{} {}", schedule.cron, schedule.time_zone)
}

/// The slots after one moment and up to another, the latest `max` of them, in order.
///
/// # Errors
/// What is wrong with the schedule.
pub fn slots(schedule: &Schedule, after: Timestamp, until: Timestamp, max: usize) -> Result<Vec<Timestamp>, String> {
    let plan = read(&schedule.cron, &schedule.time_zone)?;
    // The latest are wanted, so the end is looked at first, and more of what is before it only when that gave too few.
    let mut width = FIRST_LOOK;
    loop {
        let from = after.max(until.minus(width));
        let found = plan.between(from, until, max)?;
        if from == after || found.len() >= max {
            return Ok(found.into_iter().collect());
        }
        width = width.times(16);
    }
}

/// The first slot after a moment; `None` when there is none in the years to come.
///
/// # Errors
/// What is wrong with the schedule.
pub fn next(schedule: &Schedule, after: Timestamp) -> Result<Option<Timestamp>, String> {
    let plan = read(&schedule.cron, &schedule.time_zone)?;
    let mut first: Option<(Timestamp, Timestamp)> = None;
    plan.each(after, |at| {
        if at > after && first.is_none_or(|(first, _)| at < first) {
            // Another local time may come earlier where the clocks are turned back.
            first = Some((at, at.plus(plan.turn(at))));
        }
        first.is_none_or(|(_, enough)| at <= enough)
    })?;
    Ok(first.map(|(first, _)| first))
}

/// Name of the run of a slot: one for each moment, so that a slot can never have two.
#[must_use]
pub fn slot_name(pipeline: &str, slot: Timestamp) -> String {
    let text = jiff::Timestamp::from_millisecond(slot.0)
        .map_or_else(|_| slot.0.to_string(), |at| at.to_zoned(TimeZone::UTC).strftime("%Y%m%dt%H%M%Sz").to_string());
    format!("{pipeline}-{text}")
}

fn read(cron: &str, time_zone: &str) -> Result<Plan, String> {
    let fields: Vec<&str> = cron.split_whitespace().collect();
    if fields.len() != 5 && !cron.starts_with('@') {
        return Err(format!(
            "{cron:?} has {} fields; five are expected: minute, hour, day of month, month, day of week",
            fields.len()
        ));
    }
    let zone = TimeZone::get(time_zone)
        .map_err(|_| format!("{time_zone:?} is no time zone; an IANA name such as Europe/Warsaw is expected"))?;
    // Read as if local time were UTC: which moment a local time is, is said below.
    let cron_of_local = parse_crontab(&format!("{cron} UTC")).map_err(|error| format!("{cron:?}: {error}"))?;
    let keeps_pace = fields.get(1).is_some_and(|hour| hour.starts_with('*')) || cron.starts_with("@hourly");
    Ok(Plan { cron: cron_of_local, zone, keeps_pace })
}

impl Plan {
    /// The slots after one moment and up to another, the latest `max` of them.
    fn between(&self, after: Timestamp, until: Timestamp, max: usize) -> Result<BTreeSet<Timestamp>, String> {
        let (mut found, enough) = (BTreeSet::new(), until.plus(self.turn(until)));
        self.each(after, |at| {
            if at > after && at <= until {
                found.insert(at);
                if found.len() > max {
                    found.pop_first();
                }
            }
            at <= enough
        })?;
        Ok(found)
    }

    /// By how much the clocks are turned near a moment. By so much can local times be out of order there; mostly they are not turned at all.
    fn turn(&self, at: Timestamp) -> Span {
        let offset = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(at.0).ok()?;
            Some(i64::from(self.zone.to_offset(at).seconds()))
        };
        let offsets = [at.minus(TURN_MAX), at, at.plus(TURN_MAX)].map(offset);
        match (offsets.iter().flatten().min(), offsets.iter().flatten().max()) {
            (Some(least), Some(most)) => Span::seconds(least.abs_diff(*most)),
            // The end of the calendar.
            _ => TURN_MAX,
        }
    }

    /// Calls `tell` with moments from a little before `after` on, roughly in order, until it says that it has enough.
    fn each(&self, after: Timestamp, mut tell: impl FnMut(Timestamp) -> bool) -> Result<(), String> {
        let start =
            jiff::Timestamp::from_millisecond(after.minus(self.turn(after)).0).map_err(|error| error.to_string())?;
        let mut local = self.zone.to_datetime(start);
        let from = TimeZone::UTC.to_timestamp(local).map_err(|error| error.to_string())?;
        let mut times =
            self.cron.iter_after(MakeTimestamp(from)).map_err(|error| error.to_string())?.take(LOOKED_AT_MAX);
        while local.year() < LAST_YEAR
            // There is none in four years, as on a thirtieth of February.
            && let Some(Ok(time)) = times.next()
        {
            local = time.datetime();
            if !self.moments(local).into_iter().all(&mut tell) {
                break;
            }
        }
        Ok(())
    }

    /// The moments that a local time stands for.
    fn moments(&self, local: DateTime) -> Vec<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let found = match (ambiguous.offset(), self.keeps_pace) {
            (AmbiguousOffset::Gap { .. }, true) => Vec::new(),
            (AmbiguousOffset::Fold { .. }, true) => vec![ambiguous.earlier(), ambiguous.later()],
            _ => vec![ambiguous.compatible()],
        };
        found.into_iter().flatten().map(|at| Timestamp(at.as_millisecond())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::pipeline::{CatchUp, ConcurrencyPolicy};

    fn schedule(cron: &str) -> Schedule {
        Schedule {
            cron: cron.into(),
            time_zone: "Europe/Warsaw".into(),
            concurrency_policy: ConcurrencyPolicy::default(),
            starting_deadline_seconds: None,
            catch_up: CatchUp::default(),
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn between(cron: &str, from: &str, to: &str) -> Vec<String> {
        let found = slots(&schedule(cron), at(from), at(to), 1000).unwrap();
        found.into_iter().map(|at| at.rfc3339().replace(":00.000Z", "Z")).collect()
    }

    #[test]
    fn a_daily_slot_in_the_gap_comes_as_much_later_as_the_clocks_jump() {
        // 2026-03-29 02:00 CET becomes 03:00 CEST, which is 01:00 UTC.
        let found = between("30 2 * * *", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
        assert_eq!(found, ["2026-03-28T01:30Z", "2026-03-29T01:30Z", "2026-03-30T00:30Z"]);
    }

    #[test]
    fn a_daily_slot_in_the_fold_comes_once_the_first_time() {
        // 2026-10-25 03:00 CEST becomes 02:00 CET, which is 01:00 UTC.
        let found = between("30 2 * * *", "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z");
        assert_eq!(found, ["2026-10-24T00:30Z", "2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
    }

    #[test]
    fn a_schedule_through_the_hours_keeps_its_pace() {
        for (from, to) in
            [("2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z"), ("2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z")]
        {
            let found = slots(&schedule("*/15 * * * *"), at(from), at(to), 1000).unwrap();
            assert_eq!(found.len(), 12, "{from}");
            assert!(found.windows(2).all(|pair| pair[1].since(pair[0]) == Span::minutes(15)), "{found:?}");
        }
    }

    #[test]
    fn a_year_of_daily_slots_has_one_for_each_day_and_each_has_its_name() {
        let found =
            slots(&schedule("30 2 * * *"), at("2025-12-31T23:00:00Z"), at("2026-12-31T23:00:00Z"), 1000).unwrap();
        assert_eq!(found.len(), 365);
        let names: BTreeSet<String> = found.iter().map(|slot| slot_name("nightly", *slot)).collect();
        assert_eq!(names.len(), 365);
        assert!(names.contains("nightly-20260101t013000z"), "{names:?}");
        for pair in found.windows(2) {
            assert_eq!(next(&schedule("30 2 * * *"), pair[0]), Ok(Some(pair[1])));
        }
    }

    /// Every minute of some days, found one by one.
    fn found_one_by_one(plan: &Plan, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let mut all: Vec<Timestamp> = Vec::new();
        let start = TimeZone::UTC.to_timestamp(
            plan.zone.to_datetime(jiff::Timestamp::from_millisecond(from.minus(TURN_MAX.times(2)).0).unwrap()),
        );
        for time in plan.cron.iter_after(MakeTimestamp(start.unwrap())).unwrap() {
            let time = time.unwrap();
            if time.timestamp().as_millisecond() > to.plus(TURN_MAX.times(3)).0 {
                break;
            }
            all.extend(plan.moments(time.datetime()).into_iter().filter(|at| *at > from && *at <= to));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn looking_only_where_it_matters_finds_what_looking_everywhere_finds() {
        let turns = [
            ("Europe/Warsaw", "2026-03-29T00:00:00Z"),
            ("Europe/Warsaw", "2026-10-25T00:30:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T14:50:00Z"),
            ("Africa/Casablanca", "2026-02-15T01:30:00Z"),
            // The island that left out a whole day.
            ("Pacific/Apia", "2011-12-30T09:50:00Z"),
            ("Asia/Kathmandu", "2026-06-01T00:00:00Z"),
        ];
        for (zone, around) in turns {
            for cron in ["*/20 * * * *", "30 2 * * *", "15 1,2,3 * * *", "0 0 * * 5"] {
                let (plan, around) = (read(cron, zone).unwrap(), at(around));
                let schedule = Schedule { time_zone: zone.into(), ..schedule(cron) };
                for minutes in [-1500, -90, -31, -1, 0, 7, 45, 61, 600, 1441_i64] {
                    let from = Timestamp(around.0 + minutes * 60_000);
                    let all = found_one_by_one(&plan, from, from.plus(TURN_MAX.times(8)));
                    let found = slots(&schedule, from, from.plus(TURN_MAX), 1000).unwrap();
                    let day: Vec<_> = all.iter().filter(|at| at.since(from) <= TURN_MAX).copied().collect();
                    assert_eq!(found, day, "{cron} {zone} {minutes}");
                    assert_eq!(next(&schedule, from), Ok(all.first().copied()), "{cron} {zone} {minutes}");
                }
            }
        }
    }

    #[test]
    fn the_latest_of_very_many_slots_are_the_latest() {
        let (from, to) = (at("2020-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
        let found = slots(&schedule("* * * * *"), from, to, 100).unwrap();
        assert_eq!((found.len(), found.last(), found.first()), (100, Some(&to), Some(&to.minus(Span::minutes(99)))));
        assert_eq!(slots(&schedule("0 0 1 1 *"), from, to, 100).unwrap().len(), 6);
        // What is looked at for an answer does not grow with what has passed.
        let (plan, mut looked_at) = (read("* * * * *", "UTC").unwrap(), 0);
        plan.each(to, |at| {
            looked_at += 1;
            at <= to.plus(plan.turn(to))
        })
        .unwrap();
        assert_eq!(looked_at, 1);
    }

    #[test]
    fn what_is_no_schedule_is_said() {
        assert!(check("0 2 * * *", "Europe/Warsaw").is_ok());
        assert!(check("0 2 * *", "UTC").unwrap_err().contains("4 fields"));
        assert!(check("0 2 * * *", "Mars/Base").unwrap_err().contains("no time zone"));
        assert!(check("61 2 * * *", "UTC").is_err());
        assert_eq!(next(&schedule("0 0 30 2 *"), at("2026-01-01T00:00:00Z")).unwrap_or(None), None);
    }
}
