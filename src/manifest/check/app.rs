//! Rules of kinds App and AppSet.

use crate::manifest::faults::Faults;
use crate::manifest::suggest::quoted;
use crate::manifest::tree::Node;
use crate::resource::address::wrong_address;
use crate::resource::name::check_slug;

use super::{no_repeats, path, text};

/// Rules of an App.
pub(super) fn check_app(spec: &Node<'_>, roots: &[String], faults: &mut Faults) {
    if let Some((node, text)) = text(spec, "path") {
        path::inside_roots(node.span, "spec.path", text, roots, faults);
    }
    if let Some((node, model)) = text(spec, "model")
        && check_slug(model).is_err()
    {
        let help = "letters, digits, '.', '_' and '-', starting with a letter or digit, without '..': analyzers join it to a path";
        faults.error(node.span, "bad-slug", format!("`spec.model` cannot be {}", quoted(model)), Some(help.into()));
    }
    let urls = spec.get("targetUrls").map(Node::items).unwrap_or_default();
    for node in urls {
        if let Some(url) = node.text()
            && let Some(why) = wrong_address(url, &["http://", "https://"])
        {
            let help = "for example http://127.0.0.1:5000".to_owned();
            faults.error(node.span, "bad-url", format!("the target {} {why}", quoted(url)), Some(help));
        }
    }
    no_repeats(urls, "spec.targetUrls", faults);
}

/// Rules of an AppSet.
pub(super) fn check_app_set(spec: &Node<'_>, roots: &[String], faults: &mut Faults) {
    if let Some((node, root)) = text(spec, "root") {
        path::inside_roots(node.span, "spec.root", root, roots, faults);
    }
    if let Some((node, pattern)) = text(spec, "pattern")
        && let Some((why, help)) = path::wrong_pattern(pattern)
    {
        faults.error(node.span, "bad-pattern", format!("`spec.pattern` {} {why}", quoted(pattern)), Some(help));
    }
}
