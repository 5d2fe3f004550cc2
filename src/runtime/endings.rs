//! Endings of attempts. Those that come in while the store is busy are written together, each settled with its task, and the slots that they
//! leave are filled again in the same transaction: who is next in the queue starts as soon as the ending before it is durable.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::attempts::locked;
use super::core::Core;
use super::pass::{Passed, pass_over};
use crate::plan::Key;
use crate::plan::write::CloseAttempt;
use crate::resource::outcome::Outcome;
use crate::store::{Moment, StoreError};

/// Lanes that are filled together with what ended, at most. The endings wait for that; more lanes are left to their loop.
const LANES_MAX: usize = 8;

/// The endings that nobody has begun to write.
#[derive(Default)]
pub(super) struct Endings {
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    closing: Closing,
    told: oneshot::Sender<Option<Ended>>,
}

/// What came of an attempt, and the queue that its slot belongs to, unless nobody waits for that.
#[derive(Clone)]
pub(super) struct Closing {
    /// What is written of it.
    pub(super) close: CloseAttempt,
    /// The analyzer whose queue gets its slot.
    pub(super) lane: Option<String>,
}

/// The end of an attempt, once it is durable.
#[must_use]
pub(super) struct Ended {
    woken: Vec<Key>,
    passed: Vec<Passed>,
}

impl Ended {
    /// Tells whom it concerns, after the attempt has left the register.
    pub(super) fn tell(self, core: &Core) {
        self.passed.into_iter().for_each(|passed| passed.perform_alone(core));
        self.woken.into_iter().for_each(|key| core.wakes.add(key));
    }
}

impl Closing {
    /// The lane that can be filled at once. What an attempt says of its replica may make the analyzer unusable, which is looked at first.
    fn lane(&self) -> Option<Key> {
        let is_usable = !self.is_doubtful();
        self.lane.clone().filter(|_| is_usable).map(Key::Lane)
    }

    /// Whether it says something of its replica, so that this must be asked again.
    pub(super) const fn is_doubtful(&self) -> bool {
        matches!(self.close.verdict.outcome, Outcome::Unavailable | Outcome::ProtocolError)
    }

    /// Whom its end concerns whatever became of it.
    pub(super) fn concerned(&self) -> Vec<Key> {
        let lane = self.lane.iter();
        let analyzer = lane.clone().filter(|_| self.is_doubtful()).cloned().map(Key::Analyzer);
        analyzer.chain(lane.cloned().map(Key::Lane)).collect()
    }
}

/// Writes the ending of an attempt, settles its task, and fills its slot; `None` for a late ending of an attempt that was closed already.
///
/// # Errors
/// What the store says. An ending is written even if its task cannot be settled: that is then left to its next pass.
pub(super) async fn end(core: &Core, closing: &Closing) -> Result<Option<Ended>, StoreError> {
    let (told, answer) = oneshot::channel();
    let is_first = {
        let mut waiting = locked(&core.endings.waiting);
        waiting.push(Waiting { closing: closing.clone(), told });
        waiting.len() == 1
    };
    if is_first {
        write_together(core).await;
    }
    match answer.await {
        Ok(ended) => Ok(ended),
        // What could not be written together is written one by one.
        Err(_) => end_alone(core, closing).await,
    }
}

/// Writes all endings that have come in by the time the store begins with it. Who is not told must write its own.
async fn write_together(core: &Core) {
    let taken: Arc<Mutex<Vec<Waiting>>> = Arc::default();
    let (inner, batch) = (core.clone(), Arc::clone(&taken));
    let written = core.store.at_one_moment(move |moment| {
        let mut batch = locked(&batch);
        // It may be run again, with the same ones.
        if batch.is_empty() {
            *batch = std::mem::take(&mut locked(&inner.endings.waiting));
        }
        end_within(&inner, moment, &batch)
    });
    let written = written.await;
    let taken = std::mem::take(&mut *locked(&taken));
    match written {
        Ok(ended) => taken.into_iter().zip(ended).for_each(|(one, ended)| _ = one.told.send(ended)),
        // Nobody else comes for those that it has not even begun with.
        Err(_) if taken.is_empty() => locked(&core.endings.waiting).clear(),
        Err(error) => tracing::debug!(%error, endings = taken.len(), "not written together; each is now, by itself"),
    }
}

fn end_within(core: &Core, moment: &Moment<'_>, batch: &[Waiting]) -> Result<Vec<Option<Ended>>, StoreError> {
    let mut all = Vec::with_capacity(batch.len());
    for Waiting { closing, .. } in batch {
        all.push(settle_within(core, moment, closing)?);
    }
    let lanes: BTreeSet<Key> = batch.iter().filter_map(|one| one.closing.lane()).collect();
    let Some(first) = all.iter().position(Option::is_some).filter(|_| !core.stopping.is_cancelled()) else {
        return Ok(all);
    };
    let mut filled = BTreeSet::new();
    for lane in lanes.into_iter().take(LANES_MAX) {
        if let (Some(passed), Some(ended)) = (pass_over(core, moment, &lane)?, &mut all[first]) {
            ended.passed.push(passed);
            filled.insert(lane);
        }
    }
    for ended in all.iter_mut().flatten() {
        ended.woken.retain(|key| !filled.contains(key));
    }
    Ok(all)
}

/// Writes one ending and settles its task.
fn settle_within(core: &Core, moment: &Moment<'_>, closing: &Closing) -> Result<Option<Ended>, StoreError> {
    let close = &closing.close;
    let Some(mut woken) = moment.end_attempt(close)? else { return Ok(None) };
    let mut settled = pass_over(core, moment, &Key::Task(close.id.task.clone()))?;
    woken.extend(closing.concerned());
    // Its lanes are looked at after it.
    settled.iter_mut().for_each(|settled| woken.append(settled.wakes()));
    Ok(Some(Ended { woken, passed: settled.into_iter().collect() }))
}

async fn end_alone(core: &Core, closing: &Closing) -> Result<Option<Ended>, StoreError> {
    let (inner, one) = (core.clone(), closing.clone());
    let both = core.store.at_one_moment(move |moment| settle_within(&inner, moment, &one)).await;
    match both {
        Err(error) if !error.is_full() && !error.is_fatal() => {
            let task = Key::Task(closing.close.id.task.clone());
            tracing::warn!(%error, %task, "a task could not be settled together with the ending of its attempt");
            let woken = core.store.report_ending(closing.close.clone()).await?;
            Ok(woken.map(|mut woken| {
                woken.push(task);
                woken.extend(closing.concerned());
                Ended { woken, passed: Vec::new() }
            }))
        }
        both => both,
    }
}

#[cfg(test)]
#[path = "endings_tests.rs"]
mod tests;
