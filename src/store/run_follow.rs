//! Observing what follows from the children of another step: which apps it has, which of them were gone on with, and which were not.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use serde_json::{Map, Value};

use super::StoreError;
use super::rows::json_column;
use super::run_observe::{Of, mode, outputs_of_item};
use crate::plan::pipeline::WINDOW;
use crate::plan::pipeline::graph::Node;
use crate::plan::pipeline::observed::ObservedStep;
use crate::plan::pipeline::render::Values;
use crate::resource::run::RetryMode;

/// What follows from the well-concluded children of a source, from an item on.
pub(super) const SOURCES: &str = "SELECT item, app FROM child
     WHERE run = ?1 AND step = ?2 AND item >= ?3 AND conclusion IN ('Succeeded', 'Partial') ORDER BY item LIMIT ?4";

/// The same, where something is missing that follows: another round may have anything left to do.
pub(super) const MISSING: &str = "SELECT s.item, s.app FROM child s
     WHERE s.run = ?1 AND s.step = ?2 AND s.conclusion IN ('Succeeded', 'Partial')
         AND (SELECT count(*) FROM child f WHERE f.run = ?1 AND f.step = ?3 AND f.item >= s.item * ?4 AND f.item < (s.item + 1) * ?4
                  AND NOT (f.round < ?5 AND f.conclusion IS NOT NULL AND (?6 = 2 OR (?6 = 1 AND f.conclusion <> 'Succeeded')))) < ?4
     ORDER BY s.item LIMIT ?7";

/// Items of a step that streams which were asked for already, of those that follow from open children of its source.
pub(super) fn followers(of: &Of<'_>, node: &Node, source: &ObservedStep) -> Result<BTreeSet<u64>, StoreError> {
    let combinations = node.combinations.max(1);
    let mut found = BTreeSet::new();
    let keeps = of.asked && mode(of, node).is_none();
    let keeps_good = mode(of, node) == Some(RetryMode::Bad);
    for child in source.open.iter().filter(|child| child.phase.is_terminal()) {
        let query = "SELECT item, round, conclusion IS 'Succeeded' AS good FROM child
             WHERE run = ?1 AND step = ?2 AND item >= ?3 AND item < ?4";
        let mut statement = of.connection.prepare_cached(query)?;
        let range = params![of.uid.0, node.step.name, child.item * combinations, (child.item + 1) * combinations];
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            if keeps || row.get::<_, i64>("round")? >= of.round || (keeps_good && row.get("good")?) {
                found.insert(row.get("item")?);
            }
        }
    }
    Ok(found)
}

pub(super) fn missing(
    of: &Of<'_>,
    node: &Node,
    source: &Node,
    next_item: u64,
) -> Result<Vec<(u64, String)>, StoreError> {
    let combinations = node.combinations.max(1);
    let of_source = |item: u64, app: &str| {
        (0..combinations).map(|at| (item * combinations + at, app.to_owned())).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    if of.round == 1 {
        if node.streams {
            return Ok(found);
        }
        let mut statement = of.connection.prepare_cached(SOURCES)?;
        let from = next_item / combinations;
        let mut rows = statement.query(params![of.uid.0, source.step.name, from, WINDOW as i64])?;
        while let Some(row) = rows.next()? {
            found.extend(of_source(row.get("item")?, &row.get::<_, String>("app")?));
        }
        found.retain(|(item, _)| *item >= next_item);
        return Ok(found);
    }
    let (own, its) = (mode(of, node), mode(of, source));
    if of.asked && own.is_none() && its.is_none() {
        return Ok(found);
    }
    let word = match own {
        None => 0,
        Some(RetryMode::Bad) => 1,
        Some(RetryMode::All) => 2,
    };
    let mut statement = of.connection.prepare_cached(MISSING)?;
    let values = params![of.uid.0, source.step.name, node.step.name, combinations, of.round, word, WINDOW as i64];
    let mut rows = statement.query(values)?;
    let mut fresh = of.connection.prepare_cached(
        "SELECT 1 FROM child f WHERE f.run = ?1 AND f.step = ?2 AND f.item = ?3
             AND NOT (f.round < ?4 AND f.conclusion IS NOT NULL AND (?5 = 2 OR (?5 = 1 AND f.conclusion <> 'Succeeded')))",
    )?;
    while let Some(row) = rows.next()? {
        for (item, app) in of_source(row.get("item")?, &row.get::<_, String>("app")?) {
            if !fresh.exists(params![of.uid.0, node.step.name, item, of.round, word])? {
                found.push((item, app));
            }
        }
    }
    Ok(found)
}

/// What the sources of missing items gave, by item of the source, where the texts of the step use it.
pub(super) fn given(
    of: &Of<'_>,
    node: &Node,
    source: &Node,
    missing: &[(u64, String)],
) -> Result<BTreeMap<u64, Map<String, Value>>, StoreError> {
    let mut found = BTreeMap::new();
    if !source.is_read {
        return Ok(found);
    }
    for at in missing.iter().map(|(item, _)| item / node.combinations.max(1)) {
        if let Entry::Vacant(entry) = found.entry(at) {
            entry.insert(outputs_of_item(of, &source.step.name, at)?);
        }
    }
    Ok(found)
}

/// The apps that a step's selector gives now.
pub(super) fn matching(connection: &Connection, node: &Node, values: &Values<'_>) -> Result<Vec<String>, StoreError> {
    let Some(selector) = node.step.for_each.as_ref().and_then(|each| each.apps.as_ref()) else { return Ok(Vec::new()) };
    let mut wanted = BTreeMap::new();
    for (key, value) in &selector.match_labels {
        let Ok(value) = values.text(value) else { return Ok(Vec::new()) };
        wanted.insert(key.clone(), value);
    }
    let query = "SELECT o.name, o.labels FROM object o JOIN app a ON a.uid = o.uid
         WHERE o.kind = 'App' AND o.removed_at IS NULL AND a.missing_since IS NULL ORDER BY o.name";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        let labels: BTreeMap<String, String> = json_column(row, "labels")?;
        if wanted.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            names.push(row.get("name")?);
        }
    }
    Ok(names)
}
