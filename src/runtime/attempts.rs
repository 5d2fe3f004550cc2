//! The attempts that this process carries: performing effects, listening to signs of life, writing endings.
//!
//! Law 3: an open attempt is carried by this process or by nobody. It is registered before its row is committed, and it leaves the
//! register only after its outcome was written; then its owner is woken.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::core::Fatal;
use super::room::Room;
use super::trees::Trees;
use super::wakes::Wakes;
use crate::executor::{Executors, Stop, Surroundings};
use crate::plan::orphan::interrupted;
use crate::plan::task::Carried;
use crate::plan::write::CloseAttempt;
use crate::plan::{Effect, Key};
use crate::resource::attempt::{Assignment, AttemptId, Ending, Sign, Target};
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};
use crate::store::{Held, Store};

/// Signs that may wait to be read; more are dropped by the executor, which costs nothing but a line of progress.
const SIGNS_MAX: usize = 64;

/// Progress is written at most this often for one attempt.
const PROGRESS_INTERVAL: Span = Span(250);

/// Pause before an ending that could not be written is tried again.
const REPORT_PAUSE: Span = Span::seconds(1);

/// Reading the app again after a run keeps its slot taken, so it takes no longer; then the result is nobody else's.
const READ_AGAIN_MAX: Duration = Duration::from_secs(60);

/// The attempts that this process carries.
pub struct Attempts {
    held: Mutex<HashMap<AttemptId, Carrier>>,
    running: TaskTracker,
    store: Store,
    clock: Clock,
    wakes: Arc<Wakes>,
    executors: Executors,
    fatal: Arc<Fatal>,
    room: Arc<Room>,
    progress: Arc<Notify>,
    trees: Arc<Trees>,
    opened: AtomicU64,
    in_flight: AtomicUsize,
    leaving: AtomicBool,
}

#[derive(Clone)]
struct Carrier {
    // The last sign of life, by a clock that nobody sets: one that is set ahead, or a machine that slept, makes nobody silent.
    alive: Arc<Mutex<Instant>>,
    stop: Stop,
    why: Arc<Mutex<Option<Reason>>>,
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a single insert, remove or assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempts {
    pub(super) fn new(
        store: Store,
        clock: Clock,
        wakes: Arc<Wakes>,
        executors: Executors,
        (fatal, progress): (Arc<Fatal>, Arc<Notify>),
        room: Arc<Room>,
        trees: Arc<Trees>,
    ) -> Self {
        Self {
            held: Mutex::default(),
            running: TaskTracker::new(),
            store,
            clock,
            wakes,
            executors,
            fatal,
            room,
            progress,
            trees,
            opened: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
        }
    }

    /// The attempts carried now. Read before the store: an attempt that ends between the two has written its outcome.
    #[must_use]
    pub fn held(&self) -> Held {
        let now = self.clock.now();
        locked(&self.held).iter().map(|(id, carrier)| (id.clone(), carrier.seen(now))).collect()
    }

    /// How one attempt is carried now.
    #[must_use]
    pub fn carried(&self, id: &AttemptId) -> Option<Carried> {
        locked(&self.held).get(id).map(|carrier| carrier.seen(self.clock.now()))
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
    pub(super) fn reserve(&self, effects: &[Effect]) {
        let mut held = locked(&self.held);
        for effect in effects {
            match effect {
                // Of one that is taken up the last sign of life was another controller's to hear; the silence counts from now.
                Effect::Start(assignment) | Effect::Resume { assignment, .. } => {
                    held.insert(assignment.id.clone(), Carrier::new());
                }
                Effect::Stop { .. } | Effect::Reap { .. } | Effect::Probe(_) | Effect::Sweep => {}
            }
        }
    }

    /// Counts what these effects would begin or end as carried, as it would be once they were performed. For a rehearsal, which performs nothing.
    pub(super) fn assume(&self, effects: &[Effect]) {
        self.reserve(effects);
        let ending = effects.iter().filter_map(|effect| match effect {
            Effect::Reap { id, .. } => Some(id.clone()),
            Effect::Start(_) | Effect::Resume { .. } | Effect::Stop { .. } | Effect::Probe(_) | Effect::Sweep => None,
        });
        let mut held = locked(&self.held);
        ending.for_each(|id| _ = held.entry(id).or_insert_with(Carrier::new));
    }

    /// Takes back a reservation, when the plan was not committed.
    pub(super) fn release(&self, effects: &[Effect]) {
        let mut held = locked(&self.held);
        for effect in effects {
            if let Effect::Start(assignment) | Effect::Resume { assignment, .. } = effect {
                held.remove(&assignment.id);
            }
        }
    }

    /// Performs one effect of a committed plan. Returns at once; endings are reported through the store.
    pub(super) fn perform(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Start(assignment) => self.start(assignment, None),
            // It stays registered, so that nothing else is made of it in the time that is left.
            Effect::Resume { stop: None, .. } if self.leaving.load(Ordering::SeqCst) => {}
            Effect::Resume { assignment, stop } => self.start(assignment, stop),
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
                    self.spawn(Arc::clone(self).reap(id, process));
                }
            }
            // Carried by the register of probes.
            Effect::Probe(_) | Effect::Sweep => {}
        }
    }

    fn start(self: &Arc<Self>, assignment: Box<Assignment>, stop: Option<Reason>) {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let carrier = locked(&self.held).entry(assignment.id.clone()).or_insert_with(Carrier::new).clone();
        if let Some(reason) = stop {
            locked(&carrier.why).get_or_insert(reason);
            carrier.stop.cancel();
        }
        self.spawn(Arc::clone(self).carry(assignment, carrier));
    }

    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let attempts = Arc::clone(self);
        self.running.spawn(async move {
            work.await;
            attempts.in_flight.fetch_sub(1, Ordering::SeqCst);
            attempts.progress.notify_waiters();
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

    async fn carry(self: Arc<Self>, assignment: Box<Assignment>, carrier: Carrier) {
        let (sender, signs) = mpsc::channel(SIGNS_MAX);
        if let Some(rate) = assignment.rate.filter(|_| !assignment.resumed) {
            // The plan has kept to the rate already; this only smooths what is left of a burst after a restart.
            tokio::select! {
                biased;
                () = carrier.stop.told() => {}
                () = self.executors.pace(&assignment.analyzer, rate) => {}
            }
        }
        let run = self.executors.run(&assignment, self.clock.now(), sender, carrier.stop.clone());
        let listen = self.listen(&assignment.id, &carrier, signs);
        let (ending, ()) = tokio::join!(AssertUnwindSafe(run).catch_unwind(), listen);
        let ending = ending.unwrap_or_else(|_| {
            let message = "manifestd failed while it carried this attempt; this is a bug, its log says more";
            let verdict = Verdict::without_tools(Outcome::Interrupted, Reason::Interrupted, message);
            Some(Ending {
                may_still_run: matches!(assignment.target, Target::WebSocket { .. }),
                ..Ending::bare(verdict)
            })
        });
        let Some(ending) = ending else {
            tracing::info!(attempt = %assignment.id, "left running at its analyzer; the next start takes it up");
            return;
        };
        let why = *locked(&carrier.why);
        let lane = assignment.analyzer.clone();
        let is_whole = ending.verdict.outcome == Outcome::Completed;
        let cache_key = if is_whole { self.cache_key(&assignment).await } else { None };
        let close = CloseAttempt {
            id: assignment.id.clone(),
            slot_until: ending.may_still_run.then_some(assignment.deadline_at),
            verdict: explain(ending.verdict, why),
            result: ending.result,
            at: self.clock.now(),
            cache_key,
        };
        // What it says of its replica may make the analyzer unusable, and has it asked again.
        let doubtful = matches!(close.verdict.outcome, Outcome::Unavailable | Outcome::ProtocolError);
        self.end(close).await;
        if doubtful {
            self.wakes.add(Key::Analyzer(lane.clone()));
        }
        self.wakes.add(Key::Lane(lane));
    }

    /// The key under which others may take the result of an attempt that completed: only if nobody has touched the app meanwhile.
    async fn cache_key(&self, assignment: &Assignment) -> Option<String> {
        let stamp = assignment.stamp.as_ref()?;
        let workspace = &self.executors.surroundings().workspace;
        let peek = self.trees.peek(workspace, &assignment.app.path, self.clock.now());
        let (digest, changed_at) = tokio::time::timeout(READ_AGAIN_MAX, peek).await.ok().flatten()?;
        // A file that was changed and changed back has a newer time.
        let is_same = digest == stamp.app_digest && changed_at < assignment.opened_at;
        is_same.then(|| stamp.cache_key.clone())
    }

    /// Reads signs of life until the executor has no more to give.
    async fn listen(&self, id: &AttemptId, carrier: &Carrier, mut signs: mpsc::Receiver<Sign>) {
        let mut written = Timestamp(0);
        while let Some(sign) = signs.recv().await {
            let now = self.clock.now();
            *locked(&carrier.alive) = Instant::now();
            let worth_writing = match sign {
                Sign::Alive => false,
                Sign::Spawned { .. } => true,
                Sign::Progress { .. } => now.since(written) >= PROGRESS_INTERVAL,
            };
            if worth_writing {
                written = now;
                if let Err(error) = self.store.report_sign(id.clone(), sign).await
                    && !self.room.lacks("a sign of life could not be written", &error, now)
                {
                    tracing::warn!(attempt = %id, %error, "a sign of life could not be written");
                }
            }
        }
    }

    async fn reap(self: Arc<Self>, id: AttemptId, process: Option<(i32, u64)>) {
        let reaped = self.executors.reap(&id, process).await;
        if reaped.ended > 0 {
            tracing::info!(attempt = %id, processes = reaped.ended, "killed what a controller that is gone left running");
        }
        let at = self.clock.now();
        self.end(CloseAttempt { id, verdict: interrupted(), result: None, at, slot_until: None, cache_key: None })
            .await;
    }

    /// Writes an ending, then lets go of the attempt, then wakes its owner.
    async fn end(&self, close: CloseAttempt) {
        let id = close.id.clone();
        loop {
            match self.store.report_ending(close.clone()).await {
                Ok(Some(lanes)) => {
                    tracing::debug!(attempt = %id, outcome = %close.verdict.outcome, "attempt ended");
                    lanes.into_iter().for_each(|lane| self.wakes.add(lane));
                }
                Ok(None) => tracing::warn!(attempt = %id, outcome = %close.verdict.outcome, "late ending rejected"),
                // Kept in memory until there is room: only then does the attempt leave the register.
                Err(error) if self.room.lacks("an ending could not be written", &error, self.clock.now()) => {
                    tokio::time::sleep(REPORT_PAUSE.std()).await;
                    continue;
                }
                Err(error) if error.is_fatal() => {
                    self.fatal.raise(format!("writing the ending of attempt {id}: {error}"))
                }
                Err(error) => {
                    tracing::warn!(attempt = %id, %error, "an ending could not be written; trying again");
                    tokio::time::sleep(REPORT_PAUSE.std()).await;
                    continue;
                }
            }
            break;
        }
        self.room.was_there(self.clock.now());
        locked(&self.held).remove(&id);
        self.wakes.add(Key::Task(id.task));
    }
}

/// Gives the reason for which an attempt was told to stop to a verdict that only says that it was. One that stopped unasked has failed.
fn explain(verdict: Verdict, why: Option<Reason>) -> Verdict {
    match (verdict.outcome, why) {
        (Outcome::Cancelled, Some(Reason::HeartbeatLost)) => Verdict {
            outcome: Outcome::HeartbeatLost,
            reason: Reason::HeartbeatLost,
            message: "no sign of life".into(),
            ..verdict
        },
        (Outcome::Cancelled, Some(Reason::Interrupted)) => Verdict {
            outcome: Outcome::Interrupted,
            reason: Reason::Interrupted,
            message: "the controller was stopped while it ran".into(),
            ..verdict
        },
        (Outcome::Cancelled, Some(reason)) => Verdict { reason, ..verdict },
        // It would be queued again for ever, on no budget.
        (Outcome::Cancelled, None) => Verdict {
            outcome: Outcome::Failed,
            reason: Reason::AnalyzerError,
            message: "it was cancelled, and nobody here had asked for that".into(),
            ..verdict
        },
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cancelled_and_was_not_told_to_stop_has_failed() {
        let cancelled = || Verdict::without_tools(Outcome::Cancelled, Reason::CancelledByUser, "stopped while it ran");
        let ended = |why| {
            let verdict = explain(cancelled(), why);
            (verdict.outcome, verdict.reason)
        };
        assert_eq!(ended(Some(Reason::SpecChanged)), (Outcome::Cancelled, Reason::SpecChanged));
        assert_eq!(ended(Some(Reason::Interrupted)), (Outcome::Interrupted, Reason::Interrupted));
        assert_eq!(ended(None), (Outcome::Failed, Reason::AnalyzerError));
    }

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
