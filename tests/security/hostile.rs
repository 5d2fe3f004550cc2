//! A hostile analyzer: whatever it sends, an attempt ends with a reason, memory stays bounded, and nothing of it is obeyed by a terminal.

use std::net::SocketAddr;
use std::time::Duration;

use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::text::is_obeyed;
use manifestd::resource::time::Span;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::support::daemon::{Home, document, task};
use crate::support::misbehaving::{Behaviour, Gate, Misbehaving, static_result};
use crate::support::stage::{FAR, Stage, assignment, websocket};

const MIB: usize = 1 << 20;

/// A raw server that does the same with every connection; gives its address and what the first client sent.
async fn raw<F: Future<Output = ()> + Send>(
    act: impl Fn(TcpStream) -> F + Send + Sync + Clone + 'static,
) -> (String, tokio::task::JoinSet<()>)
where
    F: 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        let mut clients = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            clients.spawn(act(stream));
        }
    });
    (url, running)
}

async fn ends(stage: &Stage, url: String, connect_timeout: Span) -> (Outcome, Reason, String) {
    let mut target = websocket(url);
    if let manifestd::resource::attempt::Target::WebSocket { connect_timeout: own, .. } = &mut target {
        *own = connect_timeout;
    }
    let ending = stage.run(assignment(target, FAR)).await;
    (ending.verdict.outcome, ending.verdict.reason, ending.verdict.message)
}

#[tokio::test]
async fn a_handshake_without_end_comes_to_one() {
    let stage = Stage::new();
    let (endless, _one) = raw(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
        while stream.write_all(b"x-more: of the same\r\n").await.is_ok() {}
    })
    .await;
    let (outcome, reason, message) = ends(&stage, endless, Span::seconds(60)).await;
    assert_eq!((outcome, reason), (Outcome::Unavailable, Reason::AnalyzerUnavailable), "{message}");
    let (drip, _two) = raw(|mut stream| async move {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while stream.write_all(b"H").await.is_ok() {
            tick.tick().await;
        }
    })
    .await;
    let (outcome, reason, message) = ends(&stage, drip, Span(300)).await;
    assert_eq!((outcome, reason), (Outcome::Unavailable, Reason::AnalyzerUnavailable), "{message}");
}

#[tokio::test]
async fn compression_is_not_asked_for_and_what_comes_compressed_is_refused() {
    let stage = Stage::new();
    let (sender, mut heard) = tokio::sync::mpsc::channel(4);
    let (url, _running) = raw(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
            // It compresses unasked: the first reserved bit says so (RFC 7692, section 6).
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00").await.unwrap();
            sender.send(request).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    })
    .await;
    let (outcome, reason, message) = ends(&stage, url, Span::seconds(60)).await;
    let request = heard.recv().await.unwrap().to_ascii_lowercase();
    assert!(!request.contains("sec-websocket-extensions") && !request.contains("accept-encoding"), "{request}");
    assert_eq!((outcome, reason), (Outcome::ProtocolError, Reason::ProtocolError), "{message}");
}

#[tokio::test]
async fn json_that_is_too_deep_is_garbage_and_the_result_behind_it_counts() {
    let deep = |open: &str, close: &str| {
        format!("{{\"type\":\"static_analysis_result\",\"x\":{}{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    let stage = Stage::with(|limits| limits.message_bytes_max = 8 * MIB);
    let analyzer = Misbehaving::start(Behaviour::Says(vec![
        Message::text(deep("[", "]")),
        Message::text(deep("{\"a\":", "0}")),
        Message::text("[".repeat(4 * MIB)),
        Message::text(static_result("ruff", 1).to_string()),
    ]))
    .await;
    let (outcome, reason, message) = ends(&stage, analyzer.url(), Span::seconds(60)).await;
    assert_eq!((outcome, reason), (Outcome::Completed, Reason::AllToolsRan), "{message}");
}

/// A daemon whose analyzer answers each request with the next of these texts, each once its gate is open.
fn daemon_with(
    texts: Vec<String>,
) -> (Home, crate::support::process::Daemon, tokio::runtime::Runtime, Misbehaving, Gate) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gate = Gate::new();
    let turn = |text: String| Behaviour::Then(gate.clone(), Box::new(Behaviour::Says(vec![Message::text(text)])));
    let behaviour = Behaviour::InTurn(texts.into_iter().map(turn).collect());
    let analyzer = runtime.block_on(Misbehaving::start_healthy(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour));
    let home = Home::new("");
    let spec = format!(
        "{{websocket: {{urls: [\"{}\"], request: static_analyze}}, breaker: {{openAfterFailures: 1000}}}}",
        analyzer.url()
    );
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), document("Analyzer", "hostile", &spec)));
    let daemon = home.serve();
    (home, daemon, runtime, analyzer, gate)
}

#[test]
fn a_million_findings_and_a_flood_of_small_values_take_no_more_memory_than_is_allowed() {
    let mut million = static_result("ruff", 1_000_000);
    let issue = json!({"rule": "F401", "file": "app/main.py", "line": 1});
    million["analysis"]["results"]["python"]["ruff"]["issues"] = vec![issue; 1_000_000].into();
    let mut numbers = static_result("ruff", 0);
    numbers["padding"] = Value::Null;
    let numbers = numbers.to_string().replace("\"padding\":null", &format!("\"padding\":[{}0]", "0,".repeat(45 * MIB)));
    let many: Vec<String> = vec![million.to_string(), numbers];
    assert!(many.iter().all(|text| text.len() < 100 * MIB && text.len() > 40 * MIB));
    let (home, daemon, _runtime, _analyzer, gate) = daemon_with(many);
    gate.open();
    let before = daemon.memory_max();
    for name in ["million", "numbers"] {
        home.drop_in(&format!("{name}.yaml"), &task(name, "app1", "hostile", "tools: [ruff], backoffLimit: 0,"));
        home.until_task(name, "to have ended", |task| task.status.phase.is_terminal());
        let status = home.task(name).status;
        assert_eq!((status.phase, status.reason), (Phase::Failed, Reason::ResultTooLarge), "{}", status.message);
        assert!(status.message.contains("so many values") && status.message.contains("512 MiB"), "{}", status.message);
    }
    let more = (daemon.memory_max() - before) as usize;
    // Neither was read: there is the message, once as it came and once as one piece.
    assert!(more < 350 * MIB, "{} MiB of memory", more / MIB);
    daemon.stop();
}

/// Texts that do harm on a terminal, or pretend to be another line.
const EVIL: &str = "x\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}txt\u{2066}\r\n2026-01-01T00:00:00Z ERROR manifestd: forged\u{2028}\u{61c}y";

/// Nothing in a text is obeyed by a terminal, but line breaks.
fn assert_plain(what: &str, text: &str) {
    let bad: Vec<char> = text.chars().filter(|c| is_obeyed(*c) && *c != '\n').collect();
    assert!(bad.is_empty(), "{what} holds {bad:?}:\n{text:?}");
}

#[test]
fn nothing_that_an_analyzer_or_a_file_says_reaches_a_terminal_as_a_command() {
    let mut result = static_result("ruff", 1);
    let tools = &mut result["analysis"]["results"]["python"];
    tools["ruff"]["status"] = "error".into();
    tools["ruff"]["error"] = EVIL.into();
    tools[EVIL] = json!({"tool": EVIL, "executed": true, "status": "success", "total_issues": 1, "error": EVIL, "sarif": {
        "version": "2.1.0", "runs": [{"tool": {"driver": {"name": EVIL}}, "results": [{"level": "error", "message": {"text": EVIL}}]}],
    }});
    result["analysis"]["outputs"] = json!({"evil": EVIL});
    let error = json!({"type": "error", "message": EVIL}).to_string();
    let (mut home, daemon, _runtime, _analyzer, gate) = daemon_with(vec![result.to_string(), error]);
    gate.open();
    home.drop_in("one.yaml", &task("one", "app1", "hostile", "tools: [ruff], backoffLimit: 0,"));
    home.until_task("one", "to have ended", |task| task.status.phase.is_terminal());
    home.drop_in("two.yaml", &task("two", "app1", "hostile", "tools: [ruff], backoffLimit: 0,"));
    home.until_task("two", "to have ended", |task| task.status.phase.is_terminal());
    // A file whose name and contents are as bad.
    let name = EVIL.replace('/', "_");
    let broken = format!(
        "apiVersion: manifestd.dev/v1alpha1\nkind: Task\nmetadata: {{name: t, labels: {{a: {EVIL:?}}}}}\nspec: {{app: \"{}\"}}\n",
        "\\u202e\\x1b[2J"
    );
    home.drop_in(&format!("{name}.yaml"), &broken);
    home.until("the problem", |connection| {
        (!manifestd::store::view::problems(connection).unwrap().is_empty()).then_some(())
    });
    for asked in [
        &["get", "all", "-o", "wide"][..],
        &["get", "all", "-o", "json"],
        &["get", "problems"],
        &["get", "problems", "-o", "json"],
        &["describe", "task", "one"],
        &["describe", "analyzer", "hostile"],
        &["why", "one"],
        &["why", "two"],
        &["events"],
        &["events", "-o", "json"],
        &["results", "one"],
        &["results", "one", "-o", "sarif"],
        &["results", "all", "-o", "json"],
        &["trace", "task/one"],
        &["validate", "manifests"],
        &["status"],
        &["doctor"],
        &["diff"],
        &["get", "tasks", "--stuck"],
    ] {
        let said = home.run(asked);
        assert_plain(&format!("{asked:?}"), &said.out);
        assert_plain(&format!("{asked:?} on stderr"), &said.err);
        assert!(!said.out.is_empty() || !said.err.is_empty(), "{asked:?} says nothing");
    }
    // What is a file as it came is that in a pipe, and plain on a terminal.
    for asked in ["logs one", "results two -o json", "results one -o json", "get all -o yaml"] {
        let said = home.on_a_terminal(asked);
        assert_plain(asked, &said.replace('\r', ""));
        assert!(!said.trim().is_empty(), "{asked} says nothing");
    }
    daemon.stop();
    let log = home.log.text();
    assert_plain("the log", &log);
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01T00:00:00Z ERROR")), "a line was forged:\n{log}");
    home.more_environment.clear();
}
