//! Passes over tasks and their queues, by which everything waits: observed, planned for and committed at one moment, in one transaction of
//! the store, many at once. Everything else is observed first and committed later; see `reconcile.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::attempts::Reserved;
use super::core::Core;
use super::pulse::Beat;
use super::reconcile::{perform, plan_lane, plan_task};
use super::twist::Order;
use crate::plan::write::CloseAttempt;
use crate::plan::{Effect, Key, Plan};
use crate::resource::time::Timestamp;
use crate::store::{Moment, StoreError};

/// What a pass came to, once its transaction is durable.
#[must_use]
pub(super) struct Passed {
    key: Key,
    effects: Vec<Effect>,
    reserved: Reserved,
    wakes: Vec<Key>,
    wrote: bool,
    /// When to look again though nothing happened.
    pub(super) next: Option<Timestamp>,
}

/// Whether a key can be passed over at one moment.
pub(super) const fn is_at_one_moment(key: &Key) -> bool {
    matches!(key, Key::Task(_) | Key::Lane(_))
}

/// One pass over each of some tasks and lanes, in one transaction. A lane that needs another look first, at the disk, is left out of the answer.
///
/// # Errors
/// What the store says; then none of them was passed over.
pub(super) async fn pass(core: &Core, keys: Vec<Key>) -> Result<Vec<Passed>, StoreError> {
    let (inner, began) = (core.clone(), Instant::now());
    let passed = core.store.at_one_moment(move |moment| pass_within(&inner, moment, &keys)).await;
    core.pulses.took(Beat::Tasks, Duration::ZERO, began.elapsed());
    passed
}

/// The same within a transaction that is under way; tasks first, so that the queues see what became of them.
///
/// # Errors
/// What the store says; then the transaction is good for nothing any more.
pub(super) fn pass_within(core: &Core, moment: &Moment<'_>, keys: &[Key]) -> Result<Vec<Passed>, StoreError> {
    let (lanes, tasks): (BTreeSet<&Key>, BTreeSet<&Key>) = keys.iter().partition(|key| matches!(key, Key::Lane(_)));
    let mut passed = Vec::with_capacity(keys.len());
    for key in tasks {
        let mut one = pass_over(core, moment, key)?;
        // These come after it.
        one.iter_mut().for_each(|one| one.wakes.retain(|key| !lanes.contains(key)));
        passed.extend(one);
    }
    for key in lanes {
        passed.extend(pass_over(core, moment, key)?);
    }
    Ok(passed)
}

fn pass_over(core: &Core, moment: &Moment<'_>, key: &Key) -> Result<Option<Passed>, StoreError> {
    let (now, began) = (core.now(), Instant::now());
    let planned = match key {
        Key::Task(uid) => {
            let held = core.attempts.held_of(std::slice::from_ref(uid), now);
            let observed = moment.observe_task(uid, &held, core.settings.budgets())?;
            Some(observed.map_or_else(Plan::default, |task| plan_task(core, task, now)))
        }
        Key::Lane(analyzer) => {
            let asked = core.probes.asked(analyzer);
            let lane = moment.observe_lane(analyzer, now, core.settings.budgets())?;
            (!lane.may_reuse()).then(|| plan_lane(core, lane, &asked, now))
        }
        _ => None,
    };
    let Some(plan) = planned else { return Ok(None) };
    let looking = began.elapsed();
    core.pulses.took(Beat::Tasks, looking, Duration::ZERO);
    if !plan.is_empty() {
        tracing::debug!(%key, ?looking, "planned\n{plan}");
    }
    let Plan { writes, mut effects, mut wakes, next, actions: _ } = plan;
    if core.swaps(Order::ActsFirst) {
        effects.drain(..).for_each(|effect| perform(core, effect));
    }
    // Before it is durable, so that nobody ever sees it orphaned.
    let reserved = core.attempts.reserve(if core.swaps(Order::RegistersLast) { &[] } else { &effects });
    wakes.extend(moment.commit(&writes, now)?);
    Ok(Some(Passed { key: key.clone(), effects, reserved, wakes, wrote: !writes.is_empty(), next }))
}

impl Passed {
    /// What was passed over.
    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    /// Performs what was planned, now that it is durable. Gives the key and when to look at it again.
    pub(super) fn perform(self, core: &Core) -> (Key, Option<Timestamp>) {
        if self.wrote {
            core.room.was_there(core.now());
        }
        self.effects.into_iter().for_each(|effect| perform(core, effect));
        self.reserved.begin();
        self.wakes.into_iter().for_each(|key| core.wakes.add(key));
        (self.key, self.next)
    }

    /// The same for one whose key nobody had taken from its queue.
    pub(super) fn perform_alone(self, core: &Core) {
        let (key, next) = self.perform(core);
        next.into_iter().for_each(|at| core.wakes.add_at(key.clone(), at));
    }
}

/// The end of an attempt, once it is durable.
#[must_use]
pub(super) struct Ended {
    woken: Vec<Key>,
    settled: Option<Passed>,
}

impl Ended {
    /// Tells whom it concerns, after the attempt has left the register.
    pub(super) fn tell(self, core: &Core) {
        self.settled.into_iter().for_each(|settled| settled.perform_alone(core));
        self.woken.into_iter().for_each(|key| core.wakes.add(key));
    }
}

/// Writes the ending of an attempt and settles its task, in one transaction; `None` for a late ending of an attempt that was closed already.
///
/// # Errors
/// What the store says. An ending is written even if its task cannot be settled: that is then left to its next pass.
pub(super) async fn end_and_settle(core: &Core, close: &CloseAttempt) -> Result<Option<Ended>, StoreError> {
    let task = Key::Task(close.id.task.clone());
    let (inner, ending, key) = (core.clone(), close.clone(), task.clone());
    let both = core.store.at_one_moment(move |moment| {
        let Some(woken) = moment.end_attempt(&ending)? else { return Ok(None) };
        Ok(Some(Ended { woken, settled: pass_over(&inner, moment, &key)? }))
    });
    match both.await {
        Err(error) if !error.is_full() && !error.is_fatal() => {
            tracing::warn!(%error, %task, "a task could not be settled together with the ending of its attempt");
            let woken = core.store.report_ending(close.clone()).await?;
            Ok(woken.map(|mut woken| {
                woken.push(task);
                Ended { woken, settled: None }
            }))
        }
        both => both,
    }
}
