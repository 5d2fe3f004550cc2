//! What `why` says of the pool of a queued task: whether it is full, who takes its slots, and when one becomes free.

use super::chain::{Facts, when};
use super::rows;
use crate::store::pool::{PoolOccupant, PoolUse};

/// What is known of the pool that a task names.
#[derive(Debug, Clone)]
pub(crate) struct PoolFacts {
    /// Its name.
    pub(crate) name: String,
    /// How it is used; `None` when there is no such pool.
    pub(crate) found: Option<PoolUse>,
    /// Some of the open attempts that take its slots.
    pub(crate) occupants: Vec<PoolOccupant>,
    /// What exists instead of it.
    pub(crate) hint: String,
}

/// Why the pool keeps a queued task waiting, and what happens next; `None` when it does not.
pub(crate) fn waits(facts: &Facts, because: &mut Vec<String>) -> Option<String> {
    let pool = facts.pool.as_ref()?;
    let name = &pool.name;
    let Some(found) = &pool.found else {
        because.push(format!("no Pool is called \"{name}\"; {}", pool.hint));
        return Some("the controller's next look holds it as PoolNotFound".into());
    };
    let (slots, taken) = (found.spec.slots, found.used + found.draining);
    let free_at = found.free_at.map(|at| when(at, facts.now));
    if taken < slots {
        if found.rate_limited {
            let at = free_at.unwrap_or_else(|| "later".into());
            let rate =
                found.spec.rate.map_or_else(String::new, |rate| format!(": {} starts in {}", rate.limit, rate.per));
            because.push(format!("the rate of pool \"{name}\" allows no more now{rate}"));
            return Some(format!(
                "it starts when its turn comes and the rate of the pool allows it, the next start {at}"
            ));
        }
        because.push(format!("{taken} of {slots} slots of pool \"{name}\" are taken"));
        return None;
    }
    let by = pool.occupants.iter().map(|occupant| format!("task/{} on {}", occupant.task, occupant.analyzer));
    let mut by: Vec<String> = by.collect();
    match (found.used as usize).saturating_sub(by.len()) {
        0 => {}
        more => by.push(format!("{more} more")),
    }
    if found.draining > 0 {
        by.push(format!("{} abandoned requests that may still be worked on", found.draining));
    }
    because.push(format!("pool \"{name}\" is full, {taken}/{slots} by {}", by.join(", ")));
    because.push(match found.waiting {
        1 => "1 queued task waits for this pool, and that is this one".into(),
        waiting => format!("{waiting} queued tasks wait for this pool, this one among them"),
    });
    let latest = pool.occupants.iter().map(|occupant| occupant.deadline_at).chain(found.free_at).min();
    let latest = latest.map(|at| format!(", {} at the latest", when(at, facts.now))).unwrap_or_default();
    Some(format!(
        "it starts when its turn comes and a slot of pool \"{name}\" is free; the next one becomes free{latest}"
    ))
}

/// Why a task is held without its pool, and what happens next.
pub(crate) fn missing(facts: &Facts, because: &mut Vec<String>) -> String {
    let Some(pool) = &facts.pool else {
        because.push("it names no pool any more".into());
        return "it is queued at the controller's next look".into();
    };
    if pool.found.is_some() {
        because.push(format!("pool \"{}\" was not known, and is by now", pool.name));
        return "it is queued at the controller's next look".into();
    }
    let by = match &facts.analyzer {
        Some(analyzer) if facts.spec.pool.is_none() => {
            format!("analyzer \"{}\" in {}", analyzer.name, rows::place(analyzer))
        }
        _ => rows::place(&facts.task),
    };
    because.push(format!("no Pool is called \"{}\", which {by} names; {}", pool.name, pool.hint));
    "it goes on by itself once a Pool of that name is declared".into()
}
