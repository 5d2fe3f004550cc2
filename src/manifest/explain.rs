//! `manifestd explain task.spec.retry`: what a field means, in the manner of `kubectl explain`, from the schema itself.

use std::fmt::Write as _;

use serde_json::Value;

use crate::resource::kind::Kind;

use super::shape::{self, Field, Shape, Wants};
use super::suggest::{nearest, quoted};
use super::validate::range;

/// Text is wrapped at this column.
const WIDTH: usize = 100;

/// Why a path cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {help}")]
pub struct ExplainError {
    /// What is wrong with the path.
    pub message: String,
    /// What could be asked instead.
    pub help: String,
}

/// Explains a kind or a field of it: `task`, `task.spec`, `analyzer.spec.websocket.urls`. The kind may be written in any way that
/// the command line takes. The text ends with a line break.
///
/// # Errors
/// [`ExplainError`] when there is no such kind or field, with the nearest one there is.
pub fn explain(path: &str) -> Result<String, ExplainError> {
    let mut parts = path.trim().split('.');
    let word = parts.next().unwrap_or_default();
    let kind = Kind::from_word(word).ok_or_else(|| unknown_kind(word))?;
    let mut shape = shape::of_kind(kind);
    let mut asked = kind.singular().to_owned();
    let mut required = None;
    for part in parts {
        let name = part.split('[').next().unwrap_or_default();
        let field = below(shape).field(name).ok_or_else(|| unknown_field(&asked, name, below(shape)))?;
        let _ = write!(asked, ".{name}");
        shape = &field.shape;
        required = Some(field.required);
    }
    Ok(describe(kind, &asked, shape, required))
}

/// Where the fields below a place are: a list is looked into.
fn below(shape: &Shape) -> &Shape {
    match &shape.wants {
        Wants::List { item, .. } => below(item),
        Wants::Map(value) => below(value),
        _ => shape,
    }
}

fn unknown_kind(word: &str) -> ExplainError {
    let kinds: Vec<_> = Kind::DECLARED.iter().map(|kind| kind.singular()).collect();
    let help = match nearest(word, kinds.iter().copied()) {
        Some(kind) => format!("did you mean `{kind}`?"),
        None => format!("kinds: {}", kinds.join(", ")),
    };
    ExplainError { message: format!("there is no kind {}", quoted(word)), help }
}

fn unknown_field(asked: &str, name: &str, shape: &Shape) -> ExplainError {
    let names: Vec<_> = shape.fields().iter().map(|field| field.name.as_str()).collect();
    let help = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{asked}.{near}`?"),
        None if names.is_empty() => format!("`{asked}` has no fields of its own"),
        None => format!("its fields: {}", names.join(", ")),
    };
    ExplainError { message: format!("`{asked}` has no field {}", quoted(name)), help }
}

fn describe(kind: Kind, asked: &str, shape: &Shape, required: Option<bool>) -> String {
    let mut text = format!("KIND:     {kind}\nVERSION:  {}\n", crate::resource::kind::API_VERSION);
    if let Some(required) = required {
        let mark = if required { " (required)" } else { "" };
        let _ = writeln!(text, "FIELD:    {asked} <{}>{mark}", shape.word());
    }
    text.push_str("\nDESCRIPTION:\n");
    wrap(&mut text, &shape.description, 4);
    if let Some(default) = &shape.default {
        let _ = write!(text, "\nDEFAULT:\n    {}\n", written(default));
    }
    if let Some(limits) = limits(shape) {
        let _ = write!(text, "\nRANGE:\n    {limits}\n");
    }
    if let Wants::Words(words) = &shape.wants {
        text.push_str("\nONE OF:\n");
        for (word, description) in words {
            let _ = writeln!(text, "    {word}");
            wrap(&mut text, description, 8);
        }
    }
    let fields = below(shape).fields();
    if !fields.is_empty() {
        text.push_str("\nFIELDS:\n");
        for field in fields {
            describe_field(&mut text, field);
        }
    }
    text
}

fn describe_field(text: &mut String, field: &Field) {
    let mark = if field.required { " (required)" } else { "" };
    let _ = write!(text, "    {} <{}>{mark}", field.name, field.shape.word());
    if let Some(default) = field.shape.default.as_ref().filter(|default| !default.is_object()) {
        let _ = write!(text, ", default {}", written(default));
    }
    if let Some(limits) = limits(&field.shape) {
        let _ = write!(text, ", {limits}");
    }
    text.push('\n');
    wrap(text, &field.shape.description, 8);
}

/// The limits of a number or of a list; nothing where there are none worth a word.
fn limits(shape: &Shape) -> Option<String> {
    match &shape.wants {
        Wants::Int { min, max } => Some(range(*min, *max)),
        Wants::List { min, max, .. } if *min > 0 || *max < usize::MAX => {
            Some(format!("{} items", range(*min as i128, *max as i128)))
        }
        Wants::Duration => Some("a whole number and one of ms, s, m, h, d".into()),
        _ => None,
    }
}

/// A default as a person writes it in YAML.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let fields: Vec<_> = map.iter().map(|(key, value)| format!("{key}: {}", written(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn wrap(text: &mut String, words: &str, indent: usize) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    if column > 0 {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_explained_with_default_range_and_fields() {
        let text = explain("Tasks.spec.retry").unwrap();
        assert!(text.starts_with("KIND:     Task\n"), "{text}");
        for part in [
            "FIELD:    task.spec.retry <object>",
            "DEFAULT:\n    {base: 30s, factor: 2, max: 15m}",
            "    factor <integer>, default 2, between 1 and 10\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let text = explain("task.spec.runPolicy").unwrap();
        assert!(text.contains("ONE OF:\n    Once\n        Never:"), "{text}");
        let text = explain("analyzer.spec.websocket.urls").unwrap();
        assert!(text.contains("<[]string> (required)") && text.contains("between 1 and 64 items"), "{text}");
        assert!(explain("task").unwrap().contains("    spec <object> (required)\n"));
    }

    #[test]
    fn every_field_of_every_kind_can_be_explained() {
        fn ask(path: &str, shape: &Shape) {
            assert!(
                explain(path).is_ok_and(|text| text.lines().all(|line| line.chars().count() <= WIDTH + 40)),
                "{path}"
            );
            below(shape).fields().iter().for_each(|field| ask(&format!("{path}.{}", field.name), &field.shape));
        }
        Kind::DECLARED.iter().for_each(|&kind| ask(kind.singular(), shape::of_kind(kind)));
    }

    #[test]
    fn an_unknown_path_names_the_nearest_one() {
        assert_eq!(explain("tsk").unwrap_err().help, "did you mean `task`?");
        assert_eq!(explain("task.spec.tool").unwrap_err().help, "did you mean `task.spec.tools`?");
        assert_eq!(explain("task.spec.app.x").unwrap_err().help, "`task.spec.app` has no fields of its own");
        assert!(explain("").is_err());
    }
}
