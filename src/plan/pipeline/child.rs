//! What one child of a step is: its placeholders filled, and the app that it makes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::expand::{Item, item};
use super::graph::Node;
use super::observed::{ObservedRun, OpenChild};
use super::render::Values;
use super::steps::Standing;
use super::write::{ChildSpec, ProducedApp};
use crate::resource::app::AppSpec;
use crate::resource::path::{is_inside, wrong};
use crate::resource::pipeline::Produces;
use crate::resource::run::Conclusion;
use crate::resource::task::{RunPolicy, TaskSpec};

/// What the placeholders of a child stand for, but for what other steps tell of themselves.
pub(super) fn values<'v>(run: &'v ObservedRun, one: &Item) -> Values<'v> {
    let outputs = run.graph.steps.iter().zip(&run.steps).filter(|(node, _)| node.step.for_each.is_none());
    Values {
        params: Some(&run.params),
        run: &run.name,
        pipeline: &run.pipeline,
        item: one.value.clone(),
        matrix: one.matrix.clone(),
        app: one.app.clone(),
        produced: None,
        outputs: outputs.map(|(node, facts)| (node.step.name.clone(), facts.outputs.clone())).collect(),
    }
}

/// What every ended step tells of itself.
pub(super) fn summaries(run: &ObservedRun, standings: &[Standing], outputs: &mut BTreeMap<String, Map<String, Value>>) {
    for (at, (node, standing)) in run.graph.steps.iter().zip(standings).enumerate() {
        if !node.is_counted || !standing.has_ended() {
            continue;
        }
        let told = outputs.entry(node.step.name.clone()).or_default();
        let counts = &run.steps[at].counts;
        let count = |of: &[Conclusion]| of.iter().filter_map(|one| counts.get(one)).sum::<u64>();
        let rows: u64 = counts.values().sum();
        let expected = standing.expected.unwrap_or(rows);
        told.insert("phase".into(), standing.phase.as_str().into());
        told.insert("expected".into(), expected.into());
        told.insert("succeeded".into(), count(&[Conclusion::Succeeded]).into());
        told.insert("partial".into(), count(&[Conclusion::Partial]).into());
        let failed = [Conclusion::Failed, Conclusion::AppNotProduced, Conclusion::OutputMissing];
        told.insert("failed".into(), count(&failed).into());
        told.insert("cancelled".into(), count(&[Conclusion::Cancelled]).into());
        let skipped = count(&[Conclusion::Skipped]) + expected.saturating_sub(rows);
        told.insert("skipped".into(), skipped.into());
    }
}

/// The app that a child makes, as it was worked out when the child was asked for; `None` for a step that makes none. The runtime looks for its
/// directory, so both must agree on it.
#[must_use]
pub fn made_by(run: &ObservedRun, at: usize, child: &OpenChild) -> Option<ProducedApp> {
    let node = run.graph.steps.get(at)?;
    let produces = node.step.produces.as_ref()?;
    if child.makes.is_some() {
        return child.makes.clone();
    }
    // It was asked for before that was recorded, and is worked out again as far as that can be done.
    let apps = run.steps.get(at)?.apps.clone();
    let one = item(node, child.item, apps.as_ref().map(|apps| apps.as_slice()), None);
    produced(produces, &values(run, &one), &run.name, &run.roots).ok()
}

/// The app that a child makes. `roots` are the directories that it may lie in.
///
/// # Errors
/// A placeholder that cannot be filled, or a name, directory or number that is none.
pub fn produced(produces: &Produces, values: &Values<'_>, run: &str, roots: &[String]) -> Result<ProducedApp, String> {
    let name = values.text(&produces.app)?;
    crate::resource::name::check_name(&name).map_err(|bad| format!("produces.app: {bad}"))?;
    let path = values.text(&produces.path)?;
    if let Some((why, help)) = wrong(&path) {
        return Err(format!("produces.path: {path:?} {why}; {help}"));
    }
    if !roots.is_empty() && !roots.iter().any(|root| is_inside(&path, root)) {
        return Err(format!("produces.path: {path:?} lies outside the roots; they are: {}", roots.join(", ")));
    }
    let model = produces.model.as_deref().map(|model| values.text(model)).transpose()?;
    if let Some(model) = &model {
        crate::resource::name::check_slug(model).map_err(|bad| format!("produces.model: {bad}"))?;
    }
    let number = produces.number.as_deref().map(|number| values.text(number)).transpose()?;
    let number = number.map(|text| text.parse().map_err(|_| format!("produces.number: {text:?} is not a number")));
    let labels = produces.labels.iter().map(|(key, value)| Ok((key.clone(), values.text(value)?)));
    Ok(ProducedApp {
        name,
        spec: AppSpec { path, model, number: number.transpose()?, target_urls: Vec::new() },
        labels: labels.collect::<Result<_, String>>()?,
        run: run.to_owned(),
    })
}

/// The task or run that a child is. `app` is what a task works on; empty for none.
pub(super) fn what(node: &Node, values: &Values<'_>, app: &str) -> Result<ChildSpec, String> {
    let step = &node.step;
    if let Some(pipeline) = &step.pipeline {
        return Ok(ChildSpec::Run { pipeline: pipeline.clone(), params: values.map(&step.params)? });
    }
    let analyzer = step.analyzer.clone().ok_or("the step has no analyzer")?;
    Ok(ChildSpec::Task(Box::new(TaskSpec {
        app: app.to_owned(),
        analyzer,
        tools: step.tools.clone(),
        config: values.map(&step.config)?,
        pool: step.pool.clone(),
        priority: step.priority.unwrap_or(100),
        run_policy: RunPolicy::Once,
        cache: step.cache,
        active_deadline_seconds: step.active_deadline_seconds,
        backoff_limit: step.backoff_limit.unwrap_or(3),
        ttl_seconds_after_finished: None,
        suspend: false,
        retry: step.retry.unwrap_or_default(),
    })))
}
