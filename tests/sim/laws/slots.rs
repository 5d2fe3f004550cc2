//! Replicas, pools and rates: what rows say is taken, and what the outside world is really asked to do at once.

use manifestd::resource::analyzer::Rate;
use manifestd::resource::attempt::{Assignment, Target};
use manifestd::resource::kind::Kind;

use super::super::audit::{Change, Row};
use super::super::model::{Attempt, Limit, PASS_MAX};
use super::{Judged, Moment, hold};

fn runs(row: &Row) -> bool {
    row.number("deadline_at") > row.number("opened_at")
}

/// Whether an attempt takes a slot by its row: it is open, or nobody knows that its other side has stopped. What ended in the future, by a
/// clock that was turned back since, takes none any more; a pass that began then may be about it for a while.
fn takes(attempt: &Attempt, moment: &Moment<'_>) -> bool {
    let wall = moment.wall;
    let late = if moment.has_jumped_since(attempt.opened) { PASS_MAX.cast_signed() } else { 0 };
    let drains = attempt.row.maybe("slot_until").is_some_and(|until| until > wall)
        && attempt.row.number("ended_at") <= wall - late;
    runs(&attempt.row) && (attempt.is_open() || drains)
}

fn highest(moment: &Moment<'_>, kind: Kind, name: &str) -> u64 {
    moment.model.capacities.get(&(kind, name.to_owned())).map_or(0, |limit: &Limit| limit.highest(moment.age))
}

/// An attempt was opened.
pub(super) fn changed(change: &Change, moment: &Moment<'_>) -> Judged {
    let (None, Some(new)) = (&change.old, &change.new) else { return Ok(()) };
    if !runs(new) {
        return Ok(());
    }
    let (analyzer, replica) = (new.text("analyzer"), new.text("replica"));
    let taken = moment.model.attempts().filter(|(_, other)| {
        takes(other, moment) && other.row.text("analyzer") == analyzer && other.row.text("replica") == replica
    });
    let (taken, most) = (taken.count() as u64, highest(moment, Kind::Analyzer, analyzer));
    hold!(Slots, taken <= most, "{taken} slots of {analyzer} {replica} are taken, and there are {most}");
    rate(new, (Kind::Analyzer, analyzer), "analyzer", moment)?;
    let Some(pool) = new.maybe_text("pool") else { return Ok(()) };
    let taken =
        moment.model.attempts().filter(|(_, other)| takes(other, moment) && other.row.maybe_text("pool") == Some(pool));
    let (taken, most) = (taken.count() as u64, highest(moment, Kind::Pool, pool));
    hold!(Slots, taken <= most, "{taken} slots of pool {pool} are taken, and there are {most}");
    rate(new, (Kind::Pool, pool), "pool", moment)
}

/// No more were opened within the period than the rate allows.
fn rate(new: &Row, (kind, name): (Kind, &str), column: &str, moment: &Moment<'_>) -> Judged {
    let Some((since, Rate { limit, per })) = moment.model.rates.get(&(kind, name.to_owned())) else { return Ok(()) };
    let from = moment.age.saturating_sub(per.0 + PASS_MAX);
    // Another rate may have let some through that this one would not, and a clock that was set makes times apart that were not.
    if *since > from || moment.has_jumped_since(from) {
        return Ok(());
    }
    let (at, per) = (new.number("opened_at"), i64::try_from(per.0).unwrap_or(i64::MAX));
    let opened = moment.model.attempts().filter(|(_, other)| {
        let other_at = other.row.number("opened_at");
        other.row.text(column) == name
            && runs(&other.row)
            && other.opened >= from
            && other_at > at - per
            && other_at <= at
    });
    let opened = opened.count() as u64;
    hold!(
        Slots,
        opened <= u64::from(*limit),
        "{opened} attempts of {column} {name} within {per} ms, and {limit} are allowed"
    );
    Ok(())
}

/// Work begins: what the outside world already works on there leaves room for it.
pub(super) fn begins(assignment: &Assignment, moment: &Moment<'_>) -> Judged {
    if assignment.resumed {
        return Ok(());
    }
    let replica = match &assignment.target {
        Target::WebSocket { url, .. } => url.as_str(),
        Target::Command(_) => "",
    };
    let others: Vec<u64> = moment
        .ledger
        .going(&assignment.analyzer, replica)
        .filter(|(other, _)| **other != assignment.id)
        .map(|(_, work)| work.began)
        .collect();
    // A slot of what was abandoned is free at a time by the clock.
    if others.iter().any(|began| moment.has_jumped_since(*began)) {
        return Ok(());
    }
    let (taken, most) = (others.len() as u64 + 1, highest(moment, Kind::Analyzer, &assignment.analyzer));
    let analyzer = &assignment.analyzer;
    hold!(Slots, taken <= most, "{analyzer} {replica} is given {taken} things to do at once, and can do {most}");
    Ok(())
}
