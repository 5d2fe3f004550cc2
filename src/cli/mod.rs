//! Floor 5: the command line, in kubectl's habits.
//!
//! A command is one file here, one variant of `Command` and one arm in [`run`]. Reading commands open the database read-only and work
//! with or without a running controller; changing ones go through [`request`].

mod advice;
mod analyzer;
mod apply;
mod ask;
mod ask_runs;
mod authors;
mod backup;
mod chain;
mod chain_app;
mod chain_pool;
mod changes;
mod completion;
mod config;
pub mod context;
mod db;
mod delete;
mod describe;
mod diff;
mod disk;
mod doctor;
mod edit;
mod events;
pub mod exit;
mod explain;
mod files;
mod get;
mod graph;
mod history;
mod import;
mod item;
mod known;
mod logs;
mod merged;
mod names;
mod orphans;
mod out;
mod picture;
mod plain;
mod problems;
mod progress;
mod rebuild;
mod reconcile;
mod replicas;
pub mod request;
mod restore;
mod results;
mod rollback;
mod rows;
mod run;
mod run_ask;
mod run_describe;
mod run_rows;
mod run_why;
mod schema;
pub mod selector;
mod serve;
mod sort;
mod status;
mod stop;
mod stuck;
mod systemd;
mod table;
mod told;
mod trace;
mod tree;
mod tree_text;
mod unified;
mod unwell;
mod validate;
mod version;
mod wait;
mod why;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use context::{Context, Global};
use exit::Exit;
use out::note;

/// Runs tasks on analyzers as YAML manifests in a directory ask for it, and keeps their results.
#[derive(Debug, Parser)]
#[command(name = "manifestd", version, about, after_help = exit::HELP, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// Flags of every command.
    #[command(flatten)]
    global: Global,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until it is told to stop
    Serve(serve::Args),
    /// Run every loop until nothing more can be done now, without or beside a running controller
    Reconcile(reconcile::Args),
    /// Show what mirroring a directory would change, deletions first; or two revisions of a definition
    Diff(diff::Args),
    /// List the revisions of a definition
    History(history::Args),
    /// Put an older revision of a definition back into its file
    Rollback(rollback::Args),
    /// Show where something comes from: file, commit, author, and what asked for it
    Trace(trace::Args),
    /// List, keep, bring back or delete what is missing, set aside or without a record; confirm what a fuse has frozen
    Orphans(orphans::Args),
    /// Look whether everything is as it should be, and mend what can safely be mended
    Doctor(doctor::Args),
    /// Write the database, and the results if asked, into one file
    Backup(backup::Args),
    /// Bring a backup back
    Restore(restore::Args),
    /// Check, upgrade or remake the database
    Db(db::Args),
    /// Run the embedded analyzer as a service of its own
    Analyzer(analyzer::Args),
    /// List objects, or what is wrong with the manifests
    Get(get::Args),
    /// Show everything about one object
    Describe(describe::Args),
    /// Explain why a task is where it is, and what happens next
    Why(why::Args),
    /// List what happened
    Events(events::Args),
    /// Print the log of an attempt
    Logs(logs::Args),
    /// Show what the tools found
    Results(results::Args),
    /// Wait until tasks are as expected
    Wait(wait::Args),
    /// Write manifests into the manifests directory
    Apply(apply::Args),
    /// Remove manifests from the manifests directory
    Delete(delete::Args),
    /// Cancel tasks and runs that are pending or running
    Cancel(ask::CancelArgs),
    /// Run finished tasks again, and try waiting ones now; begin another round of a run
    Retry(ask::RetryArgs),
    /// Make a run of a pipeline, and wait for it if asked
    Run(run::RunArgs),
    /// Make a new run like an older one
    Rerun(run::RerunArgs),
    /// Let a run begin nothing more, or a pipeline make no runs by itself
    Suspend(run_ask::SuspendArgs),
    /// End a suspension
    Resume(run_ask::ResumeArgs),
    /// Say yes where a run waits for a person
    Approve(run_ask::DecideArgs),
    /// Say no where a run waits for a person
    Reject(run_ask::DecideArgs),
    /// Make the runs of a schedule's past slots
    Backfill(run_ask::BackfillArgs),
    /// Show the steps of a run with their children, once or live
    Tree(tree::Args),
    /// Draw the steps of a run or a pipeline as Mermaid, DOT or SVG
    Graph(graph::Args),
    /// Take over apps and history from another system
    Import(import::Args),
    /// Check manifests without a controller
    Validate(validate::Args),
    /// Print the JSON Schema of manifests
    Schema(schema::Args),
    /// Explain a field of a manifest
    Explain(explain::Args),
    /// Show the effective settings and where they come from
    Config(config::Args),
    /// Show whether a controller runs, and how things stand
    Status(status::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Print the version
    Version(version::Args),
}

impl Cli {
    /// Reads the arguments.
    ///
    /// # Errors
    /// The exit code, once help, version or what is wrong has been printed.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        Self::try_parse_from(arguments).map_err(|error| {
            // Nobody reads any more: nothing to do about that.
            let _ = error.print();
            if error.use_stderr() { Exit::Cannot.into() } else { Exit::Ok.into() }
        })
    }
}

/// Runs one command.
///
/// # Errors
/// Why it could not be run; see [`report`].
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    // These need no settings, so that a broken settings file does not stop a shell from starting.
    match &cli.command {
        Command::Completion(args) => return Ok(completion::run(args, &mut Cli::command())?.into()),
        Command::Version(args) => return Ok(version::run(args)?.into()),
        Command::Schema(args) => return Ok(schema::run(args)?.into()),
        Command::Explain(args) => return Ok(explain::run(args)?.into()),
        _ => {}
    }
    let context = match (Context::resolve(&cli.global), &cli.command) {
        (Err(error), Command::Doctor(args)) => return Ok(doctor::broken_settings(args, &error)?.into()),
        (resolved, _) => resolved?,
    };
    context.start_log()?;
    let exit = match cli.command {
        Command::Serve(args) => serve::run(&context, &args).await,
        Command::Reconcile(args) => reconcile::run(&context, &args).await,
        Command::Diff(args) => diff::run(&context, &args),
        Command::History(args) => history::run(&context, &args).await,
        Command::Rollback(args) => rollback::run(&context, &args).await,
        Command::Trace(args) => trace::run(&context, &args).await,
        Command::Orphans(args) => orphans::run(&context, &args).await,
        Command::Doctor(args) => doctor::run(&context, &args).await,
        Command::Backup(args) => backup::run(&context, &args),
        Command::Restore(args) => restore::run(&context, &args),
        Command::Db(args) => db::run(&context, &args).await,
        Command::Analyzer(args) => analyzer::run(args).await,
        Command::Get(args) => get::run(&context, args).await,
        Command::Describe(args) => describe::run(&context, &args),
        Command::Why(args) => why::run(&context, &args).await,
        Command::Events(args) => events::run(&context, args).await,
        Command::Logs(args) => logs::run(&context, &args).await,
        Command::Results(args) => results::run(&context, &args),
        Command::Wait(args) => wait::run(&context, &args).await,
        Command::Apply(args) => apply::run(&context, &args).await,
        Command::Delete(args) => delete::run(&context, &args).await,
        Command::Cancel(args) => ask::cancel(&context, &args).await,
        Command::Retry(args) => ask::retry(&context, &args).await,
        Command::Run(args) => run::run(&context, &args).await,
        Command::Rerun(args) => run::rerun(&context, &args).await,
        Command::Suspend(args) => run_ask::suspend(&context, &args).await,
        Command::Resume(args) => run_ask::resume(&context, &args).await,
        Command::Approve(args) => run_ask::decide(&context, &args, true).await,
        Command::Reject(args) => run_ask::decide(&context, &args, false).await,
        Command::Backfill(args) => run_ask::backfill(&context, &args).await,
        Command::Tree(args) => tree::run(&context, &args).await,
        Command::Graph(args) => graph::run(&context, &args),
        Command::Import(args) => import::run(&context, &args).await,
        Command::Validate(args) => validate::run(&context, &args),
        Command::Config(args) => config::run(&context, &args),
        Command::Status(args) => status::run(&context, &args).await,
        Command::Completion(_) | Command::Version(_) | Command::Schema(_) | Command::Explain(_) => Ok(Exit::Ok),
    };
    Ok(exit?.into())
}

/// Prints an error as a person reads it, and gives the exit code it ends with.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    if !exit::is_broken_pipe(error) {
        note(format_args!("error: {}", out::clean_lines(&chain_of(error))));
    }
    exit::of_error(error).into()
}

/// An error with its causes. Many errors say their cause themselves; it is not said again.
fn chain_of(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        text if text.ends_with(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}

/// The time, read once by each command.
fn now() -> crate::resource::time::Timestamp {
    crate::runtime::clock::system_time()
}
