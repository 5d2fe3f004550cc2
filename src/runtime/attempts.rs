//! The register of attempts that this process carries: who is in it, and performing the effects that concern them. What one goes through is in `carry.rs`.
//!
//! Law 3: an open attempt is carried by this process or by nobody. It is registered before its row is committed, and it leaves the
//! register only after its outcome was written; then its owner is woken. Two plans may be about to open the same attempt, of which the store lets one
//! through; the other one's failure must not take it out of the register.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    held: Mutex<BTreeMap<AttemptId, Entry>>,
    running: TaskTracker,
    executors: Executors,
    opened: AtomicU64,
    in_flight: AtomicUsize,
    leaving: AtomicBool,
}

/// An attempt in the register.
struct Entry {
    carrier: Carrier,
    /// Plans that open it or take it up, of which nobody knows yet whether they become durable.
    reserved: usize,
    /// One of them is durable.
    begun: bool,
}

impl Entry {
    fn new() -> Self {
        Self { carrier: Carrier::new(), reserved: 0, begun: false }
    }

    fn begun() -> Self {
        Self { begun: true, ..Self::new() }
    }
}

/// Attempts that a plan has registered before it is durable. When this is dropped they leave the register, but for those of which another plan has
/// become durable, or still may.
#[must_use]
pub(super) struct Reserved {
    attempts: Arc<Attempts>,
    ids: Vec<AttemptId>,
}

impl Reserved {
    /// They are durable, and about to be carried. To be called before their effects are performed.
    pub(super) fn begin(self) {
        let mut held = locked(&self.attempts.held);
        for id in &self.ids {
            if let Some(entry) = held.get_mut(id) {
                entry.begun = true;
            }
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let mut held = locked(&self.attempts.held);
        for id in &self.ids {
            // One that has begun may have ended already.
            let Some(entry) = held.get_mut(id) else { continue };
            entry.reserved = entry.reserved.saturating_sub(1);
            if entry.reserved == 0 && !entry.begun {
                held.remove(id);
            }
        }
    }
}

/// What is told to an attempt that is carried, and what it tells.
#[derive(Clone)]
pub(super) struct Carrier {
    /// When it last gave a sign of life, by a clock that nobody sets: one that is set ahead, or a machine that slept, makes nobody silent. `None`
    /// as long as it waits for its turn, when it has nothing to say.
    pub(super) alive: Arc<Mutex<Option<Instant>>>,
    /// Tells it to end.
    pub(super) stop: Stop,
    /// Why it was told so.
    pub(super) why: Arc<Mutex<Option<Reason>>>,
}

impl Carrier {
    fn new() -> Self {
        Self { alive: Arc::default(), stop: Stop::new(), why: Arc::default() }
    }

    fn seen(&self, now: Timestamp) -> Carried {
        let silent = locked(&self.alive).map_or(Duration::ZERO, |alive| alive.elapsed());
        let silent = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
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
        locked(&self.held).iter().map(|(id, entry)| (id.clone(), entry.carrier.seen(now))).collect()
    }

    /// Those of some tasks.
    #[must_use]
    pub fn held_of(&self, tasks: &[Uid], now: Timestamp) -> Held {
        let held = locked(&self.held);
        let of = |task: &Uid, number| AttemptId { task: task.clone(), number };
        let of_task = |task: &Uid| held.range(of(task, 0)..=of(task, u32::MAX));
        tasks.iter().flat_map(of_task).map(|(id, entry)| (id.clone(), entry.carrier.seen(now))).collect()
    }

    /// How one attempt is carried now.
    #[must_use]
    pub fn carried(&self, id: &AttemptId, now: Timestamp) -> Option<Carried> {
        locked(&self.held).get(id).map(|entry| entry.carrier.seen(now))
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
        let opened = effects.iter().filter_map(|effect| match effect {
            // Of one that is taken up the last sign of life was another controller's to hear; the silence counts from now.
            Effect::Start(assignment) | Effect::Resume { assignment, .. } => Some(assignment.id.clone()),
            Effect::Stop { .. } | Effect::Reap { .. } | Effect::Probe(_) | Effect::Sweep => None,
        });
        self.register(opened.collect())
    }

    fn register(self: &Arc<Self>, ids: Vec<AttemptId>) -> Reserved {
        let mut held = locked(&self.held);
        ids.iter().for_each(|id| held.entry(id.clone()).or_insert_with(Entry::new).reserved += 1);
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
        ending.for_each(|id| _ = held.entry(id).or_insert_with(Entry::begun));
    }

    /// Performs one effect of a committed plan. Returns at once; endings are reported through the store.
    pub(super) fn perform(self: &Arc<Self>, core: &Core, effect: Effect) {
        match effect {
            Effect::Start(assignment) => self.start(core, assignment, None),
            // It stays registered, so that nothing else is made of it in the time that is left.
            Effect::Resume { stop: None, .. } if self.leaving.load(Ordering::SeqCst) => {}
            Effect::Resume { assignment, stop } => self.start(core, assignment, stop),
            Effect::Stop { id, reason } => {
                if let Some(Entry { carrier, .. }) = locked(&self.held).get(&id) {
                    locked(&carrier.why).get_or_insert(reason);
                    carrier.stop.cancel();
                }
            }
            Effect::Reap { id, process } => {
                let entry = Entry::begun();
                entry.carrier.stop.cancel();
                if locked(&self.held).insert(id.clone(), entry).is_none() {
                    self.spawn(core, reap(core.clone(), id, process));
                }
            }
            // Carried by the register of probes.
            Effect::Probe(_) | Effect::Sweep => {}
        }
    }

    fn start(self: &Arc<Self>, core: &Core, assignment: Box<Assignment>, stop: Option<Reason>) {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let carrier = locked(&self.held).entry(assignment.id.clone()).or_insert_with(Entry::begun).carrier.clone();
        if let Some(reason) = stop {
            locked(&carrier.why).get_or_insert(reason);
            carrier.stop.cancel();
        }
        self.spawn(core, carry(core.clone(), assignment, carrier));
    }

    /// Counts some work for an attempt as under way until it ends.
    pub(super) fn spawn(self: &Arc<Self>, core: &Core, work: impl Future<Output = ()> + Send + 'static) {
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
        for Entry { carrier, .. } in locked(&self.held).values() {
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
    use super::*;
    use crate::runtime::core::alone;

    #[tokio::test]
    async fn an_attempt_that_one_plan_has_begun_stays_registered_whatever_becomes_of_another() {
        let state = tempfile::tempdir().unwrap();
        let (attempts, now) = (alone(state.path()).attempts, Timestamp(0));
        let id = |number| AttemptId { task: Uid("t".into()), number };
        let is_held = |number| attempts.carried(&id(number), now).is_some();
        // The stale plan comes second, or first.
        attempts.register(vec![id(1)]).begin();
        drop(attempts.register(vec![id(1)]));
        let stale = attempts.register(vec![id(2)]);
        attempts.register(vec![id(2)]).begin();
        drop(stale);
        assert!(is_held(1) && is_held(2));
        // Neither has become durable: it stays until the last of them is given up.
        let (one, other) = (attempts.register(vec![id(3)]), attempts.register(vec![id(3)]));
        drop(one);
        assert!(is_held(3));
        drop(other);
        assert!(!is_held(3));
        // One that has ended meanwhile does not come back.
        let begun = attempts.register(vec![id(4)]);
        attempts.let_go(&id(4));
        begun.begin();
        assert!(!is_held(4));
        assert_eq!(attempts.count(), 2);
    }

    #[tokio::test]
    async fn a_stale_plan_does_not_undo_a_stop() {
        let state = tempfile::tempdir().unwrap();
        let (attempts, id) = (alone(state.path()).attempts, AttemptId { task: Uid("t".into()), number: 1 });
        attempts.register(vec![id.clone()]).begin();
        let told = locked(&attempts.held)[&id].carrier.clone();
        drop(attempts.register(vec![id.clone()]));
        told.stop.cancel();
        assert!(attempts.carried(&id, Timestamp(0)).is_some_and(|carried| carried.stopping));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_by_a_clock_that_nobody_sets_from_the_turn_of_an_attempt_on() {
        let carrier = Carrier::new();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(carrier.seen(Timestamp(7)).alive_at, Timestamp(7), "one that waits for its turn has nothing to say");
        *locked(&carrier.alive) = Some(Instant::now());
        tokio::time::advance(Duration::from_secs(5)).await;
        // Whatever the clock shows: it may have been set ahead by a day, or back.
        for now in [Timestamp(86_400_000), Timestamp(10_000)] {
            assert_eq!(carrier.seen(now).alive_at, now.minus(Span::seconds(5)));
        }
    }
}
