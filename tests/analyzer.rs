//! The embedded analyzer, driven over a real connection as any client of the existing services would drive it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

#[path = "analyzer/attempts.rs"]
mod attempts;
#[path = "analyzer/cancelling.rs"]
mod cancelling;
#[path = "analyzer/client.rs"]
mod client;
#[path = "analyzer/tools.rs"]
mod tools;

use std::fs;
use std::os::unix::fs::symlink;

use client::{Running, assert_sarif, built_ins, close_of, request};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_ping_and_a_health_check_are_answered_and_the_connection_stays_open() {
    let running = Running::start(built_ins(), 2).await;
    let mut client = running.client().await;
    client.send(json!({ "type": "ping", "id": "p" })).await;
    let pong = client.frame().await;
    assert_eq!((&pong["type"], &pong["service"]), (&json!("pong"), &json!("embedded-analyzer")));
    // A health check waits for the tools to be looked for, and not for ever; on a busy machine it may have to be asked again.
    let health = loop {
        client.send(json!({ "type": "health_check" })).await;
        let health = client.frame().await;
        if health["available_tools"] != json!([]) {
            break health;
        }
    };
    assert_eq!(health["type"], "health_response");
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["available_tools"], json!(["patterns", "secrets", "noop"]));
    assert_eq!(health["timestamp"], "2027-01-15T08:00:00.000Z");
    assert!(health["uptime"].is_f64() && health["version"].is_string());
    assert_eq!(health["protocols"], json!(["manifestd/v1"]));
    assert_eq!((&health["running"], &health["analyses_started"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn an_analysis_starts_progresses_ends_and_closes() {
    let running = Running::start(built_ins(), 2).await;
    running.app("m/app1", &[("a.py", "eval(x)\n")]);
    let (frames, end) = running.ask(request(json!(["patterns", "noop"]))).await;
    let types: Vec<&str> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["status_update", "progress_update", "progress_update", "static_analysis_result"]);
    assert_eq!((&frames[0]["stage"], &frames[0]["analysis_id"]), (&json!("started"), &json!("r1")));
    assert_eq!((&frames[1]["correlation_id"], &frames[1]["data"]["progress"]), (&json!("r1"), &json!(0.5)));
    assert_eq!(frames[2]["data"]["progress"], 1.0);
    let analysis = &frames[3]["analysis"];
    assert_eq!(
        (&frames[3]["status"], &analysis["summary"]["analysis_status"]),
        (&json!("success"), &json!("completed"))
    );
    assert_eq!(analysis["tools_used"], json!(["patterns", "noop"]));
    let entry = &analysis["results"]["general"]["patterns"];
    assert_eq!(
        (&entry["status"], &entry["executed"], &entry["total_issues"]),
        (&json!("success"), &json!(true), &json!(1))
    );
    assert_eq!(entry["severity_breakdown"], json!({ "high": 1, "medium": 0, "low": 0 }));
    assert_eq!(analysis["_project_metadata"]["file_counts"]["python"], 1);
    assert_eq!(close_of(end), (1000, "Analysis complete".into()));
}

#[tokio::test]
async fn built_in_results_are_valid_sarif() {
    let running = Running::start(built_ins(), 2).await;
    running.app(
        "m/app1",
        &[
            ("a b/ü.py", "import os\nos.system('x' + y)\npassword = 'correct-horse-battery'\n"),
            ("x.js", "el.innerHTML = '<b>' + name\n"),
            (".env", "JWT_SECRET=q8Zr4Kp1Vb7Tn2Xc\n"),
        ],
    );
    let analysis = running.analysis(json!([])).await;
    assert_eq!(analysis["tools_used"], json!(["patterns", "secrets"]), "noop runs only when it is named");
    assert!(analysis["summary"]["total_issues_found"].as_u64().unwrap() >= 4, "{analysis:#}");
    assert_sarif(&analysis["sarif_export"]);
    assert_sarif(&analysis["results"]["general"]["secrets"]["sarif"]);
    assert!(!analysis.to_string().contains("battery"), "the secret was copied into the result");
}

#[tokio::test]
async fn a_missing_app_is_a_result_with_an_error_inside() {
    let running = Running::start(built_ins(), 2).await;
    let (frames, end) = running.ask(request(json!(["noop"]))).await;
    let last = frames.last().unwrap();
    assert_eq!((&last["type"], &last["status"]), (&json!("static_analysis_result"), &json!("success")));
    assert_eq!(last["analysis"]["status"], "error");
    let message = "Model path not found for m app1 (checked flat and template structures)";
    assert_eq!(last["analysis"]["error"], message);
    assert_eq!(close_of(end), (1000, "Analysis complete".into()));
}

#[tokio::test]
async fn an_app_below_a_template_is_found_and_a_link_to_the_outside_is_refused() {
    let running = Running::start(built_ins(), 2).await;
    running.app("m/web/app1", &[("a.py", "")]);
    assert_eq!(running.analysis(json!(["noop"])).await["summary"]["analysis_status"], "completed");
    fs::create_dir_all(running.root.path().join("outside/app1")).unwrap();
    symlink("../../outside/app1", running.root.path().join("apps/m/app1")).unwrap();
    let analysis = running.analysis(json!(["noop"])).await;
    assert!(analysis["error"].as_str().unwrap().contains("leads out of the sources"), "{analysis}");
}

#[tokio::test]
async fn a_slug_that_leaves_its_directory_is_an_error_then_a_close() {
    let running = Running::start(built_ins(), 2).await;
    running.app("m/app1", &[]);
    for slug in ["../apps/m", "..", "m/../m", "/etc"] {
        let mut bad = request(json!(["noop"]));
        bad["model_slug"] = json!(slug);
        let (frames, end) = running.ask(bad).await;
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0]["type"], "error");
        assert!(frames[0]["message"].as_str().unwrap().contains("model_slug"));
        assert_eq!(close_of(end), (1000, "Analysis complete".into()));
    }
}

#[tokio::test]
async fn what_is_not_understood_is_answered_and_only_the_worst_closes() {
    let running = Running::start(built_ins(), 2).await;
    let mut client = running.client().await;
    client.0.send(Message::text("{not json")).await.unwrap();
    assert_eq!(
        client.frame().await,
        json!({ "type": "error", "message": "Invalid JSON format", "service": "embedded-analyzer" })
    );
    client.send(json!({ "type": "get_capabilities" })).await;
    assert_eq!(client.frame().await["message"], "Unknown message type: get_capabilities");
    client.0.send(Message::binary(br#"{"type":"ping"}"#.to_vec())).await.unwrap();
    assert_eq!(client.frame().await["type"], "pong");
    client.send(json!([1, 2])).await;
    let (frames, end) = client.rest().await;
    assert_eq!((frames.len(), close_of(end)), (0, (1000, String::new())));
    let mut client = running.client().await;
    client.0.send(Message::binary(vec![0xff, 0xfe])).await.unwrap();
    let (frames, end) = client.rest().await;
    assert_eq!((frames.len(), close_of(end)), (0, (1000, String::new())));
}

#[tokio::test]
async fn a_config_that_is_no_object_is_an_error_then_a_close() {
    let running = Running::start(built_ins(), 2).await;
    running.app("m/app1", &[]);
    for config in [json!("x"), Value::Null, json!([])] {
        let mut bad = request(json!(["noop"]));
        bad["config"] = config;
        let (frames, end) = running.ask(bad).await;
        assert_eq!((frames.len(), &frames[0]["type"]), (1, &json!("error")));
        assert_eq!(close_of(end), (1000, "Analysis complete".into()));
    }
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let running = Running::start(built_ins(), 2).await;
    let mut client = running.client().await;
    // The header of a masked binary frame of 101 MiB; its length alone is too much.
    let mut header = vec![0x82, 0xff];
    header.extend((101_u64 << 20).to_be_bytes());
    header.extend([0; 4]);
    client.0.get_mut().write_all(&header).await.unwrap();
    let (frames, end) = client.rest().await;
    assert_eq!((frames.len(), close_of(end).0), (0, 1009));
}

#[tokio::test]
async fn thousands_of_noops_are_answered_side_by_side() {
    let running = Running::start(built_ins(), 8).await;
    running.app("m/app1", &[]);
    let started = tokio::time::Instant::now();
    let lanes = (0..16).map(|_| async {
        for _ in 0..128 {
            let (frames, end) = running.ask(request(json!(["noop"]))).await;
            assert_eq!(frames.last().unwrap()["analysis"]["summary"]["analysis_status"], "completed");
            assert_eq!(close_of(end).0, 1000);
        }
    });
    futures_util::future::join_all(lanes).await;
    println!("{:.0} requests/s", 2048.0 / started.elapsed().as_secs_f64());
}
