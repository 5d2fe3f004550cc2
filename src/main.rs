//! The `manifestd` program: hands its arguments to the command line and gives its answer back as the exit code.

use std::process::ExitCode;
use std::time::Duration;

use manifestd::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for work that waits for the disk. The store has threads of its own, so that it never waits for one of these.
const BLOCKING_THREADS_MAX: usize = 32;

/// How long blocking work that nobody waits for any more may keep the process.
const HANGING_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cli::report(&anyhow::Error::new(error).context("the runtime could not be started")),
    };
    let code = match runtime.block_on(cli::run(cli)) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    };
    // What still hangs in a slow disk must not keep the process; whatever counts has been waited for.
    runtime.shutdown_timeout(HANGING_MAX);
    code
}
