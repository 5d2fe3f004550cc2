//! `manifestd logs`: the log of an attempt, while it runs or afterwards.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rusqlite::Connection;

use super::changes::{Changes, is_database};
use super::context::Context;
use super::exit::{Exit, refused};
use super::names;
use super::out::{Out, note};
use super::results::result_directory;
use crate::resource::kind::Kind;
use crate::store::database_path;
use crate::store::view::{self, AttemptView, ObjectView};

/// Name of the log in a result, and in the directory that a result is gathered in.
const LOG: &str = "log.txt";

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the task
    #[arg(value_name = "TASK")]
    task: String,
    /// Wait for more until the attempt ends; wait for the first attempt when there is none yet
    #[arg(short, long)]
    follow: bool,
    /// Number of the attempt [default: the latest]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

/// Runs `logs`.
pub(crate) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let name = names::of_kind(Kind::Task, &args.task)?;
    let task = names::find(&connection, Kind::Task, name)?;
    let mut out = Out::new(context.colour);
    if args.follow {
        return follow(context, &connection, &task, args.attempt, &mut out).await;
    }
    let Some(attempt) = find(&connection, &task, args.attempt)? else { return Err(nothing(&task)) };
    let Some(mut log) = open(context, &task, &attempt)? else {
        return Err(refused(without_log(&task.name, &attempt)));
    };
    out.copy(&mut log)?;
    out.flush()?;
    Ok(Exit::Ok)
}

fn nothing(task: &ObjectView) -> anyhow::Error {
    let name = &task.name;
    refused(format!(
        "task/{name} has not been tried yet, so there is no log; manifestd why {name} says what it waits for"
    ))
}

fn without_log(task: &str, attempt: &AttemptView) -> String {
    let number = attempt.number;
    match (attempt.ended_at, &attempt.result_dir) {
        (None, _) => format!("attempt {number} of task/{task} runs and has written no log so far; -f waits for one"),
        (Some(_), None) => format!(
            "attempt {number} of task/{task} has ended and left no files, so there is no log; manifestd describe task {task} says how it ended"
        ),
        (Some(_), Some(_)) => {
            format!("attempt {number} of task/{task} has no log; manifestd results {task} shows what it found")
        }
    }
}

/// The attempt of this number, or the latest.
fn find(connection: &Connection, task: &ObjectView, number: Option<u32>) -> anyhow::Result<Option<AttemptView>> {
    let mut attempts = view::attempts(connection, &task.uid)?;
    let Some(number) = number else { return Ok(attempts.pop()) };
    let last = attempts.last().map_or(0, |attempt| attempt.number);
    match attempts.into_iter().find(|attempt| attempt.number == number) {
        Some(attempt) => Ok(Some(attempt)),
        None => Err(refused(format!("task/{} has no attempt {number}; the latest is {last}", task.name))),
    }
}

/// Where the log of a running attempt is written.
fn staging(context: &Context, task: &ObjectView, attempt: &AttemptView) -> PathBuf {
    context.state.join("staging").join(format!("{}-{}", task.uid, attempt.number))
}

/// The log, wherever it is now; `None` when there is none.
fn open(context: &Context, task: &ObjectView, attempt: &AttemptView) -> anyhow::Result<Option<File>> {
    let mut places = Vec::new();
    if let Some(directory) = &attempt.result_dir {
        places.push(result_directory(context, directory)?.join(LOG));
    }
    places.push(staging(context, task, attempt).join(LOG));
    for path in places {
        match File::open(&path) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    Ok(None)
}

/// Prints the log as it grows, until the attempt has ended and everything was printed.
async fn follow(
    context: &Context,
    connection: &Connection,
    task: &ObjectView,
    number: Option<u32>,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    let database = database_path(&context.state);
    let name = database.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_wanted = move |path: &Path| is_database(path, &name) || path.file_name().is_some_and(|file| file == LOG);
    let mut changes = Changes::of(&[&context.state], is_wanted);
    let mut log: Option<File> = None;
    let mut following: Option<u32> = number;
    loop {
        // The row first: what was written before it said "ended" is then in the file.
        let attempt = find(connection, task, following)?;
        if let Some(attempt) = &attempt {
            if following.replace(attempt.number) != Some(attempt.number) || log.is_none() {
                // Until the directory is there, the tick looks for it.
                changes.add(&staging(context, task, attempt));
            }
            if log.is_none() {
                log = open(context, task, attempt)?;
            }
            if let Some(log) = &mut log {
                // The open file stays the same one when its directory becomes the result.
                out.copy(log)?;
                out.flush()?;
            }
            if attempt.ended_at.is_some() {
                if log.is_none() {
                    bail!(super::exit::Refused(without_log(&task.name, attempt)));
                }
                let outcome = attempt.outcome.map_or("ended", |outcome| outcome.as_str());
                note(format_args!("attempt {} of task/{}: {outcome}", attempt.number, task.name));
                return Ok(Exit::Ok);
            }
        }
        changes.next().await;
    }
}
