//! Plans for one task: what follows from its latest attempt, from its spec, and from what people ask.

use super::admission::{AppFacts, admit, admit_pool, admit_reading};
use super::budgets::Budgets;
use super::freshness::{app_changed, remember_tree};
use super::merge::Told;
use super::orphan::orphaned;
use super::replica::ReplicaFacts;
use super::settle::settle;
use super::transition::{TaskRef, transition};
use super::write::{TaskStatus, TaskWrite, Write};
use super::{Effect, Key, Plan, Reconciler};
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::attempt::AttemptId;
use crate::resource::findings::Findings;
use crate::resource::name::Uid;
use crate::resource::outcome::{Outcome, ToolReport};
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::task::{RunPolicy, TaskSpec};
use crate::resource::time::Timestamp;

/// What is seen of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedTask {
    /// The task.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Whether its manifest is gone.
    pub removed: bool,
    /// What is desired.
    pub spec: TaskSpec,
    /// Version of the status, for compare-and-set.
    pub version: i64,
    /// Where it stands.
    pub status: TaskStatus,
    /// When it came into its phase; in the future only if the clock was turned back since.
    pub since: Timestamp,
    /// A person asked to cancel every round up to this one.
    pub cancel_round: i64,
    /// The generation that was there when they did: a newer one runs all the same.
    pub cancel_generation: i64,
    /// A person asked for another run after every finished round up to this one.
    pub retry_round: i64,
    /// A person asked not to wait any longer when the status had this version: the wait that they saw ends, and no later one.
    pub hurry_version: i64,
    /// Attempts of the current round, oldest first.
    pub attempts: Vec<AttemptFacts>,
    /// The app it names.
    pub app: Option<AppFacts>,
    /// Whether that app's record was deleted, since its directory has been gone for long.
    pub app_deleted: bool,
    /// The analyzer it names.
    pub analyzer: Option<AnalyzerSpec>,
    /// The pool of which its attempts take a slot: its own, or its analyzer's.
    pub pool: Option<String>,
    /// Whether that pool is declared.
    pub pool_known: bool,
    /// What is known of its analyzer's replicas, when its latest attempt reached nobody and has to be settled; else nothing.
    pub replicas: Vec<ReplicaFacts>,
    /// The limits.
    pub budgets: Budgets,
}

/// What is seen of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptFacts {
    /// Which attempt.
    pub id: AttemptId,
    /// Generation of the spec that it runs.
    pub generation: i64,
    /// Name of the analyzer that it was opened on.
    pub analyzer: String,
    /// The tools that it was asked for; empty for all that the analyzer has.
    pub asked: Vec<String>,
    /// Address of the replica; empty for a command.
    pub replica: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends at the latest.
    pub deadline_at: Timestamp,
    /// Whether its analyzer can be asked for it again by its token.
    pub resumable: bool,
    /// The process group of a command, when it was recorded.
    pub process: Option<(i32, u64)>,
    /// Who carries it; `None` when nobody does.
    pub carried: Option<Carried>,
    /// How it ended; `None` while it is open.
    pub ended: Option<EndedAttempt>,
}

/// How this process carries an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Last sign of life.
    pub alive_at: Timestamp,
    /// Whether it was told to stop already.
    pub stopping: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    /// The typed outcome.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Why, for a person.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// What was found.
    pub findings: Findings,
    /// What is known of each tool.
    pub tools: Vec<ToolReport>,
}

/// Reconciles one task.
#[derive(Debug)]
pub struct TaskReconciler;

impl Reconciler for TaskReconciler {
    type Observed = ObservedTask;

    fn plan(observed: &ObservedTask, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        match observed.status.phase {
            Phase::Pending => pending(observed, now, &mut plan),
            Phase::Running => running(observed, now, &mut plan),
            Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => {
                finished(observed, &mut plan)
            }
        }
        plan
    }
}

impl ObservedTask {
    /// Why a person or a manifest wants this round to end, if so.
    #[must_use]
    pub fn unwanted(&self) -> Option<Reason> {
        if self.cancel_round >= self.status.round {
            Some(Reason::CancelledByUser)
        } else if self.removed {
            Some(Reason::ManifestRemoved)
        } else if self.app_deleted && self.budgets.cancel_orphans {
            Some(Reason::AppDeleted)
        } else {
            None
        }
    }

    /// The status of a round that is not wanted. It is about the spec that the wish was about, so that this one does not run again by
    /// itself, and a later one does.
    pub(super) fn cancelled(&self, reason: Reason, now: Timestamp) -> TaskStatus {
        let (message, generation) = match reason {
            Reason::ManifestRemoved => ("its manifest was removed", self.generation),
            Reason::AppDeleted => {
                ("the record of its app was deleted, as its directory is gone for long", self.generation)
            }
            _ => ("cancelled on request", self.cancel_generation.min(self.generation)),
        };
        let observed_generation = self.status.observed_generation.max(generation);
        // And about the files as they are, for the same reason.
        let app_digest = self.tree().map(str::to_owned).or_else(|| self.status.app_digest.clone());
        let status = TaskStatus { observed_generation, app_digest, ..self.status.clone() };
        status.ended(Phase::Cancelled, reason, message, Findings::default(), now)
    }

    pub(super) fn spec_changed_since(&self, generation: i64) -> bool {
        self.generation > generation && self.spec.run_policy != RunPolicy::Once
    }

    /// What the attempts of this round told that ran this generation of the spec.
    pub(super) fn told(&self, generation: i64) -> Vec<Told> {
        let of_generation = self.attempts.iter().filter(|attempt| attempt.generation == generation);
        let told = of_generation.filter_map(|attempt| {
            let ended = attempt.ended.as_ref()?;
            Some(Told {
                number: attempt.id.number,
                generation,
                asked: attempt.asked.clone(),
                outcome: ended.outcome,
                message: ended.message.clone(),
                tools: ended.tools.clone(),
            })
        });
        told.collect()
    }

    /// How many attempts of this round ended so.
    pub(super) fn count(&self, outcome: Outcome) -> u32 {
        self.count_where(|ended| ended.outcome == outcome)
    }

    pub(super) fn count_where(&self, counts: impl Fn(&EndedAttempt) -> bool) -> u32 {
        let ended = self.attempts.iter().filter_map(|attempt| attempt.ended.as_ref());
        u32::try_from(ended.filter(|ended| counts(ended)).count()).unwrap_or(u32::MAX)
    }
}

fn pending(task: &ObservedTask, now: Timestamp, plan: &mut Plan) {
    let status = &task.status;
    if let Some(reason) = task.unwanted() {
        return turn(task, task.cancelled(reason, now), plan);
    }
    if task.attempts.last().is_some_and(|attempt| task.spec_changed_since(attempt.generation)) {
        return turn(task, again(task, Reason::SpecChanged), plan);
    }
    if !task.attempts.is_empty() && task.app_changed_since(status.app_digest.as_deref()) {
        return app_changed(task, plan);
    }
    if task.since > now && status.next_at.is_some() {
        // It came to wait in the future, so the clock was turned back; nobody knows how much of the wait is over.
        return turn(task, status.waiting(Reason::Queued, "the clock was turned back while it waited", None), plan);
    }
    let hurried = task.hurry_version >= task.version;
    let admitted = admit(&task.spec, task.app.as_ref(), task.analyzer.as_ref())
        .and_then(|()| admit_pool(&task.spec, task.pool.as_deref(), task.pool_known))
        // While it sits out a wait nothing needs to be read, and the wait stays.
        .and_then(|()| match status.next_at {
            Some(at) if at > now && !hurried => Ok(()),
            _ => admit_reading(&task.spec, task.app.as_ref(), task.since),
        });
    if let Err(hold) = admitted {
        if let (Reason::AppNotRead, Some(app)) = (hold.reason, &task.app) {
            plan.wakes.push(Key::Tree(app.uid.clone()));
        }
        if status.reason != hold.reason || status.message != hold.message {
            let status = TaskStatus { observed_generation: task.generation, ..status.clone() };
            turn(task, status.waiting(hold.reason, hold.message, None), plan);
            // What it waits for may have come between the observation and this commit, when nobody saw it waiting yet.
            plan.wakes.push(Key::Task(task.uid.clone()));
        }
        return;
    }
    if status.next_at.is_some() && task.attempts.is_empty() && task.generation > status.observed_generation {
        // It waits for an analyzer and has not run yet; it may be another one now.
        let status = TaskStatus { observed_generation: task.generation, waits: 0, ..status.clone() };
        return turn(task, status.waiting(Reason::Queued, "its spec changed", None), plan);
    }
    match status.next_at {
        Some(at) if at > now && !hurried => plan.look_again(at),
        _ if status.reason != Reason::Queued || status.next_at.is_some() => {
            let waits = if hurried { 0 } else { status.waits };
            turn(task, TaskStatus { waits, ..status.waiting(Reason::Queued, "", None) }, plan);
        }
        _ => {}
    }
}

fn running(task: &ObservedTask, now: Timestamp, plan: &mut Plan) {
    let Some(attempt) = task.attempts.iter().find(|attempt| attempt.id.number == task.status.attempt) else {
        // The schema makes this impossible; a row edited by hand must still find its way back.
        return turn(task, task.status.waiting(Reason::Queued, "its attempt is gone from the database", None), plan);
    };
    match (&attempt.ended, attempt.carried) {
        (Some(ended), _) => settle(task, attempt, ended, now, plan),
        (None, Some(carried)) => watch(task, attempt, carried, now, plan),
        (None, None) => orphaned(task, attempt, now, plan),
    }
}

/// An open attempt that this process carries: stop it when it is not wanted any more or has gone silent.
fn watch(task: &ObservedTask, attempt: &AttemptFacts, carried: Carried, now: Timestamp, plan: &mut Plan) {
    let silent_at = carried.alive_at.plus(task.budgets.stuck_after);
    let changed = task.spec_changed_since(attempt.generation);
    let silent = (now >= silent_at).then_some(Reason::HeartbeatLost);
    let reason = unwanted_attempt(task, changed).or(silent);
    match reason {
        Some(reason) if !carried.stopping => plan.effects.push(Effect::Stop { id: attempt.id.clone(), reason }),
        Some(_) => {}
        None => plan.look_again(silent_at),
    }
}

/// Why the attempt that runs is not wanted, if so.
pub(super) fn unwanted_attempt(task: &ObservedTask, changed: bool) -> Option<Reason> {
    let suspended = task.spec.suspend.then_some(Reason::Suspended);
    task.unwanted().or(suspended).or(changed.then_some(Reason::SpecChanged))
}

fn finished(task: &ObservedTask, plan: &mut Plan) {
    if task.removed {
        return;
    }
    let status = &task.status;
    if task.retry_round >= status.round {
        turn(task, again(task, Reason::RetriedByUser), plan);
    } else if task.spec_changed_since(status.observed_generation) {
        turn(task, again(task, Reason::SpecChanged), plan);
    } else if status.reason == Reason::ManifestRemoved {
        turn(task, again(task, Reason::Queued), plan);
    } else if status.reason == Reason::AppDeleted && task.app.is_some() {
        turn(task, again(task, Reason::AppDeleted), plan);
    } else if task.app_changed_since(status.app_digest.as_deref()) {
        app_changed(task, plan);
    } else if task.generation > status.observed_generation {
        // RunPolicy Once: the change was seen, and nothing follows from it.
        let status = TaskStatus { observed_generation: task.generation, ..status.clone() };
        let write = TaskWrite { uid: task.uid.clone(), version: task.version, status };
        plan.writes.push(Write::Task(Box::new(write)));
    } else {
        remember_tree(task, plan);
    }
}

/// The first status of the next round.
pub(super) fn again(task: &ObservedTask, reason: Reason) -> TaskStatus {
    let status = TaskStatus::fresh(task.status.round + 1, task.status.observed_generation, task.status.attempt);
    let message = match reason {
        Reason::SpecChanged => "its spec changed",
        Reason::AppChanged => "the files of its app changed",
        Reason::RetriedByUser => "a person asked for another run",
        Reason::AppDeleted => "its app came back",
        _ => "its manifest came back",
    };
    TaskStatus { message: message.into(), ..status }
}

/// Moves a task to another status, and wakes its analyzer's lane: it may be ready to run, or have left a slot.
pub(super) fn turn(task: &ObservedTask, status: TaskStatus, plan: &mut Plan) {
    if let Some(at) = status.next_at {
        plan.look_again(at);
    }
    plan.wakes.push(Key::Lane(task.spec.analyzer.clone()));
    let spec_changed = status.phase.is_terminal() && task.spec_changed_since(status.observed_generation);
    if spec_changed || task.app_changed_since(status.app_digest.as_deref()) {
        plan.wakes.push(Key::Task(task.uid.clone()));
    }
    let seen = TaskRef { uid: &task.uid, name: &task.name, version: task.version };
    plan.writes.extend(transition(seen, status));
}
