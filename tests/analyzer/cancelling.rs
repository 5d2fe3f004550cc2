//! Requests with an attempt token that are stopped: by their id, by their token, and by the end of the analyzer.

use serde_json::{Value, json};

use crate::client::{Held, Running, attempt, built_ins, close_of, soon, until_gone};

fn assert_cancelled(frame: &Value, id: &str) {
    let (code, message) = (&frame["code"], &frame["message"]);
    assert_eq!((code, message), (&json!("cancelled"), &json!("cancelled on request")), "{frame}");
    assert_eq!((&frame["type"], &frame["correlation_id"]), (&json!("error"), &json!(id)));
}

#[tokio::test]
async fn a_cancel_stops_the_programs_first_and_answers_then() {
    let (running, held) = Held::start().await;
    let mut client = running.client().await;
    client.send(attempt("a", "t", json!(["held"]))).await;
    client.frame().await;
    let group = held.until_it_runs().await;
    client.send(attempt("b", "other", json!(["noop"]))).await;
    client.frames_of("b").await;
    client.send(json!({ "type": "cancel_request", "id": "a" })).await;
    assert_cancelled(&client.frame().await, "a");
    assert!(rustix::process::test_kill_process_group(group).is_err(), "the program still runs");
    // The token is forgotten: it runs anew.
    client.send(attempt("a", "t", json!(["held"]))).await;
    assert_eq!(client.frame().await["attached"], false);
    held.until_it_runs().await;
    held.let_go().await;
    assert!(client.frames_of("a").await.last().unwrap()["analysis"].is_object());
    assert_eq!(client.health().await["analyses_started"], 3);
}

#[tokio::test]
async fn a_client_that_comes_back_cancels_by_the_token_and_everybody_hears_of_it() {
    let (running, held) = Held::start().await;
    let mut first = running.client().await;
    first.send(attempt("a", "t", json!(["held"]))).await;
    first.frame().await;
    let group = held.until_it_runs().await;
    let mut second = running.client().await;
    second.send(json!({ "type": "cancel_request", "attempt_token": "t", "id": "stop" })).await;
    let answer = second.frame().await;
    assert_cancelled(&answer, "stop");
    assert_eq!(answer["attempt_token"], "t");
    assert_cancelled(&first.frame().await, "a");
    until_gone(group).await;
    second.send(json!({ "type": "cancel_request", "attempt_token": "t" })).await;
    let answer = second.frame().await;
    assert_eq!((&answer["code"], &answer["attempt_token"]), (&json!("unknown_request"), &json!("t")));
    assert_eq!(answer.get("correlation_id"), None);
}

#[tokio::test]
async fn what_waits_for_its_turn_is_cancelled_as_well() {
    let running = Running::start(built_ins(), 1).await;
    running.app("m/app1", &[]);
    let mut client = running.client().await;
    for id in ["a", "b"] {
        let mut ask = attempt(id, id, json!(["noop"]));
        ask["config"] = json!({ "noop": { "delayMs": 600_000 } });
        client.send(ask).await;
        client.frame().await;
    }
    for id in ["b", "a"] {
        client.send(json!({ "type": "cancel_request", "id": id })).await;
        assert_cancelled(&client.frame().await, id);
    }
    assert_eq!(client.health().await["running"], 0);
}

#[tokio::test]
async fn a_cancel_of_what_does_not_run_says_so() {
    let (running, held) = Held::start().await;
    let mut client = running.client().await;
    client.send(json!({ "type": "cancel_request", "id": "nothing" })).await;
    let answer = client.frame().await;
    assert_eq!((&answer["code"], &answer["correlation_id"]), (&json!("unknown_request"), &json!("nothing")));
    client.send(json!({ "type": "cancel_request" })).await;
    assert_eq!(client.frame().await["code"], "invalid_request");
    client.send(attempt("a", "t", json!(["held"]))).await;
    client.frame().await;
    held.until_it_runs().await;
    // An id of another connection is not this one's to stop.
    let mut other = running.client().await;
    other.send(json!({ "type": "cancel_request", "id": "a" })).await;
    assert_eq!(other.frame().await["code"], "unknown_request");
    // Nor is an id beside the token of something else.
    client.send(json!({ "type": "cancel_request", "id": "a", "attempt_token": "another" })).await;
    let answer = client.frame().await;
    assert_eq!((&answer["code"], answer.get("correlation_id")), (&json!("invalid_request"), None));
    held.let_go().await;
    let frames = client.frames_of("a").await;
    assert!(frames.last().unwrap()["analysis"].is_object(), "it went on");
    // Once the answer is out, there is nothing to cancel, and the answer stays.
    client.send(json!({ "type": "cancel_request", "attempt_token": "t" })).await;
    assert_eq!(client.frame().await["code"], "unknown_request");
    client.send(attempt("a", "t", json!(["held"]))).await;
    assert_eq!(client.frames_of("a").await[0]["attached"], true);
}

#[tokio::test]
async fn a_shutdown_stops_attempts_whose_client_has_left() {
    let (mut running, held) = Held::start().await;
    let mut first = running.client().await;
    first.send(attempt("a", "t", json!(["held"]))).await;
    let group = held.until_it_runs().await;
    drop(first);
    let mut second = running.client().await;
    second.send(attempt("b", "t", json!(["held"]))).await;
    second.frame().await;
    running.shutdown.cancel();
    let (_, end) = second.rest().await;
    assert_eq!(close_of(end).0, 1001);
    // A client that answers no close is waited for; this one goes.
    drop(second);
    until_gone(group).await;
    soon(running.server.join_next()).await.unwrap().unwrap().unwrap();
}
