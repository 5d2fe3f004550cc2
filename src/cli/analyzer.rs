//! `analyzer`: the embedded analyzer as a service of its own, for a replica on another port or another machine's loopback.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use futures_util::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio_util::sync::CancellationToken;

use super::context::environment;
use super::exit::Exit;
use crate::analyzer::{Options, load_tools, serve, shipped_tools};
use crate::runtime::clock::system_time;

/// Arguments of `analyzer`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2001")]
    listen: SocketAddr,
    /// The directory of the apps, as MODEL/appN or MODEL/TEMPLATE/appN below it
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    sources: PathBuf,
    /// A file of tool declarations instead of those that are shipped
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    tools: Option<PathBuf>,
    /// Tools that run at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    parallel: usize,
}

/// Serves until a signal.
///
/// # Errors
/// When it cannot listen, or the declarations are wrong.
pub(super) async fn run(args: Args) -> anyhow::Result<Exit> {
    let tools = match &args.tools {
        None => shipped_tools()?,
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            load_tools(&path.to_string_lossy(), &text)?
        }
    };
    anyhow::ensure!(args.sources.is_dir(), "{} is not a directory", args.sources.display());
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("listening to signals")?;
    let listener = tokio::net::TcpListener::bind(args.listen).await.with_context(|| args.listen.to_string())?;
    tracing::info!(address = %listener.local_addr()?, sources = %args.sources.display(), "analyzer is listening");
    if !args.listen.ip().is_loopback() {
        tracing::warn!(
            "whoever reaches this address can read the sources: the protocol knows no passwords and no encryption"
        );
    }
    let stop = CancellationToken::new();
    let options = Options {
        parallel: args.parallel.max(1),
        environment: environment().into_iter().collect(),
        ..Options::new(args.sources, tools, system_time)
    };
    let serving = serve(listener, options, stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended?,
        _ = signals.next() => {
            stop.cancel();
            serving.await?;
        }
    }
    Ok(Exit::Ok)
}
