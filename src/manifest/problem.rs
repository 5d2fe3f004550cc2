//! A problem of a manifest: what is wrong, where, and what to do; and how it is shown on a terminal.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};

use crate::resource::text::is_obeyed;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is not accepted; its last good version stays.
    Error,
    /// The document is accepted, but probably says something else than was meant.
    Warning,
}

/// Where something is in a file, with the line to show.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// One past the last column on the same line, when the place is wider than a point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_column: Option<u32>,
    /// The line without its break. Long lines are cut around the column and marked with `…`.
    pub source_line: String,
    /// The column within `source_line`, from 1; another one than `column` only when the line was cut.
    pub source_column: u32,
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file's label, as given to `parse`.
    pub file: String,
    /// Where in the file.
    #[serde(flatten)]
    pub place: Place,
    /// Whether the document is refused.
    pub severity: Severity,
    /// A stable word for this sort of problem, such as `unknown-field`.
    pub code: Cow<'static, str>,
    /// What is wrong. Text from the file is quoted and escaped.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    /// Whether the document is refused because of this.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The problem on one line: `FILE:LINE:COLUMN: error[CODE]: MESSAGE (HELP)`, safe for a log or a terminal.
    #[must_use]
    pub fn line(&self) -> String {
        let word = if self.is_error() { "error" } else { "warning" };
        let help = self.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let Place { line, column, .. } = self.place;
        visible(&format!("{}:{line}:{column}: {word}[{}]: {}{help}", self.file, self.code, self.message), false)
    }

    /// The problem with its source line, a caret and the help, as rustc shows one. No control character of the file
    /// reaches the output; escape sequences are there only with `colour`. Ends without a line break.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let (file, message) = (visible(&self.file, false), visible(&self.message, false));
        let source = visible(&self.place.source_line, true);
        let level = if self.is_error() { Level::ERROR } else { Level::WARNING };
        let place = &self.place;
        let width = place.end_column.map_or(1, |end| end.saturating_sub(place.column).max(1));
        let from = byte_of(&source, place.source_column);
        let to = byte_of(&source, place.source_column.saturating_add(width)).max(from);
        let snippet =
            Snippet::source(source).line_start(place.line as usize).annotation(AnnotationKind::Primary.span(from..to));
        let title = level.primary_title(message).id(self.code.as_ref());
        let mut group = title.element(snippet.path(file.clone()));
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(visible(help, false)));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let text = renderer.render(&[group]);
        if place.source_column == place.column {
            return text;
        }
        // The renderer counts within the part that is shown; the person looks for the column in the file.
        let (shown, column) = (place.source_column, place.column);
        let (wrong, right) = (format!("{file}:{}:{shown}", place.line), format!("{file}:{}:{column}", place.line));
        text.replacen(&wrong, &right, 1)
    }
}

/// The byte at which a column (from 1) starts.
fn byte_of(line: &str, column: u32) -> usize {
    line.char_indices().nth(column.saturating_sub(1) as usize).map_or(line.len(), |(at, _)| at)
}

/// The text with every control character, and every character that turns the direction of writing, replaced by one
/// visible character, so that columns stay where they are. Tabs stay when `tabs` says so.
fn visible(text: &str, tabs: bool) -> String {
    text.chars()
        .map(|c| match c {
            '\t' if tabs => c,
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
            '\u{7f}' => '\u{2421}',
            c if is_obeyed(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str, column: u32, source_column: u32) -> Problem {
        let source_line = line.to_owned();
        Problem {
            file: "a.yaml".into(),
            place: Place { line: 7, column, end_column: Some(column + 4), source_line, source_column },
            severity: Severity::Error,
            code: "unknown-field".into(),
            message: "`tool` is not a field".into(),
            help: Some("did you mean `tools`?".into()),
        }
    }

    #[test]
    fn a_problem_shows_place_line_caret_and_help() {
        let text = problem("  tool: [x]", 3, 3).render(false);
        let want = "error[unknown-field]: `tool` is not a field\n --> a.yaml:7:3\n  |\n7 |   tool: [x]\n  |   ^^^^\n  |\n  = help: did you mean `tools`?";
        assert_eq!(text, want);
    }

    #[test]
    fn a_cut_line_still_names_the_true_column() {
        let text = problem("…xx tool: [x]", 900, 5).render(false);
        assert!(text.contains("a.yaml:7:900"), "{text}");
        assert!(problem("…xx tool: [x]", 900, 5).render(true).contains("a.yaml:7:900"));
        assert!(text.contains("    ^^^^"), "{text}");
    }

    #[test]
    fn no_control_character_of_the_file_reaches_a_terminal() {
        let mut bad = problem("  tool: \u{1b}[31m\u{202e}\u{9b}1m\r", 3, 3);
        bad.file = "a\u{1b}]0;x\u{7}.yaml".into();
        bad.message = "x\u{1b}[2J\ny".into();
        for text in [bad.render(false), bad.line()] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
        }
        assert!(bad.render(true).contains("\u{1b}["));
        assert!(!bad.render(true).contains("\u{1b}[2J"));
    }

    #[test]
    fn a_problem_survives_json() {
        let before = problem("  tool: [x]", 3, 3);
        let text = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), before);
    }
}
