//! Plans for one analyzer: which replicas are asked how they are, what its conditions say, and which tasks need wait for it no longer.

use super::backoff::UNAVAILABLE_BASE;
use super::budgets::Budgets;
use super::replica::{ReplicaFacts, Standing, breaker_turns_at, of, standing};
use super::transition::{TaskRef, transition};
use super::write::{ConditionWrite, EventWrite, TaskStatus, Write};
use super::{Effect, Key, Plan, Probe, Reconciler};
use crate::resource::analyzer::{AnalyzerSpec, WebSocketSpec};
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};

/// The condition that says whether some replica can be used.
pub const READY: &str = "Ready";

/// The condition that says that some replicas can be used, and some cannot.
pub const DEGRADED: &str = "Degraded";

/// Time between two probes of a replica that no task needs: idle is nearly idle, and what `get analyzers` says is not older.
const IDLE_INTERVAL: Span = Span::minutes(5);

/// A replica is asked again at once when an attempt did not reach it, but not sooner after the last question than this: one that answers
/// probes and refuses requests would otherwise keep both going as fast as the network allows.
const AGAIN_SOONEST: Span = Span::seconds(1);

/// So many replicas are named by the message of a condition.
const TROUBLES_MAX: usize = 3;

/// What is seen of one analyzer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedAnalyzer {
    /// Its name.
    pub name: String,
    /// Its uid; `None` when it was never declared.
    pub uid: Option<Uid>,
    /// Its spec, with the replicas that the settings give; `None` when no such analyzer is known.
    pub spec: Option<AnalyzerSpec>,
    /// What is known of replicas, also of those that it has no more.
    pub replicas: Vec<ReplicaFacts>,
    /// When this process asked its replicas, by address.
    pub asked: Vec<(String, Asked)>,
    /// Whether some task needs it: queued, waiting for it or for another try, running, or to be started over when it is back.
    pub demand: bool,
    /// Its conditions as they are stored, by type.
    pub conditions: Vec<SeenCondition>,
    /// Tasks that wait for it, and failed ones that are to be started over when it is back.
    pub waiting: Vec<Waiting>,
    /// Whether there are more of them than were read.
    pub more: bool,
    /// The limits.
    pub budgets: Budgets,
}

/// When a replica was asked by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When the latest question began.
    pub at: Timestamp,
    /// Whether it is still under way.
    pub under_way: bool,
    /// When the latest answer came, good or bad; `None` while there was none.
    pub answered: Option<Timestamp>,
}

/// A stored condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCondition {
    /// Its type.
    pub condition: String,
    /// Whether it holds.
    pub holds: bool,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// A task that waits for its analyzer, or failed for want of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The task.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Version of its status.
    pub version: i64,
    /// Its status.
    pub status: TaskStatus,
    /// When its latest attempt ended because nobody was reached; `None` when it ended otherwise, or there was none in this round.
    pub unreached_at: Option<Timestamp>,
}

/// Reconciles one analyzer.
#[derive(Debug)]
pub struct AnalyzerReconciler;

impl Reconciler for AnalyzerReconciler {
    type Observed = ObservedAnalyzer;

    fn plan(seen: &ObservedAnalyzer, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let urls = seen.spec.as_ref().filter(|spec| spec.websocket.is_some()).map(distinct).unwrap_or_default();
        for replica in seen.replicas.iter().filter(|replica| !urls.contains(&replica.health.url)) {
            let url = replica.health.url.clone();
            plan.writes.push(Write::ForgetReplica { analyzer: seen.name.clone(), url });
        }
        let Some(spec) = &seen.spec else { return plan };
        let standings: Vec<(&str, Standing)> =
            urls.iter().map(|url| (url.as_str(), standing(of(&seen.replicas, url), spec.breaker, now))).collect();
        if let Some(websocket) = &spec.websocket {
            urls.iter().for_each(|url| ask(seen, spec, websocket, url, now, &mut plan));
        }
        for (url, standing) in &standings {
            let is_broken = matches!(standing, Standing::Open { .. } | Standing::Trial);
            let replica = of(&seen.replicas, url).filter(|_| is_broken);
            if let Some(at) = replica.and_then(|replica| breaker_turns_at(spec.breaker, replica, now)) {
                plan.look_again(at);
            }
        }
        let (ready, degraded) = conditions(spec, &seen.replicas, &standings);
        let before = plan.writes.len();
        set(seen, ready, &mut plan);
        set(seen, degraded, &mut plan);
        if plan.writes.len() > before {
            // What can be used is not what it was; a replica may be tried again, for which what is queued need not have moved.
            plan.wakes.push(Key::Lane(seen.name.clone()));
        }
        if spec.websocket.is_none() || standings.iter().any(|(_, standing)| standing.is_usable()) {
            let_go(seen, now, &mut plan);
        }
        plan
    }
}

/// The addresses of an analyzer; the environment may name one twice.
fn distinct(spec: &AnalyzerSpec) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for url in spec.replicas() {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// Asks a replica when its time has come; else plans to look again then.
fn ask(
    seen: &ObservedAnalyzer,
    spec: &AnalyzerSpec,
    websocket: &WebSocketSpec,
    url: &str,
    now: Timestamp,
    plan: &mut Plan,
) {
    let asked = seen.asked.iter().find(|(known, _)| known == url).map(|(_, asked)| *asked);
    if asked.is_some_and(|asked| asked.under_way) {
        // Its answer wakes this analyzer.
        return;
    }
    let health = of(&seen.replicas, url).map(|replica| &replica.health);
    // Since the last answer an attempt has found it unreachable, or it was forgotten.
    let doubtful = |asked: Asked| match (health, asked.answered) {
        (Some(health), Some(answered)) => !health.healthy && health.changed_at > answered,
        _ => true,
    };
    // What failed for want of it is looked at as often as what is idle, however rarely probes are wanted.
    let interval = if seen.demand { spec.probe.interval.min(IDLE_INTERVAL) } else { IDLE_INTERVAL };
    let (due, urgent) = match asked {
        // A clock that was turned back must not keep a replica from being asked.
        None => (now, true),
        Some(asked) if asked.at > now => (now, doubtful(asked)),
        Some(asked) if doubtful(asked) => (asked.at.plus(AGAIN_SOONEST.min(interval)), true),
        Some(asked) => (asked.at.plus(interval), false),
    };
    if due > now {
        return plan.look_again(due);
    }
    plan.effects.push(Effect::Probe(Box::new(Probe {
        analyzer: seen.name.clone(),
        url: url.to_owned(),
        connect_timeout: websocket.connect_timeout,
        credentials: websocket.credentials(),
        timeout: spec.probe.timeout,
        failure_threshold: spec.probe.failure_threshold,
        urgent,
    })));
}

/// A condition as it should be.
struct Wanted {
    condition: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
    // Whether a person should look.
    bad: bool,
}

/// What the conditions should say. Nothing in them changes with time alone, so a look at what did not change writes nothing.
fn conditions(spec: &AnalyzerSpec, replicas: &[ReplicaFacts], standings: &[(&str, Standing)]) -> (Wanted, Wanted) {
    let ready = |holds, reason, message: String, bad| Wanted { condition: READY, holds, reason, message, bad };
    let degraded = |holds, reason, message: String| Wanted { condition: DEGRADED, holds, reason, message, bad: holds };
    if spec.websocket.is_none() {
        let message = "its program runs on this machine, so there is nothing to ask";
        return (
            ready(true, "LocalCommand", message.into(), false),
            degraded(false, "LocalCommand", "it has one local replica".into()),
        );
    }
    let total = standings.len();
    let usable = standings.iter().filter(|(_, standing)| standing.is_usable()).count();
    let unknown = standings.iter().filter(|(_, standing)| *standing == Standing::Unknown).count();
    let mut troubles: Vec<String> =
        standings.iter().filter_map(|(url, standing)| trouble(replicas, url, *standing)).collect();
    if troubles.len() > TROUBLES_MAX {
        let more = format!("and {} more", troubles.len() - TROUBLES_MAX);
        troubles.truncate(TROUBLES_MAX);
        troubles.push(more);
    }
    let troubles_text = troubles.join("; ");
    let open = standings.iter().any(|(_, standing)| matches!(standing, Standing::Open { .. }));
    let counted = format!("{usable} of {total} replicas can be used");
    let first = match (usable, unknown) {
        (1.., _) => ready(true, "ReplicasHealthy", counted.clone(), false),
        (0, 1..) => ready(false, "NotAskedYet", "its replicas are being asked".into(), false),
        (0, 0) if open => ready(false, "BreakerOpen", troubles_text.clone(), true),
        (0, 0) => ready(false, "NoHealthyReplica", troubles_text.clone(), true),
    };
    let second = if usable > 0 && !troubles.is_empty() {
        degraded(true, if open { "BreakerOpen" } else { "ReplicaUnhealthy" }, troubles_text)
    } else if unknown > 0 {
        degraded(false, "NotAskedYet", format!("{counted}, and {unknown} not asked yet"))
    } else if usable > 0 {
        degraded(false, "AllUsable", counted)
    } else {
        degraded(false, "NoneUsable", "no replica can be used; see Ready".into())
    };
    (first, second)
}

/// What is wrong with one replica, if anything is known to be.
fn trouble(replicas: &[ReplicaFacts], url: &str, standing: Standing) -> Option<String> {
    match standing {
        Standing::Unknown | Standing::Trial | Standing::Usable => None,
        Standing::Open { .. } => Some(format!("{url}: broke too many requests in a row and is left alone for a while")),
        Standing::Unhealthy => {
            let message = of(replicas, url).map_or("", |replica| replica.health.message.as_str());
            Some(format!("{url}: {message}"))
        }
    }
}

/// Writes a condition that is not as it should be, with an event.
fn set(seen: &ObservedAnalyzer, wanted: Wanted, plan: &mut Plan) {
    let Some(uid) = &seen.uid else { return };
    let Wanted { condition, holds, reason, message, bad } = wanted;
    let stored = seen.conditions.iter().find(|stored| stored.condition == condition);
    if stored.is_some_and(|stored| (stored.holds, stored.reason.as_str(), &stored.message) == (holds, reason, &message))
    {
        return;
    }
    // What was never known to hold need not be told.
    if stored.is_some() || condition == READY || holds {
        plan.writes.push(Write::Event(Box::new(EventWrite {
            uid: uid.clone(),
            kind: Kind::Analyzer,
            name: seen.name.clone(),
            event_type: if bad { EventType::Warning } else { EventType::Normal },
            reason,
            message: message.clone(),
        })));
    }
    plan.writes.push(Write::Condition(Box::new(ConditionWrite {
        uid: uid.clone(),
        condition,
        holds,
        reason,
        message,
    })));
}

/// The waits that a task keeps which goes on now; `None` when it sits out its wait.
///
/// After a real outage all is forgotten. A replica that is well again within moments of refusing an attempt is busy, or well only to
/// probes: then a task goes on at once for the first time, and keeps to the schedule from then on.
fn waits_kept(seen: &ObservedAnalyzer, task: &Waiting) -> Option<u32> {
    let Some(refused) = task.unreached_at else { return Some(0) };
    let well_since =
        seen.replicas.iter().filter(|replica| replica.health.healthy).map(|replica| replica.health.changed_at);
    match well_since.max() {
        Some(since) if since.since(refused) >= UNAVAILABLE_BASE => Some(0),
        _ if task.status.waits <= 1 => Some(task.status.waits),
        _ => None,
    }
}

/// Queues what waits for the analyzer, and starts over what failed for want of it.
fn let_go(seen: &ObservedAnalyzer, now: Timestamp, plan: &mut Plan) {
    let before = plan.writes.len();
    for task in &seen.waiting {
        let status = &task.status;
        let next = match status.phase {
            Phase::Pending => {
                let Some(waits) = waits_kept(seen, task) else { continue };
                let message = format!("analyzer {:?} can be used again", seen.name);
                TaskStatus { waits, ..status.waiting(Reason::Queued, message, None) }
            }
            Phase::Failed if status.recoveries < seen.budgets.recoveries_max => {
                let recoveries = status.recoveries + 1;
                let message = format!(
                    "analyzer {:?} can be used again ({recoveries} of at most {} times in a row)",
                    seen.name, seen.budgets.recoveries_max
                );
                let fresh = TaskStatus::fresh(status.round + 1, status.observed_generation, status.attempt);
                TaskStatus { message, recoveries, ..fresh }
            }
            Phase::Failed | Phase::Running | Phase::Completed | Phase::PartialSuccess | Phase::Cancelled => continue,
        };
        plan.writes.extend(transition(TaskRef { uid: &task.uid, name: &task.name, version: task.version }, next));
    }
    if plan.writes.len() > before {
        plan.wakes.push(Key::Lane(seen.name.clone()));
        if seen.more {
            plan.look_again(now);
        }
    }
}
