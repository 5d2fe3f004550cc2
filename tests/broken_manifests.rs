//! A directory in which half of the manifests are broken, each in another way: the good half runs, each broken one is told with its place,
//! and mending one is enough to have it run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

mod support;

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use serde_json::Value;
use support::daemon::{Home, find, quick, task};

/// How a good manifest is broken, where that is told, and words of the message.
struct Broken {
    name: &'static str,
    /// What to replace in the good text, and by what.
    replace: (&'static str, &'static str),
    line: u64,
    column: u64,
    words: &'static str,
}

const BROKEN: [Broken; 5] = [
    Broken { name: "typo", replace: ("priority", "prioritty"), line: 5, column: 8, words: "prioritty" },
    Broken { name: "type", replace: ("priority: 5", "priority: high"), line: 5, column: 18, words: "priority" },
    Broken { name: "absent", replace: ("analyzer: quick", "priority2: 1"), line: 5, column: 32, words: "priority2" },
    Broken {
        name: "syntax",
        replace: ("analyzer: quick}", "analyzer: quick"),
        line: 5,
        column: 7,
        words: "never closed",
    },
    Broken { name: "kind", replace: ("kind: Task", "kind: Tusk"), line: 3, column: 7, words: "Tusk" },
];

fn good(name: &str) -> String {
    task(name, "app1", "quick", "priority: 5,")
}

fn broken(broken: &Broken) -> String {
    let (from, to) = broken.replace;
    let text = good(broken.name);
    assert!(text.contains(from), "{text}");
    text.replace(from, to)
}

fn half_broken() -> Home {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    for n in 0..5 {
        home.drop_in(&format!("good{n}.yaml"), &good(&format!("good{n}")));
    }
    BROKEN.iter().for_each(|broken_one| home.drop_in(&format!("{}.yaml", broken_one.name), &broken(broken_one)));
    home
}

fn problems(home: &Home) -> Vec<Value> {
    home.run(&["get", "problems", "-o", "json"]).json()["items"].as_array().unwrap().clone()
}

#[test]
fn the_good_half_runs_and_each_broken_manifest_is_told_with_its_place() {
    let home = half_broken();
    let daemon = home.serve();
    for n in 0..5 {
        home.until_phase(&format!("good{n}"), Phase::Completed);
    }
    let problems = problems(&home);
    for Broken { name, line, column, words, .. } in &BROKEN {
        let file = format!("{name}.yaml");
        let own: Vec<&Value> = problems.iter().filter(|problem| problem["file"] == file).collect();
        assert!(!own.is_empty(), "nothing is told of {file}: {problems:?}");
        let exact = own.iter().find(|problem| {
            let here = problem["line"] == *line && problem["column"] == *column;
            here && problem["message"].as_str().unwrap().contains(words)
        });
        assert!(exact.is_some(), "{file}:{line}:{column} is not told: {own:#?}");
    }
    let told: usize =
        problems.iter().filter(|p| !BROKEN.iter().any(|b| p["file"] == format!("{}.yaml", b.name))).count();
    assert_eq!(told, 0, "good files have problems: {problems:?}");
    let table = home.run(&["get", "problems"]).ok();
    assert!(table.contains("typo.yaml:5:8"), "{table}");
    assert!(home.run(&["validate", "manifests"]).code != 0);
    daemon.stop();
}

#[test]
fn a_mended_manifest_starts_by_itself_and_its_problem_is_gone() {
    let home = half_broken();
    let daemon = home.serve();
    home.until_phase("good4", Phase::Completed);
    for (mended, Broken { name, .. }) in BROKEN.iter().enumerate() {
        assert!(find(&home.database(), Kind::Task, name).is_none(), "{name} was taken in though it is broken");
        home.drop_in(&format!("{name}.yaml"), &good(name));
        home.until_phase(name, Phase::Completed);
        let left: std::collections::BTreeSet<String> =
            problems(&home).iter().map(|problem| problem["file"].as_str().unwrap().to_owned()).collect();
        assert_eq!(left.len(), BROKEN.len() - mended - 1, "{left:?}");
        assert!(!left.contains(&format!("{name}.yaml")));
    }
    daemon.stop();
}

#[test]
fn a_manifest_that_is_broken_by_an_edit_keeps_its_last_good_version() {
    let home = half_broken();
    let daemon = home.serve();
    let before = home.until_phase("good0", Phase::Completed);
    home.drop_in("good0.yaml", &good("good0").replace("priority: 5", "priority: lots"));
    home.until("a problem of good0.yaml", |connection| {
        let problems = manifestd::store::view::problems(connection).unwrap();
        problems.iter().any(|problem| problem.file == "good0.yaml").then_some(())
    });
    home.run(&["reconcile", "--once"]);
    let after = home.object(Kind::Task, "good0");
    assert_eq!((&after.uid, after.generation, after.removed_at), (&before.uid, 1, None));
    // Not even a text that is no YAML at all takes it away.
    home.drop_in("good0.yaml", "{{{{ \u{1}");
    home.run(&["reconcile", "--once"]);
    assert_eq!(home.object(Kind::Task, "good0").removed_at, None);
    assert_eq!(home.attempts("good0").len(), 1);
    daemon.stop();
}
