//! `manifestd status`: whether a controller runs, and how things stand.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::out::{Out, clean};
use super::request::ask;
use super::table;
use super::version::Format;
use crate::resource::phase::Phase;
use crate::runtime::control::{Request, Response, StatusReport};
use crate::store::{StoreError, database_path, open_read_only, view};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Ends with 0 when a controller runs and 1 when none does.")]
pub(crate) struct Args {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What the store says.
struct Stored {
    phases: BTreeMap<Phase, u64>,
    problems: usize,
    conditions: Vec<view::ConditionView>,
}

/// Runs `status`.
pub(crate) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let (controller, trouble) = match ask(&context.state, &Request::Status).await {
        Ok(Some(Response::Status(report))) => (Some(report), None),
        Ok(Some(Response::Failed { message })) => (None, Some(message)),
        Ok(Some(other)) => (None, Some(format!("it answered something else: {other:?}"))),
        Ok(None) => (None, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let stored = stored(context)?;
    let mut out = Out::new(context.colour);
    match args.output {
        Format::Text => text(context, controller.as_ref(), trouble.as_deref(), stored.as_ref(), &mut out)?,
        Format::Json => out.json(&json!({
            "running": controller.is_some(),
            "controller": controller,
            "trouble": trouble,
            "phases": stored.as_ref().map(|stored| &stored.phases),
            "problems": stored.as_ref().map(|stored| stored.problems),
            "conditions": stored.as_ref().map(|stored| &stored.conditions),
            "paths": {
                "workspace": context.workspace,
                "manifests": context.manifests,
                "state": context.state,
            },
        }))?,
    }
    out.flush()?;
    Ok(if controller.is_some() { Exit::Ok } else { Exit::No })
}

/// What the store says; `None` when there is none yet.
fn stored(context: &Context) -> anyhow::Result<Option<Stored>> {
    let connection = match open_read_only(&database_path(&context.state)) {
        Ok(connection) => connection,
        Err(StoreError::Absent { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Stored {
        phases: view::phase_counts(&connection)?,
        problems: view::problems(&connection)?.len(),
        conditions: view::directory_conditions(&connection)?,
    }))
}

fn text(
    context: &Context,
    controller: Option<&StatusReport>,
    trouble: Option<&str>,
    stored: Option<&Stored>,
    out: &mut Out,
) -> std::io::Result<()> {
    match (controller, trouble) {
        (Some(report), _) => {
            let since = table::age(super::now(), report.started_at);
            writeln!(
                out,
                "Controller:  running for {since}, process {}, version {}",
                report.pid,
                clean(&report.version)
            )?;
            writeln!(out, "Attempts:    {} running", report.held)?;
            if let Some(address) = &report.embedded {
                writeln!(out, "Analyzer:    embedded, at {}", clean(address))?;
            }
        }
        (None, Some(trouble)) => writeln!(out, "Controller:  does not answer: {}", clean(trouble))?,
        (None, None) => writeln!(out, "Controller:  not running; start it with manifestd serve")?,
    }
    match stored {
        None => writeln!(out, "Tasks:       no database yet")?,
        Some(stored) => {
            let total: u64 = stored.phases.values().sum();
            let parts: Vec<_> = stored.phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
            let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
            writeln!(out, "Tasks:       {total}{parts}")?;
            let hint = if stored.problems > 0 { "; see manifestd get problems" } else { "" };
            writeln!(out, "Problems:    {}{hint}", stored.problems)?;
            for condition in stored.conditions.iter().filter(|condition| condition.status == "True") {
                writeln!(out, "Condition:   {}: {}", clean(&condition.condition), clean(&condition.message))?;
            }
        }
    }
    writeln!(out, "Manifests:   {}", clean(&context.manifests.display().to_string()))?;
    writeln!(out, "State:       {}", clean(&context.state.display().to_string()))?;
    writeln!(out, "Workspace:   {}", clean(&context.workspace.display().to_string()))
}
