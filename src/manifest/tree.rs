//! The tree of a YAML document: every value with its place.

use std::borrow::Cow;

use super::source::Span;

/// One value of the text.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) span: Span,
    pub(crate) value: Yaml<'a>,
}

/// What a value is, by the core schema of YAML 1.2: `yes` is a text, and so are `007` and `1_000`.
#[derive(Debug, Clone)]
pub(crate) enum Yaml<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<(Key<'a>, Node<'a>)>),
    /// A value that was reported already, such as an alias without an anchor.
    Lost,
}

/// A key of a map: always a text, as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Key<'a> {
    pub(crate) span: Span,
    pub(crate) text: Cow<'a, str>,
    /// False when a list or a map stands where the key should be; such an entry is left out.
    pub(crate) readable: bool,
}

impl<'a> Node<'a> {
    /// The value under a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The key and its value.
    pub(crate) fn entry(&self, key: &str) -> Option<&(Key<'a>, Self)> {
        self.entries().iter().find(|(found, _)| found.text == key)
    }

    /// The entries of a map; none for anything else.
    pub(crate) fn entries(&self) -> &[(Key<'a>, Self)] {
        if let Yaml::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The items of a list; none for anything else.
    pub(crate) fn items(&self) -> &[Self] {
        if let Yaml::List(items) = &self.value { items } else { &[] }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Yaml::Text(text) = &self.value { Some(text) } else { None }
    }
}
