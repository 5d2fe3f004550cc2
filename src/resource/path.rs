//! Paths in manifests and of what is made: relative to the workspace, inside a root, and never a way out of it. Lexical only.

/// What is wrong with a path that should be a clean relative one, and what to do; `None` when it is fine.
#[must_use]
pub fn wrong(path: &str) -> Option<(&'static str, String)> {
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
#[must_use]
pub fn is_inside(path: &str, root: &str) -> bool {
    let parts = |text: &'_ str| {
        text.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect::<Vec<_>>()
    };
    parts(path).starts_with(&parts(root))
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
}
