//! Tools that do not do what they should, limits, and the real tools where they are installed.

use std::path::PathBuf;

use futures_util::SinkExt;
use manifestd::analyzer::{load_tools, shipped_tools};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Running, assert_sarif, built_ins, close_of, group_of, request, soon, until_gone};

#[tokio::test]
async fn tools_that_are_unknown_or_not_installed_are_said_to_be_missing() {
    let text = "tools:\n- {name: gone, languages: [python], detect: [no-such-tool], argv: [no-such-tool]}\n- {name: noop, builtin: noop}\n";
    let running = Running::start(load_tools("t", text).unwrap(), 2).await;
    running.app("m/app1", &[("a.py", "")]);
    let analysis = running.analysis(json!(["gone", "nobody-knows", "noop"])).await;
    for entry in [&analysis["results"]["python"]["gone"], &analysis["results"]["general"]["nobody-knows"]] {
        assert_eq!((&entry["status"], &entry["executed"]), (&json!("not_available"), &json!(false)), "{entry}");
        assert!(entry["error"].is_string());
    }
    assert_eq!(analysis["summary"]["analysis_status"], "partial");
    assert_eq!(analysis["tools_used"], json!(["noop"]));
    let analysis = running.analysis(json!(["nobody-knows"])).await;
    assert_eq!(analysis["summary"]["analysis_status"], "failed");
}

#[tokio::test]
async fn outside_tools_that_misbehave_are_told_apart() {
    let scripts = [
        ("fails", "echo because >&2; exit 2"),
        ("garbage", "echo this is no sarif"),
        ("wrong", "echo '{\"version\":\"2.1.0\",\"runs\":3}'"),
        ("huge", "exec yes"),
        ("slow", "exec sleep 600"),
        ("killed", "kill -9 $$"),
        ("fine", "test -z \"$SECRET\" && echo '[1,2,3]'"),
        ("exits", "exit 0"),
    ];
    let one = |name: &str, more: &str| format!("- {{name: {name}, detect: ['true'], argv: [BIN/{name}], {more}}}\n");
    let tools = ["fails", "garbage", "wrong", "huge", "killed"].map(|name| one(name, "output: sarif")).concat()
        + &one("slow", "output: sarif, timeout: 200ms")
        + &one("fine", "output: json")
        + &one("exits", "output: exitCode")
        + "- {name: styles, globs: ['*.css'], detect: ['true'], argv: ['true']}\n";
    let (running, _bin) = Running::with_scripts(&scripts, &format!("tools:\n{tools}"), 4).await;
    running.app("m/app1", &[("a.py", "")]);
    let analysis = running.analysis(json!([])).await;
    let entry = |name: &str| &analysis["results"]["general"][name];
    for (name, status, part) in [
        ("fails", "error", "exited with 2. Stderr: because"),
        ("garbage", "error", "wrote no JSON"),
        ("wrong", "error", "no list \"runs\""),
        ("huge", "error", "more than 32 MiB"),
        ("killed", "error", "signal"),
        ("slow", "timeout", "stopped after 0.2 s"),
    ] {
        assert_eq!((&entry(name)["status"], &entry(name)["executed"]), (&json!(status), &json!(true)), "{name}");
        let error = entry(name)["error"].as_str().unwrap();
        assert!(error.contains(part), "{name}: {error}");
    }
    assert_eq!(entry("fails")["exit_code"], 2);
    assert_eq!((&entry("fine")["total_issues"], &entry("fine")["output"]), (&json!(3), &json!([1, 2, 3])));
    assert_eq!((&entry("exits")["status"], &entry("exits")["exit_code"]), (&json!("success"), &json!(0)));
    assert_eq!((&entry("styles")["status"], &entry("styles")["executed"]), (&json!("no_files"), &json!(false)));
    assert_eq!(analysis["summary"]["analysis_status"], "partial");
}

/// A tool that says on a FIFO that it runs, and then stays. The FIFO is read by the test: an open for reading waits for the tool.
async fn long_tool() -> (Running, tempfile::TempDir, PathBuf) {
    let tools = "tools:\n- {name: long, detect: ['true'], argv: [BIN/long, BIN/fifo]}\n";
    let script = "echo $$ > \"$1\"\nsleep 600 &\nwait";
    let (running, bin) = Running::with_scripts(&[("long", script)], tools, 1).await;
    let fifo = bin.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    running.app("m/app1", &[("a.py", "")]);
    (running, bin, fifo)
}

#[tokio::test]
async fn a_ping_frame_is_answered_during_an_analysis_and_other_messages_are_dropped() {
    let (running, _bin, fifo) = long_tool().await;
    let mut client = running.client().await;
    client.send(request(json!(["long"]))).await;
    assert_eq!(client.frame().await["type"], "status_update");
    let group = group_of(fifo).await;
    client.send(json!({ "type": "ping" })).await;
    client.0.send(Message::Ping(b"alive?".to_vec().into())).await.unwrap();
    match client.message().await {
        Some(Message::Pong(payload)) => assert_eq!(payload.as_ref(), b"alive?"),
        other => panic!("a pong was expected, not {other:?}"),
    }
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    let (frames, _) = client.rest().await;
    let types: Vec<&Value> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(types, ["progress_update", "static_analysis_result"], "the JSON ping is dropped");
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_tools_with_it() {
    let (running, _bin, fifo) = long_tool().await;
    let mut client = running.client().await;
    client.send(request(json!(["long"]))).await;
    let group = group_of(fifo.clone()).await;
    drop(client);
    until_gone(group).await;
    // The only permit is free again: the next request gets to run its tool.
    let mut client = running.client().await;
    client.send(request(json!(["long"]))).await;
    let group = group_of(fifo).await;
    client.0.close(None).await.unwrap();
    until_gone(group).await;
}

#[tokio::test]
async fn a_shutdown_stops_tools_closes_connections_and_ends() {
    let (mut running, _bin, fifo) = long_tool().await;
    let mut busy = running.client().await;
    busy.send(request(json!(["long"]))).await;
    let group = group_of(fifo).await;
    let mut idle = running.client().await;
    idle.send(json!({ "type": "ping" })).await;
    idle.frame().await;
    running.shutdown.cancel();
    let ((_, end), (_, idle_end)) = tokio::join!(busy.rest(), idle.rest());
    assert_eq!((close_of(end).0, close_of(idle_end).0), (1001, 1001));
    // Clients that answer no close are waited for; these go.
    drop((busy, idle));
    until_gone(group).await;
    soon(running.server.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn no_more_tools_run_at_once_than_allowed() {
    // Each run makes a directory, counts how many there are, and says so: with a bound of 2, nobody ever sees a third.
    let script =
        "mkdir \"$1/run.$$\"\nsleep 0.05\nset -- \"$1\"/run.*\necho \"[$#]\"\nrmdir \"$(dirname \"$1\")/run.$$\"";
    let tools: String =
        (0..6).map(|n| format!("- {{name: t{n}, detect: ['true'], argv: [BIN/count, BIN], output: json}}\n")).collect();
    let (running, _bin) = Running::with_scripts(&[("count", script)], &format!("tools:\n{tools}"), 2).await;
    running.app("m/app1", &[("a.py", "")]);
    let (one, two) = tokio::join!(running.analysis(json!([])), running.analysis(json!([])));
    let mut most = 0;
    for analysis in [one, two] {
        for (name, entry) in analysis["results"]["general"].as_object().unwrap() {
            assert_eq!(entry["status"], "success", "{name}: {entry}");
            most = most.max(entry["output"][0].as_u64().unwrap());
        }
    }
    assert!((1..=2).contains(&most), "{most} runs at once");
}

#[tokio::test]
async fn a_noop_waits_as_long_as_it_is_told_and_counts_no_files() {
    let running = Running::start(built_ins(), 2).await;
    running.app("m/app1", &[("a.py", "")]);
    let mut ask = request(json!(["noop"]));
    ask["config"] = json!({ "noop": { "delayMs": 20 } });
    let (frames, _) = running.ask(ask).await;
    let analysis = &frames.last().unwrap()["analysis"];
    assert_eq!(analysis["results"]["general"]["noop"]["status"], "success");
    assert!(analysis["results"]["general"]["noop"]["duration"].as_f64().unwrap() >= 0.02);
    assert_eq!(
        (&analysis["_project_metadata"]["file_counts"], &analysis["configuration_applied"]),
        (&json!({}), &json!(true))
    );
}

#[tokio::test]
async fn a_noop_refuses_a_delay_that_it_does_not_understand() {
    let running = Running::start(built_ins(), 2).await;
    running.app("m/app1", &[]);
    for delay in [json!(600_001), json!(-1), json!("5s"), Value::Null] {
        let mut ask = request(json!(["noop"]));
        ask["config"] = json!({ "noop": { "delayMs": delay } });
        let (frames, _) = running.ask(ask).await;
        let entry = &frames.last().unwrap()["analysis"]["results"]["general"]["noop"];
        assert_eq!((&entry["status"], &entry["executed"]), (&json!("error"), &json!(false)), "{delay}");
        assert!(entry["error"].as_str().unwrap().contains("0 to 600000"), "{entry}");
    }
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    for (tools, parallel) in [(built_ins(), 0), ([built_ins(), built_ins()].concat(), 1)] {
        let mut running = Running::start(tools, parallel).await;
        assert!(soon(running.server.join_next()).await.unwrap().unwrap().is_err());
    }
}

#[tokio::test]
async fn the_real_tools_that_are_installed_give_valid_sarif() {
    let running = Running::start(shipped_tools().unwrap(), 2).await;
    running.app(
        "m/app1",
        &[
            ("a b.py", "import pickle, os\ndef f(x):\n    eval(x)\n    return pickle.loads(x)\n"),
            ("broken.py", "def f(:\n"),
            ("-rf.sh", "#!/bin/sh\necho $1\n"),
            ("x.js", "eval(y)\n"),
        ],
    );
    let mut client = running.client().await;
    client.send(json!({ "type": "health_check" })).await;
    let health = client.frame().await;
    let available = health["available_tools"].as_array().unwrap();
    // semgrep fetches its rules from the network, which a test must not.
    let wanted: Vec<&str> = ["ruff", "bandit", "shellcheck", "eslint"]
        .into_iter()
        .filter(|name| available.contains(&json!(name)))
        .collect();
    println!("real tools: {wanted:?}");
    let analysis = running.analysis(json!([["patterns"].as_slice(), &wanted].concat())).await;
    for name in wanted {
        let section = analysis["results"].as_object().unwrap().values().find(|section| section.get(name).is_some());
        let entry = &section.unwrap()[name];
        assert_eq!((&entry["status"], &entry["executed"]), (&json!("success"), &json!(true)), "{entry:#}");
        assert!(entry["total_issues"].as_u64().unwrap() >= 1, "{entry:#}");
        assert!(entry["version"].as_str().unwrap().contains('.'), "{entry:#}");
        assert_sarif(&entry["sarif"]);
        if name == "bandit" {
            let notes = &entry["sarif"]["runs"][0]["invocations"][0]["toolExecutionNotifications"];
            assert!(notes.to_string().contains("broken.py"), "a file that could not be read is not hidden: {notes}");
        }
        let uri =
            &entry["sarif"]["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert!(["a%20b.py", "broken.py", "-rf.sh", "x.js"].contains(&uri.as_str().unwrap()), "{name}: {uri}");
    }
    assert_sarif(&analysis["sarif_export"]);
}
