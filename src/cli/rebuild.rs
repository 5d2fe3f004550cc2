//! `db rebuild`: says what was brought back of a lost database, and what could not be.

use std::io::Write as _;

use super::context::Context;
use super::exit::Exit;
use super::now;
use super::out::{Out, clean};
use super::table::many;
use super::work::Work;
use crate::runtime::rebuild::{RebuildReport, Wanted, rebuild};

/// What is in no manifest and no result, and so cannot be brought back from them.
const LOST: &str = "not brought back: runs of pipelines, events, what people asked for (cancel, retry, approve), attempts that stored nothing, \
                    since when directories are missing, and that a result may be reused";

/// Rebuilds.
///
/// # Errors
/// Why it was not done; then everything is as it was.
pub(super) async fn run(context: &Context, dry_run: bool, force: bool, json: bool) -> anyhow::Result<Exit> {
    let (settings, workspace) = (context.settings.clone(), context.workspace.clone());
    let wanted = Wanted { settings, workspace, dry_run, force };
    let mut work = Work::start("tasks", !json);
    let report = rebuild(&wanted, now(), &mut |done, of| work.tell(done, of)).await?;
    work.end();
    let mut out = Out::new(context.colour);
    if json {
        out.json(&report)?;
    } else {
        print(&mut out, &report, dry_run)?;
    }
    Ok(if report.damaged_count + report.problems > 0 { Exit::No } else { Exit::Ok })
}

fn print(out: &mut Out, report: &RebuildReport, dry_run: bool) -> anyhow::Result<()> {
    writeln!(out, "{} objects are declared by the manifests", report.declared)?;
    if report.problems > 0 {
        writeln!(
            out,
            "{} in the manifests; what they declare is missing (manifestd validate)",
            many(report.problems, "problem")
        )?;
    }
    for (phase, count) in &report.finished {
        writeln!(out, "{count} tasks are {phase} again, by their results")?;
    }
    if report.assumed > 0 {
        writeln!(
            out,
            "  {} of them by results that an older manifestd stored: app, analyzer and tools fit, and they do not run again. \
             manifestd retry NAME runs one anew",
            report.assumed
        )?;
    }
    writeln!(out, "{} tasks run, as no result proves their end", report.pending)?;
    if report.changed > 0 {
        writeln!(out, "{} tasks run again, as their results are about another spec", report.changed)?;
    }
    if report.damaged_count > 0 {
        writeln!(out, "{} results are not whole and were not brought back:", report.damaged_count)?;
        for damaged in &report.damaged {
            writeln!(out, "  {}", clean(damaged))?;
        }
    }
    if report.undeclared > 0 {
        writeln!(
            out,
            "{} results belong to tasks that no manifest declares, such as those of runs",
            report.undeclared
        )?;
    }
    for pipeline in &report.suspended {
        writeln!(
            out,
            "pipeline {pipeline} is suspended, as it would make its run again: manifestd resume pipeline/{pipeline}"
        )?;
    }
    writeln!(out, "{LOST}")?;
    if dry_run {
        writeln!(out, "Nothing was changed.")?;
    } else if let Some(aside) = &report.aside {
        writeln!(out, "what was there before, and results that were not brought back, are in {}", aside.display())?;
    }
    Ok(())
}
