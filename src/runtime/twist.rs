//! Mistakes on purpose: a simulation changes what was observed before it is planned for, or what was planned before it is committed, or has
//! two steps change places, and looks whether its laws notice. Nothing in this program makes any: only who puts a [`Core`](super::core::Core)
//! together by hand can, and no setting, argument or file does.

use std::any::Any;

use crate::plan::{Key, Plan};

/// Makes mistakes on purpose.
pub trait Twist: Send + Sync {
    /// May change what was observed: what the reconciler of the key looks at, such as [`ObservedTask`](crate::plan::task::ObservedTask).
    fn observed(&self, key: &Key, observed: &mut dyn Any);

    /// May change what was planned.
    fn planned(&self, key: &Key, plan: &mut Plan);

    /// Whether two steps change places.
    fn swaps(&self, _order: Order) -> bool {
        false
    }
}

/// Two steps, of which the second comes first when they change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Commit, then act.
    ActsFirst,
    /// Register an attempt, then commit its row.
    RegistersLast,
    /// Write an ending, then let go of the attempt.
    LetsGoFirst,
}
