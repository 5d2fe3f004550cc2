//! A WebSocket analyzer that does exactly what a script says, above all what it should not. It is a raw server on a local port; everything it
//! does is tied to signals, and it ends when it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Something that many wait for, and that once it has come stays there.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.close();
    }

    async fn opened(&self) {
        assert!(self.0.acquire().await.is_err(), "a gate has no permits, it is closed when it opens");
    }
}

/// What the analyzer does with each connection, once it has heard a request. Health checks it answers as the real ones do.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Nobody listens on the port.
    Refuses,
    /// Accepts the connection and never speaks WebSocket.
    NeverShakesHands,
    /// Hears the request and says nothing more.
    Silent,
    /// Hears the request and stops reading and answering altogether, pings too.
    Deaf,
    /// Sends these messages as they are, then stays.
    Says(Vec<Message>),
    /// Sends one frame and closes in good order.
    Answers(Value),
    /// Waits for the signal, then answers.
    AnswersLate(Arc<Notify>, Value),
    /// Starts a frame and drops the connection in the middle of it.
    DropsMidFrame,
    /// Starts a frame and never goes on, nor answers pings.
    StopsMidFrame,
    /// Resets the connection without a word.
    Resets,
    /// Sends the result and resets the connection behind it.
    AnswersThenResets(Value),
    /// Sends two results.
    AnswersTwice(Value, Value),
    /// Closes in good order without a result.
    ClosesWithoutResult,
    /// Sends garbage without end.
    Garbage,
    /// Sends a result of about so many bytes.
    Big(usize),
    /// Sends progress without end.
    Floods,
    /// Sends bytes that need not be WebSocket at all, and drops the connection.
    Writes(Vec<u8>),
    /// Answers pings until the gate opens, and then does this.
    Then(Gate, Box<Behaviour>),
    /// Neither reads nor answers pings until the gate opens, and then does this, whether the client is still there or not.
    DeafThen(Gate, Box<Behaviour>),
    /// Does something else with each request; the last of it with all that follow.
    InTurn(Vec<Behaviour>),
}

/// The running analyzer.
pub(crate) struct Misbehaving {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    requests: mpsc::Receiver<Value>,
    left: mpsc::Receiver<()>,
    knocks: mpsc::Receiver<()>,
    ears: Ears,
    server: JoinSet<()>,
    // Bound and not listening, so that nobody else gets the port of an analyzer that refuses.
    port: Option<TcpSocket>,
}

/// Where an analyzer tells what it hears.
#[derive(Clone)]
struct Ears {
    heard: mpsc::Sender<Value>,
    leaving: mpsc::Sender<()>,
    knocked: mpsc::Sender<()>,
    turns: Arc<AtomicUsize>,
}

impl Misbehaving {
    /// Starts an analyzer on a free local port.
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let socket = bound("127.0.0.1:0".parse().expect("an address"));
        let address = socket.local_addr().expect("its address");
        let (heard, requests) = mpsc::channel(1024);
        let (leaving, left) = mpsc::channel(1024);
        let (knocked, knocks) = mpsc::channel(1024);
        let ears = Ears { heard, leaving, knocked, turns: Arc::default() };
        let mut started = Self { address, requests, left, knocks, ears, server: JoinSet::new(), port: None };
        started.listen(socket, behaviour);
        started
    }

    fn listen(&mut self, socket: TcpSocket, behaviour: Behaviour) {
        if matches!(behaviour, Behaviour::Refuses) {
            self.port = Some(socket);
            return;
        }
        let listener = socket.listen(1024).expect("a listening socket");
        let ears = self.ears.clone();
        self.server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Whoever wants to know of every connection takes them; to others they do not matter.
                let _ = ears.knocked.try_send(());
                connections.spawn(serve(stream, behaviour.clone(), ears.clone()));
            }
        });
    }

    /// Ends as a killed process does: nobody listens any more, and every connection is gone.
    pub(crate) async fn die(&mut self) {
        self.server.shutdown().await;
        self.port = Some(bound(self.address));
    }

    /// Listens again at the same address.
    pub(crate) async fn come_back(&mut self, behaviour: Behaviour) {
        let socket = self.port.take().unwrap_or_else(|| bound(self.address));
        self.listen(socket, behaviour);
    }

    /// Its address as an Analyzer names it.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Waits for the next request it hears.
    pub(crate) async fn request(&mut self) -> Value {
        self.requests.recv().await.expect("the analyzer runs")
    }

    /// Waits until a client has made a connection.
    pub(crate) async fn knocked(&mut self) {
        self.knocks.recv().await.expect("the analyzer runs");
    }

    /// Waits until a client has left a connection.
    pub(crate) async fn client_left(&mut self) {
        self.left.recv().await.expect("the analyzer runs");
    }
}

/// A result of the static analyzer in which `tool` ran and found `issues`.
pub(crate) fn static_result(tool: &str, issues: u64) -> Value {
    json!({"type": "static_analysis_result", "status": "success", "service": "static-analyzer", "analysis": {
        "tools_used": [tool],
        "results": {"python": {tool: {"tool": tool, "executed": true, "status": "success", "total_issues": issues}}},
    }})
}

/// A final text frame of 1000 bytes (RFC 6455, section 5.2), of which 9 come.
const HALF_FRAME: &[u8] = b"\x81\x7E\x03\xE8{\"type\": ";

type Socket = WebSocketStream<TcpStream>;

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Connections of a listener that is gone linger, and would keep the port.
    socket.set_reuseaddr(true).expect("an option of every socket");
    socket.bind(address).expect("a local port");
    socket
}

async fn serve(stream: TcpStream, behaviour: Behaviour, ears: Ears) {
    if matches!(behaviour, Behaviour::NeverShakesHands) {
        return std::future::pending().await;
    }
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let request = loop {
        let Some(Ok(message)) = socket.next().await else { return };
        let Message::Text(said) = message else { continue };
        let said: Value = serde_json::from_str(&said).unwrap_or_default();
        if said["type"] != "health_check" {
            break said;
        }
        let healthy = json!({"type": "health_response", "status": "healthy", "service": "misbehaving", "version": "1",
            "uptime": 1.0, "available_tools": ["ruff"]});
        if socket.send(text(&healthy)).await.is_err() {
            return;
        }
    };
    let turn = ears.turns.fetch_add(1, Ordering::SeqCst);
    let behaviour = match behaviour {
        Behaviour::InTurn(mut all) => all.swap_remove(turn.min(all.len() - 1)),
        one => one,
    };
    let _ = ears.heard.send(request).await;
    // An error only says that the client is gone, which is its right.
    let _ = act(&mut socket, behaviour).await;
    let _ = ears.leaving.send(()).await;
}

async fn act(socket: &mut Socket, behaviour: Behaviour) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match behaviour {
        Behaviour::Refuses | Behaviour::NeverShakesHands | Behaviour::InTurn(_) => {}
        Behaviour::Silent => listen(socket).await,
        Behaviour::Deaf => std::future::pending().await,
        Behaviour::Says(messages) => {
            for message in messages {
                socket.send(message).await?;
            }
            listen(socket).await;
        }
        Behaviour::Answers(result) => {
            socket.send(text(&result)).await?;
            close(socket).await?;
        }
        Behaviour::AnswersLate(signal, result) => {
            // Reading is what answers pings.
            tokio::select! {
                () = signal.notified() => socket.send(text(&result)).await?,
                () = listen(socket) => {}
            }
            close(socket).await?;
        }
        Behaviour::DropsMidFrame => socket.get_mut().write_all(HALF_FRAME).await?,
        Behaviour::StopsMidFrame => {
            socket.get_mut().write_all(HALF_FRAME).await?;
            std::future::pending().await
        }
        Behaviour::Resets => socket.get_mut().set_zero_linger()?,
        Behaviour::AnswersThenResets(result) => {
            socket.send(text(&result)).await?;
            socket.get_mut().set_zero_linger()?;
        }
        Behaviour::AnswersTwice(first, second) => {
            socket.feed(text(&first)).await?;
            socket.send(text(&second)).await?;
            close(socket).await?;
        }
        Behaviour::ClosesWithoutResult => close(socket).await?,
        Behaviour::Garbage => loop {
            socket.send(Message::text("this is not JSON {")).await?;
        },
        Behaviour::Big(bytes) => {
            let mut result = static_result("ruff", 0);
            result["padding"] = "x".repeat(bytes).into();
            socket.send(text(&result)).await?;
            close(socket).await?;
        }
        Behaviour::Floods => loop {
            let data = json!({"progress": 0.5});
            let progress = json!({"type": "progress_update", "stage": "scan", "message": "still at it", "data": data});
            socket.send(text(&progress)).await?;
        },
        Behaviour::Writes(bytes) => socket.get_mut().write_all(&bytes).await?,
        Behaviour::Then(gate, next) => {
            tokio::select! {
                () = gate.opened() => {}
                () = listen(socket) => {}
            }
            Box::pin(act(socket, *next)).await?;
        }
        Behaviour::DeafThen(gate, next) => {
            gate.opened().await;
            Box::pin(act(socket, *next)).await?;
        }
    }
    Ok(())
}

fn text(frame: &Value) -> Message {
    Message::text(frame.to_string())
}

/// Closes as the existing analyzers do.
async fn close(socket: &mut Socket) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    socket.close(Some(CloseFrame { code: 1000.into(), reason: "Analysis complete".into() })).await?;
    listen(socket).await;
    Ok(())
}

/// Reads, and so answers pings, until the client leaves.
async fn listen(socket: &mut Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}
