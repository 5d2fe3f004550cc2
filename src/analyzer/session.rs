//! The conversation on one connection. A base request is answered inline, one on each connection; requests with an attempt token are
//! answered side by side, with their id on every frame, while pings and health checks are answered in between.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, error::CapacityError};
use tokio_util::sync::CancellationToken;

use super::analysis::{self, STOPPING};
use super::attempts::{Attached, Attempt, Ended, Ending, Follower, RUNNING_MAX, Refusal};
use super::connection::{Gone, Outgoing};
use super::frames::{self, Code};
use super::request::{Analyze, AttemptRequest, Cancel, Request};
use super::serve::Shared;

/// How long a client may be silent while nothing runs for it.
const IDLE: Duration = Duration::from_secs(600);

/// Requests in flight on one connection: one client may use all that an analyzer runs.
const IN_FLIGHT_MAX: usize = RUNNING_MAX;

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// A base request is answered.
    Done,
    /// Nothing was said for too long.
    Idle,
    /// The client does not speak the protocol.
    Foreign,
    /// A message was too large.
    TooBig,
    /// The analyzer is shutting down.
    ShutDown,
}

impl Farewell {
    /// The code of the close frame.
    pub(super) const fn code(self) -> CloseCode {
        match self {
            Self::Done | Self::Idle | Self::Foreign => CloseCode::Normal,
            Self::TooBig => CloseCode::Size,
            Self::ShutDown => CloseCode::Away,
        }
    }

    /// The text of the close frame.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Done => "Analysis complete",
            Self::Idle => "idle",
            Self::Foreign => "",
            Self::TooBig => "message too big",
            Self::ShutDown => "shutting down",
        }
    }

    /// Whether slow readers are not waited for.
    pub(super) const fn is_urgent(self) -> bool {
        matches!(self, Self::ShutDown)
    }
}

/// Follows one request, or waits for what was cancelled by its token; gives back the id that is free again.
type Following = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// A base request that runs.
struct Inline<'a> {
    cancel: CancellationToken,
    running: Pin<Box<dyn Future<Output = String> + Send + 'a>>,
}

/// What is under way on one connection.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    shutdown: &'a CancellationToken,
    out: mpsc::Sender<Outgoing>,
    inline: Option<Inline<'a>>,
    /// By id; without an attempt when a kept answer is on its way.
    in_flight: HashMap<String, Option<Arc<Attempt>>>,
    following: FuturesUnordered<Following>,
}

impl<'a> Session<'a> {
    /// A conversation whose answers go to `out`.
    pub(super) fn new(shared: &'a Shared, shutdown: &'a CancellationToken, out: mpsc::Sender<Outgoing>) -> Self {
        let (in_flight, following) = (HashMap::new(), FuturesUnordered::new());
        Self { shared, shutdown, out, inline: None, in_flight, following }
    }

    /// Answers messages until one of them ends the connection; says why. It ends as well when nobody takes what goes out.
    pub(super) async fn talk(
        &mut self,
        stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    ) -> Result<Farewell, Gone> {
        loop {
            let is_idle = self.inline.is_none() && self.following.is_empty();
            let received = tokio::select! {
                received = receive(stream) => received,
                Some(id) = self.following.next(), if !self.following.is_empty() => {
                    id.and_then(|id| self.in_flight.remove(&id));
                    continue;
                }
                Some(text) = finished(&mut self.inline) => {
                    self.inline = None;
                    self.send(Outgoing::Text(text)).await?;
                    return Ok(Farewell::Done);
                }
                () = sleep(IDLE), if is_idle => return Ok(Farewell::Idle),
                () = self.shutdown.cancelled() => return Ok(Farewell::ShutDown),
            };
            let bytes = match received {
                Ok(bytes) => bytes,
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => return Ok(Farewell::TooBig),
                Err(_) => return Err(Gone),
            };
            // Messages that come during a base request are dropped, as the existing services do.
            if self.inline.is_none()
                && let Some(farewell) = self.answer(&bytes).await?
            {
                return Ok(farewell);
            }
        }
    }

    /// Ends what must not outlive the connection: a base request, with its programs. Attempts go on.
    pub(super) async fn leave(self) {
        if let Some(Inline { cancel, running }) = self.inline {
            cancel.cancel();
            let _ = timeout(STOPPING, running).await;
        }
    }

    /// Answers one message, or starts to.
    async fn answer(&mut self, bytes: &[u8]) -> Result<Option<Farewell>, Gone> {
        match Request::read(bytes) {
            Request::Ping => self.say(frames::pong((self.shared.options.clock)())).await?,
            Request::Health => {
                let Some(frame) = self.shutdown.run_until_cancelled(health(self.shared)).await else {
                    return Ok(Some(Farewell::ShutDown));
                };
                self.say(frame).await?;
            }
            Request::Analyze(request) => self.start_inline(request).await?,
            Request::Attempt(request) => self.attach(request).await?,
            Request::Cancel(cancel) => self.cancel(cancel).await?,
            Request::Refused(problem) => self.say(frames::error(&problem)).await?,
            Request::Rejected { id, problem } => self.refuse(id.as_deref(), Code::InvalidRequest, &problem).await?,
            Request::Invalid(problem) => {
                self.say(frames::error(&problem)).await?;
                return Ok(Some(Farewell::Done));
            }
            Request::Foreign => return Ok(Some(Farewell::Foreign)),
        }
        Ok(None)
    }

    async fn start_inline(&mut self, request: Analyze) -> Result<(), Gone> {
        self.say(frames::started(&request.slug, request.number, request.id.as_deref())).await?;
        let (shared, out, cancel) = (self.shared, self.out.clone(), CancellationToken::new());
        let stop = cancel.clone();
        let running = Box::pin(async move {
            let tell = |frame| drop(out.try_send(Outgoing::Frame(frame)));
            analysis::analyse(shared, &request, &tell, &stop).await
        });
        self.inline = Some(Inline { cancel, running });
        Ok(())
    }

    async fn attach(&mut self, request: AttemptRequest) -> Result<(), Gone> {
        let AttemptRequest { id, token, analyze } = request;
        if self.in_flight.contains_key(&id) {
            // Without a correlation id, which would end the request that has it.
            let problem = format!("id {id:?} belongs to a request that is in flight: each needs its own");
            return self.refuse(None, Code::DuplicateId, &problem).await;
        }
        if self.following.len() >= IN_FLIGHT_MAX {
            let problem = format!("{IN_FLIGHT_MAX} requests are in flight on this connection: wait for some of them");
            return self.refuse(Some(&id), Code::Busy, &problem).await;
        }
        let mut started = frames::belonging_to(&id, frames::started(&analyze.slug, analyze.number, Some(&id)));
        match self.shared.attempts.attach(&token, analyze) {
            Ok(Attached::Running { known, follower }) => {
                started["attached"] = known.into();
                self.in_flight.insert(id.clone(), Some(Arc::clone(&follower.attempt)));
                self.following.push(Box::pin(follow(id, started, follower, self.out.clone())));
            }
            Ok(Attached::Kept(text)) => {
                started["attached"] = true.into();
                self.in_flight.insert(id.clone(), None);
                self.following.push(Box::pin(deliver(id, started, text, self.out.clone())));
            }
            Err(refusal) => {
                let (code, problem) = words(refusal);
                self.refuse(Some(&id), code, &problem).await?;
            }
        }
        Ok(())
    }

    async fn cancel(&mut self, cancel: Cancel) -> Result<(), Gone> {
        let Cancel { id, token } = cancel;
        let own = id.as_ref().and_then(|id| self.in_flight.get(id)).cloned();
        match (own, token) {
            // The answer is on its way already, and wins.
            (Some(None), _) => Ok(()),
            (Some(Some(attempt)), token) if token.as_ref().is_none_or(|token| token == attempt.token()) => {
                self.shared.attempts.stop_this(&attempt);
                Ok(())
            }
            (Some(Some(_)), _) => {
                let problem = "the id and the attempt_token belong to different requests: send one of them";
                self.refuse(None, Code::InvalidRequest, problem).await
            }
            (None, None) => {
                let problem = "no request of that id is in flight on this connection";
                self.refuse(id.as_deref(), Code::UnknownRequest, problem).await
            }
            (None, Some(token)) => self.cancel_token(id, token).await,
        }
    }

    /// Stops what another connection asked for.
    async fn cancel_token(&mut self, id: Option<String>, token: String) -> Result<(), Gone> {
        if self.following.len() >= IN_FLIGHT_MAX {
            let problem = format!("{IN_FLIGHT_MAX} requests are in flight on this connection: wait for some of them");
            return self.refuse(id.as_deref(), Code::Busy, &problem).await;
        }
        match self.shared.attempts.stop(&token) {
            Some(ending) => self.following.push(Box::pin(tell_stopped(id, token, ending, self.out.clone()))),
            None => {
                let mut frame = error(id.as_deref(), Code::UnknownRequest, "nothing runs under that attempt_token");
                frame["attempt_token"] = token.into();
                self.say(frame).await?;
            }
        }
        Ok(())
    }

    async fn refuse(&mut self, id: Option<&str>, code: Code, problem: &str) -> Result<(), Gone> {
        self.say(error(id, code, problem)).await
    }

    async fn say(&mut self, frame: Value) -> Result<(), Gone> {
        self.send(Outgoing::Frame(frame)).await
    }

    async fn send(&mut self, outgoing: Outgoing) -> Result<(), Gone> {
        self.out.send(outgoing).await.map_err(|_| Gone)
    }
}

/// How long a health check waits for the tools to be looked for. Who asks gives up after a few seconds, and the analyzer is well all the while.
const HEALTH_WAIT: Duration = Duration::from_secs(2);

/// How the analyzer is. Until its tools have been looked for, none is listed.
async fn health(shared: &Shared) -> Value {
    let catalog = timeout(HEALTH_WAIT, shared.catalog()).await;
    let tools = catalog.map(|catalog| catalog.available()).unwrap_or_default();
    frames::health(&tools, shared.started.elapsed().as_secs_f64(), &shared.tally, (shared.options.clock)())
}

fn error(id: Option<&str>, code: Code, problem: &str) -> Value {
    let frame = frames::error_with(code, problem);
    match id {
        Some(id) => frames::belonging_to(id, frame),
        None => frame,
    }
}

fn words(refusal: Refusal) -> (Code, String) {
    match refusal {
        Refusal::Conflict => (
            Code::TokenConflict,
            "the attempt_token belongs to a request for something else: a new request needs a new token".into(),
        ),
        Refusal::Busy => (Code::Busy, format!("{RUNNING_MAX} analyses are running: ask again later")),
        Refusal::ShutDown => (Code::ShuttingDown, "the analyzer is shutting down".into()),
    }
}

/// Brings what a running attempt says to one client. Progress is dropped when the client is slow; everything else waits for room.
async fn follow(id: String, started: Value, mut follower: Follower, out: mpsc::Sender<Outgoing>) -> Option<String> {
    let pass_on = |frame| drop(out.try_send(Outgoing::Frame(frames::belonging_to(&id, frame))));
    // That nobody takes it means that this future is about to be dropped.
    let _ = out.send(Outgoing::Frame(started)).await;
    let ended = loop {
        tokio::select! {
            frame = follower.progress.recv() => match frame {
                Ok(frame) => pass_on(frame),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break follower.ending.wait().await,
            },
            ended = follower.ending.wait() => break ended,
        }
    };
    loop {
        match follower.progress.try_recv() {
            Ok(frame) => pass_on(frame),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    // The attempt must not stay in memory for as long as its answer waits for room.
    drop(follower);
    let answer = match ended {
        Ended::Answered(text) => Outgoing::Answer { id: id.clone(), text },
        Ended::Cancelled => Outgoing::Frame(error(Some(&id), Code::Cancelled, CANCELLED)),
        Ended::ShutDown => Outgoing::Frame(error(Some(&id), Code::ShuttingDown, "the analyzer is shutting down")),
    };
    let _ = out.send(answer).await;
    Some(id)
}

/// What every client of a cancelled attempt is told.
const CANCELLED: &str = "cancelled on request";

/// Brings a kept answer to one client.
async fn deliver(id: String, started: Value, text: Arc<str>, out: mpsc::Sender<Outgoing>) -> Option<String> {
    let _ = out.send(Outgoing::Frame(started)).await;
    let _ = out.send(Outgoing::Answer { id: id.clone(), text }).await;
    Some(id)
}

/// Tells a client that stopped an attempt by its token when it is gone.
async fn tell_stopped(
    id: Option<String>,
    token: String,
    mut ending: Ending,
    out: mpsc::Sender<Outgoing>,
) -> Option<String> {
    let (code, message) = match ending.wait().await {
        Ended::ShutDown => (Code::ShuttingDown, "the analyzer is shutting down"),
        Ended::Cancelled | Ended::Answered(_) => (Code::Cancelled, CANCELLED),
    };
    let mut frame = error(id.as_deref(), code, message);
    frame["attempt_token"] = token.into();
    let _ = out.send(Outgoing::Frame(frame)).await;
    None
}

/// The text of a base request once it has ended; nothing when none runs.
async fn finished(inline: &mut Option<Inline<'_>>) -> Option<String> {
    match inline {
        Some(inline) => Some(inline.running.as_mut().await),
        None => None,
    }
}

/// The next text or binary message. The WebSocket layer answers pings while this waits.
async fn receive(stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) -> Result<Vec<u8>, Error> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_bytes().to_vec()),
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes.to_vec()),
            Some(Ok(Message::Close(_))) | None => return Err(Error::ConnectionClosed),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Err(error),
        }
    }
}
