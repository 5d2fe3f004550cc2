//! Rows about analyzers that cannot be reached: how long a task waits for one, and when it gives up.

use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use serde_json::json;

use crate::stage::with_service;
use crate::table::Row;
use crate::world::Act;

pub(crate) const ROWS: &[&Row] = &[&WAITS];

const WAITS: Row = Row {
    what: "analyzer unavailable before the request was sent: wait 30 s, 60 s, 120 s, then Failed",
    settings: &[("preflightMaxRetries", Some("PREFLIGHT_MAX_RETRIES"), "3")],
    cases: &[
        ("three waits of 30 s, 60 s, 120 s", || waits(&[], &[30, 60, 120])),
        ("or as many as the setting says", || waits(&[("PREFLIGHT_MAX_RETRIES", "1")], &[30])),
    ],
    elsewhere: &[],
};

fn waits(environment: &[(&str, &str)], seconds: &[u64]) {
    let mut world = with_service(environment);
    world.submit_with("t", json!({"backoffLimit": 0}), Act::reaches_nobody());
    let (waiting, failed) =
        ((Phase::Pending, Reason::AnalyzerUnavailable), (Phase::Failed, Reason::AnalyzerUnavailable));
    let mut age = 0;
    for (number, wait) in seconds.iter().enumerate() {
        age += wait;
        let last = number + 1 == seconds.len();
        world.turns_at(Span::seconds(age), "t", waiting, if last { failed } else { waiting });
    }
    assert_eq!(world.outcomes("t"), vec![Some(Outcome::Unavailable); seconds.len() + 1]);
}
