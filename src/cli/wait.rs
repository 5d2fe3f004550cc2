//! `manifestd wait`: waits until tasks and runs are as expected, for scripts.

use std::collections::HashMap;
use std::io::Write;
use std::str::FromStr;

use anyhow::bail;

use super::changes::Watched;
use super::context::Context;
use super::exit::{Exit, refused};
use super::names;
use super::out::{Out, note};
use super::selector::Selector;
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::resource::task::{RunPolicy, TaskSpec};
use crate::resource::time::Span;
use crate::store::view::{self, Filter, ObjectView};

/// More tasks than this are read all at once.
const ONE_BY_ONE_MAX: usize = 50;
/// So many tasks are named when the time is over.
const LEFT_SHOWN_MAX: usize = 5;

/// Arguments of `wait`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends with 0 when every task is as expected, 1 when one has ended otherwise, 3 when the time is over.
A task that is Failed(AnalyzerUnavailable) has ended, though it starts over by itself when its analyzer is back.

Examples:
  manifestd wait lint-demo --for=phase=Completed,PartialSuccess --timeout 10m
  manifestd wait --all --for=terminal
  manifestd wait run/study-3 --for=phase=Completed --timeout 2h
  manifestd wait old-task --for=delete"
)]
pub(crate) struct Args {
    /// Names of tasks, or of runs as run/NAME
    #[arg(value_name = "TASK|RUN", required_unless_present_any = ["selector", "all"])]
    tasks: Vec<String>,
    /// What to wait for: phase=PHASE, terminal, delete; several with commas, of which one is enough
    #[arg(long = "for", value_name = "CONDITION", default_value = "terminal")]
    condition: Condition,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = Span::from_str)]
    timeout: Span,
    /// Also all tasks with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<Selector>,
    /// All tasks
    #[arg(long, conflicts_with_all = ["tasks", "selector"])]
    all: bool,
}

/// What to wait for; one of it is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Condition {
    phases: Vec<Phase>,
    delete: bool,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut condition = Self::default();
        for part in text.split([',', '|']).map(str::trim) {
            match part.strip_prefix("phase=").unwrap_or(part) {
                "terminal" => condition.phases.extend(Phase::ALL.iter().filter(|phase| phase.is_terminal())),
                "delete" => condition.delete = true,
                word => match Phase::ALL.iter().find(|phase| phase.as_str().eq_ignore_ascii_case(word)) {
                    Some(phase) => condition.phases.push(*phase),
                    None => {
                        let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
                        return Err(format!(
                            "{part:?} is nothing to wait for; write phase=PHASE ({}), terminal or delete",
                            phases.join(", ")
                        ));
                    }
                },
            }
        }
        Ok(condition)
    }
}

/// The kind, a task or a run, and the name.
type Named = (Kind, String);

/// How a task stands towards what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Met,
    NotYet,
    /// It ended otherwise, and nothing is under way.
    Never,
}

/// Runs `wait`.
pub(crate) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let tasks = named(&connection, args)?;
    if tasks.is_empty() {
        return Err(refused("no tasks match, so there is nothing to wait for"));
    }
    let mut watched = Watched::new(connection, &context.state);
    let mut waiting = tasks;
    let ended = tokio::time::timeout(args.timeout.std(), until(&mut watched, args, &mut waiting, context)).await;
    match ended {
        Ok(exit) => exit,
        Err(_) => {
            let how = left(watched.connection(), &waiting)?;
            note(format_args!("error: not everything was as expected after {}: {how}", args.timeout));
            Ok(Exit::TimedOut)
        }
    }
}

/// The names to wait for.
fn named(connection: &rusqlite::Connection, args: &Args) -> anyhow::Result<Vec<Named>> {
    let mut tasks = Vec::new();
    for word in &args.tasks {
        // What is gone already is just what `delete` waits for.
        if args.condition.delete {
            let (prefix, name) = word.split_once('/').unwrap_or(("task", word));
            tasks.push(match names::kind(prefix)? {
                kind @ (Kind::Task | Kind::Run) => (kind, name.to_owned()),
                kind => bail!("\"{}\" is neither a task nor a run", kind.singular()),
            });
            continue;
        }
        let found = names::task_or_run(connection, word)?;
        if found.removed_at.is_some() {
            bail!(super::exit::Refused(format!("task \"{}\" was removed", found.name)));
        }
        tasks.push((found.kind, found.name));
    }
    if args.all || args.selector.is_some() {
        let all = view::objects(connection, Kind::Task, &Filter::default())?;
        let is_wanted =
            |task: &ObjectView| args.selector.as_ref().is_none_or(|selector| selector.matches(&task.labels));
        tasks.extend(all.into_iter().filter(is_wanted).map(|task| (Kind::Task, task.name)));
    }
    tasks.sort();
    tasks.dedup();
    Ok(tasks)
}

async fn until(
    watched: &mut Watched,
    args: &Args,
    waiting: &mut Vec<Named>,
    context: &Context,
) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    let mut all_met = true;
    loop {
        watched.changed().await?;
        let mut left = Vec::new();
        let mut now = read(watched.connection(), waiting)?;
        for of in std::mem::take(waiting) {
            let task = now.remove(&of);
            let (kind, name) = (of.0.singular(), &of.1);
            match standing(task.as_ref(), &args.condition) {
                Standing::NotYet => left.push(of),
                Standing::Met => match &task {
                    Some(task) => writeln!(out, "{kind}/{name} {}", phase(task).map_or("", Phase::as_str))?,
                    None => writeln!(out, "{kind}/{name} deleted")?,
                },
                Standing::Never => {
                    all_met = false;
                    let what = task
                        .as_ref()
                        .and_then(phase)
                        .map_or_else(|| "was removed".into(), |phase| format!("is {phase}"));
                    let which = if of.0 == Kind::Run { format!("run/{name}") } else { name.clone() };
                    note(format_args!("error: {kind}/{name} {what}; manifestd why {which} says more"));
                }
            }
        }
        out.flush()?;
        if left.is_empty() {
            return Ok(if all_met { Exit::Ok } else { Exit::No });
        }
        *waiting = left;
    }
}

/// How the first few of the tasks stand that are still waited for.
fn left(connection: &rusqlite::Connection, waiting: &[Named]) -> anyhow::Result<String> {
    let shown = &waiting[..waiting.len().min(LEFT_SHOWN_MAX)];
    let now = read(connection, shown)?;
    let stand = |of: &Named| match now.get(of).and_then(phase) {
        Some(phase) => format!("{}/{} is {phase}", of.0.singular(), of.1),
        None => format!("{}/{} is gone", of.0.singular(), of.1),
    };
    let more = match waiting.len() - shown.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Ok(shown.iter().map(stand).collect::<Vec<_>>().join(", ") + &more)
}

/// What of these is there, by kind and name: one by one, or all tasks at once when they are many.
fn read(connection: &rusqlite::Connection, names: &[Named]) -> anyhow::Result<HashMap<Named, ObjectView>> {
    let mut found = Vec::new();
    let at_once = names.len() > ONE_BY_ONE_MAX;
    if at_once {
        found = view::objects(connection, Kind::Task, &Filter::default())?;
    }
    for (kind, name) in names.iter().filter(|(kind, _)| !at_once || *kind != Kind::Task) {
        let filter = Filter { name: Some(name.clone()), removed: false };
        found.extend(view::objects(connection, *kind, &filter)?);
    }
    Ok(found.into_iter().map(|object| ((object.kind, object.name.clone()), object)).collect())
}

fn phase(object: &ObjectView) -> Option<Phase> {
    let of_run = || object.run.as_ref().map(|run| run.status.phase);
    object.task.as_ref().map(|task| task.status.phase).or_else(of_run)
}

fn standing(task: Option<&ObjectView>, condition: &Condition) -> Standing {
    let Some(task) = task else {
        return if condition.delete { Standing::Met } else { Standing::Never };
    };
    let Some(phase) = phase(task) else { return Standing::NotYet };
    let moving = is_moving(task);
    match () {
        // A phase that is about to be left is not waited for: `retry X && wait X` means the new run.
        () if condition.phases.contains(&phase) && !(phase.is_terminal() && moving) => Standing::Met,
        () if condition.delete || !phase.is_terminal() || moving => Standing::NotYet,
        () => Standing::Never,
    }
}

/// Whether a finished task or run is about to run again: asked for by a person, or its spec changed.
fn is_moving(task: &ObjectView) -> bool {
    if let Some(run) = &task.run {
        return run.is_moving();
    }
    let Some(state) = &task.task else { return false };
    let changed = task.generation > state.status.observed_generation;
    let reruns =
        serde_json::from_value::<TaskSpec>(task.spec.clone()).is_ok_and(|spec| spec.run_policy != RunPolicy::Once);
    state.retry_requested || (changed && reruns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_in_every_usual_spelling() {
        let two = vec![Phase::Completed, Phase::PartialSuccess];
        for text in
            ["phase=Completed,phase=PartialSuccess", "phase=Completed,PartialSuccess", "Completed | partialsuccess"]
        {
            assert_eq!(text.parse::<Condition>().unwrap(), Condition { phases: two.clone(), delete: false }, "{text}");
        }
        let terminal: Condition = "terminal".parse().unwrap();
        assert_eq!(terminal.phases.len(), 4);
        assert!("delete".parse::<Condition>().unwrap().delete);
        for wrong in ["", "phase=", "phase=Done", "condition=Ready"] {
            assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
        }
    }
}
