//! What the store keeps in memory of pinned specs and recorded expansions. Both never change under their key, so nothing here can be stale.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::StoreError;
use super::rows::json;
use crate::plan::pipeline::graph::Graph;
use crate::resource::pipeline::PipelineSpec;

/// Entries of each kind; a controller has few unfinished runs at a time, and each needs one graph.
const ENTRIES_MAX: usize = 64;

static GRAPHS: LazyLock<Mutex<HashMap<String, Arc<Graph>>>> = LazyLock::new(Mutex::default);
static SPECS: LazyLock<Mutex<HashMap<String, Arc<PipelineSpec>>>> = LazyLock::new(Mutex::default);
static APPS: LazyLock<Mutex<HashMap<String, Arc<Vec<String>>>>> = LazyLock::new(Mutex::default);

/// The graph of a pinned spec.
pub(super) fn graph(digest: &str, spec: impl FnOnce() -> Result<String, StoreError>) -> Result<Arc<Graph>, StoreError> {
    kept(&GRAPHS, digest, || Ok(Graph::new(json(&spec()?)?)))
}

/// The spec of a pipeline as it is declared, under a key that is another one whenever the manifest changes.
pub(super) fn declared(
    key: &str,
    text: impl FnOnce() -> Result<String, StoreError>,
) -> Result<Arc<PipelineSpec>, StoreError> {
    kept(&SPECS, key, || json(&text()?))
}

/// The apps that a step of a run was expanded to.
pub(super) fn apps(
    key: &str,
    text: impl FnOnce() -> Result<String, StoreError>,
) -> Result<Arc<Vec<String>>, StoreError> {
    kept(&APPS, key, || json(&text()?))
}

fn kept<T>(
    all: &Mutex<HashMap<String, Arc<T>>>,
    key: &str,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<Arc<T>, StoreError> {
    if let Some(found) = all.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
        return Ok(Arc::clone(found));
    }
    let value = Arc::new(read()?);
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= ENTRIES_MAX {
        all.clear();
    }
    all.insert(key.to_owned(), Arc::clone(&value));
    Ok(value)
}
