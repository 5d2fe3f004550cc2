//! Children of runs over the real store: what is known of them when a conclusion is drawn is what was meant when they were asked for.

use manifestd::plan::pipeline::child::made_by;
use manifestd::plan::pipeline::observed::ObservedRun;
use manifestd::plan::pipeline::run::RunReconciler;
use manifestd::plan::pipeline::write::CreateRun;
use manifestd::plan::{Key, Reconciler, Write};
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::findings::Findings;
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::{Outcome, ToolReport, ToolStatus};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::run::{Cause, RetryMode, Suspension};
use manifestd::resource::time::Span;
use manifestd::store::Committed;
use serde_json::{Map, Value, json};

use super::fixture::{Fixture, NOW, declare, ending};

/// The pipeline `study` with these steps, and its run `study-1`.
async fn study(steps: Value) -> (Fixture, Uid) {
    let fixture = Fixture::empty();
    fixture.create(vec![declare(Kind::Analyzer, "lint", json!({"command": {"argv": ["true"]}, "capacity": 8}))]).await;
    let spec = json!({"runPolicy": "Manual", "steps": steps});
    fixture.create(vec![declare(Kind::Pipeline, "study", spec)]).await;
    let run = make(&fixture, "study").await;
    (fixture, run)
}

async fn make(fixture: &Fixture, pipeline: &str) -> Uid {
    let pipeline_uid = fixture.uid(Kind::Pipeline, pipeline);
    let (name, cause) = (format!("{pipeline}-1"), Cause::Manual);
    let create = CreateRun { name, pipeline_uid, generation: 1, params: Map::new(), cause, scheduled_at: None };
    fixture.store.commit(vec![Write::CreateRun(Box::new(create))], NOW).await.unwrap();
    Uid(fixture.one(&format!("SELECT uid FROM run WHERE name = '{pipeline}-1'")))
}

/// What is seen of a run, on a disk where every app that is looked for is there.
async fn seen(fixture: &Fixture, run: &Uid) -> ObservedRun {
    let mut run = fixture.store.observe_run(run.clone()).await.unwrap().unwrap();
    for at in 0..run.steps.len() {
        for child in 0..run.steps[at].open.len() {
            let made = made_by(&run, at, &run.steps[at].open[child]).map(|_| true);
            run.steps[at].open[child].produced = made;
        }
    }
    run
}

/// Plans and commits until a pass has nothing to write.
async fn settle(fixture: &Fixture, run: &Uid) -> ObservedRun {
    for _ in 0..50 {
        let seen = seen(fixture, run).await;
        let plan = RunReconciler::plan(&seen, NOW);
        if plan.writes.is_empty() {
            return seen;
        }
        assert!(matches!(fixture.commit(&plan).await, Committed::Applied(_)));
    }
    panic!("the plans do not come to rest");
}

/// Lets the lane run a child, and ends it so, with these outputs.
async fn end(fixture: &Fixture, task: &str, outcome: Outcome, outputs: Value) {
    fixture.dispatch().await;
    let seen = fixture.seen(task).await;
    let mut close = ending(AttemptId { task: seen.uid, number: seen.status.attempt }, outcome, Reason::ToolFailed);
    *close.verdict.outputs = outputs.as_object().unwrap().clone();
    let tool = |name: &str, status| {
        let (name, message, findings) = (name.to_owned(), String::new(), Findings::default());
        ToolReport { name, status, message, findings, permanent: false }
    };
    close.verdict.tools = match outcome {
        Outcome::PartialSuccess => vec![tool("good", ToolStatus::Completed), tool("bad", ToolStatus::Failed)],
        Outcome::Completed => vec![tool("bad", ToolStatus::Completed)],
        _ => Vec::new(),
    };
    assert!(fixture.store.report_ending(close).await.unwrap().is_some());
    fixture.settle(task).await;
}

fn spec_of(fixture: &Fixture, task: &str) -> Value {
    let text: String = fixture.one(&format!("SELECT spec FROM object WHERE kind = 'Task' AND name = '{task}'"));
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_app_that_is_made_of_another_is_registered_as_it_was_worked_out_when_its_task_was_asked_for() {
    for needs in [json!([]), json!(["other"])] {
        let (fixture, run) = study(json!([
            {"name": "first", "analyzer": "lint", "forEach": {"items": ["a"]},
             "produces": {"app": "one-${item}", "path": "made/one-${item}"}, "outputs": ["colour"]},
            {"name": "other", "analyzer": "lint"},
            {"name": "second", "analyzer": "lint", "needs": needs, "forEach": {"appsFrom": "first"},
             "produces": {"app": "two-${app}", "path": "made/two-${app}-${steps.first.outputs.colour}", "labels": {"of": "${app}"}}},
            {"name": "third", "analyzer": "lint", "forEach": {"appsFrom": "second"}},
        ]))
        .await;
        settle(&fixture, &run).await;
        end(&fixture, "study-1_first_a", Outcome::Completed, json!({"colour": "red"})).await;
        end(&fixture, "study-1_other", Outcome::Completed, json!({})).await;
        settle(&fixture, &run).await;
        end(&fixture, "study-1_second_one-a", Outcome::Completed, json!({})).await;
        settle(&fixture, &run).await;
        let path: String = fixture.one("SELECT spec ->> 'path' FROM object WHERE kind = 'App' AND name = 'two-one-a'");
        assert_eq!(path, "made/two-one-a-red");
        assert_eq!(fixture.one::<String>("SELECT labels FROM object WHERE name = 'two-one-a'"), r#"{"of":"one-a"}"#);
        assert_eq!(spec_of(&fixture, "study-1_third_two-one-a")["app"], "two-one-a");
        end(&fixture, "study-1_third_two-one-a", Outcome::Completed, json!({})).await;
        assert_eq!(settle(&fixture, &run).await.status.phase, Phase::Completed);
    }
}

#[tokio::test]
async fn an_app_is_named_by_the_summary_of_an_earlier_step_and_registered_by_it() {
    let (fixture, run) = study(json!([
        {"name": "first", "analyzer": "lint"},
        {"name": "second", "analyzer": "lint", "needs": ["first"],
         "produces": {"app": "made-${steps.first.outputs.succeeded}", "path": "made/${steps.first.outputs.phase}"}},
    ]))
    .await;
    settle(&fixture, &run).await;
    end(&fixture, "study-1_first", Outcome::Completed, json!({})).await;
    settle(&fixture, &run).await;
    end(&fixture, "study-1_second", Outcome::Completed, json!({})).await;
    assert_eq!(settle(&fixture, &run).await.status.phase, Phase::Completed);
    assert_eq!(fixture.one::<String>("SELECT spec ->> 'path' FROM object WHERE name = 'made-1'"), "made/Completed");
}

#[tokio::test]
async fn a_child_that_was_asked_for_before_its_app_was_recorded_comes_to_an_end_all_the_same() {
    let (fixture, run) = study(json!([
        {"name": "first", "analyzer": "lint", "forEach": {"items": ["a"]}, "produces": {"app": "one-${item}", "path": "made/${item}"}},
        {"name": "second", "analyzer": "lint", "forEach": {"appsFrom": "first"}, "produces": {"app": "two-${app}", "path": "made/${app}"}},
    ]))
    .await;
    settle(&fixture, &run).await;
    fixture.sql().execute("UPDATE child SET makes = NULL", []).unwrap();
    end(&fixture, "study-1_first_a", Outcome::Completed, json!({})).await;
    settle(&fixture, &run).await;
    assert_eq!(fixture.one::<i64>("SELECT count(*) FROM object WHERE name = 'one-a'"), 1);
    fixture.sql().execute("UPDATE child SET makes = NULL", []).unwrap();
    end(&fixture, "study-1_second_one-a", Outcome::Completed, json!({})).await;
    assert_eq!(settle(&fixture, &run).await.status.phase, Phase::PartialSuccess);
    assert_eq!(fixture.one::<String>("SELECT conclusion FROM child WHERE step = 'second'"), "AppNotProduced");
}

#[tokio::test]
async fn a_step_that_waits_for_more_than_its_source_goes_on_when_all_of_it_ends_at_the_same_moment() {
    let (fixture, run) = study(json!([
        {"name": "first", "analyzer": "lint", "app": "one"},
        {"name": "other", "analyzer": "lint"},
        {"name": "second", "analyzer": "lint", "needs": ["other"], "forEach": {"appsFrom": "first"}},
    ]))
    .await;
    settle(&fixture, &run).await;
    fixture.create(vec![declare(Kind::App, "one", json!({"path": "one"}))]).await;
    end(&fixture, "study-1_other", Outcome::Completed, json!({})).await;
    end(&fixture, "study-1_first", Outcome::Completed, json!({})).await;
    assert_eq!(settle(&fixture, &run).await.status.phase, Phase::Running);
    end(&fixture, "study-1_second_one", Outcome::Completed, json!({})).await;
    assert_eq!(settle(&fixture, &run).await.status.phase, Phase::Completed);
}

/// The pipeline `inner`, which colours, and `outer`, which runs it with what its first step gave.
async fn nested() -> (Fixture, Uid) {
    let fixture = Fixture::empty();
    let inner = json!({"runPolicy": "Manual", "params": {"colour": {"enum": ["red", "blue"]}}, "steps": [
        {"name": "paint", "analyzer": "lint", "backoffLimit": 0, "config": {"colour": "${params.colour}"}},
        {"name": "dry", "analyzer": "lint", "backoffLimit": 0}]});
    let outer = json!({"runPolicy": "Manual", "steps": [
        {"name": "first", "analyzer": "lint", "outputs": ["colour"]},
        {"name": "second", "pipeline": "inner", "needs": ["first"], "params": {"colour": "${steps.first.outputs.colour}"}}]});
    fixture
        .create(vec![
            declare(Kind::Analyzer, "lint", json!({"command": {"argv": ["true"]}, "capacity": 8})),
            declare(Kind::Pipeline, "inner", inner),
            declare(Kind::Pipeline, "outer", outer),
        ])
        .await;
    let run = make(&fixture, "outer").await;
    (fixture, run)
}

/// Moves a run and those within it on until nothing is left to do for them.
async fn settle_all(fixture: &Fixture, run: &Uid) -> ObservedRun {
    for _ in 0..3 {
        settle(fixture, run).await;
        let inner: Vec<String> = {
            let sql = fixture.sql();
            let mut statement = sql.prepare("SELECT uid FROM run WHERE parent = ?1").unwrap();
            statement.query_map([&run.0], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        for uid in inner {
            settle(fixture, &Uid(uid)).await;
        }
    }
    settle(fixture, run).await
}

async fn retry(fixture: &Fixture, run: &str, steps: &[(&str, RetryMode)]) {
    let modes = steps.iter().map(|(step, mode)| ((*step).to_owned(), *mode)).collect();
    fixture.store.retry_run(run.into(), modes, false).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_run_within_a_run_that_is_asked_for_again_has_the_parameters_of_the_new_round() {
    let (fixture, run) = nested().await;
    settle_all(&fixture, &run).await;
    end(&fixture, "outer-1_first", Outcome::Completed, json!({"colour": "red"})).await;
    settle_all(&fixture, &run).await;
    assert_eq!(spec_of(&fixture, "outer-1_second_paint")["config"]["colour"], "red");
    let inner = vec!["outer-1_second".to_owned()];
    fixture.store.cancel_runs(inner, "not this one".into(), false, false).await.unwrap().unwrap();
    settle_all(&fixture, &run).await;
    for task in ["outer-1_second_paint", "outer-1_second_dry"] {
        fixture.settle(task).await;
    }
    assert_eq!(settle_all(&fixture, &run).await.status.phase, Phase::PartialSuccess);

    retry(&fixture, "outer-1", &[("first", RetryMode::All), ("second", RetryMode::All)]).await;
    settle_all(&fixture, &run).await;
    end(&fixture, "outer-1_first", Outcome::Completed, json!({"colour": "blue"})).await;
    settle_all(&fixture, &run).await;
    assert_eq!(spec_of(&fixture, "outer-1_second_paint")["config"]["colour"], "blue");
    assert_eq!(fixture.one::<String>("SELECT cancel_message FROM run WHERE name = 'outer-1_second'"), "");
    for task in ["outer-1_second_paint", "outer-1_second_dry"] {
        end(&fixture, task, Outcome::Completed, json!({})).await;
    }
    assert_eq!(settle_all(&fixture, &run).await.status.phase, Phase::Completed);

    // Parameters that it cannot have are its failure, in the new round too.
    retry(&fixture, "outer-1", &[("first", RetryMode::All), ("second", RetryMode::All)]).await;
    settle_all(&fixture, &run).await;
    end(&fixture, "outer-1_first", Outcome::Completed, json!({"colour": "green"})).await;
    assert_eq!(settle_all(&fixture, &run).await.status.phase, Phase::PartialSuccess);
    let reason: String = fixture.one("SELECT reason || ' ' || message FROM run WHERE name = 'outer-1_second'");
    assert!(reason.starts_with("InvalidConfiguration") && reason.contains("green"), "{reason}");
}

#[tokio::test]
async fn what_succeeded_within_a_run_is_kept_when_only_what_failed_is_tried_again() {
    let (fixture, run) = nested().await;
    settle_all(&fixture, &run).await;
    end(&fixture, "outer-1_first", Outcome::Completed, json!({"colour": "red"})).await;
    settle_all(&fixture, &run).await;
    end(&fixture, "outer-1_second_paint", Outcome::Completed, json!({})).await;
    end(&fixture, "outer-1_second_dry", Outcome::Failed, json!({})).await;
    assert_eq!(settle_all(&fixture, &run).await.status.phase, Phase::PartialSuccess);
    retry(&fixture, "outer-1", &[("first", RetryMode::Bad), ("second", RetryMode::Bad)]).await;
    settle_all(&fixture, &run).await;
    assert_eq!(fixture.one::<i64>("SELECT count(*) FROM task WHERE phase = 'Pending'"), 1);
    end(&fixture, "outer-1_second_dry", Outcome::Completed, json!({})).await;
    assert_eq!(settle_all(&fixture, &run).await.status.phase, Phase::Completed);
}

#[tokio::test]
async fn a_rerun_runs_the_pipelines_within_it_as_the_older_run_did_and_the_latest_as_they_are_now() {
    let (fixture, run) = nested().await;
    let inner =
        json!({"runPolicy": "Manual", "params": {"colour": "red"}, "steps": [{"name": "other", "analyzer": "lint"}]});
    fixture.respecify(declare(Kind::Pipeline, "inner", inner), 2).await;
    settle_all(&fixture, &run).await;
    fixture.sql().execute("UPDATE run SET phase = 'Cancelled', reason = 'RunCancelled', finished_at = 1", []).unwrap();
    for (number, latest, tasks) in [(1, false, "dry paint"), (2, true, "other")] {
        fixture.store.rerun("outer-1".into(), Map::new(), latest, false, NOW).await.unwrap().unwrap();
        let name = fixture.one::<String>("SELECT name FROM run WHERE cause = 'Rerun' ORDER BY name DESC LIMIT 1");
        assert_eq!(fixture.one::<i64>("SELECT count(*) FROM run WHERE cause = 'Rerun'"), number);
        let again = Uid(fixture.one(&format!("SELECT uid FROM run WHERE name = '{name}'")));
        settle_all(&fixture, &again).await;
        end(&fixture, &format!("{name}_first"), Outcome::Completed, json!({"colour": "red"})).await;
        settle_all(&fixture, &again).await;
        let made: String = fixture.one(&format!(
            "SELECT group_concat(step, ' ') FROM (SELECT c.step FROM child c JOIN run r ON r.uid = c.run
             WHERE r.name = '{name}_second' ORDER BY c.step)"
        ));
        assert_eq!(made, tasks, "latest: {latest}");
        fixture.sql().execute("UPDATE run SET phase = 'Cancelled', reason = 'RunCancelled', finished_at = 1 WHERE finished_at IS NULL", []).unwrap();
    }
}

#[tokio::test]
async fn a_run_of_a_pipeline_that_comes_later_waits_for_it_and_begins_when_it_is_there() {
    let fixture = Fixture::empty();
    let step = |name: &str| json!({"runPolicy": "Manual", "steps": [{"name": "s", "pipeline": name}]});
    fixture.create(vec![declare(Kind::Pipeline, "outer", step("middle"))]).await;
    let run = make(&fixture, "outer").await;
    let status = settle(&fixture, &run).await.status;
    assert_eq!((status.phase, status.reason), (Phase::Pending, Reason::PipelineNotFound));
    assert!(status.message.contains("\"middle\""), "{}", status.message);
    // It comes, and names another that is not there yet.
    let came = fixture.create(vec![declare(Kind::Pipeline, "middle", step("inner"))]).await;
    assert!(came.woken.contains(&Key::Run(run.clone())), "{:?}", came.woken);
    assert!(settle(&fixture, &run).await.status.message.contains("\"inner\""));
    let lint = json!({"runPolicy": "Manual", "steps": [{"name": "s", "analyzer": "lint"}]});
    let came = fixture.create(vec![declare(Kind::Pipeline, "inner", lint)]).await;
    assert!(came.woken.contains(&Key::Run(run.clone())), "{:?}", came.woken);
    assert_eq!(settle_all(&fixture, &run).await.status.phase, Phase::Running);
    let middle = Uid(fixture.one("SELECT uid FROM run WHERE name = 'outer-1_s'"));
    settle_all(&fixture, &middle).await;
    assert_eq!(fixture.one::<i64>("SELECT count(*) FROM task WHERE name = 'outer-1_s_s_s'"), 1);
}

#[tokio::test]
async fn a_run_of_pipelines_that_run_each_other_fails_at_once_and_says_which() {
    let fixture = Fixture::empty();
    let step = |name: &str| json!({"runPolicy": "Manual", "steps": [{"name": "s", "pipeline": name}]});
    let declared =
        [("outer", "a"), ("a", "b"), ("b", "a")].map(|(name, runs)| declare(Kind::Pipeline, name, step(runs)));
    fixture.create(declared.into()).await;
    let run = make(&fixture, "outer").await;
    let status = settle(&fixture, &run).await.status;
    assert_eq!((status.phase, status.reason), (Phase::Failed, Reason::InvalidConfiguration));
    assert!(status.message.ends_with("a -> b -> a"), "{}", status.message);
    assert_eq!(fixture.one::<i64>("SELECT count(*) FROM run"), 1);
}

#[tokio::test]
async fn an_app_that_would_lie_outside_of_the_roots_is_refused_before_anything_runs() {
    let (fixture, run) = study(json!([
        {"name": "first", "analyzer": "lint", "forEach": {"items": ["../x", "inside", "a\\b"]}, "produces": {"app": "one", "path": "${item}/one"}},
    ]))
    .await;
    let mut seen = settle(&fixture, &run).await;
    assert_eq!(fixture.one::<i64>("SELECT count(*) FROM task WHERE phase = 'Pending'"), 1);
    // The same again, where the runtime has told of roots.
    seen.steps[0].next_item = 0;
    seen.steps[0].open.clear();
    seen.roots = vec!["made".into()];
    let asked = RunReconciler::plan(&seen, NOW).writes;
    let refused: Vec<String> = asked
        .into_iter()
        .filter_map(|write| match write {
            Write::AskChild(ask) => Some(format!("{:?}", ask.what)),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 3);
    assert!(
        refused[1].contains("Broken") && refused[1].contains("lies outside the roots; they are: made"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_comes_later_by_itself_has_deadlines_decisions_suspensions_and_slots() {
    let fixture = Fixture::empty();
    let asks = json!({"runPolicy": "Manual", "activeDeadlineSeconds": 900, "steps": [{"name": "ask", "approval": {"timeout": "10m"}}]});
    let waits =
        json!({"runPolicy": "Manual", "activeDeadlineSeconds": 900, "steps": [{"name": "ask", "approval": {}}]});
    let hourly =
        json!({"runPolicy": "Manual", "schedule": {"cron": "0 * * * *"}, "steps": [{"name": "ask", "approval": {}}]});
    let names =
        [("asks", asks), ("waits", waits), ("hourly", hourly.clone()), ("held", hourly.clone()), ("never", hourly)];
    fixture.create(names.map(|(name, spec)| declare(Kind::Pipeline, name, spec)).into()).await;
    for pipeline in ["asks", "waits"] {
        settle(&fixture, &make(&fixture, pipeline).await).await;
    }
    let held = |until| Suspension { reason: String::new(), by: "me".into(), at: NOW, until };
    let minutes = |minutes| NOW.plus(Span::minutes(minutes));
    fixture.store.suspend("pipeline/held".into(), held(Some(minutes(5))), false).await.unwrap().unwrap();
    fixture.store.suspend("pipeline/never".into(), held(None), false).await.unwrap().unwrap();
    let due = |name: &str, reason: &str, at| (name.to_owned(), reason.to_owned(), at);
    let expected = [
        due("pipeline/held", "Suspended", minutes(5)),
        due("run/asks-1", "WaitingForApproval", minutes(10)),
        due("run/waits-1", "WaitingForApproval", minutes(15)),
        due("pipeline/hourly", "Schedule", minutes(60)),
    ];
    assert_eq!(fixture.store.due(10, NOW).await.unwrap(), expected);
    assert_eq!(fixture.store.due(2, NOW).await.unwrap(), expected[..2]);
    // What is told follows what is so.
    fixture.store.suspend("run/waits-1".into(), held(Some(minutes(1))), false).await.unwrap().unwrap();
    settle(&fixture, &Uid(fixture.one("SELECT uid FROM run WHERE name = 'waits-1'"))).await;
    assert_eq!(fixture.store.due(1, NOW).await.unwrap(), [due("run/waits-1", "Suspended", minutes(1))]);
}

#[tokio::test]
async fn what_the_attempts_of_a_round_give_is_taken_together_and_the_latest_word_counts() {
    let (fixture, run) = study(json!([
        {"name": "first", "analyzer": "lint", "outputs": ["colour", "size"]},
        {"name": "second", "analyzer": "lint", "needs": ["first"], "config": {"is": "${steps.first.outputs.colour} ${steps.first.outputs.size}"}},
    ]))
    .await;
    settle(&fixture, &run).await;
    end(&fixture, "study-1_first", Outcome::PartialSuccess, json!({"colour": "red", "size": 1})).await;
    fixture.sql().execute("UPDATE task SET next_at = NULL, reason = 'Queued' WHERE phase = 'Pending'", []).unwrap();
    end(&fixture, "study-1_first", Outcome::Completed, json!({"size": 2})).await;
    assert_eq!(fixture.seen("study-1_first").await.status.attempt, 2);
    settle(&fixture, &run).await;
    assert_eq!(spec_of(&fixture, "study-1_second")["config"]["is"], "red 2");
    end(&fixture, "study-1_second", Outcome::Completed, json!({})).await;
    settle(&fixture, &run).await;
    // Another round owes nothing to the one before.
    retry(&fixture, "study-1", &[("first", RetryMode::All)]).await;
    settle(&fixture, &run).await;
    end(&fixture, "study-1_first", Outcome::Completed, json!({"size": 3})).await;
    settle(&fixture, &run).await;
    assert_eq!(fixture.one::<String>("SELECT conclusion FROM child WHERE step = 'first'"), "OutputMissing");
}

#[tokio::test]
async fn a_dry_run_of_a_retry_tells_of_every_step_what_the_retry_then_does() {
    let (fixture, run) = study(json!([
        {"name": "first", "analyzer": "lint", "backoffLimit": 0, "forEach": {"items": ["a", "b", "c"]}, "app": "app-${item}"},
        {"name": "each", "analyzer": "lint", "backoffLimit": 0, "forEach": {"appsFrom": "first"}},
        {"name": "all", "analyzer": "lint", "needs": ["first"], "when": [{"step": "first", "phases": ["Completed"]}], "forEach": {"range": {"from": 1, "to": 4}}},
        {"name": "agree", "approval": {}, "needs": ["all"]},
        {"name": "other", "analyzer": "lint"},
    ]))
    .await;
    let apps = ["a", "b", "c"].map(|item| declare(Kind::App, &format!("app-{item}"), json!({"path": item})));
    fixture.create(apps.into()).await;
    settle(&fixture, &run).await;
    for (item, outcome) in [("a", Outcome::Completed), ("b", Outcome::Failed), ("c", Outcome::Completed)] {
        end(&fixture, &format!("study-1_first_{item}"), outcome, json!({})).await;
    }
    end(&fixture, "study-1_other", Outcome::Completed, json!({})).await;
    settle(&fixture, &run).await;
    end(&fixture, "study-1_each_app-a", Outcome::Completed, json!({})).await;
    end(&fixture, "study-1_each_app-c", Outcome::Failed, json!({})).await;
    assert_eq!(settle(&fixture, &run).await.status.phase, Phase::PartialSuccess);

    let modes = || ["first", "each", "all", "agree", "other"].map(|step| (step.to_owned(), RetryMode::Bad)).into();
    let told = fixture.store.retry_run("study-1".into(), modes(), true).await.unwrap().unwrap();
    let lines: Vec<String> = told.iter().map(|line| format!("{}: {}", line.name, line.message)).collect();
    assert_eq!(
        lines,
        [
            "study-1: round 2 would begin",
            "first: would run 1 of its 3 children again",
            "each: would run 1 of its 2 children again, and run for every app that step first has then and had not",
            "all: would run 4 items that never began, if its `when` holds",
            "agree: would ask a person again, once what it needs has ended",
            "other: keeps what it has",
        ]
        .map(str::to_owned)
    );
    let done = fixture.store.retry_run("study-1".into(), modes(), false).await.unwrap().unwrap();
    assert_eq!(done.len(), told.len());
    assert!(done.iter().zip(&told).skip(1).all(|(done, told)| told.message.replace("would ", "will ") == done.message));
    settle(&fixture, &run).await;
    let pending = "SELECT group_concat(name, ' ') FROM (SELECT name FROM task WHERE phase = 'Pending' ORDER BY name)";
    assert_eq!(fixture.one::<String>(pending), "study-1_first_b");
    end(&fixture, "study-1_first_b", Outcome::Completed, json!({})).await;
    settle(&fixture, &run).await;
    let all = (1..=4).map(|item| format!("study-1_all_{item} ")).collect::<String>();
    assert_eq!(fixture.one::<String>(pending), format!("{all}study-1_each_app-b study-1_each_app-c"));
}

#[tokio::test]
async fn children_that_are_queued_have_turns_one_behind_the_other() {
    let (fixture, run) =
        study(json!([{"name": "first", "analyzer": "lint", "forEach": {"items": ["a", "b", "c"]}}])).await;
    settle(&fixture, &run).await;
    let turns: String = fixture
        .one("SELECT group_concat(turn, ' ' ORDER BY turn) FROM task WHERE reason = 'Queued' AND run IS NOT NULL");
    assert_eq!(turns, "1 2 3");
}
