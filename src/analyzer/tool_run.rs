//! One tool over one app: from a permit to a typed result, whatever the tool does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::argv::{self, Values};
use super::declaration::{Builtin, GENERAL, Output, ToolDeclaration};
use super::detect::Tool;
use super::options::Options;
use super::process::{self, Ending, Job};
use super::request::Analyze;
use super::tree::{SourceFile, Tree};
use super::{mapping, sarif, scan};
use crate::disk::Directory;
use crate::resource::findings::Findings;
use crate::resource::outcome::one_line;
use crate::verdict::weight::too_heavy;

/// The longest delay a request may ask of `noop`, as long as a tool may run by default.
const DELAY_MS_MAX: u64 = 600_000;

/// How a tool fared, in the words of the existing services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It ran and said so.
    Success,
    /// The app has nothing for it.
    NoFiles,
    /// It failed.
    Error,
    /// It took too long.
    Timeout,
    /// It is not known or not installed.
    NotAvailable,
}

impl Status {
    /// The word in a result.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NoFiles => "no_files",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::NotAvailable => "not_available",
        }
    }
}

/// What is known of one tool after an analysis.
#[derive(Debug)]
pub(super) struct ToolRun {
    /// The tool's name.
    pub name: String,
    /// Where its entry stands.
    pub section: String,
    /// How it fared.
    pub status: Status,
    /// Whether it was started.
    pub executed: bool,
    /// Its exit code, if it had one.
    pub exit_code: Option<i32>,
    /// Why it failed or did not run.
    pub error: Option<String>,
    /// How long it took.
    pub duration: Duration,
    /// The version that was found.
    pub version: Option<String>,
    /// What it found.
    pub produced: Produced,
}

/// What a tool found.
#[derive(Debug, Default)]
pub(super) struct Produced {
    /// Counted.
    pub findings: Findings,
    /// As one SARIF document.
    pub sarif: Option<Value>,
    /// As the tool wrote it, when that is JSON and nothing says how it becomes SARIF.
    pub output: Option<Value>,
}

impl ToolRun {
    /// A tool that was not started.
    pub(super) fn not_started(name: &str, section: &str, status: Status, error: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            section: section.to_owned(),
            status,
            executed: false,
            exit_code: None,
            error,
            duration: Duration::ZERO,
            version: None,
            produced: Produced::default(),
        }
    }

    /// A tool nobody declared.
    pub(super) fn unknown(name: &str) -> Self {
        let error = format!("{name} is not a tool of this analyzer: a health check lists the tools that are");
        Self::not_started(name, GENERAL, Status::NotAvailable, Some(error))
    }
}

/// What a tool runs over and with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// The app's directory.
    pub app: &'a Arc<Directory>,
    /// The request.
    pub request: &'a Analyze,
    /// The app's files; absent when no tool needs them.
    pub tree: Option<&'a Tree>,
    /// The analyzer's settings.
    pub options: &'a Options,
    /// Tool runs at once.
    pub permits: &'a Semaphore,
    /// Ends the analysis.
    pub cancel: &'a CancellationToken,
}

/// Runs one tool as soon as there is room for it. Its time limit starts then.
pub(super) async fn run(tool: &Arc<Tool>, scene: Scene<'_>) -> ToolRun {
    let declaration = &tool.declaration;
    let (name, section) = (declaration.name.as_str(), declaration.section());
    let version = match &tool.presence {
        Ok(version) => version.clone(),
        Err(why) => return ToolRun::not_started(name, section, Status::NotAvailable, Some(why.clone())),
    };
    let permit = tokio::select! {
        permit = scene.permits.acquire() => permit,
        () = scene.cancel.cancelled() => return ToolRun::not_started(name, section, Status::Error, Some("cancelled".into())),
    };
    let Ok(_permit) = permit else {
        return ToolRun::not_started(name, section, Status::Error, Some("the analyzer is shutting down".into()));
    };
    let started = Instant::now();
    let mut run = match (declaration.builtin, files_for(declaration, scene)) {
        (Some(Builtin::Noop), _) => noop(declaration, scene).await,
        (_, Err(problem)) => ToolRun::not_started(name, section, Status::Error, Some(problem)),
        (_, Ok(files)) if files.is_empty() => ToolRun::not_started(name, section, Status::NoFiles, None),
        (Some(builtin), Ok(files)) => built_in(tool, builtin, files, scene).await,
        (None, Ok(files)) => outside(tool, &files, scene).await,
    };
    run.duration = started.elapsed();
    run.version = version;
    run
}

/// The files a tool is for.
fn files_for(declaration: &ToolDeclaration, scene: Scene<'_>) -> Result<Vec<SourceFile>, String> {
    let Some(tree) = scene.tree else { return Ok(Vec::new()) };
    Ok(tree.matching(&declaration.globs)?.into_iter().cloned().collect())
}

async fn noop(declaration: &ToolDeclaration, scene: Scene<'_>) -> ToolRun {
    let config = scene.request.config.get(&declaration.name);
    let delay = match config.and_then(|config| config.get("delayMs")) {
        None => 0,
        Some(given) => match given.as_u64().filter(|delay| *delay <= DELAY_MS_MAX) {
            Some(delay) => delay,
            None => {
                let name = &declaration.name;
                let problem = format!("config.{name}.delayMs: a whole number from 0 to {DELAY_MS_MAX} is needed");
                return ToolRun::not_started(name, declaration.section(), Status::Error, Some(problem));
            }
        },
    };
    if delay > 0 {
        scene.cancel.run_until_cancelled(sleep(Duration::from_millis(delay))).await;
    }
    finished(declaration, Ok(Produced::default()), None)
}

async fn built_in(tool: &Arc<Tool>, builtin: Builtin, files: Vec<SourceFile>, scene: Scene<'_>) -> ToolRun {
    let (tool_here, app, cancel) = (Arc::clone(tool), Arc::clone(scene.app), scene.cancel.clone());
    let scanned = tokio::task::spawn_blocking(move || {
        let rules = tool_here.rules.as_ref().ok_or("the tool has no rules")?;
        let name = &tool_here.declaration.name;
        let document = scan::scan(name, builtin, rules, &app, &files, || cancel.is_cancelled());
        Ok(Produced { findings: sarif::count(&document), sarif: Some(document), output: None })
    });
    let produced = scanned.await.unwrap_or_else(|error| Err(format!("the scan broke off: {error}")));
    finished(&tool.declaration, produced, None)
}

async fn outside(tool: &Arc<Tool>, files: &[SourceFile], scene: Scene<'_>) -> ToolRun {
    let declaration = &tool.declaration;
    let config: Map<String, Value> = scene.request.config_of(&declaration.name);
    let files: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let (model, number) = (scene.request.slug.as_str(), scene.request.number);
    let values = Values { path: scene.app.path(), model, number, config: &config, files: &files };
    let argv = match argv::expand(&declaration.argv, values) {
        Ok(argv) => argv,
        Err(problem) => {
            return ToolRun::not_started(&declaration.name, declaration.section(), Status::Error, Some(problem));
        }
    };
    let held = scene.app.held();
    let job = Job {
        argv: &argv,
        directory: &held,
        environment: &scene.options.environment,
        env: &declaration.env,
        limit: declaration.timeout.map_or(scene.options.tool_timeout, |span| span.std()),
    };
    let run = process::run(job, scene.cancel).await;
    let Ending::Exited(status) = run.ending else { return broken(declaration, run.ending, job.limit) };
    let stderr = one_line(&run.stderr);
    let produced = match status.code() {
        Some(code) if declaration.success_exit_codes.contains(&code) => {
            let (tool_here, root) = (Arc::clone(tool), scene.app.path().to_owned());
            let read = tokio::task::spawn_blocking(move || read_output(&tool_here, &run.stdout, &root));
            read.await.unwrap_or_else(|error| Err(format!("reading the output broke off: {error}")))
        }
        Some(code) => Err(format!("{} exited with {code}. Stderr: {stderr}", declaration.name)),
        None => Err(format!("{} was ended by a signal ({status}). Stderr: {stderr}", declaration.name)),
    };
    finished(declaration, produced, status.code())
}

fn finished(declaration: &ToolDeclaration, produced: Result<Produced, String>, exit_code: Option<i32>) -> ToolRun {
    let (status, error, produced) = match produced {
        Ok(produced) => (Status::Success, None, produced),
        Err(problem) => (Status::Error, Some(problem), Produced::default()),
    };
    let started = ToolRun::not_started(&declaration.name, declaration.section(), status, error);
    ToolRun { executed: true, exit_code, produced, ..started }
}

fn broken(declaration: &ToolDeclaration, ending: Ending, limit: Duration) -> ToolRun {
    let name = &declaration.name;
    let (status, executed, problem) = match ending {
        Ending::NotStarted(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (Status::NotAvailable, false, format!("{name} is gone: {error}"))
        }
        Ending::NotStarted(error) => (Status::Error, false, format!("{name} could not be started: {error}")),
        Ending::TimedOut => (Status::Timeout, true, format!("{name} was stopped after {} s", limit.as_secs_f64())),
        Ending::TooMuchOutput => (Status::Error, true, format!("{name} was stopped: it wrote more than 32 MiB")),
        Ending::Cancelled => (Status::Error, true, format!("{name} was cancelled")),
        Ending::Lost(error) => (Status::Error, true, format!("{name}: its output was lost: {error}")),
        Ending::Exited(status) => (Status::Error, true, format!("{name} ended with {status}")),
    };
    let run = ToolRun::not_started(name, declaration.section(), status, Some(problem));
    ToolRun { executed, ..run }
}

/// Understands what a tool wrote. Blocking: output may be many megabytes.
fn read_output(tool: &Tool, stdout: &[u8], root: &Path) -> Result<Produced, String> {
    let declaration = &tool.declaration;
    if declaration.output == Output::ExitCode {
        return Ok(Produced::default());
    }
    if let Some(why) = too_heavy(stdout) {
        return Err(format!("the output of {} is too large: {why}", declaration.name));
    }
    let start = || one_line(&String::from_utf8_lossy(&stdout[..stdout.len().min(120)]));
    let mut value: Value = serde_json::from_slice(stdout)
        .map_err(|error| format!("{} wrote no JSON: {error}. It starts with: {:?}", declaration.name, start()))?;
    let problem = |what: String| format!("the output of {} is not as declared: {what}", declaration.name);
    let document = match (declaration.output, &declaration.mapping) {
        (Output::Sarif, _) => {
            sarif::check(&value).map_err(problem)?;
            sarif::make_relative(&mut value, root);
            value
        }
        (_, Some(mapping)) => {
            let version = tool.presence.as_ref().ok().and_then(Option::as_deref);
            mapping::to_sarif(&declaration.name, version, mapping, &value, root).map_err(problem)?
        }
        (_, None) => {
            let unrated = value.as_array().map_or(0, |list| list.len() as u64);
            return Ok(Produced {
                findings: Findings { unrated, ..Findings::default() },
                sarif: None,
                output: Some(value),
            });
        }
    };
    Ok(Produced { findings: sarif::count(&document), sarif: Some(document), output: None })
}
