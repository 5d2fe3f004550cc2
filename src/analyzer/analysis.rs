//! One analysis: finds the app, chooses the tools, runs them side by side, and gives the result frame.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::declaration::Builtin;
use super::detect::{Catalog, Tool};
use super::frames::{self, Code};
use super::report;
use super::request::Analyze;
use super::serve::Shared;
use super::sources::{self, NoSources};
use super::tool_run::{self, Scene, ToolRun};
use super::tree::Tree;
use crate::disk::Directory;

/// How long a stopped analysis may take to end its programs; after that they are killed by dropping it.
pub(super) const STOPPING: Duration = Duration::from_secs(5);

/// Runs one request to its end and gives the text of the last frame. Progress frames go to `tell`, which must not block. Once
/// `cancel` is set, the text means nothing and comes soon.
pub(super) async fn analyse(
    shared: &Shared,
    request: &Analyze,
    tell: &(impl Fn(Value) + Sync),
    cancel: &CancellationToken,
) -> String {
    let _running = shared.tally.enter();
    let now = shared.options.clock;
    let app = match find_app(shared, request).await {
        Ok(app) => Arc::new(app),
        Err(missing) => {
            let message = missing.message(&request.slug, request.number);
            return frames::result(json!({ "status": "error", "error": message }), now()).to_string();
        }
    };
    let Some(catalog) = cancel.run_until_cancelled(shared.catalog()).await else { return String::new() };
    let analysis_time = now();
    let (chosen, mut runs) = choose(catalog, request);
    let tree = match chosen.iter().any(|(_, tool)| tool.declaration.builtin != Some(Builtin::Noop)) {
        true => walk(Arc::clone(&app), cancel.clone()).await,
        false => None,
    };
    let options = &shared.options;
    let scene = Scene { app: &app, request, tree: tree.as_ref(), options, permits: &shared.permits, cancel };
    let all = chosen.len() + runs.len();
    let mut running: FuturesUnordered<_> =
        chosen.iter().map(|(place, tool)| async move { (*place, tool_run::run(tool, scene).await) }).collect();
    while let Some((place, run)) = running.next().await {
        let message = format!("{}: {}", run.name, run.status.word());
        runs.push((place, run));
        // How a tool fares that is being stopped says nothing about it.
        if !cancel.is_cancelled() {
            tell(frames::progress(&message, runs.len(), all, request.id.as_deref(), now()));
        }
    }
    if cancel.is_cancelled() {
        return String::new();
    }
    runs.sort_by_key(|(place, _)| *place);
    let runs: Vec<ToolRun> = runs.into_iter().map(|(_, run)| run).collect();
    let head = report::Head {
        slug: request.slug.clone(),
        number: request.number,
        analysis_time,
        configured: !request.config.is_empty(),
        file_counts: tree.as_ref().map(|tree| (tree.counts(), tree.files.len(), tree.incomplete.clone())),
    };
    if tree.is_none() {
        return report::text(&head, runs, now());
    }
    // Tens of megabytes may have to be written out; meanwhile pings are answered.
    let finished = now();
    tokio::task::spawn_blocking(move || report::text(&head, runs, finished)).await.unwrap_or_else(|error| {
        frames::error_with(Code::Failed, &format!("Internal error: the report broke off: {error}")).to_string()
    })
}

async fn find_app(shared: &Shared, request: &Analyze) -> Result<Directory, NoSources> {
    let (root, slug, number) = (shared.options.sources.clone(), request.slug.clone(), request.number);
    tokio::task::spawn_blocking(move || sources::find_app(&root, &slug, number))
        .await
        .unwrap_or_else(|error| Err(NoSources::Refused(format!("the search broke off: {error}"))))
}

async fn walk(app: Arc<Directory>, cancel: CancellationToken) -> Option<Tree> {
    let walked = tokio::task::spawn_blocking(move || Tree::walk(&app, || cancel.is_cancelled())).await;
    Some(walked.unwrap_or_else(|error| Tree {
        incomplete: Some(format!("the files could not be listed: {error}")),
        ..Tree::default()
    }))
}

/// Tools to run, and entries for those that cannot be, each with its place in the request.
type Choice = (Vec<(usize, Arc<Tool>)>, Vec<(usize, ToolRun)>);

fn choose(catalog: &Catalog, request: &Analyze) -> Choice {
    if request.tools.is_empty() {
        let usable = |tool: &&Arc<Tool>| tool.presence.is_ok() && !tool.declaration.only_by_name;
        return (catalog.0.iter().filter(usable).cloned().enumerate().collect(), Vec::new());
    }
    let mut tools = Vec::new();
    let mut unknown = Vec::new();
    for (place, name) in request.tools.iter().enumerate() {
        match catalog.find(name) {
            Some(tool) => tools.push((place, Arc::clone(tool))),
            None => unknown.push((place, ToolRun::unknown(name))),
        }
    }
    (tools, unknown)
}
