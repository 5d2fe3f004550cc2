//! Answering what people ask of runs and pipelines. What is asked becomes desired state in one transaction each; the loops act on it.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Answerer;
use super::control::{Request, Response, RetryWhat, ToldLine};
use crate::plan::pipeline::graph::Graph;
use crate::plan::pipeline::render::{read_params, resolve_params};
use crate::plan::pipeline::schedule::{slot_name, slots};
use crate::resource::pipeline::PipelineSpec;
use crate::resource::run::{RetryMode, Suspension};
use crate::resource::time::{Span, Timestamp};
use crate::store::StoreError;
use crate::store::run_request::{Told, Verdict};

/// Slots of one backfill at most: each becomes a run, and nobody means to ask for more at once.
const SLOTS_MAX: usize = 1000;

impl Answerer {
    /// Carries out a request about runs; any other is refused.
    pub(super) async fn answer_run(&self, request: Request) -> Result<Response, String> {
        let (store, now) = (&self.core.store, self.core.now());
        let verdict = match request {
            Request::Run { pipeline, params } => {
                if self.is_alone() {
                    // No loop has read the manifests, and the run would be pinned to what they were.
                    self.sync().await?;
                }
                let spec = self.pipeline(&pipeline).await?;
                let params = read_params(&spec, &params)?;
                resolve_params(&spec, &params)?;
                store.make_run(pipeline, params, now).await
            }
            Request::Rerun { run, params, latest, dry_run } => {
                if latest && self.is_alone() {
                    self.sync().await?;
                }
                let spec = self.run(&run, latest).await?;
                store.rerun(run, read_params(&spec, &params)?, latest, dry_run, now).await
            }
            Request::CancelRuns { runs, message, finally, dry_run } => {
                store.cancel_runs(runs, message, finally, dry_run).await
            }
            Request::RetryRun { run, what, dry_run } => {
                let modes = retry_modes(&Graph::new(self.run(&run, false).await?), &what)?;
                store.retry_run(run, modes, dry_run).await
            }
            Request::Suspend { target, reason, by, until, dry_run } => {
                if let Some(past) = until.filter(|until| *until <= now) {
                    return Err(format!("--until {past} is not later than now"));
                }
                store.suspend(target, Suspension { reason, by, at: now, until }, dry_run).await
            }
            Request::Resume { target, dry_run } => store.resume(target, dry_run).await,
            Request::Decide { run, step, approved, by, comment } => {
                check_approval(&run, &self.run(&run, false).await?, &step)?;
                store.decide(run, step, approved, (by, comment), now).await
            }
            Request::Backfill { pipeline, from, to, dry_run } => {
                let spec = self.pipeline(&pipeline).await?;
                resolve_params(&spec, &serde_json::Map::new())?;
                store.backfill(pipeline.clone(), missed(&pipeline, &spec, from, to, now)?, dry_run, now).await
            }
            other => return Err(format!("{other:?} does not concern runs; this is a bug")),
        };
        self.told(verdict.map_err(|error: StoreError| error.to_string())?)
    }

    /// The spec of a pipeline as it is now.
    async fn pipeline(&self, name: &str) -> Result<PipelineSpec, String> {
        let spec = self.core.store.pipeline_spec(name.to_owned()).await.map_err(|error| error.to_string())?;
        spec.ok_or_else(|| format!("there is no pipeline {name:?}; `manifestd get pipelines` lists them"))
    }

    /// The spec that a run is pinned to, or that of its pipeline as it is now.
    async fn run(&self, name: &str, latest: bool) -> Result<PipelineSpec, String> {
        let spec = self.core.store.run_spec(name.to_owned(), latest).await.map_err(|error| error.to_string())?;
        spec.ok_or_else(|| format!("there is no run {name:?}; `manifestd get runs` lists them"))
    }

    fn told(&self, verdict: Verdict) -> Result<Response, String> {
        let line = |Told { name, message, effective, key }| {
            key.into_iter().for_each(|key| self.core.wakes.add(key));
            ToldLine { name, message, effective }
        };
        Ok(Response::Told { lines: verdict?.into_iter().map(line).collect() })
    }
}

/// Which steps another round runs again, and how much of them.
fn retry_modes(graph: &Graph, what: &RetryWhat) -> Result<BTreeMap<String, RetryMode>, String> {
    let names = || graph.steps.iter().map(|node| node.step.name.as_str());
    let place = |step: &str| {
        let known = || names().collect::<Vec<_>>().join(", ");
        names().position(|name| name == step).ok_or_else(|| format!("the run has no step {step:?}; it has {}", known()))
    };
    let chosen: BTreeSet<usize> = match what {
        RetryWhat::Failed => return Ok(names().map(|name| (name.to_owned(), RetryMode::Bad)).collect()),
        RetryWhat::Only(step) => BTreeSet::from([place(step)?]),
        RetryWhat::From(step) => {
            let mut chosen = BTreeSet::from([place(step)?]);
            // Each step comes after all that it needs, so one look at each is enough.
            for (at, node) in graph.steps.iter().enumerate() {
                if node.needs.iter().any(|needed| chosen.contains(needed)) {
                    chosen.insert(at);
                }
            }
            chosen
        }
    };
    Ok(chosen.into_iter().map(|at| (graph.steps[at].step.name.clone(), RetryMode::All)).collect())
}

/// Refuses a decision about what is no approval.
fn check_approval(run: &str, spec: &PipelineSpec, step: &str) -> Result<(), String> {
    let all = || spec.steps.iter().chain(&spec.finally);
    match all().find(|candidate| candidate.name == step) {
        Some(found) if found.approval.is_some() => Ok(()),
        Some(_) => Err(format!("step {step:?} of run {run} is no approval; nobody has to decide about it")),
        None => {
            let known: Vec<_> = all().filter(|one| one.approval.is_some()).map(|one| one.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(format!("run {run} has no step {step:?}; its approvals: {known}"))
        }
    }
}

/// The slots from one moment to another, both included, with the names of their runs. What is still to come is left to the schedule.
fn missed(
    pipeline: &str,
    spec: &PipelineSpec,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Result<Vec<(String, Timestamp)>, String> {
    let schedule = spec.schedule.as_ref().ok_or_else(|| format!("pipeline {pipeline} has no schedule"))?;
    if from > to {
        return Err(format!("--from {from} is later than --to {to}"));
    }
    if from > now {
        return Err(format!("--from {from} is still to come; the schedule makes these runs when it is their time"));
    }
    let to = to.min(now);
    // What is looked for comes after the first moment given.
    let found = slots(schedule, from.minus(Span(1)), to, SLOTS_MAX + 1)?;
    if found.len() > SLOTS_MAX {
        return Err(format!("there are more than {SLOTS_MAX} slots between {from} and {to}; ask for a shorter time"));
    }
    Ok(found.into_iter().map(|slot| (slot_name(pipeline, slot), slot)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(steps: Value) -> PipelineSpec {
        serde_json::from_value(json!({ "steps": steps, "finally": [{"name": "clean", "analyzer": "a"}] })).unwrap()
    }

    fn study() -> PipelineSpec {
        spec(json!([
            {"name": "generate", "analyzer": "a"},
            {"name": "analyse", "analyzer": "a", "forEach": {"appsFrom": "generate"}},
            {"name": "agree", "approval": {}},
            {"name": "report", "analyzer": "a", "needs": ["analyse", "agree"]},
        ]))
    }

    fn chosen(what: &RetryWhat) -> Result<Vec<(String, RetryMode)>, String> {
        retry_modes(&Graph::new(study()), what).map(|modes| modes.into_iter().collect())
    }

    #[test]
    fn another_round_runs_what_did_not_succeed_or_a_step_or_all_from_it_on() {
        let all = |names: &[&str]| Ok(names.iter().map(|name| ((*name).to_owned(), RetryMode::All)).collect());
        assert_eq!(chosen(&RetryWhat::Only("analyse".into())), all(&["analyse"]));
        assert_eq!(chosen(&RetryWhat::From("generate".into())), all(&["analyse", "generate", "report"]));
        assert_eq!(chosen(&RetryWhat::From("agree".into())), all(&["agree", "report"]));
        let failed = chosen(&RetryWhat::Failed).unwrap();
        assert_eq!(failed.len(), 5);
        assert!(failed.iter().all(|(_, mode)| *mode == RetryMode::Bad));
        let unknown = chosen(&RetryWhat::From("nope".into())).unwrap_err();
        assert!(unknown.contains("nope") && unknown.contains("generate, "), "{unknown}");
    }

    #[test]
    fn only_an_approval_is_decided_about() {
        assert_eq!(check_approval("study-1", &study(), "agree"), Ok(()));
        assert!(check_approval("study-1", &study(), "report").unwrap_err().contains("is no approval"));
        assert!(check_approval("study-1", &study(), "clean").unwrap_err().contains("is no approval"));
        assert!(check_approval("study-1", &study(), "nope").unwrap_err().contains("its approvals: agree"));
    }

    #[test]
    fn a_backfill_needs_a_schedule_and_a_time_that_runs_forward() {
        let (early, late) = (Timestamp(0), Timestamp(60_000));
        assert!(missed("study", &study(), early, late, late).unwrap_err().contains("has no schedule"));
        let mut nightly = study();
        nightly.schedule = serde_json::from_value(json!({"cron": "* * * * *"})).unwrap();
        assert!(missed("study", &nightly, late, early, late).unwrap_err().contains("is later than"));
        // Now it is the second minute; what comes after it is the schedule's.
        let names = |from, to| missed("study", &nightly, from, to, late).map(|slots| slots.len());
        assert_eq!(names(early, Timestamp(600_000)), Ok(2));
        assert!(names(Timestamp(60_001), Timestamp(600_000)).unwrap_err().contains("still to come"));
    }
}
