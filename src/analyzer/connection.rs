//! One connection, from handshake to close: one side reads and decides, the other writes what is queued, and neither waits for the
//! other. What is said in between is in `session`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep, timeout};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::Request;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::door;
use super::frames;
use super::serve::Shared;
use super::session::{Farewell, Session};

/// Bytes that are read, and written, at once. The default of 128 KiB would be most of the memory of a service with many connections.
const BUFFER_BYTES: usize = 16 * 1024;

/// The largest incoming message. A request is a name, a number, some tools and their settings; all connections together must not fill
/// the memory.
const INCOMING_BYTES_MAX: usize = 1024 * 1024;

/// How long a client may take for its handshakes.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client may take to read one frame.
const SEND: Duration = Duration::from_secs(120);

/// How long a client may take to answer a close, and to read what is queued before one at a shutdown.
const CLOSING: Duration = Duration::from_secs(5);

/// Frames that may wait for a client. Progress beyond it is dropped, results wait for room.
const QUEUE_MAX: usize = 64;

/// The client is gone, or the connection is broken: there is nobody to talk to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// A frame on its way to the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A small one.
    Frame(Value),
    /// The answer of a base request.
    Text(String),
    /// The answer of an attempt. Several clients may be on their way to the same text; it is copied when its turn comes.
    Answer { id: String, text: Arc<str> },
}

impl Outgoing {
    fn message(self) -> Message {
        match self {
            Self::Frame(frame) => Message::text(frame.to_string()),
            Self::Text(text) => Message::text(text),
            Self::Answer { id, text } => Message::text(frames::text_belonging_to(&id, &text)),
        }
    }
}

/// Talks to one client until one side is done.
pub(super) async fn converse(stream: TcpStream, shared: &Shared, shutdown: &CancellationToken) {
    // Frames are small and each is waited for.
    let _ = stream.set_nodelay(true);
    let patience = sleep(HANDSHAKE);
    tokio::pin!(patience);
    match &shared.door.tls {
        None => talk(stream, shared, shutdown, patience).await,
        Some(tls) => {
            let stream = tokio::select! {
                stream = tls.accept(stream) => stream,
                () = &mut patience => return,
                () = shutdown.cancelled() => return,
            };
            match stream {
                Ok(stream) => talk(stream, shared, shutdown, patience).await,
                Err(error) => tracing::debug!(%error, "a client did not come through TLS"),
            }
        }
    }
}

/// Talks over whatever there is to talk over. `patience` is over when the handshakes must be.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
    shutdown: &CancellationToken,
    patience: Pin<&mut Sleep>,
) {
    let limits = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(INCOMING_BYTES_MAX))
        .max_frame_size(Some(INCOMING_BYTES_MAX));
    let accepted = async {
        let wanted = shared.door.wanted().await;
        #[expect(clippy::result_large_err, reason = "tungstenite asks for this type")]
        let admit = |request: &Request, response| door::admit(request, response, &wanted);
        accept_hdr_async_with_config(stream, admit, Some(limits)).await
    };
    let accepted = tokio::select! {
        accepted = accepted => accepted,
        () = patience => return,
        () = shutdown.cancelled() => return,
    };
    let Ok(socket) = accepted else { return };
    let (mut sink, mut stream) = socket.split();
    let (out, queue) = mpsc::channel(QUEUE_MAX);
    let mut session = Session::new(shared, shutdown, out);
    let farewell = {
        let mut writing = pin!(write(&mut sink, queue));
        let ended = tokio::select! {
            ended = session.talk(&mut stream) => ended,
            _ = &mut writing => Err(Gone),
        };
        session.leave().await;
        let Ok(farewell) = ended else { return };
        // What is queued goes out before the close.
        let written = match farewell.is_urgent() {
            true => timeout(CLOSING, writing).await.unwrap_or(Err(Gone)),
            false => writing.await,
        };
        if written.is_err() {
            return;
        }
        farewell
    };
    close(&mut sink, &mut stream, farewell).await;
}

/// Writes what is queued until nobody can queue any more.
async fn write(sink: &mut (impl Sink<Message> + Unpin), mut queue: mpsc::Receiver<Outgoing>) -> Result<(), Gone> {
    while let Some(outgoing) = queue.recv().await {
        let send = async {
            sink.feed(outgoing.message()).await?;
            // What waits already goes out together.
            while let Ok(outgoing) = queue.try_recv() {
                sink.feed(outgoing.message()).await?;
            }
            sink.flush().await
        };
        match timeout(SEND, send).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Gone),
        }
    }
    Ok(())
}

/// Says goodbye and waits for the answer. Closing a socket with unread bytes in it would reset the connection, and the reset could
/// overtake the result.
async fn close(
    sink: &mut (impl Sink<Message> + Unpin),
    stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    farewell: Farewell,
) {
    let goodbye = async {
        let frame = CloseFrame { code: farewell.code(), reason: farewell.reason().into() };
        if sink.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = stream.next().await {}
        }
    };
    let _ = timeout(CLOSING, goodbye).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::time::Instant;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up_and_not_before_its_time() {
        // Room for the first frame and not for the second.
        let (near, _far) = tokio::io::duplex(64);
        let mut socket = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
        let (out, queue) = mpsc::channel(QUEUE_MAX);
        for _ in 0..2 {
            out.send(Outgoing::Frame(json!({ "type": "a frame of about forty bytes" }))).await.unwrap();
        }
        let started = Instant::now();
        assert_eq!(write(&mut socket, queue).await, Err(Gone));
        assert_eq!(started.elapsed(), SEND);
    }
}
