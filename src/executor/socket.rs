//! An open connection to an analyzer: what it runs over, the bytes that come, and what can break.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::answer::GARBAGE_MAX;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;

/// An open connection.
pub(super) type Socket = WebSocketStream<Wire>;

/// Why a connection, or what was asked on it, came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Broken {
    /// The ending that follows from it.
    pub(super) verdict: Verdict,
    /// Whether the other side is known not to work on it any more.
    pub(super) over: bool,
}

impl Broken {
    /// The connection is gone, and with it whoever worked for it.
    pub(super) fn lost(text: &str) -> Self {
        let message = format!("the connection was lost before the result: {text}");
        Self { verdict: Verdict::without_tools(Outcome::ProtocolError, Reason::ConnectionLost, message), over: true }
    }

    /// The other side left the protocol, and is still there.
    pub(super) fn protocol(text: &str) -> Self {
        Self { verdict: Verdict::without_tools(Outcome::ProtocolError, Reason::ProtocolError, text), over: false }
    }

    /// The other side sent more than is read.
    pub(super) fn too_heavy(why: &str) -> Self {
        let message = format!("the analyzer's message is too large: {why}");
        // It came, so the work behind it is done.
        Self { verdict: Verdict::without_tools(Outcome::Failed, Reason::ResultTooLarge, message), over: true }
    }

    /// Too much of what the other side sends cannot be read.
    pub(super) fn garbage(last: &str) -> Self {
        Self::protocol(&format!(
            "more than {GARBAGE_MAX} messages of the analyzer are not JSON objects; the last: {last}"
        ))
    }

    /// The other side closed the connection in good order.
    pub(super) fn closed(frame: Option<CloseFrame>) -> Self {
        let said = frame.map_or_else(
            || "without saying why".to_owned(),
            |frame| format!("with {} {:?}", u16::from(frame.code), frame.reason.as_str()),
        );
        let closed = Self::protocol(&format!("the analyzer closed the connection {said}, before a result"));
        Self { over: true, ..closed }
    }

    /// The address cannot be one, now or later.
    pub(super) fn address(url: &str, why: &str) -> Self {
        let message = format!("analyzer address {url:?}: {why}");
        let verdict = Verdict::without_tools(Outcome::Failed, Reason::InvalidConfiguration, message);
        Self { verdict, over: true }
    }

    /// The other side is not there, or not now. Nobody works behind a port at which nobody listens.
    pub(super) fn unavailable(url: &str, text: &str, refused: bool) -> Self {
        let message = format!("no connection to {url}: {text}");
        Self {
            verdict: Verdict::without_tools(Outcome::Unavailable, Reason::AnalyzerUnavailable, message),
            over: refused,
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match &error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                let message = format!(
                    "the analyzer's message of {size} bytes is over the limit of {max_size} bytes; ask for fewer tools or a smaller app"
                );
                // It came, so the work behind it is done.
                Self { verdict: Verdict::without_tools(Outcome::Failed, Reason::ResultTooLarge, message), over: true }
            }
            Error::Io(_)
            | Error::Tls(_)
            | Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing) => {
                Self::lost(&error.to_string())
            }
            other => Self::protocol(&format!("the analyzer broke the WebSocket protocol: {other}")),
        }
    }
}

/// A TCP connection that counts what comes in: while a large message is under way nothing else can be heard on the connection, and its
/// bytes are the only sign of life.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    bytes: Arc<AtomicU64>,
}

impl Watched {
    /// Counts from here on.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, bytes: Arc::default() }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.bytes.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What a connection runs over.
#[derive(Debug)]
pub(super) enum Wire {
    /// In the clear.
    Plain(Watched),
    /// Through TLS, with somebody who was believed.
    Tls(Box<TlsStream<Watched>>),
}

impl Wire {
    /// The counter of bytes that came in.
    pub(super) fn bytes(&self) -> Arc<AtomicU64> {
        let watched = match self {
            Self::Plain(watched) => watched,
            Self::Tls(stream) => stream.get_ref().0,
        };
        Arc::clone(&watched.bytes)
    }
}

/// Does with the stream of a wire what the same method of the wire is to do.
macro_rules! through {
    ($wire:ident, $stream:ident => $done:expr) => {
        match $wire.get_mut() {
            Wire::Plain(stream) => {
                let $stream = Pin::new(stream);
                $done
            }
            Wire::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $done
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        through!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        through!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, stream => stream.poll_shutdown(cx))
    }
}
