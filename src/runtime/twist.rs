//! Mistakes on purpose: a simulation changes what was observed before it is planned for, or what was planned before it is committed, and
//! looks whether its laws notice.

use std::any::Any;

use crate::plan::{Key, Plan};

/// Makes mistakes on purpose.
pub trait Twist: Send + Sync {
    /// May change what was observed: what the reconciler of the key looks at, such as [`ObservedTask`](crate::plan::task::ObservedTask).
    fn observed(&self, key: &Key, observed: &mut dyn Any);

    /// May change what was planned.
    fn planned(&self, key: &Key, plan: &mut Plan);
}
