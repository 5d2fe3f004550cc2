//! Plans for maintenance: what has been as it is for too long. Apps that stay away, tasks that hang, tasks that nobody will look at again.
//!
//! It is off in the daemon unless the settings say otherwise. Every rule has a threshold of its own and can be switched off; nothing that is
//! younger than the grace is touched, and nothing is taken away that could not be brought back.

use super::transition::{TaskRef, transition};
use super::write::{CloseAttempt, EventWrite, TaskStatus, Write};
use super::{Key, Plan, Reconciler};
use crate::resource::attempt::AttemptId;
use crate::resource::event::EventType;
use crate::resource::findings::Findings;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};

/// How long things may stay as they are. `None` switches a rule off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The record of an app whose directory is gone for longer is deleted.
    pub missing_app: Option<Span>,
    /// A task that is Running for longer while nobody carries its attempt is Failed.
    pub stuck: Option<Span>,
    /// A task that waits for longer, and not for its turn, is Cancelled.
    pub pending: Option<Span>,
    /// A task that ended longer ago is set aside.
    pub finished: Option<Span>,
    /// Whatever is younger is left alone.
    pub grace: Span,
}

impl Rules {
    /// The earliest moment that a rule may still find too old at `now`; `None` when the rule is off.
    #[must_use]
    pub fn before(self, threshold: Option<Span>, now: Timestamp) -> Option<Timestamp> {
        threshold.map(|threshold| now.minus(threshold.max(self.grace)))
    }
}

/// What is seen of everything that may be too old.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedMaintenance {
    /// The thresholds.
    pub rules: Rules,
    /// Apps that were found on disk and are marked missing.
    pub apps: Vec<MissingApp>,
    /// Tasks that have been in their phase for long.
    pub tasks: Vec<AgedTask>,
    /// Whether there is more than was read.
    pub more: bool,
}

/// An app whose directory is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingApp {
    /// The App.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its directory, relative to the workspace.
    pub path: String,
    /// When its record was made.
    pub created_at: Timestamp,
    /// Since when it is marked missing.
    pub missing_since: Timestamp,
    /// Whether its source is not to be believed.
    pub suspect: bool,
    /// Whether its directory is there now; `None` when that could not be seen.
    pub present: Option<bool>,
}

/// A task that has been in its phase for long.
#[derive(Debug, Clone, PartialEq)]
pub struct AgedTask {
    /// The task.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Name of its analyzer.
    pub analyzer: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Version of its status.
    pub version: i64,
    /// Its status.
    pub status: TaskStatus,
    /// When it came into its phase.
    pub since: Timestamp,
    /// Its open attempt, and whether this process carries it.
    pub open: Option<(AttemptId, bool)>,
    /// Until when that attempt may run.
    pub deadline_at: Option<Timestamp>,
    /// When an attempt was last opened on its analyzer: while others are, it only waits for its turn.
    pub lane_moved_at: Option<Timestamp>,
    /// Whether something runs on its analyzer or in its pool: then it waits for that to end.
    pub lane_busy: bool,
}

/// Reconciles what is too old.
#[derive(Debug)]
pub struct MaintenanceReconciler;

impl Reconciler for MaintenanceReconciler {
    type Observed = ObservedMaintenance;

    fn plan(observed: &ObservedMaintenance, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        for app in &observed.apps {
            delete_app(app, observed.rules, now, &mut plan);
        }
        for task in &observed.tasks {
            match task.status.phase {
                Phase::Running => fail_stuck(task, observed.rules, now, &mut plan),
                Phase::Pending => cancel_waiting(task, observed.rules, now, &mut plan),
                Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => {
                    set_aside(task, observed.rules, now, &mut plan);
                }
            }
        }
        // Only what was done can have made room for more.
        if observed.more && !plan.is_empty() {
            plan.look_again(now);
        }
        plan
    }
}

/// Whether something that began at `since` is over a threshold, and no longer under the grace.
fn is_over(threshold: Option<Span>, rules: Rules, since: Timestamp, now: Timestamp) -> Option<Span> {
    let age = now.since(since);
    threshold.filter(|threshold| age > *threshold && age > rules.grace)
}

fn delete_app(app: &MissingApp, rules: Rules, now: Timestamp, plan: &mut Plan) {
    let Some(threshold) = is_over(rules.missing_app, rules, app.missing_since, now) else { return };
    // Deleted only on what the disk says now, and only where it can be believed.
    if app.present != Some(false) || app.suspect || now.since(app.created_at) <= rules.grace {
        return;
    }
    plan.writes.push(Write::DeleteApp { uid: app.uid.clone(), missing_since: app.missing_since });
    plan.writes.push(Write::Event(Box::new(EventWrite {
        uid: app.uid.clone(),
        kind: Kind::App,
        name: app.name.clone(),
        event_type: EventType::Normal,
        reason: "Deleted",
        message: format!("{:?} is gone since {}, for more than {threshold}", app.path, app.missing_since),
    })));
}

/// Running, and nobody carries it: the task loop ends such attempts within seconds, so this only ever finds what that could not.
fn fail_stuck(task: &AgedTask, rules: Rules, now: Timestamp, plan: &mut Plan) {
    let Some(threshold) = is_over(rules.stuck, rules, task.since, now) else { return };
    // Without an open attempt nothing hangs: its ending is there, and the task loop draws the conclusion.
    let Some((id, false)) = &task.open else { return };
    let verdict = Verdict::without_tools(Outcome::Interrupted, Reason::Interrupted, "nobody carries it");
    plan.writes.push(Write::CloseAttempt(Box::new(CloseAttempt {
        id: id.clone(),
        verdict,
        result: None,
        at: now,
        slot_until: task.deadline_at.filter(|deadline| *deadline > now),
        cache_key: None,
    })));
    let message = format!("Running since {}, for more than {threshold}, while nobody carried it", task.since);
    end(task, Phase::Failed, Reason::Stuck, message, now, plan);
}

/// What waits for a person who asked it to wait, for a directory that may come back, or for its turn in a queue that moves, is not stuck.
fn cancel_waiting(task: &AgedTask, rules: Rules, now: Timestamp, plan: &mut Plan) {
    let Some(threshold) = is_over(rules.pending, rules, task.since, now) else { return };
    let moves = task.lane_busy || task.lane_moved_at.is_some_and(|at| now.since(at) <= threshold);
    let wanted = match task.status.reason {
        Reason::Suspended | Reason::AppMissing => true,
        Reason::Queued | Reason::BreakerOpen => moves,
        _ => false,
    };
    if !wanted {
        let message = format!("Pending since {}, for more than {threshold}: {}", task.since, task.status.reason);
        end(task, Phase::Cancelled, Reason::PendingTooLong, message, now, plan);
    }
}

fn set_aside(task: &AgedTask, rules: Rules, now: Timestamp, plan: &mut Plan) {
    let finished_at = task.status.finished_at.unwrap_or(task.since);
    if is_over(rules.finished, rules, finished_at, now).is_some() {
        plan.writes.push(Write::SetAside { uid: task.uid.clone(), version: task.version });
    }
}

fn end(task: &AgedTask, phase: Phase, reason: Reason, message: String, now: Timestamp, plan: &mut Plan) {
    // A cancelled task is about the spec as it is: it does not start again by itself.
    let generation = if phase == Phase::Cancelled { task.generation } else { task.status.observed_generation };
    let status = TaskStatus { observed_generation: generation, ..task.status.clone() };
    let status = status.ended(phase, reason, message, Findings::default(), now);
    let seen = TaskRef { uid: &task.uid, name: &task.name, version: task.version };
    plan.writes.extend(transition(seen, status));
    plan.wakes.push(Key::Lane(task.analyzer.clone()));
}
