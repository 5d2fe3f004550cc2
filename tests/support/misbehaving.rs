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
use tokio_util::sync::CancellationToken;

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

/// What the analyzer does with each connection, once it has heard a request.
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
    killed: CancellationToken,
    server: JoinSet<()>,
    /// Bound and not listening: nobody else gets the port of an analyzer that refuses.
    _port: Option<TcpSocket>,
}

/// What the connections of one analyzer share.
#[derive(Clone)]
struct Ears {
    healthy: bool,
    heard: mpsc::Sender<Value>,
    leaving: mpsc::Sender<()>,
    knocked: mpsc::Sender<()>,
    turns: Arc<AtomicUsize>,
}

impl Misbehaving {
    /// Starts an analyzer on a free local port. Health checks are requests like any other to it.
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour, false).await
    }

    /// Starts an analyzer that answers health checks as it should, whatever it does with other requests.
    pub(crate) async fn start_healthy(address: SocketAddr, behaviour: Behaviour) -> Self {
        Self::listen(address, behaviour, true).await
    }

    async fn listen(address: SocketAddr, behaviour: Behaviour, healthy: bool) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Connections of one that ended here linger, and would keep the port.
        socket.set_reuseaddr(true).expect("an option of every socket");
        socket.bind(address).expect("a local port");
        let address = socket.local_addr().expect("its address");
        let (heard, requests) = mpsc::channel(64);
        let (leaving, left) = mpsc::channel(64);
        let (knocked, knocks) = mpsc::channel(64);
        let ears = Ears { healthy, heard, leaving, knocked, turns: Arc::default() };
        let (killed, mut server) = (CancellationToken::new(), JoinSet::new());
        if matches!(behaviour, Behaviour::Refuses) {
            return Self { address, requests, left, knocks, killed, server, _port: Some(socket) };
        }
        let listener = socket.listen(1024).expect("it listens");
        let ending = killed.clone();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(Ok((stream, _))) = ending.run_until_cancelled(listener.accept()).await {
                // Only few tests want to know.
                let _ = ears.knocked.try_send(());
                connections.spawn(serve(stream, behaviour.clone(), ears.clone()));
            }
            drop(listener);
            connections.shutdown().await;
        });
        Self { address, requests, left, knocks, killed, server, _port: None }
    }

    /// Ends it; its port is free afterwards.
    pub(crate) async fn stop(mut self) {
        self.killed.cancel();
        while self.server.join_next().await.is_some() {}
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

async fn serve(stream: TcpStream, behaviour: Behaviour, ears: Ears) {
    if matches!(behaviour, Behaviour::NeverShakesHands) {
        return std::future::pending().await;
    }
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let Some(Ok(Message::Text(text))) = socket.next().await else { return };
    let request: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if ears.healthy && request["type"] == "health_check" {
        let answer =
            json!({"type": "health_response", "status": "healthy", "service": "static-analyzer", "version": "1.0.0"});
        // The client may be gone, which is its right.
        let _ = socket.send(Message::text(answer.to_string())).await;
        return listen(&mut socket).await;
    }
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
