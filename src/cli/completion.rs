//! `manifestd completion`: a script that lets a shell complete commands and flags.

use std::io::Write;

use clap_complete::Shell;

use super::exit::Exit;
use super::out::Out;

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  manifestd completion bash > ~/.local/share/bash-completion/completions/manifestd")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `completion`.
pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<Exit> {
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "manifestd", &mut script);
    let mut out = Out::new(false);
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Ok)
}
