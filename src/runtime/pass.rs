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
    next: Option<Timestamp>,
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

/// One pass over a task or a lane. `None` for a lane that needs another look first, at the disk.
///
/// # Errors
/// What the store says; then the transaction is good for nothing any more.
pub(super) fn pass_over(core: &Core, moment: &Moment<'_>, key: &Key) -> Result<Option<Passed>, StoreError> {
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

    /// What is to be looked at once it is performed.
    pub(super) const fn wakes(&mut self) -> &mut Vec<Key> {
        &mut self.wakes
    }

    /// Performs what was planned, now that it is durable. Gives when to look at the key again.
    pub(super) fn perform(self, core: &Core) -> Option<Timestamp> {
        if self.wrote {
            core.room.was_there(core.now());
        }
        self.reserved.begin();
        self.effects.into_iter().for_each(|effect| perform(core, effect));
        self.wakes.into_iter().for_each(|key| core.wakes.add(key));
        self.next
    }

    /// The same for one whose key nobody had taken from its queue.
    pub(super) fn perform_alone(self, core: &Core) {
        let key = self.key.clone();
        if let Some(at) = self.perform(core) {
            core.wakes.add_at(key, at);
        }
    }
}
