//! A minimal analyzer in a thread of the bench: answers every request at once with the success of one tool, over the base protocol or
//! `manifestd/v1`. So what is measured is the controller, and not an analyzer of ours. The references are served by the same code.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_util::sync::CancellationToken;

/// What an analyzer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One connection for each task.
    Base,
    /// `manifestd/v1`: one connection for all.
    Extended,
}

/// What a connection for one request reads at once. More would be asked of the system, and given back to it, for each request.
const SMALL_BUFFER_BYTES: usize = 4 * 1024;

impl Protocol {
    /// Buffers that suit it.
    pub(crate) fn buffers(self) -> WebSocketConfig {
        match self {
            Self::Base => WebSocketConfig::default().read_buffer_size(SMALL_BUFFER_BYTES),
            Self::Extended => WebSocketConfig::default(),
        }
    }
}

/// A running analyzer; it ends when this is dropped.
pub(crate) struct Analyzer {
    address: SocketAddr,
    held: watch::Sender<bool>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What the connections share.
#[derive(Clone)]
struct Shared {
    protocol: Protocol,
    held: watch::Receiver<bool>,
    arrivals: Option<mpsc::Sender<Instant>>,
}

/// What matters of a frame.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
}

impl Analyzer {
    /// Starts one on a free port.
    pub(crate) fn start(protocol: Protocol) -> Self {
        Self::with(protocol, None)
    }

    /// Starts one that tells when a request arrives.
    pub(crate) fn telling(protocol: Protocol) -> (Self, mpsc::Receiver<Instant>) {
        let (teller, arrivals) = mpsc::channel();
        (Self::with(protocol, Some(teller)), arrivals)
    }

    fn with(protocol: Protocol, arrivals: Option<mpsc::Sender<Instant>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (held, receiver) = watch::channel(false);
        let stop = CancellationToken::new();
        let (shared, stopped) = (Shared { protocol, held: receiver, arrivals }, stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(stopped.run_until_cancelled(serve(listener, shared)));
        });
        Self { address, held, stop, thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on requests are not answered.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Answers what was held back, and everything that comes.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }
}

impl Drop for Analyzer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread of the analyzer");
        }
    }
}

async fn serve(listener: std::net::TcpListener, shared: Shared) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                connections.spawn(converse(stream, shared.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection. That its client breaks it off is no fault here: a controller is killed, a probe is over.
async fn converse(stream: TcpStream, mut shared: Shared) {
    let _ = stream.set_nodelay(true);
    let config = Some(shared.protocol.buffers());
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, config).await else { return };
    let mut kept: Vec<Message> = Vec::new();
    loop {
        tokio::select! {
            message = socket.next() => {
                // All that has come is answered by one write.
                let mut next = Some(message);
                while let Some(message) = next {
                    let Some(Ok(message)) = message else { return };
                    if let Message::Text(text) = message && !answer(&mut socket, &text, &mut shared, &mut kept).await {
                        return;
                    }
                    next = socket.next().now_or_never();
                }
            }
            changed = shared.held.changed(), if !kept.is_empty() => {
                if changed.is_err() {
                    return;
                }
                if !*shared.held.borrow_and_update() {
                    for message in kept.drain(..) {
                        if socket.feed(message).await.is_err() {
                            return;
                        }
                    }
                    if shared.protocol == Protocol::Base {
                        farewell(&mut socket).await;
                        return;
                    }
                }
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Answers one frame. Says whether the connection goes on.
async fn answer(
    socket: &mut WebSocketStream<TcpStream>,
    text: &str,
    shared: &mut Shared,
    kept: &mut Vec<Message>,
) -> bool {
    let frame: Frame<'_> = serde_json::from_str(text).expect("a frame of the protocol");
    if frame.kind == "health_check" {
        return socket.feed(Message::text(health(shared.protocol))).await.is_ok();
    }
    if let Some(arrivals) = &shared.arrivals {
        // Whoever measured may have seen enough.
        let _ = arrivals.send(Instant::now());
    }
    let result = Message::text(result(&frame.id, shared.protocol));
    if *shared.held.borrow_and_update() {
        kept.push(result);
        return true;
    }
    let fed = socket.feed(result).await.is_ok();
    if shared.protocol == Protocol::Base {
        farewell(socket).await;
        return false;
    }
    fed
}

/// The end of a base request: the close goes out with the result, then the other side closes.
async fn farewell(socket: &mut WebSocketStream<TcpStream>) {
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = socket.close(Some(close)).await;
    while let Some(Ok(_)) = socket.next().await {}
}

fn health(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Base => {
            r#"{"type":"health_response","status":"healthy","service":"bench","available_tools":["noop"]}"#
        }
        Protocol::Extended => {
            r#"{"type":"health_response","status":"healthy","service":"bench","available_tools":["noop"],"protocols":["manifestd/v1"]}"#
        }
    }
}

/// Where the id of an answer of the extension begins.
pub(crate) const CORRELATION: &str = r#"{"correlation_id":""#;

fn result(id: &str, protocol: Protocol) -> String {
    const REST: &str = r#""type":"static_analysis_result","status":"success","service":"bench","analysis":{"results":{"python":{"noop":{"tool":"noop","executed":true,"status":"success","total_issues":0}}}},"timestamp":"2027-01-15T08:00:00.000Z"}"#;
    match protocol {
        Protocol::Base => format!("{{{REST}"),
        Protocol::Extended => format!("{CORRELATION}{id}\",{REST}"),
    }
}
