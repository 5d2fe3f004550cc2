//! Plans for the files of one app: what they look like is written down when it changed or when somebody waits for it, and tasks that depend on
//! it are looked at again.

use super::write::{ConditionWrite, EventWrite, TreeSeen, Write};
use super::{Key, Plan, Reconciler};
use crate::plan::admission::SeenTree;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::time::{Span, Timestamp};

/// Condition of an App whose files cannot be read as a whole.
pub const TREE_UNREADABLE: &str = "TreeUnreadable";

/// An app with a file that changed more recently than this is being written: nothing is concluded from half of it. Long enough for a
/// program that writes one file after the other, short enough to wait for.
pub const SETTLE: Span = Span::seconds(2);

/// An app that is written without a pause is taken as it is after so long; a log inside of it must not hold its tasks for ever.
pub const SETTLE_MAX: Span = Span::seconds(30);

/// Pause before files that cannot be read are tried again, besides the regular scans.
const UNREADABLE_PAUSE: Span = Span::seconds(30);

/// What is seen of the files of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedTree {
    /// The App.
    pub uid: Uid,
    /// Its name.
    pub name: String,
    /// Its directory, relative to the workspace.
    pub path: String,
    /// Generation of its spec.
    pub generation: i64,
    /// What is stored.
    pub stored: Option<SeenTree>,
    /// Message of the condition TreeUnreadable, when it holds.
    pub unreadable: Option<String>,
    /// Since when the latest task has been waiting for a reading; `None` when none does.
    pub waiting_since: Option<Timestamp>,
    /// The tasks that run again when the files change.
    pub watchers: Vec<Watcher>,
    /// When the reading began.
    pub began_at: Timestamp,
    /// What was read.
    pub reading: Reading,
}

/// A task that runs again when the files of its app change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    /// The task.
    pub uid: Uid,
    /// Where it stands.
    pub phase: Phase,
    /// What the files looked like to its latest attempt; `None` when there was none in this round.
    pub app_digest: Option<String>,
}

/// What reading the files of an app came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// They were read as a whole.
    Seen {
        /// Digest of the tree, in hex.
        digest: String,
        /// When a file of it changed last.
        changed_at: Timestamp,
        /// Since when every reading has found the app being written; `None` when this one did not.
        moving_since: Option<Timestamp>,
    },
    /// Not known now: half a digest is none.
    Unknown {
        /// Why, for a person.
        why: String,
        /// Since when every reading has found the app being written; `None` when that is not what is wrong.
        moving_since: Option<Timestamp>,
    },
    /// Nobody needs it, so nothing was read.
    NotNeeded,
}

/// Whether files that changed last at `changed_at` are being written at `now`. A time in the future tells nothing.
#[must_use]
pub fn is_moving(changed_at: Timestamp, now: Timestamp) -> bool {
    now.since(changed_at) < SETTLE && changed_at.since(now) < SETTLE
}

impl ObservedTree {
    /// Whether any task needs to know.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.waiting_since.is_some() || !self.watchers.is_empty()
    }

    /// Whether nothing is concluded from the reading yet, since the app is being written: it is read again in a moment.
    #[must_use]
    pub fn is_settling(&self, now: Timestamp) -> bool {
        match &self.reading {
            Reading::Seen { moving_since, .. } | Reading::Unknown { moving_since, .. } => {
                moving_since.is_some_and(|since| now.since(since) < SETTLE_MAX)
            }
            Reading::NotNeeded => false,
        }
    }
}

/// Reconciles the files of one app.
#[derive(Debug)]
pub struct TreeReconciler;

impl Reconciler for TreeReconciler {
    type Observed = ObservedTree;

    fn plan(observed: &ObservedTree, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        match &observed.reading {
            _ if observed.is_settling(now) => plan.look_again(now.plus(SETTLE)),
            Reading::NotNeeded => {}
            Reading::Unknown { why, .. } => {
                plan.look_again(now.plus(UNREADABLE_PAUSE));
                if observed.unreadable.as_ref() != Some(why) {
                    tell(observed, EventType::Warning, TREE_UNREADABLE, why.clone(), &mut plan);
                    condition(observed, true, why.clone(), &mut plan);
                }
            }
            Reading::Seen { digest, .. } => seen(observed, digest, &mut plan),
        }
        plan
    }
}

fn seen(observed: &ObservedTree, digest: &str, plan: &mut Plan) {
    if observed.unreadable.is_some() {
        condition(observed, false, "its files can be read".into(), plan);
    }
    let stored = observed.stored.as_ref();
    let is_changed = stored.is_some_and(|stored| stored.digest != digest);
    let is_awaited = observed.waiting_since.is_some_and(|since| stored.is_none_or(|stored| stored.at < since));
    if is_changed {
        tell(observed, EventType::Normal, "Changed", "its files changed".into(), plan);
    }
    if is_changed || is_awaited || stored.is_none() {
        plan.writes.push(Write::TreeSeen(Box::new(TreeSeen {
            uid: observed.uid.clone(),
            generation: observed.generation,
            digest: digest.to_owned(),
            // Who waits was seen before the reading began, whatever a clock says that was turned back in between.
            at: observed.waiting_since.map_or(observed.began_at, |since| since.max(observed.began_at)),
        })));
    }
    let is_outdated = |watcher: &&Watcher| match (watcher.phase, &watcher.app_digest) {
        // It is looked at again when it ends.
        (Phase::Running, _) | (Phase::Pending, None) => false,
        (_, known) => known.as_deref() != Some(digest),
    };
    plan.wakes.extend(observed.watchers.iter().filter(is_outdated).map(|watcher| Key::Task(watcher.uid.clone())));
}

fn condition(observed: &ObservedTree, holds: bool, message: String, plan: &mut Plan) {
    let reason = if holds { "ReadFailed" } else { "ReadAsAWhole" };
    let uid = observed.uid.clone();
    plan.writes.push(Write::Condition(Box::new(ConditionWrite {
        uid,
        condition: TREE_UNREADABLE,
        holds,
        reason,
        message,
    })));
}

fn tell(observed: &ObservedTree, event_type: EventType, reason: &'static str, message: String, plan: &mut Plan) {
    plan.writes.push(Write::Event(Box::new(EventWrite {
        uid: observed.uid.clone(),
        kind: Kind::App,
        name: observed.name.clone(),
        event_type,
        reason,
        message,
    })));
}
