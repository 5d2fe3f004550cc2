//! Plans for one analyzer's queue: which pending tasks get the free slots.
//!
//! All openings of a pass are planned together: highest priority first, owners in turn among equals, within the capacity of each replica, the
//! rate of the analyzer, and the pools that tasks name. A task that may not run leaves the queue with a reason; one whose pool is full stays,
//! and those behind it go on.

use super::Key;
use super::admission::{AppFacts, admit, admit_pool, admit_reading};
use super::assignment::{Order, spec_digest};
use super::budgets::Budgets;
use super::merge::{Merged, Told, merge};
use super::pool::{Answer, Claims, ObservedPool};
use super::replica::{ReplicaFacts, of};
use super::reuse::{self, Reusable};
use super::settle::keep_what_succeeded;
use super::slots::Slots;
use super::transition::{TaskRef, transition};
use super::unavailable::{Readiness, readiness, wait_or_fail};
use super::write::{OpenAttempt, TaskStatus, Write};
use super::{Effect, Plan, Reconciler};
use crate::resource::address::EMBEDDED;
use crate::resource::analyzer::{AnalyzerSpec, Rate};
use crate::resource::attempt::{AttemptId, Origin, Stamp};
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::task::{Cache, RunPolicy, TaskSpec};
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
    /// What is known of its replicas.
    pub replicas: Vec<ReplicaFacts>,
    /// Tasks that were taken out of the queue, up to one for each slot, since no replica can be used.
    pub waiting: usize,
    /// When attempts were opened within the rate's period, newest first, at most `rate.limit` of them.
    pub opened: Vec<Timestamp>,
    /// The pools that queued tasks of this lane name, as far as they are declared.
    pub pools: Vec<ObservedPool>,
    /// Tasks that are Pending(Queued), in the order of dispatch; without those of pools that have nothing left.
    pub candidates: Vec<Candidate>,
    /// Whether there are more candidates than were read.
    pub more: bool,
    /// The limits.
    pub budgets: Budgets,
}

impl ObservedLane {
    /// Whether a task in it may take an older result instead of running, which is found out apart.
    #[must_use]
    pub fn may_reuse(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.spec.cache == Cache::Content)
    }
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
    /// The pool of which an attempt takes a slot.
    pub pool: Option<String>,
    /// Version of its status.
    pub version: i64,
    /// Its status.
    pub status: TaskStatus,
    /// The app it names.
    pub app: Option<AppFacts>,
    /// What earlier attempts of this round told of its tools.
    pub told: Vec<Told>,
    /// The generation of the spec that the latest attempt of this round ran; `None` before the first.
    pub ran: Option<i64>,
    /// The replicas that its latest attempts, one after the other, reached nobody at: since something was sent last.
    pub tried: Vec<String>,
    /// The replicas at which attempts of this round were not answered in time, or not to the end.
    pub silent: Vec<String>,
    /// When it came into its phase.
    pub since: Timestamp,
    /// A person asked that it really runs.
    pub no_cache: bool,
    /// What its result will depend on; `None` when results are not shared.
    pub stamp: Option<Stamp>,
    /// A stored result that it can take instead of running.
    pub reusable: Option<Reusable>,
}

impl Candidate {
    /// What earlier attempts of the round, on the same spec, came to.
    fn merged(&self) -> Merged {
        let told: Vec<Told> = self.told.iter().filter(|told| told.generation == self.generation).cloned().collect();
        merge(&self.spec.tools, &told)
    }

    /// Whether its round began on files of its app that have changed since, and that matters to it.
    fn is_of_older_files(&self) -> bool {
        let tree = self.app.as_ref().filter(|app| app.missing_since.is_none()).and_then(|app| app.tree.as_ref());
        let seen = self.status.app_digest.as_ref();
        self.spec.run_policy == RunPolicy::OnAppChange
            && seen.is_some_and(|seen| tree.is_some_and(|tree| tree.digest != *seen))
    }

    /// Whether its round began on a spec that has changed since, and that matters to it.
    fn is_of_older_spec(&self) -> bool {
        self.spec.run_policy != RunPolicy::Once && self.ran.is_some_and(|ran| ran < self.generation)
    }

    /// The tools to ask for: those that no earlier attempt of the round has run well.
    fn asks(&self) -> Vec<String> {
        self.merged().remaining(&self.spec.tools).unwrap_or_else(|| self.spec.tools.clone())
    }
}

/// Reconciles one analyzer's queue.
#[derive(Debug)]
pub struct LaneReconciler;

impl Reconciler for LaneReconciler {
    type Observed = ObservedLane;

    fn plan(lane: &ObservedLane, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let mut slots = Slots::free(lane, now);
        let mut claims = Claims::new(&lane.pools, now);
        let mut allowance = allowance(lane, now, &mut plan);
        let mut queue = Queue::new(lane, now);
        let (mut ready, mut waits) = (false, false);
        for candidate in &lane.candidates {
            if candidate.unwanted || candidate.is_of_older_files() || candidate.is_of_older_spec() {
                // The task loop ends the round, or starts another: what ran well before ran on other files, or was asked for otherwise.
                plan.wakes.push(Key::Task(candidate.uid.clone()));
                continue;
            }
            let (pool, app) = (candidate.pool.as_deref(), candidate.app.as_ref());
            let pool_known = pool.is_some_and(|pool| claims.knows(pool));
            let admitted = admit(&candidate.spec, app, lane.spec.as_ref())
                .and_then(|()| admit_pool(&candidate.spec, pool, pool_known))
                .and_then(|()| admit_reading(&candidate.spec, app, candidate.since));
            let (spec, app) = match admitted {
                Err(hold) => {
                    hold_back(candidate, hold.reason, hold.message, &mut plan);
                    continue;
                }
                Ok(()) => match (&lane.spec, &candidate.app) {
                    (Some(spec), app) if app.is_some() || !candidate.spec.has_app() => (spec, app.as_ref()),
                    _ => continue,
                },
            };
            if let Some(reusable) = &candidate.reusable {
                reuse::take(&lane.analyzer, candidate, reusable, now, &mut plan);
                continue;
            }
            match claims.ask(pool, now) {
                // It stays in the queue, and whoever is behind it may go first.
                Answer::Nothing => continue,
                Answer::NextPass => {
                    ready = true;
                    continue;
                }
                Answer::Free => {}
            }
            if queue.keeps(candidate, &mut plan) {
                ready = true;
                continue;
            }
            // Those behind the first that finds no slot are still told when they could not run anyway.
            let slot = (allowance > 0 && !ready).then(|| slots.take(&candidate.tried, &candidate.silent)).flatten();
            let Some(replica) = slot else {
                // One that only waits for a replica that it has not tried yet keeps nobody behind it from the others.
                waits = true;
                ready |= candidate.tried.is_empty();
                continue;
            };
            allowance -= 1;
            claims.take(pool);
            open(lane, candidate, spec, app, &replica, now, &mut plan);
        }
        if (ready || waits)
            && let Some(at) = lane.slot_free_at
        {
            plan.look_again(at);
        }
        if lane.more && !ready && !waits {
            plan.look_again(now);
        }
        queue.ask(!plan.effects.is_empty(), ready || waits, &mut plan);
        claims.look_again(now, &mut plan);
        plan
    }
}

/// What the queue does while no replica can be used: as many tasks as there are slots wait by the schedule, each on its own budget, and
/// the others stay where they are, so that an outage of an hour does not fail a queue of thousands.
struct Queue<'l> {
    lane: &'l ObservedLane,
    now: Timestamp,
    readiness: Readiness,
    left: usize,
}

impl<'l> Queue<'l> {
    fn new(lane: &'l ObservedLane, now: Timestamp) -> Self {
        let Some(spec) = &lane.spec else {
            return Self { lane, now, readiness: Readiness::Usable, left: 0 };
        };
        let left = Slots::total(spec).saturating_sub(lane.waiting);
        Self { lane, now, readiness: readiness(spec, &lane.replicas, now), left }
    }

    /// Whether a task cannot be started whatever its turn is; then it waits, or stays queued.
    fn keeps(&mut self, candidate: &Candidate, plan: &mut Plan) -> bool {
        let status = TaskStatus { observed_generation: candidate.generation, ..candidate.status.clone() };
        let next = match &self.readiness {
            Readiness::Usable => return false,
            Readiness::Asking => return true,
            _ if self.left == 0 => return true,
            Readiness::Unreachable { message } => {
                let next = wait_or_fail(&status, message, &self.lane.budgets, self.now);
                keep_what_succeeded(next, &candidate.merged())
            }
            Readiness::BreakerOpen { until, message } => {
                status.waiting(Reason::BreakerOpen, message.clone(), Some(*until))
            }
        };
        // One that has failed leaves its place to the next.
        if !next.phase.is_terminal() {
            self.left -= 1;
        }
        move_candidate(candidate, next, plan);
        plan.wakes.push(Key::Task(candidate.uid.clone()));
        true
    }

    /// Has the replicas asked where that is news: something was opened on an idle analyzer, which is asked more often now, or something
    /// waits. A replica may also have come back between the observation and this commit, when nobody saw the task waiting yet.
    fn ask(&self, opened: bool, ready: bool, plan: &mut Plan) {
        let is_service = self.lane.spec.as_ref().is_some_and(|spec| spec.websocket.is_some());
        let moved = self.readiness != Readiness::Usable && (ready || !plan.writes.is_empty());
        if is_service && (moved || (opened && self.lane.occupied.is_empty())) {
            plan.wakes.push(Key::Analyzer(self.lane.analyzer.clone()));
        }
        if let (Readiness::BreakerOpen { until, .. }, true) = (&self.readiness, ready) {
            plan.look_again(*until);
        }
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

fn open(
    lane: &ObservedLane,
    candidate: &Candidate,
    spec: &AnalyzerSpec,
    app: Option<&AppFacts>,
    replica: &str,
    now: Timestamp,
    plan: &mut Plan,
) {
    let id = AttemptId { task: candidate.uid.clone(), number: candidate.status.attempt + 1 };
    let limit = candidate.spec.active_deadline_seconds.map_or(lane.budgets.task_timeout, Span::seconds);
    let deadline_at = now.plus(limit);
    let tree = app.and_then(|app| app.tree.as_ref()).filter(|_| candidate.spec.needs_reading());
    let app_digest = tree.map(|tree| tree.digest.clone());
    let extended = of(&lane.replicas, replica).is_some_and(|known| known.health.said.is_extended());
    let asked = candidate.asks();
    let is_whole = asked == candidate.spec.tools;
    plan.writes.push(Write::OpenAttempt(Box::new(OpenAttempt {
        id: id.clone(),
        round: candidate.status.round,
        generation: candidate.generation,
        asked: asked.clone(),
        analyzer: lane.analyzer.clone(),
        replica: replica.to_owned(),
        opened_at: now,
        deadline_at,
        resumable: extended && !replica.starts_with(EMBEDDED),
        pool: candidate.pool.clone(),
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
        app_digest: app_digest.clone(),
        ..candidate.status.clone()
    };
    move_candidate(candidate, status, plan);
    let order = Order {
        id,
        task: &candidate.name,
        spec: &candidate.spec,
        tools: asked,
        app,
        analyzer: &lane.analyzer,
        analyzer_spec: Some(spec),
        replica,
        extended,
        opened_at: now,
        deadline_at,
        origin: Origin {
            round: candidate.status.round,
            generation: candidate.generation,
            spec_digest: Some(spec_digest(&candidate.spec)),
            app_digest,
        },
        // What a part of the tools found is not the whole result that the key stands for.
        stamp: candidate.stamp.clone().filter(|_| is_whole),
        resumed: false,
    };
    plan.effects.push(Effect::Start(order.assignment()));
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
