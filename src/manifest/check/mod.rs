//! Rules that a schema cannot say: names, labels, paths, addresses, placeholders, and fields that contradict each other.
//!
//! They look at the tree and not at the typed spec, and pass over what has the wrong type, so that a file with a mistyped
//! field still hears about all its other problems.

mod analyzer;
mod app;
mod path;
mod pipeline;
mod pool;
mod task;
mod template;

use crate::resource::kind::Kind;
use crate::resource::name::check_name;
use crate::resource::time::Span as Duration;

use super::bounds::Bounds;
use super::faults::Faults;
use super::source::Span;
use super::suggest::quoted;
use super::tree::Node;

/// The longest name part of a label key, and the longest label value, as in Kubernetes.
const LABEL_BYTES_MAX: usize = 63;
/// The longest tool name: it becomes a file name.
const TOOL_BYTES_MAX: usize = 100;

/// Reports everything in one manifest that breaks a rule. `kind` is `None` when it is not known; metadata is looked at all the same.
pub(crate) fn check(root: &Node<'_>, kind: Option<Kind>, bounds: Bounds<'_>, faults: &mut Faults) {
    let Bounds { roots, programs } = bounds;
    if let Some(metadata) = root.get("metadata") {
        check_metadata(metadata, faults);
    }
    let (Some(kind), Some(spec)) = (kind, root.get("spec")) else { return };
    match kind {
        Kind::Analyzer => {
            let owner = root.entry("spec").map_or(spec.span, |(key, _)| key.span);
            analyzer::check(spec, owner, programs, faults);
        }
        Kind::App => app::check_app(spec, roots, faults),
        Kind::AppSet => app::check_app_set(spec, roots, faults),
        Kind::Pool => pool::check(spec, faults),
        Kind::Pipeline => pipeline::check(spec, roots, faults),
        Kind::Run => {}
        Kind::Task => task::check(spec, faults),
    }
}

fn check_metadata(metadata: &Node<'_>, faults: &mut Faults) {
    if let Some((node, name)) = text(metadata, "name") {
        name_fits(node.span, "metadata.name", name, faults);
    }
    for field in ["labels", "annotations"] {
        for (key, value) in metadata.get(field).map(Node::entries).unwrap_or_default() {
            if !is_label_key(&key.text) {
                let message = format!("{} is not a key of {field}", quoted(&key.text));
                let help = format!(
                    "letters, digits, '-', '_' and '.', starting and ending with a letter or digit, at most {LABEL_BYTES_MAX} bytes; before it a domain and '/' if you like"
                );
                faults.error(key.span, "bad-label", message, Some(help));
            }
            if let Some(text) =
                value.text().filter(|text| field == "labels" && !text.is_empty() && !is_label_word(text))
            {
                let message = format!("{} is not a label value", quoted(text));
                let help = format!(
                    "letters, digits, '-', '_' and '.', starting and ending with a letter or digit, at most {LABEL_BYTES_MAX} bytes; free text belongs into annotations"
                );
                faults.error(value.span, "bad-label", message, Some(help));
            }
        }
    }
}

/// `example.org/team` or `team`. Source: the syntax of Kubernetes labels.
fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, word)) => check_name(domain).is_ok() && is_label_word(word),
        None => is_label_word(key),
    }
}

fn is_label_word(word: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    word.len() <= LABEL_BYTES_MAX
        && word.bytes().all(inside)
        && edge(word.as_bytes().first())
        && edge(word.as_bytes().last())
}

/// Reports a text that is not an object name.
fn name_fits(span: Span, path: &str, name: &str, faults: &mut Faults) {
    if let Err(wrong) = check_name(name) {
        // What the rule says begins with the name itself, which can be long.
        let rule = wrong.0.rsplit_once(": ").map_or(wrong.0.as_str(), |(_, rule)| rule).to_owned();
        faults.error(span, "bad-name", format!("`{path}` cannot be {}", quoted(name)), Some(rule));
    }
}

/// Reports a text that cannot be the name of a tool: it becomes a key of the results and a file name.
fn tool_fits(span: Span, path: &str, tool: &str, faults: &mut Faults) {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts = tool.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if tool.len() > TOOL_BYTES_MAX || !starts || !tool.bytes().all(inside) {
        let help = format!(
            "letters, digits, '-', '_' and '.', starting with a letter or digit, at most {TOOL_BYTES_MAX} bytes"
        );
        faults.error(span, "bad-tool", format!("`{path}` cannot be {}", quoted(tool)), Some(help));
    }
}

/// Reports a duration of nothing where time must pass.
fn longer_than_nothing(node: &Node<'_>, key: &str, path: &str, faults: &mut Faults) {
    if let Some((value, Duration(0))) = duration(node, key) {
        faults.error(value.span, "out-of-range", format!("`{path}.{key}` must be longer than nothing"), None);
    }
}

/// The text under a key, with its node.
fn text<'n>(node: &'n Node<'_>, key: &str) -> Option<(&'n Node<'n>, &'n str)> {
    let value = node.get(key)?;
    value.text().map(|text| (value, text))
}

/// The duration under a key, with its node; a wrong one has been reported by the walk.
fn duration<'n>(node: &'n Node<'_>, key: &str) -> Option<(&'n Node<'n>, Duration)> {
    let (value, text) = text(node, key)?;
    text.parse().ok().map(|span| (value, span))
}

/// Reports each text of a list that is there already.
fn no_repeats(items: &[Node<'_>], path: &str, faults: &mut Faults) {
    let mut seen = std::collections::HashSet::new();
    for item in items {
        if let Some(text) = item.text().filter(|text| !seen.insert(*text)) {
            faults.error(
                item.span,
                "duplicate-item",
                format!("`{path}` has {} twice", quoted(text)),
                Some("remove one".into()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_syntax_of_kubernetes() {
        for good in ["a", "team", "example.org/team", "A_b.c-9"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "/a", "a/", "a/b/c", "Ü", &"x".repeat(64), "UPPER.org/a"] {
            assert!(!is_label_key(bad), "{bad}");
        }
    }
}
