//! The goals: one name each, and which ratio of ours to its limit is wanted. The only place where they stand.

use Wanted::{AtLeast, AtMost};

/// Which ratio is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    /// More is better: a rate.
    AtLeast(f64),
    /// Less is better: a time, or a size.
    AtMost(f64),
}

/// Every goal, in the order of the questions.
pub(crate) const GOALS: [(&str, Wanted); 23] = [
    ("ingest-cold", AtMost(1.3)),
    ("ingest-restart", AtMost(2.5)),
    ("dispatch-connection", AtLeast(0.6)),
    ("dispatch-shared", AtLeast(0.6)),
    ("dispatch-drop", AtLeast(0.45)),
    ("latency-idle-p50", AtMost(1.0)),
    ("latency-idle-p99", AtMost(1.0)),
    ("latency-pending-p50", AtMost(1.2)),
    ("latency-pending-p99", AtMost(1.2)),
    ("commands-2", AtLeast(0.85)),
    ("commands-32", AtLeast(0.75)),
    ("history-rate-1e5", AtLeast(0.95)),
    ("history-rate-1e6", AtLeast(0.9)),
    ("history-pass-1e5", AtLeast(0.95)),
    ("history-pass-1e6", AtLeast(0.9)),
    ("pending-rate-1e5", AtLeast(0.95)),
    ("pending-pass-1e5", AtLeast(0.95)),
    ("idle-rss", AtMost(1.0)),
    ("idle-ticks", AtMost(1.0)),
    ("restart-1e6", AtMost(1.0)),
    ("peers-connection", AtLeast(3.5)),
    ("peers-shared", AtLeast(10.0)),
    ("peers-commands", AtLeast(2.0)),
];

impl Wanted {
    /// The goal of this name.
    pub(crate) fn of(name: &str) -> Self {
        GOALS.iter().find(|(known, _)| *known == name).expect("a goal of the list").1
    }

    /// Whether a ratio is as good as wanted.
    pub(crate) fn is_met(self, ratio: f64) -> bool {
        match self {
            AtLeast(least) => ratio >= least,
            AtMost(most) => ratio <= most,
        }
    }

    /// As it stands in the line of a goal.
    pub(crate) fn text(self) -> String {
        match self {
            AtLeast(least) => format!(">={least:.2}"),
            AtMost(most) => format!("<={most:.2}"),
        }
    }
}
