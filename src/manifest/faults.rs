//! What is found wrong while a file is read: problems that have not been given a file and a line yet, and how many are kept.

use super::problem::Severity;
use super::source::Span;

/// At most so many problems of a file are kept.
pub(crate) const FAULTS_MAX: usize = 500;

/// A problem that has not been given a file and a line yet.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// The faults of one file: the first [`FAULTS_MAX`] of them, and how many errors there were in all.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) list: Vec<Fault>,
    pub(crate) errors: usize,
    pub(crate) dropped: usize,
}

impl Faults {
    /// Adds an error.
    pub(crate) fn error(&mut self, span: Span, code: &'static str, message: String, help: Option<String>) {
        self.errors += 1;
        self.push(Fault { span, severity: Severity::Error, code, message, help });
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, span: Span, code: &'static str, message: String, help: Option<String>) {
        self.push(Fault { span, severity: Severity::Warning, code, message, help });
    }

    /// Counts an error without saying what it is, once enough of them are kept; then explaining more would only cost time.
    pub(crate) fn counts_only(&mut self) -> bool {
        let full = self.list.len() >= FAULTS_MAX;
        if full {
            self.errors += 1;
            self.dropped += 1;
        }
        full
    }

    fn push(&mut self, fault: Fault) {
        if self.list.len() < FAULTS_MAX {
            self.list.push(fault);
        } else {
            self.dropped += 1;
        }
    }
}
