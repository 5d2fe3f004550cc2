//! Tests of `references.rs`: what many files say together.

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
fn what_steps_name_is_found_where_it_stands_and_may_come_from_elsewhere() {
    let text = head("Analyzer", "lint", "{command: {argv: [x]}}")
        + &head("Pipeline", "inner", "{steps: [{name: s, analyzer: lint, pool: stored}]}")
        + &head(
            "Pipeline",
            "outer",
            "\n  steps:\n    - {name: a, analyzer: lnit}\n    - {name: b, pipeline: iner}\n    - {name: c, pipeline: there}\n  finally:\n    \
             - {name: d, analyzer: lint, pool: nowhere}",
        );
    let documents = documents(&text);
    let labelled: Vec<_> = documents.iter().map(|document| ("f", document)).collect();
    let mut known = Known { pools: BTreeSet::from(["stored".to_owned()]), ..Known::default() };
    known.pipelines.insert("there".into(), BTreeSet::new());
    let problems = check(&labelled, &known);
    let found = [("f", "unknown-analyzer", 17), ("f", "unknown-pipeline", 18), ("f", "unknown-pool", 21)];
    assert_eq!(codes(&problems), found, "{problems:?}");
    assert_eq!(problems[1].help.as_deref(), Some("did you mean `inner`?"));
    assert_eq!((problems[1].place.column, problems[1].place.end_column), (27, Some(31)));
}

#[test]
fn pipelines_that_run_each_other_are_told_at_the_step_that_leads_back_even_over_what_is_stored() {
    let runs = |name: &str, other: &str| {
        head(
            "Pipeline",
            name,
            &format!("\n  steps:\n    - {{name: s, pipeline: {other}}}\n    - {{name: t, approval: {{}}}}"),
        )
    };
    let (a, b) = (documents(&runs("a", "b")), documents(&runs("b", "c")));
    let outside = documents(&runs("outside", "a"));
    let mut known = Known::default();
    known.pipelines.insert("c".into(), BTreeSet::from(["a".to_owned()]));
    let problems = check(&[("a.yaml", &a[0]), ("b.yaml", &b[0]), ("o.yaml", &outside[0])], &known);
    assert_eq!(codes(&problems), [("a.yaml", "circle", 7), ("b.yaml", "circle", 7)]);
    assert!(problems[0].message.ends_with("a -> b -> c -> a"), "{problems:?}");
    // What a document says goes before what is stored.
    let c = documents(&runs("c", "b"));
    let problems = check(&[("a.yaml", &a[0]), ("b.yaml", &b[0]), ("c.yaml", &c[0])], &known);
    assert_eq!(codes(&problems), [("b.yaml", "circle", 7), ("c.yaml", "circle", 7)]);
    let own = documents(&runs("own", "own"));
    assert_eq!(codes(&check(&[("f", &own[0])], &Known::default())), [("f", "circle", 7)]);
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
    for kind in [Kind::App, Kind::Analyzer, Kind::Pipeline] {
        let name = if kind == Kind::App { "a" } else { "lint" };
        known.add_broken(&Broken { kind: Some(kind), name: Some(name.into()), line: 1 });
    }
    assert_eq!(check(&[("f", &documents[0])], &known), []);
}
