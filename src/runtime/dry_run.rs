//! What `reconcile --once` would do: the real loops on a copy of the database, with every effect left out.
//!
//! Nothing else computes plans, so what is printed here is what would happen: each write says so in an event of its own.

use std::path::{Path, PathBuf};

use super::answer::is_wanted;
use super::clock::Clock;
use super::controller::{ControllerError, wake_trees, wake_unsettled};
use super::core::Core;
use super::maintenance::{maintain_once, scan_apps};
use super::mirror::Mirror;
use super::reconcile::plan;
use super::wakes::Loop;
use crate::config::Settings;
use crate::disk::scratch;
use crate::executor::{Executors, Limits, Surroundings};
use crate::plan::action::{Action, Permit};
use crate::plan::{Effect, Probe};
use crate::resource::event::{Event, EventType};
use crate::resource::kind::Kind;
use crate::resource::time::{Span, Timestamp};
use crate::store::glance::copy_database;
use crate::store::{Committed, StateLock, Store, StoreError, database_path, events, open_read_only};

/// Steps at most: each pass either changes something or ends, so this only guards against a planner that never comes to rest.
const STEPS_MAX: usize = 1_000_000;

/// What would be done.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Rehearsal {
    /// What the file system and maintenance would lead to, as a real run reports it.
    pub actions: Vec<Action>,
    /// The events that the other loops would record, oldest first.
    pub events: Vec<Event>,
}

impl Rehearsal {
    /// Whether nothing would be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.events.is_empty()
    }
}

/// Plans every asked loop on a copy of the state.
///
/// # Errors
/// What the store says, or that the plans do not come to rest.
pub async fn dry_run(settings: Settings, workspace: PathBuf, only: &[String]) -> Result<Rehearsal, ControllerError> {
    let scratch = scratch().map_err(|source| StoreError::Io { path: std::env::temp_dir(), source })?;
    let known = copy(&database_path(&workspace.join(&settings.state)), scratch.path())?;
    let store = Store::open(StateLock::acquire(scratch.path())?)?;
    let surroundings = Surroundings {
        workspace: workspace.clone(),
        state: scratch.path().to_owned(),
        secrets: scratch.path().to_owned(),
        programs: None,
        embedded: None,
        attempt_token_prefix: store.id().to_owned(),
        environment: std::collections::BTreeMap::new(),
        limits: Limits::default(),
    };
    let mut core = Core::new(store, Clock::System, settings, workspace, Executors::new(surroundings));
    core.rehearses = true;
    let wanted = |word: &str| is_wanted(only, word);
    let (mut actions, mut events, mut known) = (Vec::new(), Vec::new(), known);
    if wanted("manifests") {
        Mirror::new(&core).scan().await?;
        events.extend(events_after(&core, &mut known)?);
    }
    if wanted("filesystem") {
        actions.extend(scan_apps(&core, Permit::All).await?);
        // What it records is told by its actions.
        events_after(&core, &mut known)?;
    }
    events.extend(run_loops(&core, only).await?);
    events.extend(events_after(&core, &mut known)?);
    if wanted("maintenance") {
        let done = maintain_once(&core, core.settings.rules(), Permit::All).await?;
        events_after(&core, &mut known)?;
        if !done.is_empty() {
            events.extend(run_loops(&core, only).await?);
            events.extend(events_after(&core, &mut known)?);
        }
        actions.extend(done);
    }
    Ok(Rehearsal { actions, events })
}

/// Plans the loops of pipelines and tasks, as far as they are asked for; gives the questions that would be asked.
async fn run_loops(core: &Core, only: &[String]) -> Result<Vec<Event>, ControllerError> {
    let mut questions = Vec::new();
    let mut loops = Vec::new();
    if is_wanted(only, "pipelines") {
        wake_unsettled(core).await?;
        loops.push(Loop::Pipelines);
    }
    if is_wanted(only, "tasks") {
        // Nothing is asked here, so what is stored of a replica is taken for what it would say. One of which nothing is stored would be
        // asked; what follows from its answer nobody can know.
        for (analyzer, url) in core.store.known_replicas().await? {
            core.probes.assume(&analyzer, &url);
        }
        wake_trees(core, Span(0)).await?;
        wake_unsettled(core).await?;
        loops.extend([Loop::Trees, Loop::Tasks]);
    }
    // What waits for a reading goes on after it, what changed files lead to is seen after they were read, and runs ask for tasks.
    while !loops.iter().all(|of| core.wakes.is_idle(*of, core.now())) {
        for of in &loops {
            questions.extend(settle(core, *of).await?);
        }
    }
    Ok(questions)
}

/// The events that were recorded since the last look.
fn events_after(core: &Core, known: &mut i64) -> Result<Vec<Event>, StoreError> {
    let connection = open_read_only(core.store.path())?;
    let mut found = Vec::new();
    for (number, event) in events::after(&connection, *known)? {
        *known = number;
        found.push(event);
    }
    Ok(found)
}

/// A probe that would be sent, as the line that tells of it.
fn question(probe: &Probe, now: Timestamp) -> Event {
    Event {
        kind: Kind::Analyzer,
        name: probe.analyzer.clone(),
        event_type: EventType::Normal,
        reason: "Probe".into(),
        message: format!("{} would be asked how it is, and its queue would go on if it is well", probe.url),
        first_at: now,
        last_at: now,
        count: 1,
    }
}

/// Copies the database, if there is one, and returns the number of its last event.
fn copy(database: &Path, scratch: &Path) -> Result<i64, StoreError> {
    if !database.exists() {
        return Ok(0);
    }
    let connection = open_read_only(database)?;
    copy_database(&connection, &database_path(scratch))?;
    events::last_number(&connection)
}

/// Plans and commits until nothing is left to do now; gives the questions that would be asked.
async fn settle(core: &Core, of: Loop) -> Result<Vec<Event>, ControllerError> {
    let mut questions = Vec::new();
    for _ in 0..STEPS_MAX {
        let Some(key) = core.wakes.pop(of, core.now()) else { return Ok(questions) };
        let planned = plan(core, &key).await?;
        let changes = !planned.writes.is_empty();
        core.attempts.assume(&planned.effects);
        if let Committed::Applied(woken) = core.store.commit(planned.writes, core.now()).await? {
            planned.wakes.into_iter().chain(woken).for_each(|key| core.wakes.add(key));
        }
        for effect in &planned.effects {
            if let Effect::Probe(probe) = effect {
                questions.push(question(probe, core.now()));
                core.probes.assume(&probe.analyzer, &probe.url);
            }
        }
        core.wakes.done(&key);
        match planned.next {
            Some(at) if changes => core.wakes.add_at(key, at),
            Some(_) | None => {}
        }
    }
    Err(ControllerError::Fatal("the plans do not come to rest; this is a bug".into()))
}
