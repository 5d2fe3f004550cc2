//! Walks a tree against the shape of its kind and reports everything that does not fit; and turns a tree that fits into JSON.

use std::fmt;

use serde_json::{Map, Number, Value};

use crate::resource::time::Span as Duration;

use super::faults::Faults;
use super::shape::{Shape, Wants};
use super::source::Span;
use super::suggest::{did_you_mean, nearest, quoted};
use super::tree::{Key, Node, Yaml};

/// Where in a document the walk is; printed as `spec.websocket.urls[0]`.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    /// The document itself.
    Root,
    /// A key of what is above.
    Key(&'p Path<'p>, &'p str),
    /// An item of the list above.
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(above, key) => write!(f, "{above}.{key}"),
            Self::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// Reports everything in a manifest that does not fit the shape of its kind. `apiVersion` and `kind` have been looked at already;
/// `spec` says whether the kind, and so the meaning of the spec, is known.
pub(crate) fn manifest(root: &Node<'_>, shape: &Shape, spec: bool, owner: Span, faults: &mut Faults) {
    for (key, node) in root.entries().iter().filter(|(key, _)| !matches!(&*key.text, "apiVersion" | "kind")) {
        match shape.field(&key.text) {
            Some(field) if spec || field.name != "spec" => {
                walk(node, &field.shape, &Path::Key(&Path::Root, &key.text), key.span, faults);
            }
            Some(_) => {}
            None => unknown_field(key, root.entries(), shape, &Path::Root, faults),
        }
    }
    let known = |name: &str| spec || !matches!(name, "kind" | "spec");
    missing_fields(root.entries(), shape, &Path::Root, owner, known, faults);
}

/// Reports everything in `node` that does not fit `shape`. `owner` is where a missing field is shown: the key above.
pub(crate) fn walk(node: &Node<'_>, shape: &Shape, path: &Path<'_>, owner: Span, faults: &mut Faults) {
    match (&shape.wants, &node.value) {
        (_, Yaml::Lost) => {}
        (Wants::Any, _) => finite(node, path, faults),
        (Wants::Bool, Yaml::Bool(_)) | (Wants::Text, Yaml::Text(_)) | (Wants::Number, Yaml::Int(_)) => {}
        (Wants::Number, Yaml::Float(number)) if number.is_finite() => {}
        (Wants::Int { min, max }, Yaml::Int(number)) => {
            if number < min || number > max {
                let message = format!("`{path}` is {number}, but must be {}", range(*min, *max));
                faults.error(node.span, "out-of-range", message, None);
            }
        }
        (Wants::Duration, Yaml::Text(text)) => {
            if let Err(wrong) = text.parse::<Duration>() {
                bad_duration(node.span, path, text, &wrong.to_string(), faults);
            }
        }
        (Wants::Words(words), Yaml::Text(text)) => {
            if !words.iter().any(|(word, _)| word == text) {
                bad_word(node.span, path, text, words, faults);
            }
        }
        (Wants::List { item, min, max }, Yaml::List(items)) => {
            if items.len() < *min || items.len() > *max {
                let (wanted, count) = (range(*min as i128, *max as i128), items.len());
                faults.error(
                    node.span,
                    "wrong-size",
                    format!("`{path}` has {count} items, but must have {wanted}"),
                    None,
                );
            }
            for (index, node) in items.iter().enumerate() {
                walk(node, item, &Path::Item(path, index), node.span, faults);
            }
        }
        (Wants::Map(value), Yaml::Map(entries)) => {
            for (key, node) in entries {
                walk(node, value, &Path::Key(path, &key.text), key.span, faults);
            }
        }
        (Wants::Record(_), Yaml::Map(entries)) => record(entries, shape, path, owner, faults),
        _ => wrong_type(node, shape, path, owner, faults),
    }
}

fn record(entries: &[(Key<'_>, Node<'_>)], shape: &Shape, path: &Path<'_>, owner: Span, faults: &mut Faults) {
    for (key, node) in entries {
        match shape.field(&key.text) {
            Some(field) => walk(node, &field.shape, &Path::Key(path, &key.text), key.span, faults),
            None => unknown_field(key, entries, shape, path, faults),
        }
    }
    missing_fields(entries, shape, path, owner, |_| true, faults);
}

fn missing_fields(
    entries: &[(Key<'_>, Node<'_>)],
    shape: &Shape,
    path: &Path<'_>,
    owner: Span,
    asked: impl Fn(&str) -> bool,
    faults: &mut Faults,
) {
    for field in shape.fields().iter().filter(|field| field.required && asked(&field.name)) {
        if !entries.iter().any(|(key, _)| key.text == field.name.as_str()) {
            let message = format!("`{}` is missing", Path::Key(path, &field.name));
            faults.error(owner, "missing-field", message, Some(hint(&field.name, &field.shape)));
        }
    }
}

fn hint(name: &str, shape: &Shape) -> String {
    match &shape.wants {
        Wants::Words(words) if words.len() == 1 => format!("write `{name}: {}`", words[0].0),
        _ if shape.description.is_empty() => format!("it wants a value of type {}", shape.word()),
        _ => format!("{} ({})", shape.description.trim_end_matches('.'), shape.word()),
    }
}

fn unknown_field(key: &Key<'_>, entries: &[(Key<'_>, Node<'_>)], shape: &Shape, path: &Path<'_>, faults: &mut Faults) {
    const OWNED: [&str; 7] =
        ["status", "uid", "generation", "resourceVersion", "creationTimestamp", "ownerReferences", "finalizers"];
    if faults.counts_only() {
        return;
    }
    let at_top = matches!(path, Path::Root | Path::Key(Path::Root, "metadata"));
    if at_top && OWNED.contains(&&*key.text) {
        let message = format!("`{}` does not belong into a file: the server owns it", Path::Key(path, &key.text));
        let code = if key.text == "status" { "status-in-file" } else { "server-owned-field" };
        faults.error(key.span, code, message, Some("remove it".into()));
        return;
    }
    let place = match path {
        Path::Root => "a manifest".to_owned(),
        path => format!("`{path}`"),
    };
    // A field that is there already is not what was meant. In a huge map that is not worth a look.
    let free = shape.fields().iter().map(|field| field.name.as_str());
    let free = free.filter(|name| entries.len() > 100 || !entries.iter().any(|(key, _)| key.text == *name));
    let known = || shape.fields().iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
    let help = did_you_mean(&key.text, free).unwrap_or_else(|| format!("known fields: {}", known()));
    faults.error(key.span, "unknown-field", format!("{} is not a field of {place}", quoted(&key.text)), Some(help));
}

fn bad_duration(span: Span, path: &Path<'_>, text: &str, why: &str, faults: &mut Faults) {
    // The rule is said once, by the type itself; only the text it quotes is replaced by a bounded one.
    let rule = why.rsplit_once(": ").map_or(why, |(_, rule)| rule);
    let message = format!("`{path}` is not a duration: {}", quoted(text));
    faults.error(span, "bad-duration", message, Some(rule.to_owned()));
}

fn bad_word(span: Span, path: &Path<'_>, text: &str, words: &[(String, String)], faults: &mut Faults) {
    let names = || words.iter().map(|(word, _)| word.as_str());
    let all = names().collect::<Vec<_>>().join(", ");
    let help = match nearest(text, names()) {
        Some(word) if words.len() > 1 => format!("did you mean `{word}`? One of: {all}"),
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("one of: {all}"),
    };
    faults.error(span, "bad-word", format!("`{path}` cannot be {}", quoted(text)), Some(help));
}

fn wrong_type(node: &Node<'_>, shape: &Shape, path: &Path<'_>, owner: Span, faults: &mut Faults) {
    let what = match &node.value {
        Yaml::Null => {
            let message = format!("`{path}` has no value, but wants {}", wanted(shape));
            let help = "write a value, or remove the line".to_owned();
            faults.error(owner, "wrong-type", message, Some(help));
            return;
        }
        Yaml::Bool(value) => format!("the boolean {value}"),
        Yaml::Int(value) => format!("the number {value}"),
        Yaml::Float(value) => format!("the number {value}"),
        Yaml::Text(text) => format!("the text {}", quoted(text)),
        Yaml::List(_) => "a list".into(),
        Yaml::Map(_) => "a map".into(),
        Yaml::Lost => return,
    };
    let message = format!("`{path}` wants {}, but is {what}", wanted(shape));
    faults.error(node.span, "wrong-type", message, correction(node, shape));
}

fn wanted(shape: &Shape) -> String {
    match &shape.wants {
        Wants::Any => "a value".into(),
        Wants::Bool => "true or false".into(),
        Wants::Int { .. } => "a whole number".into(),
        Wants::Number => "a number".into(),
        Wants::Text => "a text".into(),
        Wants::Duration => "a duration such as 30s or 15m".into(),
        Wants::Words(words) => {
            format!("one of {}", words.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(", "))
        }
        Wants::List { .. } => "a list".into(),
        Wants::Map(_) | Wants::Record(_) => "a map".into(),
    }
}

/// What to write instead, where that is clear.
fn correction(node: &Node<'_>, shape: &Shape) -> Option<String> {
    match (&shape.wants, &node.value) {
        (Wants::Int { .. }, Yaml::Text(text)) if text.trim().parse::<i64>().is_ok() => {
            Some(format!("write the number without quotes: {}", text.trim().parse::<i64>().ok()?))
        }
        (Wants::Bool, Yaml::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`, without quotes".into()),
            "no" | "off" | "n" | "false" => Some("write `false`, without quotes".into()),
            _ => None,
        },
        (Wants::Text | Wants::Words(_), Yaml::Int(_) | Yaml::Float(_) | Yaml::Bool(_)) => {
            Some("put it in quotes to make it a text".into())
        }
        (Wants::Duration, Yaml::Int(number)) => Some(format!("add a unit, such as `{number}s`")),
        (Wants::List { .. }, Yaml::Text(text)) if text.len() <= 40 => {
            Some(format!("write it as a list: [{}]", text.escape_debug()))
        }
        (Wants::List { .. }, Yaml::Map(_)) => Some("start each item with `- `".into()),
        _ => None,
    }
}

/// A range in words.
pub(crate) fn range(min: i128, max: i128) -> String {
    match max {
        _ if max >= i128::from(u64::MAX) => format!("at least {min}"),
        _ if min <= i128::from(i64::MIN) => format!("at most {max}"),
        _ => format!("between {min} and {max}"),
    }
}

/// JSON has no infinity, and no `not a number`: they would be stored as null.
fn finite(node: &Node<'_>, path: &Path<'_>, faults: &mut Faults) {
    match &node.value {
        Yaml::Float(number) if !number.is_finite() => {
            faults.error(
                node.span,
                "not-finite",
                format!("`{path}` is {number}, which JSON cannot carry"),
                Some("put it in quotes".into()),
            );
        }
        Yaml::List(items) => {
            items.iter().enumerate().for_each(|(index, item)| finite(item, &Path::Item(path, index), faults));
        }
        Yaml::Map(entries) => {
            entries.iter().for_each(|(key, item)| finite(item, &Path::Key(path, &key.text), faults));
        }
        _ => {}
    }
}

/// The tree as JSON.
pub(crate) fn to_json(node: &Node<'_>) -> Value {
    match &node.value {
        Yaml::Null | Yaml::Lost => Value::Null,
        Yaml::Bool(value) => Value::Bool(*value),
        Yaml::Int(value) => i64::try_from(*value)
            .map(Value::from)
            .or_else(|_| u64::try_from(*value).map(Value::from))
            .unwrap_or_else(|_| float(*value as f64)),
        Yaml::Float(value) => float(*value),
        Yaml::Text(text) => Value::String(text.to_string()),
        Yaml::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Yaml::Map(entries) => Value::Object(
            entries.iter().map(|(key, node)| (key.text.to_string(), to_json(node))).collect::<Map<_, _>>(),
        ),
    }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
