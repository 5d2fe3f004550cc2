//! The `manifestd` program: hands its arguments to the command line and gives its answer back as the exit code.

use std::process::ExitCode;

use manifestd::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::report(&anyhow::Error::new(error).context("the runtime could not be started")),
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
