//! Analyzers that answer in good form, and have not done the work: error frames in each of their shapes, and successes without proof.

use manifestd::resource::outcome::Outcome::{Completed, Failed};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::scene::{More, ONCE, Scene, TWICE};
use crate::support::misbehaving::{Behaviour, Gate, static_result};

/// Error frames, and what a person is told of each. All of them end with a close, but for the last two, after which the connection stays open
/// as after an unknown type and after broken JSON.
fn errors() -> Vec<(&'static str, Behaviour, &'static str)> {
    let close = Behaviour::Answers;
    let stay = |frame: Value| Behaviour::Says(vec![Message::text(frame.to_string())]);
    vec![
        ("message", close(json!({"type": "error", "message": "no disk"})), "no disk"),
        ("error", close(json!({"type": "error", "error": "no memory"})), "no memory"),
        ("inner-message", close(json!({"type": "error", "error": {"message": "no luck"}})), "no luck"),
        ("inner-data", close(json!({"type": "error", "data": {"error": "no data"}})), "no data"),
        (
            "inner-analysis",
            close(json!({"type": "error", "analysis": {"status": "error", "error": "no app"}})),
            "no app",
        ),
        ("no-text", close(json!({"type": "error"})), "no reason given"),
        ("odd-text", close(json!({"type": "error", "message": 7})), "no reason given"),
        ("code", close(json!({"type": "error", "code": "failed", "message": "no\u{1b}[31m\nway"})), "no [31m way"),
        ("unknown-type", stay(json!({"type": "error", "message": "Unknown message type: x"})), "Unknown message type"),
        ("broken-json", stay(json!({"type": "error", "message": "Invalid JSON format"})), "Invalid JSON format"),
    ]
}

/// Successes by their outer status in which `ruff` is not known to have run, and the word that says so of it.
fn empty_successes() -> Vec<(&'static str, Value)> {
    let python = |tool: Value| {
        json!({"type": "static_analysis_result", "status": "success",
            "analysis": {"analysis_status": "completed", "results": {"python": tool}}})
    };
    vec![
        ("no-analysis", json!({"type": "static_analysis_result", "status": "success"})),
        ("null-analysis", json!({"type": "static_analysis_result", "status": "success", "analysis": null})),
        (
            "no-tools-used",
            json!({"type": "static_analysis_result", "status": "success",
            "analysis": {"analysis_status": "completed", "tools_used": [], "total_issues": 0, "results": {}}}),
        ),
        ("other-tool", static_result("bandit", 3)),
        (
            "not-available",
            python(json!({"ruff": {"executed": false, "status": "not_available", "error": "not found"}})),
        ),
        ("not-executed", python(json!({"ruff": {"executed": false, "status": "success", "total_issues": 0}}))),
        ("no-status", python(json!({"ruff": {"executed": true, "total_issues": 0}}))),
        ("not-an-object", python(json!({"ruff": "success"}))),
        (
            "other-service",
            json!({"type": "dynamic_analysis_result", "status": "success", "analysis": {"tool_results": {}}}),
        ),
    ]
}

#[test]
fn an_error_is_a_failure_in_whatever_shape_it_comes_and_its_text_is_told() {
    for chunk in errors().chunks(5) {
        let gate = Gate::new();
        // The requests come in the order in which the tasks are given, as none of them ends before the gate opens.
        let turns = chunk.iter().map(|(_, behaviour, _)| Behaviour::Then(gate.clone(), Box::new(behaviour.clone())));
        let more = More { analyzer: "capacity: 8, breaker: {openAfterFailures: 1000}", ..More::default() };
        let mut scene = Scene::new(Behaviour::InTurn(turns.collect()), &more);
        for (name, ..) in chunk {
            scene.give(name, ONCE);
            scene.request();
        }
        scene.neighbours_run_beside(chunk[0].0);
        gate.open();
        for (name, _, text) in chunk {
            let ended = scene.ends(name, Phase::Failed, Reason::AnalyzerError, &[Failed]);
            assert!(ended.message.contains(text), "{name}: {}", ended.message);
            assert!(ended.message.contains("answered with an error"), "{name}: {}", ended.message);
        }
        scene.stop();
    }
}

#[test]
fn an_error_is_retried_and_the_next_attempt_may_succeed() {
    let turns = vec![
        Behaviour::Answers(json!({"type": "error", "message": "busy"})),
        Behaviour::Answers(static_result("ruff", 0)),
    ];
    let scene = Scene::new(Behaviour::InTurn(turns), &More::default());
    scene.give("bad", TWICE);
    scene.ends("bad", Phase::Completed, Reason::AllToolsRan, &[Failed, Completed]);
    scene.stop();
}

#[test]
fn a_success_that_does_not_tell_of_the_tool_is_none_even_if_it_is_said_twice() {
    let cases = empty_successes();
    let gate = Gate::new();
    let answers =
        cases.iter().map(|(_, frame)| Behaviour::Then(gate.clone(), Box::new(Behaviour::Answers(frame.clone()))));
    let more = More { analyzer: "capacity: 16", ..More::default() };
    let mut scene = Scene::new(Behaviour::InTurn(answers.collect()), &more);
    for (name, _) in &cases {
        scene.give(name, TWICE);
        scene.request();
    }
    scene.neighbours_run_beside(cases[0].0);
    gate.open();
    for (name, frame) in &cases {
        // What is known not to be installed is not asked for again.
        let outcomes = if *name == "not-available" { &[Failed][..] } else { &[Failed, Failed] };
        let ended = scene.ends(name, Phase::Failed, Reason::ToolNotRun, outcomes);
        assert!(ended.message.contains("ruff did not run"), "{name}: {}", ended.message);
        // What it said is kept, so that a person can see it.
        assert_eq!(&scene.result(ended.results[0].as_ref().unwrap()), frame, "{name}");
    }
    scene.stop();
}
