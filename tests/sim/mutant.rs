//! What a mistake on purpose is: what a reconciler sees is changed before it plans, or what it planned before that is committed, or two steps
//! change places, or a setting is not what people set, or the schema has lost a guard.

use std::any::Any;
use std::sync::Arc;

use manifestd::config::Settings;
use manifestd::plan::write::TaskWrite;
use manifestd::plan::{Key, Plan, Write};
use manifestd::runtime::twist::{Order, Twist};

use super::laws::Law;
use super::script::Focus;

/// A mistake that is made on purpose.
#[derive(Clone, Copy)]
pub(crate) struct Mutant {
    /// What is wrong.
    pub(crate) name: &'static str,
    /// The law that notices; one of these, whichever is broken first.
    pub(crate) laws: &'static [Law],
    /// What the seeds are about that can show it.
    pub(crate) foci: &'static [Focus],
    /// A seed that shows it; others are tried after it.
    pub(crate) hint: u64,
    /// What it changes of the schema.
    pub(crate) schema: &'static str,
    /// Which steps change places.
    pub(crate) swaps: Option<Order>,
    /// What it changes of the settings that the program goes by, and the laws do not.
    pub(crate) settings: fn(&mut Settings),
    /// What it changes of what is observed, and of what is planned.
    pub(crate) saw: fn(&mut dyn Any),
    pub(crate) planned: fn(&mut Plan),
}

/// Nothing is wrong yet.
pub(crate) const NONE: Mutant = Mutant {
    name: "",
    laws: &[],
    foci: &[],
    hint: 0,
    schema: "",
    swaps: None,
    settings: |_| {},
    saw: |_| {},
    planned: |_| {},
};

/// Makes the mistakes of a mutant.
struct Mistakes(&'static Mutant);

impl Twist for Mistakes {
    fn observed(&self, _: &Key, observed: &mut dyn Any) {
        (self.0.saw)(observed);
    }

    fn planned(&self, _: &Key, plan: &mut Plan) {
        (self.0.planned)(plan);
    }

    fn swaps(&self, order: Order) -> bool {
        self.0.swaps == Some(order)
    }
}

impl Mutant {
    pub(crate) fn twist(&'static self) -> Arc<dyn Twist> {
        Arc::new(Mistakes(self))
    }
}

/// Changes what was observed, if it is of this type.
pub(crate) fn see<T: 'static>(observed: &mut dyn Any, change: impl FnOnce(&mut T)) {
    if let Some(observed) = observed.downcast_mut() {
        change(observed);
    }
}

/// The writes of a plan that change a task.
pub(crate) fn task_writes(plan: &mut Plan) -> impl Iterator<Item = &mut TaskWrite> {
    plan.writes.iter_mut().filter_map(|write| match write {
        Write::Task(write) => Some(&mut **write),
        _ => None,
    })
}
