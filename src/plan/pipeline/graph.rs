//! A pinned spec with what follows from it: steps in an order in which each comes after what it needs.

use crate::resource::pipeline::{PipelineSpec, Step};

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
