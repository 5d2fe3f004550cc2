//! Requests with an attempt token: many on one connection, and analyses that outlive the connection they were asked on.

use std::collections::BTreeMap;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Held, Running, attempt, built_ins, close_of, is_last, request, until_gone};

/// Leaves without a word, as a client does that is killed.
async fn vanish(client: Client) {
    drop(client);
}

#[tokio::test]
async fn fifty_requests_share_one_connection_and_every_frame_names_its_own() {
    let running = Running::start(built_ins(), 4).await;
    for n in 0..50 {
        running.app(&format!("m/app{n}"), &[]);
    }
    let mut client = running.client().await;
    for n in 0..50 {
        let mut ask = attempt(&format!("id-{n}"), &format!("token-{n}"), json!(["noop"]));
        ask["app_number"] = json!(n);
        ask["config"] = json!({ "noop": { "delayMs": (50 - n) % 7 } });
        client.send(ask).await;
    }
    client.send(json!({ "type": "ping" })).await;
    let mut frames: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let (mut ended, mut pongs) = (0, 0);
    while ended < 50 || pongs == 0 {
        let frame = client.frame().await;
        match frame["correlation_id"].as_str() {
            Some(id) => {
                ended += usize::from(is_last(&frame));
                frames.entry(id.to_owned()).or_default().push(frame);
            }
            None => {
                assert_eq!(frame["type"], "pong");
                pongs += 1;
            }
        }
    }
    for n in 0..50 {
        let own = &frames[&format!("id-{n}")];
        let (first, last) = (&own[0], own.last().unwrap());
        assert_eq!((&first["type"], &first["stage"]), (&json!("status_update"), &json!("started")));
        assert_eq!((&first["attached"], &first["analysis_id"]), (&json!(false), &json!(format!("id-{n}"))));
        assert_eq!((&last["type"], &last["analysis"]["app_number"]), (&json!("static_analysis_result"), &json!(n)));
        assert_eq!(last["analysis"]["summary"]["analysis_status"], "completed");
        assert!(own[1..own.len() - 1].iter().all(|frame| frame["type"] == "progress_update"), "{own:?}");
    }
    let health = client.health().await;
    assert_eq!((&health["running"], &health["analyses_started"]), (&json!(0), &json!(50)));
}

#[tokio::test]
async fn the_connection_stays_open_after_results_and_errors() {
    let running = Running::start(built_ins(), 2).await;
    running.app("m/app1", &[]);
    let mut client = running.client().await;
    client.send(attempt("a", "t1", json!(["noop"]))).await;
    let frames = client.frames_of("a").await;
    let types: Vec<&Value> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(types, ["status_update", "progress_update", "static_analysis_result"]);
    let mut bad = attempt("b", "t2", json!(["noop"]));
    bad["model_slug"] = json!("../m");
    let mut unknown = attempt("c", "t3", json!(["noop"]));
    unknown["type"] = json!("guess");
    for (ask, id) in [(bad, "b"), (unknown, "c"), (attempt("d", "", json!([])), "d")] {
        client.send(ask).await;
        let error = client.frame().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("invalid_request")), "{error}");
        assert_eq!(error["correlation_id"], id);
    }
    client.send(json!({ "type": "static_analyze", "attempt_token": "t", "model_slug": "m", "app_number": 1 })).await;
    let error = client.frame().await;
    assert_eq!((&error["code"], error.get("correlation_id")), (&json!("invalid_request"), None), "there is no id");
    // The id of a request that has ended is free again.
    client.send(attempt("a", "t4", json!(["noop"]))).await;
    assert_eq!(client.frames_of("a").await[0]["attached"], false);
    // A base request on the same connection is answered as on any other, and ends it.
    client.send(request(json!(["noop"]))).await;
    let (frames, end) = client.rest().await;
    assert_eq!((frames.len(), close_of(end)), (3, (1000, "Analysis complete".into())));
}

#[tokio::test]
async fn an_id_that_is_in_flight_is_refused_and_its_request_goes_on() {
    let (running, held) = Held::start().await;
    let mut client = running.client().await;
    client.send(attempt("a", "t1", json!(["held"]))).await;
    assert_eq!(client.frame().await["stage"], "started");
    client.send(attempt("a", "t2", json!(["noop"]))).await;
    let error = client.frame().await;
    assert_eq!((&error["code"], error.get("correlation_id")), (&json!("duplicate_id"), None));
    held.until_it_runs().await;
    held.let_go().await;
    assert_eq!(client.frames_of("a").await.last().unwrap()["analysis"]["tools_used"], json!(["held"]));
}

#[tokio::test]
async fn a_client_that_comes_back_while_it_runs_gets_the_frames_and_nothing_runs_twice() {
    let (running, held) = Held::start().await;
    let mut first = running.client().await;
    first.send(attempt("a", "t", json!(["held"]))).await;
    first.frame().await;
    held.until_it_runs().await;
    vanish(first).await;
    let mut second = running.client().await;
    second.send(attempt("b", "t", json!(["held"]))).await;
    let started = second.frame().await;
    assert_eq!((&started["attached"], &started["correlation_id"]), (&json!(true), &json!("b")));
    // A third one is told the same, under its own id.
    let mut third = running.client().await;
    third.send(attempt("c", "t", json!(["held"]))).await;
    assert_eq!(third.frame().await["attached"], true);
    assert_eq!(third.health().await["running"], 1);
    held.let_go().await;
    for (client, id) in [(&mut second, "b"), (&mut third, "c")] {
        let frames = client.frames_of(id).await;
        assert_eq!(frames[0]["type"], "progress_update");
        assert_eq!(frames.last().unwrap()["analysis"]["summary"]["analysis_status"], "completed");
    }
    assert_eq!(second.health().await["analyses_started"], 1);
}

#[tokio::test]
async fn a_client_that_left_finds_its_answer_later_as_often_as_it_asks() {
    let (running, held) = Held::start().await;
    let mut first = running.client().await;
    first.send(attempt("a", "t", json!(["held"]))).await;
    held.until_it_runs().await;
    vanish(first).await;
    held.let_go().await;
    let mut later = running.client().await;
    while later.health().await["running"] != 0 {}
    let mut results = Vec::new();
    for id in ["b", "c"] {
        later.send(attempt(id, "t", json!(["held"]))).await;
        let frames = later.frames_of(id).await;
        assert_eq!((frames.len(), &frames[0]["attached"]), (2, &json!(true)));
        results.push(frames[1]["analysis"].clone());
    }
    assert_eq!(results[0]["summary"]["analysis_status"], "completed");
    assert_eq!(results[0], results[1]);
    assert_eq!(later.health().await["analyses_started"], 1);
}

#[tokio::test]
async fn a_client_of_the_base_protocol_that_leaves_takes_its_analysis_with_it() {
    let (running, held) = Held::start().await;
    let mut base = running.client().await;
    base.send(request(json!(["held"]))).await;
    let group = held.until_it_runs().await;
    let mut other = running.client().await;
    assert_eq!(other.health().await["running"], 1);
    vanish(base).await;
    until_gone(group).await;
    while other.health().await["running"] != 0 {}
}

#[tokio::test]
async fn a_token_stands_for_one_request_while_it_runs_and_after() {
    let (running, held) = Held::start().await;
    let mut client = running.client().await;
    client.send(attempt("a", "t", json!(["held"]))).await;
    client.frame().await;
    held.until_it_runs().await;
    let mut other_app = attempt("b", "t", json!(["held"]));
    other_app["app_number"] = json!(2);
    let mut other_config = attempt("c", "t", json!(["held"]));
    other_config["config"] = json!({ "held": { "x": 1 } });
    for ask in [&other_app, &other_config, &attempt("d", "t", json!(["noop"]))] {
        client.send(ask.clone()).await;
        let error = client.frame().await;
        assert_eq!((&error["code"], &error["correlation_id"]), (&json!("token_conflict"), &ask["id"]));
    }
    held.let_go().await;
    client.frames_of("a").await;
    client.send(other_app).await;
    assert_eq!(client.frame().await["code"], "token_conflict");
    assert_eq!(client.health().await["analyses_started"], 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_and_still_gets_its_results() {
    // Far more than the system buffers for one connection.
    let script = "head -c 8000000 /dev/zero | tr '\\0' 'x' | sed 's/^/[\"/; s/$/\"]/'";
    let tools = "tools:\n- {name: huge, detect: ['true'], argv: [BIN/huge], output: json}\n";
    let (running, _bin) = Running::with_scripts(&[("huge", script)], tools, 4).await;
    running.app("m/app1", &[]);
    running.app("m/app1/a", &[("a.py", "")]);
    let mut slow = running.client().await;
    for n in 0..6 {
        slow.send(attempt(&n.to_string(), &format!("slow-{n}"), json!(["huge"]))).await;
    }
    let mut quick = running.client().await;
    for n in 0..6 {
        // The same analyses, so that one connection's backlog would be the other's.
        let id = format!("quick-{n}");
        quick.send(attempt(&id, &format!("slow-{n}"), json!(["huge"]))).await;
        let frames = quick.frames_of(&id).await;
        assert_eq!(frames.last().unwrap()["analysis"]["results"]["general"]["huge"]["total_issues"], 1);
    }
    let mut ended = 0;
    while ended < 6 {
        let frame = slow.frame().await;
        assert_ne!(frame["type"], "error");
        ended += usize::from(is_last(&frame));
    }
    assert_eq!(quick.health().await["analyses_started"], 6);
}

#[tokio::test]
async fn a_broken_message_breaks_no_attempt() {
    let (running, held) = Held::start().await;
    let mut client = running.client().await;
    client.send(attempt("a", "t", json!(["held"]))).await;
    client.frame().await;
    client.0.send(Message::text("{not json")).await.unwrap();
    assert_eq!(client.frame().await["message"], "Invalid JSON format");
    held.until_it_runs().await;
    client.send(json!([1])).await;
    let (_, end) = client.rest().await;
    assert_eq!(close_of(end), (1000, String::new()));
    held.let_go().await;
    let mut later = running.client().await;
    later.send(attempt("b", "t", json!(["held"]))).await;
    let frames = later.frames_of("b").await;
    assert_eq!((&frames[0]["attached"], frames.last().unwrap()["analysis"].is_object()), (&json!(true), true));
}
