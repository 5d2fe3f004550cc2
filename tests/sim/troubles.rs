//! The words of a script: everything that can happen to a controller here.

use std::fmt;

use super::words::Document;

/// How the mirror hears of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// By an event that says that the file is whole.
    Complete,
    /// By an event that only says that something happened.
    Something,
    /// Not at all: the event is lost.
    Nothing,
    /// A person asks for a scan.
    Sync,
}

/// At which side of a step the controller is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Before it: nothing of it has happened.
    Before,
    /// After it, before whoever asked for it has heard.
    After,
    /// At once, between two steps.
    Silently,
}

/// How a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mood {
    /// Well.
    Well,
    /// Not there: connections are refused.
    Gone,
    /// Takes connections and says nothing.
    Silent,
    /// Answers questions and refuses work.
    Busy,
}

pub(crate) const MOODS: [Mood; 4] = [Mood::Well, Mood::Gone, Mood::Silent, Mood::Busy];

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Trouble {
    Write { file: String, documents: Vec<Document>, told: Told },
    Break { file: String, told: Told },
    Remove { file: String, told: Told },
    Manifests { there: bool, empty: bool },
    Link { is_link: bool },
    Directory { path: String, there: bool },
    Touch { path: String },
    AcceptGone,
    Replica { url: String, mood: Mood },
    Restart { url: String },
    Cancel { task: String },
    Retry { task: String, no_cache: bool },
    Sync,
    Reconcile,
    Run { pipeline: String },
    Rerun { which: u64, latest: bool },
    CancelRun { which: u64, finally: bool },
    RetryRun { which: u64, from: Option<String> },
    Suspend { which: Option<u64>, lasts: Option<u64> },
    Resume { which: Option<u64> },
    Decide { which: u64, approved: bool },
    Backfill { back: u64 },
    Keep { which: u64 },
    Restore { which: u64 },
    Purge,
    Late { task: String },
    Kill { steps: u64, place: Place, down: u64 },
    Stop { down: u64 },
    Thief { lasts: u64, percent: u64 },
    Clock { by: i64 },
    Full { lasts: u64 },
    Slow { lasts: u64 },
}

/// The names of all troubles.
pub(crate) const NAMES: [&str; 32] = [
    "write",
    "break",
    "remove",
    "manifests",
    "link",
    "directory",
    "touch",
    "accept gone",
    "replica",
    "restart",
    "cancel",
    "retry",
    "sync",
    "reconcile",
    "run",
    "rerun",
    "cancel run",
    "retry run",
    "suspend",
    "resume",
    "decide",
    "backfill",
    "keep",
    "restore",
    "purge",
    "late",
    "kill",
    "stop",
    "thief",
    "clock",
    "full",
    "slow",
];

impl Trouble {
    /// Its name, for counting.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Write { .. } => "write",
            Self::Break { .. } => "break",
            Self::Remove { .. } => "remove",
            Self::Manifests { .. } => "manifests",
            Self::Link { .. } => "link",
            Self::Directory { .. } => "directory",
            Self::Touch { .. } => "touch",
            Self::AcceptGone => "accept gone",
            Self::Replica { .. } => "replica",
            Self::Restart { .. } => "restart",
            Self::Cancel { .. } => "cancel",
            Self::Retry { .. } => "retry",
            Self::Sync => "sync",
            Self::Reconcile => "reconcile",
            Self::Run { .. } => "run",
            Self::Rerun { .. } => "rerun",
            Self::CancelRun { .. } => "cancel run",
            Self::RetryRun { .. } => "retry run",
            Self::Suspend { .. } => "suspend",
            Self::Resume { .. } => "resume",
            Self::Decide { .. } => "decide",
            Self::Backfill { .. } => "backfill",
            Self::Keep { .. } => "keep",
            Self::Restore { .. } => "restore",
            Self::Purge => "purge",
            Self::Late { .. } => "late",
            Self::Kill { .. } => "kill",
            Self::Stop { .. } => "stop",
            Self::Thief { .. } => "thief",
            Self::Clock { .. } => "clock",
            Self::Full { .. } => "full",
            Self::Slow { .. } => "slow",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { file, documents, told } => {
                write!(f, "{file} is written ({told:?}):")?;
                documents.iter().try_for_each(|of| write!(f, " {}/{} {}", of.kind, of.name, of.spec))
            }
            other => {
                write!(f, "{}", other.name())?;
                let said = format!("{other:?}");
                said.split_once(' ').map_or(Ok(()), |(_, fields)| write!(f, " {fields}"))
            }
        }
    }
}
