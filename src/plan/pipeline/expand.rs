//! Which children a step has: how many, what each stands for, and how it is called.

use std::collections::BTreeMap;

use serde_json::Value;

use super::graph::Node;
use super::render::plain;
use crate::resource::name::{NAME_BYTES_MAX, to_name};

/// What one child of a step stands for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    /// Which one.
    pub index: u64,
    /// The value of `items` or `range`.
    pub value: Option<Value>,
    /// The combination of the matrix.
    pub matrix: BTreeMap<String, Value>,
    /// The app of `apps` or `appsFrom`.
    pub app: Option<String>,
}

impl Item {
    /// What people call it; empty for a step without `forEach`.
    #[must_use]
    pub fn label(&self) -> String {
        let main = match (&self.value, &self.app) {
            (Some(Value::Object(map)), _) => map.values().map(plain).collect::<Vec<_>>().join("-"),
            (Some(value), _) => plain(value),
            (None, Some(app)) => app.clone(),
            (None, None) => String::new(),
        };
        let parts = std::iter::once(main).chain(self.matrix.values().map(plain)).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("-")
    }
}

/// How many items a step has; `None` while that is not known: its selector has not been asked, or they come from another step.
#[must_use]
pub fn expected(node: &Node, apps: Option<&[String]>) -> Option<u64> {
    // A person's decision is no child.
    let Some(each) = &node.step.for_each else { return Some(u64::from(node.step.approval.is_none())) };
    let main = if each.apps_from.is_some() {
        return None;
    } else if each.apps.is_some() {
        apps?.len() as u64
    } else if let Some(range) = each.range {
        u64::try_from(range.to.saturating_sub(range.from).saturating_add(1)).unwrap_or(0)
    } else if each.items.is_empty() && !each.matrix.is_empty() {
        1
    } else {
        each.items.len() as u64
    };
    Some(main.saturating_mul(node.combinations))
}

/// One item of a step. `source_app` is the app of the child that it follows from, for a step with `appsFrom`.
#[must_use]
pub fn item(node: &Node, index: u64, apps: Option<&[String]>, source_app: Option<&str>) -> Item {
    let Some(each) = &node.step.for_each else { return Item { index, ..Item::default() } };
    let combinations = node.combinations.max(1);
    let (main, mut rest) = (index / combinations, index % combinations);
    let mut matrix = BTreeMap::new();
    for (key, list) in each.matrix.iter().rev() {
        let length = list.len().max(1) as u64;
        if let Some(value) = list.get(usize::try_from(rest % length).unwrap_or(0)) {
            matrix.insert(key.clone(), value.clone());
        }
        rest /= length;
    }
    let at = usize::try_from(main).unwrap_or(usize::MAX);
    let value = match each.range {
        Some(range) => Some(Value::from(range.from.saturating_add(i64::try_from(main).unwrap_or(i64::MAX)))),
        None => each.items.get(at).cloned(),
    };
    let app = source_app.map(str::to_owned).or_else(|| apps.and_then(|apps| apps.get(at)).cloned());
    Item { index, value, matrix, app }
}

/// The name of a child. `_` cannot be in the name of anything that is declared, so it clashes with none.
#[must_use]
pub fn child_name(run: &str, node: &Node, item: &Item) -> String {
    if node.step.for_each.is_none() {
        return format!("{run}_{}", node.step.name);
    }
    let name = format!("{run}_{}_{}", node.step.name, to_name(&item.label()));
    if name.len() > NAME_BYTES_MAX { indexed_name(run, &node.step.name, item.index) } else { name }
}

/// The name of a child whose own name is too long, or is that of another child.
#[must_use]
pub fn indexed_name(run: &str, step: &str, item: u64) -> String {
    format!("{run}_{step}_item_{item}")
}
