//! One WebSocket connection that serves one request, as the base protocol has it: sends, hears, and takes leave.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::dialer::{Dialer, Endpoint};
use super::socket::{Broken, Socket};

/// How long leaving may take. The peer owes nothing any more.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// An open connection.
pub(super) struct Client {
    socket: Socket,
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
    /// See [`Dialer::connect`].
    pub(super) async fn connect(
        dialer: &Dialer,
        endpoint: &Endpoint,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Self, Broken> {
        Ok(Self { socket: dialer.connect(endpoint, bytes_max, timeout).await? })
    }

    /// Sends one JSON text. It may wait as long as the peer does not read.
    pub(super) async fn send(&mut self, text: String) -> Result<(), Broken> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Sends a ping; the pong is heard later. It may wait as long as the peer does not read.
    pub(super) async fn ping(&mut self) -> Result<(), Broken> {
        Ok(self.socket.send(Message::Ping(Bytes::new())).await?)
    }

    /// Waits for what the peer does next. Nothing is lost when this is dropped.
    pub(super) async fn hear(&mut self) -> Result<Heard, Broken> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::Message(text.into())),
            Some(Ok(Message::Binary(bytes))) => Ok(Heard::Message(bytes)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Heard::SignOfLife),
            Some(Ok(Message::Close(frame))) => Err(Broken::closed(frame)),
            Some(Err(error)) => Err(error.into()),
            None => Err(Broken::lost("the connection ended")),
        }
    }

    /// Says good-bye without waiting for the answer. Bounded, whatever the peer does.
    pub(super) async fn leave(mut self) {
        let _ = tokio::time::timeout(LEAVE_MAX, self.socket.close(None)).await;
    }
}
