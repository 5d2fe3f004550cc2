//! Tables without borders, ages, and the colours of phases.

use std::io::Write;

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, Width};

use super::out::{Out, clean};
use crate::resource::findings::Findings;
use crate::resource::phase::Phase;
use crate::resource::time::{Span, Timestamp};

/// Blanks between two columns.
const GAP: u16 = 3;

/// A column up to this width is never squeezed.
const NARROW: u16 = 40;

/// A table that is written in one go, or row by row with the widths it began with.
pub(crate) struct Columns {
    header: Vec<&'static str>,
    widths: Vec<u16>,
    indent: &'static str,
}

impl Columns {
    /// A table with these columns.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), widths: vec![0; header.len()], indent: "" }
    }

    /// The same two columns to the right, below a title.
    pub(crate) const fn indented(mut self) -> Self {
        self.indent = "  ";
        self
    }

    /// Writes rows, with the header unless `headless`. Columns stay at least as wide as they were before.
    pub(crate) fn write(&mut self, out: &mut Out, rows: &[Vec<String>], headless: bool) -> std::io::Result<()> {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        if out.colour {
            table.enforce_styling()
        } else {
            table.force_no_tty()
        };
        if !headless {
            table.set_header(self.header.iter().map(Cell::new));
        }
        for row in rows {
            table.add_row(row.iter().enumerate().map(|(at, text)| self.cell(at, text)));
        }
        let natural = table.column_max_content_widths();
        for (at, width) in self.widths.iter_mut().enumerate() {
            *width = natural.get(at).map_or(*width, |natural| (*width).max(*natural));
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, GAP));
                if *width <= NARROW {
                    column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width + GAP)));
                }
            }
        }
        // Long cells wrap on a terminal that has room for them beside the others; elsewhere a row is a line.
        let needed: u32 = self.widths.iter().map(|width| u32::from((*width).min(NARROW) + GAP)).sum();
        let room = if out.terminal { table.width().map_or(0, u32::from) } else { 0 };
        let wraps = needed <= room;
        table.set_content_arrangement(if wraps { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
        table.lines().try_for_each(|line| writeln!(out, "{}{}", self.indent, line.trim_end()))
    }

    fn cell(&self, at: usize, text: &str) -> Cell {
        let text = clean(text);
        let colour = match self.header.get(at) {
            Some(&"PHASE" | &"STATUS" | &"OUTCOME" | &"TYPE") => colour(&text),
            _ => None,
        };
        match colour {
            Some(colour) => Cell::new(text).fg(colour),
            None => Cell::new(text),
        }
    }
}

/// The colour of a phase, of an outcome, of a tool's status or of an event's type.
fn colour(word: &str) -> Option<Color> {
    match word {
        "Completed" | "NotApplicable" => Some(Color::Green),
        "Running" => Some(Color::Blue),
        "PartialSuccess" | "Warning" | "Unavailable" | "Interrupted" => Some(Color::Yellow),
        "Failed" | "NotRun" | "TimedOut" | "HeartbeatLost" | "ProtocolError" => Some(Color::Red),
        "Cancelled" | "Skipped" => Some(Color::DarkGrey),
        _ => None,
    }
}

/// A phase as on a line of its own, coloured when wanted.
pub(crate) fn phase(phase: Phase, coloured: bool) -> String {
    word(phase.as_str(), coloured)
}

/// A phase of whatever it may be, coloured when wanted.
pub(crate) fn word(word: &str, coloured: bool) -> String {
    let code = match colour(word) {
        Some(Color::Green) => "32",
        Some(Color::Blue) => "34",
        Some(Color::Yellow) => "33",
        Some(Color::Red) => "31",
        Some(Color::DarkGrey) => "90",
        _ => return word.to_owned(),
    };
    if coloured { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
}

/// So many of something, whose plural ends with s: `1 file`, `2 files`.
pub(crate) fn many<N: std::fmt::Display + PartialEq + From<u8>>(count: N, word: &str) -> String {
    format!("{count} {word}{}", if count == N::from(1) { "" } else { "s" })
}

/// How long something is ago, as kubectl writes it: `45s`, `7m12s`, `3h5m`, `2d4h`, `40d`.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    length(now.since(then))
}

/// A length of time in at most two units, rounded down.
pub(crate) fn length(span: Span) -> String {
    let seconds = span.0 / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        0 if span.0 > 0 => format!("{}ms", span.0),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..7200 => format!("{minutes}m"),
        7200..36_000 => two(hours, "h", minutes % 60, "m"),
        36_000..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

/// `high/medium/low`, and `+n` for those whose severity the tool did not say.
pub(crate) fn findings(found: Findings) -> String {
    let rated = format!("{}/{}/{}", found.high, found.medium, found.low);
    if found.unrated > 0 { format!("{rated}+{}", found.unrated) } else { rated }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (432, "7m12s"),
            (6000, "100m"),
            (11_100, "3h5m"),
            (40_000, "11h"),
            (187_200, "2d4h"),
            (3_456_000, "40d"),
        ] {
            assert_eq!(length(Span::seconds(seconds)), text);
        }
        assert_eq!(length(Span(250)), "250ms");
        assert_eq!(age(Timestamp(0), Timestamp(5000)), "0s");
    }

    #[test]
    fn one_is_no_plural_and_nothing_is() {
        assert_eq!([many(0_u64, "file"), many(1_u32, "file"), many(2_usize, "file")], ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn findings_without_a_severity_are_not_hidden() {
        assert_eq!(findings(Findings { high: 1, medium: 0, low: 3, unrated: 0 }), "1/0/3");
        assert_eq!(findings(Findings { high: 0, medium: 0, low: 0, unrated: 4 }), "0/0/0+4");
    }
}
