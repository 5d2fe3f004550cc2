//! Plans for one analyzer's queue: which pending tasks get the free slots.
//!
//! All openings of a pass are planned together: highest priority first, oldest among equals, within the capacity of each replica and
//! the rate of the analyzer. A task that may not run leaves the queue with a reason.

use super::Key;
use super::admission::{AppFacts, admit, admit_reading};
use super::budgets::Budgets;
use super::reuse::{self, Reusable};
use super::task::EMBEDDED;
use super::transition::{TaskRef, transition};
use super::write::{OpenAttempt, TaskStatus, Write};
use super::{Effect, Plan, Reconciler};
use crate::resource::analyzer::{AnalyzerSpec, Rate};
use crate::resource::attempt::{AppTarget, Assignment, AttemptId, Stamp, Target};
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::task::TaskSpec;
use crate::resource::time::{Span, Timestamp};

/// What is seen of one analyzer's queue.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedLane {
    /// The analyzer's name.
    pub analyzer: String,
    /// Its spec; `None` when no such analyzer is known.
    pub spec: Option<AnalyzerSpec>,
    /// Occupied slots by replica: open attempts, and abandoned ones whose other side may still work.
    pub occupied: Vec<(String, u32)>,
    /// When the first abandoned slot becomes free.
    pub slot_free_at: Option<Timestamp>,
    /// When attempts were opened within the rate's period, newest first, at most `rate.limit` of them.
    pub opened: Vec<Timestamp>,
    /// Tasks that are Pending(Queued), in order of priority and age.
    pub candidates: Vec<Candidate>,
    /// Whether there are more candidates than were read.
    pub more: bool,
    /// The limits.
    pub budgets: Budgets,
}

/// A task that could be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The task.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Whether its manifest is gone, or a person wants this round cancelled: not to be started.
    pub unwanted: bool,
    /// What is desired.
    pub spec: TaskSpec,
    /// Version of its status.
    pub version: i64,
    /// Its status.
    pub status: TaskStatus,
    /// The app it names.
    pub app: Option<AppFacts>,
    /// When it came into its phase.
    pub since: Timestamp,
    /// A person asked that it really runs.
    pub no_cache: bool,
    /// What its result will depend on; `None` when results are not shared.
    pub stamp: Option<Stamp>,
    /// A stored result that it can take instead of running.
    pub reusable: Option<Reusable>,
}

/// Reconciles one analyzer's queue.
#[derive(Debug)]
pub struct LaneReconciler;

impl Reconciler for LaneReconciler {
    type Observed = ObservedLane;

    fn plan(lane: &ObservedLane, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let mut slots = Slots::free(lane);
        let mut allowance = allowance(lane, now, &mut plan);
        let mut ready = false;
        for candidate in &lane.candidates {
            if candidate.unwanted {
                plan.wakes.push(Key::Task(candidate.uid.clone()));
                continue;
            }
            let app = candidate.app.as_ref();
            let admitted = admit(&candidate.spec, app, lane.spec.as_ref());
            let (spec, app) = match admitted.and_then(|()| admit_reading(&candidate.spec, app, candidate.since)) {
                Err(hold) => {
                    hold_back(candidate, hold.reason, hold.message, &mut plan);
                    continue;
                }
                Ok(()) => match (&lane.spec, &candidate.app) {
                    (Some(spec), Some(app)) => (spec, app),
                    _ => continue,
                },
            };
            if let Some(reusable) = &candidate.reusable {
                reuse::take(&lane.analyzer, candidate, reusable, now, &mut plan);
                continue;
            }
            // Those behind the first that finds no slot are still told when they could not run anyway.
            let slot = (allowance > 0 && !ready).then(|| slots.take()).flatten();
            let Some(replica) = slot else {
                ready = true;
                continue;
            };
            allowance -= 1;
            open(lane, candidate, spec, app, &replica, now, &mut plan);
        }
        if ready && let Some(at) = lane.slot_free_at {
            plan.look_again(at);
        }
        if lane.more && !ready {
            plan.look_again(now);
        }
        plan
    }
}

/// How many attempts the rate allows now; also plans when it will allow another.
fn allowance(lane: &ObservedLane, now: Timestamp, plan: &mut Plan) -> usize {
    let Some(Rate { limit, per }) = lane.spec.as_ref().and_then(|spec| spec.rate) else {
        return usize::MAX;
    };
    // A clock that was turned back leaves openings in the future; they count for one period, not until that time comes.
    let recent = lane.opened.iter().filter(|at| now.since(**at) < per && at.since(now) < per);
    let (count, oldest) = recent.fold((0usize, None), |(count, _), at| (count + 1, Some(*at)));
    let left = (limit as usize).saturating_sub(count);
    if left < lane.candidates.len() {
        plan.look_again(oldest.unwrap_or(now).plus(per));
    }
    left
}

/// Free slots of each replica.
struct Slots(Vec<(String, u32, u32)>);

impl Slots {
    fn free(lane: &ObservedLane) -> Self {
        let Some(spec) = &lane.spec else { return Self(Vec::new()) };
        let used = |replica: &str| lane.occupied.iter().find(|(r, _)| r == replica).map_or(0, |(_, used)| *used);
        let mut slots: Vec<(String, u32, u32)> = Vec::new();
        for replica in spec.replicas() {
            // The environment may name one address twice; it has its slots once.
            if slots.iter().all(|(known, ..)| *known != replica) {
                slots.push((replica.clone(), used(&replica), spec.capacity));
            }
        }
        Self(slots)
    }

    /// Takes a slot of the replica with the fewest in flight; the first among equals.
    fn take(&mut self) -> Option<String> {
        let free = self.0.iter_mut().filter(|(_, used, capacity)| used < capacity);
        let (replica, used, _) = free.min_by_key(|(_, used, _)| *used)?;
        *used += 1;
        Some(replica.clone())
    }
}

fn open(
    lane: &ObservedLane,
    candidate: &Candidate,
    spec: &AnalyzerSpec,
    app: &AppFacts,
    replica: &str,
    now: Timestamp,
    plan: &mut Plan,
) {
    let id = AttemptId { task: candidate.uid.clone(), number: candidate.status.attempt + 1 };
    let limit = candidate.spec.active_deadline_seconds.map_or(lane.budgets.task_timeout, Span::seconds);
    let deadline_at = now.plus(limit);
    let tree = app.tree.as_ref().filter(|_| candidate.spec.needs_reading());
    let app_digest = tree.map(|tree| tree.digest.clone());
    plan.writes.push(Write::OpenAttempt(Box::new(OpenAttempt {
        id: id.clone(),
        round: candidate.status.round,
        generation: candidate.generation,
        analyzer: lane.analyzer.clone(),
        replica: replica.to_owned(),
        opened_at: now,
        deadline_at,
        resumable: false,
        app_digest: app_digest.clone(),
    })));
    let message = if replica.is_empty() || replica.starts_with(EMBEDDED) {
        format!("attempt {} on {}", id.number, lane.analyzer)
    } else {
        format!("attempt {} on {} at {replica}", id.number, lane.analyzer)
    };
    let status = TaskStatus {
        phase: Phase::Running,
        reason: Reason::AttemptStarted,
        message,
        observed_generation: candidate.generation,
        attempt: id.number,
        next_at: Some(deadline_at),
        started_at: candidate.status.started_at.or(Some(now)),
        app_digest,
        ..candidate.status.clone()
    };
    move_candidate(candidate, status, plan);
    plan.effects.push(Effect::Start(Box::new(Assignment {
        id,
        task: candidate.name.clone(),
        analyzer: lane.analyzer.clone(),
        app: AppTarget {
            name: candidate.spec.app.clone(),
            path: app.path.clone(),
            model: app.model.clone(),
            number: app.number,
            target_urls: app.target_urls.clone(),
        },
        target: target(spec, replica),
        rate: spec.rate,
        tools: candidate.spec.tools.clone(),
        config: candidate.spec.config.clone(),
        stamp: candidate.stamp.clone(),
        opened_at: now,
        deadline_at,
    })));
}

fn target(spec: &AnalyzerSpec, replica: &str) -> Target {
    match (&spec.websocket, &spec.command) {
        (_, Some(command)) => Target::Command(Box::new(command.clone())),
        (ws, None) => Target::WebSocket {
            url: replica.to_owned(),
            request: ws.as_ref().map(|ws| ws.request.clone()).unwrap_or_default(),
            connect_timeout: ws.as_ref().map_or(Span::seconds(5), |ws| ws.connect_timeout),
            extended: false,
        },
    }
}

fn hold_back(candidate: &Candidate, reason: Reason, message: String, plan: &mut Plan) {
    let status = TaskStatus { observed_generation: candidate.generation, ..candidate.status.clone() };
    move_candidate(candidate, status.waiting(reason, message, None), plan);
    // What it waits for may have come between the observation and this commit, when nobody saw it waiting yet.
    plan.wakes.push(Key::Task(candidate.uid.clone()));
}

fn move_candidate(candidate: &Candidate, status: TaskStatus, plan: &mut Plan) {
    let seen = TaskRef { uid: &candidate.uid, name: &candidate.name, version: candidate.version };
    plan.writes.extend(transition(seen, status));
}
