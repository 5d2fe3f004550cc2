//! Any text with placeholders: it comes apart into pieces that stand for the same text, and what is filled into a command stays one argument
//! and becomes no option.

use manifestd::executor::placeholders::expand;
use manifestd::plan::pipeline::render::Values;
use manifestd::resource::analyzer::KeepResults;
use manifestd::resource::attempt::{AppTarget, Assignment, AttemptId, Origin, Target};
use manifestd::resource::name::Uid;
use manifestd::resource::template::{Piece, pieces};
use manifestd::resource::time::Timestamp;
use serde_json::{Map, Value, json};

use super::corpus::texts;

pub(crate) const WORDS: &[&str] = &[
    "${",
    "}",
    "$${",
    "$",
    "${item}",
    "${item.key}",
    "${params.a}",
    "${matrix.m}",
    "${steps.s.outputs.o}",
    "${run.name}",
    "${pipeline.name}",
    "${app}",
    "${produces.app}",
    "${app.path}",
    "${app.name}",
    "${app.model}",
    "${app.number}",
    "${task.name}",
    "${config.a}",
    "${config.b}",
    "${tools}",
    "--",
    "-",
    "\n",
    "\0",
    "/",
];

/// Lines: the arguments of a command; values of what stands in it are further lines, behind an empty one.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "ruff\ncheck\n--output-format\nsarif\n${app.path}\n\nvalue\n-x",
        "x\n${tools}\n--\n${config.a}\n--a=${config.b}${config.a}\n\n-rf\n${app.path}",
        "${app.path}/bin\n${app.model}/app${app.number}\n$${item}\n\n\n",
        "${params.model}-app${item}!\n${steps.build.outputs.url}\n\na\nb",
        "${item.key}$${${matrix.m}}$\n\n-\n--",
        // Found by libFuzzer: a tool's name with a NUL character.
        "x\n${tools}\n--\nj{fbutrx$s.urltputs.url}\n\n$\0{1a${a",
    ])
}

/// What must hold of any text.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (argv, values) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut values = values.split('\n');
    let mut value = || values.next().unwrap_or_default().to_owned();
    let (first, second) = (value(), value());
    argv.split('\n').for_each(|argument| comes_apart(argument, &first));
    let argv: Vec<String> = argv.split('\n').map(str::to_owned).collect();
    let assignment = assignment(first, second);
    let Ok(expanded) = expand(&argv, &assignment, "/work space/app") else { return };
    let tools = argv.iter().filter(|argument| *argument == "${tools}").count();
    assert_eq!(
        expanded.len(),
        argv.len() - tools + tools * assignment.tools.len(),
        "an argument came apart: {expanded:?}"
    );
    assert!(expanded.iter().all(|argument| !argument.contains('\0')) && !expanded[0].is_empty());
    assert_no_new_options(&argv, &expanded, assignment.tools.len());
}

/// Only what the author of the analyzer has written begins with a dash, until `--` ends the options.
fn assert_no_new_options(argv: &[String], expanded: &[String], tools: usize) {
    let mut filled = expanded.iter();
    for argument in argv {
        let count = if argument == "${tools}" { tools } else { 1 };
        for value in filled.by_ref().take(count) {
            assert!(!value.starts_with('-') || argument.starts_with('-'), "{argument:?} became the option {value:?}");
        }
        if argument == "--" {
            return;
        }
    }
}

fn comes_apart(text: &str, value: &str) {
    let Ok(found) = pieces(text) else { return };
    let texts: String = found
        .iter()
        .filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None })
        .collect();
    let places = found.iter().filter(|piece| matches!(piece, Piece::Place(_))).count();
    if places == 0 {
        assert_eq!(texts, text.replace("$${", "${"), "of {text:?}");
    }
    assert!(found.iter().all(|piece| *piece != Piece::Text(String::new())), "an empty piece of {text:?}");
    let params = Map::from_iter([("a".to_owned(), Value::from(value)), ("model".to_owned(), json!([1, {"a": null}]))]);
    let outputs = [("s".to_owned(), Map::from_iter([("o".to_owned(), Value::from(value))]))];
    let values = Values {
        params: Some(&params),
        run: "run",
        pipeline: "pipeline",
        item: Some(json!({"key": value})),
        matrix: [("m".to_owned(), json!(1.5))].into(),
        app: Some("app".into()),
        produced: Some(("made".into(), "generated/made".into())),
        outputs: outputs.into(),
    };
    if let Ok(Value::String(filled)) = values.value(text)
        && places > 1
    {
        // What is filled in is not looked at again.
        let length = filled.len();
        assert!(length >= texts.len(), "{filled:?} of {text:?}");
    }
}

fn assignment(first: String, second: String) -> Assignment {
    let tools = vec![first.clone(), second.clone()];
    Assignment {
        id: AttemptId { task: Uid("0190-task".into()), number: 1 },
        task: "lint".into(),
        analyzer: "ruff".into(),
        app: AppTarget {
            name: "one".into(),
            path: "apps/one".into(),
            model: Some(first.clone()),
            number: Some(1),
            target_urls: Vec::new(),
        },
        target: Target::Command(Box::new(serde_json::from_value(json!({"argv": ["x"]})).expect("a spec"))),
        rate: None,
        tools,
        config: Map::from_iter([("a".to_owned(), first.into()), ("b".to_owned(), second.into())]),
        keep_results: KeepResults::default(),
        origin: Origin::default(),
        stamp: None,
        opened_at: Timestamp(0),
        deadline_at: Timestamp(1),
        resumed: false,
    }
}
