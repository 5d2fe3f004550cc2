//! How far a long piece of work is that this process does itself: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// A piece of work.
pub(super) struct Work {
    bar: ProgressBar,
}

impl Work {
    /// Begins to show it, if that is wanted and a person looks at standard error.
    pub(super) fn start(what: &'static str, wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        Self { bar }
    }

    /// So much of it is done; of how much, when that is known.
    pub(super) fn tell(&mut self, done: u64, of: u64) {
        self.bar.set_length(of.max(done));
        self.bar.set_position(done);
    }

    /// Shows nothing any more.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}
