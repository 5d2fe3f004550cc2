//! Keys: what can be looked at again. Events are never queued, only keys, so losing an event costs time and not truth.

use std::fmt;

use crate::resource::name::Uid;

/// Something to reconcile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The queue of one analyzer, by its name: opens attempts.
    Lane(String),
    /// One analyzer, by its name: asks its replicas how they are, says whether it is ready, lets go of what waits for it.
    Analyzer(String),
    /// One task: admits, ends, retries and cancels it.
    Task(Uid),
    /// All apps on disk: finds new ones, marks missing ones.
    Apps,
    /// The files of one app: reads them, and starts over what depends on them.
    Tree(Uid),
    /// One pipeline, by its uid: makes runs.
    Pipeline(Uid),
    /// One run: moves its steps on.
    Run(Uid),
    /// Whatever has been as it is for too long.
    Maintenance,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane(analyzer) => write!(f, "lane/{analyzer}"),
            Self::Analyzer(name) => write!(f, "analyzer/{name}"),
            Self::Task(uid) => write!(f, "task/{uid}"),
            Self::Apps => f.write_str("apps"),
            Self::Tree(app) => write!(f, "tree/{app}"),
            Self::Pipeline(uid) => write!(f, "pipeline/{uid}"),
            Self::Run(uid) => write!(f, "run/{uid}"),
            Self::Maintenance => f.write_str("maintenance"),
        }
    }
}
