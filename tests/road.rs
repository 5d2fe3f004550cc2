//! The whole road with real tools: manifests in, ruff and bandit run on apps, SARIF out. And the demo, as its README has it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

mod support;

use std::path::{Path, PathBuf};

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::store::view::{self, Filter, TaskView};
use serde_json::Value;
use support::daemon::{Home, document, embedded, find, task};
use support::stage::check_stored;
use support::tools::tools_bin;

const FLAWED: &str = r#"import os, subprocess
from flask import Flask, request

app = Flask(__name__)


@app.route("/run")
def run():
    return subprocess.check_output(request.args["cmd"], shell=True)


@app.route("/sum")
def total():
    return str(eval(request.args["of"]))


if __name__ == "__main__":
    app.run(host="0.0.0.0", debug=True)
"#;

const CLEAN: &str = r#""""Says hello."""

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    """Says hello."""
    return {"hello": "world"}
"#;

/// A workspace with a flawed Flask app 1 and a clean one 2, the embedded analyzer, ruff as a command, and the real tools.
fn with_tools() -> Home {
    let mut home = Home::new("embeddedAnalyzer: true");
    home.bin = Some(tools_bin());
    let apps: String = [(1, FLAWED), (2, CLEAN)]
        .into_iter()
        .map(|(number, source)| {
            let manifest = home.app(number);
            std::fs::write(home.path(&format!("generated/apps/acme/app{number}/main.py")), source).unwrap();
            manifest
        })
        .collect();
    let argv = r#"[ruff, check, --isolated, --no-cache, "--select=F,S", --output-format=sarif, "${app.path}"]"#;
    let spec = format!("{{command: {{argv: {argv}, output: sarif, successExitCodes: [0, 1]}}}}");
    home.drop_in("base.yaml", &format!("{apps}{}{}", embedded(1), document("Analyzer", "ruff", &spec)));
    home
}

/// The SARIF files of a task's accepted result, each checked against the schema.
fn sarif(state: &Path, status: &TaskView) -> Vec<PathBuf> {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas/sarif-2.1.0.json");
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let validator = jsonschema::options().build(&read(Path::new(schema))).unwrap();
    let attempt = status.attempt().unwrap();
    let directory = state.join("results").join(attempt.result_dir.as_ref().unwrap()).join("sarif");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let document = read(file);
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).take(5).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
        assert!(!document["runs"].as_array().unwrap().is_empty(), "{}", file.display());
    }
    files
}

fn names(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn ruff_and_bandit_find_the_flaws_of_a_flask_app_and_none_in_a_clean_one() {
    let home = with_tools();
    let daemon = home.serve();
    home.drop_in("flawed.yaml", &task("flawed", "app1", "embedded", "tools: [ruff, bandit],"));
    home.drop_in("clean.yaml", &task("clean", "app2", "embedded", "tools: [ruff, bandit],"));
    home.drop_in("command.yaml", &task("command", "app1", "ruff", ""));
    for (name, reports) in [("flawed", &["bandit.sarif", "ruff.sarif"][..]), ("command", &["ruff.sarif"])] {
        let status = home.until_phase(name, Phase::Completed).task.unwrap();
        let findings = status.status.findings;
        assert!(findings.total() > 0, "{name}: {status:?}");
        assert_eq!(names(&sarif(&home.state(), &status)), reports);
        // What the row counts is what the reports hold, and what a person is shown.
        let shown = home.run(&["results", name, "-o", "json"]).ok();
        assert!(shown.contains("shell") || shown.contains("S602"), "{shown}");
    }
    assert!(home.task("flawed").status.findings.high > 0, "shell=True is of high severity to bandit");
    let clean = home.until_phase("clean", Phase::Completed).task.unwrap();
    assert_eq!(clean.status.findings.total(), 0, "{clean:?}");
    let tools = &clean.attempt().unwrap().tools;
    assert_eq!(tools.len(), 2, "both tools are known to have run: {tools:?}");
    sarif(&home.state(), &clean);
    daemon.stop();
}

#[test]
fn a_tool_that_did_not_run_is_never_a_success() {
    let home = with_tools();
    home.drop_in("some.yaml", &task("some", "app1", "embedded", "tools: [ruff, no-such-tool],"));
    home.drop_in("none.yaml", &task("none", "app1", "embedded", "tools: [no-such-tool],"));
    let said = home.run(&["reconcile", "--once"]);
    assert_eq!(said.code, 1, "{}", said.out);
    let some = home.task("some");
    assert_eq!((some.status.phase, some.status.reason), (Phase::PartialSuccess, Reason::SomeToolsFailed));
    assert!(some.status.findings.total() > 0 && some.status.message.contains("no-such-tool"), "{some:?}");
    assert_eq!(names(&sarif(&home.state(), &some)), ["ruff.sarif"]);
    // At once: another try would find it missing again.
    let none = home.task("none");
    assert_eq!((none.status.phase, none.status.reason, none.status.attempt), (Phase::Failed, Reason::ToolNotRun, 1));
    assert!(none.status.message.contains("no-such-tool"), "{none:?}");
}

/// Copies a tree of plain files and directories.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        let target = to.join(entry.file_name().unwrap());
        if kind.is_dir() { copy(&entry, &target) } else { std::fs::copy(&entry, &target).map(drop).unwrap() }
    }
}

/// A copy of the demo; and the arguments that its commands need.
fn demo() -> (Home, [&'static str; 4]) {
    let home = Home::new("");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), &home.path("examples"));
    (home, ["--config", "examples/manifestd.yaml", "--state", ".manifestd"])
}

#[test]
fn the_demo_completes_and_a_second_run_starts_nothing() {
    let (home, config) = demo();
    let once = [&["reconcile", "--once"][..], &config].concat();
    let first = home.run(&once);
    assert_eq!(first.code, 0, "{}\n{}", first.out, home.dump());
    let connection = home.database();
    let tasks = view::objects(&connection, Kind::Task, &Filter::default()).unwrap();
    assert!(tasks.len() >= 10, "{}", tasks.len());
    for task in &tasks {
        let status = task.task.as_ref().unwrap();
        assert_eq!(status.status.phase, Phase::Completed, "{}: {status:?}", task.name);
        let attempt = status.attempt().unwrap();
        let Some(directory) = &attempt.result_dir else {
            // It is an exit code and nothing else: there is nothing to keep.
            assert_eq!(attempt.analyzer, "readme-check", "{}: {attempt:?}", task.name);
            continue;
        };
        let place = home.state().join("results").join(directory);
        let query = "SELECT result_bytes FROM attempt WHERE task_uid = ?1 AND number = ?2";
        let bytes = connection.query_row(query, rusqlite::params![task.uid, attempt.number], |row| row.get(0)).unwrap();
        check_stored(&task.name, &place, attempt.result_sha256.as_ref().unwrap(), bytes);
        sarif(&home.state(), status);
    }
    let found: u64 = tasks.iter().map(|task| task.task.as_ref().unwrap().status.findings.total()).sum();
    assert!(found > 0, "the demo finds nothing");
    let second = home.run(&once).ok();
    assert!(second.contains("nothing to start"), "{second}");
}

#[test]
fn the_demo_with_the_tasks_for_external_tools_completes_too() {
    let (mut home, config) = demo();
    home.bin = Some(tools_bin());
    // shellcheck is no Python package; what needs it is left out here.
    let all = std::fs::read_to_string(home.path("examples/tasks-external-tools.yaml")).unwrap();
    let python: Vec<&str> = all.split("\n---\n").filter(|document| !document.contains("shellcheck]")).collect();
    assert!(python.len() >= 5);
    std::fs::write(home.path("examples/manifests/tasks/python.yaml"), python.join("\n---\n")).unwrap();
    let daemon = home.spawn(&[&["serve"][..], &config].concat());
    daemon.says("serving");
    for document in &python {
        let name = document.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap();
        let done = home.until(&format!("{name} to have ended"), |connection| {
            let task = find(connection, Kind::Task, name)?.task?;
            task.status.phase.is_terminal().then_some(task)
        });
        assert_eq!(done.status.phase, Phase::Completed, "{name}: {done:?}");
        assert_eq!(names(&sarif(&home.state(), &done)), ["bandit.sarif", "ruff.sarif"], "{name}");
    }
    daemon.stop();
}
