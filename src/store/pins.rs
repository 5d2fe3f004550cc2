//! The pipelines within a run: those that its steps run, and those that theirs run, each pinned under its name when the run was made or, if it
//! was not known then, before the run begins.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use super::new_run::{Definition, declared};
use super::rows::json;
use super::{StoreError, graphs};
use crate::plan::pipeline::circle::circle;
use crate::plan::pipeline::graph::Graph;
use crate::plan::pipeline::observed::Within;
use crate::resource::name::Uid;

/// Pinned pipelines by name.
type Pins = BTreeMap<String, Definition>;

/// Pins what is declared of the pipelines within a run that is about to be made.
pub(super) fn fresh(connection: &Connection, root: &Definition) -> Result<String, StoreError> {
    let mut pins = Pins::new();
    fill(connection, named(&*root.graph(connection)?), &mut pins)?;
    text(&pins)
}

/// Pins what is declared by now and was not known before, for a run that has not begun.
pub(super) fn pin(connection: &Connection, run: &Uid) -> Result<(), StoreError> {
    let query = "SELECT digest, pins FROM run WHERE uid = ?1";
    let (digest, known): (String, String) =
        connection.prepare_cached(query)?.query_row([&run.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut pins: Pins = json(&known)?;
    fill(connection, named(&*graph(connection, &digest)?), &mut pins)?;
    connection
        .prepare_cached("UPDATE run SET pins = ?2 WHERE uid = ?1 AND phase = 'Pending'")?
        .execute(params![run.0, text(&pins)?])?;
    Ok(())
}

/// What is seen of the pipelines within a run of a pipeline, with the pins that it has.
pub(super) fn within(connection: &Connection, pipeline: &str, root: &Graph, known: &str) -> Result<Within, StoreError> {
    let mut runs: BTreeMap<String, Vec<String>> = BTreeMap::from([(pipeline.to_owned(), named(root))]);
    let mut found = Within::default();
    if runs.values().all(Vec::is_empty) {
        return Ok(found);
    }
    let pins: Pins = json(known)?;
    let mut left = named(root);
    let mut unknown = BTreeSet::new();
    while let Some(name) = left.pop() {
        if runs.contains_key(&name) || unknown.contains(&name) {
            continue;
        }
        if let Some(pinned) = pins.get(&name) {
            let names = named(&*graph(connection, &pinned.digest)?);
            left.extend(names.iter().cloned());
            runs.insert(name, names);
        } else if name != pipeline && declared(connection, &name)?.is_some() {
            found.late = true;
        } else {
            unknown.insert(name);
        }
    }
    found.unknown = unknown.into_iter().collect();
    let of = |name: &str| runs.get(name).cloned().unwrap_or_default();
    found.circle = runs.keys().find_map(|name| circle(name, of)).unwrap_or_default();
    Ok(found)
}

fn fill(connection: &Connection, mut left: Vec<String>, pins: &mut Pins) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    while let Some(name) = left.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if let Some(pinned) = pins.get(&name) {
            left.extend(named(&*graph(connection, &pinned.digest)?));
        } else if let Some(definition) = declared(connection, &name)? {
            definition.pin(connection)?;
            left.extend(named(&*definition.graph(connection)?));
            pins.insert(name, definition);
        }
    }
    Ok(())
}

/// The pipelines that the steps of one run.
fn named(graph: &Graph) -> Vec<String> {
    graph.steps.iter().filter_map(|node| node.step.pipeline.clone()).collect()
}

fn graph(connection: &Connection, digest: &str) -> Result<std::sync::Arc<Graph>, StoreError> {
    graphs::graph(digest, || {
        let query = "SELECT spec FROM pinned WHERE digest = ?1";
        Ok(connection.prepare_cached(query)?.query_row([digest], |row| row.get(0))?)
    })
}

fn text(pins: &Pins) -> Result<String, StoreError> {
    serde_json::to_string(pins).map_err(|error| StoreError::Corrupt(error.to_string()))
}
