//! `manifestd tree`: the steps of a run and their children with phases, once or live.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use rusqlite::Connection;

use super::changes::Watched;
use super::context::Context;
use super::exit::Exit;
use super::names::{self, RunOrPipeline};
use super::out::Out;
use super::picture::{Picture, StepPicture};
use super::table::Columns;
use super::tree_text::{self, Branch};
use crate::plan::pipeline::DEPTH_MAX;
use crate::resource::run::ChildKind;
use crate::resource::time::Timestamp;
use crate::store::run_view::{self, RunFilter, RunView};
use crate::store::view::ObjectView;

/// Children of a step that are drawn without `--all`.
const CHILDREN_SHOWN: u32 = 20;

/// Children of a step that are drawn with `--all`.
const CHILDREN_MAX: u32 = 1_000_000;

/// Runs of a pipeline that are drawn.
const RUNS_SHOWN: u32 = 10;

/// A tree is not drawn again sooner than this.
const REDRAW: Duration = Duration::from_secs(1);

/// Arguments of `tree`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a run, run/NAME, or pipeline/NAME for its latest runs
    #[arg(value_name = "RUN|pipeline/NAME")]
    what: String,
    /// Go on drawing until the run has ended; where no terminal is, one line for each change of a step
    #[arg(short, long)]
    watch: bool,
    /// All children of each step, and not only some, with those first that went wrong
    #[arg(long)]
    all: bool,
}

impl Args {
    const fn children(&self) -> u32 {
        if self.all { CHILDREN_MAX } else { CHILDREN_SHOWN }
    }
}

/// Runs `tree`.
pub(crate) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    if args.watch {
        return watch(context, args, connection).await;
    }
    let mut out = Out::new(context.colour);
    let root = tree(&connection, args, super::now())?.0;
    for line in tree_text::lines(&root, out.colour) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// The tree that was asked for, and the run when it is one.
fn tree(connection: &Connection, args: &Args, now: Timestamp) -> anyhow::Result<(Branch, Option<RunView>)> {
    let moment = connection.unchecked_transaction()?;
    let found = match names::run_or_pipeline(connection, &args.what)? {
        RunOrPipeline::Run(run) => (of_run(connection, &run, args.children(), now, DEPTH_MAX)?, Some(*run)),
        RunOrPipeline::Pipeline(pipeline) => (of_pipeline(connection, &pipeline, args, now)?, None),
    };
    moment.finish()?;
    Ok(found)
}

/// A pipeline with its latest runs: the latest with its steps, or the steps themselves while there is none.
fn of_pipeline(connection: &Connection, object: &ObjectView, args: &Args, now: Timestamp) -> anyhow::Result<Branch> {
    let filter = RunFilter { pipeline: Some(object.name.clone()), limit: Some(RUNS_SHOWN + 1), ..RunFilter::default() };
    let mut runs = run_view::runs(connection, &filter)?;
    let more = runs.len() > RUNS_SHOWN as usize;
    runs.truncate(RUNS_SHOWN as usize);
    let mut below = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        below.push(match at {
            0 => of_run(connection, run, args.children(), now, DEPTH_MAX)?,
            _ => tree_text::run(run, now),
        });
    }
    if more {
        below.push(Branch::note(format!("older ones: manifestd get runs --pipeline {}", object.name)));
    }
    let mut rest = String::new();
    if below.is_empty() {
        rest = format!("has no runs; manifestd run {} makes one", object.name);
        let picture = Picture::of_pipeline(&object.name, names::pipeline_spec(object)?);
        below = picture.steps.iter().map(tree_text::step).collect();
    }
    Ok(Branch { name: format!("pipeline/{}", object.name), phase: "", rest, below })
}

fn of_run(connection: &Connection, run: &RunView, children: u32, now: Timestamp, depth: u32) -> anyhow::Result<Branch> {
    let picture = Picture::of_run(connection, run, now)?;
    let mut root = tree_text::run(run, now);
    for step in &picture.steps {
        root.below.push(of_step(connection, run, step, children, now, depth)?);
    }
    Ok(root)
}

fn of_step(
    connection: &Connection,
    run: &RunView,
    step: &StepPicture,
    limit: u32,
    now: Timestamp,
    depth: u32,
) -> anyhow::Result<Branch> {
    let mut branch = tree_text::step(step);
    for child in run_view::children(connection, &run.uid, &step.name, limit)? {
        let of_child = match child.kind {
            ChildKind::Run if depth > 0 => match run_view::run(connection, &child.name)? {
                Some(inner) => of_run(connection, &inner, limit, now, depth - 1)?,
                None => tree_text::child(&child, now),
            },
            ChildKind::Run | ChildKind::Task => tree_text::child(&child, now),
        };
        branch.below.push(of_child);
    }
    let all = step.standing.as_ref().map_or(0, |standing| standing.tally.all());
    let more = all.saturating_sub(branch.below.len() as u64);
    if more > 0 {
        let below = branch.below.len() as u64;
        branch.below.push(Branch::note(match below < u64::from(limit) {
            // What was skipped was never made.
            true => format!("and {more} that were skipped"),
            false => format!("and {more} more (--all)"),
        }));
    }
    Ok(branch)
}

/// Draws again after each change, until the run has ended; a pipeline is watched until interrupted.
async fn watch(context: &Context, args: &Args, connection: Connection) -> anyhow::Result<Exit> {
    let mut watched = Watched::new(connection, &context.state);
    let mut said = HashMap::new();
    let terminal = Out::new(context.colour).terminal;
    let mut first = true;
    loop {
        watched.changed().await?;
        let now = super::now();
        let (root, run) = tree(watched.connection(), args, now)?;
        {
            // Not kept over a wait: it holds standard output.
            let mut out = Out::new(context.colour);
            if terminal {
                draw(&root, std::mem::take(&mut first), &mut out)?;
            } else {
                append(&root, now, &mut said, &mut out)?;
            }
            out.flush()?;
        }
        if run.is_some_and(|run| run.status.phase.is_terminal() && !run.is_moving()) {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(REDRAW).await;
    }
}

/// Draws the tree from the top of the screen on, over what was there. Source of the sequences: ECMA-48 (CUP, ED, EL).
fn draw(root: &Branch, first: bool, out: &mut Out) -> std::io::Result<()> {
    if first {
        write!(out, "\u{1b}[2J")?;
    }
    write!(out, "\u{1b}[H")?;
    for line in tree_text::lines(root, out.colour) {
        writeln!(out, "{line}\u{1b}[K")?;
    }
    write!(out, "\u{1b}[J")
}

/// One line for the root and for each step that is not as it was said last.
fn append(
    root: &Branch,
    now: Timestamp,
    said: &mut HashMap<String, (&'static str, String)>,
    out: &mut Out,
) -> std::io::Result<()> {
    let mut rows = Vec::new();
    for step in &root.below {
        let state = (step.phase, step.rest.clone());
        if said.get(&step.name) != Some(&state) {
            rows.push(vec![now.rfc3339(), step.name.clone(), step.phase.into(), step.rest.clone()]);
            said.insert(step.name.clone(), state);
        }
    }
    // How long it has been running is no change.
    let state = (root.phase, String::new());
    if said.get(&root.name) != Some(&state) {
        rows.push(vec![now.rfc3339(), root.name.clone(), root.phase.into(), root.rest.clone()]);
        said.insert(root.name.clone(), state);
    }
    if rows.is_empty() { Ok(()) } else { Columns::new(&["TIME", "NAME", "PHASE", "DETAIL"]).write(out, &rows, true) }
}
