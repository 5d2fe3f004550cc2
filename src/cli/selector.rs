//! Label selectors: `-l model=gpt-4o,team!=x,checked,!draft`, as kubectl reads them, without sets.

use std::collections::BTreeMap;
use std::str::FromStr;

/// What labels must be like. All terms must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Equal(String, String),
    /// Holds also where the key is absent, as in Kubernetes.
    NotEqual(String, String),
    Present(String),
    Absent(String),
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not part of a label selector; write KEY=VALUE, KEY!=VALUE, KEY or !KEY, several with commas")]
pub struct NotASelector(String);

impl Selector {
    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Equal(key, value) => labels.get(key) == Some(value),
            Term::NotEqual(key, value) => labels.get(key) != Some(value),
            Term::Present(key) => labels.contains_key(key),
            Term::Absent(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for Selector {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<Self, NotASelector> {
        let terms = text.split(',').map(|part| {
            let part = part.trim();
            let term = if let Some((key, value)) = part.split_once("!=") {
                Term::NotEqual(key.trim().into(), value.trim().into())
            } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                Term::Equal(key.trim().into(), value.trim().into())
            } else if let Some(key) = part.strip_prefix('!') {
                Term::Absent(key.trim().into())
            } else {
                Term::Present(part.into())
            };
            let (key, value) = match &term {
                Term::Equal(key, value) | Term::NotEqual(key, value) => (key, value.as_str()),
                Term::Present(key) | Term::Absent(key) => (key, ""),
            };
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            let good = !key.is_empty() && key.chars().all(fits) && value.chars().all(fits);
            if good { Ok(term) } else { Err(NotASelector(part.to_owned())) }
        });
        terms.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select_as_in_kubernetes() {
        let labels = BTreeMap::from([("model".into(), "gpt-4o".into()), ("checked".into(), String::new())]);
        for (text, selected) in [
            ("model=gpt-4o", true),
            ("model==gpt-4o,checked", true),
            ("model = gpt-4o , !draft", true),
            ("model!=gpt-4o", false),
            ("team!=x", true),
            ("team", false),
            ("!checked", false),
            ("checked=", true),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&labels), selected, "{text}");
        }
        assert!(Selector::default().matches(&labels));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", "a,,b", "=b", "!", "a=b=c", "a in (b)", "a=b!c"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
