//! One connection, from handshake to close. Frames are read all the while, so that pings are answered and a client that leaves
//! ends its analysis.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::CapacityError};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};
use tokio_util::sync::CancellationToken;

use super::request::{Analyze, Request};
use super::serve::Shared;
use super::{analysis, frames};

/// Bytes that are read at once. The default of 128 KiB would be most of the memory of a service with many connections.
const BUFFER_BYTES: usize = 16 * 1024;

/// The largest incoming message, as in the existing services.
const INCOMING_BYTES_MAX: usize = 100 * 1024 * 1024;

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client may be silent while nothing runs for it.
const IDLE: Duration = Duration::from_secs(600);

/// How long a client may take to read one frame.
const SEND: Duration = Duration::from_secs(120);

/// How long a client may take to answer a close.
const CLOSING: Duration = Duration::from_secs(5);

/// How long a stopped analysis may take to end its programs; after that they are killed by dropping it.
const STOPPING: Duration = Duration::from_secs(5);

/// Progress frames that may wait for a client.
const PROGRESS_MAX: usize = 64;

type Socket = WebSocketStream<TcpStream>;

/// The client is gone, or the connection is broken: there is nobody to talk to.
struct Gone;

/// Talks to one client until one side is done.
pub(super) async fn converse(stream: TcpStream, shared: &Shared, shutdown: &CancellationToken) {
    // Frames are small and each is waited for.
    let _ = stream.set_nodelay(true);
    let limits = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(INCOMING_BYTES_MAX))
        .max_frame_size(Some(INCOMING_BYTES_MAX));
    let accepted = tokio::select! {
        accepted = timeout(HANDSHAKE, accept_async_with_config(stream, Some(limits))) => accepted,
        () = shutdown.cancelled() => return,
    };
    let Ok(Ok(mut socket)) = accepted else { return };
    if let Ok((code, reason)) = requests(&mut socket, shared, shutdown).await {
        close(&mut socket, code, reason).await;
    }
}

/// Answers requests until one of them ends the connection; says how to close.
async fn requests(
    socket: &mut Socket,
    shared: &Shared,
    shutdown: &CancellationToken,
) -> Result<(CloseCode, &'static str), Gone> {
    const DONE: (CloseCode, &str) = (CloseCode::Normal, "Analysis complete");
    let now = shared.options.clock;
    loop {
        let received = tokio::select! {
            received = receive(socket) => received,
            () = sleep(IDLE) => return Ok((CloseCode::Normal, "idle")),
            () = shutdown.cancelled() => return Ok((CloseCode::Away, "shutting down")),
        };
        let bytes = match received {
            Ok(bytes) => bytes,
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                return Ok((CloseCode::Size, "message too big"));
            }
            Err(_) => return Err(Gone),
        };
        match Request::read(&bytes) {
            Request::Ping => send(socket, frames::pong(now())).await?,
            Request::Health => {
                let health = async {
                    let tools = shared.catalog().await.available();
                    frames::health(&tools, shared.started.elapsed().as_secs_f64(), now())
                };
                let Some(frame) = shutdown.run_until_cancelled(health).await else {
                    return Ok((CloseCode::Away, "shutting down"));
                };
                send(socket, frame).await?;
            }
            Request::Refused(problem) => send(socket, frames::error(&problem)).await?,
            Request::Invalid(problem) => {
                send(socket, frames::error(&problem)).await?;
                return Ok(DONE);
            }
            Request::Foreign => return Ok((CloseCode::Normal, "")),
            Request::Analyze(request) => {
                return Ok(match analyse(socket, shared, &request, shutdown).await? {
                    Ended::Answered => DONE,
                    Ended::ShutDown => (CloseCode::Away, "shutting down"),
                });
            }
        }
    }
}

/// How an analysis left the connection.
enum Ended {
    /// The result was sent.
    Answered,
    /// The analyzer is shutting down.
    ShutDown,
}

/// Runs an analysis and keeps the conversation going meanwhile. Messages that come during an analysis are dropped, as the existing
/// services do.
async fn analyse(
    socket: &mut Socket,
    shared: &Shared,
    request: &Analyze,
    shutdown: &CancellationToken,
) -> Result<Ended, Gone> {
    send(socket, frames::started(&request.slug, request.number, request.id.as_deref())).await?;
    let (progress, mut waiting) = mpsc::channel(PROGRESS_MAX);
    let cancel = CancellationToken::new();
    let mut running = pin!(analysis::analyse(shared, request, &progress, &cancel));
    let text = loop {
        tokio::select! {
            received = receive(socket) => if received.is_err() {
                stop(&cancel, running).await;
                return Err(Gone);
            },
            Some(frame) = waiting.recv() => if send(socket, frame).await.is_err() {
                stop(&cancel, running).await;
                return Err(Gone);
            },
            text = &mut running => break text,
            () = shutdown.cancelled() => {
                stop(&cancel, running).await;
                return Ok(Ended::ShutDown);
            }
        }
    };
    while let Ok(frame) = waiting.try_recv() {
        send(socket, frame).await?;
    }
    send_text(socket, text).await?;
    Ok(Ended::Answered)
}

/// Stops an analysis and waits, not for ever, until its programs are gone.
async fn stop(cancel: &CancellationToken, running: impl Future<Output = String>) {
    cancel.cancel();
    let _ = timeout(STOPPING, running).await;
}

/// The next text or binary message. The WebSocket layer answers pings while this waits.
async fn receive(socket: &mut Socket) -> Result<Vec<u8>, Error> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_bytes().to_vec()),
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes.to_vec()),
            Some(Ok(Message::Close(_))) | None => return Err(Error::ConnectionClosed),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Err(error),
        }
    }
}

async fn send(socket: &mut Socket, frame: Value) -> Result<(), Gone> {
    send_text(socket, frame.to_string()).await
}

async fn send_text(socket: &mut Socket, text: String) -> Result<(), Gone> {
    match timeout(SEND, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// Says goodbye and waits for the answer. Closing a socket with unread bytes in it would reset the connection, and the reset could
/// overtake the result.
async fn close(socket: &mut Socket, code: CloseCode, reason: &'static str) {
    let goodbye = async {
        if socket.close(Some(CloseFrame { code, reason: reason.into() })).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(CLOSING, goodbye).await;
}
