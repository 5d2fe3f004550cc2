//! A pinned spec with what follows from it: steps in an order in which each comes after what it needs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::resource::pipeline::{PipelineSpec, Step};
use crate::resource::template::{Piece, Place, SUMMARY, pieces};

/// A pipeline's steps, ready to be looked at on every pass. It is made once for each digest.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The spec itself.
    pub spec: PipelineSpec,
    /// Its steps, each after all that it needs; those of `finally` come last.
    pub steps: Vec<Node>,
}

/// One step in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The step.
    pub step: Step,
    /// Indexes into [`Graph::steps`] of what it needs, `appsFrom` among them, without repetition.
    pub needs: Vec<usize>,
    /// Index of the step of `appsFrom`.
    pub source: Option<usize>,
    /// Whether it goes on with each app of its source as soon as that is there: it needs nothing else and has no condition.
    pub streams: bool,
    /// Steps that stream from this one.
    pub followers: Vec<usize>,
    /// Whether it belongs to `finally`.
    pub is_final: bool,
    /// Combinations of its matrix; 1 without one.
    pub combinations: u64,
    /// Whether some step's condition counts its children, or some step's texts name its summary.
    pub is_counted: bool,
    /// Whether some step uses its outputs.
    pub is_read: bool,
}

impl Graph {
    /// Puts the steps in order. A spec that is wrong in a way that manifests are checked for gives some graph, never a panic.
    #[must_use]
    pub fn new(spec: PipelineSpec) -> Self {
        let ordered = order(&spec.steps).into_iter().map(|step| (step, false));
        let last = order(&spec.finally).into_iter().map(|step| (step, true));
        let all: Vec<(Step, bool)> = ordered.chain(last).collect();
        let at: BTreeMap<&str, usize> =
            all.iter().enumerate().map(|(at, (step, _))| (step.name.as_str(), at)).collect();
        let mut steps: Vec<Node> = Vec::with_capacity(all.len());
        for (step, is_final) in &all {
            let source = source_of(step).and_then(|name| at.get(name).copied()).filter(|source| *source < steps.len());
            let mut needs: Vec<usize> = step.needs.iter().filter_map(|name| at.get(name.as_str()).copied()).collect();
            needs.extend(source);
            needs.retain(|need| *need < steps.len());
            needs.sort_unstable();
            needs.dedup();
            let streams =
                source.is_some_and(|source| needs == [source]) && step.when.is_empty() && step.approval.is_none();
            steps.push(Node {
                combinations: combinations(step),
                step: step.clone(),
                needs,
                source,
                streams,
                followers: Vec::new(),
                is_final: *is_final,
                is_counted: false,
                is_read: false,
            });
        }
        for at in 0..steps.len() {
            if let (true, Some(source)) = (steps[at].streams, steps[at].source) {
                steps[source].followers.push(at);
            }
        }
        mark_used(&mut steps);
        Self { spec, steps }
    }

    /// The place of a step.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|node| node.step.name == name)
    }

    /// A step and all that comes after it, by name.
    #[must_use]
    pub fn from(&self, name: &str) -> Vec<&str> {
        let Some(first) = self.find(name) else { return Vec::new() };
        let mut found = vec![first];
        for (at, node) in self.steps.iter().enumerate().skip(first + 1) {
            if node.needs.iter().any(|need| found.contains(need)) {
                found.push(at);
            }
        }
        found.into_iter().map(|at| self.steps[at].step.name.as_str()).collect()
    }
}

/// The step whose apps a step goes on with.
#[must_use]
pub fn source_of(step: &Step) -> Option<&str> {
    step.for_each.as_ref()?.apps_from.as_deref()
}

/// Each step after what it needs; where that cannot be, in the order of the spec.
fn order(steps: &[Step]) -> Vec<Step> {
    let mut left: Vec<&Step> = steps.iter().collect();
    let mut ordered: Vec<Step> = Vec::with_capacity(steps.len());
    while !left.is_empty() {
        let waits = |step: &Step| {
            let needs = step.needs.iter().map(String::as_str).chain(source_of(step));
            needs.into_iter().any(|need| left.iter().any(|other| other.name == need && other.name != step.name))
        };
        let next = left.iter().position(|step| !waits(step)).unwrap_or(0);
        ordered.push(left.remove(next).clone());
    }
    ordered
}

fn combinations(step: &Step) -> u64 {
    let lists = step.for_each.iter().flat_map(|each| each.matrix.values());
    lists.map(|list| list.len() as u64).product()
}

/// Marks the steps whose children some other step counts, or whose outputs it uses.
fn mark_used(steps: &mut [Node]) {
    let names: Vec<String> = steps.iter().map(|node| node.step.name.clone()).collect();
    let (mut counted, mut read) = (vec![false; steps.len()], vec![false; steps.len()]);
    for node in &*steps {
        for condition in node.step.when.iter().filter(|condition| condition.counts()) {
            names.iter().position(|name| *name == condition.step).into_iter().for_each(|at| counted[at] = true);
        }
        for (step, key) in outputs_used(&node.step) {
            let used = if SUMMARY.contains(&key.as_str()) { &mut counted } else { &mut read };
            names.iter().position(|name| *name == step).into_iter().for_each(|at| used[at] = true);
        }
    }
    for ((node, is_counted), is_read) in steps.iter_mut().zip(counted).zip(read) {
        (node.is_counted, node.is_read) = (is_counted, is_read);
    }
}

/// The outputs of other steps that the texts of a step name.
#[must_use]
pub fn outputs_used(step: &Step) -> Vec<(String, String)> {
    let mut texts: Vec<&str> = Vec::new();
    step.config.values().chain(step.params.values()).for_each(|value| texts_in(value, &mut texts));
    texts.extend(step.app.as_deref());
    if let Some(produces) = &step.produces {
        texts.extend([produces.app.as_str(), produces.path.as_str()]);
        texts.extend(produces.model.as_deref().into_iter().chain(produces.number.as_deref()));
        texts.extend(produces.labels.values().map(String::as_str));
    }
    let places = texts.into_iter().flat_map(|text| pieces(text).unwrap_or_default());
    places
        .filter_map(|piece| match piece {
            Piece::Place(Place::Output { step, key }) => Some((step, key)),
            Piece::Place(_) | Piece::Text(_) => None,
        })
        .collect()
}

fn texts_in<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts_in(item, texts)),
        Value::Object(map) => map.values().for_each(|item| texts_in(item, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
