//! Stopping a controller on signals: the first one lets it end in order, a second one ends the process at once.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::{Signals, SignalsInfo};

use super::exit::Exit;
use crate::runtime::controller::Controller;

/// The signals that ask a controller to stop. From its making on, none of them is met by its default action.
pub(super) struct Stopping(SignalsInfo);

impl Stopping {
    /// Listens to SIGTERM and SIGINT.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self(Signals::new([SIGTERM, SIGINT]).context("listening to signals")?))
    }

    /// Waits for a signal.
    pub(super) async fn asked(&mut self) {
        let signal = self.0.next().await.unwrap_or_default();
        tracing::info!(signal, "stopping; a second signal stops at once");
    }

    /// Shuts the controller down: waits for what runs, at most for `grace`. Another signal ends the process.
    pub(super) async fn shut_down(&mut self, controller: Controller, grace: Duration) {
        tokio::select! {
            () = controller.shut_down(grace) => {}
            _ = self.0.next() => {
                tracing::warn!("stopped at once; what still ran is found by the next start");
                // Blocking work must not be waited for: everything durable has been committed already.
                leave_at_once();
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a second signal ends the process at once, whatever still runs; nothing is lost by it"
)]
fn leave_at_once() -> ! {
    std::process::exit(Exit::Stopped as i32)
}
