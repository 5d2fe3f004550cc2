//! The words of the old system for how something stands, in both of its spellings.

use super::cell::Row;
use super::note::{NoteKind, Notes};
use crate::resource::algebra::Ended;
use crate::resource::outcome::Outcome;
use crate::resource::phase::Phase;

/// How something stood in the old system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldStatus {
    /// Made and waiting.
    Waiting,
    /// Under way.
    Running,
    /// Ended.
    Ended(Ended),
}

impl OldStatus {
    /// Reads one of the old words.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "created" | "pending" | "paused" => Self::Waiting,
            "running" => Self::Running,
            "completed" => Self::Ended(Ended::Completed),
            "partial_success" => Self::Ended(Ended::Partial),
            "failed" => Self::Ended(Ended::Failed),
            "cancelled" => Self::Ended(Ended::Cancelled),
            _ => return None,
        })
    }

    /// Reads the column `status`; `None`, with a note, when the word is unknown.
    pub fn read(row: &Row, notes: &mut Notes) -> Option<Self> {
        let word = row.text("status").unwrap_or_default();
        let status = Self::of(word);
        if status.is_none() {
            notes.add(NoteKind::UnknownStatus, row, format!("status {word:?} is unknown; the row is left out"));
        } else if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            notes.add(
                NoteKind::OldSpelling,
                row,
                format!("status {word:?} is read as {:?}", word.to_ascii_lowercase()),
            );
        }
        status
    }

    /// How it counts, now that nobody goes on with it: what waited is cancelled, what ran has failed.
    #[must_use]
    pub const fn ended(self) -> Ended {
        match self {
            Self::Waiting => Ended::Cancelled,
            Self::Running => Ended::Failed,
            Self::Ended(ended) => ended,
        }
    }
}

/// The phase of an ending.
#[must_use]
pub const fn phase(ended: Ended) -> Phase {
    match ended {
        Ended::Completed => Phase::Completed,
        Ended::Partial => Phase::PartialSuccess,
        Ended::Failed => Phase::Failed,
        Ended::Cancelled => Phase::Cancelled,
    }
}

/// The outcome of the one attempt that such an ending had.
#[must_use]
pub const fn outcome(ended: Ended) -> Outcome {
    match ended {
        Ended::Completed => Outcome::Completed,
        Ended::Partial => Outcome::PartialSuccess,
        Ended::Failed => Outcome::Failed,
        Ended::Cancelled => Outcome::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_nothing_goes_on() {
        assert_eq!(OldStatus::of("PARTIAL_SUCCESS"), OldStatus::of("partial_success"));
        assert_eq!(OldStatus::of("completed").map(OldStatus::ended), Some(Ended::Completed));
        assert_eq!(OldStatus::of("RUNNING").map(OldStatus::ended), Some(Ended::Failed));
        assert_eq!(OldStatus::of("created").map(OldStatus::ended), Some(Ended::Cancelled));
        assert_eq!(OldStatus::of("done"), None);
    }
}
