//! Commands that change things: apply, delete, cancel, retry; and validate, which judges what they would write.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::store::StateLock;

use super::world::{MANIFESTS, Ran, World, exists, far_ahead};

/// A task on what [`MANIFESTS`] declares.
fn task(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: manifestd.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec: {{app: demo, analyzer: lint{rest}}}\n"
    )
}

/// Another `lint-demo`, with a comment inside.
fn urgent() -> String {
    task("lint-demo", ", priority: 7").replace("spec:", "# urgent\nspec:")
}

#[test]
fn apply_creates_configures_and_leaves_everything_else_byte_for_byte() {
    let world = World::new();
    let new = format!("# mine\n{}---\n{}", task("fresh", ""), urgent());
    world.write("in.yaml", &new);
    let ran = world.run(&["apply", "-f", "in.yaml"]).ok().says(&["no controller is running"]);
    assert_eq!(ran.out, "task/fresh created\ntask/lint-demo configured\n");
    assert_eq!(world.read("manifests/task-fresh.yaml"), task("fresh", ""));
    let old = "apiVersion: manifestd.dev/v1alpha1\nkind: Task\nmetadata: {name: lint-demo, labels: {team: red}}\nspec: {app: demo, analyzer: lint, tools: [ruff, bandit]}\n";
    assert!(MANIFESTS.contains(old));
    let want = MANIFESTS.replace(old, &urgent());
    assert_eq!(world.read("manifests/all.yaml"), want);
    assert_eq!(world.run(&["apply", "-f", "in.yaml"]).ok().out, "task/fresh unchanged\ntask/lint-demo unchanged\n");
    assert_eq!(fs::read_dir(world.path("manifests")).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn apply_reads_standard_input_and_a_dry_run_writes_nothing() {
    let world = World::new();
    let piped = |arguments: &[&str]| Ran::of(world.command().args(arguments).write_stdin(task("fresh", "")));
    assert_eq!(piped(&["apply", "--dry-run", "-f", "-"]).ok().out, "task/fresh created (dry run)\n");
    assert!(!exists(&world.path("manifests/task-fresh.yaml")));
    assert_eq!(piped(&["apply", "-f", "-"]).ok().out, "task/fresh created\n");
}

#[test]
fn apply_writes_nothing_when_anything_is_wrong() {
    let world = World::new();
    world.write("in.yaml", &format!("{}---\n{}", task("fresh", ""), task("bad", ", tool: [x]")));
    world.run(&["apply", "-f", "in.yaml"]).with(1).says(&[
        "unknown-field",
        "in.yaml:9",
        "^^^^",
        "nothing was written: 1 problem",
    ]);
    world.write("in.yaml", &task("fresh", "").replace("app: demo", "app: dmeo"));
    world.run(&["apply", "-f", "in.yaml"]).with(1).says(&["no App is called \"dmeo\"", "did you mean `demo`?"]);
    world.write("in.yaml", &format!("{}---\n{}", task("fresh", ""), task("fresh", "")));
    world.run(&["apply", "-f", "in.yaml"]).with(1).says(&["also declared in"]);
    world.run(&["apply", "-f", "absent.yaml"]).with(2).says(&["absent.yaml"]);
    assert_eq!(fs::read_dir(world.path("manifests")).unwrap().count(), 1);
    assert_eq!(world.read("manifests/all.yaml"), MANIFESTS);
}

#[test]
fn apply_does_not_overwrite_what_it_does_not_understand() {
    let world = World::new();
    world.write("manifests/task-fresh.yaml", &task("other", ""));
    world.write("in.yaml", &task("fresh", ""));
    world.run(&["apply", "-f", "in.yaml"]).with(2).says(&["task-fresh.yaml is there already"]);
    world.write("manifests/broken.yaml", &task("hurt", ", tool: x"));
    world.write("in.yaml", &task("hurt", ""));
    world
        .run(&["apply", "-f", "in.yaml"])
        .with(1)
        .says(&["task/hurt is declared in broken.yaml:1, but that document is invalid"]);
}

#[test]
fn neither_apply_nor_delete_follows_a_link_out_of_the_manifests() {
    let world = World::new();
    world.write("outside.yaml", &task("far", ""));
    std::os::unix::fs::symlink(world.path("outside.yaml"), world.path("manifests/far.yaml")).unwrap();
    world.write("in.yaml", &task("far", ", priority: 1"));
    world.run(&["apply", "-f", "in.yaml"]).with(1).says(&["leads out of the manifests directory"]);
    world.run(&["delete", "task", "far"]).with(1).says(&["leads out of the manifests directory"]);
    assert_eq!(world.read("outside.yaml"), task("far", ""));
}

#[test]
fn delete_cuts_documents_out_and_removes_empty_files() {
    let world = World::new();
    world.write("manifests/one.yaml", &task("alone", ""));
    assert_eq!(world.run(&["delete", "task", "alone", "--dry-run"]).ok().out, "task/alone deleted (dry run)\n");
    let ran = world.run(&["delete", "task", "alone", "static-demo"]).ok();
    assert_eq!(ran.out, "task/alone deleted\ntask/static-demo deleted\n");
    assert!(!exists(&world.path("manifests/one.yaml")));
    let start = MANIFESTS.find("---\n# The second task.").unwrap();
    let end = start + 4 + MANIFESTS[start + 4..].find("---\n").unwrap();
    assert_eq!(world.read("manifests/all.yaml"), format!("{}{}", &MANIFESTS[..start], &MANIFESTS[end..]));
    world.run(&["delete", "task/static-demo"]).with(1).says(&["declared in no file of"]);
    world.run(&["delete", "task", "nobody"]).with(1).says(&["no task is called \"nobody\""]);
    world.write("in.yaml", &task("lost", ""));
    assert_eq!(world.run(&["delete", "-f", "in.yaml"]).ok().out, "task/lost deleted\n");
}

#[test]
fn cancel_and_retry_work_without_a_controller() {
    let world = World::new();
    world.start("static-demo", "static", "", far_ahead());
    let verdict = Verdict::without_tools(Outcome::Failed, Reason::ToolNotRun, "no tool ran");
    world.end("static-demo", Phase::Failed, Reason::ToolNotRun, verdict, None);
    let ran = world.run(&["cancel", "lost", "task/lint-demo"]).ok().says(&["no controller is running"]);
    assert_eq!(ran.out, "task/lost cancellation requested\ntask/lint-demo cancellation requested\n");
    world.run(&["why", "lost"]).ok().says(&["cancelled on request"]);
    world.run(&["cancel", "static-demo"]).with(1).says(&["is Failed already: there is nothing to cancel"]);
    world.run(&["cancel", "nobody", "lost"]).with(1).says(&["no task is called"]);
    assert_eq!(world.run(&["retry", "--all-failed"]).ok().out, "task/static-demo another run requested\n");
    world.run(&["why", "static-demo"]).ok().says(&["is Pending (Queued)", "no controller is running"]);
    assert_eq!(world.run(&["retry", "-l", "team=red"]).ok().out, "task/lint-demo another run requested\n");
    world.run(&["retry", "-l", "team=green"]).ok().says(&["no tasks match"]);
    world.run(&["retry"]).with(2);
}

#[test]
fn a_state_directory_in_use_is_said_with_its_own_exit_code() {
    let world = World::new();
    // A program that another test is just starting holds a copy of the lock until it has begun to run.
    let mut tries = (0..100_000).map(|_| StateLock::acquire(&world.state()));
    let _held = tries.find_map(Result::ok).expect("the lock");
    world.run(&["cancel", "lost"]).with(4).says(&["is in use by another manifestd"]);
    world.run(&["get", "tasks"]).ok();
    World::empty().run(&["cancel", "lost"]).with(2).says(&["there is no database"]);
}

#[test]
fn validate_reports_every_problem_and_counts_files() {
    let world = World::new();
    world.run(&["validate", "manifests"]).with(1).says(&["no App is called \"dmeo\"", "1 problem in 1 of 1 file"]);
    world.run(&["validate", "manifests", "--no-references"]).ok().says(&["ok: 7 documents in 1 file"]);
    world.write("manifests/sub/bad.yml", &task("bad", ", tool: x, prioritty: 1"));
    let report = world.run(&["validate", "manifests", "-o", "json"]).with(1).json();
    assert_eq!((report["problems"].as_array().unwrap().len(), &report["filesWithProblems"]), (3, &2.into()));
    assert_eq!((&report["files"], &report["valid"]), (&2.into(), &false.into()));
    world.run(&["validate", "absent"]).with(2);
    world.run(&["validate"]).with(2);
}

#[test]
fn validate_knows_the_apps_that_an_appset_finds() {
    let world = World::empty();
    let set = "---\napiVersion: manifestd.dev/v1alpha1\nkind: AppSet\nmetadata: {name: all}\nspec: {root: apps, pattern: '{model}/app{number}'}\n";
    let lint = "---\napiVersion: manifestd.dev/v1alpha1\nkind: Analyzer\nmetadata: {name: lint}\nspec: {command: {argv: [x]}}\n";
    world.write("m/a.yaml", &format!("{}{set}{lint}", task("t", "").replace("app: demo", "app: gpt-4o-app7")));
    world.run(&["validate", "m"]).ok().says(&["note:", "app names are not checked"]);
    world.write("apps/gpt-4o/app7/main.py", "");
    let ran = world.run(&["validate", "m"]).ok();
    assert!(!ran.err.contains("note:"), "{}", ran.err);
    world.write("m/b.yaml", &task("u", "").replace("app: demo", "app: gpt-4o-app8"));
    world.run(&["validate", "m"]).with(1).says(&["did you mean `gpt-4o-app7`?"]);
}

/// Answers one request on the control socket, as a controller would, and gives back what was asked.
fn controller(world: &World, answer: &'static str) -> std::thread::JoinHandle<String> {
    let listener = UnixListener::bind(world.state().join("control.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        let mut buffer = [0; 4096];
        while !asked.ends_with('}') {
            let read = stream.read(&mut buffer).unwrap();
            asked.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
        asked
    })
}

#[test]
fn a_running_controller_is_asked_instead_of_the_store() {
    let world = World::new();
    let _held = StateLock::acquire(&world.state()).unwrap();
    let asked =
        controller(&world, r#"{"is":"requested","tasks":[{"name":"lost","phase":"Running","effective":true}]}"#);
    let ran = world.run(&["cancel", "lost"]).ok();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("task/lost cancellation requested\n", ""));
    assert!(asked.join().unwrap().ends_with(r#"{"do":"cancel","tasks":["lost"]}"#));
    fs::remove_file(world.state().join("control.sock")).unwrap();
    let asked = controller(&world, r#"{"is":"failed","message":"the disk is full"}"#);
    world.run(&["retry", "lost"]).with(1).says(&["error: the disk is full"]);
    asked.join().unwrap();
    fs::remove_file(world.state().join("control.sock")).unwrap();
    let asked = controller(&world, r#"{"is":"status","pid":7,"version":"9","started_at":0,"held":3,"embedded":null}"#);
    world.run(&["status"]).ok().says(&["process 7, version 9", "Attempts:    3 running"]);
    asked.join().unwrap();
}

#[test]
fn apply_lets_a_running_controller_scan_at_once() {
    let world = World::new();
    world.write("in.yaml", &task("fresh", ""));
    let report = r#"{"is":"synced","files_read":1,"created":1,"updated":0,"removed":0,"frozen":0,"problems":0,"incomplete":"x.yaml: no"}"#;
    let asked = controller(&world, report);
    world
        .run(&["apply", "-f", "in.yaml"])
        .ok()
        .says(&["task/fresh created", "could not read all manifests: x.yaml: no"]);
    assert!(asked.join().unwrap().ends_with(r#"{"do":"sync"}"#));
}
