//! `manifestd run` and `manifestd rerun`: make a run of a pipeline, and wait for it when asked.

use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio_util::sync::CancellationToken;

use super::changes::Watched;
use super::context::{Context, environment};
use super::exit::{Exit, refused};
use super::names;
use super::out::{Out, clean, note};
use super::progress::Progress;
use super::request::{ask, perform};
use super::stop::Stopping;
use super::told;
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::resource::time::Span;
use crate::runtime::answer::Answerer;
use crate::runtime::control::{Request, Response};
use crate::runtime::controller::Controller;
use crate::runtime::first_look::FirstLook;
use crate::runtime::report::SyncReport;
use crate::server::listen;
use crate::store::run_view;

/// How a run that was made is waited for.
#[derive(Debug, clap::Args)]
struct Waiting {
    /// Wait until the run has ended; without a running controller, run it in this process
    #[arg(long)]
    wait: bool,
    /// How long to wait at most; the run goes on
    #[arg(long, value_name = "TIME", value_parser = Span::from_str, requires = "wait")]
    timeout: Option<Span>,
    /// Run the embedded analyzer meanwhile, when no controller runs
    #[arg(long, requires = "wait")]
    embedded_analyzer: bool,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --wait it ends with 0 when the run is Completed, 1 when it has ended otherwise, 3 when the time is over.

Examples:
  manifestd run study
  manifestd run study -p model=gpt-4o -p count=3 --wait --timeout 2h"
)]
pub(crate) struct RunArgs {
    /// Name of the pipeline
    #[arg(value_name = "PIPELINE")]
    pipeline: String,
    /// The value of a parameter
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Arguments of `rerun`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The new run keeps to the spec that the old one was pinned to, and takes its parameters, but for those that are given."
)]
pub(crate) struct RerunArgs {
    /// Name of the older run
    #[arg(value_name = "RUN")]
    run: String,
    /// The value of a parameter that shall differ
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
    /// Take the pipeline as it is now, and not as it was then
    #[arg(long)]
    latest: bool,
    /// Only say what would happen
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// `NAME=VALUE`.
fn param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// Parameters by name.
fn named(params: &[(String, String)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut named = BTreeMap::new();
    for (name, value) in params {
        if named.insert(name.clone(), value.clone()).is_some() {
            return Err(anyhow!("parameter \"{}\" is given twice", clean(name)));
        }
    }
    Ok(named)
}

/// Runs `run`.
pub(crate) async fn run(context: &Context, args: &RunArgs) -> anyhow::Result<Exit> {
    let pipeline = names::of_kind(Kind::Pipeline, &args.pipeline)?.to_owned();
    let request = Request::Run { pipeline, params: named(&args.params)? };
    make(context, request, &args.waiting).await
}

/// Runs `rerun`.
pub(crate) async fn rerun(context: &Context, args: &RerunArgs) -> anyhow::Result<Exit> {
    let run = names::run(&context.open()?, &args.run)?.name;
    let request = Request::Rerun { run, params: named(&args.params)?, latest: args.latest, dry_run: args.dry_run };
    if args.dry_run {
        return told::request(context, request).await;
    }
    make(context, request, &args.waiting).await
}

async fn make(context: &Context, request: Request, waiting: &Waiting) -> anyhow::Result<Exit> {
    if !waiting.wait {
        let (response, served) = perform(context, request).await?;
        made(context, response)?;
        if !served {
            note("note: no controller is running; the run begins when one starts (manifestd serve), or with --wait");
        }
        return Ok(Exit::Ok);
    }
    // A person who watches sees what happens; a script gets the run's name and its end.
    let progress = |context| Progress::start(context, std::io::IsTerminal::is_terminal(&std::io::stderr()));
    if let Some(response) = ask(&context.state, &request).await? {
        let name = made(context, response)?;
        let progress = progress(context);
        let ended = until_ended(context, &name, waiting.timeout).await;
        progress.stop().await;
        return ended;
    }
    let progress = progress(context);
    let ended = here(context, request, waiting).await;
    progress.stop().await;
    ended
}

/// Makes the run and runs it in this process, which is the controller meanwhile: other commands reach it as they would a daemon.
async fn here(context: &Context, request: Request, waiting: &Waiting) -> anyhow::Result<Exit> {
    let mut stopping = Stopping::listen()?;
    let mut settings = context.settings.clone();
    settings.embedded_analyzer |= waiting.embedded_analyzer;
    let grace = settings.shutdown_grace_period.std();
    let variables = environment().into_iter().collect();
    let mut controller = Controller::open(settings, context.workspace.clone(), variables).await?;
    let listener = listen::bind(&context.state).context("binding the control socket")?;
    let is_read = controller.start().await == FirstLook::IsOver;
    let answerer = Answerer::new(&controller);
    let stop = CancellationToken::new();
    let server = listen::serve(listener, answerer.clone(), stop.clone());
    let made_and_ended = async {
        // What the run is made from may be new, so it waits for the manifests as long as a slow disk, or a slow repository, takes.
        if !is_read {
            let limit = waiting.timeout.map_or(Duration::MAX, Span::std);
            let Ok(response) = tokio::time::timeout(limit, answerer.answer(Request::Sync)).await else {
                note(
                    "error: the manifests have not been read in that time, so no run was made; the disk or the repository is slow",
                );
                return Ok(Exit::TimedOut);
            };
            match response {
                Response::Synced(SyncReport { incomplete: None, .. }) => {}
                Response::Synced(SyncReport { incomplete: Some(why), .. }) | Response::Failed { message: why } => {
                    bail!("the manifests could not be read, so no run was made: {why}")
                }
                other => bail!("the controller answered something else: {other:?}"),
            }
        }
        let name = made(context, answerer.answer(request).await)?;
        until_ended(context, &name, waiting.timeout).await
    };
    let ended = tokio::select! {
        ended = made_and_ended => ended,
        error = controller.failed() => Err(error.into()),
        ended = server => Err(match ended {
            Err(error) => anyhow::Error::from(error).context("the control socket"),
            Ok(()) => anyhow!("the control socket ended by itself"),
        }),
        () = stopping.asked() => Err(anyhow!("stopped by a signal; the run goes on at the next start of a controller")),
    };
    stop.cancel();
    stopping.shut_down(controller, grace).await;
    ended
}

/// Prints which run was made, and gives its name.
fn made(context: &Context, response: Response) -> anyhow::Result<String> {
    let lines = told::lines(response)?;
    let mut out = Out::new(context.colour);
    told::print(&lines, &mut out)?;
    out.flush()?;
    let first = lines.into_iter().find(|line| line.effective).ok_or_else(|| refused("no run was made"))?;
    Ok(first.name.strip_prefix("run/").map_or_else(|| first.name.clone(), str::to_owned))
}

/// Waits until a run has ended.
async fn until_ended(context: &Context, name: &str, timeout: Option<Span>) -> anyhow::Result<Exit> {
    let ended = phase_at_end(context, name);
    let phase = match timeout {
        None => ended.await?,
        Some(timeout) => match tokio::time::timeout(timeout.std(), ended).await {
            Ok(phase) => phase?,
            Err(_) => {
                note(format_args!(
                    "error: run/{name} has not ended after {timeout}; manifestd why run/{name} says more"
                ));
                return Ok(Exit::TimedOut);
            }
        },
    };
    let mut out = Out::new(context.colour);
    writeln!(out, "run/{name} {phase}")?;
    out.flush()?;
    if phase == Phase::Completed {
        return Ok(Exit::Ok);
    }
    note(format_args!("error: run/{name} is {phase}; manifestd tree {name} says more"));
    Ok(Exit::No)
}

async fn phase_at_end(context: &Context, name: &str) -> anyhow::Result<Phase> {
    let mut watched = Watched::new(context.open()?, &context.state);
    loop {
        watched.changed().await?;
        let run = run_view::run(watched.connection(), name)?.ok_or_else(|| refused(format!("run {name} is gone")))?;
        if run.status.phase.is_terminal() && !run.is_moving() {
            return Ok(run.status.phase);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_names_and_values_and_each_is_given_once() {
        assert_eq!(param("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(param("a="), Ok(("a".into(), String::new())));
        assert!(param("a").is_err() && param("=b").is_err());
        assert!(named(&[("a".into(), "1".into()), ("a".into(), "2".into())]).is_err());
    }
}
