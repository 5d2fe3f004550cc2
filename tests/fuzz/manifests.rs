//! Any bytes as a file of manifests: reading them ends well, every place lies in the text, and what is accepted can be stored, printed, cut
//! out and read back.

use manifestd::manifest::{Document, Parsed, Place, parse, to_yaml};
use manifestd::resource::object::{Object, Spec};

use super::corpus::{files, texts};

/// Problems that are told of one file at most, with some room.
const PROBLEMS_MAX: usize = 600;

pub(crate) const WORDS: &[&str] = &[
    "---\n",
    "...\n",
    "apiVersion: manifestd.dev/v1alpha1\n",
    "kind: Task\n",
    "kind: Pipeline\n",
    "kind: Analyzer\n",
    "metadata: {name: a}\n",
    "spec:\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!str ",
    "!!binary ",
    "? ",
    "- ",
    "| \n",
    ">-\n",
    "\"\\x41\\u263a\"",
    "'",
    "${item}",
    "${params.a}",
    "${steps.a.outputs.b}",
    "%YAML 1.2\n",
    "# ",
    "\u{feff}",
    "\r\n",
    "\r",
    "\u{2028}",
    "\u{85}",
    "\t",
    "0x7f",
    "0o17",
    "1e400",
    ".nan",
    "-.inf",
    "~",
    "null",
    "yes",
    "1_000",
    "2026-01-01",
    "{",
    "}",
    "[",
    "]",
    ",",
    ": ",
    "18446744073709551616",
    "-9223372036854775809",
    "15m",
    "99999999999d",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = files("tests/golden/manifests", &["yaml"]);
    seeds.extend(files("manifests", &["yaml"]));
    seeds.extend(files("examples/pipelines", &["yaml"]));
    seeds.extend(texts(&["", "a", "{}", "---\n---\n"]));
    seeds
}

fn roots() -> Vec<String> {
    vec![".".into()]
}

fn read(bytes: &[u8]) -> Parsed {
    parse("a.yaml", bytes, &roots())
}

/// What must hold of any bytes.
pub(crate) fn check(data: &[u8]) {
    let parsed = read(data);
    let text = String::from_utf8_lossy(data);
    assert!(parsed.problems.len() <= PROBLEMS_MAX, "{} problems", parsed.problems.len());
    for problem in &parsed.problems {
        assert_inside(&problem.place, &text);
        for shown in [problem.render(false), problem.line()] {
            assert!(
                !shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'),
                "a control character in {shown:?}"
            );
        }
    }
    assert!(parsed.problems.iter().all(|problem| !problem.message.is_empty()));
    let mut end = 0;
    for document in &parsed.documents {
        assert_inside(&document.name_place, &text);
        document.references.iter().for_each(|reference| assert_inside(&reference.place, &text));
        assert!(end <= document.whole.start, "documents overlap");
        end = document.whole.end;
        assert!(document.whole.start <= document.body.start && document.body.end <= document.whole.end);
        assert!(text.get(document.whole.clone()).is_some() && text.get(document.body.clone()).is_some());
        assert_kept(&document.object);
    }
    assert_cut(&parsed, &text);
}

/// As in YAML, a lone carriage return ends a line too.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = vec![text];
    while let Some((line, rest)) = lines.last().and_then(|last| last.split_once(['\n', '\r'])) {
        let is_pair = rest.starts_with('\n') && lines.last().is_some_and(|last| last.as_bytes()[line.len()] == b'\r');
        lines.pop();
        lines.extend([line, &rest[usize::from(is_pair)..]]);
    }
    lines
}

fn assert_inside(place: &Place, text: &str) {
    let lines = lines(text);
    let line = lines.get(place.line as usize - 1).unwrap_or_else(|| panic!("{place:?} is behind the last line"));
    let line = line.strip_prefix('\u{feff}').filter(|_| place.line == 1).unwrap_or(line);
    let width = line.chars().count() as u32;
    assert!((1..=width + 1).contains(&place.column), "{place:?} is outside of {line:?}");
    let end = place.end_column.unwrap_or(place.column + 1);
    assert!(place.column < end && end <= width.max(place.column) + 1, "{place:?} ends outside of {line:?}");
    let shown = place.source_line.chars().count() as u32;
    assert!((1..=shown + 1).contains(&place.source_column), "{place:?} is outside of what is shown");
    let part = place.source_line.trim_start_matches('…').trim_end_matches('…');
    assert!(line.contains(part), "{:?} is no part of {line:?}", place.source_line);
}

/// What is stored and what is printed of an object stands for the same object.
fn assert_kept(object: &Object) {
    let stored = object.spec.to_value();
    let text = serde_json::to_string(&stored).expect("JSON");
    let back = serde_json::from_str(&text).expect("JSON that was just written");
    let back = Spec::from_value(object.kind(), back).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(back, object.spec, "not as it was stored: {text}");
    assert_eq!(back.to_value(), stored, "another text for the same spec: {text}");
    let printed = to_yaml(&object.to_value());
    let again = read(printed.as_bytes());
    let wrong: Vec<_> = again.problems.iter().filter(|problem| problem.is_error()).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{printed}");
    assert_eq!(again.documents.first().map(|document| &*document.object), Some(object), "{printed}");
}

/// Cutting one document out leaves the others as they are, which is what `delete` relies on.
fn assert_cut(parsed: &Parsed, text: &str) {
    // What refers to an anchor of a document that is broken cannot be told; those that read and write files refuse them.
    if parsed.has_errors() || parsed.documents.len() > 8 {
        return;
    }
    let objects = |documents: &[Document]| documents.iter().map(|document| document.object.clone()).collect::<Vec<_>>();
    for (at, document) in parsed.documents.iter().enumerate() {
        let rest = format!("{}{}", &text[..document.whole.start], &text[document.whole.end..]);
        let mut wanted = objects(&parsed.documents);
        wanted.remove(at);
        let left = read(rest.as_bytes());
        assert_eq!(objects(&left.documents), wanted, "cutting out {at} leaves {rest:?}: {:?}", left.problems);
    }
}
