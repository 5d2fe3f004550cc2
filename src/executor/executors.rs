//! The one door to the outside world: `run` drives an attempt on whatever its target is, and always comes back with an ending.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::dialer::{Dialer, Endpoint, Proof};
use super::hub::Hub;
use super::leftover::{self, Reaped};
use super::outside::Outside;
use super::pace::Pace;
use super::press::Press;
use super::room::Room;
use super::running::Running;
use super::stop::Stop;
use super::{command, extended, probe, process, results, websocket};
use crate::disk::TrustedPrograms;
use crate::disk::secret::Token;
use crate::resource::address::EMBEDDED;
use crate::resource::analyzer::{CommandSpec, Credentials, Rate};
use crate::resource::attempt::{Assignment, AttemptId, Ending, Sign, Target};
use crate::resource::health::Health;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// Where executors work: directories, environment, limits.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Apps' paths are relative to it, and none may lead out of it.
    pub workspace: PathBuf,
    /// The state directory; `results/` and `staging/` lie in it.
    pub state: PathBuf,
    /// The directory of the secrets that analyzers name.
    pub secrets: PathBuf,
    /// The programs that commands may run; `None` for any.
    pub programs: Option<TrustedPrograms>,
    /// What `embedded:` means: the daemon's own analyzer.
    pub embedded: Option<Embedded>,
    /// Identity of the state directory. Programs carry `MANIFESTD_ATTEMPT=<prefix>/<task uid>/<number>`, so that leftovers of this
    /// state directory, and of no other, can be found.
    pub attempt_token_prefix: String,
    /// The environment programs may inherit from; only PATH, HOME, LANG, LC_ALL, TZ and TMPDIR are taken out of it.
    pub environment: BTreeMap<String, String>,
    /// Bounds.
    pub limits: Limits,
}

/// The analyzer inside the daemon, as this side needs to know it.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it asks for. Nobody but this process knows it: everybody on this machine reaches its address.
    pub token: Token,
}

impl Surroundings {
    /// `PATH` as the program of a command is looked for in it.
    #[must_use]
    pub fn search_path(&self, spec: &CommandSpec) -> String {
        process::environment(&self.environment, spec, "").remove("PATH").unwrap_or_default()
    }

    /// The token by which the processes of an attempt are known.
    #[must_use]
    pub fn token(&self, id: &AttemptId) -> String {
        format!("{}/{}/{}", self.attempt_token_prefix, id.task, id.number)
    }

    /// What to connect to for a replica's address: itself, or what `embedded:` means here.
    ///
    /// # Errors
    /// `Unavailable` when the analyzer inside the daemon is meant and does not run.
    pub(super) fn endpoint(&self, url: &str, credentials: &Credentials) -> Result<Endpoint, Verdict> {
        match (url.starts_with(EMBEDDED), &self.embedded) {
            (false, _) => {
                let proof = credentials.token.clone().map_or(Proof::Nothing, Proof::Secret);
                Ok(Endpoint { address: url.to_owned(), proof, ca: credentials.ca.clone() })
            }
            (true, Some(Embedded { address, token })) => {
                Ok(Endpoint { address: format!("ws://{address}"), proof: Proof::Token(token.clone()), ca: None })
            }
            (true, None) => {
                let message = "the analyzer inside the daemon does not run";
                Err(Verdict::without_tools(Outcome::Unavailable, Reason::AnalyzerUnavailable, message))
            }
        }
    }
}

/// Bounds of one attempt.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message of a WebSocket analyzer, in bytes. The existing analyzers have the same limit.
    pub message_bytes_max: usize,
    /// The largest standard output of a program, in bytes.
    pub output_bytes_max: usize,
    /// How much of a log is kept, in bytes: half from its head, half from its end.
    pub log_bytes_max: usize,
    /// Time between two signs of life.
    pub ping_interval: Duration,
    /// How long a shared connection may go without a byte before it counts as lost. By it much waits, so it is far more than a busy
    /// analyzer needs to answer a ping, and far less than a deadline.
    pub silence_max: Duration,
    /// The pause before an attempt is asked for again on another connection; it doubles each time.
    pub reconnect_pause: Duration,
    /// How long a cancel may take to be confirmed. The embedded analyzer gives its programs five seconds.
    pub cancel_wait: Duration,
    /// With less room than this in the state directory, in bytes, nothing is begun: its result could not be kept.
    pub room_bytes_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            message_bytes_max: 100 * MIB,
            output_bytes_max: 32 * MIB,
            log_bytes_max: MIB,
            ping_interval: Duration::from_secs(20),
            silence_max: Duration::from_secs(60),
            reconnect_pause: Duration::from_millis(500),
            cancel_wait: Duration::from_secs(8),
            room_bytes_min: 16 * MIB as u64,
        }
    }
}

/// All executors, behind one door. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executors {
    surroundings: Arc<Surroundings>,
    pace: Arc<Pace>,
    dialer: Arc<Dialer>,
    hub: Arc<Hub>,
    press: Arc<Press>,
    room: Arc<Room>,
    // Who plays the outside world in its place, in a simulation.
    outside: Option<Arc<dyn Outside>>,
}

impl Executors {
    /// Executors that work in these surroundings. Nothing is touched until the first run.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        let dialer = Arc::new(Dialer::new(surroundings.secrets.clone()));
        let hub = Arc::new(Hub::new(Arc::clone(&dialer)));
        Self {
            surroundings: Arc::new(surroundings),
            pace: Arc::default(),
            dialer,
            hub,
            press: Arc::default(),
            room: Arc::default(),
            outside: None,
        }
    }

    /// Executors that touch nothing: somebody plays all that they would meet.
    #[must_use]
    pub fn played(surroundings: Surroundings, outside: Arc<dyn Outside>) -> Self {
        Self { outside: Some(outside), ..Self::new(surroundings) }
    }

    /// Where they work.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Waits until the analyzer's rate allows one more start: `limit` at once, then one in every `per / limit`. It can be dropped at any time.
    pub async fn pace(&self, analyzer: &str, rate: Rate) {
        self.pace.wait(analyzer, rate).await;
    }

    /// Drives one attempt to its end.
    ///
    /// `now` is the time at the call; the deadline is [`Assignment::remaining`] later by the runtime's clock. `signs` hears what the attempt says
    /// of itself: `Spawned` always arrives, others are dropped while nobody listens. `stop` ends the attempt as `Cancelled`; the caller may put a
    /// better reason in place of `CancelledByUser`. It comes back within a bounded time after `stop` or the deadline, whatever the
    /// other side does, and never panics: a panic inside is a `Failed` of its own.
    ///
    /// When the ending has a result, the result is safely on disk. `None`: it was told to leave, and goes on at its analyzer without this
    /// process; it has no ending yet.
    pub async fn run(
        &self,
        assignment: &Assignment,
        now: Timestamp,
        signs: mpsc::Sender<Sign>,
        stop: Stop,
    ) -> Option<Ending> {
        if let Some(outside) = &self.outside {
            return outside.run(assignment, now, signs, stop).await;
        }
        let running = Running::new((&self.surroundings, &self.press), assignment, now, signs, stop);
        let staging = running.staging.clone();
        match AssertUnwindSafe(self.dispatch(running)).catch_unwind().await {
            Ok(ending) => ending,
            Err(panic) => {
                results::discard(staging).await;
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                tracing::error!(task = %assignment.task, attempt = assignment.id.number, panic = %text, "an executor panicked");
                let message = format!("an executor panicked, which is a bug in manifestd: {text}");
                let verdict = Verdict::without_tools(Outcome::Failed, Reason::AnalyzerError, message);
                let may_still_run = matches!(assignment.target, Target::WebSocket { .. });
                Some(Ending { may_still_run, ..Ending::bare(verdict) })
            }
        }
    }

    async fn dispatch(&self, running: Running<'_>) -> Option<Ending> {
        // Nothing is begun that must already end; what was begun before is ended where it runs.
        if !running.assignment.resumed
            && let Some(verdict) = running.fence.reached().now_or_never()
        {
            return Some(running.end(verdict, None, Vec::new()).await);
        }
        let (state, bytes_min) = (&running.surroundings.state, running.surroundings.limits.room_bytes_min);
        if !running.assignment.resumed
            && let Some(problem) = self.room.lacks(state, bytes_min).await
        {
            return Some(running.refuse(Outcome::Failed, Reason::DiskFull, problem).await);
        }
        match &running.assignment.target {
            Target::WebSocket { url, request, connect_timeout, credentials, extended: true } => {
                extended::run(running, &self.hub, (url, credentials), request, connect_timeout.std()).await
            }
            Target::WebSocket { url, request, connect_timeout, credentials, extended: false } => {
                Some(websocket::run(running, &self.dialer, (url, credentials), request, connect_timeout.std()).await)
            }
            Target::Command(spec) => Some(command::run(running, spec).await),
        }
    }
}

impl Executors {
    /// Asks the replica at `url` how it is, within `connect_timeout` for the connection and `timeout` for the answer.
    ///
    /// A service that answers with an `error` frame does not know the question, and lives all the same: it is healthy, and nothing more is
    /// known of it.
    ///
    /// # Errors
    /// One line that says why it is not healthy: nobody there, silence, an answer that is none, or one that says so.
    pub async fn probe(
        &self,
        url: &str,
        credentials: &Credentials,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Health, String> {
        if let Some(outside) = &self.outside {
            return outside.probe(url, connect_timeout.saturating_add(timeout)).await;
        }
        let endpoint = self.surroundings.endpoint(url, credentials).map_err(|verdict| verdict.message)?;
        probe::probe(&self.dialer, url, &endpoint, (connect_timeout, timeout)).await
    }

    /// Ends what a controller that is gone left of an attempt of a command, and waits until it is gone, for at most a few seconds. `process` is
    /// what `Sign::Spawned` told.
    pub async fn reap(&self, id: &AttemptId, process: Option<(i32, u64)>) -> Reaped {
        match &self.outside {
            Some(outside) => outside.reap(id).await,
            None => leftover::reap(&self.surroundings.token(id), process).await,
        }
    }
}
