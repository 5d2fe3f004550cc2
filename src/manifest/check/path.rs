//! Paths in manifests: relative to the workspace, inside a root, and never a way out of it. Lexical only: nothing is read from disk.

use crate::manifest::faults::Faults;
use crate::manifest::source::Span;
use crate::manifest::suggest::quoted;
use crate::resource::path::{is_inside, wrong};
use crate::resource::template::{Piece, pieces};

/// Reports a path that is not a clean relative path inside one of the roots.
pub(super) fn inside_roots(span: Span, field: &str, path: &str, roots: &[String], faults: &mut Faults) {
    let (why, help) = match wrong(path) {
        Some(found) => found,
        None if roots.iter().any(|root| is_inside(path, root)) => return,
        None => ("lies outside the roots", format!("the roots are: {}", roots.join(", "))),
    };
    faults.error(span, "bad-path", format!("`{field}` {} {why}", quoted(path)), Some(help));
}

/// The same for a path with placeholders: what is written before, between and behind them must fit whatever stands for them. What they become is
/// checked when they are filled.
pub(super) fn may_be_inside_roots(span: Span, field: &str, path: &str, roots: &[String], faults: &mut Faults) {
    let Ok(pieces) = pieces(path) else { return };
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Place(_) => "x".into(),
    };
    let sample: String = pieces.iter().map(text).collect();
    let first = match pieces.as_slice() {
        [] | [Piece::Text(_)] => return inside_roots(span, field, &sample, roots, faults),
        [Piece::Text(first), ..] => first.as_str(),
        [Piece::Place(_), ..] => "",
    };
    let lead = first.rsplit_once('/').map_or("", |(lead, _)| lead);
    let (why, help) = match wrong(&sample) {
        Some(found) => found,
        None if roots.iter().any(|root| is_inside(lead, root) || is_inside(root, lead)) => return,
        None => ("lies outside the roots", format!("the roots are: {}", roots.join(", "))),
    };
    faults.error(span, "bad-path", format!("`{field}` {} {why}", quoted(path)), Some(help));
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
    fn a_path_with_placeholders_can_only_become_one_inside_the_roots() {
        let roots = ["generated/apps".to_owned(), "made".to_owned()];
        let is_good = |path: &str| {
            let mut faults = Faults::default();
            may_be_inside_roots(Span::default(), "path", path, &roots, &mut faults);
            faults.errors == 0
        };
        for good in
            ["made/${item}", "generated/apps/a-${item}/x", "generated/${item}/x", "${item}", "made", "gen${item}/x"]
        {
            assert!(is_good(good), "{good}");
        }
        for bad in [
            "elsewhere",
            "elsewhere/${item}",
            "generated/other/${item}",
            "/made/${item}",
            "made/../${item}",
            "../${item}",
            "a\\${item}",
        ] {
            assert!(!is_good(bad), "{bad}");
        }
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
