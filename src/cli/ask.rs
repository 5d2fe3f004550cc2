//! `manifestd cancel` and `manifestd retry`: what people ask of tasks and runs.

use std::io::Write;

use anyhow::bail;

use super::ask_runs::{self, CancelRunArgs, RetryRunArgs};
use super::context::Context;
use super::exit::{Exit, refused};
use super::names;
use super::out::{Out, clean, note};
use super::request::perform;
use super::selector::Selector;
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::runtime::control::{Request, Response, TaskAnswer};
use crate::store::view::{self, Filter, ObjectView};

/// So many tasks go into one request.
const TASKS_PER_REQUEST: usize = 1000;

/// Arguments of `cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A cancelled task stays Cancelled until its spec changes or somebody asks for a retry.
A cancelled run ends what is under way, and runs what it runs finally, unless --finally is given.")]
pub(crate) struct CancelArgs {
    /// Names of tasks and runs; run/NAME where a task has that name, too
    #[arg(value_name = "TASK|RUN", required_unless_present = "selector")]
    tasks: Vec<String>,
    /// Also all pending and running tasks with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<Selector>,
    #[command(flatten)]
    of_runs: CancelRunArgs,
}

/// Arguments of `retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A run that has ended begins another round: it keeps to its spec, and to what succeeded.

Examples:
  manifestd retry lint-demo
  manifestd retry study-3 --from analyse --dry-run")]
pub(crate) struct RetryArgs {
    /// Names of tasks and runs; run/NAME where a task has that name, too
    #[arg(value_name = "TASK|RUN", required_unless_present_any = ["selector", "all_failed"])]
    tasks: Vec<String>,
    /// All tasks with these labels that are not running; with --all-failed only the failed ones of them
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<Selector>,
    /// All tasks that are Failed or PartialSuccess
    #[arg(long)]
    all_failed: bool,
    /// Really run them, though spec.cache allows to take a stored result
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    of_runs: RetryRunArgs,
}

/// Runs `cancel`.
pub(crate) async fn cancel(context: &Context, args: &CancelArgs) -> anyhow::Result<Exit> {
    let is_wanted = |task: &ObjectView| {
        let open = task.task.as_ref().is_some_and(|task| !task.status.phase.is_terminal());
        open && args.selector.as_ref().is_some_and(|selector| selector.matches(&task.labels))
    };
    let (named, runs) = ask_runs::parted(context, &args.tasks)?;
    let (tasks_too, runs_only) = (!named.is_empty() || args.selector.is_some(), named.is_empty() && !runs.is_empty());
    let of_runs = ask_runs::cancel(context, runs, &args.of_runs, tasks_too).await?;
    if runs_only && args.selector.is_none() {
        return Ok(of_runs);
    }
    let tasks = select(context, &named, args.selector.is_some(), is_wanted)?;
    let of_tasks = requested(
        context,
        tasks,
        |tasks| Request::Cancel { tasks },
        |answer| match answer.phase {
            Some(Phase::Cancelled) => ("is cancelled already".into(), true),
            Some(phase) if !answer.effective => (format!("is {phase} already: there is nothing to cancel"), false),
            _ => ("cancellation requested".into(), true),
        },
    )
    .await?;
    Ok(if of_tasks == Exit::Ok { of_runs } else { of_tasks })
}

/// Runs `retry`.
pub(crate) async fn retry(context: &Context, args: &RetryArgs) -> anyhow::Result<Exit> {
    let is_wanted = |task: &ObjectView| {
        let phase = task.task.as_ref().map(|task| task.status.phase);
        let failed = matches!(phase, Some(Phase::Failed | Phase::PartialSuccess));
        let fits = if args.all_failed { failed } else { phase != Some(Phase::Running) };
        fits && args.selector.as_ref().is_none_or(|selector| selector.matches(&task.labels))
    };
    let many = args.selector.is_some() || args.all_failed;
    let (named, runs) = ask_runs::parted(context, &args.tasks)?;
    let runs_only = named.is_empty() && !runs.is_empty() && !many;
    let of_runs = ask_runs::retry(context, runs, &args.of_runs, !named.is_empty() || many).await?;
    if runs_only {
        return Ok(of_runs);
    }
    let tasks = select(context, &named, many, is_wanted)?;
    let of_tasks = requested(
        context,
        tasks,
        |tasks| Request::Retry { tasks, no_cache: args.no_cache },
        |answer| match answer.phase {
            Some(Phase::Pending) if !answer.effective => {
                ("is Pending and starts by itself as soon as it can".into(), true)
            }
            Some(phase) if !answer.effective && phase.is_terminal() => {
                (format!("is {phase}, and its manifest is gone: put that back to run it again"), false)
            }
            Some(phase) if !answer.effective => (format!("is {phase}: wait for its end, or cancel it first"), false),
            Some(Phase::Pending) => ("will be tried now".into(), true),
            _ => ("another run requested".into(), true),
        },
    )
    .await?;
    Ok(if of_tasks == Exit::Ok { of_runs } else { of_tasks })
}

/// The named tasks, and with `many` every one that is wanted.
fn select(
    context: &Context,
    named: &[String],
    many: bool,
    is_wanted: impl Fn(&ObjectView) -> bool,
) -> anyhow::Result<Vec<String>> {
    let connection = context.open()?;
    let mut tasks = Vec::new();
    for word in named {
        let name = names::of_kind(Kind::Task, word)?;
        // An unknown name stops the whole command before anything is done.
        tasks.push(names::find(&connection, Kind::Task, name)?.name);
    }
    if many {
        let all = view::objects(&connection, Kind::Task, &Filter::default())?;
        tasks.extend(all.into_iter().filter(is_wanted).map(|task| task.name));
    }
    let mut seen = std::collections::HashSet::new();
    tasks.retain(|name| seen.insert(name.clone()));
    Ok(tasks)
}

async fn requested(
    context: &Context,
    tasks: Vec<String>,
    request: impl Fn(Vec<String>) -> Request,
    say: impl Fn(&TaskAnswer) -> (String, bool),
) -> anyhow::Result<Exit> {
    if tasks.is_empty() {
        note("no tasks match");
        return Ok(Exit::Ok);
    }
    let mut out = Out::new(context.colour);
    let mut all = true;
    let mut served = true;
    for part in tasks.chunks(TASKS_PER_REQUEST) {
        let (response, by_controller) = perform(context, request(part.to_vec())).await?;
        served = by_controller;
        let answers = match response {
            Response::Requested { tasks } => tasks,
            Response::Failed { message } => return Err(refused(clean(&message))),
            other => bail!("the controller answered something else: {other:?}"),
        };
        for answer in &answers {
            let (text, good) = match answer.phase {
                None => ("is no longer known".into(), false),
                Some(_) => say(answer),
            };
            all &= good;
            writeln!(out, "task/{} {text}", clean(&answer.name))?;
        }
    }
    out.flush()?;
    if !served {
        note("note: no controller is running; what there is to run runs when one starts (manifestd serve)");
    }
    Ok(if all { Exit::Ok } else { Exit::No })
}
