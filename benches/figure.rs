//! Figures with their spread over rounds, and how they are written.

use std::fmt;

/// One figure: the median of its rounds, and the least and the most of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    least: f64,
    most: f64,
    unit: Unit,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// So many in a second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// MiB.
    MiB,
    /// Just so many.
    Count,
}

impl Figure {
    /// The figure of several rounds.
    pub(crate) fn of(unit: Unit, rounds: &[f64]) -> Self {
        let (median, least, most) = (percentile(rounds, 50.0), percentile(rounds, 0.0), percentile(rounds, 100.0));
        Self { median, least, most, unit }
    }

    /// A figure that was measured once, or is a limit by itself.
    pub(crate) const fn exact(unit: Unit, value: f64) -> Self {
        Self { median: value, least: value, most: value, unit }
    }

    /// The median with its unit, without spaces.
    pub(crate) fn plain(self) -> String {
        self.unit.write(self.median)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.least < self.most {
            format!("{} ({}..{})", self.plain(), self.unit.number(self.least), self.unit.number(self.most))
        } else {
            self.plain()
        };
        f.pad(&text)
    }
}

impl Unit {
    fn write(self, value: f64) -> String {
        let number = self.number(value);
        match self {
            Self::PerSecond => format!("{number}/s"),
            Self::Seconds => format!("{number}s"),
            Self::Millis => format!("{number}ms"),
            Self::MiB => format!("{number}MiB"),
            Self::Count => number,
        }
    }

    fn number(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value:.0}"),
            Self::MiB => format!("{value:.1}"),
            Self::PerSecond if value < 100.0 => format!("{value:.1}"),
            Self::PerSecond => format!("{value:.0}"),
            Self::Seconds | Self::Millis if value >= 100.0 => format!("{value:.0}"),
            Self::Seconds | Self::Millis => format!("{value:.2}"),
        }
    }
}

/// The value below which so many percent of the values lie (nearest rank); 0 of none.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
