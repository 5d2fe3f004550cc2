//! An analyzer that speaks `manifestd/v1`, or does not quite: a raw server on a local port that runs each token once, keeps its result, and plays a
//! script. Everything it does is tied to signals, and it ends when it is dropped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// What it does with what it hears.
#[derive(Clone)]
pub(crate) enum Script {
    /// Keeps to the protocol: a request runs until the test finishes it.
    Keeps,
    /// Answers a request with this frame, which gets its id.
    Answers(Value),
    /// Says this behind each request, as it is, then answers with the frame.
    Babbles(Vec<Message>, Value),
    /// Sends what cannot be read, without end, as soon as something is asked.
    Garbage,
    /// Resets the connection as soon as something is asked.
    Resets,
    /// Closes 1001 as soon as something is asked, on the first so many connections; then it keeps to the protocol.
    ClosesFirst(usize),
    /// Keeps to the protocol and does not answer a cancel.
    IgnoresCancel,
    /// Keeps to the protocol on the first connection, and then stops reading and writing when something is asked.
    FallsSilentFirst,
}

/// The running analyzer.
pub(crate) struct Extended {
    pub(crate) address: SocketAddr,
    known: Arc<Known>,
    heard: mpsc::UnboundedReceiver<(usize, Value)>,
    drop_all: watch::Sender<usize>,
    server: JoinSet<()>,
}

/// What it knows of attempts.
#[derive(Default)]
struct Known {
    attempts: Mutex<HashMap<String, Attempt>>,
    /// Moves with every change of `attempts`.
    changed: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct Attempt {
    started: usize,
    answer: Option<Value>,
    cancelled: bool,
}

impl Known {
    fn attempts(&self) -> MutexGuard<'_, HashMap<String, Attempt>> {
        self.attempts.lock().expect("nobody panics with it")
    }

    fn change(&self, token: &str, change: impl FnOnce(&mut Attempt)) {
        change(self.attempts().entry(token.to_owned()).or_default());
        self.changed.send_modify(|moves| *moves += 1);
    }
}

impl Extended {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a local port");
        let address = listener.local_addr().expect("its address");
        let (teller, heard) = mpsc::unbounded_channel();
        let known = Arc::new(Known::default());
        let (drop_all, dropping) = watch::channel(0);
        let mut server = JoinSet::new();
        let own = Arc::clone(&known);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 1.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let talk = talk(stream, number, script.clone(), Arc::clone(&own), teller.clone());
                let mut dropping = dropping.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = talk => {}
                        _ = dropping.wait_for(|below| number <= *below) => {}
                    }
                });
            }
        });
        Self { address, known, heard, drop_all, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The next message that it hears, with the number of the connection.
    pub(crate) async fn hears(&mut self) -> (usize, Value) {
        self.heard.recv().await.expect("the analyzer runs")
    }

    /// Ends the analysis under a token with this answer.
    pub(crate) fn finish(&self, token: &str, answer: Value) {
        self.known.change(token, |attempt| attempt.answer = Some(answer));
    }

    /// The same, for somebody else to call.
    pub(crate) fn finisher(&self) -> impl FnOnce(&str, Value) + Send + 'static {
        let known = Arc::clone(&self.known);
        move |token, answer| known.change(token, |attempt| attempt.answer = Some(answer))
    }

    /// Drops every connection up to this one, without a word.
    pub(crate) fn drop_connections(&self, up_to: usize) {
        self.drop_all.send_replace(up_to);
    }

    /// How often the analysis under a token was started.
    pub(crate) fn started(&self, token: &str) -> usize {
        self.known.attempts().get(token).map_or(0, |attempt| attempt.started)
    }

    /// Whether the analysis under a token was cancelled.
    pub(crate) fn cancelled(&self, token: &str) -> bool {
        self.known.attempts().get(token).is_some_and(|attempt| attempt.cancelled)
    }

    /// Ends it for good: its port is closed, and what it knew is gone.
    pub(crate) async fn kill(&mut self) {
        self.server.shutdown().await;
    }
}

type Socket = WebSocketStream<TcpStream>;
type Gone = Box<dyn std::error::Error + Send + Sync>;

async fn talk(
    stream: TcpStream,
    number: usize,
    script: Script,
    known: Arc<Known>,
    heard: mpsc::UnboundedSender<(usize, Value)>,
) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    // An error only says that the client is gone, which is its right.
    let _ = serve(socket, number, &script, &known, &heard).await;
}

async fn serve(
    mut socket: Socket,
    number: usize,
    script: &Script,
    known: &Known,
    heard: &mpsc::UnboundedSender<(usize, Value)>,
) -> Result<(), Gone> {
    // Ids of this connection, with their tokens.
    let mut attached: HashMap<String, String> = HashMap::new();
    let mut changes = known.changed.subscribe();
    loop {
        let message = tokio::select! {
            message = socket.next() => message.ok_or("the client left")??,
            _ = changes.changed() => {
                tell_ended(&mut socket, known, &mut attached).await?;
                continue;
            }
        };
        let Message::Text(text) = message else { continue };
        let asked: Value = serde_json::from_str(&text)?;
        let _ = heard.send((number, asked.clone()));
        let id = asked["id"].as_str().ok_or("an id is needed")?.to_owned();
        let token = asked["attempt_token"].as_str().unwrap_or(&id).to_owned();
        if asked["type"] == "cancel_request" {
            if !matches!(script, Script::IgnoresCancel) {
                cancel(&mut socket, known, &mut attached, &id, &token).await?;
            }
            continue;
        }
        match script {
            Script::Keeps | Script::IgnoresCancel => {}
            Script::Answers(frame) => {
                say(&mut socket, &id, frame.clone()).await?;
                continue;
            }
            Script::Babbles(messages, frame) => {
                for message in messages {
                    socket.send(message.clone()).await?;
                }
                say(&mut socket, &id, frame.clone()).await?;
                continue;
            }
            Script::Garbage => loop {
                socket.send(Message::text("this is not JSON {")).await?;
            },
            Script::Resets => {
                socket.get_mut().set_zero_linger()?;
                return Ok(());
            }
            Script::ClosesFirst(count) if number <= *count => {
                socket.close(Some(CloseFrame { code: 1001.into(), reason: "shutting down".into() })).await?;
                while let Some(Ok(_)) = socket.next().await {}
                return Ok(());
            }
            Script::FallsSilentFirst if number == 1 => {
                known.change(&token, |attempt| attempt.started += 1);
                return std::future::pending().await;
            }
            Script::ClosesFirst(_) | Script::FallsSilentFirst => {}
        }
        let is_known = known.attempts().contains_key(&token);
        if !is_known {
            known.change(&token, |attempt| attempt.started += 1);
        }
        say(&mut socket, &id, json!({"type": "status_update", "stage": "started", "attached": is_known})).await?;
        attached.insert(id, token);
        tell_ended(&mut socket, known, &mut attached).await?;
    }
}

/// Gives their answers to the requests of a connection that have ended.
async fn tell_ended(socket: &mut Socket, known: &Known, attached: &mut HashMap<String, String>) -> Result<(), Gone> {
    let answer = |token: &String| known.attempts().get(token).and_then(|attempt| attempt.answer.clone());
    let ended: Vec<(String, Value)> =
        attached.iter().filter_map(|(id, token)| Some((id.clone(), answer(token)?))).collect();
    for (id, answer) in ended {
        attached.remove(&id);
        say(socket, &id, answer).await?;
    }
    Ok(())
}

async fn cancel(
    socket: &mut Socket,
    known: &Known,
    attached: &mut HashMap<String, String>,
    id: &str,
    token: &str,
) -> Result<(), Gone> {
    let runs = known.attempts().get(token).is_some_and(|attempt| attempt.answer.is_none() && !attempt.cancelled);
    attached.remove(id);
    let code = if runs { "cancelled" } else { "unknown_request" };
    if runs {
        known.change(token, |attempt| attempt.cancelled = true);
    }
    say(socket, id, json!({"type": "error", "code": code, "message": "as asked"})).await
}

/// Sends a frame that belongs to a request.
async fn say(socket: &mut Socket, id: &str, mut frame: Value) -> Result<(), Gone> {
    frame["correlation_id"] = id.into();
    Ok(socket.send(Message::text(frame.to_string())).await?)
}
