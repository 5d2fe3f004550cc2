//! Observing what can be reused: what an analyzer is right now, and which stored results fit the tasks in its queue.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::core::Core;
use crate::disk::TrustedPrograms;
use crate::plan::lane::ObservedLane;
use crate::plan::reuse::{AnalyzerFacts, ProgramFile, Reusable, cache_key, identity};
use crate::resource::analyzer::{AnalyzerSpec, CommandSpec};
use crate::resource::attempt::Stamp;
use crate::resource::task::Cache;
use crate::store::StoreError;

/// Some files are looked at, and no more: a disk that takes longer must not keep tasks waiting. Then they simply run.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Adds to the tasks of a queue what their results will depend on, and a stored result that they can take.
///
/// # Errors
/// What the store says.
pub(super) async fn observe_reuse(core: &Core, lane: &mut ObservedLane) -> Result<(), StoreError> {
    let Some(analyzer) = lane.spec.clone() else { return Ok(()) };
    if !lane.may_reuse() {
        return Ok(());
    }
    let versions = core.store.replica_versions(lane.analyzer.clone()).await?;
    let files = program_files(core, &analyzer).await;
    let Some(identity) = identity(&analyzer, &AnalyzerFacts { versions, files }) else { return Ok(()) };
    let mut keys = Vec::new();
    for candidate in lane.candidates.iter_mut().filter(|candidate| candidate.spec.cache == Cache::Content) {
        let tree = candidate.app.as_ref().and_then(|app| app.tree.as_ref());
        let Some(app_digest) = tree.map(|tree| tree.digest.clone()) else { continue };
        let cache_key = cache_key(&app_digest, &identity, &analyzer, candidate);
        if !candidate.no_cache {
            keys.push(cache_key.clone());
        }
        candidate.stamp = Some(Stamp { app_digest, cache_key });
    }
    if keys.is_empty() {
        return Ok(());
    }
    let found = core.store.reusable(keys).await?;
    let results = core.workspace.join(&core.settings.state).join("results");
    let there = look(core, move || {
        let is_whole = |it: &Reusable| it.result.as_ref().is_none_or(|result| is_there(&results, &result.directory));
        found.into_iter().filter(|(_, it)| is_whole(it)).collect()
    });
    let there: BTreeMap<_, _> = there.await.unwrap_or_default();
    for candidate in lane.candidates.iter_mut().filter(|candidate| !candidate.no_cache) {
        candidate.reusable = candidate.stamp.as_ref().and_then(|stamp| there.get(&stamp.cache_key)).cloned();
    }
    Ok(())
}

/// Whether a result that a row points to is on disk: somebody may have removed it.
fn is_there(results: &Path, directory: &str) -> bool {
    results.join(directory).join("manifest.json").is_file()
}

/// Runs a quick look at the disk; `None` when it takes too long.
async fn look<T: Send + 'static>(core: &Core, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(LOOK_MAX, core.disk.run(work)).await.ok()?.ok()
}

async fn program_files(core: &Core, analyzer: &AnalyzerSpec) -> Vec<ProgramFile> {
    let Some(command) = analyzer.command.clone() else { return Vec::new() };
    let surroundings = core.attempts.surroundings();
    let (workspace, path) = (core.workspace.clone(), surroundings.search_path(&command));
    let programs = surroundings.programs.clone();
    look(core, move || files(&workspace, &command, programs.as_ref(), &path)).await.unwrap_or_default()
}

/// The program, and every file that an argument names, such as a script. What lies in the app is part of the app already. Empty when the
/// program cannot be found, or is itself a part of each app.
fn files(workspace: &Path, command: &CommandSpec, programs: Option<&TrustedPrograms>, path: &str) -> Vec<ProgramFile> {
    let Some((program, arguments)) = command.argv.split_first() else { return Vec::new() };
    // A relative path is taken from the directory that the program starts in.
    let is_elsewhere = |text: &str| text.contains("${") || (command.in_app_directory && !text.starts_with('/'));
    let named: Vec<PathBuf> = if let Some(programs) = programs {
        programs.find(program).into_iter().collect()
    } else if !program.contains('/') {
        path.split(':').map(|directory| workspace.join(directory).join(program)).collect()
    } else if is_elsewhere(program) {
        Vec::new()
    } else {
        vec![workspace.join(program)]
    };
    let Some(found) = named.iter().find_map(|path| stat(path)) else { return Vec::new() };
    let scripts = arguments.iter().filter(|argument| !is_elsewhere(argument));
    std::iter::once(found).chain(scripts.filter_map(|argument| stat(&workspace.join(argument)))).collect()
}

fn stat(path: &Path) -> Option<ProgramFile> {
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    Some(ProgramFile { path: path.to_str()?.to_owned(), bytes: metadata.len(), mtime_ns })
}
