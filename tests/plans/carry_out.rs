//! Carries out plans on observations, as the store and the runtime do on rows and processes: for planning again.

use manifestd::plan::analyzer::{Asked, ObservedAnalyzer, SeenCondition};
use manifestd::plan::apps::{GONE_ACCEPTED, KnownApp, NAME_TAKEN, ObservedApps, SOURCE_SUSPECT};
use manifestd::plan::lane::ObservedLane;
use manifestd::plan::mirror::{Change, Existing, Identity, MirrorPlan, ObservedMirror};
use manifestd::plan::task::{Carried, EndedAttempt, ObservedTask};
use manifestd::plan::write::{CloseAttempt, ConditionWrite, TaskWrite};
use manifestd::plan::{Effect, Plan, Write};
use manifestd::resource::name::Uid;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Timestamp;

/// Writes and effects of a task's plan.
pub(crate) fn on_task(task: &mut ObservedTask, plan: &Plan, now: Timestamp) {
    for write in &plan.writes {
        match write {
            Write::Task(write) => set_task(task, write),
            Write::CloseAttempt(close) => close_attempt(task, close),
            Write::TakeUp(id) => {
                let seen = task.attempts.iter().find(|attempt| attempt.id == *id).expect("a seen attempt is taken up");
                assert!(seen.ended.is_none() && seen.carried.is_none(), "what is open and nobody's is taken up");
            }
            Write::Event(_) => {}
            other => panic!("a task's plan never writes {other:?}"),
        }
    }
    for effect in &plan.effects {
        let (id, stopping) = match effect {
            Effect::Stop { id, .. } | Effect::Reap { id, .. } => (id, true),
            Effect::Resume { assignment, stop } => (&assignment.id, stop.is_some()),
            Effect::Start(_) | Effect::Probe(_) | Effect::Sweep => {
                panic!("a task's plan starts, asks and sweeps nothing")
            }
        };
        let attempt = task.attempts.iter_mut().find(|attempt| attempt.id == *id).expect("an effect on a seen attempt");
        let stops = matches!(effect, Effect::Stop { .. });
        assert_eq!(
            stops,
            attempt.carried.is_some(),
            "what is carried is stopped, what nobody carries is reaped or taken up"
        );
        let alive_at = attempt.carried.map_or(now, |carried| carried.alive_at);
        attempt.carried = Some(Carried { alive_at, stopping });
    }
}

fn set_task(task: &mut ObservedTask, write: &TaskWrite) {
    let (before, after) = (&task.status, &write.status);
    assert_eq!(write.version, task.version, "a write carries the version that was seen");
    assert!(after.observed_generation <= task.generation, "a status is about a spec that exists");
    assert!(after.round >= before.round && after.attempt >= before.attempt, "rounds and attempts only rise");
    assert_eq!(after.phase.is_terminal(), after.finished_at.is_some(), "finished_at belongs to terminal phases");
    if before.phase.is_terminal() && after.round == before.round {
        assert_eq!((before.phase, before.reason), (after.phase, after.reason), "a terminal phase never changes");
    }
    if after.round > before.round {
        task.attempts.clear();
    }
    task.status = after.clone();
    task.version += 1;
}

fn close_attempt(task: &mut ObservedTask, close: &CloseAttempt) {
    let attempt = task.attempts.iter_mut().find(|attempt| attempt.id == close.id).expect("a seen attempt is closed");
    assert!(attempt.ended.is_none(), "an attempt ends once");
    let verdict = close.verdict.clone();
    attempt.ended = Some(EndedAttempt {
        outcome: verdict.outcome,
        reason: verdict.reason,
        message: verdict.message,
        at: close.at,
        findings: verdict.findings,
        tools: verdict.tools,
    });
}

/// Writes of a lane's plan: what was moved leaves the queue, what was opened takes a slot.
pub(crate) fn on_lane(lane: &mut ObservedLane, plan: &Plan, _: Timestamp) {
    // What is opened and closed at once takes no slot.
    let closed: Vec<_> = plan
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::CloseAttempt(close) => Some(&close.id),
            _ => None,
        })
        .collect();
    for write in &plan.writes {
        match write {
            Write::OpenAttempt(open) if closed.contains(&&open.id) => {}
            Write::CloseAttempt(_) => {}
            Write::Task(write) => {
                let at = lane.candidates.iter().position(|candidate| candidate.uid == write.uid);
                let candidate = lane.candidates.remove(at.expect("only candidates are moved, and once"));
                assert_eq!(candidate.version, write.version);
                let waits = matches!(write.status.reason, Reason::AnalyzerUnavailable | Reason::BreakerOpen);
                lane.waiting += usize::from(waits && write.status.phase == Phase::Pending);
            }
            Write::OpenAttempt(open) => {
                for replica in lane.replicas.iter_mut().filter(|replica| replica.health.url == open.replica) {
                    replica.open += 1;
                }
                match lane.occupied.iter_mut().find(|(replica, _)| *replica == open.replica) {
                    Some((_, used)) => *used += 1,
                    None => lane.occupied.push((open.replica.clone(), 1)),
                }
                lane.opened.insert(0, open.opened_at);
                if let Some(name) = &open.pool {
                    let pool = lane.pools.iter_mut().find(|pool| pool.name == *name).expect("a seen pool");
                    pool.used += 1;
                    if let Some(rate) = pool.spec.rate {
                        pool.opened.insert(0, open.opened_at);
                        pool.opened.truncate(rate.limit as usize);
                    }
                }
            }
            Write::Event(_) => {}
            other => panic!("a lane's plan never writes {other:?}"),
        }
    }
    if let Some(rate) = lane.spec.as_ref().and_then(|spec| spec.rate) {
        lane.opened.truncate(rate.limit as usize);
    }
}

/// Writes and effects of an analyzer's plan: what was let go is not waiting any more, what was asked is being asked.
pub(crate) fn on_analyzer(analyzer: &mut ObservedAnalyzer, plan: &Plan, now: Timestamp) {
    for write in &plan.writes {
        match write {
            Write::Task(write) => {
                let at = analyzer.waiting.iter().position(|task| task.uid == write.uid);
                let task = analyzer.waiting.remove(at.expect("only what waits is let go, and once"));
                assert_eq!(task.version, write.version);
                assert_eq!(write.status.phase, Phase::Pending);
            }
            Write::ForgetReplica { url, .. } => analyzer.replicas.retain(|replica| replica.health.url != *url),
            Write::Condition(write) => {
                analyzer.conditions.retain(|known| known.condition != write.condition);
                analyzer.conditions.push(SeenCondition {
                    condition: write.condition.into(),
                    holds: write.holds,
                    reason: write.reason.into(),
                    message: write.message.clone(),
                });
            }
            Write::Event(_) => {}
            other => panic!("an analyzer's plan never writes {other:?}"),
        }
    }
    for effect in &plan.effects {
        let Effect::Probe(probe) = effect else { panic!("an analyzer's plan only asks") };
        let before = analyzer.asked.iter().position(|(url, _)| *url == probe.url);
        let before = before.map(|at| analyzer.asked.remove(at).1);
        assert!(before.is_none_or(|asked| !asked.under_way), "one question at a time");
        let answered = before.and_then(|asked| asked.answered);
        analyzer.asked.push((probe.url.clone(), Asked { at: now, under_way: true, answered }));
    }
}

/// Writes of the plan for the apps on disk.
pub(crate) fn on_apps(apps: &mut ObservedApps, plan: &Plan, _: Timestamp) {
    for write in &plan.writes {
        match write {
            Write::FoundApp(found) => {
                // Only what is nobody's, or has moved, is taken over.
                let gives_way = |app: &KnownApp| app.ownerless || app.set.as_ref() == Some(&found.app_set);
                apps.apps.retain(|app| !gives_way(app) || app.name != found.name);
                assert!(apps.apps.iter().all(|app| app.name != found.name), "a name that is taken is not found again");
                let spec: serde_json::Value = serde_json::from_str(&found.spec).expect("the spec is JSON");
                apps.apps.push(KnownApp {
                    uid: Uid(format!("uid-{}", found.name)),
                    name: found.name.clone(),
                    path: spec["path"].as_str().expect("a path").to_owned(),
                    set: Some(found.app_set.clone()),
                    ownerless: false,
                    missing_since: None,
                    present: None,
                });
            }
            Write::AppMissing { uid, since } => {
                let app = apps.apps.iter_mut().find(|app| app.uid == *uid).expect("a known app");
                app.missing_since = *since;
            }
            Write::Condition(condition) => set_condition(apps, condition),
            Write::Event(_) => {}
            other => panic!("a plan for apps never writes {other:?}"),
        }
    }
}

fn set_condition(apps: &mut ObservedApps, write: &ConditionWrite) {
    let set = apps.sets.iter_mut().find(|set| set.uid == write.uid).expect("a condition of a seen set");
    let message = write.holds.then(|| write.message.clone());
    match write.condition {
        SOURCE_SUSPECT => set.suspect = message,
        NAME_TAKEN => set.taken = message,
        GONE_ACCEPTED => set.accepted = write.holds,
        other => panic!("unknown condition {other}"),
    }
}

/// Changes and removals of a mirror's plan.
pub(crate) fn on_mirror(mirror: &mut ObservedMirror, plan: &MirrorPlan) {
    for change in plan.changes.iter().chain(&plan.removals) {
        match change {
            Change::Create(declared) => {
                let uid = Uid(format!("uid-{}", declared.object.metadata.name));
                let (identity, existing) = stored(declared, uid, 1);
                assert!(mirror.existing.insert(identity, existing).is_none(), "only what is not there is created");
            }
            Change::Update { uid, declared, generation, .. } => {
                let (identity, existing) = stored(declared, uid.clone(), *generation);
                assert!(mirror.existing.insert(identity, existing).is_some(), "only what is there is updated");
            }
            Change::Remove { identity, .. } => {
                mirror.existing.get_mut(identity).expect("only what is there is removed").removed = true;
            }
        }
    }
}

/// A declared object as it is stored.
pub(crate) fn stored(declared: &manifestd::plan::mirror::Declared, uid: Uid, generation: i64) -> (Identity, Existing) {
    let existing = Existing {
        uid,
        generation,
        spec: declared.spec.clone(),
        labels: declared.labels.clone(),
        annotations: declared.annotations.clone(),
        provenance: declared.provenance.clone(),
        removed: false,
        has_text: true,
    };
    ((declared.object.kind(), declared.object.metadata.name.clone()), existing)
}
