//! To be written.

use super::observed::ObservedPipeline;
use crate::plan::{Plan, Reconciler};
use crate::resource::time::Timestamp;

/// Reconciles one pipeline. To be written.
#[derive(Debug)]
pub struct PipelineReconciler;

impl Reconciler for PipelineReconciler {
    type Observed = ObservedPipeline;

    fn plan(_: &ObservedPipeline, _: Timestamp) -> Plan {
        Plan::default()
    }
}
