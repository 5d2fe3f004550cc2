//! One controller: what stands between it and everything that outlives it. Here others are let go first, wake-ups are stolen, the disk is full,
//! and the process ends, before a step, after it, or between two.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manifestd::resource::attempt::AttemptId;
use manifestd::resource::time::Timestamp;
use manifestd::runtime::core::Core;
use manifestd::runtime::wakes::Loop;
use manifestd::store::StoreError;
use manifestd::store::inline::{Gate, Passing, Step};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::audit::{self, Change};
use super::heard;
use super::laws::{Breach, Judged, Law, Moment, judge};
use super::troubles::Place;
use super::world::{State, World};

/// So many steps at one moment of virtual time mean that something turns in a circle.
const AT_ONCE_MAX: u64 = 30_000;

/// The loops whose wake-ups can be stolen.
const LOOPS: [Loop; 5] = [Loop::Tasks, Loop::Apps, Loop::Trees, Loop::Pipelines, Loop::Maintenance];

/// One controller from its start to its end.
pub(crate) struct Life {
    pub(crate) world: Arc<World>,
    pub(crate) number: u64,
    /// When it began, as an age, and by the runtime's clock.
    pub(crate) born: u64,
    pub(crate) origin: Instant,
    over: AtomicBool,
    /// Told when it is over.
    pub(crate) ended: Notify,
    /// Told when something changed in the outside world.
    pub(crate) changed: Notify,
    /// Its controller, which holds it as well, and so is let go at the end.
    core: Mutex<Option<Core>>,
}

/// On which side of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Before,
    After,
}

impl Life {
    /// The next controller of a world; within its runtime.
    pub(crate) fn begin(world: &Arc<World>) -> Arc<Self> {
        let mut state = world.state();
        state.lives += 1;
        let (number, born) = (state.lives, state.age);
        drop(state);
        Arc::new(Self {
            world: Arc::clone(world),
            number,
            born,
            origin: Instant::now(),
            over: AtomicBool::new(false),
            ended: Notify::new(),
            changed: Notify::new(),
            core: Mutex::new(None),
        })
    }

    /// Its controller, once there is one.
    pub(crate) fn core(&self) -> MutexGuard<'_, Option<Core>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How old the world is now.
    pub(crate) fn age(&self) -> u64 {
        self.born + u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the world will be so old, by the runtime's clock.
    pub(crate) fn instant(&self, age: u64) -> Instant {
        self.origin + Duration::from_millis(age.saturating_sub(self.born))
    }

    /// The world's state, at this moment.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let age = self.age();
        let mut state = self.world.state();
        state.age = state.age.max(age);
        state
    }

    /// Ends the process, here and now.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.ended.notify_one();
    }

    /// Whether the process has ended: nothing of it goes on.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Comes back only while the process lives, after others had their turns.
    pub(crate) async fn breathe(&self) {
        let (turns, wait) = {
            let mut state = self.state();
            let turns = if state.dice.chance(50) { 0 } else { state.dice.roll(4) };
            let slow = state.age < state.weather.slow_until && state.dice.chance(25);
            let wait = if slow { state.dice.roll(3_000) } else { 0 };
            self.steal(&mut state);
            (turns, wait)
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if wait > 0 {
            until(Instant::now() + Duration::from_millis(wait)).await;
        }
        if self.is_over() {
            pending::<()>().await;
        }
    }

    /// Takes wake-ups away, also those for later.
    fn steal(&self, state: &mut State) {
        let held = self.core();
        let Some(core) = held.as_ref().filter(|_| state.age < state.weather.thief_until) else { return };
        for of in LOOPS {
            if state.dice.chance(state.weather.thief_percent) {
                let until = if state.dice.chance(30) { Timestamp(i64::MAX) } else { core.now() };
                if let Some(key) = core.wakes.pop(of, until) {
                    core.wakes.done(&key);
                    state.count("stolen wake-ups");
                }
            }
        }
    }

    /// Judges something at this moment; a breach ends the process.
    pub(crate) fn judge(&self, state: &mut State, law: impl FnOnce(&Moment<'_>) -> Judged) {
        let carried =
            |id: &AttemptId| self.core().as_ref().is_some_and(|core| core.attempts.carried(id, core.now()).is_some());
        state.judge(&self.world, self.born, Some(&carried), law);
        if state.breach.is_some() {
            self.end();
        }
    }

    /// Whether the process goes on at an edge of a step.
    fn passes(&self, edge: Edge, step: Step) -> bool {
        if self.is_over() {
            return false;
        }
        let mut state = self.state();
        for said in heard::take() {
            state.breached(Err(Breach::new(Law::Ends, said)));
        }
        if edge == Edge::Before {
            state.steps += 1;
            let (at, count) = state.at_once;
            state.at_once = if at == state.age { (at, count + 1) } else { (state.age, 1) };
            if state.at_once.1 > AT_ONCE_MAX {
                state.breached(Err(Breach::new(Law::Ends, "the loops turn in a circle: too many steps at one moment")));
            }
        }
        let place = match edge {
            Edge::Before => Place::Before,
            Edge::After => Place::After,
        };
        let killed = match &mut state.weather.kill {
            Some((0, at)) if *at == place || *at == Place::Silently => true,
            Some((left, _)) if edge == Edge::Before && *left > 0 => {
                *left -= 1;
                false
            }
            _ => false,
        };
        if killed {
            let at = state.weather.kill.take().map(|(_, at)| at);
            state.count(match at {
                Some(Place::Before) if step == Step::Commit => "killed before a commit",
                Some(Place::After) if step == Step::Write => "killed after a commit",
                Some(Place::Before) => "killed before a step",
                Some(Place::After) => "killed after a step",
                _ => "killed between two steps",
            });
            state.say(format_args!("killed"));
        }
        if killed || state.breach.is_some() {
            drop(state);
            self.end();
            return false;
        }
        true
    }

    /// Looks at what a transaction has changed.
    fn committed(&self) {
        let connection = self.world.connection.lock().expect("the connection");
        let changes = audit::take(&connection);
        if changes.is_empty() {
            return;
        }
        let mut state = self.state();
        for change in changes.iter().filter(|change| change.table == "run") {
            let digest = change.row().text("digest").to_owned();
            state.pinned.entry(digest).or_insert_with_key(|digest| {
                let text: String = connection
                    .prepare_cached("SELECT spec FROM pinned WHERE digest = ?1")
                    .and_then(|mut found| found.query_row([digest], |row| row.get(0)))
                    .expect("the spec of a run");
                serde_json::from_str(&text).expect("a spec")
            });
        }
        drop(connection);
        let (age, life) = (state.age, self.number);
        state.model.follow(&changes, age, life);
        changes.iter().for_each(|change| note(&mut state, change));
        self.judge(&mut state, |moment| judge(&changes, moment));
    }
}

/// Writes into the log what changed, and counts it.
fn note(state: &mut State, change: &Change) {
    let row = change.row();
    // A breaker opens once more when the clock comes to the endings that it was turned back from.
    let of_analyzer = change.table == "condition" || row_kind(change) == "Analyzer";
    if change.table != "replica" && !(of_analyzer && state.turned_back > 0) {
        state.moved += 1;
    }
    match change.table {
        "event" => {
            let (kind, name, reason) = (row.text("kind"), row.text("name"), row.text("reason"));
            state.say(format_args!("event {kind}/{name} {reason}: {}", row.text("message")));
        }
        "task" => {
            let (phase, reason) = (row.text("phase"), row.text("reason"));
            state.say(format_args!(
                "task {} {phase}({reason}) round {} attempt {} generation {}/{}",
                row.text("name"),
                row.number("round"),
                row.number("attempt"),
                row.number("observed_generation"),
                row.number("generation")
            ));
            state.count(&format!("task {phase} {reason}"));
        }
        "attempt" => {
            let outcome = row.maybe_text("outcome").unwrap_or("open");
            state.say(format_args!(
                "attempt {}/{} {outcome} {}",
                row.text("task_uid"),
                row.number("number"),
                row.text("reason")
            ));
            state.count(&format!("attempt {outcome}"));
        }
        "run" => {
            let (phase, reason) = (row.text("phase"), row.text("reason"));
            state.say(format_args!("run {} {phase}({reason}) round {}", row.text("name"), row.number("round")));
            state.count(&format!("run {phase} {reason}"));
        }
        "object" => {
            let (kind, name, spec) = (row.text("kind"), row.text("name"), row.text("spec"));
            let gone = if row.maybe("removed_at").is_some() { " removed" } else { "" };
            state.say(format_args!("object {kind}/{name} generation {}{gone} {spec}", row.number("generation")));
        }
        table => match &change.new {
            Some(row) => state.say(format_args!("{table} {row}")),
            None => state.say(format_args!("{table} {row} is deleted")),
        },
    }
}

/// The kind of object that an event tells of.
fn row_kind(change: &Change) -> &str {
    if change.table == "event" { change.row().text("kind") } else { "" }
}

/// Lets virtual time pass, up to a moment.
pub(crate) async fn until(moment: Instant) {
    let _ = tokio::time::timeout_at(moment, pending::<()>()).await;
}

impl Gate for Life {
    fn before(&self, step: Step) -> Passing<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.breathe().await;
            if !self.passes(Edge::Before, step) {
                pending::<()>().await;
            }
            let mut state = self.state();
            // Some of what does not fit is noticed only at the end of its transaction.
            let is_noticed = match step {
                Step::Write => !state.steps.is_multiple_of(4),
                Step::Commit => true,
                Step::Read | Step::Disk => false,
            };
            let is_full = is_noticed && state.age < state.weather.full_until;
            if is_full && step == Step::Commit {
                state.count("full at a commit");
            }
            if is_full { Err(full()) } else { Ok(()) }
        })
    }

    fn after(&self, step: Step) -> Passing<'_, ()> {
        Box::pin(async move {
            if step == Step::Write && !self.is_over() {
                self.committed();
            }
            if !self.passes(Edge::After, step) {
                pending::<()>().await;
            }
            self.breathe().await;
        })
    }
}

/// There is no room on the disk, as SQLite says it.
fn full() -> StoreError {
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    rusqlite::Error::SqliteFailure(error, Some("the disk is full".into())).into()
}
