//! Looks at the documents of many files together: names that nobody declares, and names that two declare.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::plan::pipeline::circle;
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::kind::Kind;
use crate::resource::object::Spec;
use crate::resource::time::Span;

use super::parse::{Broken, Document, Reference};
use super::problem::{Place, Problem, Severity};
use super::suggest::{did_you_mean, quoted};

/// So many unknown names get a suggestion: each costs a look at every known name.
const SUGGESTIONS_MAX: usize = 50;

/// What is known besides the documents themselves: what the store holds, such as apps that an AppSet found.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Apps by name.
    pub apps: BTreeMap<String, KnownApp>,
    /// Analyzers by name.
    pub analyzers: BTreeMap<String, KnownAnalyzer>,
    /// Names of pools.
    pub pools: BTreeSet<String>,
    /// Pipelines by name, each with those that its steps run.
    pub pipelines: BTreeMap<String, BTreeSet<String>>,
}

/// What must be known of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownApp {
    /// Whether it has a model and a number, by which WebSocket analyzers find its sources.
    pub addressable: bool,
}

/// What must be known of an analyzer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownAnalyzer {
    /// Whether it is driven over WebSocket.
    pub websocket: bool,
    /// A time that its manifest gives and that fits into every attempt, with its field; the usual one contradicts nobody.
    pub needs: Option<(&'static str, Span)>,
}

impl From<&AnalyzerSpec> for KnownAnalyzer {
    fn from(spec: &AnalyzerSpec) -> Self {
        let times = [
            spec.websocket.as_ref().map(|websocket| ("spec.websocket.connectTimeout", websocket.connect_timeout)),
            spec.command.as_ref().map(|command| ("spec.command.terminationGrace", command.termination_grace)),
        ];
        // What nobody wrote is the default, which gives way.
        let needs = times.into_iter().flatten().find(|(_, time)| *time != Span::seconds(5));
        Self { websocket: spec.websocket.is_some(), needs }
    }
}

impl Known {
    /// Takes a refused document as known, so that its own problem is not followed by one for each object that names it.
    pub fn add_broken(&mut self, broken: &Broken) {
        match (broken.kind, &broken.name) {
            (Some(Kind::App), Some(name)) => {
                self.apps.entry(name.clone()).or_insert(KnownApp { addressable: true });
            }
            (Some(Kind::Analyzer), Some(name)) => {
                self.analyzers.entry(name.clone()).or_insert(KnownAnalyzer { websocket: false, needs: None });
            }
            (Some(Kind::Pool), Some(name)) => {
                self.pools.insert(name.clone());
            }
            (Some(Kind::Pipeline), Some(name)) => {
                self.pipelines.entry(name.clone()).or_default();
            }
            _ => {}
        }
    }
}

/// Checks the documents of all files, each with the label of its file. What documents declare goes before what `known` says.
/// Problems come in the order of the documents.
#[must_use]
pub fn check(documents: &[(&str, &Document)], known: &Known) -> Vec<Problem> {
    let names = Names::new(documents, known);
    let mut problems = Vec::new();
    let mut suggested = 0;
    for (at, (file, document)) in documents.iter().enumerate() {
        if let Some(problem) = declared_twice(at, file, document, documents, &names) {
            problems.push(problem);
        }
        for reference in &document.references {
            let is_known = match reference.kind {
                Kind::App => names.apps.contains_key(reference.name.as_str()),
                Kind::Analyzer => names.analyzers.contains_key(reference.name.as_str()),
                Kind::Pool => names.declares(Kind::Pool, &reference.name) || known.pools.contains(&reference.name),
                Kind::Pipeline => {
                    names.declares(Kind::Pipeline, &reference.name) || known.pipelines.contains_key(&reference.name)
                }
                Kind::AppSet | Kind::Run | Kind::Task => true,
            };
            if !is_known {
                suggested += 1;
                problems.push(unknown(file, reference, &names, known, suggested <= SUGGESTIONS_MAX));
            }
        }
        problems.extend(not_addressable(file, document, &names));
        problems.extend(deadline_too_short(file, document, &names));
        problems.extend(runs_itself(file, document, documents, &names, known));
    }
    problems
}

/// All names, of documents and of what is known.
struct Names<'d> {
    apps: HashMap<&'d str, KnownApp>,
    analyzers: HashMap<&'d str, KnownAnalyzer>,
    declared: HashMap<(Kind, &'d str), Vec<usize>>,
}

impl<'d> Names<'d> {
    fn new(documents: &[(&str, &'d Document)], known: &'d Known) -> Self {
        let mut apps: HashMap<_, _> = known.apps.iter().map(|(name, app)| (name.as_str(), *app)).collect();
        let mut analyzers: HashMap<_, _> =
            known.analyzers.iter().map(|(name, found)| (name.as_str(), *found)).collect();
        let mut declared: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, (_, document)) in documents.iter().enumerate() {
            let name = document.object.metadata.name.as_str();
            declared.entry((document.object.kind(), name)).or_default().push(at);
            match &document.object.spec {
                Spec::App(app) => {
                    apps.insert(name, KnownApp { addressable: app.model.is_some() && app.number.is_some() });
                }
                Spec::Analyzer(analyzer) => {
                    analyzers.insert(name, KnownAnalyzer::from(&**analyzer));
                }
                Spec::AppSet(_) | Spec::Pipeline(_) | Spec::Pool(_) | Spec::Task(_) => {}
            }
        }
        Self { apps, analyzers, declared }
    }

    fn declares(&self, kind: Kind, name: &str) -> bool {
        self.declared.contains_key(&(kind, name))
    }

    fn of_kind(&self, wanted: Kind) -> impl Iterator<Item = &str> {
        self.declared.keys().filter(move |(kind, _)| *kind == wanted).map(|(_, name)| *name)
    }
}

fn declared_twice(
    at: usize,
    file: &str,
    document: &Document,
    documents: &[(&str, &Document)],
    names: &Names<'_>,
) -> Option<Problem> {
    let (kind, name) = (document.object.kind(), document.object.metadata.name.as_str());
    let places = names.declared.get(&(kind, name)).filter(|places| places.len() > 1)?;
    let other = places.iter().find(|place| **place != at)?;
    let (other_file, other) = documents.get(*other)?;
    let more = match places.len() - 2 {
        0 => String::new(),
        more => format!(" and in {more} more"),
    };
    let message = format!("{kind} {} is also declared in {other_file}:{}{more}", quoted(name), other.name_place.line);
    let help = "give one of them another name, or remove it".to_owned();
    Some(error(file, document.name_place.clone(), "declared-twice", message, Some(help)))
}

fn unknown(file: &str, reference: &Reference, names: &Names<'_>, known: &Known, suggest: bool) -> Problem {
    let near = match reference.kind {
        _ if !suggest => None,
        Kind::Pool => {
            let pools = names.of_kind(Kind::Pool).chain(known.pools.iter().map(String::as_str));
            did_you_mean(&reference.name, sorted(pools))
        }
        Kind::Pipeline => {
            let pipelines = names.of_kind(Kind::Pipeline).chain(known.pipelines.keys().map(String::as_str));
            did_you_mean(&reference.name, sorted(pipelines))
        }
        Kind::App => did_you_mean(&reference.name, sorted(names.apps.keys().copied())),
        _ => did_you_mean(&reference.name, sorted(names.analyzers.keys().copied())),
    };
    let help = near.or_else(|| Some(format!("declare the {}, or correct the name", reference.kind)));
    let (kind, code) = match reference.kind {
        Kind::App => ("App", "unknown-app"),
        Kind::Pool => ("Pool", "unknown-pool"),
        Kind::Pipeline => ("Pipeline", "unknown-pipeline"),
        _ => ("Analyzer", "unknown-analyzer"),
    };
    error(file, reference.place.clone(), code, format!("no {kind} is called {}", quoted(&reference.name)), help)
}

/// The same names in the same order give the same suggestion on every run.
fn sorted<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// A pipeline that runs itself, through others or at once: reported at the step that leads back to it.
fn runs_itself(
    file: &str,
    document: &Document,
    documents: &[(&str, &Document)],
    names: &Names<'_>,
    known: &Known,
) -> Option<Problem> {
    let Spec::Pipeline(_) = &document.object.spec else { return None };
    let own = document.object.metadata.name.as_str();
    // What a pipeline's steps run: by its documents, or else by what is known of it.
    let runs = |name: &str| -> Vec<String> {
        match names.declared.get(&(Kind::Pipeline, name)) {
            Some(places) => {
                let documents = places.iter().filter_map(|at| documents.get(*at));
                documents.flat_map(|(_, document)| pipelines_of(document)).map(|one| one.name.clone()).collect()
            }
            None => known.pipelines.get(name).into_iter().flatten().cloned().collect(),
        }
    };
    let way = circle::circle(own, runs)?;
    let step = pipelines_of(document).find(|reference| Some(&reference.name) == way.get(1))?;
    let message = format!("these pipelines run each other for ever: {}", way.join(" -> "));
    let help = Some("take one of these steps away".to_owned());
    Some(error(file, step.place.clone(), "circle", message, help))
}

fn pipelines_of(document: &Document) -> impl Iterator<Item = &Reference> {
    document.references.iter().filter(|reference| reference.kind == Kind::Pipeline)
}

fn not_addressable(file: &str, document: &Document, names: &Names<'_>) -> Option<Problem> {
    let Spec::Task(task) = &document.object.spec else { return None };
    let app = names.apps.get(task.app.as_str())?;
    let analyzer = names.analyzers.get(task.analyzer.as_str())?;
    if app.addressable || !analyzer.websocket {
        return None;
    }
    let place = document.references.iter().find(|reference| reference.kind == Kind::App)?.place.clone();
    let message = format!(
        "App {} has no model and number, by which the WebSocket analyzer {} finds its sources",
        quoted(&task.app),
        quoted(&task.analyzer)
    );
    Some(error(file, place, "app-not-addressable", message, Some("give the App `spec.model` and `spec.number`".into())))
}

/// A deadline within which the analyzer cannot even be reached, or a program not be stopped.
fn deadline_too_short(file: &str, document: &Document, names: &Names<'_>) -> Option<Problem> {
    let Spec::Task(task) = &document.object.spec else { return None };
    let (field, time) = names.analyzers.get(task.analyzer.as_str())?.needs?;
    let deadline = Span::seconds(task.active_deadline_seconds?);
    if deadline > time {
        return None;
    }
    let place = document.deadline_place.clone()?;
    let message = format!(
        "`spec.activeDeadlineSeconds` is {deadline}, which is not longer than `{field}` of Analyzer {}, {time}",
        quoted(&task.analyzer)
    );
    let help = Some("give the attempt more time, or the analyzer less".into());
    Some(error(file, place, "contradiction", message, help))
}

fn error(file: &str, place: Place, code: &'static str, message: String, help: Option<String>) -> Problem {
    Problem { file: file.to_owned(), place, severity: Severity::Error, code: code.into(), message, help }
}

#[cfg(test)]
#[path = "references_tests.rs"]
mod tests;
