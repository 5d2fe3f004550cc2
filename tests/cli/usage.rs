//! Help, settings, completion, version, schema and explain; and the exit code of a wrong command line.

use super::world::{Ran, World};

const COMMANDS: [&str; 32] = [
    "serve",
    "reconcile",
    "diff",
    "orphans",
    "analyzer",
    "get",
    "describe",
    "why",
    "events",
    "logs",
    "results",
    "wait",
    "apply",
    "delete",
    "cancel",
    "retry",
    "run",
    "rerun",
    "suspend",
    "resume",
    "approve",
    "reject",
    "backfill",
    "tree",
    "graph",
    "validate",
    "schema",
    "explain",
    "config",
    "status",
    "completion",
    "version",
];

#[test]
fn every_command_has_a_help_text_and_the_exit_codes_are_documented() {
    let world = World::empty();
    let help = world.run(&["--help"]).ok().says(&["Exit codes:", "4  the state directory is in use"]);
    for command in COMMANDS {
        assert!(help.out.lines().any(|line| line.trim().starts_with(&format!("{command} "))), "{command}");
        let text = world.run(&[command, "--help"]).ok().out;
        assert!(text.contains("Usage: manifestd ") && text.contains("--workspace"), "{text}");
        assert!(text.lines().next().is_some_and(|line| line.len() > 10 && !line.starts_with("Usage")), "{text}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_two() {
    let world = World::empty();
    for arguments in [
        &[][..],
        &["nothing"],
        &["get"],
        &["get", "tasks", "--colour"],
        &["logs"],
        &["apply"],
        &["delete"],
        &["completion", "tcsh9"],
    ] {
        let ran = world.run(arguments).with(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn settings_come_from_file_environment_and_flags_in_this_order() {
    let world = World::empty();
    world.write("manifestd.yaml", "taskTimeout: 5m\nstuckAfter: 20m\nroots: [a, b]\n");
    let ran = Ran::of(world.command().env("TASK_TIMEOUT", "90").args(["config", "--log", "warn"])).ok();
    let lines = ran.lines();
    let of = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap().clone();
    assert!(of("taskTimeout").starts_with("taskTimeout 90 environment: TASK_TIMEOUT "), "{}", of("taskTimeout"));
    assert!(of("stuckAfter").starts_with("stuckAfter 20m ./manifestd.yaml "), "{}", of("stuckAfter"));
    assert!(of("log ").starts_with("log warn flag "), "{}", of("log "));
    assert!(of("state").starts_with("state .manifestd default "), "{}", of("state"));
    let json = world.run(&["config", "-o", "json"]).ok().json();
    assert_eq!(json["roots"]["value"], "a,b");
}

#[test]
fn wrong_settings_are_errors_that_name_their_origin() {
    let world = World::empty();
    let with = |name: &str, value: &str| Ran::of(world.command().env(name, value).arg("config"));
    with("MANIFESTD_TASK_TIMOUT", "1").with(2).says(&["did you mean MANIFESTD_TASK_TIMEOUT?"]);
    with("TASK_TIMEOUT", "soon").with(2).says(&["taskTimeout", "environment: TASK_TIMEOUT"]);
    world.write("manifestd.yaml", "taskTimeot: 1\n");
    world.run(&["config"]).with(2).says(&["taskTimeot", "manifestd.yaml", "did you mean taskTimeout?"]);
    world.write("manifestd.yaml", "taskTimeout: 1\ntaskTimeout: 2\n");
    world.run(&["config"]).with(2).says(&["manifestd.yaml:2:"]);
    world.run(&["config", "--config", "absent.yaml"]).with(2).says(&["absent.yaml"]);
    // What needs no settings works all the same.
    world.run(&["version"]).ok();
}

#[test]
fn paths_are_relative_to_the_workspace() {
    let world = World::new();
    let elsewhere = World::empty();
    let workspace = world.path("").display().to_string();
    Ran::of(elsewhere.command().args(["get", "tasks", "--workspace", &workspace])).ok().says(&["lint-demo"]);
    Ran::of(elsewhere.command().env("MANIFESTD_WORKSPACE", &workspace).args(["get", "tasks"]))
        .ok()
        .says(&["lint-demo"]);
    Ran::of(world.command().args(["get", "tasks", "--state", "other"])).with(2).says(&["other/manifestd.db"]);
}

#[test]
fn version_completion_schema_and_explain_answer() {
    let world = World::empty();
    world.run(&["version"]).ok().says(&[env!("CARGO_PKG_VERSION"), "manifestd.dev/v1alpha1"]);
    assert_eq!(world.run(&["version", "-o", "json"]).ok().json()["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        world.run(&["completion", shell]).ok().says(&["manifestd", "describe"]);
    }
    assert_eq!(world.run(&["schema"]).ok().json()["oneOf"].as_array().unwrap().len(), 6);
    assert!(world.run(&["schema", "tasks"]).ok().json()["properties"]["spec"].is_object());
    world.run(&["schema", "tsk"]).with(2);
    world.run(&["explain", "task.spec.retry"]).ok().says(&["FIELD:    task.spec.retry"]);
    world.run(&["explain", "task.spec.tool"]).with(1).says(&["did you mean `task.spec.tools`?"]);
}
