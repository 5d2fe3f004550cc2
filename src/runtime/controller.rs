//! The controller: opens the state, starts the loops, stops them. Starting is recovery: what a controller that is gone left open is found
//! by the same observations as everything else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, system_time};
use super::core::Core;
use super::first_look::{self, FirstLook};
use super::git_source::{self, GitSource};
use super::maintenance::sweep;
use super::mirror_loop::{self, MirrorHandle, MirrorInbox};
use super::open_files::allow_many;
use super::pulse::Beat;
use super::reconcile::{self, Verdict, run_loop};
use super::wakes::Loop;
use crate::analyzer;
use crate::config::Settings;
use crate::disk::TrustedPrograms;
use crate::disk::secret::Token;
use crate::executor::{Embedded, Executors, Limits, Surroundings, results};
use crate::plan::Key;
use crate::resource::time::{Span, Timestamp};
use crate::store::{StateLock, Store, StoreError};

/// After the grace period, stopped attempts get so long to write their endings.
const LAST_ENDINGS: Duration = Duration::from_secs(10);

/// Why a controller could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The embedded analyzer could not start.
    #[error("the embedded analyzer: {0}")]
    Embedded(String),
    /// Going on could only have made things worse.
    #[error("{0}")]
    Fatal(String),
}

/// A controller that owns its state directory.
pub struct Controller {
    core: Core,
    handle: MirrorHandle,
    inbox: Option<MirrorInbox>,
    loops: JoinSet<()>,
    git: Option<Arc<GitSource>>,
    embedded: Option<Embedded>,
    embedded_run: JoinSet<()>,
    embedded_stop: CancellationToken,
    started_at: Timestamp,
}

impl Controller {
    /// Takes the state directory, opens the store, and starts the embedded analyzer if the settings say so. No loop runs yet.
    ///
    /// # Errors
    /// See [`ControllerError`].
    ///
    /// `environment` is what programs are started with, as far as they are given any of it.
    pub async fn open(
        settings: Settings,
        workspace: PathBuf,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, ControllerError> {
        allow_many();
        let state = workspace.join(&settings.state);
        let lock = StateLock::acquire(&state)?;
        let store = Store::open(lock)?;
        results::clear_staging(&state).map_err(|source| StoreError::Io { path: state.clone(), source })?;
        let mut embedded_run = JoinSet::new();
        let embedded_stop = CancellationToken::new();
        let embedded = if settings.embedded_analyzer {
            Some(start_embedded(&settings, &workspace, &environment, &mut embedded_run, embedded_stop.clone()).await?)
        } else {
            None
        };
        let surroundings = Surroundings {
            workspace: workspace.clone(),
            state: state.clone(),
            secrets: workspace.join(settings.secrets()),
            programs: TrustedPrograms::of(&workspace, &settings.command_directory),
            embedded: embedded.clone(),
            attempt_token_prefix: store.id().to_owned(),
            environment: environment.clone(),
            limits: Limits::default(),
        };
        let core = Core::new(store, Clock::System, settings, workspace, Executors::new(surroundings));
        let git = GitSource::new(&core, &state, &environment).map(Arc::new);
        Ok(Self { git, embedded, embedded_run, embedded_stop, ..Self::of(core) })
    }

    /// A controller of what its loops share, without an analyzer of its own, and with manifests in a directory. No loop runs yet.
    #[must_use]
    pub fn of(core: Core) -> Self {
        let (handle, inbox) = mirror_loop::handle();
        Self {
            started_at: core.now(),
            core,
            handle,
            inbox: Some(inbox),
            loops: JoinSet::new(),
            git: None,
            embedded: None,
            embedded_run: JoinSet::new(),
            embedded_stop: CancellationToken::new(),
        }
    }

    /// What the loops share.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// Asks the mirror for scans; `None` until the loops have been started.
    #[must_use]
    pub fn mirror(&self) -> Option<MirrorHandle> {
        self.inbox.is_none().then(|| self.handle.clone())
    }

    /// The git repository that the manifests come from, if they do.
    #[must_use]
    pub fn git(&self) -> Option<Arc<GitSource>> {
        self.git.clone()
    }

    /// Address of the embedded analyzer.
    #[must_use]
    pub fn embedded(&self) -> Option<SocketAddr> {
        self.embedded.as_ref().map(|embedded| embedded.address)
    }

    /// When this controller was opened.
    #[must_use]
    pub const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Looks at the manifests and the apps once, so that nothing is started that is no longer wanted, and starts the loops. Says whether that
    /// look is over: on a slow disk they begin with what is known from before, and what a manifest asks for may not be known then.
    pub async fn start(&mut self) -> FirstLook {
        let Some(inbox) = self.inbox.take() else { return FirstLook::IsOver };
        let core = &self.core;
        let look = first_look::look(core, self.git.as_ref(), &self.handle, &mut self.loops).await;
        let loops = &mut self.loops;
        keep_up(core, loops, mirror_loop::run(core.clone(), inbox));
        if let Some(git) = &self.git {
            keep_up(core, loops, git_source::run(core.clone(), Arc::clone(git), self.handle.clone()));
        }
        for of in [Loop::Tasks, Loop::Apps, Loop::Trees, Loop::Pipelines] {
            keep_up(core, loops, run_loop(core.clone(), of, core.stopping.clone()));
        }
        keep_up(core, loops, resync(core.clone()));
        keep_up(core, loops, rescan_apps(core.clone()));
        keep_up(core, loops, rescan_trees(core.clone()));
        keep_up(core, loops, finish_removals(core.clone()));
        if core.settings.maintenance_auto_start {
            keep_up(core, loops, run_loop(core.clone(), Loop::Maintenance, core.stopping.clone()));
            keep_up(core, loops, maintain(core.clone()));
        }
        look
    }

    /// Waits until the process must end because of an error.
    ///
    /// # Errors
    /// Always: the reason.
    pub async fn failed(&self) -> ControllerError {
        self.core.fatal.raised.cancelled().await;
        ControllerError::Fatal(self.core.fatal.reason().unwrap_or("unknown").to_owned())
    }

    /// Stops opening attempts, waits for those that run, at most for `grace`, and lets go of the rest: what an analyzer knows by its token is left
    /// running for the next start, anything else is stopped and recorded as interrupted.
    pub async fn shut_down(mut self, grace: Duration) {
        self.core.stopping.cancel();
        self.core.attempts.take_up_no_more();
        let carried = self.core.attempts.count();
        if carried > 0 {
            tracing::info!(attempts = carried, grace_s = grace.as_secs(), "waiting for running attempts");
        }
        let core = self.core.clone();
        let all_ended = async {
            // A pass that has begun may still open an attempt, which is then waited for as well.
            while self.loops.join_next().await.is_some() {}
            core.attempts.all_ended().await;
        };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            tracing::info!(attempts = self.core.attempts.count(), "letting go of what still runs");
            self.core.attempts.leave_all();
            if tokio::time::timeout(LAST_ENDINGS, self.core.attempts.all_ended()).await.is_err() {
                tracing::warn!("some attempts did not end; the next start finds them as interrupted");
            }
        }
        if tokio::time::timeout(LAST_ENDINGS, conclude(&self.core)).await.is_err() {
            tracing::warn!("what follows from the last endings is left to the next start");
        }
        self.core.probes.all_ended().await;
        self.embedded_stop.cancel();
        self.embedded_run.shutdown().await;
        self.loops.shutdown().await;
    }
}

/// Runs a loop. A process in which one has panicked must not live on as if it had all of them; whoever started it starts it again.
fn keep_up(core: &Core, loops: &mut JoinSet<()>, work: impl Future<Output = ()> + Send + 'static) {
    let fatal = Arc::clone(&core.fatal);
    loops.spawn(async move {
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            fatal.raise("a loop of the controller panicked; this is a bug, the log says more");
        }
    });
}

/// Draws the conclusions that the loops no longer could, from the last endings and from requests, so that nobody is told that something
/// runs which was stopped.
async fn conclude(core: &Core) {
    loop {
        // Tasks first: what a run makes of its children follows from how these have ended.
        let pop = |of| core.wakes.pop(of, core.now());
        while let Some(key) = pop(Loop::Tasks).or_else(|| pop(Loop::Pipelines)) {
            match reconcile::conclude(core, &key).await {
                Ok(Verdict::Settled(_)) => core.wakes.done(&key),
                Ok(Verdict::Conflict) => {
                    core.wakes.add(key.clone());
                    core.wakes.done(&key);
                }
                Err(error) => core.check(&format!("concluding {key}"), &error),
            }
        }
        if core.attempts.is_quiet() {
            return;
        }
        // Leftovers of a controller that is gone are being ended, and their ending wakes their task again.
        core.attempts.all_ended().await;
    }
}

async fn start_embedded(
    settings: &Settings,
    workspace: &Path,
    environment: &BTreeMap<String, String>,
    loops: &mut JoinSet<()>,
    stop: CancellationToken,
) -> Result<Embedded, ControllerError> {
    let wrong = |error: String| ControllerError::Embedded(error);
    let address: SocketAddr = settings.embedded_listen.parse().map_err(|_| {
        wrong(format!("embeddedListen = {:?} is not an address such as 127.0.0.1:2001", settings.embedded_listen))
    })?;
    if !address.ip().is_loopback() {
        return Err(wrong(format!("embeddedListen = {address} is not a loopback address")));
    }
    let tools = embedded_tools(settings, workspace).map_err(wrong)?;
    let sources = workspace.join(&settings.embedded_sources);
    // Every user of this machine reaches a loopback address, and this analyzer reads what its user may read.
    let token = Token::random().map_err(|error| wrong(error.to_string()))?;
    let options = analyzer::Options {
        parallel: settings.embedded_parallel as usize,
        environment: environment.clone(),
        door: analyzer::Door { tls: None, proof: analyzer::Proof::Token(token.clone()) },
        ..analyzer::Options::new(sources, tools, system_time)
    };
    let listener =
        tokio::net::TcpListener::bind(address).await.map_err(|error| wrong(format!("{address}: {error}")))?;
    let bound = listener.local_addr().map_err(|error| wrong(error.to_string()))?;
    loops.spawn(async move {
        if let Err(error) = analyzer::serve(listener, options, stop).await {
            tracing::error!(%error, "the embedded analyzer ended");
        }
    });
    Ok(Embedded { address: bound, token })
}

fn embedded_tools(settings: &Settings, workspace: &Path) -> Result<Vec<analyzer::ToolDeclaration>, String> {
    if settings.embedded_tools.is_empty() {
        return analyzer::shipped_tools().map_err(|error| error.to_string());
    }
    let path = workspace.join(&settings.embedded_tools);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    analyzer::load_tools(&path.to_string_lossy(), &text).map_err(|error| error.to_string())
}

/// Adds every key that may have something to do, at once and then at every interval: what a lost wake-up left behind.
async fn resync(core: Core) {
    let mut tick = tokio::time::interval(core.settings.task_poll_interval.std());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => break,
            _ = tick.tick() => {
                let pass = core.pulses.begin(Beat::Resync, core.now());
                if let Err(error) = wake_unsettled(&core).await {
                    core.check("looking for work", &error);
                }
                core.pulses.end(pass, core.now());
                core.wakes.turn(Loop::Tasks);
                core.wakes.turn(Loop::Pipelines);
            }
        }
    }
}

/// Adds every key of the loops of tasks and pipelines that may have something to do.
///
/// # Errors
/// What the store says.
pub(super) async fn wake_unsettled(core: &Core) -> Result<(), StoreError> {
    // Analyzers first: their replicas are then being asked when their queues are looked at.
    core.store.analyzers().await?.into_iter().for_each(|name| core.wakes.add(Key::Analyzer(name)));
    for (key, at) in core.store.unsettled(core.now()).await? {
        match at {
            None => core.wakes.add(key),
            Some(at) => core.wakes.add_at(key, at),
        }
    }
    Ok(())
}

/// Removes the results of what was purged when the last controller was killed before it had done so.
async fn finish_removals(core: Core) {
    if let Err(error) = sweep(&core).await {
        core.check("removing results of what was purged", &error);
    }
}

async fn rescan_apps(core: Core) {
    let mut tick = tokio::time::interval(core.settings.scan_interval.std());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => break,
            _ = tick.tick() => core.wakes.add(Key::Apps),
        }
    }
}

/// Reads the files of every app that a task depends on: at once, and then in every interval, spread over it.
async fn rescan_trees(core: Core) {
    let interval = core.settings.scan_interval;
    let mut tick = tokio::time::interval(interval.std());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut spread = Span(0);
    loop {
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => break,
            _ = tick.tick() => {
                if let Err(error) = wake_trees(&core, spread).await {
                    core.check("looking for apps that tasks depend on", &error);
                }
            }
        }
        spread = interval;
    }
}

/// Adds every app whose files some task needs to know, one after the other over a span of time.
///
/// # Errors
/// What the store says.
pub(super) async fn wake_trees(core: &Core, spread: Span) -> Result<(), StoreError> {
    let apps = core.store.needed_trees().await?;
    let (now, count) = (core.now(), apps.len().max(1) as u64);
    for (at, app) in apps.into_iter().enumerate() {
        core.wakes.add_at(Key::Tree(app), now.plus(Span(spread.0.saturating_mul(at as u64) / count)));
    }
    Ok(())
}

/// Adds the key of maintenance at every interval, and not at once: what the start brings back comes first.
async fn maintain(core: Core) {
    let mut tick = tokio::time::interval(core.settings.maintenance_interval.std());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.reset();
    loop {
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => break,
            _ = tick.tick() => core.wakes.add(Key::Maintenance),
        }
    }
}
