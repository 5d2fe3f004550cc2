//! Analyzers that take a request and break the connection or the protocol: one retry each, and then the reason that says what broke.

use manifestd::resource::outcome::Outcome::{Completed, ProtocolError};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::scene::{Ended, More, Scene, TWICE};
use crate::support::misbehaving::{Behaviour, Gate, static_result};

/// Has the analyzer break two requests in the same way, the first of them once tasks beside it have run. Its message.
fn breaks_twice(behaviour: Behaviour, reason: Reason) -> String {
    let gate = Gate::new();
    let mut scene = Scene::new(Behaviour::Then(gate.clone(), Box::new(behaviour)), &More::default());
    scene.give("bad", TWICE);
    scene.request();
    scene.neighbours_run_beside("bad");
    gate.open();
    let Ended { message, .. } = scene.ends("bad", Phase::Failed, reason, &[ProtocolError, ProtocolError]);
    scene.stop();
    message
}

/// Has the analyzer do something with a request that is as good as a proper answer.
fn succeeds(behaviour: Behaviour) {
    let gate = Gate::new();
    let mut scene = Scene::new(Behaviour::Then(gate.clone(), Box::new(behaviour)), &More::default());
    scene.give("bad", TWICE);
    scene.request();
    scene.neighbours_run_beside("bad");
    gate.open();
    let ended = scene.ends("bad", Phase::Completed, Reason::AllToolsRan, &[Completed]);
    let result = scene.result(ended.results[0].as_ref().unwrap());
    assert_eq!(result, static_result("ruff", 1), "another frame than the first result was stored");
    scene.stop();
}

#[test]
fn a_connection_that_is_dropped_in_the_middle_of_a_frame() {
    let message = breaks_twice(Behaviour::DropsMidFrame, Reason::ConnectionLost);
    assert!(message.contains("after 2 failures"), "{message}");
}

#[test]
fn a_connection_that_is_reset() {
    breaks_twice(Behaviour::Resets, Reason::ConnectionLost);
}

#[test]
fn a_close_in_good_order_without_a_result() {
    let message = breaks_twice(Behaviour::ClosesWithoutResult, Reason::ProtocolError);
    assert!(message.contains("1000") && message.contains("Analysis complete"), "{message}");
}

#[test]
fn bytes_that_are_not_websocket() {
    // Reserved bits and an opcode that nobody knows (RFC 6455, section 5.2), then noise that is the same in every run.
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    breaks_twice(Behaviour::Writes([&[0xFF, 0xFF][..], &noise].concat()), Reason::ProtocolError);
}

#[test]
fn half_json_without_end() {
    let message = breaks_twice(Behaviour::Garbage, Reason::ProtocolError);
    assert!(message.contains("not JSON objects"), "{message}");
}

#[test]
fn json_that_is_no_object_and_binary_noise_are_overlooked_before_a_result() {
    succeeds(Behaviour::Says(vec![
        Message::text("{\"type\": \"static_analysis_res"),
        Message::text("[1, 2]"),
        Message::text("\"static_analysis_result\""),
        Message::text("null"),
        Message::text(""),
        Message::binary(vec![0, 159, 146, 150]),
        Message::text(json!({"status": "success"}).to_string()),
        Message::text(json!({"type": ["static_analysis_result"]}).to_string()),
        Message::text(static_result("ruff", 1).to_string()),
    ]));
}

#[test]
fn a_result_wins_over_the_reset_behind_it() {
    succeeds(Behaviour::AnswersThenResets(static_result("ruff", 1)));
}

#[test]
fn of_two_results_the_first_counts() {
    succeeds(Behaviour::AnswersTwice(static_result("ruff", 1), static_result("ruff", 7)));
}

#[test]
fn an_error_behind_a_result_takes_nothing_away() {
    succeeds(Behaviour::AnswersTwice(static_result("ruff", 1), json!({"type": "error", "message": "too late"})));
}
