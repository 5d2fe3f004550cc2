//! `reconcile --once`: every loop until nothing more can be done now, and a report. For cron, for CI, and for a person who wants to know.

use std::io::Write;

use anyhow::bail;

use super::context::Context;
use super::exit::Exit;
use super::out::Out;
use super::progress::Progress;
use super::request::perform;
use super::table::Columns;
use crate::resource::event::Event;
use crate::resource::phase::Phase;
use crate::runtime::answer::LOOPS;
use crate::runtime::control::{ReconcileReport, Request, Response, SyncReport};
use crate::runtime::dry_run::dry_run;

/// Arguments of `reconcile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run every loop until nothing more can be done now, then exit; required, since the loops run for ever in `serve`
    #[arg(long, required = true)]
    once: bool,
    /// Only these loops
    #[arg(long, value_name = "LOOP", value_delimiter = ',', value_parser = LOOPS)]
    only: Vec<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Run the embedded analyzer meanwhile, for Analyzers with the address embedded:
    #[arg(long)]
    embedded_analyzer: bool,
    /// How to print the report
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Runs the loops once.
///
/// # Errors
/// Why they could not run.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let mut context = context.clone();
    context.settings.embedded_analyzer |= args.embedded_analyzer;
    let mut out = Out::new(context.colour);
    let json = args.output == "json";
    if args.dry_run {
        let events = dry_run(context.settings.clone(), context.workspace.clone(), &args.only).await?;
        if json {
            out.json(&events)?;
        } else {
            print_plan(&mut out, &events)?;
        }
        return Ok(Exit::Ok);
    }
    let progress = Progress::start(&context, !json);
    let answered = perform(&context, Request::Reconcile { only: args.only.clone() }).await;
    progress.stop().await;
    let report = match answered? {
        (Response::Reconciled(report), _) => report,
        (Response::Failed { message }, _) => bail!("{message}"),
        (other, _) => bail!("the controller answered something else: {other:?}"),
    };
    if json {
        out.json(&report)?;
    } else {
        print(&mut out, &context, &report)?;
    }
    Ok(if needs_attention(&report) { Exit::No } else { Exit::Ok })
}

fn print_plan(out: &mut Out, events: &[Event]) -> anyhow::Result<()> {
    for event in events {
        writeln!(out, "{}/{}: {}: {}", event.kind.singular(), event.name, event.reason, event.message)?;
    }
    match events.len() {
        0 => writeln!(out, "Nothing would be done.")?,
        count => writeln!(out, "{count} things would be done. Nothing was done.")?,
    }
    Ok(())
}

fn print(out: &mut Out, context: &Context, report: &ReconcileReport) -> anyhow::Result<()> {
    if let Some(sync) = &report.manifests {
        writeln!(out, "manifests: {}", describe(sync))?;
    }
    if let Some(apps) = &report.apps {
        writeln!(out, "apps: {} found, {} missing, {} restored", apps.found, apps.missing, apps.restored)?;
    }
    match report.attempts {
        0 => writeln!(out, "tasks: nothing to start; everything that can be done now is done")?,
        1 => writeln!(out, "tasks: 1 attempt was run")?,
        count => writeln!(out, "tasks: {count} attempts were run")?,
    }
    let counted = |phase: &Phase| report.phases.get(phase).filter(|count| **count > 0);
    let row = |phase: &Phase| counted(phase).map(|count| vec![phase.to_string(), count.to_string()]);
    let rows: Vec<Vec<String>> = Phase::ALL.iter().filter_map(row).collect();
    if !rows.is_empty() {
        writeln!(out)?;
        Columns::new(&["PHASE", "TASKS"]).write(out, &rows, false)?;
    }
    for due in &report.due {
        writeln!(out, "later: {} ({}) at {}", due.name, due.reason, due.at)?;
    }
    writeln!(out, "\nresults: {}", context.state.join("results").display())?;
    writeln!(out, "state:   {}", context.state.display())?;
    writeln!(out, "took {:.1} s", report.took_ms as f64 / 1000.0)?;
    Ok(())
}

fn describe(sync: &SyncReport) -> String {
    let mut text = format!("{} created, {} updated, {} removed", sync.created, sync.updated, sync.removed);
    if sync.problems > 0 {
        text.push_str(&format!(", {} problems (manifestd get problems)", sync.problems));
    }
    if let Some(why) = &sync.incomplete {
        text.push_str(&format!("; not read as a whole, so nothing was removed: {why}"));
    }
    if sync.frozen > 0 && sync.incomplete.is_none() {
        text.push_str(&format!("; {} removals frozen, since they are so many (manifestd orphans accept)", sync.frozen));
    }
    text
}

/// Whether a person should look: something failed, is broken, or is frozen.
fn needs_attention(report: &ReconcileReport) -> bool {
    let bad = |phase| report.phases.get(&phase).is_some_and(|count| *count > 0);
    let sync = report.manifests.as_ref();
    bad(Phase::Failed)
        || bad(Phase::PartialSuccess)
        || sync.is_some_and(|sync| sync.problems > 0 || sync.frozen > 0 || sync.incomplete.is_some())
}
