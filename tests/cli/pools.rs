//! Pools and owners on the command line: get, describe, why, validate, explain.

use manifestd::plan::write::{TaskStatus, TaskWrite, Write};
use manifestd::resource::reason::Reason;
use serde_json::json;

use super::world::{START, World, far_ahead};

const POOLS: &str = "\
apiVersion: manifestd.dev/v1alpha1
kind: Pool
metadata: {name: gpu}
spec: {slots: 1, rate: {limit: 9, per: 1h}}
---
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: lint}
spec: {command: {argv: [ruff]}, capacity: 8}
---
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: deep}
spec: {command: {argv: [deep]}, capacity: 8, pool: gpu}
---
apiVersion: manifestd.dev/v1alpha1
kind: App
metadata: {name: demo}
spec: {path: generated/demo}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: first, labels: {manifestd.dev/owner: web}}
spec: {app: demo, analyzer: lint, pool: gpu}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: second}
spec: {app: demo, analyzer: deep}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: astray}
spec: {app: demo, analyzer: lint, pool: gpus}
";

fn world() -> World {
    let world = World::empty();
    world.write("manifests/all.yaml", POOLS);
    world.mirror("all.yaml");
    world
}

#[test]
fn a_full_pool_is_told_with_who_has_its_slots_and_who_waits() {
    let world = world();
    world.start("first", "lint", "", far_ahead());
    let lines = world.run(&["get", "pools"]).ok().lines();
    assert_eq!(lines[0], "NAME SLOTS USED DRAINING WAITING RATE AGE");
    assert!(lines[1].starts_with("gpu 1 1 0 1 9 in 1h "), "{lines:?}");
    let wide = world.run(&["get", "pool", "gpu", "-o", "wide"]).ok().lines();
    assert!(wide[1].ends_with(" - all.yaml:1"), "{wide:?}");
    let status = world.run(&["get", "pool/gpu", "-o", "json"]).ok().json()["status"].clone();
    assert_eq!(status, json!({"used": 1, "draining": 0, "waiting": 1, "conditions": []}));
    assert!(
        world.run(&["get", "all", "--no-headers"]).ok().lines().iter().any(|line| line.starts_with("pool/gpu 1 1"))
    );
    world.run(&["describe", "pool", "gpu"]).ok().says(&[
        "Slots:         1",
        "Waiting:       1",
        "Taken by:",
        "first",
        "9 in 1h",
    ]);
    world.run(&["why", "second"]).ok().says(&[
        "task/second is Pending (Queued)",
        "pool \"gpu\" is full, 1/1 by task/first on lint",
        "1 queued task waits for this pool",
        "when its turn comes and a slot of pool \"gpu\" is free",
        "2100-01-01",
    ]);
}

#[test]
fn the_owner_and_the_pool_of_a_task_are_shown() {
    let world = world();
    let status = |name: &str| world.run(&["get", "task", name, "-o", "json"]).ok().json()["status"].clone();
    assert_eq!((&status("first")["owner"], &status("first")["pool"]), (&json!("web"), &json!("gpu")));
    assert_eq!((&status("second")["owner"], &status("second")["pool"]), (&json!("all.yaml"), &json!("gpu")));
    world.run(&["describe", "task", "first"]).ok().says(&["Owner:       web", "Pool:        gpu"]);
    world.run(&["why", "second"]).ok().says(&["0 of 1 slots of pool \"gpu\" are taken", "0 of 8 slots"]);
}

#[test]
fn a_pool_that_nobody_declares_is_a_problem_before_and_a_reason_after() {
    let world = world();
    let text = "no Pool is called \"gpus\"";
    world.run(&["validate", "manifests"]).with(1).says(&["unknown-pool", text, "did you mean `gpu`?"]);
    world.run(&["why", "astray"]).ok().says(&[text, "did you mean `gpu`?", "holds it as PoolNotFound"]);
    let held = TaskStatus::fresh(1, 1, 0).waiting(Reason::PoolNotFound, text, None);
    let write = TaskWrite { uid: world.uid("astray"), version: 1, status: held };
    world.commit(vec![Write::Task(Box::new(write))], START);
    let next = "goes on by itself once a Pool of that name is declared";
    world.run(&["why", "astray"]).ok().says(&["Pending (PoolNotFound)", text, "all.yaml:31 names", next]);
}

#[test]
fn pools_are_explained() {
    let world = World::empty();
    world
        .run(&["explain", "pool.spec.slots"])
        .ok()
        .says(&["FIELD:    pool.spec.slots <integer> (required)", "between 1 and 4096"]);
    world.run(&["explain", "task.spec.pool"]).ok().says(&["Default: the analyzer's pool"]);
    world.run(&["get", "pols"]).with(2).says(&["did you mean `pools`?"]);
}
