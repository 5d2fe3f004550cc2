//! Opens WebSocket connections to analyzers, counts the bytes that come, and names what can break.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError, UrlError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::answer::GARBAGE_MAX;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;

/// Bytes that are read at once. The default of 128 KiB would be most of the memory of a controller with many connections.
const BUFFER_BYTES: usize = 16 * 1024;

/// An open connection.
pub(super) type Socket = WebSocketStream<Watched>;

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

    /// The other side is not there, or not now. Nobody works behind a port at which nobody listens.
    fn unavailable(url: &str, text: &str, refused: bool) -> Self {
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

/// Opens a connection within `timeout`. Messages larger than `bytes_max` break it.
///
/// # Errors
/// `Unavailable` when nobody answers there, `Failed(InvalidConfiguration)` when the address cannot be one.
pub(super) async fn connect(url: &str, bytes_max: usize, timeout: Duration) -> Result<Socket, Broken> {
    let wrong = |text: String| {
        let message = format!("analyzer address {url:?}: {text}");
        Broken { verdict: Verdict::without_tools(Outcome::Failed, Reason::InvalidConfiguration, message), over: true }
    };
    if url.starts_with("wss:") {
        return Err(wrong("TLS is not supported; use ws:// or put a TLS proxy in between".into()));
    }
    let request = url.into_client_request().map_err(|error| wrong(error.to_string()))?;
    let place = place(&request).map_err(|error| wrong(error.to_string()))?;
    match tokio::time::timeout(timeout, open(request, &place, bytes_max)).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(Error::Url(error))) => Err(wrong(error.to_string())),
        Ok(Err(error)) => {
            let refused = matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused);
            Err(Broken::unavailable(url, &error.to_string(), refused))
        }
        Err(_) => Err(Broken::unavailable(url, &format!("no answer within {} ms", timeout.as_millis()), false)),
    }
}

/// `host:port` of a request.
fn place(request: &Request) -> Result<String, UrlError> {
    let uri = request.uri();
    if uri.scheme_str() != Some("ws") {
        return Err(UrlError::UnsupportedUrlScheme);
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(UrlError::NoHostName)?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

async fn open(request: Request, place: &str, bytes_max: usize) -> Result<Socket, Error> {
    let stream = TcpStream::connect(place).await?;
    // Requests are single small messages.
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    let stream = Watched { stream, bytes: Arc::default() };
    Ok(client_async_with_config(request, stream, Some(config)).await?.0)
}

/// A TCP connection that counts what comes in: while a large message is under way nothing else can be heard on the connection, and its
/// bytes are the only sign of life.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    bytes: Arc<AtomicU64>,
}

impl Watched {
    /// The counter of bytes that came in.
    pub(super) fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_host_and_a_port() {
        let of = |url: &str| place(&url.into_client_request().unwrap()).ok();
        assert_eq!(of("ws://localhost"), Some("localhost:80".into()));
        assert_eq!(of("ws://127.0.0.1:2001/x?y"), Some("127.0.0.1:2001".into()));
        assert_eq!(of("ws://[::1]:2001"), Some("[::1]:2001".into()));
        assert_eq!(of("http://localhost"), None);
    }
}
