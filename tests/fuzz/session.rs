//! Any messages to the embedded analyzer, over a real connection: every answer is a frame, the connection ends in good order or goes on, and
//! whoever asks next is answered.

use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use manifestd::analyzer::{Options, load_tools, serve};
use manifestd::resource::time::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::corpus::{files, texts};

/// Messages of one conversation at most.
const MESSAGES_MAX: usize = 32;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const WORDS: &[&str] = &[
    "{\"type\":\"ping\"}\n",
    "{\"type\":\"health_check\"}\n",
    "\"type\":\"static_analyze\"",
    "\"type\":\"cancel_request\"",
    "\"type\":\"error\"",
    "\"model_slug\":\"m\"",
    "\"app_number\":1",
    "\"tools\":[\"patterns\"]",
    "\"tools\":null",
    "\"config\":{\"patterns\":{}}",
    "\"id\":\"a\"",
    "\"id\":\"b\"",
    "\"attempt_token\":\"t\"",
    "\"attempt_token\":\"u\"",
    "\"../x\"",
    "18446744073709551616",
    "1.0",
    "\n",
    "null",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\\ud800",
    "\\u0000",
];

/// Lines: one message each.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = texts(&[
        "{\"type\":\"ping\"}\n{\"type\":\"health_check\",\"id\":\"h\"}",
        "{\"type\":\"static_analyze\",\"model_slug\":\"m\",\"app_number\":1,\"tools\":[\"patterns\"],\"id\":\"a\",\"config\":{}}",
        "{\"type\":\"static_analyze\",\"model_slug\":\"m\",\"app_number\":1,\"id\":\"a\",\"attempt_token\":\"t\"}\n{\"type\":\"static_analyze\",\"model_slug\":\"m\",\"app_number\":1,\"id\":\"b\",\"attempt_token\":\"t\"}\n{\"type\":\"cancel_request\",\"id\":\"a\"}\n{\"type\":\"cancel_request\",\"attempt_token\":\"t\"}",
        "{\"type\":\"static_analyze\",\"model_slug\":\"m\",\"app_number\":9,\"id\":\"a\",\"attempt_token\":\"u\",\"tools\":[\"no\",\"patterns\"]}",
        "[1]\nnull\nnot json\n{\"type\":7}",
    ]);
    // The one timeout that libFuzzer has told of, while other work of the machine held its process up.
    let timeout = b"{\"type\":\"static_analyze\",\"model_slug\":\"m\",\"app_n\"attempt_token\":\"t\"attempt_token\":\"t\"}\n{\"type\":\"static_analyze\",\"model_slug\":\"m\",\"app_number\":1,\"id\":\"b\",\"gttempt_token\":\"t\"}\n{\"type\":\"cancel_request\"\"type\":\"cancel_request\"cel_request\",\"attempt_tok\x93n\":\"t\"}";
    seeds.push(timeout.to_vec());
    for exchange in files("tests/fixtures/frames", &["json"]) {
        let exchange = serde_json::from_slice::<Value>(&exchange).unwrap_or_default();
        let sent = exchange["sent"].as_array().into_iter().flatten().map(Value::to_string);
        seeds.push(sent.collect::<Vec<_>>().join("\n").into_bytes());
    }
    seeds
}

/// An analyzer that runs on a thread of whoever talks to it.
struct Running {
    runtime: tokio::runtime::Runtime,
    address: std::net::SocketAddr,
    _server: JoinSet<std::io::Result<()>>,
    _apps: TempDir,
}

impl Running {
    fn start() -> Self {
        let apps = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(apps.path().join("m/app1")).expect("an app");
        fs::write(apps.path().join("m/app1/main.py"), "eval(input())\n").expect("a source");
        let tools = load_tools("tools.yaml", "tools:\n- {name: patterns, builtin: patterns}\n").expect("tools");
        let options = Options::new(apps.path().to_owned(), tools, || Timestamp(1_800_000_000_000));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut server = JoinSet::new();
        let address = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
            let address = listener.local_addr().expect("its address");
            server.spawn(serve(listener, options, CancellationToken::new()));
            address
        });
        Self { runtime, address, _server: server, _apps: apps }
    }
}

/// What must hold of any messages.
pub(crate) fn check(data: &[u8]) {
    static RUNNING: OnceLock<Mutex<Running>> = OnceLock::new();
    let running = RUNNING.get_or_init(|| Mutex::new(Running::start()));
    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let talked = async { tokio::time::timeout(PATIENCE, talk(running.address, data)).await };
    running.runtime.block_on(talked).expect("nobody answers");
}

async fn talk(address: std::net::SocketAddr, data: &[u8]) {
    let stream = TcpStream::connect(address).await.expect("an analyzer");
    let (socket, _) = tokio_tungstenite::client_async(format!("ws://{address}"), stream).await.expect("a handshake");
    let (mut sink, mut stream) = socket.split();
    for part in data.split(|byte| *byte == b'\n').take(MESSAGES_MAX) {
        let message = match std::str::from_utf8(part) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(part.to_vec()),
        };
        // It may have said goodbye by now.
        let _ = sink.send(message).await;
    }
    let _ = sink.send(Message::text(r#"{"type":"ping"}"#)).await;
    loop {
        let message = stream.next().await.expect("the connection ended without a word").expect("the connection broke");
        match message {
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                let kind = frame["type"].as_str().unwrap_or_else(|| panic!("a frame without a type: {text}"));
                if kind == "pong" && is_last(&mut sink).await {
                    return;
                }
            }
            Message::Close(reason) => {
                let code = reason.map(|reason| reason.code);
                assert!(matches!(code, Some(CloseCode::Normal | CloseCode::Size)), "it closed with {code:?}");
                return;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("no frame: {other:?}"),
        }
    }
}

/// Leaves in good order. Whether it is the last pong does not matter: the rest is read, and thrown away, by nobody.
async fn is_last(sink: &mut (impl futures_util::Sink<Message> + Unpin)) -> bool {
    let _ = sink.send(Message::Close(None)).await;
    true
}
