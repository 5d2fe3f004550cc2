//! Looks at the documents of many files together: names that nobody declares, and names that two declare.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
                Kind::AppSet | Kind::Pipeline | Kind::Run | Kind::Task => true,
            };
            if !is_known {
                suggested += 1;
                problems.push(unknown(file, reference, &names, known, suggested <= SUGGESTIONS_MAX));
            }
        }
        problems.extend(not_addressable(file, document, &names));
        problems.extend(deadline_too_short(file, document, &names));
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
        Kind::App => did_you_mean(&reference.name, sorted(names.apps.keys().copied())),
        _ => did_you_mean(&reference.name, sorted(names.analyzers.keys().copied())),
    };
    let help = near.or_else(|| Some(format!("declare the {}, or correct the name", reference.kind)));
    let (kind, code) = match reference.kind {
        Kind::App => ("App", "unknown-app"),
        Kind::Pool => ("Pool", "unknown-pool"),
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
mod tests {
    use super::*;
    use crate::manifest::parse::parse;

    fn documents(text: &str) -> Vec<Document> {
        let parsed = parse("x", text.as_bytes(), &[".".into()]);
        assert!(!parsed.has_errors(), "{:?}", parsed.problems);
        parsed.documents
    }

    fn head(kind: &str, name: &str, spec: &str) -> String {
        format!("---\napiVersion: manifestd.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    }

    fn codes(problems: &[Problem]) -> Vec<(&str, &str, u32)> {
        problems.iter().map(|problem| (problem.file.as_str(), &*problem.code, problem.place.line)).collect()
    }

    #[test]
    fn unknown_names_are_reported_where_they_stand_with_a_suggestion() {
        let text = head("Task", "t", "\n  app: dmeo\n  analyzer: lint");
        let documents = documents(&text);
        let mut known = Known::default();
        known.apps.insert("demo".into(), KnownApp { addressable: false });
        let problems = check(&[("t.yaml", &documents[0])], &known);
        assert_eq!(codes(&problems), [("t.yaml", "unknown-app", 6), ("t.yaml", "unknown-analyzer", 7)]);
        assert_eq!(problems[0].help.as_deref(), Some("did you mean `demo`?"));
        assert_eq!((problems[0].place.column, problems[0].place.end_column), (8, Some(12)));
    }

    #[test]
    fn a_name_declared_twice_is_a_problem_on_both_and_names_the_other() {
        let (a, b) = (documents(&head("App", "x", "{path: a}")), documents(&head("App", "x", "{path: b}")));
        let other = documents(&head("AppSet", "x", "{root: a}"));
        let problems = check(&[("a.yaml", &a[0]), ("b.yaml", &b[0]), ("c.yaml", &other[0])], &Known::default());
        assert_eq!(codes(&problems), [("a.yaml", "declared-twice", 4), ("b.yaml", "declared-twice", 4)]);
        assert!(problems[0].message.contains("b.yaml:4") && problems[1].message.contains("a.yaml:4"));
    }

    #[test]
    fn a_websocket_analyzer_needs_the_model_and_number_of_the_app() {
        let text = head("App", "a", "{path: a}")
            + &head("Analyzer", "ws", "{websocket: {urls: ['ws://h:1'], request: r}}")
            + &head("Analyzer", "cmd", "{command: {argv: [x]}}")
            + &head("Task", "t", "{app: a, analyzer: ws}")
            + &head("Task", "u", "{app: a, analyzer: cmd}");
        let documents = documents(&text);
        let labelled: Vec<_> = documents.iter().map(|document| ("f", document)).collect();
        assert_eq!(codes(&check(&labelled, &Known::default())), [("f", "app-not-addressable", 20)]);
    }

    #[test]
    fn a_pool_that_nobody_declares_is_found_wherever_it_is_named() {
        let text = head("App", "a", "{path: a}")
            + &head("Pool", "gpu", "{slots: 2}")
            + &head("Analyzer", "lint", "{command: {argv: [x]}, pool: gpus}")
            + &head("Task", "t", "{app: a, analyzer: lint, pool: gpu}")
            + &head("Task", "u", "{app: a, analyzer: lint, pool: stored}")
            + &head("Task", "v", "{app: a, analyzer: lint, pool: nowhere}");
        let documents = documents(&text);
        let labelled: Vec<_> = documents.iter().map(|document| ("f", document)).collect();
        let known = Known { pools: BTreeSet::from(["stored".to_owned()]), ..Known::default() };
        let problems = check(&labelled, &known);
        assert_eq!(codes(&problems), [("f", "unknown-pool", 15), ("f", "unknown-pool", 30)]);
        assert_eq!(problems[0].help.as_deref(), Some("did you mean `gpu`?"));
        assert!(problems[1].message.contains("no Pool is called"), "{problems:?}");
    }

    #[test]
    fn a_deadline_that_leaves_no_time_is_reported_where_it_stands() {
        let text = head("App", "a", "{path: a, model: m, number: 1}")
            + &head("Analyzer", "slow", "{websocket: {urls: ['ws://h:1'], request: r, connectTimeout: 1m}}")
            + &head("Analyzer", "stubborn", "{command: {argv: [x], terminationGrace: 30s}}")
            + &head("Analyzer", "usual", "{command: {argv: [x]}}")
            + &head("Task", "t", "\n  app: a\n  analyzer: slow\n  activeDeadlineSeconds: 60")
            + &head("Task", "u", "\n  app: a\n  analyzer: stubborn\n  activeDeadlineSeconds: 31")
            + &head("Task", "v", "\n  app: a\n  analyzer: usual\n  activeDeadlineSeconds: 1");
        let documents = documents(&text);
        let labelled: Vec<_> = documents.iter().map(|document| ("f", document)).collect();
        let problems = check(&labelled, &Known::default());
        assert_eq!(codes(&problems), [("f", "contradiction", 28)]);
        assert_eq!(problems[0].place.column, 26);
        assert!(problems[0].message.contains("spec.websocket.connectTimeout"), "{}", problems[0].message);
    }

    #[test]
    fn a_broken_app_does_not_make_its_tasks_wrong() {
        let documents = documents(&head("Task", "t", "{app: a, analyzer: lint}"));
        let mut known = Known::default();
        for kind in [Kind::App, Kind::Analyzer] {
            let name = if kind == Kind::App { "a" } else { "lint" };
            known.add_broken(&Broken { kind: Some(kind), name: Some(name.into()), line: 1 });
        }
        assert_eq!(check(&[("f", &documents[0])], &known), []);
    }
}
