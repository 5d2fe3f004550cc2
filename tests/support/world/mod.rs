//! A whole controller in virtual time: the real store in a directory of its own, the real queues and plans, real commits, and an outside world
//! that follows a script. Nothing waits: [`World::advance`] goes from one due time to the next, and whatever is due at a moment happens in one
//! fixed order. So a month passes in seconds, and two runs of one script are the same (but for uids, and with them the jitter of delays).
//!
//! What a test does: declare objects, say in a script how each attempt goes ([`Act`]), let time pass, look at tasks. What may go wrong on
//! purpose: wake-ups are lost, a loop stalls, the controller is killed and started again, directories vanish. The parts: `road` is one pass
//! over one key, as `src/runtime/reconcile.rs` makes it; `outside` and `probes` are what the script decides; `look` is what tests read.

mod look;
mod outside;
mod probes;
mod road;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use manifestd::config::{self, Settings};
use manifestd::plan::analyzer::Asked;
use manifestd::plan::mirror::{Change, Declared, Difference};
use manifestd::plan::{Key, Probe};
use manifestd::resource::attempt::{Assignment, AttemptId};
use manifestd::resource::kind::Kind;
use manifestd::resource::metadata::Metadata;
use manifestd::resource::object::{Object, Spec};
use manifestd::resource::provenance::Provenance;
use manifestd::resource::time::{Span, Timestamp};
use manifestd::runtime::wakes::{Loop, Wakes};
use manifestd::store::{MirrorCommit, StateLock, Store};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use look::Turn;
pub(crate) use outside::Act;
use outside::{Carrier, Happening};
pub(crate) use probes::Reply;

/// When every world begins: in the evening of the last day of 2025 in UTC, which is 2026 already where the zone is far enough east.
pub(crate) const START: Timestamp = Timestamp(1_767_211_200_000);

/// The loops, in the order in which they are served.
const LOOPS: [Loop; 3] = [Loop::Tasks, Loop::Apps, Loop::Maintenance];

/// So many passes at one moment mean that some plan wants to be looked at again for ever.
const PASSES_MAX: usize = 20_000;

/// Decides how an attempt goes.
type Script = Box<dyn FnMut(&Assignment) -> Act>;

/// Decides what a replica answers.
type Replies = Box<dyn FnMut(&Probe, Span) -> Reply>;

/// Decides whether a wake-up is lost.
type Loss = Box<dyn FnMut(&Key) -> bool>;

/// A controller and all that is around it, in virtual time.
pub(crate) struct World {
    tokio: tokio::runtime::Runtime,
    directory: TempDir,
    settings: Settings,
    now: Timestamp,
    running: Option<Running>,
    agenda: BTreeMap<(Timestamp, u64), Happening>,
    count: u64,
    script: Script,
    replies: Replies,
    loss: Option<Loss>,
    stalled: Vec<Loop>,
    history: Vec<Turn>,
    probes: Vec<(Span, String)>,
}

/// What a controller has in memory, and loses when it is killed.
struct Running {
    store: Store,
    wakes: Wakes,
    held: BTreeMap<AttemptId, Carrier>,
    asked: RefCell<BTreeMap<(String, String), Asked>>,
}

impl World {
    /// A controller with environment variables of these names and values, and else the default settings, started over nothing. Attempts
    /// complete after a second and replicas are well unless a script says otherwise.
    pub(crate) fn new(environment: &[(&str, &str)]) -> Self {
        let pairs = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let layer = config::environment(pairs).expect("known settings");
        let (settings, _) = config::resolve(&[layer]).expect("valid settings");
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(directory.path().join("workspace")).expect("a workspace");
        let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut world = Self {
            tokio,
            directory,
            settings,
            now: START,
            running: None,
            agenda: BTreeMap::new(),
            count: 0,
            script: Box::new(|_| Act::completes(Span::seconds(1))),
            replies: Box::new(|_, _| Reply::healthy()),
            loss: None,
            stalled: Vec::new(),
            history: Vec::new(),
            probes: Vec::new(),
        };
        world.start();
        world
    }

    // Time ------------------------------------------------------------------------------------------------------------------------------

    /// Lets a span of time pass, with everything that happens in it and at its end.
    pub(crate) fn advance(&mut self, span: Span) {
        self.advance_to(self.now.plus(span));
    }

    /// Lets time pass until a span after the start of the world, with everything that happens until then.
    pub(crate) fn advance_to_age(&mut self, age: Span) {
        self.advance_to(START.plus(age));
    }

    fn advance_to(&mut self, end: Timestamp) {
        assert!(end >= self.now, "time does not go back: {} to {end}", self.now);
        loop {
            self.work();
            let Some(due) = self.next_due().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let happening = entry.remove();
                self.happen(happening);
            }
        }
        self.now = end;
    }

    /// How old the world is.
    pub(crate) fn age(&self) -> Span {
        self.now.since(START)
    }

    fn next_due(&self) -> Option<Timestamp> {
        let of_loops = self.running.iter().flat_map(|running| {
            let awake = LOOPS.into_iter().filter(|of| !self.stalled.contains(of));
            awake.filter_map(|of| running.wakes.next_due(of))
        });
        of_loops.chain(self.agenda.keys().next().map(|(at, _)| *at)).min()
    }

    // The controller --------------------------------------------------------------------------------------------------------------------

    /// Starts the controller: first looks at the disk, then whatever is unsettled.
    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let lock = StateLock::acquire(&self.directory.path().join("state")).expect("the state directory");
        let store = Store::open(lock).expect("the store");
        self.running =
            Some(Running { store, wakes: Wakes::default(), held: BTreeMap::new(), asked: RefCell::default() });
        self.pass(&Key::Apps);
        self.later(Span(0), Happening::Resync);
        self.later(self.settings.scan_interval, Happening::ScanApps);
        if self.settings.maintenance_auto_start {
            self.later(self.settings.maintenance_interval, Happening::Maintain);
        }
        self.advance(Span(0));
    }

    /// Kills the controller: everything that it had in memory is gone, and the attempts that it carried go on with nobody.
    pub(crate) fn kill(&mut self) {
        self.running = None;
        self.agenda.clear();
    }

    /// Kills the controller and starts it again at once.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Keeps a loop from working on its keys, or lets it go on.
    pub(crate) fn stall(&mut self, of: Loop, stalls: bool) {
        self.stalled.retain(|stalled| *stalled != of);
        if stalls {
            self.stalled.push(of);
        }
    }

    /// Loses every wake-up, at once or at a time, for which `loses` says so, except those of a resync.
    pub(crate) fn lose(&mut self, loses: impl FnMut(&Key) -> bool + 'static) {
        self.loss = Some(Box::new(loses));
    }

    /// Loses no wake-up any more.
    pub(crate) fn lose_nothing(&mut self) {
        self.loss = None;
    }

    /// Has a key looked at now, as a person can: maintenance, or the apps on disk.
    pub(crate) fn look_at(&mut self, key: Key) {
        self.running().wakes.add(key);
        self.advance(Span(0));
    }

    // What people declare and ask -------------------------------------------------------------------------------------------------------

    /// Declares an object that is not known yet, as the mirror does.
    pub(crate) fn declare(&mut self, kind: Kind, name: &str, spec: Value) {
        self.mirror(Change::Create(declared(kind, name, spec).into()));
    }

    /// Gives a declared object another spec, and brings it back if its manifest was taken away.
    pub(crate) fn respecify(&mut self, kind: Kind, name: &str, spec: Value) {
        let (uid, generation) = self.identity(kind, name);
        let gone = format!("SELECT removed_at IS NOT NULL FROM object WHERE kind = '{kind}' AND name = '{name}'");
        let difference = Difference { spec: true, metadata: false, place: false, restored: self.one(&gone) };
        let declared = declared(kind, name, spec).into();
        self.mirror(Change::Update { uid, declared, difference, generation: generation + 1 });
    }

    /// Takes an object's manifest away.
    pub(crate) fn remove(&mut self, kind: Kind, name: &str) {
        let (uid, _) = self.identity(kind, name);
        self.mirror(Change::Remove { uid, identity: (kind, name.to_owned()), provenance: place() });
    }

    fn mirror(&mut self, change: Change) {
        let (store, now) = (self.running().store.clone(), self.now);
        let batch = MirrorCommit { changes: vec![change], ..MirrorCommit::default() };
        let outcome = self.wait_for(store.commit_mirror(batch, now)).expect("the mirror's commit");
        outcome.woken.into_iter().for_each(|key| self.wake(key));
        self.advance(Span(0));
    }

    /// Asks for another run of a task, or for its next try now.
    pub(crate) fn retry(&mut self, task: &str) {
        let store = self.running().store.clone();
        let requested =
            self.wait_for(store.request_retry(task.to_owned(), false)).expect("the store").expect("the task");
        self.wake(requested.key);
        self.advance(Span(0));
    }

    /// Asks to cancel a task.
    pub(crate) fn cancel(&mut self, task: &str) {
        let store = self.running().store.clone();
        let requested = self.wait_for(store.request_cancel(task.to_owned())).expect("the store").expect("the task");
        self.wake(requested.key);
        self.advance(Span(0));
    }

    // The outside world -----------------------------------------------------------------------------------------------------------------

    /// How attempts go that are started from now on.
    pub(crate) fn script(&mut self, script: impl FnMut(&Assignment) -> Act + 'static) {
        self.script = Box::new(script);
    }

    /// A path in the workspace.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join("workspace").join(relative)
    }

    /// Makes a directory in the workspace.
    pub(crate) fn make_directory(&self, relative: &str) {
        std::fs::create_dir_all(self.path(relative)).expect("a directory");
    }

    /// Takes a directory of the workspace away, with all that is in it.
    pub(crate) fn take_directory(&self, relative: &str) {
        std::fs::remove_dir_all(self.path(relative)).expect("a directory");
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a controller that runs")
    }

    fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.tokio.block_on(future)
    }
}

fn place() -> Provenance {
    Provenance { file: "world.yaml".into(), line: 1, digest: "d".into(), commit: None }
}

fn declared(kind: Kind, name: &str, spec: Value) -> Declared {
    let spec = Spec::from_value(kind, spec).expect("a valid spec");
    let metadata = Metadata { name: name.into(), ..Metadata::default() };
    Declared::new(Object { metadata, spec }, place(), place().file, String::new())
}
