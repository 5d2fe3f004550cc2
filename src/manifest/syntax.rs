//! The small print of YAML: what a plain word means, and what the parser's errors mean for a person.

use std::borrow::Cow;

use serde_yaml::granit_parser::{ErrorKind, ScanError};

use super::source::{Source, Span};
use super::tree::Yaml;
use super::yaml::DEPTH_MAX;

/// What an unquoted scalar is, by the core schema of YAML 1.2. Numbers with leading zeros or underscores stay texts: they are
/// names and versions more often than numbers. `implied` says that nothing is written at all.
pub(crate) fn resolve(text: Cow<'_, str>, implied: bool) -> Yaml<'_> {
    if implied {
        return Yaml::Null;
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "true" | "True" | "TRUE" => return Yaml::Bool(true),
        "false" | "False" | "FALSE" => return Yaml::Bool(false),
        _ => {}
    }
    // Nearly every scalar is a word: only what begins like a number is looked at closer.
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && let Some(number) = number(&text)
    {
        return number;
    }
    Yaml::Text(text)
}

fn number(text: &str) -> Option<Yaml<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let fits = !digits.starts_with(['-', '+']);
            return fits.then(|| i128::from_str_radix(digits, radix).ok()).flatten().map(Yaml::Int);
        }
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Yaml::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(Yaml::Float(f64::NAN)),
        _ => {}
    }
    let whole = unsigned.split(['.', 'e', 'E']).next().unwrap_or_default();
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Yaml::Int).ok().or_else(|| text.parse().ok().map(Yaml::Float));
    }
    let shape = unsigned.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let digits = unsigned.bytes().any(|byte| byte.is_ascii_digit());
    if !shape || !digits || unsigned.starts_with(['-', '+', 'e', 'E']) {
        return None;
    }
    text.parse().ok().map(Yaml::Float)
}

/// The place, code, message and help of an error of the parser.
pub(crate) fn describe(error: &ScanError, source: &Source<'_>) -> (Span, &'static str, String, Option<String>) {
    let at = error.marker().byte_offset().unwrap_or(source.text.len()).min(source.text.len());
    if let Some(tab) = leading_tab(source, at) {
        let message = "a tab is used for indentation; YAML allows only spaces there".to_owned();
        return (tab, "tab-indentation", message, Some("replace the tab with spaces".into()));
    }
    let (code, message, help) = explain(error.kind());
    (Span { start: at, end: at }, code, message, help.map(str::to_owned))
}

/// A tab in the indentation of the line of `at`, or of the line before it.
fn leading_tab(source: &Source<'_>, at: usize) -> Option<Span> {
    let here = source.line_start(at);
    [here, source.line_start(here.saturating_sub(1))].into_iter().find_map(|line| {
        let (text, start) = source.line_text(line);
        let indent = &text[..text.len() - text.trim_start_matches([' ', '\t']).len()];
        let is_content = indent.len() < text.len();
        let tab = indent.find('\t').filter(|_| is_content)? + start;
        Some(Span { start: tab, end: tab + 1 })
    })
}

fn explain(kind: &ErrorKind) -> (&'static str, String, Option<&'static str>) {
    let (message, help) = match kind {
        ErrorKind::RecursionLimitExceeded => {
            return (
                "too-deep",
                format!("values are nested deeper than {DEPTH_MAX} levels"),
                Some("flatten the value"),
            );
        }
        ErrorKind::DirectiveDisallowed => {
            return ("directive", "directives such as %YAML are not supported".into(), Some("remove the line"));
        }
        ErrorKind::UnclosedFlowCollection { open } => (format!("the bracket `{open}` is never closed"), None),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            (format!("`{open}` is closed by `{close}`"), Some("close brackets in the order they were opened"))
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("the quote is never closed".to_owned(), Some("close the quote, or quote the whole text"))
        }
        ErrorKind::MappingValueNotAllowed => (
            "a `:` stands where no key can be".to_owned(),
            Some("put the text in quotes if it contains `: `; else check the indentation"),
        ),
        ErrorKind::ExpectedBlockMappingKey => (
            "a key is expected here".to_owned(),
            Some("check the indentation: keys of one map start in the same column"),
        ),
        ErrorKind::SimpleKeyExpected => ("a `:` is missing after this key".to_owned(), Some("write `key: value`")),
        ErrorKind::ExpectedBlockSequenceEntry => {
            ("a list item is expected here".to_owned(), Some("each item starts with `- ` in the same column"))
        }
        ErrorKind::InvalidIndentation => {
            ("the indentation does not fit".to_owned(), Some("use the same number of spaces"))
        }
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => (
            format!("the control character {} is not allowed", super::suggest::quoted(&character.to_string())),
            Some("remove it"),
        ),
        ErrorKind::UnexpectedCharacter { character } => (
            format!("a text cannot start with {}", super::suggest::quoted(&character.to_string())),
            Some("put the text in quotes"),
        ),
        other => (format!("not valid YAML: {other}"), None),
    };
    ("syntax", message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> String {
        match resolve(Cow::Borrowed(text), false) {
            Yaml::Null => "null".into(),
            Yaml::Bool(value) => format!("bool {value}"),
            Yaml::Int(value) => format!("int {value}"),
            Yaml::Float(value) => format!("float {value}"),
            Yaml::Text(value) => format!("text {value}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn plain_words_follow_the_core_schema_and_doubtful_numbers_stay_texts() {
        for (text, want) in [
            ("~", "null"),
            ("true", "bool true"),
            ("yes", "text yes"),
            ("no", "text no"),
            ("on", "text on"),
            ("8", "int 8"),
            ("-8", "int -8"),
            ("+8", "int 8"),
            ("0x1F", "int 31"),
            ("0o17", "int 15"),
            ("0", "int 0"),
            ("007", "text 007"),
            ("1_000", "text 1_000"),
            ("1.5", "float 1.5"),
            ("1e3", "float 1000"),
            ("-.inf", "float -inf"),
            ("1.2.3", "text 1.2.3"),
            ("-", "text -"),
            (".", "text ."),
            ("15m", "text 15m"),
            ("2026-01-01", "text 2026-01-01"),
            ("1e", "text 1e"),
            ("+-1", "text +-1"),
            ("0x", "text 0x"),
            ("0x-1", "text 0x-1"),
            ("99999999999999999999999999999999999999999", "float 100000000000000000000000000000000000000000"),
        ] {
            assert_eq!(word(text), want, "{text}");
        }
    }
}
