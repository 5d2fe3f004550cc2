//! What runs have made, on the command line: whose it is, and what can be done about it. No controller ever moves a run here.

use manifestd::plan::Write;
use manifestd::plan::pipeline::write::{AskChild, ChildSpec, CreateRun, ProducedApp};
use manifestd::resource::app::AppSpec;
use manifestd::resource::run::Cause;
use serde_json::json;

use super::world::{START, World};

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
  runPolicy: Manual
  steps:
    - {name: generate, analyzer: lint, forEach: {items: [a, b, c]}, produces: {app: 'one-${item}', path: 'made/${item}'}}
    - {name: agree, approval: {}, needs: [generate]}
    - {name: analyse, analyzer: lint, forEach: {appsFrom: generate}}
    - {name: report, analyzer: lint, needs: [analyse], when: [{step: analyse, phases: [Completed]}]}
  finally:
    - {name: clean, analyzer: lint}
";

/// The run `study-1`, of which a task was asked for and its app was made.
fn world() -> World {
    let world = World::empty();
    world.write("manifests/all.yaml", PIPELINES);
    world.mirror("all.yaml");
    let connection = || manifestd::store::open_read_only(&manifestd::store::database_path(&world.state())).unwrap();
    let one = |query: &str| -> String { connection().query_row(query, [], |row| row.get(0)).unwrap() };
    let create = CreateRun {
        name: "study-1".into(),
        pipeline_uid: manifestd::resource::name::Uid(one("SELECT uid FROM object WHERE kind = 'Pipeline'")),
        generation: 1,
        params: serde_json::Map::new(),
        cause: Cause::Manual,
        scheduled_at: None,
    };
    world.commit(vec![Write::CreateRun(Box::new(create))], START);
    let spec = AppSpec { path: "made/a".into(), model: None, number: None, target_urls: Vec::new() };
    let app = ProducedApp { name: "one-a".into(), spec, labels: Default::default(), run: "study-1".into() };
    let task = serde_json::from_value(json!({"app": "one-a", "analyzer": "lint"})).unwrap();
    let ask = AskChild {
        run: manifestd::resource::name::Uid(one("SELECT uid FROM run")),
        run_name: "study-1".into(),
        step: "generate".into(),
        item: 0,
        round: 1,
        name: "study-1_generate_a".into(),
        label: "a".into(),
        app: "one-a".into(),
        makes: Some(app.clone()),
        what: ChildSpec::Task(Box::new(task)),
    };
    world.commit(vec![Write::AskChild(Box::new(ask)), Write::ProducedApp(Box::new(app))], START);
    world
}

#[test]
fn what_a_run_made_is_not_deleted_and_it_is_said_whose_it_is_and_what_to_do() {
    let world = world();
    let before = world.read("manifests/all.yaml");
    world.run(&["delete", "task", "study-1_generate_a"]).with(1).says(&[
        "task/study-1_generate_a belongs to step generate of run study-1",
        "manifestd cancel task/study-1_generate_a",
        "manifestd retry study-1 --only generate",
        "pipeline/study",
    ]);
    world
        .run(&["delete", "app/one-a"])
        .with(1)
        .says(&["app/one-a was made by step generate of run study-1", "pipeline/study"]);
    world.run(&["delete", "run/study-1"]).with(1).says(&["manifestd cancel run/study-1"]);
    world.run(&["delete", "run/study-2"]).with(1).says(&["no run is called \"study-2\"", "study-1"]);
    assert_eq!(world.read("manifests/all.yaml"), before);
}

#[test]
fn what_steps_name_is_validated_with_all_files_and_with_what_is_stored() {
    let world = world();
    let pipeline = |name: &str, steps: &str| {
        format!(
            "apiVersion: manifestd.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: {name}}}\nspec:\n  steps:\n{steps}\n"
        )
    };
    world.write("new/a.yaml", &pipeline("a", "    - {name: s, pipeline: b}\n    - {name: t, pipeline: studdy}"));
    world
        .write("new/b.yaml", &pipeline("b", "    - {name: s, pipeline: a}\n    - {name: t, analyzer: lnt, pool: gpu}"));
    let known = "    - {name: s, pipeline: study}\n    - {name: t, analyzer: lint}";
    world.write("good/c.yaml", &pipeline("c", known));
    world.run(&["validate", "good", "manifests"]).ok();
    world.run(&["validate", "good"]).with(1);
    // What is stored counts where something is added to it.
    world.run(&["apply", "-f", "good/c.yaml", "--dry-run"]).ok();
    world
        .run(&["apply", "-f", "new/a.yaml", "--dry-run"])
        .says(&["no Pipeline is called \"studdy\"", "did you mean `study`?"]);
    world.run(&["validate", "new", "manifests"]).with(1).says(&[
        "error[circle]: these pipelines run each other for ever: a -> b -> a",
        "a.yaml:6:27",
        "error[unknown-pipeline]: no Pipeline is called \"studdy\"",
        "did you mean `study`?",
        "a.yaml:7:27",
        "b -> a -> b",
        "error[unknown-analyzer]: no Analyzer is called \"lnt\"",
        "error[unknown-pool]: no Pool is called \"gpu\"",
    ]);
}
