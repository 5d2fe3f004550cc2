//! Pipelines and runs on the command line: what is there, what is not, and what is no answer. No controller
//! ever moves a run here.

use super::world::World;

const PIPELINES: &str = "\
apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: lint}
spec: {command: {argv: [ruff]}}
---
apiVersion: manifestd.dev/v1alpha1
kind: Pipeline
metadata: {name: study}
spec:
  params: {model: gpt-4o}
  steps:
    - {name: generate, analyzer: lint, critical: true}
    - {name: check, approval: {message: 'is it good?'}, needs: [generate]}
    - {name: analyse, analyzer: lint, needs: [check]}
  finally:
    - {name: report, analyzer: lint}
---
apiVersion: manifestd.dev/v1alpha1
kind: Pipeline
metadata: {name: nightly}
spec:
  schedule: {cron: '0 3 * * *', timeZone: Europe/Warsaw}
  suspend: true
  steps:
    - {name: only, analyzer: lint}
";

fn world() -> World {
    let world = World::empty();
    world.write("manifests/all.yaml", PIPELINES);
    world.mirror("all.yaml");
    world
}

#[test]
fn pipelines_are_listed_with_their_steps_schedule_and_suspension() {
    let world = world();
    let lines = world.run(&["get", "pipelines"]).ok().lines();
    assert_eq!(lines[0], "NAME STEPS SCHEDULE NEXT LAST RUN PHASE SUSPENDED AGE");
    assert!(lines[1].starts_with("nightly 1 0 3 * * * Europe/Warsaw - - - yes "), "{lines:?}");
    assert!(lines[2].starts_with("study 4 - - - - no "), "{lines:?}");
    let json = world.run(&["get", "pipeline/nightly", "-o", "json"]).ok().json();
    assert_eq!((&json["kind"], &json["status"]["suspended"]), (&"Pipeline".into(), &true.into()));
    let all = world.run(&["get", "all", "-o", "name"]).ok();
    assert!(all.lines().contains(&"pipeline/study".to_owned()), "{}", all.out);
}

#[test]
fn a_pipeline_is_described_and_drawn_before_it_has_any_run() {
    let world = world();
    let described = world.run(&["describe", "pipeline/study"]).ok().lines();
    assert!(described.contains(&"check approval generate no no".to_owned()), "{described:?}");
    assert!(described.contains(&"report lint no yes".to_owned()), "{described:?}");
    assert!(described.contains(&"Runs: <none>".to_owned()), "{described:?}");
    let tree = world.run(&["tree", "pipeline/study"]).ok();
    assert!(tree.out.starts_with("pipeline/study  has no runs; manifestd run study makes one\n"), "{}", tree.out);
    assert!(tree.out.contains("├─ generate  lint, critical\n") && tree.out.contains("└─ report"), "{}", tree.out);
    let mermaid = world.run(&["graph", "pipeline/study"]).ok().out;
    assert!(mermaid.contains("flowchart LR\n") && mermaid.contains("  s1 --> s2\n"), "{mermaid}");
    let dot = world.run(&["graph", "study", "-o", "dot"]).ok().out;
    assert!(dot.starts_with("digraph \"pipeline/study\" {") && dot.contains("s0 -> s1;"), "{dot}");
    let svg = world.run(&["graph", "study", "-o", "svg"]).ok().out;
    assert!(svg.starts_with("<svg ") && svg.contains(">analyse</text>"), "{svg}");
}

#[test]
fn what_is_not_there_is_answered_with_the_nearest_name() {
    let world = world();
    world.run(&["tree", "pipeline/studdy"]).with(1).says(&["no pipeline is called \"studdy\"", "study"]);
    world.run(&["tree", "study-1"]).with(1).says(&["no run is called \"study-1\"; there are no runs"]);
    world.run(&["get", "run", "study-1"]).with(1).says(&["no run is called \"study-1\""]);
    world.run(&["describe", "run/study-1"]).with(1);
    world.run(&["why", "run/study-1"]).with(1);
    world.run(&["wait", "run/study-1"]).with(1);
    world.run(&["approve", "study-1", "check"]).with(1);
    world.run(&["retry", "run/study-1", "--from", "analyse"]).with(1);
    world.run(&["cancel", "run/study-1"]).with(1);
    world.run(&["rerun", "study-1"]).with(1);
    world.run(&["backfill", "studdy", "--from", "2026-11-01", "--to", "2026-11-02"]).with(1);
    let none = world.run(&["get", "runs"]).ok();
    assert!(none.out.is_empty() && none.err.contains("No runs found"), "{}", none.err);
}

#[test]
fn what_is_no_request_is_refused_before_anything_is_asked() {
    let world = world();
    for arguments in [
        &["run"][..],
        &["run", "study", "-p", "model"],
        &["run", "study", "-p", "a=1", "-p", "a=2"],
        &["run", "task/study"],
        &["run", "study", "--timeout", "2h"],
        &["rerun", "study-1", "--dry-run", "--wait"],
        &["retry", "study-1", "--from", "a", "--only", "b"],
        &["graph", "task/lint-demo"],
        &["graph", "study", "-o", "png"],
        &["suspend", "study", "--until", "soon"],
        &["suspend", "study", "--until", "2020-01-01"],
        &["backfill", "study", "--from", "2026-11-02", "--to", "2026-11-01"],
        &["backfill", "study", "--from", "yesterday", "--to", "2026-11-01"],
        &["get", "runs", "--phase", "Done"],
    ] {
        let ran = world.run(arguments).with(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{arguments:?}: {}", ran.err);
    }
}
