//! The setting `commandDirectory`: what lies in one directory may be run, and nothing else, whatever it is called and whenever it is looked at.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use manifestd::disk::TrustedPrograms;
use manifestd::resource::analyzer::{CommandSpec, Output};
use manifestd::resource::attempt::{Ending, Target};
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use serde_json::json;

use crate::support::daemon::{Home, document, task};
use crate::support::stage::{FAR, Stage, assignment};

/// A program that says what it was called, and leaves a mark where it ran.
fn program(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "#!/bin/sh\necho \"I am $0\"\ntouch ran\n").unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// A stage whose commands may run what lies in `tools/`, and nothing else.
fn stage() -> Stage {
    let stage = Stage::among(|surroundings| {
        surroundings.programs = TrustedPrograms::of(surroundings.workspace.parent().unwrap(), "tools");
    });
    program(&stage.dir.path().join("tools/tool"));
    program(&stage.dir.path().join("evil/tool"));
    stage
}

async fn run(stage: &Stage, spec: serde_json::Value) -> Ending {
    let mut spec: CommandSpec = serde_json::from_value(spec).unwrap();
    (spec.output, spec.tool) = (Output::ExitCode, Some("ruff".into()));
    stage.run(assignment(Target::Command(Box::new(spec)), FAR)).await
}

fn was_refused(stage: &Stage, ending: &Ending, words: &str) {
    assert_eq!((ending.verdict.outcome, ending.verdict.reason), (Outcome::Failed, Reason::InvalidConfiguration));
    let message = &ending.verdict.message;
    assert!(message.contains(words), "{message}");
    assert!(!stage.workspace().join("ran").exists(), "it ran: {message}");
}

#[tokio::test]
async fn a_program_is_looked_at_again_when_it_is_started() {
    let stage = stage();
    let link = stage.dir.path().join("link");
    let spec = json!({"argv": [link.to_str().unwrap()]});
    // As it was when the manifest was checked.
    symlink(stage.dir.path().join("tools/tool"), &link).unwrap();
    let programs = stage.executors.surroundings().programs.clone().unwrap();
    assert!(programs.find(link.to_str().unwrap()).is_ok());
    // And then it leads elsewhere.
    fs::remove_file(&link).unwrap();
    symlink(stage.dir.path().join("evil/tool"), &link).unwrap();
    was_refused(&stage, &run(&stage, spec).await, "evil/tool, and programs must lie in");
}

#[tokio::test]
async fn what_runs_is_the_place_that_was_looked_at_under_the_name_that_was_written() {
    let stage = stage();
    // Deeper than what is asked, so that the name of the link is not that of the file.
    program(&stage.dir.path().join("tools/v2/tool-2.0"));
    symlink("v2/tool-2.0", stage.dir.path().join("tools/latest")).unwrap();
    let ending = run(&stage, json!({"argv": ["latest"]})).await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    let log = stage.state().join("results").join(ending.result.unwrap().directory).join("log.txt");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("tools/v2/tool-2.0"), "what a script is called is its place: {log}");
    let shell = json!({"argv": ["${app.path}/run"]});
    program(&stage.workspace().join("apps/one/run"));
    fs::remove_file(stage.workspace().join("ran")).unwrap();
    was_refused(&stage, &run(&stage, shell).await, "apps/one/run, and programs must lie in");
}

#[tokio::test]
async fn a_command_cannot_prepare_the_environment_of_a_trusted_program() {
    let stage = stage();
    let ending = run(&stage, json!({"argv": ["tool"], "env": {"LD_PRELOAD": "/tmp/evil.so", "A": "b"}})).await;
    was_refused(&stage, &ending, "it sets A, LD_PRELOAD");
}

#[test]
fn a_command_outside_of_the_directory_is_refused_where_it_is_written_and_everybody_says_why() {
    let home = Home::new("commandDirectory: tools");
    program(&home.path("tools/good"));
    let analyzers = "\
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: good}
spec: {command: {argv: [good, \"${app.path}\"], tool: t}}
---
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: shell}
spec:
  command:
    argv: [/bin/sh, -c, id]
    env: {LD_PRELOAD: evil.so}
";
    home.drop_in("analyzers.yaml", analyzers);
    home.drop_in("app.yaml", &home.app(1));
    let said = home.run(&["validate", "--no-references", "manifests"]);
    assert_eq!(said.code, 1, "{}", said.err);
    for words in [
        "analyzers.yaml:11:12",
        "program \"/bin/sh\"",
        "/tools",
        "commandDirectory",
        "analyzers.yaml:12:5",
        "LD_PRELOAD",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let daemon = home.serve();
    home.drop_in("tasks.yaml", &[task("fine", "app1", "good", ""), task("not", "app1", "shell", "")].concat());
    home.until_phase("fine", Phase::Completed);
    home.until_reason("not", Phase::Pending, Reason::AnalyzerNotFound);
    let problems = home.run(&["get", "problems"]).out;
    assert!(problems.contains("analyzers.yaml:11:12") && problems.contains("must lie in"), "{problems}");
    let why = home.run(&["why", "not"]).ok();
    assert!(why.contains("analyzers.yaml:11") && why.contains("must lie in"), "{why}");
    // A program that is taken out of the directory afterwards is not run any more, and doctor knows.
    fs::rename(home.path("tools/good"), home.path("good")).unwrap();
    symlink(home.path("good"), home.path("tools/good")).unwrap();
    home.drop_in("more.yaml", &task("late", "app1", "good", "backoffLimit: 0,"));
    home.until_reason("late", Phase::Failed, Reason::InvalidConfiguration);
    let why = home.run(&["why", "late"]).ok();
    assert!(why.contains("must lie in"), "{why}");
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(doctor.out.contains("analyzer/good") && doctor.out.contains("commandDirectory"), "{}", doctor.out);
    assert!(home.events(Kind::Task, "late").iter().any(|event| event.contains("must lie in")), "{}", home.dump());
    daemon.stop();
}

#[test]
fn a_refusal_ends_when_the_program_is_there_and_begins_when_the_setting_does_though_no_manifest_is_touched() {
    let home = Home::new("commandDirectory: tools");
    fs::create_dir(home.path("tools")).unwrap();
    let analyzer = document("Analyzer", "later", "{command: {argv: [later, x], tool: later}}");
    home.drop_in("all.yaml", &format!("{}{analyzer}{}", home.app(1), task("t", "app1", "later", "")));
    home.run(&["reconcile", "--once"]);
    home.until_reason("t", Phase::Pending, Reason::AnalyzerNotFound);
    program(&home.path("tools/later"));
    home.run(&["reconcile", "--once"]).ok();
    home.until_phase("t", Phase::Completed);
    assert!(!home.run(&["get", "problems"]).out.contains("must lie in"));

    fs::create_dir(home.path("elsewhere")).unwrap();
    fs::write(home.path("manifestd.yaml"), "commandDirectory: elsewhere\n").unwrap();
    home.run(&["reconcile", "--once"]);
    let problems = home.run(&["get", "problems"]).out;
    assert!(problems.contains("all.yaml:") && problems.contains("must lie in"), "{problems}");
}

#[test]
fn doctor_says_which_secrets_cannot_be_read() {
    let home = Home::new("");
    let spec = "{websocket: {urls: [\"wss://127.0.0.1:1\"], request: r, tokenSecretName: none, caSecretName: open}}";
    home.drop_in("far.yaml", &document("Analyzer", "far", spec));
    home.run(&["reconcile", "--once"]);
    let secrets = home.state().join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("open"), "x").unwrap();
    fs::set_permissions(secrets.join("open"), Permissions::from_mode(0o604)).unwrap();
    fs::set_permissions(&secrets, Permissions::from_mode(0o700)).unwrap();
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.code, 1);
    for words in ["analyzer/far", "none is not there; put it there with mode 600", "mode is 604); chmod 600"] {
        assert!(doctor.out.contains(words), "{words}: {}", doctor.out);
    }
}
