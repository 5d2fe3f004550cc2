//! Mistakes on purpose, each of which the laws have to notice.

use std::sync::Arc;

use manifestd::runtime::twist::Twist;

use super::laws::Law;

/// A mistake that is made on purpose.
pub(crate) struct Mutant {
    /// What is wrong.
    pub(crate) name: &'static str,
    /// What it changes of the schema.
    pub(crate) schema: &'static str,
    /// The law that notices.
    pub(crate) law: Law,
    /// What it does to observations and plans.
    pub(crate) twist: Option<fn() -> Arc<dyn Twist>>,
}

impl Mutant {
    pub(crate) fn twist(&self) -> Option<Arc<dyn Twist>> {
        self.twist.map(|make| make())
    }
}
