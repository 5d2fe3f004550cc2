//! How an attempt ended: the typed outcome, and what is known of each tool.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::findings::Findings;
use super::reason::Reason;
use super::text::is_obeyed;

crate::words! {
    /// How one attempt ended. The plan alone decides what follows from it.
    pub enum Outcome {
        /// Every requested tool ran.
        Completed,
        /// Some requested tools ran.
        PartialSuccess,
        /// It ran and did not succeed; the reason says why.
        Failed,
        /// It was stopped on request.
        Cancelled,
        /// It ran past its deadline.
        TimedOut,
        /// There was no sign of life for too long.
        HeartbeatLost,
        /// The analyzer could not be reached; nothing was sent.
        Unavailable,
        /// The controller ended while it ran.
        Interrupted,
        /// The other side broke the protocol or the connection.
        ProtocolError,
    }
}

crate::words! {
    /// What is known of one tool in one attempt.
    pub enum ToolStatus {
        /// It ran and said so.
        Completed,
        /// The app has no files for it, so there was nothing to do: as good as completed.
        NotApplicable,
        /// It ran and failed.
        Failed,
        /// It is known not to have run, or nothing is known of it.
        NotRun,
    }
}

/// One tool's part of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolReport {
    /// The tool's name, as requested or as the analyzer calls it.
    pub name: String,
    /// What is known of it.
    pub status: ToolStatus,
    /// Why it failed or did not run; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What it found.
    pub findings: Findings,
    /// Whether it is known that trying again cannot help: it is not installed, it is no tool of this analyzer, its key is missing. A tool
    /// that is silently absent from a result is not permanent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permanent: bool,
}

impl ToolReport {
    /// Whether the tool did what it should.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        match self.status {
            ToolStatus::Completed | ToolStatus::NotApplicable => true,
            ToolStatus::Failed | ToolStatus::NotRun => false,
        }
    }
}

/// A tool's name as it is kept: one line of at most 100 characters, whoever gave it.
#[must_use]
pub fn tool_name(text: &str) -> String {
    let mut name = one_line(text);
    if let Some((end, _)) = name.char_indices().nth(100) {
        name.truncate(end);
    }
    name
}

/// What judging the evidence of one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The same for a person: one line, at most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// Every requested tool, and every other that ran.
    pub tools: Vec<ToolReport>,
    /// The tools' findings together.
    pub findings: Findings,
    /// What it gives to later steps of a pipeline.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub outputs: Box<Map<String, Value>>,
}

fn is_nothing(outputs: &Map<String, Value>) -> bool {
    outputs.is_empty()
}

/// Outputs that one attempt may give.
pub const OUTPUTS_MAX: usize = 32;

/// The longest message that is kept in a row; the rest stays in the result.
pub const MESSAGE_BYTES_MAX: usize = 1000;

impl Verdict {
    /// An ending that no tool had a part in.
    #[must_use]
    pub fn without_tools(outcome: Outcome, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            outcome,
            reason,
            message: one_line(&message.into()),
            tools: Vec::new(),
            findings: Findings::default(),
            outputs: Box::default(),
        }
    }
}

/// One line of printable text out of anything a peer sent: what a terminal obeys, and what turns the direction of writing, becomes a space, and
/// it is cut at [`MESSAGE_BYTES_MAX`] bytes.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MESSAGE_BYTES_MAX));
    for c in text.trim().chars() {
        if line.len() + c.len_utf8() > MESSAGE_BYTES_MAX - '…'.len_utf8() {
            line.push('…');
            break;
        }
        let c = if is_obeyed(c) { ' ' } else { c };
        if c != ' ' || !line.ends_with(' ') {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_bounded_line_without_escapes() {
        assert_eq!(one_line("a\n\tb\u{1b}[31mred\u{202e}\u{9b}x"), "a b [31mred x");
        let long = one_line(&"ä".repeat(5000));
        assert!(long.len() <= MESSAGE_BYTES_MAX && long.ends_with('…'));
    }
}
