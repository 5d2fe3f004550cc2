//! `manifestd describe`: everything that is known of one object.

use std::io::{self, Write};

use rusqlite::Connection;

use super::context::Context;
use super::exit::Exit;
use super::item::{self, Beside};
use super::merged::{self, RoundResult};
use super::out::{Out, clean};
use super::replicas::{table_of, usable};
use super::table::{self, Columns};
use super::{events, names, rows, run_describe};
use crate::manifest::to_yaml;
use crate::plan::merge::MergedTool;
use crate::resource::kind::Kind;
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;
use crate::store::pool::{PoolOccupant, pool_occupants};
use crate::store::view::{self, AttemptView, Filter, ObjectView, TaskView};

/// So many events are shown.
const EVENTS_MAX: usize = 20;

/// So many attempts are shown, the latest ones.
const ATTEMPTS_MAX: usize = 20;

/// So many open attempts that take slots of a pool are shown, the oldest ones.
const OCCUPANTS_MAX: u32 = 100;

/// Arguments of `describe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// KIND NAME..., or KIND/NAME...
    #[arg(required = true, value_name = "KIND NAME")]
    what: Vec<String>,
}

/// Runs `describe`.
pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let wanted = names::objects(&args.what)?;
    let connection = context.open()?;
    let moment = connection.unchecked_transaction()?;
    let mut out = Out::new(context.colour);
    for (at, (kind, name)) in wanted.iter().enumerate() {
        if at > 0 {
            writeln!(out, "\n")?;
        }
        let object = names::find(&connection, *kind, name)?;
        describe(context, &connection, &object, &mut out)?;
    }
    moment.finish()?;
    out.flush()?;
    Ok(Exit::Ok)
}

fn describe(context: &Context, connection: &Connection, object: &ObjectView, out: &mut Out) -> anyhow::Result<()> {
    let now = super::now();
    let beside = Beside::read(connection, &[object.kind], &context.settings, now)?;
    head(object, now, out)?;
    writeln!(out, "Spec:")?;
    for line in to_yaml(&object.spec).lines() {
        writeln!(out, "  {}", clean(line))?;
    }
    match object.kind {
        Kind::Task => {
            if let Some(task) = &object.task {
                task_status(object, task, now, out)?;
            }
            let all = view::attempts(connection, &object.uid)?;
            attempts(&all, now, out)?;
            if let Some(of) = merged::latest(object, &all) {
                tools(&of, out)?;
            }
            directories(context, &all, out)?;
        }
        Kind::App => app(connection, object, now, out)?,
        Kind::Analyzer => analyzer(connection, object, &beside, out)?,
        Kind::Pool => pool(connection, object, &beside, now, out)?,
        Kind::Pipeline => run_describe::pipeline(connection, object, now, out)?,
        Kind::Run => {
            if let Some(run) = &object.run {
                run_describe::run(connection, run, now, out)?;
            }
        }
        Kind::AppSet => {
            line(out, "Apps", &beside.found.get(&object.name).copied().unwrap_or(0).to_string())?;
            line(out, "Suspect", item::suspect(object).unwrap_or("no"))?;
        }
    }
    conditions(object, out)?;
    let happened = crate::store::events::latest(connection, Some((object.kind, &object.name)), EVENTS_MAX)?;
    if happened.is_empty() {
        writeln!(out, "Events:  <none>")?;
    } else {
        writeln!(out, "Events:")?;
        indented(out, &events::HEADER, &events::rows(&happened, now))?;
    }
    Ok(())
}

fn head(object: &ObjectView, now: Timestamp, out: &mut Out) -> io::Result<()> {
    line(out, "Name", &object.name)?;
    line(out, "Kind", object.kind.as_str())?;
    line(out, "Uid", &object.uid)?;
    pairs(out, "Labels", &object.labels)?;
    pairs(out, "Annotations", &object.annotations)?;
    line(out, "Created", &moment(object.created_at, now))?;
    if let Some(removed) = object.removed_at {
        line(out, "Removed", &moment(removed, now))?;
    }
    line(out, "Generation", &object.generation.to_string())?;
    line(out, "Source", &rows::place(object))?;
    let provenance = &object.provenance;
    if !provenance.digest.is_empty() {
        line(out, "Digest", &format!("sha256:{}", provenance.digest))?;
    }
    if let Some(commit) = &provenance.commit {
        line(out, "Commit", commit)?;
    }
    Ok(())
}

fn task_status(object: &ObjectView, task: &TaskView, now: Timestamp, out: &mut Out) -> io::Result<()> {
    let status = &task.status;
    writeln!(out, "Status:")?;
    writeln!(out, "  {:<12} {}", "Phase:", table::phase(status.phase, out.colour))?;
    let sub = |out: &mut Out, key: &str, value: &str| writeln!(out, "  {:<12} {}", format!("{key}:"), clean(value));
    sub(out, "Reason", status.reason.as_str())?;
    if !status.message.is_empty() {
        sub(out, "Message", &status.message)?;
    }
    let lag = if status.observed_generation < object.generation { " (the spec is newer)" } else { "" };
    sub(out, "Observed", &format!("generation {}{lag}", status.observed_generation))?;
    sub(out, "Round", &status.round.to_string())?;
    sub(out, "Attempts", &status.attempt.to_string())?;
    sub(out, "Owner", &task.owner)?;
    if let Some(pool) = &task.pool {
        sub(out, "Pool", pool)?;
    }
    for (key, time) in [("Next", status.next_at), ("Started", status.started_at), ("Finished", status.finished_at)] {
        if let Some(time) = time {
            sub(out, key, &moment(time, now))?;
        }
    }
    if let Some(digest) = &status.app_digest {
        sub(out, "App files", &format!("sha256:{digest}"))?;
    }
    if task.cancel_requested {
        sub(out, "Cancel", "requested")?;
    }
    if status.phase.is_terminal() {
        let found = status.findings;
        let counts =
            format!("{} high, {} medium, {} low, {} unrated", found.high, found.medium, found.low, found.unrated);
        sub(out, "Findings", &counts)?;
    }
    Ok(())
}

fn attempts(all: &[AttemptView], now: Timestamp, out: &mut Out) -> io::Result<()> {
    if all.is_empty() {
        return writeln!(out, "Attempts:  <none>");
    }
    let shown = &all[all.len().saturating_sub(ATTEMPTS_MAX)..];
    let more =
        if shown.len() < all.len() { format!(" (the latest {} of {})", shown.len(), all.len()) } else { String::new() };
    writeln!(out, "Attempts:{more}")?;
    let nothing = || "-".to_owned();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|attempt| {
            let took = attempt.ended_at.unwrap_or(now).since(attempt.opened_at);
            vec![
                attempt.number.to_string(),
                attempt.round.to_string(),
                attempt.generation.to_string(),
                match (&attempt.reason, attempt.replica.as_str()) {
                    (Some(Reason::Reused), _) => "-".into(),
                    (_, "") => "local".into(),
                    (_, replica) => replica.to_owned(),
                },
                attempt.opened_at.rfc3339(),
                table::length(took),
                attempt.outcome.map_or_else(|| "Running".to_owned(), |outcome| outcome.to_string()),
                attempt.reason.map_or_else(nothing, |reason| reason.to_string()),
                if attempt.outcome.is_some() { table::findings(attempt.findings) } else { nothing() },
                attempt.message.clone().or_else(|| attempt.progress.clone()).unwrap_or_default(),
            ]
        })
        .collect();
    let header =
        ["NUMBER", "ROUND", "GENERATION", "REPLICA", "STARTED", "TOOK", "OUTCOME", "REASON", "FINDINGS", "MESSAGE"];
    indented(out, &header, &rows)?;
    Ok(())
}

fn directories(context: &Context, all: &[AttemptView], out: &mut Out) -> io::Result<()> {
    for attempt in &all[all.len().saturating_sub(ATTEMPTS_MAX)..] {
        if let (Some(directory), Some(sha256)) = (&attempt.result_dir, &attempt.result_sha256) {
            let path = context.state.join("results").join(directory);
            writeln!(out, "Result of attempt {}:", attempt.number)?;
            writeln!(out, "  {}  (manifest.json sha256:{})", clean(&path.display().to_string()), clean(sha256))?;
        }
    }
    Ok(())
}

/// The tools of the latest round with a result: what counts of each, and where it comes from.
fn tools(of: &RoundResult, out: &mut Out) -> io::Result<()> {
    if of.merged.tools.is_empty() {
        return Ok(());
    }
    let round = of.attempts.first().map_or(0, |attempt| attempt.round);
    writeln!(out, "Tools of round {round}:")?;
    let row = |tool: &MergedTool| {
        let report = &tool.report;
        let (status, found) = (report.status.to_string(), table::findings(report.findings));
        let permanent = if report.permanent { "yes" } else { "-" };
        let message = report.message.clone();
        vec![report.name.clone(), status, found, tool.attempt.to_string(), permanent.to_owned(), message]
    };
    let rows: Vec<Vec<String>> = of.merged.tools.iter().map(row).collect();
    indented(out, &["TOOL", "STATUS", "FINDINGS", "ATTEMPT", "PERMANENT", "MESSAGE"], &rows)
}

fn app(connection: &Connection, object: &ObjectView, now: Timestamp, out: &mut Out) -> anyhow::Result<()> {
    if let Some(app) = &object.app {
        match app.missing_since {
            Some(since) => line(out, "Present", &format!("no, since {}", moment(since, now)))?,
            None => line(out, "Present", "yes")?,
        }
        if let Some(tree) = &app.tree {
            line(out, "Files", &format!("sha256:{}, read {}", tree.digest, moment(tree.at, now)))?;
        }
        if let Some(set) = &app.app_set {
            line(out, "Found by", &format!("appset/{set}"))?;
        }
    }
    used_by(connection, "app", &object.name, out)
}

fn analyzer(connection: &Connection, object: &ObjectView, beside: &Beside, out: &mut Out) -> anyhow::Result<()> {
    let facts = item::analyzer(object, &beside.settings);
    let (in_flight, draining) = beside.slots.get(&object.name).copied().unwrap_or_default();
    line(out, "Type", facts.sort)?;
    let replicas = beside.replicas(object);
    if !facts.urls.is_empty() {
        writeln!(out, "Replicas:      {} of {} can be used", usable(&replicas), replicas.len())?;
        table_of(&replicas, beside.now, out)?;
    }
    line(out, "Capacity", &facts.capacity.to_string())?;
    line(out, "In flight", &in_flight.to_string())?;
    line(out, "Draining", &draining.to_string())?;
    used_by(connection, "analyzer", &object.name, out)
}

fn pool(
    connection: &Connection,
    object: &ObjectView,
    beside: &Beside,
    now: Timestamp,
    out: &mut Out,
) -> anyhow::Result<()> {
    if let Some(found) = beside.pools.get(&object.name) {
        line(out, "Slots", &found.spec.slots.to_string())?;
        line(out, "Used", &found.used.to_string())?;
        line(out, "Draining", &found.draining.to_string())?;
        line(out, "Waiting", &found.waiting.to_string())?;
        line(out, "Rate", &rows::rate(&object.spec))?;
        if let Some(at) = found.free_at {
            line(out, "Free", &moment(at, now))?;
        }
    }
    let occupants = pool_occupants(connection, &object.name, OCCUPANTS_MAX)?;
    if occupants.is_empty() {
        return Ok(());
    }
    writeln!(out, "Taken by:")?;
    let row = |occupant: PoolOccupant| {
        let took = table::age(now, occupant.opened_at);
        vec![occupant.task, occupant.analyzer, took, moment(occupant.deadline_at, now)]
    };
    let rows: Vec<Vec<String>> = occupants.into_iter().map(row).collect();
    Ok(indented(out, &["TASK", "ANALYZER", "SINCE", "UNTIL AT THE LATEST"], &rows)?)
}

/// How many tasks of each phase name this object.
fn used_by(connection: &Connection, field: &str, name: &str, out: &mut Out) -> anyhow::Result<()> {
    let mut phases = std::collections::BTreeMap::new();
    for task in view::objects(connection, Kind::Task, &Filter::default())? {
        if let (true, Some(state)) = (task.spec.get(field).is_some_and(|value| value == name), &task.task) {
            *phases.entry(state.status.phase).or_insert(0u64) += 1;
        }
    }
    let parts: Vec<_> = phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    line(out, "Tasks", if parts.is_empty() { "<none>".into() } else { parts.join(", ") }.as_str())?;
    Ok(())
}

fn conditions(object: &ObjectView, out: &mut Out) -> io::Result<()> {
    if object.conditions.is_empty() {
        return Ok(());
    }
    writeln!(out, "Conditions:")?;
    let rows: Vec<Vec<String>> = object
        .conditions
        .iter()
        .map(|condition| {
            vec![
                condition.condition.clone(),
                condition.status.to_owned(),
                condition.last_transition_time.clone(),
                condition.reason.clone(),
                condition.message.clone(),
            ]
        })
        .collect();
    indented(out, &["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"], &rows)
}

/// A table below a title.
pub(super) fn indented(out: &mut Out, header: &[&'static str], rows: &[Vec<String>]) -> io::Result<()> {
    Columns::new(header).indented().write(out, rows, false)
}

pub(super) fn line(out: &mut Out, key: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{:<14} {}", format!("{key}:"), clean(value))
}

fn pairs(out: &mut Out, key: &str, map: &std::collections::BTreeMap<String, String>) -> io::Result<()> {
    if map.is_empty() {
        return line(out, key, "<none>");
    }
    let keys = std::iter::once(key).chain(std::iter::repeat(""));
    for (key, (name, value)) in keys.zip(map) {
        let title = if key.is_empty() { String::new() } else { format!("{key}:") };
        writeln!(out, "{title:<14} {}={}", clean(name), clean(value))?;
    }
    Ok(())
}

/// A moment, and how far it is from now.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("{at} (in {})", table::length(at.since(now)))
    } else {
        format!("{at} ({} ago)", table::age(now, at))
    }
}
