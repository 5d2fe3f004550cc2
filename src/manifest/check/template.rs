//! Placeholders in the texts of a step: each must stand for something that is there when the step begins.

use std::collections::{BTreeMap, BTreeSet};

use super::text;
use crate::manifest::faults::Faults;
use crate::manifest::suggest::{did_you_mean, quoted};
use crate::manifest::tree::{Node, Yaml};
use crate::resource::template::{Piece, Place, SUMMARY, pieces};

/// What the placeholders of a step can stand for.
pub(super) struct Scope<'n> {
    params: &'n BTreeSet<&'n str>,
    item: bool,
    keys: Option<BTreeSet<&'n str>>,
    matrix: BTreeSet<&'n str>,
    app: bool,
    produces: bool,
    /// What steps before it give, by step.
    outputs: BTreeMap<&'n str, BTreeSet<&'n str>>,
}

impl<'n> Scope<'n> {
    /// What is there for a step, whose ancestors are given.
    pub(super) fn of(node: &'n Node<'_>, params: &'n BTreeSet<&'n str>, before: &[&'n Node<'_>]) -> Self {
        let each = node.get("forEach");
        let from = each.and_then(|each| text(each, "appsFrom")).map(|(_, name)| name);
        let items = each.and_then(|each| each.get("items")).map(Node::items).unwrap_or_default();
        let maps = !items.is_empty() && items.iter().all(|item| matches!(item.value, Yaml::Map(_)));
        let keys = maps.then(|| {
            let all = items
                .iter()
                .map(|item| item.entries().iter().map(|(key, _)| key.text.as_ref()).collect::<BTreeSet<_>>());
            all.reduce(|one, other| one.intersection(&other).copied().collect()).unwrap_or_default()
        });
        let outputs = before.iter().filter_map(|step| {
            let (_, name) = text(step, "name")?;
            let promised = step.get("outputs").map(Node::items).unwrap_or_default().iter().filter_map(Node::text);
            let readable = step.get("forEach").is_none() || from == Some(name);
            Some((name, SUMMARY.iter().copied().chain(promised.filter(|_| readable)).collect()))
        });
        Self {
            params,
            item: each.is_some_and(|each| each.get("items").is_some() || each.get("range").is_some()),
            keys,
            matrix: each
                .and_then(|each| each.get("matrix"))
                .map(Node::entries)
                .unwrap_or_default()
                .iter()
                .map(|(key, _)| key.text.as_ref())
                .collect(),
            app: each.is_some_and(|each| each.get("apps").is_some() || each.get("appsFrom").is_some()),
            produces: node.get("produces").is_some(),
            outputs: outputs.collect(),
        }
    }

    /// Why a placeholder stands for nothing, and what to do.
    fn wrong(&self, place: &Place, in_produces: bool) -> Option<(String, Option<String>)> {
        let known = |word: &str, words: &BTreeSet<&str>| did_you_mean(word, words.iter().copied());
        match place {
            Place::Param(key) if !self.params.contains(key.as_str()) => {
                Some((format!("the pipeline has no parameter {}", quoted(key)), known(key, self.params)))
            }
            Place::Item if !self.item || self.keys.is_some() => {
                let help = if self.keys.is_some() {
                    "its items are maps: use `${item.KEY}`"
                } else {
                    "give `forEach.items` or `forEach.range`"
                };
                Some(("the step has no plain items".into(), Some(help.into())))
            }
            Place::ItemKey(key) if !self.keys.as_ref().is_some_and(|keys| keys.contains(key.as_str())) => Some((
                format!("not every item has a key {}", quoted(key)),
                self.keys.as_ref().and_then(|keys| known(key, keys)),
            )),
            Place::Matrix(key) if !self.matrix.contains(key.as_str()) => {
                Some((format!("the matrix has no {}", quoted(key)), known(key, &self.matrix)))
            }
            Place::App if !self.app => Some((
                "the step is not for each of some apps".into(),
                Some("use `forEach.apps` or `forEach.appsFrom`".into()),
            )),
            Place::ProducedApp | Place::ProducedPath if !self.produces || in_produces => {
                Some(("the step makes no app that could stand here".into(), None))
            }
            Place::Output { step, key } => match self.outputs.get(step.as_str()) {
                None => {
                    let words: BTreeSet<&str> = self.outputs.keys().copied().collect();
                    let help = known(step, &words).or_else(|| Some("name it in `needs`".into()));
                    Some((format!("step {} is none that has ended before", quoted(step)), help))
                }
                Some(keys) if !keys.contains(key.as_str()) => {
                    let help = known(key, keys)
                        .or_else(|| Some(format!("it gives {}", keys.iter().copied().collect::<Vec<_>>().join(", "))));
                    Some((format!("step {} does not give {} to this one", quoted(step), quoted(key)), help))
                }
                Some(_) => None,
            },
            Place::Param(_)
            | Place::Item
            | Place::ItemKey(_)
            | Place::Matrix(_)
            | Place::App
            | Place::ProducedApp
            | Place::ProducedPath
            | Place::RunName
            | Place::PipelineName => None,
        }
    }
}

/// Checks every text of a step in which placeholders are filled.
pub(super) fn check_texts(node: &Node<'_>, scope: &Scope<'_>, faults: &mut Faults) {
    for field in ["app", "config", "params"] {
        node.get(field).into_iter().for_each(|value| walk(value, scope, false, faults));
    }
    node.get("produces").into_iter().for_each(|value| walk(value, scope, true, faults));
    let labels = node.get("forEach").and_then(|each| each.get("apps")).and_then(|apps| apps.get("matchLabels"));
    labels.into_iter().for_each(|value| walk(value, scope, false, faults));
}

fn walk(node: &Node<'_>, scope: &Scope<'_>, in_produces: bool, faults: &mut Faults) {
    node.items().iter().for_each(|item| walk(item, scope, in_produces, faults));
    node.entries().iter().for_each(|(_, value)| walk(value, scope, in_produces, faults));
    let Some(text) = node.text() else { return };
    match pieces(text) {
        Err(bad) => faults.error(node.span, "bad-placeholder", bad.0, None),
        Ok(pieces) => {
            for piece in pieces {
                if let Piece::Place(place) = piece
                    && let Some((message, help)) = scope.wrong(&place, in_produces)
                {
                    faults.error(node.span, "bad-placeholder", message, help);
                }
            }
        }
    }
}
