//! `manifestd status`: whether a controller runs and its loops turn, and how things stand. Without a controller the same from the database.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::context::Context;
use super::disk::{self, Disk};
use super::exit::Exit;
use super::item;
use super::out::{Out, clean};
use super::replicas::{replicas, usable};
use super::request::ask;
use super::table::{self, Columns};
use super::version::Format;
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};
use crate::runtime::control::{Request, Response};
use crate::runtime::report::{LoopReport, StatusReport};
use crate::store::standing::{Standing, standing};
use crate::store::view::{Filter, slots_in_use};
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
    standing: Standing,
    analyzers: Vec<Lane>,
    problems: usize,
    conditions: Vec<view::ConditionView>,
}

/// One analyzer's slots.
struct Lane {
    name: String,
    usable: usize,
    replicas: usize,
    used: u64,
    draining: u64,
    capacity: u64,
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
    let (now, disk) = (super::now(), disk::look(&context.state));
    let mut out = Out::new(context.colour);
    match args.output {
        Format::Text => {
            controller_text(controller.as_ref(), trouble.as_deref(), now, &mut out)?;
            stored_text(stored.as_ref(), now, &mut out)?;
            places_text(context, disk, &mut out)?;
        }
        Format::Json => out.json(&json(context, controller.as_ref(), trouble.as_deref(), stored.as_ref(), disk))?,
    }
    out.flush()?;
    Ok(if controller.is_some() { Exit::Ok } else { Exit::No })
}

fn json(
    context: &Context,
    controller: Option<&StatusReport>,
    trouble: Option<&str>,
    stored: Option<&Stored>,
    disk: Disk,
) -> Value {
    let analyzers = |stored: &Stored| -> Vec<Value> {
        let lane = |lane: &Lane| {
            json!({ "name": lane.name, "readyReplicas": lane.usable, "replicas": lane.replicas, "inFlight": lane.used,
                "draining": lane.draining, "capacity": lane.capacity })
        };
        stored.analyzers.iter().map(lane).collect()
    };
    let oldest = |stored: &Stored| {
        let oldest = stored.standing.oldest_queued.as_ref();
        oldest.map(|(task, since)| json!({ "task": task, "since": since.rfc3339() }))
    };
    let suspect = |stored: &Stored| -> Vec<Value> {
        let sets = stored.standing.suspect.iter();
        sets.map(|(set, message)| json!({ "appSet": set, "message": message })).collect()
    };
    json!({
        "running": controller.is_some(),
        "controller": controller,
        "trouble": trouble,
        "phases": stored.map(|stored| &stored.phases),
        "pending": stored.map(|stored| &stored.standing.pending),
        "oldestQueued": stored.and_then(oldest),
        "analyzers": stored.map(analyzers),
        "suspectSources": stored.map(suspect),
        "problems": stored.map(|stored| stored.problems),
        "conditions": stored.map(|stored| &stored.conditions),
        "disk": disk,
        "paths": { "workspace": context.workspace, "manifests": context.manifests, "state": context.state },
    })
}

/// What the store says; `None` when there is none yet.
fn stored(context: &Context) -> anyhow::Result<Option<Stored>> {
    let connection = match open_read_only(&database_path(&context.state)) {
        Ok(connection) => connection,
        Err(StoreError::Absent { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // One moment for all queries.
    let moment = connection.unchecked_transaction()?;
    let now = super::now();
    let slots = slots_in_use(&connection, now)?;
    let lane = |analyzer: view::ObjectView| -> anyhow::Result<Lane> {
        let known = crate::store::replica::replicas(&connection, &analyzer.name)?;
        let replicas = replicas(&analyzer, &known, &context.settings, now);
        let (used, draining) = slots.get(&analyzer.name).copied().unwrap_or_default();
        let capacity = item::analyzer(&analyzer, &context.settings).capacity;
        Ok(Lane { name: analyzer.name, usable: usable(&replicas), replicas: replicas.len(), used, draining, capacity })
    };
    let analyzers = view::objects(&connection, Kind::Analyzer, &Filter::default())?;
    let stored = Stored {
        phases: view::phase_counts(&connection)?,
        standing: standing(&connection)?,
        analyzers: analyzers.into_iter().map(lane).collect::<Result<_, _>>()?,
        problems: view::problems(&connection)?.len(),
        conditions: view::directory_conditions(&connection)?,
    };
    moment.finish()?;
    Ok(Some(stored))
}

fn controller_text(
    controller: Option<&StatusReport>,
    trouble: Option<&str>,
    now: Timestamp,
    out: &mut Out,
) -> io::Result<()> {
    let report = match (controller, trouble) {
        (Some(report), _) => report,
        (None, Some(trouble)) => return writeln!(out, "Controller:  does not answer: {}", clean(trouble)),
        (None, None) => return writeln!(out, "Controller:  not running; start it with manifestd serve"),
    };
    let since = table::age(now, report.started_at);
    writeln!(out, "Controller:  running for {since}, process {}, version {}", report.pid, clean(&report.version))?;
    writeln!(out, "Attempts:    {} running, {} in flight", report.held, report.in_flight)?;
    if let Some(full) = report.disk_full {
        let (since, tried) = (table::age(now, full.since), table::age(now, full.tried_at));
        writeln!(out, "Disk:        FULL for {since}, last tried {tried} ago: nothing is started until there is room")?;
    }
    if let Some(address) = &report.embedded {
        writeln!(out, "Analyzer:    embedded, at {}", clean(address))?;
    }
    for each in &report.loops {
        writeln!(out, "Loop:        {:<10} {}", clean(&each.name), loop_text(each, now))?;
    }
    Ok(())
}

fn loop_text(report: &LoopReport, now: Timestamp) -> String {
    let mut text = if report.stalled { "STALLED, ".to_owned() } else { "alive, ".to_owned() };
    match (report.last_at, report.took_ms) {
        (Some(at), Some(took)) => {
            text.push_str(&format!("last pass {} ago took {took}ms", table::age(now, at)));
        }
        _ => text.push_str("no pass so far"),
    }
    if let (Some(plan), Some(commit)) = (report.longest_plan_us, report.longest_commit_us) {
        text.push_str(&format!(" (longest plan {}, commit {})", millis(plan), millis(commit)));
    }
    if let Some(since) = report.busy_since {
        text.push_str(&format!(", one under way for {}", table::age(now, since)));
    }
    text.push_str(&format!(
        ", {} in all, every {} at the latest",
        report.passes,
        table::length(Span(report.interval_ms))
    ));
    text
}

/// Milliseconds with one digit of a fraction: what is long here is a few of them.
fn millis(micros: u64) -> String {
    format!("{}.{}ms", micros / 1000, micros % 1000 / 100)
}

fn stored_text(stored: Option<&Stored>, now: Timestamp, out: &mut Out) -> io::Result<()> {
    let Some(stored) = stored else { return writeln!(out, "Tasks:       no database yet") };
    let total: u64 = stored.phases.values().sum();
    let parts: Vec<_> = stored.phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    writeln!(out, "Tasks:       {total}{parts}")?;
    let standing = &stored.standing;
    let waits = |(reason, count): (&Reason, &u64)| format!("{count} {reason}");
    if !standing.pending.is_empty() {
        let parts: Vec<_> = standing.pending.iter().map(waits).collect();
        writeln!(out, "Pending:     {}; see manifestd get tasks --stuck", parts.join(", "))?;
    }
    if let Some((task, since)) = &standing.oldest_queued {
        writeln!(out, "Queue:       the oldest is task/{}, for {}", clean(task), table::age(now, *since))?;
    }
    if !stored.analyzers.is_empty() {
        writeln!(out, "Analyzers:")?;
        let row = |lane: &Lane| {
            let numbers = [lane.used, lane.draining, lane.capacity].map(|number| number.to_string());
            [vec![lane.name.clone(), format!("{}/{}", lane.usable, lane.replicas)], numbers.to_vec()].concat()
        };
        let rows: Vec<Vec<String>> = stored.analyzers.iter().map(row).collect();
        Columns::new(&["NAME", "READY", "INFLIGHT", "DRAINING", "CAPACITY"]).indented().write(out, &rows, false)?;
    }
    let hint = if stored.problems > 0 { "; see manifestd get problems" } else { "" };
    writeln!(out, "Problems:    {}{hint}", stored.problems)?;
    for (set, message) in &standing.suspect {
        writeln!(out, "Suspect:     appset/{}: {}", clean(set), clean(message))?;
    }
    for condition in stored.conditions.iter().filter(|condition| condition.status == "True") {
        writeln!(out, "Condition:   {}: {}", clean(&condition.condition), clean(&condition.message))?;
    }
    Ok(())
}

fn places_text(context: &Context, disk: Disk, out: &mut Out) -> io::Result<()> {
    let size = |count: Option<u64>| count.map_or_else(|| "none".to_owned(), disk::bytes);
    let (database, wal) = (size(disk.database_bytes), size(disk.wal_bytes));
    writeln!(out, "Database:    {database}, log {wal}; {} free for it and the results", size(disk.free_bytes))?;
    writeln!(out, "Manifests:   {}", clean(&context.manifests.display().to_string()))?;
    writeln!(out, "State:       {}", clean(&context.state.display().to_string()))?;
    writeln!(out, "Workspace:   {}", clean(&context.workspace.display().to_string()))
}
