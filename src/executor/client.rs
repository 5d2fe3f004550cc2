//! One WebSocket connection to an analyzer: opens it, sends, hears, and names what can break.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;

/// Bytes that are read at once. The default of 128 KiB would be most of the memory of a controller with many connections.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long leaving may take. The peer owes nothing any more.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// An open connection.
pub(super) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a peer does.
pub(super) enum Heard {
    /// It sent a message.
    Message(Bytes),
    /// It answered a ping, or asked for an answer.
    SignOfLife,
}

impl Client {
    /// Opens a connection within `timeout`. Messages larger than `bytes_max` break it.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers there, `Failed(InvalidConfiguration)` when the address cannot be one.
    pub(super) async fn connect(url: &str, bytes_max: usize, timeout: Duration) -> Result<Self, Verdict> {
        let wrong = |text: String| {
            Verdict::without_tools(
                Outcome::Failed,
                Reason::InvalidConfiguration,
                format!("analyzer address {url:?}: {text}"),
            )
        };
        if url.starts_with("wss:") {
            return Err(wrong("TLS is not supported; use ws:// or put a TLS proxy in between".into()));
        }
        let request = url.into_client_request().map_err(|error| wrong(error.to_string()))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max));
        let unavailable = |text: String| {
            let message = format!("no connection to {url}: {text}");
            Verdict::without_tools(Outcome::Unavailable, Reason::AnalyzerUnavailable, message)
        };
        // The last argument is TCP_NODELAY: requests are single small messages.
        match tokio::time::timeout(timeout, connect_async_with_config(request, Some(config), true)).await {
            Ok(Ok((socket, _))) => Ok(Self { socket }),
            Ok(Err(Error::Url(error))) => Err(wrong(error.to_string())),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(_) => Err(unavailable(format!("no answer within {} ms", timeout.as_millis()))),
        }
    }

    /// Sends one JSON text. It may wait as long as the peer does not read.
    pub(super) async fn send(&mut self, text: String) -> Result<(), Verdict> {
        self.socket.send(Message::text(text)).await.map_err(|error| broken(&error))
    }

    /// Sends a ping; the pong is heard later. It may wait as long as the peer does not read.
    pub(super) async fn ping(&mut self) -> Result<(), Verdict> {
        self.socket.send(Message::Ping(Bytes::new())).await.map_err(|error| broken(&error))
    }

    /// Waits for what the peer does next. Nothing is lost when this is dropped.
    pub(super) async fn hear(&mut self) -> Result<Heard, Verdict> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Message(text.into())),
            Some(Ok(Message::Binary(bytes))) => Ok(Heard::Message(bytes)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Heard::SignOfLife),
            Some(Ok(Message::Close(frame))) => {
                let said = frame.map_or_else(
                    || "without saying why".to_owned(),
                    |frame| format!("with {} {:?}", u16::from(frame.code), frame.reason.as_str()),
                );
                Err(protocol_error(&format!("the analyzer closed the connection {said}, before a result")))
            }
            Some(Err(error)) => Err(broken(&error)),
            None => Err(lost("the connection ended")),
        }
    }

    /// Says good-bye without waiting for the answer, after a last message where there is one. Bounded, whatever the peer does.
    pub(super) async fn leave(mut self, last: Option<String>) {
        let _ = tokio::time::timeout(LEAVE_MAX, async {
            if let Some(text) = last {
                self.send(text).await?;
            }
            self.socket.close(None).await.map_err(|error| broken(&error))
        })
        .await;
    }
}

fn lost(text: &str) -> Verdict {
    let message = format!("the connection was lost before the result: {text}");
    Verdict::without_tools(Outcome::ProtocolError, Reason::ConnectionLost, message)
}

/// An ending because the other side left the protocol.
pub(super) fn protocol_error(text: &str) -> Verdict {
    Verdict::without_tools(Outcome::ProtocolError, Reason::ProtocolError, text)
}

fn broken(error: &Error) -> Verdict {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            let message = format!(
                "the analyzer's message of {size} bytes is over the limit of {max_size} bytes; ask for fewer tools or a smaller app"
            );
            Verdict::without_tools(Outcome::Failed, Reason::ResultTooLarge, message)
        }
        Error::Io(_)
        | Error::Tls(_)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing) => {
            lost(&error.to_string())
        }
        other => protocol_error(&format!("the analyzer broke the WebSocket protocol: {other}")),
    }
}
