//! Every manifest in `golden/manifests` is parsed, and what comes out is compared with the text beside it. `UPDATE_GOLDEN=1` rewrites the texts.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use manifestd::manifest::{self, Parsed, Place, parse, schema};
use manifestd::resource::kind::Kind;
use manifestd::resource::object::{Object, Spec};
use proptest::prelude::*;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/manifests");

fn roots() -> Vec<String> {
    vec!["generated".into(), "a".into(), "b".into(), "c".into(), "d".into(), "e".into()]
}

fn report(parsed: &Parsed) -> String {
    let mut text = String::new();
    for document in &parsed.documents {
        let _ = writeln!(text, "accepted at line {}: {}", document.line, document.object.to_value());
    }
    for broken in &parsed.broken {
        let kind = broken.kind.map_or("?", Kind::as_str);
        let _ = writeln!(text, "refused at line {}: {kind} {}", broken.line, broken.name.as_deref().unwrap_or("?"));
    }
    if parsed.unreadable {
        text.push_str("there may be more documents than can be seen\n");
    }
    for problem in &parsed.problems {
        let _ = write!(text, "\n{}\n", problem.render(false));
    }
    text
}

fn yaml_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).expect("the folder of golden manifests");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry of the folder").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    files
}

fn good_files() -> Vec<String> {
    let is_good = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("good-"));
    yaml_files().iter().filter(is_good).map(|path| fs::read_to_string(path).expect("a golden manifest")).collect()
}

#[test]
fn every_golden_manifest_says_what_is_written_beside_it() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let paths = yaml_files();
    assert!(paths.len() > 25, "the golden manifests are not there");
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = report(&parse(&name, &fs::read(&path).unwrap(), &roots()));
        let beside = path.with_extension("txt");
        if update {
            fs::write(&beside, &found).unwrap();
        }
        let wanted = fs::read_to_string(&beside).unwrap_or_default();
        if wanted != found {
            wrong.push(format!("{name}: wanted\n{wanted}\nfound\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_text_that_is_not_utf8_is_refused_at_the_byte() {
    let parsed = parse("x.yaml", b"a: 1\nb\xc5\xbc: \xff\n", &roots());
    let problem = &parsed.problems[0];
    assert!(parsed.unreadable && parsed.documents.is_empty());
    assert_eq!((problem.code.as_ref(), problem.place.line, problem.place.column), ("not-utf8", 2, 5));
    assert!(problem.message.contains("byte 10 ") && problem.message.contains("0xff"), "{}", problem.message);
    let utf16 = parse("x.yaml", b"\xff\xfea\0:\0", &roots());
    assert!(utf16.problems[0].help.as_ref().is_some_and(|help| help.contains("UTF-16")));
}

#[test]
fn a_file_of_two_mebibytes_is_refused_unread() {
    let text = "# filler\n".repeat(2 * 1024 * 1024 / 9);
    let parsed = parse("big.yaml", text.as_bytes(), &roots());
    assert!(parsed.unreadable);
    assert_eq!(parsed.problems.len(), 1);
    assert_eq!((parsed.problems[0].code.as_ref(), parsed.problems[0].place.line), ("file-too-large", 1));
}

#[test]
fn documents_above_the_limit_are_refused_and_those_below_it_stay() {
    let one = "---\napiVersion: manifestd.dev/v1alpha1\n";
    let text = format!("{}---\n{{}}\n", "---\n# x\n".repeat(20_000));
    let parsed = parse("many.yaml", text.as_bytes(), &roots());
    assert!(parsed.unreadable);
    assert_eq!((parsed.problems[0].code.as_ref(), parsed.problems[0].place.line), ("too-many-documents", 40_001));
    assert!(!parse("few.yaml", one.as_bytes(), &roots()).unreadable);
}

#[test]
fn a_thousand_problems_are_cut_and_counted() {
    let fields: String = (0..1000).map(|at| format!("zzz{at}: 1\n")).collect();
    let parsed = parse("x.yaml", fields.as_bytes(), &roots());
    let last = parsed.problems.last().unwrap();
    assert!(parsed.problems.len() < 600 && last.code == "too-many-problems", "{}", last.message);
    assert_eq!(parsed.broken.len(), 1);
}

/// Texts that cost a careless reader quadratic time or memory. The test would not end within minutes if one of them did here.
#[test]
fn texts_made_to_be_expensive_are_not() {
    let keys = |from: usize, to: usize| (from..to).map(|at| format!("k{at}: 1\n")).collect::<String>();
    for text in [
        keys(0, 60_000),
        keys(0, 20_000) + &keys(0, 20_000),
        format!("a: {}[{}", "&a [".repeat(20), "1,".repeat(400_000)),
        "[".repeat(1_000_000),
        "- ".repeat(500_000),
        "? ".repeat(500_000),
        format!("{{{}}}", "k: ~, ".repeat(160_000)),
        format!("a: &a 1\nb: [{}]", "*a,".repeat(300_000)),
    ] {
        let parsed = parse("x", text.as_bytes(), &roots());
        assert!(parsed.has_errors() && parsed.documents.is_empty() && parsed.problems.len() < 600);
    }
}

#[test]
fn more_than_a_hundred_aliases_are_refused() {
    let head = "apiVersion: manifestd.dev/v1alpha1\nkind: Task\nmetadata: {name: x}\nspec: {app: a, analyzer: b, config: {k: &k 1, l: [";
    let text = |count: usize| format!("{head}{}]}}}}\n", "*k, ".repeat(count));
    assert_eq!(parse("x", text(100).as_bytes(), &roots()).problems, []);
    let codes: Vec<_> = parse("x", text(101).as_bytes(), &roots()).problems.into_iter().map(|p| p.code).collect();
    assert_eq!(codes, ["too-many-aliases"]);
}

#[test]
fn a_refused_document_keeps_only_what_it_may_have_declared() {
    let text = fs::read(Path::new(FOLDER).join("unknown-fields.yaml")).unwrap();
    let parsed = parse("x", &text, &roots());
    assert!(!parsed.is_gone(Kind::Task, "x"));
    assert!(parsed.is_gone(Kind::Task, "y") && parsed.is_gone(Kind::App, "x"));
    let nameless = parse("x", b"kind: Task\n", &roots());
    assert!(!nameless.is_gone(Kind::Task, "y") && nameless.is_gone(Kind::App, "y"));
    assert!(!parse("x", b"kind: [", &roots()).is_gone(Kind::App, "y"));
}

#[test]
fn cutting_out_or_replacing_a_document_leaves_the_others() {
    let head = "apiVersion: manifestd.dev/v1alpha1\nkind: App\n";
    let one = |name: &str| format!("{head}metadata: {{name: {name}}}\nspec: {{path: a}}\n");
    for text in [
        format!("{}---\n{}---\n{}", one("a"), one("b"), one("c")),
        format!("--- # first\n{}...\n{}...\n---\n{}", one("a"), one("b"), one("c")),
        format!(
            "{}--- {{apiVersion: manifestd.dev/v1alpha1, kind: App, metadata: {{name: b}}, spec: {{path: a}}}}\n---\r\n{}",
            one("a"),
            one("c")
        ),
        format!("# top\n\n{}\n# between\n---\n{}---\n{}# end", one("a"), one("b"), one("c")),
    ] {
        let names = |text: &str| -> Vec<String> {
            let parsed = parse("x", text.as_bytes(), &roots());
            assert_eq!(parsed.problems, [], "{text}");
            parsed.documents.into_iter().map(|document| document.object.metadata.name.clone()).collect()
        };
        assert_eq!(names(&text), ["a", "b", "c"]);
        for (at, document) in parse("x", text.as_bytes(), &roots()).documents.iter().enumerate() {
            let mut wanted = vec!["a", "b", "c"];
            let (whole, body) = (document.whole.clone(), document.body.clone());
            let cut = format!("{}{}", &text[..whole.start], &text[whole.end..]);
            let new = format!("{}\n{}{}", &text[..body.start], one("new"), &text[body.end..]);
            wanted[at] = "new";
            assert_eq!(names(&new), wanted, "{new}");
            wanted.remove(at);
            assert_eq!(names(&cut), wanted, "{cut}");
        }
    }
}

#[test]
fn the_schema_accepts_what_the_parser_accepts() {
    let any = jsonschema::draft202012::new(&schema(None)).unwrap();
    let mut seen = Vec::new();
    for text in good_files() {
        for document in parse("x", text.as_bytes(), &roots()).documents {
            let kind = document.object.kind();
            let one = jsonschema::draft202012::new(&schema(Some(kind))).unwrap();
            let value = document.object.to_value();
            assert!(one.is_valid(&value) && any.is_valid(&value), "{value}");
            let mut wrong = value.clone();
            wrong["spec"]["nonsense"] = Value::Bool(true);
            assert!(!one.is_valid(&wrong) && !any.is_valid(&wrong), "{wrong}");
            seen.push(kind);
        }
    }
    assert!(Kind::DECLARED.iter().all(|kind| seen.contains(kind)), "{seen:?}");
    for &kind in Kind::DECLARED {
        assert!(jsonschema::draft202012::meta::is_valid(&schema(Some(kind))));
    }
}

#[test]
fn what_is_printed_parses_to_the_same_object() {
    for text in good_files() {
        for document in parse("x", text.as_bytes(), &roots()).documents {
            let printed = manifest::to_yaml(&document.object.to_value());
            let again = parse("x", printed.as_bytes(), &roots());
            assert_eq!(again.problems, [], "{printed}");
            assert_eq!(again.documents[0].object, document.object, "{printed}");
            let Object { spec, .. } = &*document.object;
            assert_eq!(&Spec::from_value(spec.kind(), spec.to_value()).unwrap(), spec);
        }
    }
}

/// Every place lies inside the text, and what it shows is there.
fn check_places(text: &[u8], parsed: &Parsed) {
    let lossy = String::from_utf8_lossy(text);
    let lossy = lossy.strip_prefix('\u{feff}').unwrap_or(&lossy).replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<_> = lossy.split('\n').collect();
    let places = parsed.problems.iter().map(|problem| &problem.place);
    let places = places.chain(parsed.documents.iter().map(|document| &document.name_place));
    for Place { line, column, end_column, source_column, source_line } in places {
        let found = lines[*line as usize - 1];
        let width = found.chars().count() as u32;
        assert!(*column >= 1 && *column <= width + 1, "{line}:{column} in {found:?}");
        assert!(end_column.is_none_or(|end| end > *column && end <= width + 1));
        let shown = source_line.chars().nth(*source_column as usize - 1);
        assert_eq!(shown, found.chars().nth(*column as usize - 1), "{line}:{column} in {found:?}");
    }
    for problem in &parsed.problems {
        let shown = problem.render(false);
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
        assert!(shown.contains(&format!("--> x:{}:{}\n", problem.place.line, problem.place.column)), "{shown}");
    }
    for document in &parsed.documents {
        assert!(document.whole.start <= document.body.start && document.body.end <= document.whole.end);
        assert!(document.whole.end <= text.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_places(&bytes, &parse("x", &bytes, &roots()));
    }

    #[test]
    fn random_yaml_marks_never_panic(text in "[-:{}\\[\\],&*!|>'\"%@`#?~ \t\r\na1ż\u{feff}.]{0,120}") {
        check_places(text.as_bytes(), &parse("x", text.as_bytes(), &roots()));
    }

    #[test]
    fn broken_good_manifests_never_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[-:{}\\[\\],&*!|>'\"%#? \t\r\na1ż]{0,4}"), 1..8),
    ) {
        let files = good_files();
        let mut bytes = which.get(&files).clone().into_bytes();
        for (at, cut, insert) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, insert.into_bytes());
        }
        check_places(&bytes, &parse("x", &bytes, &roots()));
    }
}
