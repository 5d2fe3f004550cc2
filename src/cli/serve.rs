//! `serve`: runs the controller until it is told to stop.

use anyhow::{Context as _, bail};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::context::{Context, environment};
use super::exit::Exit;
use super::stop::Stopping;
use super::systemd;
use crate::runtime::answer::Answerer;
use crate::runtime::controller::Controller;
use crate::server::listen;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run the embedded analyzer inside the controller, for Analyzers with the address embedded:
    #[arg(long)]
    pub embedded_analyzer: bool,
}

/// Runs the controller.
///
/// # Errors
/// Why it could not start, or had to end.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let mut settings = context.settings.clone();
    settings.embedded_analyzer |= args.embedded_analyzer;
    // A checkout is made by the controller itself.
    if settings.git_url.is_empty() && !context.manifests.is_dir() {
        bail!(
            "the manifests directory {} is not there; create it, or name another one with --manifests",
            context.manifests.display()
        );
    }
    // Before anything is opened, so that a signal is never met by the default action half way.
    let mut stopping = Stopping::listen()?;
    let grace = settings.shutdown_grace_period.std();
    let mut controller =
        Controller::open(settings, context.workspace.clone(), environment().into_iter().collect()).await?;
    let listener = listen::bind(&context.state).context("binding the control socket")?;
    let _ = controller.start().await;
    let stop = CancellationToken::new();
    let server = listen::serve(listener, Answerer::new(&controller), stop.clone());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        manifests = %context.manifests.display(),
        state = %context.state.display(),
        embedded = controller.embedded().map(tracing::field::display),
        "serving"
    );
    // Fused, as it is waited for twice.
    let server = server.fuse();
    tokio::pin!(server);
    systemd::ready();
    let watchdog = systemd::watch(controller.core().clone());
    tokio::pin!(watchdog);
    let ended = tokio::select! {
        error = controller.failed() => Err(anyhow::Error::from(error)),
        ended = &mut server => Err(match ended {
            Err(error) => anyhow::Error::from(error).context("the control socket"),
            Ok(()) => anyhow::anyhow!("the control socket ended by itself"),
        }),
        () = stopping.asked() => Ok(Exit::Ok),
        () = &mut watchdog => Err(anyhow::anyhow!("the watchdog ended by itself")),
    };
    systemd::stopping(grace);
    // The socket answers until the end, so that people can look at what is being waited for; without it, it still ends in order.
    let shutting_down = stopping.shut_down(controller, grace);
    tokio::pin!(shutting_down);
    loop {
        tokio::select! {
            () = &mut shutting_down => break,
            _ = &mut server => {}
        }
    }
    stop.cancel();
    ended
}
