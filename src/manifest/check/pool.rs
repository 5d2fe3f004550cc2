//! Rules of kind Pool: a rate that lets something through.

use crate::manifest::faults::Faults;
use crate::manifest::tree::Node;

use super::longer_than_nothing;

/// Rules of a Pool; how many slots it may have, the schema says.
pub(super) fn check(spec: &Node<'_>, faults: &mut Faults) {
    if let Some(rate) = spec.get("rate") {
        longer_than_nothing(rate, "per", "spec.rate", faults);
    }
}
