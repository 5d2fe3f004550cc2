//! The register of attempts that this process carries: who is in it, and performing the effects that concern them. What one goes through is in `carry.rs`.
//!
//! Law 3: an open attempt is carried by this process or by nobody. It is registered before its row is committed, and it leaves the
//! register only after its outcome was written; then its owner is woken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::carry::{carry, reap};
use super::core::Core;
use crate::executor::{Executors, Stop, Surroundings};
use crate::plan::Effect;
use crate::plan::task::Carried;
use crate::resource::attempt::{Assignment, AttemptId};
use crate::resource::name::Uid;
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};
use crate::store::Held;

/// The attempts that this process carries.
pub struct Attempts {
    held: Mutex<BTreeMap<AttemptId, Carrier>>,
    running: TaskTracker,
    executors: Executors,
    opened: AtomicU64,
    in_flight: AtomicUsize,
    leaving: AtomicBool,
}

/// Attempts that were registered before they are durable. They leave the register when this is dropped, unless they were begun.
#[must_use]
pub(super) struct Reserved {
    attempts: Arc<Attempts>,
    ids: Vec<AttemptId>,
}

impl Reserved {
    /// They are durable, and about to be carried.
    pub(super) fn begin(mut self) {
        self.ids.clear();
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            let mut held = locked(&self.attempts.held);
            self.ids.iter().for_each(|id| _ = held.remove(id));
        }
    }
}

/// What is told to an attempt that is carried, and what it tells.
#[derive(Clone)]
pub(super) struct Carrier {
    /// When it last gave a sign of life, by a clock that nobody sets: one that is set ahead, or a machine that slept, makes nobody silent.
    pub(super) alive: Arc<Mutex<Instant>>,
    /// Tells it to end.
    pub(super) stop: Stop,
    /// Why it was told so.
    pub(super) why: Arc<Mutex<Option<Reason>>>,
}

impl Carrier {
    fn new() -> Self {
        Self { alive: Arc::new(Mutex::new(Instant::now())), stop: Stop::new(), why: Arc::default() }
    }

    fn seen(&self, now: Timestamp) -> Carried {
        let silent = u64::try_from(locked(&self.alive).elapsed().as_millis()).unwrap_or(u64::MAX);
        Carried { alive_at: now.minus(Span(silent)), stopping: self.stop.is_told() }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single insert, remove or assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempts {
    pub(super) fn new(executors: Executors) -> Self {
        Self {
            held: Mutex::default(),
            running: TaskTracker::new(),
            executors,
            opened: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
        }
    }

    /// The attempts carried now. Read before the store: an attempt that ends between the two has written its outcome.
    #[must_use]
    pub fn held(&self, now: Timestamp) -> Held {
        locked(&self.held).iter().map(|(id, carrier)| (id.clone(), carrier.seen(now))).collect()
    }

    /// Those of some tasks.
    #[must_use]
    pub fn held_of(&self, tasks: &[Uid], now: Timestamp) -> Held {
        let held = locked(&self.held);
        let of = |task: &Uid, number| AttemptId { task: task.clone(), number };
        let of_task = |task: &Uid| held.range(of(task, 0)..=of(task, u32::MAX));
        tasks.iter().flat_map(of_task).map(|(id, carrier)| (id.clone(), carrier.seen(now))).collect()
    }

    /// How one attempt is carried now.
    #[must_use]
    pub fn carried(&self, id: &AttemptId, now: Timestamp) -> Option<Carried> {
        locked(&self.held).get(id).map(|carrier| carrier.seen(now))
    }

    /// How many attempts are carried now.
    #[must_use]
    pub fn count(&self) -> usize {
        locked(&self.held).len()
    }

    /// How many attempts are worked on: carried or reaped, or just ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether nothing is being carried or reaped, and everybody who waits for an ending was woken.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == 0
    }

    /// What drives attempts.
    pub(super) const fn executors(&self) -> &Executors {
        &self.executors
    }

    /// Its ending is durable: it leaves the register.
    pub(super) fn let_go(&self, id: &AttemptId) {
        locked(&self.held).remove(id);
    }

    /// Where executors work.
    pub(super) fn surroundings(&self) -> &Surroundings {
        self.executors.surroundings()
    }

    /// How many attempts this process has opened or taken up again.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Registers the attempts that a plan is about to open or to take up, before it is committed, so that no observer ever sees them orphaned.
    pub(super) fn reserve(self: &Arc<Self>, effects: &[Effect]) -> Reserved {
        let mut ids = Vec::new();
        let mut held = locked(&self.held);
        for effect in effects {
            let id = match effect {
                // Of one that is taken up the last sign of life was another controller's to hear; the silence counts from now.
                Effect::Start(assignment) | Effect::Resume { assignment, .. } => &assignment.id,
                Effect::Stop { .. } | Effect::Reap { .. } | Effect::Probe(_) | Effect::Sweep => continue,
            };
            held.insert(id.clone(), Carrier::new());
            ids.push(id.clone());
        }
        drop(held);
        Reserved { attempts: Arc::clone(self), ids }
    }

    /// Counts what these effects would begin or end as carried, as it would be once they were performed. For a rehearsal, which performs nothing.
    pub(super) fn assume(self: &Arc<Self>, effects: &[Effect]) {
        self.reserve(effects).begin();
        let ending = effects.iter().filter_map(|effect| match effect {
            Effect::Reap { id, .. } => Some(id.clone()),
            Effect::Start(_) | Effect::Resume { .. } | Effect::Stop { .. } | Effect::Probe(_) | Effect::Sweep => None,
        });
        let mut held = locked(&self.held);
        ending.for_each(|id| _ = held.entry(id).or_insert_with(Carrier::new));
    }

    /// Performs one effect of a committed plan. Returns at once; endings are reported through the store.
    pub(super) fn perform(self: &Arc<Self>, core: &Core, effect: Effect) {
        match effect {
            Effect::Start(assignment) => self.start(core, assignment, None),
            // It stays registered, so that nothing else is made of it in the time that is left.
            Effect::Resume { stop: None, .. } if self.leaving.load(Ordering::SeqCst) => {}
            Effect::Resume { assignment, stop } => self.start(core, assignment, stop),
            Effect::Stop { id, reason } => {
                if let Some(carrier) = locked(&self.held).get(&id) {
                    locked(&carrier.why).get_or_insert(reason);
                    carrier.stop.cancel();
                }
            }
            Effect::Reap { id, process } => {
                let carrier = Carrier::new();
                carrier.stop.cancel();
                if locked(&self.held).insert(id.clone(), carrier).is_none() {
                    self.spawn(core, reap(core.clone(), id, process));
                }
            }
            // Carried by the register of probes.
            Effect::Probe(_) | Effect::Sweep => {}
        }
    }

    fn start(self: &Arc<Self>, core: &Core, assignment: Box<Assignment>, stop: Option<Reason>) {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let carrier = locked(&self.held).entry(assignment.id.clone()).or_insert_with(Carrier::new).clone();
        if let Some(reason) = stop {
            locked(&carrier.why).get_or_insert(reason);
            carrier.stop.cancel();
        }
        self.spawn(core, carry(core.clone(), assignment, carrier));
    }

    fn spawn(self: &Arc<Self>, core: &Core, work: impl Future<Output = ()> + Send + 'static) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let (attempts, progress) = (Arc::clone(self), Arc::clone(&core.progress));
        self.running.spawn(async move {
            work.await;
            attempts.in_flight.fetch_sub(1, Ordering::SeqCst);
            progress.notify_waiters();
        });
    }

    /// From now on nothing is taken up any more: the next controller does.
    pub(super) fn take_up_no_more(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Lets go of every carried attempt, since this process ends. What can be taken up again goes on where it runs: its row stays open, and
    /// it stays registered, so that nobody here takes it for orphaned. Anything else is stopped and ends as interrupted.
    pub(super) fn leave_all(&self) {
        for carrier in locked(&self.held).values() {
            locked(&carrier.why).get_or_insert(Reason::Interrupted);
            carrier.stop.leave();
        }
    }

    /// Waits until no attempt is carried.
    pub(super) async fn all_ended(&self) {
        self.running.close();
        self.running.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_by_a_clock_that_nobody_sets() {
        let carrier = Carrier::new();
        tokio::time::advance(Duration::from_secs(5)).await;
        // Whatever the clock shows: it may have been set ahead by a day, or back.
        for now in [Timestamp(86_400_000), Timestamp(10_000)] {
            assert_eq!(carrier.seen(now).alive_at, now.minus(Span::seconds(5)));
        }
    }
}
