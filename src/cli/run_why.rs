//! `manifestd why` for a run: why it is where it is, and what happens next.

use std::io::Write;

use rusqlite::Connection;
use serde_json::json;

use super::advice::advice;
use super::context::Context;
use super::exit::Exit;
use super::out::{Out, clean};
use super::picture::{Picture, StepPicture, StepStanding};
use super::table;
use super::version::Format;
use crate::resource::reason::Reason;
use crate::resource::run::StepPhase;
use crate::resource::time::Timestamp;
use crate::store::run_view::{RunView, children};

/// Bad children of a step that are named.
const NAMED_MAX: u32 = 3;

/// Prints why a run is where it is.
pub(super) fn why(context: &Context, connection: &Connection, run: &RunView, output: Format) -> anyhow::Result<Exit> {
    let now = super::now();
    let moment = connection.unchecked_transaction()?;
    let picture = Picture::of_run(connection, run, now)?;
    let mut because = about_run(run, now);
    for step in &picture.steps {
        if let Some(standing) = &step.standing {
            because.extend(about_step(connection, run, step, standing)?);
        }
    }
    moment.finish()?;
    let next = next(run, &picture, now);
    let mut out = Out::new(context.colour);
    let status = &run.status;
    match output {
        Format::Json => out.json(&json!({
            "run": run.name,
            "phase": status.phase,
            "reason": status.reason,
            "why": because,
            "next": next,
            "nextTime": status.next_at.map(Timestamp::rfc3339),
        }))?,
        Format::Text => {
            writeln!(out, "run/{} is {} ({})", run.name, table::phase(status.phase, out.colour), status.reason)?;
            for sentence in &because {
                writeln!(out, "  - {}", clean(sentence))?;
            }
            writeln!(out, "Next: {}", clean(&next))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn about_run(run: &RunView, now: Timestamp) -> Vec<String> {
    let mut because = Vec::new();
    if !run.status.message.is_empty() {
        because.push(run.status.message.clone());
    }
    if let Some(of) = run.suspension.as_ref().filter(|of| of.holds(now) && !run.status.phase.is_terminal()) {
        let reason = if of.reason.is_empty() { String::new() } else { format!(": {}", of.reason) };
        because.push(format!("{} suspended it {} ago{reason}", of.by, table::age(now, of.at)));
    }
    because
}

/// What there is to say of a step that goes on, waits for a person, or went wrong.
fn about_step(
    connection: &Connection,
    run: &RunView,
    step: &StepPicture,
    of: &StepStanding,
) -> anyhow::Result<Vec<String>> {
    let message = if of.message.is_empty() { String::new() } else { format!(": {}", of.message) };
    let mut said = Vec::new();
    match of.phase {
        StepPhase::Running if of.is_asked => {
            said.push(format!("step {} waits for a person{message}", step.name));
        }
        StepPhase::Running => {
            said.push(format!(
                "step {} is Running: {} ended, {} running, {} waiting{message}",
                step.name,
                of.done(),
                of.tally.running,
                of.tally.pending
            ));
        }
        StepPhase::Failed | StepPhase::PartialSuccess | StepPhase::Cancelled => {
            let failed = if of.tally.failed > 0 { format!(", {} failed", of.tally.failed) } else { String::new() };
            said.push(format!("step {} is {} ({}){failed}{message}", step.name, of.phase, of.reason));
            let bad = children(connection, &run.uid, &step.name, NAMED_MAX)?;
            for child in bad.iter().filter(|child| child.conclusion.is_some_and(|word| !word.is_good())) {
                let reason = child.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
                let message = if child.message.is_empty() { String::new() } else { format!(": {}", child.message) };
                said.push(format!("{} in step {}{reason}{message}", child.name, step.name));
            }
        }
        StepPhase::Skipped => said.push(format!("step {} was skipped ({}){message}", step.name, of.reason)),
        StepPhase::Waiting | StepPhase::Completed => {}
    }
    Ok(said)
}

fn next(run: &RunView, picture: &Picture, now: Timestamp) -> String {
    let status = &run.status;
    let asked = picture.steps.iter().find(|step| step.standing.as_ref().is_some_and(|of| of.is_asked));
    let what = match asked {
        Some(step) => format!("manifestd approve {0} {1}, or manifestd reject {0} {1}", run.name, step.name),
        None if status.reason == Reason::Suspended => format!("manifestd resume run/{}", run.name),
        None => advice(status.reason).to_owned(),
    };
    match status.next_at.filter(|_| !status.phase.is_terminal()) {
        Some(at) if at > now => format!("{what}; something happens by itself in {}", table::length(at.since(now))),
        _ => what,
    }
}
