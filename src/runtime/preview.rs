//! What mirroring a directory would change, without changing anything: the mirror's own plan, on the store as it is.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rusqlite::Connection;

use super::git::head_commit;
use super::mirror::observe;
use super::scan::{list, read_all};
use crate::manifest::{Bounds, Document, Problem};
use crate::plan::mirror::{Existing, Identity, MirrorPlan, plan};
use crate::store::{StoreError, existing_objects, object_files};

/// What mirroring would change.
#[derive(Debug, Default)]
pub struct Preview {
    /// The mirror's plan.
    pub plan: MirrorPlan,
    /// The stored objects that it concerns.
    pub existing: HashMap<Identity, Existing>,
    /// What is wrong with the files.
    pub problems: Vec<Problem>,
    /// The accepted documents with their files.
    pub documents: Vec<(String, Document)>,
    /// Why the directory could not be read as a whole, if so; then nothing would be removed.
    pub incomplete: Option<String>,
}

/// Plans what mirroring `directory` would change in the store; without a store, everything is new.
///
/// # Errors
/// What the store says.
pub fn preview(directory: &Path, bounds: Bounds<'_>, store: Option<&Connection>) -> Result<Preview, StoreError> {
    let listing = list(directory);
    let (mut incomplete, refused) = (listing.incomplete, listing.refused);
    let paths: Vec<String> = listing.files.into_iter().map(|(path, _)| path).collect();
    let mut failed = Vec::new();
    let files = read_all(directory, &paths, bounds, &mut failed);
    incomplete = incomplete.or_else(|| failed.into_iter().next());
    let mut observed = observe(&files, head_commit(directory).as_ref());
    if let Some(connection) = store {
        if incomplete.is_none() {
            observed.gone = object_files(connection)?
                .into_iter()
                .filter(|file| !observed.read.contains(file) && !refused.iter().any(|problem| problem.file == **file))
                .collect();
        }
        let names: Vec<Identity> = observed
            .declared
            .iter()
            .map(|declared| (declared.object.kind(), declared.object.metadata.name.clone()))
            .collect();
        let sources: HashSet<String> = observed.read.iter().chain(&observed.gone).cloned().collect();
        observed.existing = existing_objects(connection, &names, &sources)?;
    }
    let plan = plan(&observed);
    let mut preview =
        Preview { plan, existing: observed.existing, problems: refused, incomplete, ..Preview::default() };
    for file in files {
        preview.problems.extend(file.parsed.problems);
        preview.documents.extend(file.parsed.documents.into_iter().map(|document| (file.file.path.clone(), document)));
    }
    Ok(preview)
}
