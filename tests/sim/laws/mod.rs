//! The laws, written apart from the program that has to keep them: they look at what each transaction changed, at what the outside world
//! really did, and at what files and directories really were.

mod attempts;
mod budgets;
mod calm;
mod events;
mod gone;
mod proof;
mod runs;
mod slots;
mod tasks;

use std::collections::BTreeMap;

use manifestd::config::Settings;
use manifestd::resource::attempt::AttemptId;

use super::audit::Change;
use super::declared::Declared;
use super::ledger::Ledger;
use super::model::Model;

pub(crate) use calm::{may_start_over, unsettled};

/// What holds whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Law {
    /// Every change is made once, by whoever owns it: a terminal phase never changes within a round, an attempt ends once, a task has one open
    /// attempt, and a round begins only when something asks for it.
    OneOwner,
    /// Nothing is begun before it is committed, and no row says of a result what is not on disk.
    CommitThenAct,
    /// An open attempt is carried by this controller or by nobody, and what nobody carries is taken up or ended.
    HeldOrOrphaned,
    /// A parent is what its children make of it.
    Derived,
    /// Completed is only what is known to have run, and what a row says of an attempt is what its analyzer said.
    Proven,
    /// What ran well is not run again within its round.
    Kept,
    /// A fault takes nothing away: no object, app or result goes without its reason being there.
    OnlyItself,
    /// A second look at what did not change changes nothing.
    TwiceIsOnce,
    /// Replicas, pools and rates never have more than they allow.
    Slots,
    /// Nothing is tried more often than its budget allows, or given up before.
    Budgets,
    /// Nothing is begun that nobody wants, and what runs and is not wanted any more is told to stop.
    Wanted,
    /// A status speaks of no newer spec than the one that was handled.
    Generation,
    /// Events tell of what happened, each time, and of nothing else.
    Events,
    /// Everything comes to its end, or waits for something that can happen; nothing turns in circles or fails without a reason.
    Ends,
    /// What should be gone is gone in the end.
    Gone,
}

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) law: Law,
    pub(crate) what: String,
}

impl Breach {
    pub(crate) fn new(law: Law, what: impl Into<String>) -> Self {
        Self { law, what: what.into() }
    }
}

/// What a law gives: nothing, or what is wrong.
pub(crate) type Judged = Result<(), Breach>;

/// Fails with a breach unless something holds.
macro_rules! hold {
    ($law:ident, $holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err($crate::laws::Breach::new($crate::laws::Law::$law, format!($($said)+)));
        }
    };
}
pub(crate) use hold;

/// All that laws look at beside what changed.
pub(crate) struct Moment<'m> {
    /// How old the world is, in milliseconds, whatever its clocks say.
    pub(crate) age: u64,
    /// What the clock says.
    pub(crate) wall: i64,
    /// The number of the controller.
    pub(crate) life: u64,
    /// When it began.
    pub(crate) born: u64,
    /// Whether it is being stopped, so that nothing new is done.
    pub(crate) is_stopping: bool,
    /// When clocks were set, as ages.
    pub(crate) jumps: &'m [u64],
    /// Until when wake-ups are lost or the disk is full, if ever.
    pub(crate) troubled: u64,
    /// When a person last accepted that things are gone, had something deleted, or brought something back.
    pub(crate) cared_at: Option<u64>,
    pub(crate) settings: &'m Settings,
    pub(crate) ledger: &'m Ledger,
    pub(crate) declared: &'m Declared,
    /// Where results lie.
    pub(crate) results: &'m std::path::Path,
    /// The specs that runs are pinned to, by digest.
    pub(crate) pinned: &'m BTreeMap<String, serde_json::Value>,
    pub(crate) model: &'m Model,
    /// Whether the controller carries an attempt; `None` when there is none.
    pub(crate) carried: Option<&'m dyn Fn(&AttemptId) -> bool>,
}

impl Moment<'_> {
    /// Whether a clock was set since.
    pub(crate) fn has_jumped_since(&self, age: u64) -> bool {
        self.jumps.iter().any(|jump| *jump >= age)
    }

    /// Since when nothing kept the controller from hearing of something that began at an age.
    pub(crate) fn undisturbed_since(&self, age: u64) -> u64 {
        age.max(self.born).max(self.troubled)
    }

    /// How long a controller may take to act on something that it heard of at an age: a pass, or, when wake-ups were lost since, until the next
    /// resync.
    pub(crate) fn patience(&self, since: u64) -> u64 {
        let is_lost = self.troubled >= since;
        super::model::PASS_MAX + if is_lost { self.settings.task_poll_interval.0 } else { 0 }
    }
}

/// Judges what a transaction changed, after the model has followed.
pub(crate) fn judge(changes: &[Change], moment: &Moment<'_>) -> Judged {
    for change in changes {
        match change.table {
            "task" => tasks::changed(change, changes, moment)?,
            "attempt" => {
                attempts::changed(change, changes, moment)?;
                slots::changed(change, moment)?;
                budgets::opened(change, moment)?;
                proof::changed(change, moment)?;
            }
            "run" => runs::changed(change, moment)?,
            "child" => runs::child_changed(change, moment)?,
            "object" => gone::object_changed(change, moment)?,
            "app" => gone::app_changed(change, moment)?,
            _ => {}
        }
    }
    gone::fuses(changes, moment)?;
    events::told(changes, moment)?;
    stand(moment)
}

/// Judges how things stand, whatever changed.
pub(crate) fn stand(moment: &Moment<'_>) -> Judged {
    attempts::stand(moment)
}

/// Judges that work begins.
pub(crate) use attempts::begins;
pub(crate) use gone::all_gone;
