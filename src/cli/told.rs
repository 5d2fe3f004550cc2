//! What came of a request about runs, line by line.

use std::io::{self, Write};

use anyhow::bail;

use super::context::Context;
use super::exit::{Exit, refused};
use super::out::{Out, clean, note};
use super::request::perform;
use crate::runtime::control::{Request, Response, ToldLine};

/// Carries out a request and prints what came of it. Ends with 1 when nothing happens, or would.
pub(super) async fn request(context: &Context, request: Request) -> anyhow::Result<Exit> {
    let dry = is_dry(&request);
    let (response, served) = perform(context, request).await?;
    let lines = lines(response)?;
    let mut out = Out::new(context.colour);
    print(&lines, &mut out)?;
    out.flush()?;
    let effective = lines.iter().any(|line| line.effective);
    if dry {
        note("note: nothing was done (--dry-run)");
    } else if effective && !served {
        note("note: no controller is running; it takes effect when one starts (manifestd serve)");
    }
    Ok(if effective { Exit::Ok } else { Exit::No })
}

/// The lines of an answer.
///
/// # Errors
/// Why the request could not be carried out; ends with exit code 1.
pub(super) fn lines(response: Response) -> anyhow::Result<Vec<ToldLine>> {
    match response {
        Response::Told { lines } => Ok(lines),
        Response::Failed { message } => Err(refused(clean(&message))),
        other => bail!("the controller answered something else: {other:?}"),
    }
}

/// Prints them.
pub(super) fn print(lines: &[ToldLine], out: &mut Out) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{} {}", clean(&line.name), clean(&line.message)))
}

const fn is_dry(request: &Request) -> bool {
    match request {
        Request::Rerun { dry_run, .. }
        | Request::CancelRuns { dry_run, .. }
        | Request::RetryRun { dry_run, .. }
        | Request::Suspend { dry_run, .. }
        | Request::Resume { dry_run, .. }
        | Request::Backfill { dry_run, .. } => *dry_run,
        Request::Run { .. }
        | Request::Decide { .. }
        | Request::Cancel { .. }
        | Request::Retry { .. }
        | Request::Sync
        | Request::AcceptOrphans
        | Request::Reconcile { .. }
        | Request::Care { .. }
        | Request::Purge { .. }
        | Request::Mend { .. }
        | Request::Status
        | Request::Held => false,
    }
}
