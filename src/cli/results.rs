//! `manifestd results`: what the tools found, as a table, as one SARIF document, or as the stored JSON.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::context::Context;
use super::exit::{Exit, refused};
use super::merged::{self, RoundResult};
use super::names;
use super::out::{Out, clean, note};
use super::plain::PlainJson;
use super::table::Columns;
use crate::disk::Directory;
use crate::executor::results::file_name;
use crate::resource::kind::Kind;
use crate::store::view::{self, AttemptView, Filter, ObjectView};

/// Source: SARIF 2.1.0, section 3.13.3.
const SARIF_SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Arguments of `results`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a task, or all
    #[arg(value_name = "TASK|all")]
    task: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Number of one attempt [default: what all attempts of the latest round with a result came to]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// Tools and what they found
    #[default]
    Table,
    /// One SARIF 2.1.0 document with the runs of all tools
    Sarif,
    /// The result.json of the attempt as it is; with `all`, or when several attempts have a part of it, a List of them
    Json,
}

/// Runs `results`.
pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let all = args.task == "all";
    if all && args.attempt.is_some() {
        bail!("--attempt needs the name of one task");
    }
    let chosen: Vec<(ObjectView, RoundResult)> = if all {
        let tasks = view::objects(&connection, Kind::Task, &Filter::default())?;
        let latest = |task: ObjectView| Ok(latest(&connection, &task)?.map(|of| (task, of)));
        tasks.into_iter().filter_map(|task| latest(task).transpose()).collect::<anyhow::Result<_>>()?
    } else {
        vec![one(&connection, args)?]
    };
    let mut out = Out::new(context.colour);
    match args.output {
        Format::Table => table(&chosen, &mut out)?,
        Format::Sarif => {
            let lost = sarif(context, &chosen, &mut out)?;
            out.flush()?;
            for (task, number) in &lost {
                note(format_args!(
                    "warning: the files of attempt {number} of task/{} are gone, so they are left out; manifestd doctor finds what else is, \
                     and manifestd retry {} runs it again",
                    clean(task),
                    clean(task)
                ));
            }
            return Ok(if lost.is_empty() { Exit::Ok } else { Exit::No });
        }
        // One result as it is; several attempts that each have a part of it as a list, like several tasks.
        Format::Json if all || chosen.iter().any(|(_, of)| of.attempts.len() > 1) => list(context, &chosen, &mut out)?,
        Format::Json => {
            for (task, attempt) in each_attempt(&chosen) {
                let path = directory(context, task, attempt)?.join("result.json");
                let Some(mut file) = stored(&path)? else {
                    return Err(refused(format!(
                        "attempt {} of task/{} has no {}; analyzers that answer with an exit code only send none",
                        attempt.number,
                        task.name,
                        path.display()
                    )));
                };
                out.copy(&mut file)?;
            }
        }
    }
    out.flush()?;
    if chosen.is_empty() {
        note(format_args!("No results found in {}.", context.state.display()));
    }
    Ok(Exit::Ok)
}

/// Every attempt that a part of a result comes from.
fn each_attempt(chosen: &[(ObjectView, RoundResult)]) -> impl Iterator<Item = (&ObjectView, &AttemptView)> {
    chosen.iter().flat_map(|(task, of)| of.attempts.iter().map(move |attempt| (task, attempt)))
}

/// The named task with its result, or with the attempt that is asked for.
fn one(connection: &Connection, args: &Args) -> anyhow::Result<(ObjectView, RoundResult)> {
    let name = names::of_kind(Kind::Task, &args.task)?;
    let task = names::find(connection, Kind::Task, name)?;
    let found = match args.attempt {
        None => latest(connection, &task)?,
        Some(number) => {
            let found = view::attempts(connection, &task.uid)?.into_iter().find(|attempt| attempt.number == number);
            let Some(attempt) = found else { return Err(refused(format!("task/{name} has no attempt {number}"))) };
            Some(RoundResult::of_attempt(attempt))
        }
    };
    match found {
        Some(of) => Ok((task, of)),
        None => Err(refused(format!("task/{name} has no result; manifestd why {name} says how it stands"))),
    }
}

/// The result of the latest round that has one.
fn latest(connection: &Connection, task: &ObjectView) -> anyhow::Result<Option<RoundResult>> {
    let current = task.task.as_ref().map(|task| task.attempts.as_slice()).unwrap_or_default();
    if let Some(of) = merged::latest(task, current) {
        return Ok(Some(of));
    }
    Ok(merged::latest(task, &view::attempts(connection, &task.uid)?))
}

/// Where the files of a result lie.
fn directory(context: &Context, task: &ObjectView, attempt: &AttemptView) -> anyhow::Result<PathBuf> {
    match &attempt.result_dir {
        Some(directory) => result_directory(context, directory),
        None => Err(refused(format!("attempt {} of task/{} left no files", attempt.number, task.name))),
    }
}

/// A stored result directory below the state directory; refused when it would lie elsewhere.
pub(crate) fn result_directory(context: &Context, stored: &str) -> anyhow::Result<PathBuf> {
    if stored.is_empty() || !Path::new(stored).components().all(|part| matches!(part, Component::Normal(_))) {
        bail!("the database names the result directory {stored:?}, which is none");
    }
    let results = context.state.join("results");
    let place = results.join(stored);
    // A link below results/ is nothing that manifestd made; what it leads to is no result.
    let reached = Directory::open(&results).and_then(|results| results.directory(Path::new(stored)));
    match reached {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(anyhow::Error::new(error).context(place.display().to_string()))
        }
        _ => Ok(place),
    }
}

fn table(chosen: &[(ObjectView, RoundResult)], out: &mut Out) -> std::io::Result<()> {
    let rows: Vec<Vec<String>> = chosen
        .iter()
        .flat_map(|(task, of)| of.merged.tools.iter().map(move |merged| (task, merged.attempt, &merged.report)))
        .map(|(task, attempt, tool)| {
            let found = tool.findings;
            let counts = [found.high, found.medium, found.low, found.unrated].map(|count| count.to_string());
            let mut row = vec![task.name.clone(), attempt.to_string(), tool.name.clone(), tool.status.to_string()];
            row.extend(counts);
            row.push(tool.message.clone());
            row
        })
        .collect();
    let header = ["TASK", "ATTEMPT", "TOOL", "STATUS", "HIGH", "MEDIUM", "LOW", "UNRATED", "MESSAGE"];
    if rows.is_empty() { Ok(()) } else { Columns::new(&header).write(out, &rows, false) }
}

/// Writes one SARIF document, run by run, so that only one file is in memory at a time. Gives the tasks and attempts whose files are gone.
fn sarif(context: &Context, chosen: &[(ObjectView, RoundResult)], out: &mut Out) -> anyhow::Result<Vec<(String, u32)>> {
    write!(out, "{{\n  \"$schema\": {},\n  \"version\": \"2.1.0\",\n  \"runs\": [", json!(SARIF_SCHEMA))?;
    let (mut first, mut lost) = (true, Vec::new());
    for (task, of) in chosen {
        for (number, path) in sarif_files(context, task, of, &mut lost)? {
            for mut run in runs(&path)? {
                // Tells the runs of one tool on several apps apart. Source: SARIF 2.1.0, section 3.14.3.
                if let Some(run) = run.as_object_mut() {
                    let id = format!("{}/{number}", task.name);
                    run.entry("automationDetails").or_insert_with(|| json!({ "id": id }));
                }
                write!(out, "{}\n    ", if std::mem::take(&mut first) { "" } else { "," })?;
                serde_json::to_writer(PlainJson(&mut *out), &run).map_err(super::out::json_error)?;
            }
        }
    }
    write!(out, "\n  ]\n}}\n")?;
    Ok(lost)
}

/// The SARIF files of a result with the number of the attempt that left them: each tool's file from the attempt whose report counts.
fn sarif_files(
    context: &Context,
    task: &ObjectView,
    of: &RoundResult,
    lost: &mut Vec<(String, u32)>,
) -> anyhow::Result<Vec<(u32, PathBuf)>> {
    let mut files = Vec::new();
    for attempt in &of.attempts {
        let superseded: Vec<String> = of
            .merged
            .tools
            .iter()
            .filter(|tool| tool.attempt != attempt.number)
            .map(|tool| format!("{}.sarif", file_name(&tool.report.name)))
            .collect();
        let Some(paths) = sarif_of(context, task, attempt)? else {
            lost.push((task.name.clone(), attempt.number));
            continue;
        };
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !superseded.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
                files.push((attempt.number, path));
            }
        }
    }
    Ok(files)
}

/// The SARIF files of one attempt; `None` when its directory is gone.
fn sarif_of(context: &Context, task: &ObjectView, attempt: &AttemptView) -> anyhow::Result<Option<Vec<PathBuf>>> {
    if attempt.result_dir.is_none() {
        return Ok(Some(Vec::new()));
    }
    let directory = directory(context, task, attempt)?.join("sarif");
    let entries = match std::fs::read_dir(&directory) {
        // An analyzer that knows no SARIF leaves none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(directory.parent().is_some_and(Path::exists).then(Vec::new));
        }
        entries => entries.with_context(|| directory.display().to_string())?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| directory.display().to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "sarif") {
            files.push(path);
        }
    }
    files.sort();
    Ok(Some(files))
}

fn runs(path: &Path) -> anyhow::Result<Vec<Value>> {
    let shown = || path.display().to_string();
    let file = File::open(path).with_context(shown)?;
    let mut document: Value = serde_json::from_reader(BufReader::new(file)).with_context(shown)?;
    match document.get_mut("runs").map(Value::take) {
        Some(Value::Array(runs)) => Ok(runs),
        _ => bail!("{} is no SARIF document: it has no runs", shown()),
    }
}

/// The stored JSON of an attempt, if there is any: an analyzer that answers with an exit code only sends none.
fn stored(path: &Path) -> anyhow::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context(path.display().to_string())),
    }
}

/// All results as one List, item by item; the result is null where the analyzer sent none.
fn list(context: &Context, chosen: &[(ObjectView, RoundResult)], out: &mut Out) -> anyhow::Result<()> {
    write!(out, "{{\n  \"kind\": \"List\",\n  \"items\": [")?;
    let mut first = true;
    for (task, attempt) in each_attempt(chosen).filter(|(_, attempt)| attempt.result_dir.is_some()) {
        let path = directory(context, task, attempt)?.join("result.json");
        let result: Value = match stored(&path)? {
            Some(file) => serde_json::from_reader(BufReader::new(file)).with_context(|| path.display().to_string())?,
            None => Value::Null,
        };
        write!(out, "{}\n    ", if std::mem::take(&mut first) { "" } else { "," })?;
        let item =
            json!({ "task": task.name, "attempt": attempt.number, "directory": attempt.result_dir, "result": result });
        serde_json::to_writer(PlainJson(&mut *out), &item).map_err(super::out::json_error)?;
    }
    write!(out, "\n  ]\n}}\n")?;
    Ok(())
}
