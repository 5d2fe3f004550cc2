//! The caller's side of the control socket: one request, one answer, over HTTP/1 on a unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::socket::socket_address;
use crate::runtime::control::{Request, Response};

/// Where requests are posted to.
pub const CONTROL_PATH: &str = "/v1/control";

/// How long to wait for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a request to a running controller has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The socket is there, but cannot be used.
    #[error("the control socket {socket} cannot be reached: {source}")]
    Socket {
        /// Its path.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side took too long.
    #[error("the controller did not answer within {0:?}; it may be busy or stopped (a process in state T, a debugger)")]
    Silent(Duration),
    /// What came back is not an answer.
    #[error("the controller's answer cannot be used: {0}")]
    Answer(String),
}

/// How long an answer may take.
const fn patience(request: &Request) -> Duration {
    match request {
        Request::Status | Request::Held => Duration::from_secs(5),
        Request::Cancel { .. }
        | Request::Retry { .. }
        | Request::AcceptOrphans
        | Request::Run { .. }
        | Request::Rerun { .. }
        | Request::CancelRuns { .. }
        | Request::RetryRun { .. }
        | Request::Suspend { .. }
        | Request::Resume { .. }
        | Request::Decide { .. }
        | Request::Backfill { .. } => Duration::from_secs(30),
        Request::Sync | Request::Care { .. } | Request::Mend { .. } => Duration::from_secs(300),
        // It waits for attempts, each of which has a deadline of its own.
        Request::Reconcile { .. } | Request::Purge { .. } => Duration::from_secs(24 * 3600),
    }
}

/// Asks the controller of a state directory. `None` when none is running: the socket is absent or nobody listens on it.
///
/// # Errors
/// See [`CallError`]; what the controller itself refuses is a [`Response::Failed`].
pub async fn call(state: &Path, request: &Request) -> Result<Option<Response>, CallError> {
    let socket = state.join(super::socket::FILE_NAME);
    let failed = |source| CallError::Socket { socket: socket.clone(), source };
    let Some(stream) = connect(state).await.map_err(failed)? else { return Ok(None) };
    let patience = patience(request);
    let body = serde_json::to_vec(request).map_err(|error| CallError::Answer(error.to_string()))?;
    match tokio::time::timeout(patience, exchange(stream, body)).await {
        Ok(answer) => answer.map(Some),
        Err(_) => Err(CallError::Silent(patience)),
    }
}

async fn connect(state: &Path) -> io::Result<Option<UnixStream>> {
    let is_nobody =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
    let connecting = async {
        let address = socket_address(state)?;
        UnixStream::connect(address.path()).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(stream)) => Ok(Some(stream)),
        Ok(Err(error)) if is_nobody(&error) => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody accepts the connection")),
    }
}

async fn exchange(stream: UnixStream, body: Vec<u8>) -> Result<Response, CallError> {
    let wrong = |error: hyper::Error| CallError::Answer(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let asking = async move {
        let request = hyper::Request::builder()
            .method(Method::POST)
            .uri(CONTROL_PATH)
            .header(header::HOST, "manifestd")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CallError::Answer(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(wrong)?;
        let status = answer.status();
        let limited = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = limited.map_err(|error| CallError::Answer(error.to_string()))?.to_bytes();
        read(status, &bytes)
    };
    // The connection ends when `asking` drops its sender; an error of it reaches `asking` as well.
    let (answer, _) = tokio::join!(asking, connection);
    answer
}

fn read(status: StatusCode, bytes: &[u8]) -> Result<Response, CallError> {
    if status != StatusCode::OK {
        let text = crate::resource::outcome::one_line(&String::from_utf8_lossy(bytes));
        return Err(CallError::Answer(format!("HTTP {status}: {text}")));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| CallError::Answer(format!("{error}; is it a manifestd of another version?")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    async fn answered(answer: &'static str, request: &Request) -> Result<Option<Response>, CallError> {
        let state = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket_address(state.path()).unwrap().path()).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 4096];
            let length = stream.read(&mut seen).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
            String::from_utf8_lossy(&seen[..length]).into_owned()
        };
        let (answer, seen) = tokio::join!(call(state.path(), request), server);
        assert!(seen.starts_with("POST /v1/control HTTP/1.1\r\n"), "{seen}");
        answer
    }

    #[tokio::test]
    async fn without_a_socket_or_a_listener_nobody_is_there() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(call(state.path(), &Request::Status).await.unwrap(), None);
        drop(UnixListener::bind(state.path().join("control.sock")).unwrap());
        assert_eq!(call(state.path(), &Request::Status).await.unwrap(), None);
        assert_eq!(call(&state.path().join("absent"), &Request::Status).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"is\":\"accepted\",\"sources\":2}";
        let answer = answered(answer, &Request::AcceptOrphans).await.unwrap();
        assert_eq!(answer, Some(Response::Accepted { sources: 2 }));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error_that_says_so() {
        for (answer, word) in [
            ("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\nboom", "boom"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "another version"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{\"is\"", "answer cannot be used"),
            ("", "answer cannot be used"),
        ] {
            let error = answered(answer, &Request::Status).await.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_accepts_and_says_nothing_is_given_up() {
        let state = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(state.path().join("control.sock")).unwrap();
        assert!(matches!(call(state.path(), &Request::Status).await, Err(CallError::Silent(_))));
    }
}
