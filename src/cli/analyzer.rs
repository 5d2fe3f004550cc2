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
use crate::analyzer::{Door, Options, Proof, load_tools, serve, shipped_tools};
use crate::runtime::clock::system_time;
use crate::runtime::open_files::allow_many;

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
    /// The certificate to show, in PEM, with those that lead up to its authority behind it; clients then write wss://
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = clap::ValueHint::FilePath)]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM, of mode 600
    #[arg(long, value_name = "FILE", requires = "tls_cert", value_hint = clap::ValueHint::FilePath)]
    tls_key: Option<PathBuf>,
    /// A file of mode 600 with the token that clients must show; read for each client, so that it can be changed at any time
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    token_file: Option<PathBuf>,
}

/// Serves until a signal.
///
/// # Errors
/// When it cannot listen, or the declarations are wrong.
pub(super) async fn run(args: Args) -> anyhow::Result<Exit> {
    allow_many();
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
    let proof = args.token_file.map_or(Proof::Nothing, Proof::File);
    let door = Door { tls: args.tls_cert.zip(args.tls_key), proof };
    if !args.listen.ip().is_loopback() && !door.is_guarded() {
        tracing::warn!(
            "whoever reaches this address, or listens on the way, can read the sources; use --tls-cert, --tls-key and --token-file"
        );
    }
    let stop = CancellationToken::new();
    let options = Options {
        parallel: args.parallel.max(1),
        environment: environment().into_iter().collect(),
        door,
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
