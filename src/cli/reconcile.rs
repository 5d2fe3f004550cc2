//! `reconcile --once`: every loop until nothing more can be done now, and a report. For cron, for CI, and for a person who wants to know.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::exit::{Exit, refused};
use super::out::{Out, clean};
use super::progress::Progress;
use super::request::perform;
use super::table::{Columns, many};
use crate::plan::action::{Action, Rule};
use crate::resource::phase::Phase;
use crate::runtime::answer::{LOOPS, is_wanted};
use crate::runtime::control::{Request, Response};
use crate::runtime::dry_run::{Rehearsal, dry_run};
use crate::runtime::report::{ReconcileReport, SyncReport};

/// The loops that a saved plan is about.
const PLANNED: [&str; 2] = ["filesystem", "maintenance"];

/// Actions that a person is shown; all of them are in the JSON.
const ACTIONS_SHOWN: usize = 50;

/// What is deleted for good.
const PURGES: [Rule; 4] = [Rule::AppPurged, Rule::TaskPurged, Rule::RunPurged, Rule::StrayPurged];

/// A plan in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    actions: Vec<Action>,
}

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
    /// Write what filesystem and maintenance would do into this file, and do nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from_plan", "verify"])]
    plan: Option<PathBuf>,
    /// Do exactly what this file says, of filesystem and maintenance; refuse if any of it would not be done any more
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "only"])]
    from_plan: Option<PathBuf>,
    /// Plan once more afterwards, and fail unless nothing is left to do
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
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
    let only = loops(args)?;
    let planned = args.from_plan.as_deref().map(read_plan).transpose()?;
    if let Some(planned) = &planned {
        check_planned(&rehearse(&context, &only).await?, planned)?;
    }
    if args.dry_run || args.plan.is_some() {
        let rehearsal = rehearse(&context, &only).await?;
        if let Some(path) = &args.plan {
            write_plan(path, &rehearsal.actions)?;
        }
        match json {
            true => out.json(&rehearsal)?,
            false => print_plan(&mut out, &rehearsal)?,
        }
        return Ok(Exit::Ok);
    }
    let progress = Progress::start(&context, !json);
    let answered = perform(&context, Request::Reconcile { only: only.clone(), planned }).await;
    progress.stop().await;
    let report = match answered? {
        (Response::Reconciled(report), _) => report,
        (Response::Failed { message }, _) => bail!("{message}"),
        (other, _) => bail!("the controller answered something else: {other:?}"),
    };
    if json {
        out.json(&report)?;
    } else {
        print(&mut out, &context, &report, is_wanted(&only, "tasks"))?;
    }
    let left = if args.verify { rehearse(&context, &only).await? } else { Rehearsal::default() };
    if args.verify && !json {
        match left.is_empty() {
            true => writeln!(out, "verified: a second run would do nothing")?,
            false => {
                writeln!(out, "\nnot settled: a second run would do this")?;
                print_plan(&mut out, &left)?;
            }
        }
    }
    Ok(if needs_attention(&report) || !left.is_empty() { Exit::No } else { Exit::Ok })
}

async fn rehearse(context: &Context, only: &[String]) -> anyhow::Result<Rehearsal> {
    Ok(dry_run(context.settings.clone(), context.workspace.clone(), only).await?)
}

/// The loops that are asked for. What tasks come to nobody can promise, so a plan is about the other two.
fn loops(args: &Args) -> anyhow::Result<Vec<String>> {
    if args.plan.is_none() && args.from_plan.is_none() {
        return Ok(args.only.clone());
    }
    if let Some(other) = args.only.iter().find(|word| !PLANNED.contains(&word.as_str())) {
        return Err(refused(format!("a plan is about {} only, not about {other}", PLANNED.join(" and "))));
    }
    let all = PLANNED.map(str::to_owned).to_vec();
    Ok(if args.only.is_empty() { all } else { args.only.clone() })
}

fn write_plan(path: &Path, actions: &[Action]) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&PlanFile { actions: actions.to_vec() })?;
    std::fs::write(path, text + "\n").with_context(|| format!("the plan could not be written to {}", path.display()))
}

fn read_plan(path: &Path) -> anyhow::Result<Vec<Action>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    let plan: PlanFile = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a plan that `manifestd reconcile --once --plan` wrote", path.display()))?;
    Ok(plan.actions)
}

/// Refuses a plan of which something would not be done any more.
fn check_planned(now: &Rehearsal, planned: &[Action]) -> anyhow::Result<()> {
    let lost: Vec<&Action> = planned.iter().filter(|action| !now.actions.contains(action)).collect();
    let Some(first) = lost.first() else { return Ok(()) };
    Err(refused(format!(
        "the state has moved since the plan was made: {} of {} actions would not be done any more, such as\n  {}\n\
         Nothing was done. Make a new plan",
        lost.len(),
        planned.len(),
        clean(&first.to_string())
    )))
}

fn print_plan(out: &mut Out, rehearsal: &Rehearsal) -> anyhow::Result<()> {
    for action in &rehearsal.actions {
        writeln!(out, "{}", clean(&action.to_string()))?;
    }
    for event in &rehearsal.events {
        writeln!(out, "{}/{}: {}: {}", event.kind.singular(), event.name, event.reason, event.message)?;
    }
    match rehearsal.actions.len() + rehearsal.events.len() {
        0 => writeln!(out, "Nothing would be done.")?,
        count => writeln!(out, "{} would be done. Nothing was done.", many(count, "thing"))?,
    }
    Ok(())
}

/// What maintenance did, as an operator of the old system knows it.
fn print_maintenance(out: &mut Out, context: &Context, report: &ReconcileReport) -> anyhow::Result<()> {
    let Some(done) = &report.maintenance else { return Ok(()) };
    let settings = &context.settings;
    writeln!(out, "maintenance: starting")?;
    let apps = report.apps.unwrap_or_default();
    let lines = [
        (apps.missing, format!("apps marked as missing (grace period: {} days)", settings.orphan_app_retention_days)),
        (apps.restored, "apps restored (their directories reappeared)".to_owned()),
        (
            done.count(Rule::AppDeleted),
            format!("orphan apps ready for deletion (missing for > {} days)", settings.orphan_app_retention_days),
        ),
        (done.count(Rule::AppDeleted), "orphan app records cleaned up".to_owned()),
        (
            done.count(Rule::TaskStuck),
            format!("stuck tasks marked as Failed (> {} minutes)", settings.stuck_task_timeout_minutes),
        ),
        (
            done.count(Rule::TaskPendingTooLong),
            format!("old pending tasks cancelled (> {} minutes)", settings.pending_task_timeout_minutes),
        ),
        (done.count(Rule::TaskSetAside), format!("old tasks set aside (> {} days)", settings.task_retention_days)),
        (done.count(Rule::RunSetAside), format!("old runs set aside (> {} days)", settings.task_retention_days)),
        (done.count(Rule::StrayFound), "result directories found that belong to no attempt".to_owned()),
        (
            PURGES.iter().map(|rule| done.count(*rule)).sum(),
            format!("records deleted for good (> {} days in quarantine)", settings.quarantine_days),
        ),
    ];
    for (count, text) in lines.iter().filter(|(count, _)| *count > 0) {
        writeln!(out, "maintenance: {count} {text}")?;
    }
    writeln!(out, "maintenance: complete; manifestd orphans list shows what can be brought back")?;
    for action in report.actions.iter().take(ACTIONS_SHOWN) {
        writeln!(out, "  {}", clean(&action.to_string()))?;
    }
    let hidden = report.actions.len().saturating_sub(ACTIONS_SHOWN) as u64 + report.actions_left_out;
    if hidden > 0 {
        writeln!(out, "  and {hidden} more (-o json lists them)")?;
    }
    Ok(())
}

fn print(out: &mut Out, context: &Context, report: &ReconcileReport, with_tasks: bool) -> anyhow::Result<()> {
    if let Some(sync) = &report.manifests {
        writeln!(out, "manifests: {}", describe(sync))?;
    }
    if let Some(apps) = &report.apps {
        writeln!(out, "apps: {} found, {} missing, {} restored", apps.found, apps.missing, apps.restored)?;
    }
    print_maintenance(out, context, report)?;
    match report.attempts {
        _ if !with_tasks => writeln!(out, "tasks: not asked for, so none was started")?,
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
        text.push_str(&format!(", {} (manifestd get problems)", many(sync.problems, "problem")));
    }
    if let Some(why) = &sync.incomplete {
        text.push_str(&format!("; not read as a whole, so nothing was removed: {why}"));
    }
    if sync.open + sync.settling > 0 {
        text.push_str(&format!("; {} being written, left as before", many(sync.open + sync.settling, "file")));
    }
    if sync.frozen > 0 && sync.incomplete.is_none() {
        text.push_str(&format!(
            "; {} frozen, since they are so many (manifestd orphans accept)",
            many(sync.frozen, "removal")
        ));
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
