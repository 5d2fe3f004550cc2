//! From the bytes of a file to typed objects, with every problem and with what is known of the documents that were refused.

use std::ops::Range;

use serde_json::Value;

use crate::resource::kind::{API_VERSION, Kind};
use crate::resource::metadata::Metadata;
use crate::resource::name::check_name;
use crate::resource::object::{Object, Spec};

use super::bounds::Bounds;
use super::faults::{Fault, Faults};
use super::problem::{Place, Problem, Severity};
use super::shape;
use super::source::{Source, Span};
use super::suggest::{did_you_mean, quoted};
use super::tree::{Node, Yaml};
use super::yaml::RawDocument;
use super::{check, validate, yaml};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What a file declares, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The accepted documents, in the order of the file.
    pub documents: Vec<Document>,
    /// All problems, by line and column; at most some hundreds, the last of which then says how many more there are.
    pub problems: Vec<Problem>,
    /// The refused documents: each keeps its last good version.
    pub broken: Vec<Broken>,
    /// Whether the text may hold documents that are neither in `documents` nor in `broken`. Then, or when a broken one has no
    /// kind or no name, nothing that this file declared before may be taken as removed.
    pub unreadable: bool,
}

impl Parsed {
    /// Whether something was refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.unreadable || !self.broken.is_empty() || self.problems.iter().any(Problem::is_error)
    }

    /// Whether an object that this file declared before, and that is not in `documents` now, was surely removed from it.
    #[must_use]
    pub fn is_gone(&self, kind: Kind, name: &str) -> bool {
        let may_be = |broken: &Broken| {
            broken.kind.is_none_or(|found| found == kind) && broken.name.as_ref().is_none_or(|found| found == name)
        };
        !self.unreadable && !self.broken.iter().any(may_be)
    }
}

/// An accepted document.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it declares.
    pub object: Object,
    /// Line of its first key, from 1.
    pub line: u32,
    /// Where its name is written.
    pub name_place: Place,
    /// The objects it names.
    pub references: Vec<Reference>,
    /// Where a Task gives its deadline.
    pub deadline_place: Option<Place>,
    /// The bytes of the file from its `---` line, if it has one, to the next document: cutting them out leaves a valid file.
    pub whole: Range<usize>,
    /// The bytes of the document itself: replacing them leaves a valid file.
    pub body: Range<usize>,
}

/// A name of another object, in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The kind of the object that is named.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub place: Place,
}

/// A refused document, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its kind; also when it is written as `task` instead of `Task`.
    pub kind: Option<Kind>,
    /// Its name, when that is a valid one.
    pub name: Option<String>,
    /// Line of its first key, from 1.
    pub line: u32,
}

/// Reads a file. `file` is what problems call it. `bounds` are what it may name; a list of roots alone allows every program. It never fails: what is
/// wrong is in the result.
#[must_use]
pub fn parse<'b>(file: &str, bytes: &[u8], bounds: impl Into<Bounds<'b>>) -> Parsed {
    let bounds = bounds.into();
    let text = match readable(bytes) {
        Ok(text) => text,
        Err(refused) => {
            let (shown, fault) = *refused;
            let place = Source::new(&shown).place(fault.span);
            return Parsed { problems: vec![problem(file, place, fault)], unreadable: true, ..Parsed::default() };
        }
    };
    let source = Source::new(text);
    let mut faults = Faults::default();
    let mut parsed = Parsed::default();
    let documents = yaml::read(&source, &mut faults);
    for raw in documents {
        parsed.unreadable |= raw.lost;
        accept(raw, &source, bounds, &mut faults, &mut parsed);
    }
    if parsed.documents.is_empty() && parsed.broken.is_empty() && faults.list.is_empty() {
        let help = "write a manifest, or remove the file".to_owned();
        faults.warn(Span::default(), "declares-nothing", "the file declares nothing".into(), Some(help));
    }
    parsed.problems = problems(file, &source, faults);
    parsed
}

/// The text of the file; or what stands for it in the problem, and the problem.
fn readable(bytes: &[u8]) -> Result<&str, Box<(String, Fault)>> {
    let refuse = |span, code, message: String, help: &str| Fault {
        span,
        severity: Severity::Error,
        code,
        message,
        help: Some(help.into()),
    };
    if bytes.len() > FILE_BYTES_MAX {
        // Not the size: who reads files stops behind the limit.
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        let start = String::from_utf8_lossy(&bytes[..400]).lines().next().unwrap_or_default().to_owned();
        return Err(Box::new((
            start,
            refuse(Span::default(), "file-too-large", message, "split it into several files"),
        )));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let help = if utf16 { "it looks like UTF-16: save it as UTF-8" } else { "save the file as UTF-8" };
        // Everything before the place is valid, so the place is the same in the repaired text.
        let span = Span { start: at, end: at + 1 };
        let fault = refuse(span, "not-utf8", format!("byte {at} of the file, 0x{:02x}, is not UTF-8", bytes[at]), help);
        Box::new((String::from_utf8_lossy(bytes).into_owned(), fault))
    })
}

fn problems(file: &str, source: &Source<'_>, faults: Faults) -> Vec<Problem> {
    let Faults { mut list, dropped, .. } = faults;
    list.sort_by_key(|fault| (fault.span.start, fault.span.end));
    // What an alias stands for is looked at once for each use.
    list.dedup_by(|a, b| a.span == b.span && a.code == b.code && a.message == b.message);
    let mut problems: Vec<_> = list.into_iter().map(|fault| problem(file, source.place(fault.span), fault)).collect();
    if let Some(last) = problems.last().filter(|_| dropped > 0) {
        let message = format!("{dropped} more problems in this file are not shown");
        let more = Problem { code: "too-many-problems".into(), message, help: None, ..last.clone() };
        problems.push(more);
    }
    problems
}

fn problem(file: &str, place: Place, fault: Fault) -> Problem {
    let Fault { severity, code, message, help, .. } = fault;
    Problem { file: file.to_owned(), place, severity, code: code.into(), message, help }
}

/// Looks at one document, and adds it to the accepted or to the refused ones.
fn accept(raw: RawDocument<'_>, source: &Source<'_>, bounds: Bounds<'_>, faults: &mut Faults, parsed: &mut Parsed) {
    let first = source.text[raw.body.clone()].trim_start().len();
    let start = raw.body.end - first;
    let line_of =
        |root: &Node<'_>| source.line(root.entries().first().map_or(root.span.start, |(key, _)| key.span.start));
    let root = match raw.root {
        Some(root) if raw.broken || !matches!(root.value, Yaml::Null) => root,
        None if raw.broken => {
            parsed.broken.push(Broken { kind: None, name: None, line: source.line(start) });
            return;
        }
        // Nothing between two `---`, or only comments.
        _ => return,
    };
    let line = line_of(&root);
    let errors = faults.errors;
    let kind = if raw.partial { None } else { inspect(&root, bounds, faults) };
    let object = match kind {
        Some(kind) if !raw.broken && faults.errors == errors => typed(kind, &root, faults),
        _ => None,
    };
    match object {
        Some(object) => {
            let node = root.get("metadata").and_then(|metadata| metadata.get("name"));
            let name_place = source.place(node.map_or(root.span, |node| node.span));
            let references = references(&object, &root, source);
            let deadline = root.get("spec").and_then(|spec| spec.get("activeDeadlineSeconds"));
            let deadline_place = deadline.map(|node| source.place(node.span));
            let (whole, body) = (raw.whole, raw.body);
            parsed.documents.push(Document { object, line, name_place, references, deadline_place, whole, body });
        }
        None => {
            let name = root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
            // No object ever had a name that is not one: what this document declared before is not known then.
            let name = name.filter(|name| check_name(name).is_ok());
            parsed.broken.push(Broken { kind: kind_of(&root), name: name.map(str::to_owned), line });
        }
    }
}

/// Reports everything that is wrong with a manifest; gives its kind when that is known.
fn inspect(root: &Node<'_>, bounds: Bounds<'_>, faults: &mut Faults) -> Option<Kind> {
    if !matches!(root.value, Yaml::Map(_)) {
        let message = "this is not a manifest: a map with apiVersion, kind, metadata and spec is expected".to_owned();
        faults.error(Span { end: root.span.start, ..root.span }, "not-a-manifest", message, None);
        return None;
    }
    let owner = root.entries().first().map_or(root.span, |(key, _)| key.span);
    let kind = check_header(root, faults);
    // Without a kind the spec means nothing, but the rest is the same for all.
    validate::manifest(root, shape::of_kind(kind.unwrap_or(Kind::Task)), kind.is_some(), owner, faults);
    if root.get("kind").is_none() {
        faults.error(owner, "missing-field", "`kind` is missing".into(), Some(format!("one of: {}", kinds())));
    }
    check::check(root, kind, bounds, faults);
    kind
}

fn kinds() -> String {
    Kind::DECLARED.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

/// `apiVersion` and `kind`, which decide what the rest means.
fn check_header(root: &Node<'_>, faults: &mut Faults) -> Option<Kind> {
    match root.entry("apiVersion") {
        Some((_, node)) if node.text() == Some(API_VERSION) => {}
        Some((key, node)) => {
            let span = if matches!(node.value, Yaml::Null) { key.span } else { node.span };
            let message = match node.text() {
                Some(text) => format!("`apiVersion` cannot be {}", quoted(text)),
                None => "`apiVersion` must be a text".into(),
            };
            faults.error(span, "api-version", message, Some(format!("write `apiVersion: {API_VERSION}`")));
        }
        // The shape reports it as missing.
        None => {}
    }
    let (key, node) = root.entry("kind")?;
    let span = if matches!(node.value, Yaml::Null) { key.span } else { node.span };
    let Some(word) = node.text() else {
        faults.error(span, "unknown-kind", "`kind` must be a text".into(), Some(format!("one of: {}", kinds())));
        return None;
    };
    if let Ok(kind) = word.parse() {
        return Some(kind);
    }
    // `task` is surely meant as Task, so the rest of the manifest can be looked at.
    let meant = Kind::from_word(word);
    let near = meant.map(|kind| format!("did you mean `{kind}`?"));
    let near = near.or_else(|| did_you_mean(word, Kind::DECLARED.iter().map(|kind| kind.as_str())));
    let help = near.unwrap_or_else(|| format!("one of: {}", kinds()));
    faults.error(span, "unknown-kind", format!("there is no kind {}", quoted(word)), Some(help));
    meant
}

fn kind_of(root: &Node<'_>) -> Option<Kind> {
    root.get("kind").and_then(Node::text).and_then(Kind::from_word)
}

/// The typed object of a tree without problems.
fn typed(kind: Kind, root: &Node<'_>, faults: &mut Faults) -> Option<Object> {
    let json = |field: &str| root.get(field).map_or(Value::Null, validate::to_json);
    let metadata = serde_json::from_value::<Metadata>(json("metadata"));
    let spec = Spec::from_value(kind, json("spec"));
    match (metadata, spec) {
        (Ok(metadata), Ok(spec)) => Some(Object { metadata, spec }),
        (Err(error), _) | (_, Err(error)) => {
            let span = root.entry("spec").map_or(root.span, |(key, _)| key.span);
            faults.error(span, "invalid", format!("the manifest cannot be read: {error}"), None);
            None
        }
    }
}

fn references(object: &Object, root: &Node<'_>, source: &Source<'_>) -> Vec<Reference> {
    let names = match &object.spec {
        Spec::Task(spec) => vec![
            (Kind::App, "app", Some(&spec.app).filter(|_| spec.has_app())),
            (Kind::Analyzer, "analyzer", Some(&spec.analyzer)),
            (Kind::Pool, "pool", spec.pool.as_ref()),
        ],
        Spec::Analyzer(spec) => vec![(Kind::Pool, "pool", spec.pool.as_ref())],
        Spec::Pipeline(_) => return references_of_steps(root, source),
        Spec::App(_) | Spec::AppSet(_) | Spec::Pool(_) => return Vec::new(),
    };
    let place = |field: &str| root.get("spec").and_then(|spec| spec.get(field)).map(|node| source.place(node.span));
    names
        .into_iter()
        .filter_map(|(kind, field, name)| Some(Reference { kind, name: name?.clone(), place: place(field)? }))
        .collect()
}

/// What the steps of a pipeline name, in the order of the file. Apps are not among them: they may be made by a run.
fn references_of_steps(root: &Node<'_>, source: &Source<'_>) -> Vec<Reference> {
    let Some(spec) = root.get("spec") else { return Vec::new() };
    let steps = ["steps", "finally"].into_iter().filter_map(|list| spec.get(list)).flat_map(Node::items);
    let fields = [(Kind::Analyzer, "analyzer"), (Kind::Pipeline, "pipeline"), (Kind::Pool, "pool")];
    let named = |step: &Node<'_>| {
        fields.map(|(kind, field)| {
            let node = step.get(field)?;
            Some(Reference { kind, name: node.text()?.to_owned(), place: source.place(node.span) })
        })
    };
    steps.flat_map(named).flatten().collect()
}
