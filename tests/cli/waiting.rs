//! Commands that go on: wait, --watch and logs -f, while something else changes the store.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use super::world::{World, far_ahead};

/// Starts the binary with its output in a pipe.
fn spawn(world: &World, arguments: &[&str]) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("manifestd"))
        .args(arguments)
        .current_dir(world.path(""))
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    (child, lines)
}

fn fail(world: &World, task: &str) {
    let verdict = Verdict::without_tools(Outcome::Failed, Reason::ToolNotRun, "no tool ran");
    world.end(task, Phase::Failed, Reason::ToolNotRun, verdict, None);
}

#[test]
fn wait_is_met_not_met_or_out_of_time() {
    let world = World::new();
    world.run(&["wait", "lint-demo", "--timeout", "50ms"]).with(3).says(&["after 50ms: task/lint-demo is Pending"]);
    world.finish_lint_demo();
    assert_eq!(world.run(&["wait", "lint-demo"]).ok().out, "task/lint-demo PartialSuccess\n");
    world.run(&["wait", "lint-demo", "--for=phase=Completed,PartialSuccess"]).ok();
    world.run(&["wait", "-l", "team=red", "--for=phase=Completed"]).with(1).says(&["task/lint-demo is PartialSuccess"]);
    world.run(&["wait", "gone", "--for=delete"]).ok().says(&["task/gone deleted"]);
    world.run(&["wait", "gone"]).with(1).says(&["no task is called"]);
    world.run(&["wait", "-l", "team=green"]).with(1).says(&["nothing to wait for"]);
    world.run(&["wait", "lint-demo", "--for=done"]).with(2);
    // What was asked to run again has not ended yet.
    world.run(&["retry", "lint-demo"]).ok();
    world.run(&["wait", "lint-demo", "--timeout", "50ms"]).with(3);
}

#[test]
fn wait_ends_when_another_process_commits_the_phase() {
    let world = World::new();
    world.start("static-demo", "static", "", far_ahead());
    let (mut child, mut lines) = spawn(&world, &["wait", "static-demo", "--for=phase=Failed", "--timeout", "50s"]);
    fail(&world, "static-demo");
    assert_eq!(lines.next().unwrap(), "task/static-demo Failed");
    assert!(child.wait().unwrap().success());
}

#[test]
fn get_watch_prints_what_there_is_and_then_what_changes() {
    let world = World::new();
    let (mut child, mut lines) = spawn(&world, &["get", "tasks", "-l", "team=blue", "--watch"]);
    assert!(lines.next().unwrap().starts_with("NAME "));
    assert!(lines.next().unwrap().starts_with("lost "));
    assert!(lines.next().unwrap().starts_with("static-demo "));
    world.start("static-demo", "static", "", far_ahead());
    let line = lines.next().unwrap();
    assert!(line.starts_with("static-demo ") && line.contains(" Running "), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn events_watch_prints_each_event_once() {
    let world = World::new();
    let (mut child, mut lines) = spawn(&world, &["events", "lost", "--watch", "-o", "json"]);
    assert!(lines.next().unwrap().contains("\"Created\""));
    let mut batch = manifestd::store::MirrorCommit::default();
    let identity = (manifestd::resource::kind::Kind::Task, "lost".to_owned());
    let provenance = manifestd::resource::provenance::Provenance { file: "all.yaml".into(), ..Default::default() };
    batch.changes.push(manifestd::plan::mirror::Change::Remove { uid: world.uid("lost"), identity, provenance });
    world.store(async |store| store.commit_mirror(batch, super::world::START).await.unwrap());
    assert!(lines.next().unwrap().contains("\"Removed\""));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn logs_follow_prints_what_is_added_and_ends_with_the_attempt() {
    let world = World::new();
    world.start("static-demo", "static", "", far_ahead());
    let log = format!(".manifestd/staging/{}-1/log.txt", world.uid("static-demo"));
    world.write(&log, "one\n");
    let (mut child, mut lines) = spawn(&world, &["logs", "-f", "static-demo"]);
    assert_eq!(lines.next().unwrap(), "one");
    world.write(&log, "one\ntwo\n");
    assert_eq!(lines.next().unwrap(), "two");
    fail(&world, "static-demo");
    assert_eq!(lines.next(), None);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::new();
    let (mut child, mut lines) = spawn(&world, &["schema"]);
    assert_eq!(lines.next().unwrap(), "{");
    drop(lines);
    assert!(child.wait().unwrap().success());
}
