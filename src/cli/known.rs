//! Which names manifests may refer to: those of the manifests themselves, apps that their AppSets find on disk, and what the store holds.

use std::path::Path;

use anyhow::Context as _;

use super::files::ManifestFile;
use super::out::{clean, note};
use crate::manifest::{Document, Known, KnownAnalyzer, KnownApp, Problem, references};
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::app::AppSpec;
use crate::resource::kind::Kind;
use crate::resource::object::Spec;
use crate::resource::pipeline::PipelineSpec;
use crate::runtime::app_scan::find_apps;
use crate::store::view::{self, Filter};

/// Checks what the documents of these files refer to, together. `more` are names known from elsewhere.
///
/// An AppSet whose root cannot be scanned is named on standard error, and then no app is called unknown: it could be one of its own.
pub(crate) fn problems(files: &[ManifestFile], more: Known, workspace: &Path) -> Vec<Problem> {
    let documents: Vec<(&str, &Document)> =
        files.iter().flat_map(|file| file.parsed.documents.iter().map(|doc| (file.label.as_str(), doc))).collect();
    check(&documents, files.iter().flat_map(|file| &file.parsed.broken), more, workspace)
}

/// The same for chosen documents.
pub(crate) fn check<'d>(
    documents: &[(&str, &Document)],
    broken: impl Iterator<Item = &'d crate::manifest::Broken>,
    mut known: Known,
    workspace: &Path,
) -> Vec<Problem> {
    broken.for_each(|broken| known.add_broken(broken));
    let mut unseen = false;
    for (file, document) in documents {
        let Spec::AppSet(spec) = &document.object.spec else { continue };
        match find_apps(workspace, spec) {
            Ok(found) => {
                for directory in found {
                    known.apps.entry(directory.name()).or_insert(KnownApp { addressable: directory.model.is_some() });
                }
            }
            Err(error) => {
                unseen = true;
                let name = &document.object.metadata.name;
                let message = format!(
                    "note: {file}: the apps of AppSet \"{name}\" cannot be seen, so app names are not checked: {error}"
                );
                note(clean(&message));
            }
        }
    }
    let mut problems = references::check(documents, &known);
    problems.retain(|problem| !(unseen && problem.code == "unknown-app"));
    problems
}

/// The apps, analyzers, pools and pipelines that the store holds; nothing when there is no store yet.
///
/// # Errors
/// When there is one and it cannot be read.
pub(crate) fn stored(context: &super::context::Context) -> anyhow::Result<Known> {
    let mut known = Known::default();
    if !crate::store::database_path(&context.state).exists() {
        return Ok(known);
    }
    let connection = context.open().context("reading what is known already")?;
    for app in view::objects(&connection, Kind::App, &Filter::default())? {
        let spec = serde_json::from_value::<AppSpec>(app.spec);
        let addressable = spec.is_ok_and(|spec| spec.model.is_some() && spec.number.is_some());
        known.apps.insert(app.name, KnownApp { addressable });
    }
    for analyzer in view::objects(&connection, Kind::Analyzer, &Filter::default())? {
        let websocket = analyzer.spec.get("websocket").is_some_and(|spec| !spec.is_null());
        let spec = serde_json::from_value::<AnalyzerSpec>(analyzer.spec);
        let found = spec.as_ref().map_or(KnownAnalyzer { websocket, needs: None }, KnownAnalyzer::from);
        known.analyzers.insert(analyzer.name, found);
    }
    for pipeline in view::objects(&connection, Kind::Pipeline, &Filter::default())? {
        let spec = serde_json::from_value::<PipelineSpec>(pipeline.spec);
        let runs = spec.iter().flat_map(|spec| spec.steps.iter().chain(&spec.finally));
        let runs = runs.filter_map(|step| step.pipeline.clone()).collect();
        known.pipelines.insert(pipeline.name, runs);
    }
    known.pools.extend(crate::store::glance::names(&connection, Kind::Pool)?);
    Ok(known)
}
