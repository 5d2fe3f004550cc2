//! `manifestd events`: what happened to objects, oldest first.

use std::collections::HashMap;
use std::io::Write;

use clap::ValueEnum;
use rusqlite::Connection;

use super::changes::Watched;
use super::context::Context;
use super::exit::Exit;
use super::names;
use super::out::{Out, note};
use super::table::{self, Columns};
use crate::resource::event::Event;
use crate::resource::kind::Kind;
use crate::resource::time::Timestamp;
use crate::store::events;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// KIND NAME, KIND/NAME, or the name of a task; without it, all events
    #[arg(value_name = "OBJECT", num_args = 0..=2)]
    object: Vec<String>,
    /// Go on printing what happens
    #[arg(short, long)]
    watch: bool,
    /// The latest so many
    #[arg(long, default_value_t = 200, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// Columns
    #[default]
    Table,
    /// One JSON object on each line
    Json,
}

/// The columns of events.
pub(crate) const HEADER: [&str; 5] = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];

/// Runs `events`.
pub(crate) async fn run(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let object = match args.object.as_slice() {
        [] => None,
        [one] if !one.contains('/') => Some((Kind::Task, one.clone())),
        words => names::objects(words)?.pop(),
    };
    if let Some((kind, name)) = &object {
        names::find(&connection, *kind, name)?;
    }
    let mut out = Out::new(context.colour);
    let mut columns = Columns::new(&HEADER);
    if args.watch {
        return watch(context, &args, object.as_ref(), connection, &mut columns, &mut out).await;
    }
    let events = read(&connection, object.as_ref(), args.limit)?;
    print(&events, &args, &mut columns, false, &mut out)?;
    out.flush()?;
    if events.is_empty() && args.output == Format::Table {
        note(format_args!("No events found in {}.", context.state.display()));
    }
    Ok(Exit::Ok)
}

fn read(connection: &Connection, object: Option<&(Kind, String)>, limit: u32) -> anyhow::Result<Vec<Event>> {
    Ok(events::latest(connection, object.map(|(kind, name)| (*kind, name.as_str())), limit as usize)?)
}

/// What makes two rows the same event.
type Same = (Kind, String, String, Timestamp, String);

async fn watch(
    context: &Context,
    args: &Args,
    object: Option<&(Kind, String)>,
    connection: Connection,
    columns: &mut Columns,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    let mut watched = Watched::new(connection, &context.state);
    let mut seen: HashMap<Same, u64> = HashMap::new();
    let mut headless = false;
    loop {
        watched.changed().await?;
        let events = read(watched.connection(), object, args.limit)?;
        let mut fresh = Vec::new();
        // Only what is still in the window is remembered.
        let mut now_seen = HashMap::with_capacity(events.len());
        for event in events {
            let same = (event.kind, event.name.clone(), event.reason.clone(), event.first_at, event.message.clone());
            let count = event.count;
            if seen.get(&same) != Some(&count) {
                fresh.push(event);
            }
            now_seen.insert(same, count);
        }
        seen = now_seen;
        if !fresh.is_empty() {
            print(&fresh, args, columns, headless, out)?;
            headless = true;
            out.flush()?;
        }
    }
}

fn print(events: &[Event], args: &Args, columns: &mut Columns, headless: bool, out: &mut Out) -> anyhow::Result<()> {
    if args.output == Format::Json {
        return events.iter().try_for_each(|event| out.json_line(event));
    }
    if !events.is_empty() {
        columns.write(out, &rows(events, super::now()), headless)?;
    }
    Ok(())
}

/// Events as rows.
pub(crate) fn rows(events: &[Event], now: Timestamp) -> Vec<Vec<String>> {
    let row = |event: &Event| {
        let seen = table::age(now, event.last_at);
        let seen = if event.count > 1 {
            format!("{seen} (x{} over {})", event.count, table::age(now, event.first_at))
        } else {
            seen
        };
        let object = format!("{}/{}", event.kind.singular(), event.name);
        vec![seen, event.event_type.to_string(), event.reason.clone(), object, event.message.clone()]
    };
    events.iter().map(row).collect()
}
