//! Names: what an object may be called, and which model slugs are safe to send to an analyzer.

use std::fmt;

/// The longest object name, as in Kubernetes (RFC 1123 subdomain).
pub const NAME_BYTES_MAX: usize = 253;

/// The longest model slug; it becomes one directory name.
pub const SLUG_BYTES_MAX: usize = 200;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub String);

/// Checks an object name: lower-case letters, digits, `-` and `.`, starting and ending with a letter or digit, at most
/// 253 bytes. Source: RFC 1123 subdomain, as Kubernetes reads it; it is also a safe file name.
///
/// # Errors
/// [`BadName`] says which rule is broken.
pub fn check_name(text: &str) -> Result<(), BadName> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if text.is_empty() {
        return Err(BadName("a name is needed".into()));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(BadName(format!("a name has at most {NAME_BYTES_MAX} bytes, this one has {}", text.len())));
    }
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if !text.chars().all(inside) || !edge(text.chars().next()) || !edge(text.chars().last()) || text.contains("..") {
        return Err(BadName(format!(
            "{text:?} is not a name: lower-case letters, digits, '-' and single '.', starting and ending with a letter or digit"
        )));
    }
    Ok(())
}

/// Checks a model slug: letters, digits, `.`, `_`, `-`; not starting with `.` or `-`. Existing analyzers join it to a path unchecked,
/// so `../x` must never leave this process.
///
/// # Errors
/// [`BadName`] says which rule is broken.
pub fn check_slug(text: &str) -> Result<(), BadName> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if text.len() > SLUG_BYTES_MAX || !starts || !text.chars().all(fits) || text.contains("..") {
        return Err(BadName(format!(
            "{text:?} is not a model slug: letters, digits, '.', '_' and '-', starting with a letter or digit, without '..', at most {SLUG_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// Turns any text into a valid name: what does not fit becomes `-`. Used for apps found on disk.
#[must_use]
pub fn to_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with(['-', '.']) {
            name.push(if c == '.' { '.' } else { '-' });
        }
    }
    name.truncate(NAME_BYTES_MAX);
    while name.ends_with(['-', '.']) {
        name.pop();
    }
    if name.is_empty() { "unnamed".into() } else { name }
}

/// The identity of one object for its whole life; a name can be used again, a uid cannot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Uid(pub String);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "gpt-4o-app1", "a.b", "0x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "a/b", "../x", "a_b", "ü", &"a".repeat(254)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slug_never_leaves_its_directory() {
        for good in ["openai_gpt-4o", "gpt-4o", "anthropic_claude-3.5-sonnet", "_x"] {
            assert!(check_slug(good).is_ok(), "{good}");
        }
        for bad in ["", "../x", "..", ".hidden", "a/b", "a\\b", "a b", "a..b", "-rf"] {
            assert!(check_slug(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_text_becomes_a_valid_name() {
        for text in ["GPT_4o App/1", "...", "---", "", "Ä", "a..b", "x_"] {
            assert!(check_name(&to_name(text)).is_ok(), "{text:?} -> {:?}", to_name(text));
        }
        assert_eq!(to_name("openai_gpt-4o"), "openai-gpt-4o");
    }
}
