//! One run of the bench: how large it is, and how ours and the limit take turns in it.

use crate::figure::{Figure, Unit};
use crate::questions::states::States;
use crate::report::Report;

/// A run.
#[derive(Default)]
pub(crate) struct Run {
    /// Small sizes and one round, to see whether everything works. Its figures say nothing.
    pub(crate) quick: bool,
    /// What was measured so far.
    pub(crate) report: Report,
    /// Workspaces that several questions share.
    pub(crate) states: States,
}

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 3;

/// A quick run does so little of everything.
const QUICK_SHARE: u32 = 20;

impl Run {
    /// How many rounds each measurement has.
    pub(crate) const fn rounds(&self) -> usize {
        if self.quick { 1 } else { ROUNDS }
    }

    /// A size, or much less in a quick run.
    pub(crate) fn size(&self, size: u32) -> u32 {
        if self.quick { (size / QUICK_SHARE).max(size.min(50)) } else { size }
    }
}

/// Measures ours and the limit in turns, so that what happens to the machine meanwhile happens to both. Neither pays for what the other left to be written.
pub(crate) fn interleaved(run: &Run, unit: Unit, ours: impl Fn() -> f64, limit: impl Fn() -> f64) -> (Figure, Figure) {
    let (mut both, rounds) = ((Vec::new(), Vec::new()), run.rounds());
    for _ in 0..rounds {
        write_back();
        both.0.push(ours());
        write_back();
        both.1.push(limit());
    }
    (Figure::of(unit, &both.0), Figure::of(unit, &both.1))
}

/// Has the system write what it still keeps in memory, so that nobody's first commit waits for the files of those before.
pub(crate) fn write_back() {
    rustix::fs::sync();
}
