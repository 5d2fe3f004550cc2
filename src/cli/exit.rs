//! How a command ends: its exit code, and the two errors that have one of their own.

use std::process::ExitCode;

use crate::runtime::backup::ArchiveError;
use crate::runtime::controller::ControllerError;
use crate::store::StoreError;

/// How a command ended; documented in `manifestd --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// The answer is no: not found, not met, problems found.
    No = 1,
    /// The command line is wrong, or the command cannot run.
    Cannot = 2,
    /// It did not happen in time.
    TimedOut = 3,
    /// Another manifestd owns the state directory.
    InUse = 4,
    /// A second signal stopped it before running attempts had ended.
    Stopped = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit codes, for `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0  ok
  1  the answer is no: nothing of that name, a condition not met, problems found
  2  the command line is wrong, or the command cannot run
  3  it did not happen in time (wait --timeout, run --wait --timeout)
  4  the state directory is in use by another manifestd
  5  a second signal stopped serve before running attempts had ended";

/// An error whose exit code is [`Exit::No`]: what was asked for is not there, or is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

/// An [`anyhow::Error`] that ends with [`Exit::No`].
pub(crate) fn refused(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Refused(message.into()))
}

/// The exit code that an error ends with.
pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Ok;
    }
    let is_locked = |cause: &(dyn std::error::Error + 'static)| {
        let of_store = cause.downcast_ref::<StoreError>();
        // A transparent error does not name its inside as its cause.
        let of_controller = cause.downcast_ref().and_then(|error| match error {
            ControllerError::Store(error) => Some(error),
            ControllerError::Embedded(_) | ControllerError::Fatal(_) => None,
        });
        let of_archive = cause.downcast_ref().and_then(|error| match error {
            ArchiveError::Store(error) => Some(error),
            ArchiveError::Io { .. } | ArchiveError::Refused(_) => None,
        });
        matches!(of_store.or(of_controller).or(of_archive), Some(StoreError::Locked { .. }))
    };
    let is_refused = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Refused>() || matches!(cause.downcast_ref(), Some(ArchiveError::Refused(_)))
    };
    let in_use = error.chain().any(is_locked);
    match in_use {
        true => Exit::InUse,
        false if error.chain().any(is_refused) => Exit::No,
        false => Exit::Cannot,
    }
}

/// Whether the reader of the output has gone, as `manifestd get tasks | head` makes it.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_pipe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn errors_end_with_their_own_codes_even_below_context() {
        let locked = || StoreError::Locked { path: "x".into(), holder: String::new() };
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        for (error, exit) in [
            (Err::<(), _>(locked()).context("opening"), Exit::InUse),
            (Err(ControllerError::from(locked())).context("starting"), Exit::InUse),
            (Err(refused("no task")).context("looking"), Exit::No),
            (Err(pipe).context("writing"), Exit::Ok),
            (Err(anyhow::anyhow!("other")), Exit::Cannot),
        ] {
            assert_eq!(of_error(&error.unwrap_err()), exit);
        }
    }
}
