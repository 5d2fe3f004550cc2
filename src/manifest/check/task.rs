//! Rules of kind Task: names, tools and times that a schema cannot judge.

use crate::manifest::faults::Faults;
use crate::manifest::tree::Node;

use super::{duration, name_fits, no_repeats, text, tool_fits};

/// Rules of a Task that need no other object; whether app, analyzer and pool exist is asked in `references`.
pub(super) fn check(spec: &Node<'_>, faults: &mut Faults) {
    for field in ["app", "analyzer", "pool"] {
        if let Some((node, name)) = text(spec, field) {
            name_fits(node.span, &format!("spec.{field}"), name, faults);
        }
    }
    if spec.get("app").is_none() {
        for (field, word) in [("runPolicy", "OnAppChange"), ("cache", "Content")] {
            if let Some((node, found)) = text(spec, field)
                && found == word
            {
                let message = format!("`spec.{field}` is {word}, and the task has no app whose files could be read");
                faults.error(node.span, "contradiction", message, Some("name the app in `spec.app`".into()));
            }
        }
    }
    let tools = spec.get("tools").map(Node::items).unwrap_or_default();
    for (index, node) in tools.iter().enumerate() {
        if let Some(tool) = node.text() {
            tool_fits(node.span, &format!("spec.tools[{index}]"), tool, faults);
        }
    }
    no_repeats(tools, "spec.tools", faults);
    if let Some(retry) = spec.get("retry")
        && let (Some((_, base)), Some((node, max))) = (duration(retry, "base"), duration(retry, "max"))
        && max < base
    {
        let message = format!("`spec.retry.max` is {max}, shorter than `spec.retry.base`, which is {base}");
        faults.error(node.span, "contradiction", message, Some("make `max` at least as long as `base`".into()));
    }
}
