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
use tokio::net::UnixListener;
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
    // The directory is 0700, so there is no moment in which somebody else could connect.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
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
    tokio::select! {
        ended = axum::serve(listener, router).into_future() => ended,
        () = stop.cancelled() => Ok(()),
    }
}

async fn control(State(answerer): State<Answerer>, request: Result<Json<Request>, JsonRejection>) -> Response {
    match request {
        Ok(Json(request)) => Json(answerer.answer(request).await).into_response(),
        Err(rejection) => (StatusCode::BAD_REQUEST, rejection.body_text()).into_response(),
    }
}
