//! YAML text to trees in which every node knows its place: one tree for each document, whatever is wrong with the others.
//!
//! It stands on the event parser below `serde_yaml`, not on its deserializer, for three reasons: all duplicate keys
//! can be reported and not only the first; a document that cannot be read does not hide those after it; and what could
//! be read of a broken document still tells its kind and name.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_yaml::granit_parser::{self, Event, Parser, ScalarStyle, ScanError, Tag};

use super::faults::Faults;
use super::keys::{insert, key_of};
use super::source::{Source, Span};
use super::suggest::quoted;
use super::syntax;
use super::tree::{Key, Node, Yaml};

/// At most so many documents in a file.
pub(crate) const DOCUMENTS_MAX: usize = 20_000;
/// Collections may be nested so deep.
pub(crate) const DEPTH_MAX: usize = 32;
/// At most so many anchors, and so many aliases, in a file.
pub(crate) const ALIASES_MAX: usize = 100;
/// At most so many nodes of a file may come from aliases or be kept for them.
pub(crate) const ALIAS_NODES_MAX: usize = 50_000;

/// One document of the file.
#[derive(Debug)]
pub(crate) struct RawDocument<'a> {
    /// The tree; of a broken document what could be read of it.
    pub(crate) root: Option<Node<'a>>,
    /// Whether something is wrong with the text itself.
    pub(crate) broken: bool,
    /// Whether the reading stopped inside the document, so that `root` lacks what follows.
    pub(crate) partial: bool,
    /// Whether the text may hold another document that nobody can see, as when a `---` is mistyped.
    pub(crate) lost: bool,
    /// The document with its leading `---` line.
    pub(crate) whole: Range<usize>,
    /// The document's own text.
    pub(crate) body: Range<usize>,
}

/// Reads every document of a text. Faults of the text go to `faults`; a limit that ends the reading marks the last document as lost.
pub(crate) fn read<'a>(source: &Source<'a>, faults: &mut Faults) -> Vec<RawDocument<'a>> {
    let options =
        granit_parser::options! { disallow_directives: true, emit_comments: false, emit_unresolved_aliases: true };
    let mut parser = Parser::new_from_str_with_options(source.text, options);
    let mut reader = Reader {
        source,
        faults,
        documents: Vec::new(),
        boundary: 0,
        end_marker: None,
        open: None,
        aliases: Aliases::default(),
    };
    loop {
        let step = match parser.next_event() {
            None => break,
            Some(Ok((event, span))) => reader.event(event, span_of(span)),
            Some(Err(error)) => reader.syntax_error(&error),
        };
        let more = match step {
            Step::On => true,
            Step::Stop => false,
            Step::Skip => {
                reader.mark_partial();
                reader.abandon();
                parser.proceed_next_document().unwrap_or(false)
            }
        };
        if !more {
            break;
        }
    }
    reader.abandon();
    reader.finish_range(source.text.len());
    reader.documents
}

fn span_of(span: granit_parser::Span) -> Span {
    let range = span.byte_range().unwrap_or_default();
    Span { start: range.start, end: range.end.max(range.start) }
}

/// What to do after one event.
#[derive(PartialEq, Eq)]
enum Step {
    On,
    /// Leave this document and go on with the next.
    Skip,
    Stop,
}

/// A collection that is still open.
struct Frame<'a> {
    span: Span,
    anchor: usize,
    nodes: usize,
    height: usize,
    kind: FrameKind<'a>,
}

enum FrameKind<'a> {
    List(Vec<Node<'a>>),
    Map { entries: Vec<(Key<'a>, Node<'a>)>, key: Option<Key<'a>>, seen: HashSet<Cow<'a, str>> },
}

/// What anchors stand for, and how much of it has been used in this file.
#[derive(Default)]
struct Aliases<'a> {
    known: HashMap<usize, (Node<'a>, usize, usize)>,
    anchors: usize,
    used: usize,
    nodes: usize,
}

/// A document that is being read.
#[derive(Default)]
struct Open<'a> {
    frames: Vec<Frame<'a>>,
    root: Option<Node<'a>>,
    errors_before: usize,
}

struct Reader<'s, 'a> {
    source: &'s Source<'a>,
    faults: &'s mut Faults,
    documents: Vec<RawDocument<'a>>,
    boundary: usize,
    end_marker: Option<usize>,
    open: Option<Open<'a>>,
    aliases: Aliases<'a>,
}

impl<'a> Reader<'_, 'a> {
    fn event(&mut self, event: Event<'a>, span: Span) -> Step {
        match event {
            Event::DocumentStart(explicit, _) => return self.start_document(explicit, span),
            Event::DocumentEnd => self.end_document(span),
            Event::Scalar(text, style, anchor, tag) => return self.scalar(text, style, anchor, tag.as_deref(), span),
            Event::SequenceStart(_, anchor, tag) => {
                return self.open_frame(span, anchor, tag.as_deref(), "seq", FrameKind::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                let kind = FrameKind::Map { entries: Vec::new(), key: None, seen: HashSet::new() };
                return self.open_frame(span, anchor, tag.as_deref(), "map", kind);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close_frame(span.end),
            Event::Alias(id) => return self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                let help = "an anchor is known only below its definition and in the same document";
                let message = format!("no anchor {} is defined above", quoted(&format!("&{name}")));
                self.faults.error(span, "unknown-anchor", message, Some(help.into()));
                return self.place(Node { span, value: Yaml::Lost }, 1, 0);
            }
            _ => {}
        }
        Step::On
    }

    fn start_document(&mut self, explicit: bool, span: Span) -> Step {
        let start = if explicit { self.source.line_start(span.start) } else { self.boundary };
        self.finish_range(start);
        if self.documents.len() >= DOCUMENTS_MAX {
            let message =
                format!("a file may declare at most {DOCUMENTS_MAX} documents; this one and those below are not read");
            self.faults.error(span, "too-many-documents", message, Some("split the file".into()));
            self.mark_lost();
            return Step::Stop;
        }
        let body = match explicit {
            true if self.source.text[span.end..self.source.next_line_start(span.end)].trim().is_empty() => {
                self.source.next_line_start(span.end)
            }
            true => span.end,
            false => start,
        };
        self.documents.push(RawDocument {
            root: None,
            broken: false,
            partial: false,
            lost: false,
            whole: start..start,
            body: body..body,
        });
        self.open = Some(Open { errors_before: self.faults.errors, ..Open::default() });
        self.aliases.known.clear();
        Step::On
    }

    fn end_document(&mut self, span: Span) {
        self.boundary = span.end;
        if self.source.text.get(span.start..span.end) == Some("...") {
            self.end_marker = Some(self.source.line_start(span.start));
            self.boundary = self.source.next_line_start(span.end);
        }
        self.abandon();
    }

    /// Ends the open document with what has been read of it. Closing what is still open may look wrong, but the reason why it is
    /// open has been reported.
    fn abandon(&mut self) {
        let muted = std::mem::take(self.faults);
        while let Some(end) = self.open.as_ref().and_then(|open| open.frames.last()).map(|frame| frame.span.end) {
            self.close_frame(end);
        }
        *self.faults = muted;
        if let (Some(open), Some(document)) = (self.open.take(), self.documents.last_mut()) {
            document.root = open.root;
            document.broken |= self.faults.errors > open.errors_before;
        }
    }

    /// Sets where the last document ends: where the next one starts.
    fn finish_range(&mut self, next: usize) {
        let end_marker = self.end_marker.take();
        if let Some(document) = self.documents.last_mut().filter(|document| document.whole.is_empty()) {
            document.whole.end = next.max(document.whole.start);
            document.body.end = end_marker.unwrap_or(next).max(document.body.start);
        }
    }

    fn mark_lost(&mut self) {
        if let Some(document) = self.documents.last_mut() {
            document.lost = true;
        }
    }

    fn mark_partial(&mut self) {
        if let Some(document) = self.documents.last_mut() {
            document.partial = true;
        }
    }

    fn syntax_error(&mut self, error: &ScanError) -> Step {
        if self.open.is_none() {
            // The text between two documents is wrong, as with a directive: it still stands for a document that could not be read.
            let at = error.marker().byte_offset().unwrap_or_default().min(self.source.text.len());
            if self.start_document(false, Span { start: at, end: at }) == Step::Stop {
                return Step::Stop;
            }
        }
        let (span, code, message, help) = syntax::describe(error, self.source);
        self.faults.error(span, code, message, help);
        self.mark_lost();
        Step::Skip
    }

    fn open_frame(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, plain: &str, kind: FrameKind<'a>) -> Step {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema_tag(plain)) {
            self.bad_tag(span, tag);
        }
        let Some(open) = &mut self.open else { return Step::On };
        if open.frames.len() >= DEPTH_MAX {
            return self.too_deep(span);
        }
        open.frames.push(Frame { span, anchor, nodes: 1, height: 1, kind });
        Step::On
    }

    fn too_deep(&mut self, span: Span) -> Step {
        let message = format!("values are nested deeper than {DEPTH_MAX} levels");
        self.faults.error(span, "too-deep", message, Some("flatten the value, or keep it in a file of its own".into()));
        Step::Skip
    }

    fn close_frame(&mut self, end: usize) -> Step {
        let Some(frame) = self.open.as_mut().and_then(|open| open.frames.pop()) else { return Step::On };
        let Frame { span, anchor, nodes, height, kind } = frame;
        let span = Span { start: span.start, end: end.max(span.end) };
        let value = match kind {
            FrameKind::List(items) => Yaml::List(items),
            FrameKind::Map { entries, .. } => Yaml::Map(entries),
        };
        let node = Node { span, value };
        let kept = self.keep(anchor, &node, nodes, height);
        let placed = self.place(node, nodes, height);
        if kept == Step::On { placed } else { kept }
    }

    fn scalar(&mut self, text: Cow<'a, str>, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, span: Span) -> Step {
        let mut plain = style == ScalarStyle::Plain;
        if let Some(tag) = tag {
            if tag.is_yaml_core_schema_tag("str") || tag.parts() == ("", "!") {
                plain = false;
            } else {
                self.bad_tag(span, tag);
            }
        }
        if let Some(FrameKind::Map { key: key @ None, .. }) =
            self.open.as_mut().and_then(|o| o.frames.last_mut()).map(|f| &mut f.kind)
            && anchor == 0
        {
            *key = Some(Key { span, text, readable: true });
            return Step::On;
        }
        let value = if plain { syntax::resolve(text, span.start == span.end) } else { Yaml::Text(text) };
        let node = Node { span, value };
        let kept = self.keep(anchor, &node, 1, 0);
        let placed = self.place(node, 1, 0);
        if kept == Step::On { placed } else { kept }
    }

    fn bad_tag(&mut self, span: Span, tag: &Tag) {
        let message = format!("the tag {} is not supported", quoted(&tag.original()));
        self.faults.error(
            span,
            "unknown-tag",
            message,
            Some("write the value without a tag; quote it to make it a text".into()),
        );
    }

    /// Remembers what an anchor stands for.
    fn keep(&mut self, anchor: usize, node: &Node<'a>, nodes: usize, height: usize) -> Step {
        if anchor == 0 {
            return Step::On;
        }
        self.aliases.anchors += 1;
        self.aliases.nodes += nodes;
        if self.aliases.anchors > ALIASES_MAX || self.aliases.nodes > ALIAS_NODES_MAX {
            return self.alias_limit(node.span);
        }
        self.aliases.known.insert(anchor, (node.clone(), nodes, height));
        Step::On
    }

    fn alias(&mut self, id: usize, span: Span) -> Step {
        self.aliases.used += 1;
        let Some((node, nodes, height)) = self.aliases.known.get(&id) else {
            let message = "this alias stands for a value that contains it".to_owned();
            self.faults.error(span, "recursive-alias", message, Some("write the value out".into()));
            return self.place(Node { span, value: Yaml::Lost }, 1, 0);
        };
        let (nodes, height) = (*nodes, *height);
        if self.aliases.used > ALIASES_MAX || self.aliases.nodes + nodes > ALIAS_NODES_MAX {
            return self.alias_limit(span);
        }
        if self.open.as_ref().is_some_and(|open| open.frames.len() + height > DEPTH_MAX) {
            return self.too_deep(span);
        }
        let node = node.clone();
        self.aliases.nodes += nodes;
        self.place(node, nodes, height)
    }

    fn alias_limit(&mut self, span: Span) -> Step {
        let message = format!(
            "a file may have at most {ALIASES_MAX} anchors and {ALIASES_MAX} aliases, which stand for at most {ALIAS_NODES_MAX} values"
        );
        self.faults.error(span, "too-many-aliases", message, Some("write the values out, or split the file".into()));
        Step::Skip
    }

    /// Puts a finished node where it belongs: into the innermost open collection, or at the root.
    fn place(&mut self, node: Node<'a>, nodes: usize, height: usize) -> Step {
        let Some(open) = &mut self.open else { return Step::On };
        let at_top = open.frames.len() == 1;
        let Some(frame) = open.frames.last_mut() else {
            open.root = Some(node);
            return Step::On;
        };
        frame.nodes += nodes;
        frame.height = frame.height.max(height + 1);
        frame.span.end = frame.span.end.max(node.span.end);
        match &mut frame.kind {
            FrameKind::List(items) => items.push(node),
            FrameKind::Map { entries, key, seen } => match key.take() {
                None => *key = Some(key_of(node, self.source, self.faults)),
                Some(key) => {
                    // Two kinds in one document are most likely two documents: the second one is not seen.
                    let header = at_top && matches!(&*key.text, "kind" | "metadata");
                    if !insert(entries, seen, key, node, self.source, self.faults) && header {
                        self.mark_lost();
                    }
                }
            },
        }
        Step::On
    }
}
