//! Any expression, zone and moments: a schedule is refused or gives slots that rise, none twice, and looking for them ends.

use manifestd::plan::pipeline::schedule::{check as readable, next, slot_name, slots};
use manifestd::resource::pipeline::{CatchUp, ConcurrencyPolicy, Schedule};
use manifestd::resource::time::{Span, Timestamp};

use super::corpus::texts;

/// Slots that are asked for at once.
const SLOTS_MAX: usize = 50;

pub(crate) const WORDS: &[&str] = &[
    "*",
    "*/15",
    "0",
    "59",
    "2,3",
    "1-5",
    "1-5/2",
    "L",
    "W",
    "#",
    "?",
    "@daily",
    "@hourly",
    "@yearly",
    "MON",
    "SUN-SAT",
    "JAN",
    "FEB",
    " ",
    "\n",
    "29 2",
    "31",
    "30 2 * * *",
    "Europe/Warsaw",
    "America/St_Johns",
    "Pacific/Apia",
    "Antarctica/Troll",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "UTC",
    "GMT+25",
    "-1",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "253402207200000",
    "-377705023201000",
    "1774745999000",
    "1792886400000",
];

/// Lines: the expression, the zone, a moment in milliseconds, and how much later the end is.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "30 2 * * *\nEurope/Warsaw\n1774656000000\n864000000",
        "*/15 * * * *\nAmerica/New_York\n1793400000000\n86400000",
        "0 0 29 2 *\nUTC\n0\n9999999999999",
        "0 0 30 2 *\nUTC\n0\n1",
        "59 23 31 12 1\nAustralia/Lord_Howe\n1600000000000\n31536000000",
        "@hourly\nPacific/Apia\n1325203200000\n604800000",
        "0 2 * * MON#1\nAfrica/Casablanca\n1770000000000\n60000000000",
        "1 1 L * *\nUTC\n9223372036854775807\n9223372036854775807",
        "* * * * *\nUTC\n-9223372036854775808\n18446744073709551615",
        "0 5 6W 1 MON\nAfrica/Casablanca\n253402207200000\n253402207200000",
    ])
}

/// What must hold of any text.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let schedule = Schedule {
        cron: line().to_owned(),
        time_zone: line().to_owned(),
        concurrency_policy: ConcurrencyPolicy::default(),
        starting_deadline_seconds: None,
        catch_up: CatchUp::default(),
    };
    let (after, width) = (line().parse().unwrap_or(0), line().parse().unwrap_or(0));
    let (after, until) = (Timestamp(after), Timestamp(after).plus(Span(width)));
    let is_readable = readable(&schedule.cron, &schedule.time_zone).is_ok();
    let first = next(&schedule, after);
    let found = slots(&schedule, after, until, SLOTS_MAX);
    if !is_readable {
        assert!(first.is_err() && found.is_err(), "what cannot be read has slots: {schedule:?}");
        return;
    }
    if let Ok(Some(first)) = first {
        assert!(first > after, "the next slot after {after:?} is {first:?}");
    }
    let Ok(found) = found else { return };
    assert!(found.len() <= SLOTS_MAX);
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "out of order, or one twice: {found:?}");
    assert!(found.iter().all(|slot| *slot > after && *slot <= until), "outside of {after:?} to {until:?}: {found:?}");
    let mut names: Vec<String> = found.iter().map(|slot| slot_name("p", *slot)).collect();
    names.dedup();
    assert_eq!(names.len(), found.len(), "two slots of one name: {names:?}");
    // One by one they are the same as all at once.
    if let (Some(&slot), Ok(Some(first))) = (found.first(), first)
        && found.len() < SLOTS_MAX
    {
        assert_eq!(first, slot, "the first slot after {after:?}");
    }
    for pair in found.windows(2) {
        assert_eq!(next(&schedule, pair[0]), Ok(Some(pair[1])), "after {:?}", pair[0]);
    }
}
