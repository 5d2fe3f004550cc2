//! Runs and pipelines in `describe`.

use std::io::{self, Write};

use rusqlite::Connection;

use super::describe::{indented, line, moment};
use super::history::short;
use super::names::pipeline_spec;
use super::out::{Out, clean};
use super::picture::{Picture, StepPicture};
use super::table;
use crate::resource::run::{CancelWish, Suspension};
use crate::resource::time::Timestamp;
use crate::store::run_view::{self, RunFilter, RunView};
use crate::store::view::ObjectView;

/// So many runs of a pipeline are shown.
const RUNS_MAX: u32 = 10;

/// What is known of a run besides its name and its spec.
pub(super) fn run(connection: &Connection, run: &RunView, now: Timestamp, out: &mut Out) -> anyhow::Result<()> {
    line(out, "Pipeline", &run.pipeline)?;
    let commit = run.commit.as_deref().map(|commit| format!(", commit {}", short(commit))).unwrap_or_default();
    let pinned =
        format!("generation {}, revision {}, spec {}{commit}", run.generation, run.revision, short(&run.digest));
    line(out, "Pinned to", &pinned)?;
    line(out, "Cause", run.cause.as_str())?;
    if let Some(at) = run.scheduled_at {
        line(out, "Scheduled", &moment(at, now))?;
    }
    if let Some(parent) = &run.parent {
        line(out, "Within", &format!("run/{parent}"))?;
    }
    suspended(run.suspension.as_ref(), now, out)?;
    status(run, now, out)?;
    let picture = Picture::of_run(connection, run, now)?;
    writeln!(out, "Steps:")?;
    let rows: Vec<Vec<String>> = picture.steps.iter().map(step).collect();
    indented(out, &["STEP", "PHASE", "DONE", "FAILED", "RUNNING", "PENDING", "REASON", "MESSAGE"], &rows)?;
    for step in picture.steps.iter().filter(|step| step.standing.as_ref().is_some_and(|of| of.is_asked)) {
        let (run, step) = (clean(&run.name), clean(&step.name));
        writeln!(out, "Waits for a person:  manifestd approve {run} {step}, or manifestd reject {run} {step}")?;
    }
    Ok(())
}

fn status(run: &RunView, now: Timestamp, out: &mut Out) -> io::Result<()> {
    let status = &run.status;
    writeln!(out, "Status:")?;
    writeln!(out, "  {:<12} {}", "Phase:", table::phase(status.phase, out.colour))?;
    let sub = |out: &mut Out, key: &str, value: &str| writeln!(out, "  {:<12} {}", format!("{key}:"), clean(value));
    sub(out, "Reason", status.reason.as_str())?;
    if !status.message.is_empty() {
        sub(out, "Message", &status.message)?;
    }
    sub(out, "Round", &status.round.to_string())?;
    let times = [
        ("Next", status.next_at),
        ("Started", status.started_at),
        ("Round began", status.round_at.filter(|_| status.round > 1)),
        ("Finished", status.finished_at),
    ];
    for (key, time) in times {
        if let Some(time) = time {
            sub(out, key, &moment(time, now))?;
        }
    }
    match run.cancel {
        CancelWish::None => Ok(()),
        CancelWish::Steps => {
            sub(out, "Cancel", &format!("requested; what runs finally still runs. {}", run.cancel_message))
        }
        CancelWish::All => sub(out, "Cancel", &format!("requested. {}", run.cancel_message)),
    }
}

fn suspended(of: Option<&Suspension>, now: Timestamp, out: &mut Out) -> io::Result<()> {
    let Some(of) = of.filter(|of| of.holds(now)) else { return Ok(()) };
    let until = of.until.map(|until| format!(", until {}", moment(until, now))).unwrap_or_default();
    let reason = if of.reason.is_empty() { String::new() } else { format!(": {}", of.reason) };
    line(out, "Suspended", &format!("by {}, {}{until}{reason}", of.by, moment(of.at, now)))
}

fn step(step: &StepPicture) -> Vec<String> {
    let Some(of) = &step.standing else { return vec![step.name.clone()] };
    vec![
        step.name.clone(),
        of.phase.to_string(),
        of.done(),
        of.tally.failed.to_string(),
        of.tally.running.to_string(),
        of.tally.pending.to_string(),
        of.reason.to_string(),
        of.message.clone(),
    ]
}

/// What is known of a pipeline besides its name and its spec.
pub(super) fn pipeline(
    connection: &Connection,
    object: &ObjectView,
    now: Timestamp,
    out: &mut Out,
) -> anyhow::Result<()> {
    suspended(run_view::suspension(connection, &object.uid)?.as_ref(), now, out)?;
    let picture = Picture::of_pipeline(&object.name, pipeline_spec(object)?);
    writeln!(out, "Steps:")?;
    let needs = |step: &StepPicture| {
        let names = step.needs.iter().filter_map(|need| picture.steps.get(*need)).map(|step| step.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let yes = |is: bool| if is { "yes".to_owned() } else { "no".to_owned() };
    let row = |step: &StepPicture| {
        vec![step.name.clone(), step.does.clone(), needs(step), yes(step.critical), yes(step.is_final)]
    };
    let rows: Vec<Vec<String>> = picture.steps.iter().map(row).collect();
    indented(out, &["STEP", "DOES", "NEEDS", "CRITICAL", "FINALLY"], &rows)?;
    let filter = RunFilter { pipeline: Some(object.name.clone()), limit: Some(RUNS_MAX), ..RunFilter::default() };
    let runs = run_view::runs(connection, &filter)?;
    if runs.is_empty() {
        writeln!(out, "Runs:  <none>")?;
        return Ok(());
    }
    writeln!(out, "Runs:")?;
    let row = |run: &RunView| {
        let (phase, reason) = (run.status.phase.to_string(), run.status.reason.to_string());
        vec![run.name.clone(), run.cause.to_string(), phase, reason, table::age(now, run.created_at)]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    indented(out, &["NAME", "CAUSE", "PHASE", "REASON", "AGE"], &rows)?;
    Ok(())
}
