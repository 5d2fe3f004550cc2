//! The central function: observe, plan, commit, perform. And the loop that calls it for every key that is due.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::apps::observe_apps;
use super::core::Core;
use super::maintenance::{Search, observe_maintenance, sweep};
use super::pass::{is_at_one_moment, pass};
use super::pulse::Beat;
use super::reuse::observe_reuse;
use super::runs::observe_run;
use super::trees::observe_tree;
use super::wakes::Loop;
use crate::plan::action::Permit;
use crate::plan::analyzer::{AnalyzerReconciler, Asked};
use crate::plan::apps::AppsReconciler;
use crate::plan::lane::{LaneReconciler, ObservedLane};
use crate::plan::maintenance::MaintenanceReconciler;
use crate::plan::pipeline::run::{RunReconciler, begins};
use crate::plan::pipeline::trigger::PipelineReconciler;
use crate::plan::task::{ObservedTask, TaskReconciler};
use crate::plan::tree::TreeReconciler;
use crate::plan::{Effect, Key, Plan, Reconciler};
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::time::Timestamp;
use crate::store::{Committed, StoreError};

/// Keys of one loop that are worked on at once. Enough for group commit to find company.
const PARALLEL: usize = 64;

/// Keys that one transaction passes over at most: enough to be worth its way, and few enough to be over soon.
const TOGETHER: usize = 64;

/// Keys of the files of apps that are worked on at once: more would only take the disk from what runs.
const PARALLEL_TREES: usize = 4;

/// What one pass over one key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done for now; look again at this time, if there is one.
    Settled(Option<Timestamp>),
    /// Somebody else moved the state: observe again.
    Conflict,
}

/// One pass over one key.
///
/// # Errors
/// What the store says.
pub async fn reconcile(core: &Core, key: &Key) -> Result<Verdict, StoreError> {
    let began = Instant::now();
    let plan = plan(core, key).await?;
    follow(core, key, plan, began.elapsed()).await
}

/// Carries out what was planned for a key, and notes what that cost.
async fn follow(core: &Core, key: &Key, plan: Plan, looking: Duration) -> Result<Verdict, StoreError> {
    if !plan.is_empty() {
        tracing::debug!(%key, ?looking, "planned\n{plan}");
    }
    let planned = Instant::now();
    let verdict = carry_out(core, plan).await;
    core.pulses.took(beat(key), looking, planned.elapsed());
    verdict
}

/// One pass over one key while the process ends: what follows from what has happened is written, and nothing begins. Lanes and analyzers are not
/// looked at, so nothing is opened or asked; no pipeline makes a run, and no run begins, or begins another round.
///
/// # Errors
/// What the store says.
pub async fn conclude(core: &Core, key: &Key) -> Result<Verdict, StoreError> {
    match key {
        Key::Lane(_) | Key::Analyzer(_) | Key::Pipeline(_) => Ok(Verdict::Settled(None)),
        Key::Run(uid) => {
            let Some(run) = observe_run(core, uid).await? else { return Ok(Verdict::Settled(None)) };
            let plan = RunReconciler::plan(&run, core.now());
            if begins(&run, &plan) { Ok(Verdict::Settled(None)) } else { carry_out(core, plan).await }
        }
        Key::Task(_) | Key::Apps | Key::Tree(_) | Key::Maintenance => reconcile(core, key).await,
    }
}

/// Commits a plan, and performs its effects once that is durable.
///
/// # Errors
/// What the store says.
pub async fn carry_out(core: &Core, plan: Plan) -> Result<Verdict, StoreError> {
    let Plan { writes, effects, wakes, next, actions: _ } = plan;
    let wrote = !writes.is_empty();
    // A rehearsal is on a copy of the state, but the world is the real one.
    let effects = if core.rehearses { Vec::new() } else { effects };
    let reserved = core.attempts.reserve(&effects);
    match core.store.commit(writes, core.now()).await? {
        Committed::Applied(woken) => {
            if wrote {
                core.room.was_there(core.now());
            }
            let sweeps = effects.contains(&Effect::Sweep);
            if sweeps {
                tracing::debug!("what is purged is committed; its results go");
            }
            reserved.begin();
            effects.into_iter().for_each(|effect| perform(core, effect));
            wakes.into_iter().chain(woken).for_each(|key| core.wakes.add(key));
            if sweeps {
                sweep(core).await?;
            }
            Ok(Verdict::Settled(next))
        }
        Committed::Conflict => Ok(Verdict::Conflict),
    }
}

/// Performs one effect of a committed plan, and returns at once.
pub(super) fn perform(core: &Core, effect: Effect) {
    match effect {
        Effect::Probe(probe) => core.probes.perform(*probe),
        Effect::Start(_) | Effect::Resume { .. } | Effect::Stop { .. } | Effect::Reap { .. } => {
            core.attempts.perform(core, effect);
        }
        // By whoever carries the plan out, who waits for it: only maintenance plans it, and its next batch comes after it.
        Effect::Sweep => {}
    }
}

/// Observes a key and plans for it. Nothing is written and nothing is done.
///
/// # Errors
/// What the store says.
pub async fn plan(core: &Core, key: &Key) -> Result<Plan, StoreError> {
    let budgets = core.settings.budgets();
    match key {
        Key::Lane(analyzer) => {
            // Before the store is read: an answer that comes in between has been written.
            let asked = core.probes.asked(analyzer);
            let mut lane = core.store.observe_lane(analyzer.clone(), core.now(), budgets).await?;
            observe_reuse(core, &mut lane).await?;
            Ok(plan_lane(core, lane, &asked, core.now()))
        }
        Key::Analyzer(name) => {
            // Before the store is read: an answer that comes in between has been written.
            let asked = core.probes.asked(name);
            let mut analyzer = core.store.observe_analyzer(name.clone(), budgets).await?;
            analyzer.spec.iter_mut().for_each(|spec| replace_replicas(core, spec));
            analyzer.asked = asked;
            let urls = analyzer.spec.as_ref().map(AnalyzerSpec::replicas).unwrap_or_default();
            core.probes.keep(name, &urls);
            Ok(timed::<AnalyzerReconciler>(core, key, analyzer, core.now()))
        }
        Key::Task(uid) => {
            // Before the store is read: an attempt that ends in between has written its outcome.
            let held = core.attempts.held_of(std::slice::from_ref(uid), core.now());
            let task = core.store.observe_task(uid.clone(), held, budgets).await?;
            Ok(task.map_or_else(Plan::default, |task| plan_task(core, task, core.now())))
        }
        Key::Apps => Ok(timed::<AppsReconciler>(core, key, observe_apps(core).await?, core.now())),
        Key::Tree(app) => {
            let (tree, now) = (observe_tree(core, app).await?, core.now());
            core.trees.note(app, tree.as_ref().is_some_and(|tree| tree.is_settling(now)));
            Ok(tree.map_or_else(Plan::default, |tree| timed::<TreeReconciler>(core, key, tree, now)))
        }
        Key::Pipeline(uid) => {
            let pipeline = core.store.observe_pipeline(uid.clone()).await?;
            Ok(pipeline
                .map_or_else(Plan::default, |pipeline| timed::<PipelineReconciler>(core, key, pipeline, core.now())))
        }
        Key::Run(uid) => {
            let run = observe_run(core, uid).await?;
            Ok(run.map_or_else(Plan::default, |run| timed::<RunReconciler>(core, key, run, core.now())))
        }
        Key::Maintenance => {
            let observed = observe_maintenance(core, core.settings.rules(), Permit::All, Search::Slice).await?;
            Ok(timed::<MaintenanceReconciler>(core, key, observed, core.now()))
        }
    }
}

/// Plans for a task.
pub(super) fn plan_task(core: &Core, mut task: ObservedTask, now: Timestamp) -> Plan {
    recheck(core, &mut task, now);
    task.analyzer.iter_mut().for_each(|spec| replace_replicas(core, spec));
    timed::<TaskReconciler>(core, &Key::Task(task.uid.clone()), task, now)
}

/// Plans for a queue, with what is known of the questions that its replicas were asked.
pub(super) fn plan_lane(core: &Core, mut lane: ObservedLane, asked: &[(String, Asked)], now: Timestamp) -> Plan {
    lane.spec.iter_mut().for_each(|spec| replace_replicas(core, spec));
    for replica in &mut lane.replicas {
        replica.asked = asked.iter().any(|(url, asked)| *url == replica.health.url && asked.answered.is_some());
    }
    timed::<LaneReconciler>(core, &Key::Lane(lane.analyzer.clone()), lane, now)
}

/// Plans, and notes what that cost: the time of this thread's processor, so that a busy machine is not taken for a slow plan.
fn timed<R: Reconciler<Observed: 'static>>(core: &Core, key: &Key, mut observed: R::Observed, now: Timestamp) -> Plan {
    if let Some(twist) = &core.twist {
        twist.observed(key, &mut observed);
    }
    let began = processor_time();
    let mut plan = R::plan(&observed, now);
    core.pulses.planned(beat(key), processor_time().saturating_sub(began));
    if let Some(twist) = &core.twist {
        twist.planned(key, &mut plan);
    }
    plan
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// And once more after it was read: an attempt that was opened in between is carried by now.
fn recheck(core: &Core, task: &mut ObservedTask, now: Timestamp) {
    for attempt in task.attempts.iter_mut().filter(|attempt| attempt.ended.is_none() && attempt.carried.is_none()) {
        attempt.carried = core.attempts.carried(&attempt.id, now);
    }
}

/// The settings may name other replicas than the manifest, as the old system's environment did.
fn replace_replicas(core: &Core, spec: &mut AnalyzerSpec) {
    if let Some(websocket) = &mut spec.websocket {
        let urls = core.settings.replicas_of(&websocket.request);
        if !urls.is_empty() {
            websocket.urls = urls.to_vec();
        }
    }
}

const fn beat(key: &Key) -> Beat {
    match key {
        Key::Lane(_) | Key::Analyzer(_) | Key::Task(_) => Beat::Tasks,
        Key::Apps | Key::Tree(_) => Beat::Apps,
        Key::Pipeline(_) | Key::Run(_) => Beat::Pipelines,
        Key::Maintenance => Beat::Maintenance,
    }
}

/// Works on the keys of one loop until it is `over`, at the latest when the process stops opening things.
pub async fn run_loop(core: Core, of: Loop, over: CancellationToken) {
    let parallel = if of == Loop::Trees { PARALLEL_TREES } else { PARALLEL };
    let mut running = JoinSet::new();
    loop {
        while running.len() < parallel && !over.is_cancelled() {
            let keys = core.wakes.pop_together(of, core.now(), TOGETHER, is_at_one_moment);
            if keys.is_empty() {
                break;
            }
            running.spawn(work(core.clone(), keys));
        }
        match of {
            Loop::Tasks => core.pulses.turned(Beat::Tasks),
            Loop::Pipelines => core.pulses.turned(Beat::Pipelines),
            Loop::Apps | Loop::Trees | Loop::Maintenance => {}
        }
        let due = core.wakes.next_due(of);
        tokio::select! {
            biased;
            () = over.cancelled() => break,
            Some(_) = running.join_next(), if !running.is_empty() => {}
            () = core.wakes.changed(of) => {}
            () = sleep_until(&core, due), if due.is_some() => {}
        }
    }
    // A pass that has begun is finished: it holds no lock and waits for nothing but the store.
    while running.join_next().await.is_some() {}
}

async fn sleep_until(core: &Core, due: Option<Timestamp>) {
    let wait = due.map_or_else(Default::default, |at| at.since(core.now()));
    tokio::time::sleep(wait.std()).await;
}

/// One pass over each of some keys, with its consequences for the queue.
async fn work(core: Core, keys: Vec<Key>) {
    let [first, ..] = keys.as_slice() else { return };
    let counted = core.pulses.begin(beat(first), core.now());
    let left = match keys.iter().all(is_at_one_moment) {
        true => work_at_one_moment(&core, keys).await,
        false => keys,
    };
    for key in left {
        let ended = AssertUnwindSafe(reconcile(&core, &key)).catch_unwind().await;
        settle(&core, key, ended);
    }
    core.pulses.end(counted, core.now());
    core.progress.notify_waiters();
}

/// Passes over some keys together. Gives those that were not: whose fault that was is found out one by one.
async fn work_at_one_moment(core: &Core, keys: Vec<Key>) -> Vec<Key> {
    let passed = match pass(core, keys.clone()).await {
        Ok(passed) => passed,
        Err(error) => {
            tracing::debug!(%error, keys = keys.len(), "keys could not be passed over together; each is now, by itself");
            return keys;
        }
    };
    let mut left: BTreeSet<Key> = keys.into_iter().collect();
    for one in passed {
        let key = one.key().clone();
        left.remove(&key);
        let performed = catch_unwind(AssertUnwindSafe(|| one.perform(core)));
        settle(core, key, performed.map(|next| Ok(Verdict::Settled(next))));
    }
    left.into_iter().collect()
}

/// What the end of a pass means for the queue. A panic harms only this key. What comes next is added before the key is let go of, so that the
/// queue is not empty in between.
fn settle(core: &Core, key: Key, ended: std::thread::Result<Result<Verdict, StoreError>>) {
    match ended {
        Ok(Ok(Verdict::Settled(next))) => {
            if let Some(at) = next {
                core.wakes.add_at(key.clone(), at);
            }
            core.wakes.done(&key);
        }
        Ok(Ok(Verdict::Conflict)) => {
            core.wakes.add(key.clone());
            core.wakes.done(&key);
        }
        Ok(Err(error)) => {
            core.check(&format!("reconciling {key}"), &error);
            core.wakes.failed(&key, core.now());
        }
        Err(_) => {
            tracing::error!(%key, "a reconciler panicked; the key will be tried again");
            core.wakes.failed(&key, core.now());
        }
    }
}
