//! Notes about single rows: what was changed on the way, and what could not be mapped.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cell::Row;
use crate::resource::outcome::one_line;

/// Notes of one kind that are kept word for word; further ones are counted.
pub const NOTES_MAX: u64 = 100;

crate::words! {
    /// What a note is about.
    pub enum NoteKind {
        /// A status in another spelling than the current one, such as COMPLETED.
        OldSpelling,
        /// It had ended before it began: one of the two is local time.
        LocalTime,
        /// A moment that is missing, cannot be read, or lies in the future.
        OddTime,
        /// A number of findings that cannot be.
        OddCount,
        /// A priority that is unknown.
        OddPriority,
        /// What it was said to have come to differs from what its parts came to.
        PhaseDiffers,
        /// It had not ended; it is not taken up again.
        Unfinished,
        /// A row about an older version of an app, of which there is one record.
        OlderVersion,
        /// Its name was taken, so it has another.
        Renamed,
        /// Its main task is not in the table.
        ParentGone,
        /// A column whose JSON cannot be read.
        BadJson,
        /// A status that is unknown.
        UnknownStatus,
        /// An identity that is missing or cannot be one here.
        BadIdentity,
        /// The row repeats the identity of an earlier one.
        RepeatedIdentity,
        /// Another object has its name.
        NameTaken,
        /// It has no moment at all that can be read.
        NoTime,
        /// A task that a pipeline names and the table does not have.
        TaskGone,
        /// A result of a pipeline that does not say what came of it.
        ResultUnclear,
    }
}

impl NoteKind {
    /// Whether something of the row is not here now, rather than here in another way.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        match self {
            Self::OldSpelling
            | Self::LocalTime
            | Self::OddTime
            | Self::OddPriority
            | Self::PhaseDiffers
            | Self::Unfinished
            | Self::OlderVersion
            | Self::Renamed
            | Self::ParentGone => false,
            Self::OddCount
            | Self::BadJson
            | Self::UnknownStatus
            | Self::BadIdentity
            | Self::RepeatedIdentity
            | Self::NameTaken
            | Self::NoTime
            | Self::TaskGone
            | Self::ResultUnclear => true,
        }
    }
}

/// A note about one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// The table.
    pub table: &'static str,
    /// The row's id.
    pub row: i64,
    /// For a person, on one line.
    pub message: String,
}

/// Notes, all counted and some kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// How many of each kind.
    pub counts: BTreeMap<NoteKind, u64>,
    /// The first [`NOTES_MAX`] of each kind.
    pub kept: Vec<Note>,
}

impl Notes {
    /// Adds a note about a row.
    pub fn add(&mut self, kind: NoteKind, row: &Row, message: impl AsRef<str>) {
        self.about(kind, row.table, row.id, message);
    }

    /// Adds a note about a row that is known by its table and id.
    pub fn about(&mut self, kind: NoteKind, table: &'static str, row: i64, message: impl AsRef<str>) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= NOTES_MAX {
            self.kept.push(Note { kind, table, row, message: one_line(message.as_ref()) });
        }
    }

    /// How many notes say that something is not here.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.counts.iter().filter(|(kind, _)| kind.is_loss()).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_is_counted_and_only_some_are_kept_on_one_line() {
        let (mut notes, row) = (Notes::default(), Row { table: "t", id: 7, ..Row::default() });
        for _ in 0..NOTES_MAX + 5 {
            notes.add(NoteKind::BadJson, &row, "a\nb\u{1b}[31m");
        }
        notes.add(NoteKind::OldSpelling, &row, "x");
        assert_eq!((notes.counts[&NoteKind::BadJson], notes.losses()), (NOTES_MAX + 5, NOTES_MAX + 5));
        assert_eq!((notes.kept.len() as u64, notes.kept[0].message.as_str()), (NOTES_MAX + 1, "a b [31m"));
    }
}
