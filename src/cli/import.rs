//! `import thesis`: takes over apps, finished tasks and pipelines from the database of the old system, and says what could not be.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::context::Context;
use super::exit::Exit;
use super::now;
use super::out::{Out, clean, note};
use super::table::Columns;
use crate::runtime::import::{ImportReport, Options, Target, import};
use crate::store::old::OldDatabase;
use crate::store::{StateLock, Store, StoreError};

/// Rows between two lines of progress.
const PROGRESS_EVERY: u64 = 10_000;

/// Notes that the report for people lists of each kind; `-o json` has more.
const LISTED_MAX: usize = 10;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to import from
    #[command(subcommand)]
    from: From,
}

/// What to import from.
#[derive(Debug, clap::Subcommand)]
enum From {
    /// The SQLite database of the old system, which is only read: generated applications, analysis tasks, pipelines
    Thesis(ThesisArgs),
}

/// Arguments of `import thesis`.
#[derive(Debug, clap::Args)]
struct ThesisArgs {
    /// The database file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    db: PathBuf,
    /// Where its apps lie, relative to the workspace; as in the `root` of the AppSet that shall find them
    #[arg(long, value_name = "DIR", default_value = crate::import::app::ROOT)]
    apps: String,
    /// Only say what would be imported, also beside a running controller
    #[arg(long)]
    dry_run: bool,
    /// How to print the report
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Imports.
///
/// # Errors
/// When the old database cannot be read, or a controller has this one.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let From::Thesis(args) = &args.from;
    let root = root(&args.apps)?;
    let old = OldDatabase::open(&args.db)?;
    let target = if args.dry_run { nowhere(context)? } else { Target::Store(store(context)?) };
    let options = Options {
        workspace: &context.workspace,
        root: &root,
        now: now(),
        retention_days: context.settings.task_retention_days.into(),
    };
    let json = args.output == "json";
    let mut last = 0;
    let mut told = |table: &str, done: u64, rows: u64| {
        last = if done < last { 0 } else { last };
        if !json && done / PROGRESS_EVERY > last / PROGRESS_EVERY {
            note(format_args!("{table}: {done} of {rows} rows"));
        }
        last = done;
    };
    let mut report = import(&old, &target, &options, &mut told).await?;
    report.database = args.db.display().to_string();
    let mut out = Out::new(context.colour);
    if json {
        out.json(&report)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(if report.lost { Exit::No } else { Exit::Ok })
}

/// A directory in the workspace as an AppSet writes it: `./a//b/` is `a/b`.
fn root(given: &str) -> anyhow::Result<String> {
    let parts: Vec<&str> = given.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if given.starts_with('/') || parts.contains(&"..") || parts.is_empty() {
        bail!("--apps {:?} is no directory below the workspace; write it as in the root of an AppSet", clean(given));
    }
    Ok(parts.join("/"))
}

fn nowhere(context: &Context) -> anyhow::Result<Target> {
    match crate::store::open_read_only(&crate::store::database_path(&context.state)) {
        Ok(connection) => Ok(Target::Nowhere(Some(connection))),
        Err(StoreError::Absent { .. }) => Ok(Target::Nowhere(None)),
        Err(error) => Err(error.into()),
    }
}

fn store(context: &Context) -> anyhow::Result<Store> {
    let lock = StateLock::acquire(&context.state)
        .context("import writes the database itself, so no controller may run meanwhile; --dry-run works beside one")?;
    Ok(Store::open(lock)?)
}

fn print(out: &mut Out, report: &ImportReport) -> anyhow::Result<()> {
    let of = if report.dry_run { "would be imported" } else { "is here now" };
    let rows: Vec<Vec<String>> = report
        .tables
        .iter()
        .map(|table| {
            let counts = [table.rows, table.imported, table.known, table.merged, table.left_out];
            std::iter::once(table.table.to_owned()).chain(counts.iter().map(u64::to_string)).collect()
        })
        .collect();
    Columns::new(&["TABLE", "ROWS", "NEW", "KNOWN", "MERGED", "LEFT OUT"]).write(out, &rows, false)?;
    writeln!(out, "\n{}: what is NEW {of}; what is KNOWN was here before and stays as it is", clean(&report.database))?;
    let phases: Vec<String> = report.phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    if !phases.is_empty() {
        writeln!(out, "tasks: {}", phases.join(", "))?;
    }
    if report.over_retention > 0 {
        writeln!(
            out,
            "{} of them ended more than {} days ago: the next maintenance sets them aside (taskRetentionDays; get tasks --removed lists them)",
            report.over_retention, report.retention_days
        )?;
    }
    shape(out, report)?;
    for (kind, count) in &report.notes {
        let what = if kind.is_loss() { "not mapped" } else { "mapped" };
        writeln!(out, "\n{kind} ({what}): {count} rows")?;
        let kept = report.rows.iter().filter(|note| note.kind == *kind);
        for note in kept.take(LISTED_MAX) {
            writeln!(out, "  {} {}: {}", note.table, note.row, clean(&note.message))?;
        }
        if *count > LISTED_MAX as u64 {
            writeln!(out, "  and {} more; -o json lists more of them", count - LISTED_MAX as u64)?;
        }
    }
    if report.lost {
        writeln!(out, "\nSomething could not be mapped; see above.")?;
    }
    Ok(())
}

fn shape(out: &mut Out, report: &ImportReport) -> anyhow::Result<()> {
    let schema = &report.schema;
    for (what, names) in [
        ("tables that are not there", &schema.missing_tables),
        ("columns that are not there", &schema.missing_columns),
        ("columns that are not there, so that their table is left out", &schema.needed_columns),
        ("columns that are not known, and left out", &schema.unknown_columns),
        ("tables that are not imported", &schema.other_tables),
    ] {
        if !names.is_empty() {
            writeln!(out, "{what}: {}", clean(&names.join(", ")))?;
        }
    }
    Ok(())
}
