//! Paths in manifests: relative to the workspace, inside a root, and never a way out of it. Lexical only: nothing is read from disk.

use crate::manifest::faults::Faults;
use crate::manifest::source::Span;
use crate::manifest::suggest::quoted;

/// Reports a path that is not a clean relative path inside one of the roots.
pub(super) fn inside_roots(span: Span, field: &str, path: &str, roots: &[String], faults: &mut Faults) {
    let (why, help) = match wrong(path) {
        Some(found) => found,
        None if roots.iter().any(|root| is_inside(path, root)) => return,
        None => ("lies outside the roots", format!("the roots are: {}", roots.join(", "))),
    };
    faults.error(span, "bad-path", format!("`{field}` {} {why}", quoted(path)), Some(help));
}

fn wrong(path: &str) -> Option<(&'static str, String)> {
    let relative = "write it relative to the workspace, such as generated/apps/demo".to_owned();
    if path.is_empty() {
        return Some(("is empty", relative));
    }
    if path.chars().any(char::is_control) {
        return Some(("has a control character", "remove it".into()));
    }
    if path.contains('\\') {
        return Some(("has a backslash", "write `/` between directories".into()));
    }
    if path.starts_with('/') || path.starts_with('~') || path.as_bytes().get(1) == Some(&b':') {
        return Some(("is absolute", relative));
    }
    if path.split('/').any(|part| part == "..") {
        return Some(("has `..` in it", relative));
    }
    None
}

/// Whether a clean path is the root or below it.
fn is_inside(path: &str, root: &str) -> bool {
    let parts = |text: &'_ str| {
        text.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect::<Vec<_>>()
    };
    parts(path).starts_with(&parts(root))
}

/// What is wrong with the pattern of an AppSet, and what to do; nothing when it is fine.
///
/// `{model}` and `{template}` are whole path components, `{number}` may have a literal text before or behind it. Each stands there
/// at most once, and `{number}` exactly once: it is what tells apps apart.
pub(super) fn wrong_pattern(pattern: &str) -> Option<(String, String)> {
    let example = || "for example {model}/app{number}".to_owned();
    if let Some((why, help)) = wrong(pattern) {
        return Some((why.into(), help));
    }
    if pattern.contains(['*', '?', '[', ']']) {
        return Some((
            "is not a glob: `*`, `?` and `[` mean nothing here".into(),
            format!("use placeholders, {}", example()),
        ));
    }
    let mut seen: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        if part.is_empty() || part == "." {
            return Some((
                "has an empty component".into(),
                "write one `/` between components, and none at the ends".into(),
            ));
        }
        if let Some(found) = wrong_component(part, &mut seen) {
            return Some(found);
        }
    }
    (!seen.contains(&"number")).then(|| ("has no {number}, which tells apps apart".into(), example()))
}

fn wrong_component<'p>(part: &'p str, seen: &mut Vec<&'p str>) -> Option<(String, String)> {
    let known = || "known placeholders: {model}, {template}, {number}".to_owned();
    let mut rest = part;
    let mut before = "";
    while let Some(open) = rest.find(['{', '}']) {
        before = if open > 0 { &rest[..open] } else { before };
        let Some(close) = rest[open..].find('}').filter(|_| rest[open..].starts_with('{')) else {
            return Some(("has a brace without its other half".into(), known()));
        };
        let name = &rest[open + 1..open + close];
        rest = &rest[open + close + 1..];
        match name {
            "model" | "template" if part.len() != name.len() + 2 => {
                return Some((
                    format!("has {{{name}}} in a component with other text"),
                    format!("{{{name}}} stands for a whole directory name"),
                ));
            }
            "number"
                if before.ends_with(|c: char| c.is_ascii_digit()) || rest.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                return Some((
                    "has a digit beside {number}".into(),
                    "nobody could tell where the number starts".into(),
                ));
            }
            "model" | "template" | "number" if seen.contains(&name) => {
                return Some((format!("has {{{name}}} twice"), "each placeholder stands once".into()));
            }
            "model" | "template" | "number" => seen.push(name),
            other => {
                return Some((format!("has the unknown placeholder {}", quoted(&format!("{{{other}}}"))), known()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_its_root() {
        for (path, root, inside) in
            [("a/b", ".", true), ("./a//b/", "a", true), ("a", "a/", true), ("ab", "a", false), ("b", "a/b", false)]
        {
            assert_eq!(is_inside(path, root), inside, "{path} in {root}");
        }
        for bad in ["", "/etc", "~/x", "a/../../b", "..", "C:\\x", "a\\b", "a\u{0}b"] {
            assert!(wrong(bad).is_some(), "{bad:?}");
        }
        assert!(wrong("a/..b/c..").is_none());
    }

    #[test]
    fn patterns_have_each_placeholder_once_and_a_number() {
        for good in [
            "{model}/app{number}",
            "{model}/{template}/app{number}",
            "app{number}",
            "apps/{number}/src",
            "{number}-app",
        ] {
            assert_eq!(wrong_pattern(good), None, "{good}");
        }
        for bad in [
            "",
            "{model}",
            "x{model}/app{number}",
            "{model}/app{nr}",
            "{number}/{number}",
            "app1{number}",
            "app{number}2",
            "a/*/{number}",
            "a//{number}",
            "../{number}",
            "/a/{number}",
            "{number",
            "number}",
            "{number}/",
            "}{number}",
        ] {
            assert!(wrong_pattern(bad).is_some(), "{bad}");
        }
    }
}
