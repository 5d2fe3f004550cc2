//! Requests that change things: to the running controller, or straight to the store when none runs.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::anyhow;

use super::context::{Context, environment};
use super::stop::Stopping;
use crate::runtime::answer::Answerer;
use crate::runtime::control::{Request, Response};
use crate::runtime::controller::Controller;
use crate::server::client::{CallError, call};
use crate::store::{StoreError, database_path};

/// How long the steps that have begun may take to end when somebody stops the whole.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// Asks the running controller of a state directory; `None` when none runs.
///
/// # Errors
/// When one runs and does not answer as it should.
pub async fn ask(state: &Path, request: &Request) -> Result<Option<Response>, CallError> {
    call(state, request).await
}

/// Carries out a request: by the running controller, else by one that lives as long as the request. Says whether a controller was there.
///
/// # Errors
/// When the controller does not answer, when there is no database, or when another process owns the state directory.
pub async fn perform(context: &Context, request: Request) -> anyhow::Result<(Response, bool)> {
    if let Some(response) = ask(&context.state, &request).await? {
        return Ok((response, true));
    }
    let needs_loops = match request {
        Request::Sync | Request::AcceptOrphans | Request::Reconcile { .. } => true,
        // What is asked for by name may have been declared a moment ago.
        Request::Run { .. } => true,
        Request::Cancel { .. }
        | Request::Retry { .. }
        | Request::Rerun { .. }
        | Request::CancelRuns { .. }
        | Request::RetryRun { .. }
        | Request::Suspend { .. }
        | Request::Resume { .. }
        | Request::Decide { .. }
        | Request::Backfill { .. }
        | Request::Care { .. }
        | Request::Purge { .. }
        | Request::Mend { .. }
        | Request::Status
        | Request::Held => false,
    };
    let path = database_path(&context.state);
    if !path.exists() && !needs_loops {
        return Err(StoreError::Absent { path }.into());
    }
    // Before anything is started, so that nothing is left running by a person's Ctrl-C.
    let mut stopping = Stopping::listen()?;
    let mut settings = context.settings.clone();
    settings.embedded_analyzer &= needs_loops;
    let grace = settings.shutdown_grace_period.std();
    let variables = environment().into_iter().collect();
    let controller = Controller::open(settings, context.workspace.clone(), variables).await?;
    let answerer = Answerer::new(&controller);
    let mut answer = pin!(answerer.answer(request));
    let response = tokio::select! {
        response = &mut answer => Ok(response),
        error = controller.failed() => Err(error.into()),
        () = stopping.asked() => Err(anyhow!("stopped by a signal; what was interrupted runs again at the next start")),
    };
    if response.is_err() {
        // Whatever it has committed is performed as well, unless it takes very long.
        controller.core().stopping.cancel();
        let _ = tokio::time::timeout(LAST_STEPS, answer).await;
    }
    stopping.shut_down(controller, grace).await;
    Ok((response?, false))
}
