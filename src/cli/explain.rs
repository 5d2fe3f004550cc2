//! `manifestd explain`: what a field of a manifest means.

use std::io::Write;

use super::exit::{Exit, refused};
use super::out::Out;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  manifestd explain task
  manifestd explain analyzer.spec.websocket.urls")]
pub(crate) struct Args {
    /// A kind, or a field of it: task.spec.retry
    #[arg(value_name = "FIELD")]
    path: String,
}

/// Runs `explain`.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let text = crate::manifest::explain(&args.path).map_err(|error| refused(error.to_string()))?;
    let mut out = Out::new(false);
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Ok)
}
