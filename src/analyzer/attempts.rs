//! Analyses that run under an attempt token, for whoever asks and whoever stays: a client that leaves stops nothing, and a client that
//! asks again finds the running analysis or its kept answer. The same token never runs twice at the same time, nor again while its
//! answer is kept.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::analysis::{self, STOPPING};
use super::frames::{self, Code};
use super::kept::Kept;
use super::request::{Analyze, Fingerprint};
use super::serve::Shared;

/// The most attempts that run at once, over all connections. Most of them wait for a permit; each costs a few kilobytes until then.
pub(super) const RUNNING_MAX: usize = 1024;

/// Progress frames that wait for each follower; a slower one loses the oldest.
const PROGRESS_MAX: usize = 64;

/// Time between two looks for answers that are too old, so that the memory of an idle analyzer is given back.
const SWEEP: Duration = Duration::from_secs(60);

/// One analysis under a token.
#[derive(Debug)]
pub(super) struct Attempt {
    token: String,
    request: Analyze,
    fingerprint: Fingerprint,
    progress: broadcast::Sender<Value>,
    ended: watch::Sender<Option<Ended>>,
    cancel: CancellationToken,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// With the text of its last frame, a result or an error, without a correlation id.
    Answered(Arc<str>),
    /// It was stopped on request, and its programs are gone.
    Cancelled,
    /// The analyzer is shutting down.
    ShutDown,
}

/// What a client that asks is given.
#[derive(Debug)]
pub(super) enum Attached {
    /// A running attempt; `known` when it ran before this client asked.
    Running { known: bool, follower: Follower },
    /// The answer of an attempt that has ended.
    Kept(Arc<str>),
}

/// One client's view of a running attempt.
#[derive(Debug)]
pub(super) struct Follower {
    /// What is followed.
    pub attempt: Arc<Attempt>,
    /// Progress frames, without correlation ids.
    pub progress: broadcast::Receiver<Value>,
    /// How it ends.
    pub ending: Ending,
}

/// Waits for the end of one attempt.
#[derive(Debug)]
pub(super) struct Ending(watch::Receiver<Option<Ended>>);

impl Ending {
    /// How the attempt ended, once it has.
    pub(super) async fn wait(&mut self) -> Ended {
        let ended = self.0.wait_for(Option::is_some).await.map(|ended| ended.clone());
        // A sender that is gone without a word was dropped with the whole service.
        ended.ok().flatten().unwrap_or(Ended::ShutDown)
    }
}

/// Why a client gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token belongs to another request.
    Conflict,
    /// Too much is running.
    Busy,
    /// The analyzer is shutting down.
    ShutDown,
}

/// All attempts of the service, by token.
#[derive(Debug)]
pub(super) struct Attempts {
    register: Mutex<Register>,
    jobs: mpsc::Sender<Arc<Attempt>>,
    shutdown: CancellationToken,
}

#[derive(Debug, Default)]
struct Register {
    running: HashMap<String, Running>,
    kept: Kept,
}

#[derive(Debug)]
struct Running {
    attempt: Arc<Attempt>,
    /// Whether somebody asked for its end. Read and written under the lock, so that a stop finds it either running or answered.
    stopped: bool,
}

impl Attempts {
    /// An empty register, and the attempts that [`carry_all`] has to run.
    pub(super) fn new(shutdown: CancellationToken) -> (Self, mpsc::Receiver<Arc<Attempt>>) {
        let (jobs, waiting) = mpsc::channel(RUNNING_MAX);
        (Self { register: Mutex::default(), jobs, shutdown }, waiting)
    }

    /// Finds the attempt of a token, or starts it.
    ///
    /// # Errors
    /// [`Refusal`] when the token belongs to another request, or nothing more can be started.
    pub(super) fn attach(&self, token: &str, request: Analyze) -> Result<Attached, Refusal> {
        let fingerprint = request.fingerprint();
        let mut register = self.register();
        if let Some(Running { attempt, .. }) = register.running.get(token) {
            let follower = || Attached::Running { known: true, follower: attempt.follower() };
            return (attempt.fingerprint == fingerprint).then(follower).ok_or(Refusal::Conflict);
        }
        if let Some((answered, text)) = register.kept.get(token, Instant::now()) {
            return (answered == fingerprint).then_some(Attached::Kept(text)).ok_or(Refusal::Conflict);
        }
        if register.running.len() >= RUNNING_MAX {
            return Err(Refusal::Busy);
        }
        let attempt = Arc::new(Attempt {
            token: token.to_owned(),
            request,
            fingerprint,
            progress: broadcast::Sender::new(PROGRESS_MAX),
            ended: watch::Sender::new(None),
            cancel: self.shutdown.child_token(),
        });
        // Before it can start: this follower misses nothing.
        let follower = attempt.follower();
        // There is room for as many as may run, so only a shutdown refuses one.
        self.jobs.try_send(Arc::clone(&attempt)).map_err(|_| Refusal::ShutDown)?;
        register.running.insert(token.to_owned(), Running { attempt, stopped: false });
        Ok(Attached::Running { known: false, follower })
    }

    /// Stops the running attempt of a token; gives what to wait for. Nothing when it does not run.
    pub(super) fn stop(&self, token: &str) -> Option<Ending> {
        let mut register = self.register();
        let running = register.running.get_mut(token)?;
        running.stopped = true;
        running.attempt.cancel.cancel();
        Some(running.attempt.ending())
    }

    /// Stops this very attempt, if it still runs, and no later one with the same token. Its followers hear of it.
    pub(super) fn stop_this(&self, attempt: &Arc<Attempt>) {
        let mut register = self.register();
        if let Some(running) = register.running.get_mut(&attempt.token)
            && Arc::ptr_eq(&running.attempt, attempt)
        {
            running.stopped = true;
            attempt.cancel.cancel();
        }
    }

    /// Takes an attempt out of the running ones, keeps its answer, and tells its followers. Without a text it was stopped.
    fn end(&self, attempt: &Attempt, text: Option<String>) {
        let mut register = self.register();
        let stopped = register.running.remove(&attempt.token).is_some_and(|running| running.stopped);
        let ended = match text {
            _ if stopped => Ended::Cancelled,
            None => Ended::ShutDown,
            Some(text) => {
                let text: Arc<str> = text.into();
                register.kept.keep(attempt.token.clone(), attempt.fingerprint, Arc::clone(&text), Instant::now());
                Ended::Answered(text)
            }
        };
        drop(register);
        attempt.ended.send_replace(Some(ended));
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        // Nothing in here can panic half way through a change.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The token it runs under.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    fn follower(self: &Arc<Self>) -> Follower {
        Follower { attempt: Arc::clone(self), progress: self.progress.subscribe(), ending: self.ending() }
    }

    fn ending(&self) -> Ending {
        Ending(self.ended.subscribe())
    }
}

/// Runs attempts side by side until the shutdown, then waits until they are stopped. Dropped, it drops them, and their programs are
/// killed.
pub(super) async fn carry_all(
    mut waiting: mpsc::Receiver<Arc<Attempt>>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let mut carried = JoinSet::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(attempt) = waiting.recv() => {
                let shared = Arc::clone(&shared);
                carried.spawn(async move { carry(&shared, &attempt).await });
            }
            Some(_) = carried.join_next(), if !carried.is_empty() => {}
            _ = sweep.tick() => shared.attempts.register().kept.forget_expired(Instant::now()),
            () = shutdown.cancelled() => break,
        }
    }
    waiting.close();
    while let Ok(attempt) = waiting.try_recv() {
        shared.attempts.end(&attempt, None);
    }
    while carried.join_next().await.is_some() {}
}

/// Runs one attempt to its end.
async fn carry(shared: &Shared, attempt: &Attempt) {
    let tell = |frame| {
        // An error means that nobody listens, which harms nothing.
        let _ = attempt.progress.send(frame);
    };
    let analysed = analysis::analyse(shared, &attempt.request, &tell, &attempt.cancel);
    // A panic must not leave a token that runs for ever.
    let mut running = pin!(AssertUnwindSafe(analysed).catch_unwind());
    let text = tokio::select! {
        finished = &mut running => Some(finished.unwrap_or_else(|_| {
            frames::error_with(Code::Failed, "Internal error: the analysis broke off").to_string()
        })),
        () = attempt.cancel.cancelled() => {
            let _ = timeout(STOPPING, running).await;
            None
        }
    };
    // Stopped by a shutdown, an analysis has nothing to say, even if it came to an end by itself.
    let text = text.filter(|_| !attempt.cancel.is_cancelled());
    shared.attempts.end(attempt, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::kept::KEPT_FOR;
    use serde_json::Map;

    fn request(slug: &str) -> Analyze {
        Analyze { id: None, slug: slug.to_owned(), number: 1, tools: Vec::new(), config: Map::new() }
    }

    fn attempts() -> (Attempts, mpsc::Receiver<Arc<Attempt>>) {
        Attempts::new(CancellationToken::new())
    }

    /// Asks, and gives what to follow.
    fn follow(attempts: &Attempts, token: &str) -> (bool, Follower) {
        match attempts.attach(token, request("m")) {
            Ok(Attached::Running { known, follower }) => (known, follower),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_until_it_expires_and_then_it_runs_anew() {
        let (attempts, mut jobs) = attempts();
        let (known, mut follower) = follow(&attempts, "t");
        assert!(!known);
        attempts.end(&jobs.try_recv().unwrap(), Some("{}".into()));
        assert_eq!(follower.ending.wait().await, Ended::Answered("{}".into()));
        tokio::time::advance(KEPT_FOR - Duration::from_millis(1)).await;
        for _ in 0..2 {
            assert!(matches!(attempts.attach("t", request("m")), Ok(Attached::Kept(text)) if &*text == "{}"));
        }
        assert_eq!(attempts.attach("t", request("other")).unwrap_err(), Refusal::Conflict);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!follow(&attempts, "t").0, "it runs anew");
        assert_eq!(jobs.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_share_one_run_and_hear_of_its_end() {
        let (attempts, mut jobs) = attempts();
        let (_, mut one) = follow(&attempts, "t");
        let (known, mut two) = follow(&attempts, "t");
        assert!(known && jobs.len() == 1);
        assert_eq!(attempts.attach("t", request("other")).unwrap_err(), Refusal::Conflict);
        let attempt = jobs.try_recv().unwrap();
        attempt.progress.send(Value::Null).unwrap();
        attempts.end(&attempt, Some("{}".into()));
        for follower in [&mut one, &mut two] {
            assert_eq!(follower.progress.try_recv(), Ok(Value::Null));
            assert_eq!(follower.ending.wait().await, Ended::Answered("{}".into()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_wins_over_an_answer_that_comes_after_it_and_frees_the_token() {
        let (attempts, mut jobs) = attempts();
        let (_, mut follower) = follow(&attempts, "t");
        let first = jobs.try_recv().unwrap();
        let mut ending = attempts.stop("t").unwrap();
        assert!(first.cancel.is_cancelled());
        assert!(follow(&attempts, "t").0, "until it is gone, the token is taken");
        attempts.end(&first, Some("{}".into()));
        assert_eq!((follower.ending.wait().await, ending.wait().await), (Ended::Cancelled, Ended::Cancelled));
        assert!(attempts.stop("t").is_none());
        // Anew; and who still holds the old one does not stop the new one.
        assert!(!follow(&attempts, "t").0);
        attempts.stop_this(&first);
        let second = jobs.try_recv().unwrap();
        assert!(!second.cancel.is_cancelled());
        attempts.stop_this(&second);
        assert!(second.cancel.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_run_at_once_than_allowed_and_none_after_a_shutdown() {
        let (attempts, mut jobs) = attempts();
        for n in 0..RUNNING_MAX {
            follow(&attempts, &n.to_string());
        }
        assert_eq!(attempts.attach("more", request("m")).unwrap_err(), Refusal::Busy);
        assert!(follow(&attempts, "7").0, "what runs already is no more");
        attempts.end(&jobs.try_recv().unwrap(), Some("{}".into()));
        follow(&attempts, "more");
        attempts.end(&jobs.try_recv().unwrap(), None);
        jobs.close();
        assert_eq!(attempts.attach("late", request("m")).unwrap_err(), Refusal::ShutDown);
    }
}
