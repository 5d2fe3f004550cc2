//! One connection that many requests share, by the extension `manifestd/v1`. A task of its own owns the socket: it brings each frame to the
//! request whose id it carries, sends pings for all of them, and ends when the connection does.
//!
//! Nobody can hold it up: progress that a request does not take is dropped, the frame that ends a request has a place of its own, and
//! a peer that neither reads nor writes is given up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::answer::{GARBAGE_MAX, Received, Unread, is_large, parse};
use super::executors::Limits;
use super::socket::{Broken, Socket};
use crate::resource::attempt::Sign;
use crate::resource::outcome::one_line;
use crate::verdict::frame;

/// Requests that may wait to be written; more wait in their own tasks.
const OUTGOING_MAX: usize = 64;

/// What a request may be told before it listens; more is dropped, which costs a line of progress.
const TOLD_MAX: usize = 64;

/// How long a connection that nobody uses stays open, at least: so long a burst of short tasks stays on one. The embedded analyzer closes
/// after ten minutes.
const IDLE: Duration = Duration::from_secs(30);

/// How long the good-bye may take. The peer owes nothing any more.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// Why a connection is no longer there.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    /// The ending of a request that does not ask again.
    pub(super) broken: Broken,
    /// Whether a message was over the limit. Whose it was, nobody knows.
    pub(super) too_large: bool,
    /// Whether the other side left the protocol, so that asking again would be no better.
    pub(super) foreign: bool,
}

impl Lost {
    pub(super) fn connection(text: &str) -> Self {
        Self { broken: Broken::lost(text), too_large: false, foreign: false }
    }

    fn foreign(broken: Broken) -> Self {
        Self { broken, too_large: false, foreign: true }
    }
}

/// What a request is told on its way.
#[derive(Debug)]
pub(super) enum Told {
    /// The other side lives.
    Alive,
    /// How far it is, without the rest of the frame: what waits here must stay small.
    Progress(Sign),
    /// The frame that does.
    Answer(Box<Received>),
}

/// One shared connection.
pub(super) struct Link {
    board: Mutex<Board>,
    outgoing: mpsc::Sender<String>,
    /// A large message is being parsed, and nothing is read meanwhile.
    parsing: AtomicBool,
    stop: CancellationToken,
}

#[derive(Default)]
struct Board {
    seats: HashMap<String, Seat>,
    entered: u64,
    ended: Option<Lost>,
}

struct Seat {
    number: u64,
    told: mpsc::Sender<Told>,
    answer: oneshot::Sender<Received>,
}

/// A request's place on a connection; it is given up when this is dropped.
pub(super) struct Place {
    link: Arc<Link>,
    id: String,
    number: u64,
    told: mpsc::Receiver<Told>,
    answer: oneshot::Receiver<Received>,
    _alone: Option<DropGuard>,
}

impl Link {
    /// A connection that is about to be run, with the queue that [`Link::run`] wants.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<String>) {
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let (parsing, stop) = (AtomicBool::new(false), CancellationToken::new());
        (Arc::new(Self { board: Mutex::default(), outgoing, parsing, stop }), queue)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Every change under this lock is a single insert, remove or assignment.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for the request of this id. `alone`: the connection is for it only and ends with it.
    ///
    /// # Errors
    /// Why the connection is no longer there.
    pub(super) fn enter(self: &Arc<Self>, id: &str, alone: bool) -> Result<Place, Lost> {
        let (teller, told) = mpsc::channel(TOLD_MAX);
        let (answerer, answer) = oneshot::channel();
        let mut board = self.board();
        if let Some(lost) = &board.ended {
            return Err(lost.clone());
        }
        board.entered += 1;
        let number = board.entered;
        board.seats.insert(id.to_owned(), Seat { number, told: teller, answer: answerer });
        let alone = alone.then(|| self.stop.clone().drop_guard());
        Ok(Place { link: Arc::clone(self), id: id.to_owned(), number, told, answer, _alone: alone })
    }

    /// Runs the connection until it ends.
    pub(super) async fn run(self: Arc<Self>, socket: Socket, queue: mpsc::Receiver<String>, limits: &Limits) {
        // Also when this is dropped: whoever has a place must hear of it.
        let _ended = Ended(&self);
        let bytes = socket.get_ref().bytes();
        let (mut sink, stream) = socket.split();
        let lost = tokio::select! {
            lost = self.read(stream) => lost,
            lost = self.write(&mut sink, queue, &bytes, limits) => lost,
            () = self.idle() => Lost::connection("nothing used it"),
            () = self.stop.cancelled() => Lost::connection("it was for one request"),
        };
        self.end(lost);
        let _ = tokio::time::timeout(LEAVE_MAX, sink.close()).await;
    }

    fn end(&self, lost: Lost) {
        let mut board = self.board();
        board.ended.get_or_insert(lost);
        board.seats.clear();
    }

    /// Comes back when nobody has used the connection for a while; from then on nobody can.
    async fn idle(&self) {
        let mut seen = 0;
        loop {
            tokio::time::sleep(IDLE).await;
            let mut board = self.board();
            if board.seats.is_empty() && board.entered == seen {
                board.ended = Some(Lost::connection("nothing used it"));
                return;
            }
            seen = board.entered;
        }
    }

    async fn read(&self, mut stream: SplitStream<Socket>) -> Lost {
        let mut garbage = 0;
        loop {
            let bytes: Bytes = match stream.next().await {
                Some(Ok(Message::Text(text))) => text.into(),
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(frame))) => {
                    return Lost { broken: Broken::closed(frame), too_large: false, foreign: false };
                }
                Some(Err(error)) => {
                    let too_large = matches!(error, Error::Capacity(CapacityError::MessageTooLong { .. }));
                    let broken = Broken::from(error);
                    return Lost { too_large, foreign: !broken.over, broken };
                }
                None => return Lost::connection("the connection ended"),
            };
            self.parsing.store(is_large(&bytes), Ordering::Relaxed);
            let parsed = parse(bytes).await;
            self.parsing.store(false, Ordering::Relaxed);
            match parsed {
                Ok(received) => {
                    garbage = 0;
                    if let Err(broken) = self.deliver(received) {
                        return Lost::foreign(broken);
                    }
                }
                Err(Unread::TooHeavy(why)) => {
                    return Lost { broken: Broken::too_heavy(&why), too_large: true, foreign: false };
                }
                Err(Unread::Garbage(problem)) => {
                    garbage += 1;
                    if garbage > GARBAGE_MAX {
                        return Lost::foreign(Broken::garbage(&problem));
                    }
                }
            }
        }
    }

    /// Brings a frame to its request. Frames of requests that are over, and of none, are dropped.
    fn deliver(&self, received: Received) -> Result<(), Broken> {
        let ends = frame::terminal(&received.frame);
        let Some(id) = received.frame["correlation_id"].as_str() else {
            if ends && received.frame["type"] != "error" {
                let text = "the analyzer sent a result that says not what it belongs to: it does not speak manifestd/v1 any more";
                return Err(Broken::protocol(text));
            }
            if let Some(text) = frame::error_text(&received.frame) {
                tracing::debug!(said = one_line(text), "an analyzer sent an error that belongs to no request");
            }
            return Ok(());
        };
        let mut board = self.board();
        if ends {
            if let Some(seat) = board.seats.remove(id) {
                drop(board);
                let _ = seat.answer.send(received);
            }
        } else if let Some(seat) = board.seats.get(id)
            && let Some(sign) = frame::progress(&received.frame)
        {
            let _ = seat.told.try_send(Told::Progress(sign));
        }
        Ok(())
    }

    /// Sends what is to be sent, pings, and watches whether bytes come: also the bytes of a message that is not complete are a sign of life.
    async fn write(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        mut queue: mpsc::Receiver<String>,
        bytes: &AtomicU64,
        limits: &Limits,
    ) -> Lost {
        let period = limits.ping_interval.min(limits.silence_max);
        let mut tick = tokio::time::interval_at(Instant::now() + period, period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut heard_at) = (0, Instant::now());
        loop {
            let message = tokio::select! {
                Some(text) = queue.recv() => Message::text(text),
                _ = tick.tick() => {
                    let now = bytes.load(Ordering::Relaxed);
                    if now != seen || self.parsing.load(Ordering::Relaxed) {
                        (seen, heard_at) = (now, Instant::now());
                        self.tell_alive();
                    } else if heard_at.elapsed() >= limits.silence_max {
                        let text = format!("nothing was heard of the analyzer for {} ms", heard_at.elapsed().as_millis());
                        return Lost::connection(&text);
                    }
                    Message::Ping(Bytes::new())
                }
            };
            let send = async {
                sink.feed(message).await?;
                // What waits already goes out together, and what comes meanwhile with the next.
                for _ in 0..OUTGOING_MAX {
                    let Ok(text) = queue.try_recv() else { break };
                    sink.feed(Message::text(text)).await?;
                }
                sink.flush().await
            };
            match tokio::time::timeout(limits.silence_max, send).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Lost { broken: error.into(), too_large: false, foreign: false },
                Err(_) => return Lost::connection("the analyzer does not read what it is sent"),
            }
        }
    }

    fn tell_alive(&self) {
        for seat in self.board().seats.values() {
            let _ = seat.told.try_send(Told::Alive);
        }
    }
}

/// Ends a link when its run does, however that comes.
struct Ended<'a>(&'a Link);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end(Lost::connection("this side let go of it"));
    }
}

impl Place {
    /// Sends one JSON text. It may wait, for a bounded time, as long as the peer does not read.
    ///
    /// # Errors
    /// Why the connection is no longer there.
    pub(super) async fn send(&self, text: String) -> Result<(), Lost> {
        self.link.outgoing.send(text).await.map_err(|_| self.lost())
    }

    /// Waits for what this request is told next; after the answer there is nothing more to come.
    ///
    /// # Errors
    /// Why the connection is no longer there.
    pub(super) async fn hear(&mut self) -> Result<Told, Lost> {
        // The seat is gone as soon as the answer is there or the connection is not; what was told before is heard first.
        if let Some(told) = self.told.recv().await {
            return Ok(told);
        }
        match (&mut self.answer).await {
            Ok(received) => Ok(Told::Answer(Box::new(received))),
            Err(_) => Err(self.lost()),
        }
    }

    fn lost(&self) -> Lost {
        self.link.board().ended.clone().unwrap_or_else(|| Lost::connection("its place was taken"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut board = self.link.board();
        if board.seats.get(&self.id).is_some_and(|seat| seat.number == self.number) {
            board.seats.remove(&self.id);
        }
    }
}
