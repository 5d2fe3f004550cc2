//! Findings, counted once: by severity, at the moment a result is judged.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// How bad one finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// SARIF `error`, or a tool's high or critical.
    High,
    /// SARIF `warning`, or a tool's medium.
    Medium,
    /// SARIF `note`, or a tool's low or info.
    Low,
}

/// How many findings of each severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Findings of [`Severity::High`].
    pub high: u64,
    /// Findings of [`Severity::Medium`].
    pub medium: u64,
    /// Findings of [`Severity::Low`].
    pub low: u64,
    /// Findings whose severity the tool did not say.
    #[serde(default)]
    pub unrated: u64,
}

impl Findings {
    /// All findings.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.high + self.medium + self.low + self.unrated
    }

    /// Counts one more.
    pub const fn add(&mut self, severity: Severity) {
        match severity {
            Severity::High => self.high += 1,
            Severity::Medium => self.medium += 1,
            Severity::Low => self.low += 1,
        }
    }
}

impl AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.high += other.high;
        self.medium += other.medium;
        self.low += other.low;
        self.unrated += other.unrated;
    }
}
