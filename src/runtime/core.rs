//! What every loop shares: the store, the clock, the settings, the queues, the attempts that this process carries, and the questions it
//! has asked of replicas.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::attempts::Attempts;
use super::clock::Clock;
use super::disk::Disk;
use super::endings::Endings;
use super::probes::Probes;
use super::pulse::Pulses;
use super::room::Room;
use super::trees::Trees;
use super::twist::{Order, Twist};
use super::wakes::Wakes;
use crate::config::Settings;
use crate::executor::Executors;
use crate::resource::time::Timestamp;
use crate::store::{Store, StoreError};

/// What every loop shares. A cheap handle.
#[derive(Clone)]
pub struct Core {
    /// The store.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Absolute path of the workspace.
    pub workspace: PathBuf,
    /// The queues.
    pub wakes: Arc<Wakes>,
    /// The attempts that this process carries.
    pub attempts: Arc<Attempts>,
    /// The questions that this process has asked of replicas.
    pub probes: Arc<Probes>,
    /// Where work is done that waits for the disk.
    pub(super) disk: Disk,
    /// The endings of attempts that wait to be written.
    pub(super) endings: Arc<Endings>,
    /// What the files of apps looked like.
    pub(super) trees: Arc<Trees>,
    /// Cancelled when nothing new is to be started.
    pub stopping: CancellationToken,
    /// Cancelled, with the reason kept, when going on could only make things worse.
    pub fatal: Arc<Fatal>,
    /// When each loop made its last pass.
    pub pulses: Arc<Pulses>,
    /// Whether there is room on the disk for the database.
    pub room: Arc<Room>,
    /// Whether everything is only planned and written into a copy, and no effect is performed.
    pub(super) rehearses: bool,
    /// Up to which directory results/ was searched for what belongs to nobody; `None` to begin again.
    pub(super) stray_cursor: Arc<Mutex<Option<String>>>,
    /// Who makes mistakes on purpose, in a simulation.
    pub twist: Option<Arc<dyn Twist>>,
    /// Told after every finished pass of any loop; for those who wait until things are quiet.
    pub progress: Arc<Notify>,
}

/// An error that ends the process.
#[derive(Debug, Default)]
pub struct Fatal {
    /// Cancelled when there is one.
    pub raised: CancellationToken,
    reason: std::sync::OnceLock<String>,
}

impl Fatal {
    /// Ends the process with this reason; the first one counts.
    pub fn raise(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(%reason, "stopping");
        let _ = self.reason.set(reason);
        self.raised.cancel();
    }

    /// The reason, when there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}

impl Core {
    /// Puts together what the loops share.
    #[must_use]
    pub fn new(store: Store, clock: Clock, settings: Settings, workspace: PathBuf, executors: Executors) -> Self {
        let wakes = Arc::new(Wakes::default());
        let progress = Arc::new(Notify::new());
        let fatal = Arc::new(Fatal::default());
        let disk = Disk::beside(&store);
        let trees = Arc::new(Trees::new(disk.clone()));
        let stopping = CancellationToken::new();
        let told = (Arc::clone(&fatal), Arc::clone(&progress));
        let probes =
            Probes::new(store.clone(), clock.clone(), Arc::clone(&wakes), executors.clone(), told, stopping.clone());
        let attempts = Attempts::new(executors);
        Self {
            store,
            clock,
            settings: Arc::new(settings),
            workspace,
            wakes,
            attempts: Arc::new(attempts),
            probes: Arc::new(probes),
            disk,
            endings: Arc::default(),
            trees,
            stopping,
            fatal,
            pulses: Arc::default(),
            room: Arc::default(),
            rehearses: false,
            stray_cursor: Arc::default(),
            twist: None,
            progress,
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the controller can do its work: the store answers, and the task loop turns. The other loops may wait for a slow disk.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn alive(&self) -> Result<(), String> {
        self.store.answers().await.map_err(|error| error.to_string())?;
        let loops = self.pulses.report(&self.settings);
        match loops.iter().find(|pulse| pulse.stalled && ["tasks", "resync"].contains(&pulse.name.as_str())) {
            Some(pulse) => Err(format!("the loop {} stands still", pulse.name)),
            None => Ok(()),
        }
    }

    /// Whether two steps change places, as they do only in a simulation that looks whether that is noticed.
    pub(super) fn swaps(&self, order: Order) -> bool {
        self.twist.as_ref().is_some_and(|twist| twist.swaps(order))
    }

    /// Looks at an error of the store: a fatal one ends the process, a full disk does not.
    pub fn check(&self, what: &str, error: &StoreError) {
        if self.room.lacks(what, error, self.now()) {
            // Whatever could not be written is tried again.
        } else if error.is_fatal() {
            self.fatal.raise(format!("{what}: {error}"));
        } else {
            tracing::warn!(%error, "{what} failed; it will be tried again");
        }
    }
}

/// What loops share, over a new state, at a moment that stays until somebody moves it.
#[cfg(test)]
pub(super) fn alone(state: &std::path::Path) -> Core {
    use crate::executor::{Limits, Surroundings};
    let store = Store::open(crate::store::StateLock::acquire(state).unwrap()).unwrap();
    let surroundings = Surroundings {
        workspace: state.to_owned(),
        state: state.to_owned(),
        secrets: state.to_owned(),
        programs: None,
        embedded: None,
        attempt_token_prefix: "alone".into(),
        environment: std::collections::BTreeMap::new(),
        limits: Limits::default(),
    };
    let settings = crate::config::resolve(&[]).unwrap().0;
    let clock = Clock::Manual(Arc::new(std::sync::atomic::AtomicI64::new(1_000)));
    Core::new(store, clock, settings, state.to_owned(), Executors::new(surroundings))
}
