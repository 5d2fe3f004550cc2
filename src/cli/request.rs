//! Requests that change things: to the running controller, or straight to the store when none runs.

use std::path::Path;

use super::context::Context;
use crate::runtime::control::{Request, Response, TaskAnswer};
use crate::server::client::{CallError, call};
use crate::store::{StateLock, Store, StoreError, database_path};

/// Asks the running controller of a state directory; `None` when none runs.
///
/// # Errors
/// When one runs and does not answer as it should.
pub async fn ask(state: &Path, request: &Request) -> Result<Option<Response>, CallError> {
    call(state, request).await
}

/// Carries out a request: by the running controller, else by the store itself. Says whether a controller was there.
///
/// # Errors
/// When the controller does not answer, when there is no database, or when another process owns the state directory.
pub async fn perform(context: &Context, request: Request) -> anyhow::Result<(Response, bool)> {
    if let Some(response) = ask(&context.state, &request).await? {
        return Ok((response, true));
    }
    let path = database_path(&context.state);
    if !path.exists() {
        return Err(StoreError::Absent { path }.into());
    }
    let store = Store::open(StateLock::acquire(&context.state)?)?;
    Ok((answer(&store, request).await?, false))
}

async fn answer(store: &Store, request: Request) -> Result<Response, StoreError> {
    let (tasks, cancel) = match request {
        Request::Cancel { tasks } => (tasks, true),
        Request::Retry { tasks } => (tasks, false),
        Request::Sync | Request::AcceptOrphans | Request::Reconcile { .. } | Request::Status => {
            let message = "no controller is running; start one with manifestd serve".into();
            return Ok(Response::Failed { message });
        }
    };
    let mut answers = Vec::with_capacity(tasks.len());
    for name in tasks {
        let requested = match cancel {
            true => store.request_cancel(name.clone()).await?,
            false => store.request_retry(name.clone()).await?,
        };
        let phase = requested.as_ref().map(|requested| requested.phase);
        let effective = requested.is_some_and(|requested| requested.effective);
        answers.push(TaskAnswer { name, phase, effective });
    }
    Ok(Response::Requested { tasks: answers })
}
