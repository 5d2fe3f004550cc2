//! Makes connections to analyzers: TCP, TLS where the address asks for it, the proof of who this side is, WebSocket.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::http::{StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::socket::{Broken, Socket, Watched, Wire};
use super::trust::{Trust, explain};
use crate::disk::secret::{self, NoSecret, Token};

/// Bytes that are read at once. The default of 128 KiB would be most of the memory of a controller with many connections.
const BUFFER_BYTES: usize = 16 * 1024;

/// Where to connect to, whom to trust there, and what to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// `ws://HOST:PORT` or `wss://HOST:PORT`.
    pub(super) address: String,
    /// What proves who this side is.
    pub(super) proof: Proof,
    /// The secret with the authorities to trust, instead of those of the system.
    pub(super) ca: Option<String>,
}

/// What proves who this side is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Proof {
    /// Nobody asks.
    Nothing,
    /// The token in the secret of this name.
    Secret(String),
    /// This token, which only this process knows.
    Token(Token),
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Dialer {
    secrets: PathBuf,
    trust: Arc<Trust>,
}

/// Why there is no connection.
enum Refused {
    /// The address cannot be one.
    Address(String),
    /// It does not work now; `nobody` when nobody listens there.
    Now { why: String, nobody: bool },
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Now { why, nobody: false }
    }
}

impl From<NoSecret> for Refused {
    fn from(no: NoSecret) -> Self {
        Self::from(no.0)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Now { nobody: error.kind() == io::ErrorKind::ConnectionRefused, why: error.to_string() }
    }
}

/// What an address says.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    tls: bool,
}

impl Dialer {
    /// Connections with the secrets in this directory.
    pub(super) fn new(secrets: PathBuf) -> Self {
        Self { secrets, trust: Arc::default() }
    }

    /// Opens a connection within `timeout`. Messages larger than `bytes_max` break it.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers there, when the other side cannot be trusted or does not trust this one, or when a secret is missing;
    /// `Failed(InvalidConfiguration)` when the address cannot be one.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Socket, Broken> {
        let url = &endpoint.address;
        match tokio::time::timeout(timeout, self.open(endpoint, bytes_max)).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(Refused::Address(why))) => Err(Broken::address(url, &why)),
            Ok(Err(Refused::Now { why, nobody })) => Err(Broken::unavailable(url, &why, nobody)),
            Err(_) => Err(Broken::unavailable(url, &format!("no answer within {} ms", timeout.as_millis()), false)),
        }
    }

    async fn open(&self, endpoint: &Endpoint, bytes_max: usize) -> Result<Socket, Refused> {
        let wrong = |error: Error| Refused::Address(error.to_string());
        let mut request: Request = endpoint.address.as_str().into_client_request().map_err(wrong)?;
        let place = place(request.uri()).map_err(Refused::Address)?;
        // Read before anything is sent, and at each connection, so that a new one needs no restart.
        let token = self.token(&endpoint.proof).await?;
        let stream = TcpStream::connect((place.host.as_str(), place.port)).await?;
        // Requests are single small messages.
        stream.set_nodelay(true)?;
        if let Some(token) = token {
            check_way(&place, stream.peer_addr()?)?;
            request.headers_mut().insert(AUTHORIZATION, bearer(&token)?);
        }
        let wire = match place.tls {
            false => Wire::Plain(Watched::new(stream)),
            true => self.secure(Watched::new(stream), &place, endpoint.ca.as_deref()).await?,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max));
        match client_async_with_config(request, wire, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Io(error)) => Err(error.into()),
            Err(Error::Http(answer)) => Err(no_entry(answer.status(), &endpoint.proof).into()),
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// The token, read where it may block.
    async fn token(&self, proof: &Proof) -> Result<Option<Token>, Refused> {
        let name = match proof {
            Proof::Nothing => return Ok(None),
            Proof::Token(token) => return Ok(Some(token.clone())),
            Proof::Secret(name) => name.clone(),
        };
        let secrets = self.secrets.clone();
        let read = move || secret::named(&secrets, &name)?.token(&format!("the secret {name:?}"));
        let token = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        Ok(Some(token?))
    }

    /// Speaks TLS, and believes nobody whose certificate is not for this host.
    async fn secure(&self, stream: Watched, place: &Place, ca: Option<&str>) -> Result<Wire, Refused> {
        let name = ServerName::try_from(place.host.clone());
        let name =
            name.map_err(|_| Refused::Address(format!("{:?} is no name that a certificate can have", place.host)))?;
        let connector = TlsConnector::from(self.trusted(ca).await?);
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Wire::Tls(Box::new(stream))),
            Err(error) => {
                let said = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                Err(said.map_or_else(|| unfinished(&error), |said| explain(said, &place.host, ca)).into())
            }
        }
    }

    async fn trusted(&self, ca: Option<&str>) -> Result<Arc<ClientConfig>, Refused> {
        let (trust, secrets, ca) = (Arc::clone(&self.trust), self.secrets.clone(), ca.map(str::to_owned));
        let read = move || match ca {
            None => trust.of_the_system(),
            Some(name) => trust.of_a_secret(&name, secret::named(&secrets, &name).map_err(|no| no.0)?),
        };
        Ok(tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())??)
    }
}

/// What it means that a handshake of TLS came to no end.
fn unfinished(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "it ended the connection in the middle of the TLS handshake; perhaps it does not speak TLS".into()
        }
        _ => format!("TLS: {error}"),
    }
}

/// A token goes where nobody can read it on its way: through TLS, or not out of this machine. What counts is where the connection leads.
fn check_way(place: &Place, peer: SocketAddr) -> Result<(), Refused> {
    if place.tls || peer.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Refused::from(format!(
        "a token is sent only over wss:// or to a loopback address, and this leads to {} in the clear; nothing was sent",
        peer.ip()
    )))
}

/// Source: RFC 6750, section 2.1.
fn bearer(token: &Token) -> Result<HeaderValue, Refused> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.word()));
    let mut value = value.map_err(|_| Refused::from("the token does not fit into a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What an answer that is no WebSocket means.
fn no_entry(status: StatusCode, proof: &Proof) -> String {
    match (status, proof) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Proof::Secret(name)) => {
            format!("it refuses the token in the secret {name:?} (HTTP {})", status.as_u16())
        }
        (StatusCode::UNAUTHORIZED, _) => {
            "it asks for a token (HTTP 401); put one into a secret and name that with tokenSecretName".into()
        }
        _ => format!("it answers with HTTP {} and not with a WebSocket", status.as_u16()),
    }
}

/// Host, port and scheme of an address.
fn place(uri: &Uri) -> Result<Place, String> {
    let tls = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err("it begins with neither ws:// nor wss://".into()),
    };
    let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
    let host = host.filter(|host| !host.is_empty()).ok_or("it names no host")?.to_owned();
    Ok(Place { host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_host_and_a_port() {
        let of = |url: &str| place(&url.parse::<Uri>().unwrap()).ok().map(|place| (place.host, place.port, place.tls));
        assert_eq!(of("ws://localhost"), Some(("localhost".into(), 80, false)));
        assert_eq!(of("wss://localhost"), Some(("localhost".into(), 443, true)));
        assert_eq!(of("ws://127.0.0.1:2001/x?y"), Some(("127.0.0.1".into(), 2001, false)));
        assert_eq!(of("wss://[::1]:2001"), Some(("::1".into(), 2001, true)));
        assert_eq!(of("http://localhost"), None);
    }

    #[test]
    fn a_token_never_leaves_the_machine_in_the_clear() {
        let goes = |tls, peer: &str| {
            check_way(&Place { host: "localhost".into(), port: 1, tls }, SocketAddr::new(peer.parse().unwrap(), 1))
                .is_ok()
        };
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(goes(false, loopback) && goes(true, loopback), "{loopback}");
        }
        // Also when a name like localhost leads there.
        for far in ["10.0.0.1", "192.0.2.7", "2001:db8::1", "0.0.0.0", "::ffff:10.0.0.1"] {
            assert!(!goes(false, far) && goes(true, far), "{far}");
        }
    }

    #[test]
    fn a_header_with_a_token_does_not_show_it() {
        let token = Token::random().unwrap();
        let shown = format!("{:?}", bearer(&token).ok().unwrap());
        assert!(!shown.contains(token.word()), "{shown}");
    }
}
