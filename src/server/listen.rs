//! The controller's side of the control socket: HTTP/JSON on a unix socket in the state directory, for its owner only.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::Listener;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::client::CONTROL_PATH;
use super::socket::{FILE_NAME, socket_address};
use crate::runtime::answer::Answerer;
use crate::runtime::control::Request;

/// The largest request that is read.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Binds the control socket of a state directory that this process has locked. One that a dead controller left is replaced.
///
/// # Errors
/// What the system says.
pub fn bind(state: &Path) -> io::Result<UnixListener> {
    let path = state.join(FILE_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // The lock on the state directory says that nobody else listens there.
        _ => {}
    }
    let address = socket_address(state)?;
    let listener = UnixListener::bind(address.path())?;
    // The lock has closed the directory to others, so there is no moment in which somebody else could connect.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Lets in whoever runs as the owner of the state, or as root, who needs no door. The modes of the directory and of the socket keep others out
/// already; this does so when somebody has changed them.
struct Door {
    listener: UnixListener,
    owner: u32,
}

impl Listener for Door {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            match stream.peer_cred() {
                Ok(peer) if admits(self.owner, peer.uid()) => return (stream, address),
                Ok(peer) => tracing::warn!(user = peer.uid(), "another user was refused at the control socket"),
                Err(error) => {
                    tracing::warn!(%error, "somebody was refused at the control socket, since nobody says who it is")
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

const fn admits(owner: u32, user: u32) -> bool {
    user == owner || user == 0
}

/// Answers requests until `stop`.
///
/// # Errors
/// What the listener says.
pub async fn serve(listener: UnixListener, answerer: Answerer, stop: CancellationToken) -> io::Result<()> {
    let router = Router::new()
        .route(CONTROL_PATH, post(control))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(answerer);
    let door = Door { listener, owner: rustix::process::geteuid().as_raw() };
    tokio::select! {
        ended = axum::serve(door, router).into_future() => ended,
        () = stop.cancelled() => Ok(()),
    }
}

async fn control(State(answerer): State<Answerer>, request: Result<Json<Request>, JsonRejection>) -> Response {
    match request {
        Ok(Json(request)) => Json(answerer.answer(request).await).into_response(),
        Err(rejection) => (StatusCode::BAD_REQUEST, rejection.body_text()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn what_lies_in_the_place_of_the_socket_gives_way_and_nothing_is_followed() {
        let state = tempfile::tempdir().unwrap();
        let (path, other) = (state.path().join(FILE_NAME), state.path().join("other"));
        std::fs::write(&other, "of somebody").unwrap();
        // A socket whose owner is gone, a link, an ordinary file.
        drop(UnixListener::bind(&path).unwrap());
        for in_the_way in ["socket", "link", "file"] {
            match in_the_way {
                "link" => symlink(&other, &path).unwrap(),
                "file" => std::fs::write(&path, "").unwrap(),
                _ => {}
            }
            let listener = bind(state.path()).unwrap();
            assert_eq!(mode(&path), 0o600, "{in_the_way}");
            UnixStream::connect(&path).await.unwrap();
            drop(listener);
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "of somebody");
        std::fs::create_dir(&path).unwrap();
        assert!(bind(state.path()).is_err(), "a directory is not ours to remove");
    }

    #[tokio::test]
    async fn another_user_is_refused_before_a_word_is_read() {
        let state = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let ask = async |owner: u32| {
            let mut door = Door { listener: bind(state.path()).unwrap(), owner };
            let mut client = UnixStream::connect(state.path().join(FILE_NAME)).await.unwrap();
            client.write_all(b"POST /v1/control HTTP/1.1\r\n\r\n").await.unwrap();
            tokio::select! {
                biased;
                _ = Listener::accept(&mut door) => true,
                ended = async { client.read_u8().await.is_err() } => !ended,
            }
        };
        assert!(ask(own).await);
        // Root is let in by every owner, so for root only the rule itself can be asked.
        assert_eq!(ask(own + 1).await, own == 0);
        assert!(admits(7, 7) && admits(7, 0) && !admits(7, 8) && !admits(0, 7));
    }
}
