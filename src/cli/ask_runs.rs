//! What `cancel` and `retry` do with runs.

use anyhow::bail;

use super::context::Context;
use super::exit::Exit;
use super::names;
use super::told;
use crate::resource::kind::Kind;
use crate::runtime::control::{Request, RetryWhat};

/// Flags of `cancel` that are about runs.
#[derive(Debug, clap::Args)]
pub(super) struct CancelRunArgs {
    /// Of runs: end what they run finally, too
    #[arg(long)]
    finally: bool,
    /// Of runs: why, for others
    #[arg(long, default_value = "", value_name = "TEXT")]
    message: String,
    /// Of runs: only say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// Flags of `retry` that are about runs.
#[derive(Debug, clap::Args)]
pub(super) struct RetryRunArgs {
    /// Of a run: what did not succeed; this is so without --from and --only, too
    #[arg(long, conflicts_with_all = ["from", "only"])]
    failed: bool,
    /// Of a run: this step and all that comes after it, whatever became of them
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    from: Option<String>,
    /// Of a run: this step alone
    #[arg(long, value_name = "STEP")]
    only: Option<String>,
    /// Of a run: only say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// The words that name tasks, and the names of the runs.
pub(super) fn parted(context: &Context, words: &[String]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    if words.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let connection = context.open()?;
    let (mut tasks, mut runs) = (Vec::new(), Vec::new());
    for word in words {
        // An unknown name stops the whole command before anything is done.
        let found = names::task_or_run(&connection, word)?;
        let of_kind = if found.kind == Kind::Run { &mut runs } else { &mut tasks };
        if !of_kind.contains(&found.name) {
            of_kind.push(found.name);
        }
    }
    Ok((tasks, runs))
}

/// Whether only runs are meant; flags that tasks do not know stop a command that names some.
///
/// # Errors
/// When such a flag is given with tasks.
fn only_runs(flags: &[(&str, bool)], tasks: bool) -> anyhow::Result<()> {
    match flags.iter().find(|(_, given)| *given && tasks) {
        Some((flag, _)) => bail!("{flag} is about runs; name runs only"),
        None => Ok(()),
    }
}

/// Cancels runs. `tasks` says that tasks were named, too.
pub(super) async fn cancel(
    context: &Context,
    runs: Vec<String>,
    args: &CancelRunArgs,
    tasks: bool,
) -> anyhow::Result<Exit> {
    let flags = [("--finally", args.finally), ("--message", !args.message.is_empty()), ("--dry-run", args.dry_run)];
    only_runs(&flags, tasks)?;
    if runs.is_empty() {
        return Ok(Exit::Ok);
    }
    let (message, finally, dry_run) = (args.message.clone(), args.finally, args.dry_run);
    told::request(context, Request::CancelRuns { runs, message, finally, dry_run }).await
}

/// Begins another round of runs. `tasks` says that tasks were named, too.
pub(super) async fn retry(
    context: &Context,
    runs: Vec<String>,
    args: &RetryRunArgs,
    tasks: bool,
) -> anyhow::Result<Exit> {
    let flags = [
        ("--failed", args.failed),
        ("--from", args.from.is_some()),
        ("--only", args.only.is_some()),
        ("--dry-run", args.dry_run),
    ];
    only_runs(&flags, tasks)?;
    let what = match (&args.from, &args.only) {
        (Some(step), _) => RetryWhat::From(step.clone()),
        (None, Some(step)) => RetryWhat::Only(step.clone()),
        (None, None) => RetryWhat::Failed,
    };
    let mut all = Exit::Ok;
    for run in runs {
        let request = Request::RetryRun { run, what: what.clone(), dry_run: args.dry_run };
        let exit = told::request(context, request).await?;
        all = if exit == Exit::Ok { all } else { exit };
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_runs_is_refused_beside_tasks() {
        assert!(only_runs(&[("--finally", true)], true).unwrap_err().to_string().contains("--finally"));
        assert!(only_runs(&[("--finally", true)], false).is_ok());
        assert!(only_runs(&[("--finally", false)], true).is_ok());
    }
}
