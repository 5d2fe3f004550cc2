//! Keys of maps: what a key may be, and that none is given twice.

use std::borrow::Cow;
use std::collections::HashSet;

use super::faults::Faults;
use super::source::Source;
use super::suggest::quoted;
use super::tree::{Key, Node, Yaml};

/// Maps with more keys than this look for duplicates in a set.
const SMALL_MAP: usize = 16;

/// Adds an entry and says true; or reports it when the key is there already, and the first one stays.
pub(crate) fn insert<'a>(
    entries: &mut Vec<(Key<'a>, Node<'a>)>,
    seen: &mut HashSet<Cow<'a, str>>,
    key: Key<'a>,
    node: Node<'a>,
    source: &Source<'_>,
    faults: &mut Faults,
) -> bool {
    if !key.readable {
        return true;
    }
    if entries.len() == SMALL_MAP {
        seen.extend(entries.iter().map(|(key, _)| key.text.clone()));
    }
    let large = entries.len() >= SMALL_MAP;
    let again =
        if large { !seen.insert(key.text.clone()) } else { entries.iter().any(|(found, _)| found.text == key.text) };
    if !again {
        entries.push((key, node));
        return true;
    }
    let first =
        entries.iter().find(|(found, _)| found.text == key.text).map_or(0, |(first, _)| source.line(first.span.start));
    let message = format!("the key {} is given twice; the first is on line {first}", quoted(&key.text));
    faults.error(
        key.span,
        "duplicate-key",
        message,
        Some("remove one of them, or put `---` between two documents".into()),
    );
    false
}

/// A node as the key of a map: anything but a collection is taken as it is written.
pub(crate) fn key_of<'a>(node: Node<'a>, source: &Source<'a>, faults: &mut Faults) -> Key<'a> {
    let readable = !matches!(node.value, Yaml::List(_) | Yaml::Map(_) | Yaml::Lost);
    let text = match node.value {
        Yaml::Text(text) => text,
        Yaml::Lost => Cow::Borrowed(""),
        Yaml::List(_) | Yaml::Map(_) => {
            let help = "text with { or [ in it must be quoted".to_owned();
            faults.error(node.span, "bad-key", "a key must be a text, not a list or a map".into(), Some(help));
            Cow::Borrowed("")
        }
        _ => Cow::Borrowed(source.text.get(node.span.start..node.span.end).unwrap_or_default()),
    };
    Key { span: node.span, text, readable }
}
