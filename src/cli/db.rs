//! `db`: looks after the database itself: whether it is whole, upgrades of its schema, and making it anew when it is lost.

use std::io::Write as _;

use anyhow::Context as _;
use serde_json::json;

use super::context::Context;
use super::disk::bytes;
use super::exit::Exit;
use super::out::{Out, clean};
use crate::disk::scratch;
use crate::store::{SCHEMA_VERSION, StateLock, check, database_path, pending_steps, upgrade_backup};

/// Arguments of `db`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do
    #[command(subcommand)]
    action: Action,
    /// How to print the report
    #[arg(short, long, global = true, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// What to do with the database.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Whether it is whole; nothing is changed
    Check,
    /// Bring its schema up to date, after a backup, as serve does when it starts
    Migrate {
        /// Try it on a copy, and say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Make it anew from the manifests and the results, when it is lost or damaged
    Rebuild {
        /// Say what could be brought back, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Set a database aside even though it is whole
        #[arg(long)]
        force: bool,
    },
}

/// Does it.
///
/// # Errors
/// Why it could not be done.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let json = args.output == "json";
    match args.action {
        Action::Check => look(context, json),
        Action::Migrate { dry_run: true } => try_migration(context, json),
        Action::Migrate { dry_run: false } => migrate(context, json),
        Action::Rebuild { dry_run, force } => super::rebuild::run(context, dry_run, force, json).await,
    }
}

fn look(context: &Context, json: bool) -> anyhow::Result<Exit> {
    let path = database_path(&context.state);
    let found = check::check(&path)?;
    let mut out = Out::new(context.colour);
    if json {
        out.json(&found)?;
    } else {
        match found.version == found.known {
            true => writeln!(out, "{}: schema version {}", path.display(), found.version)?,
            false => writeln!(
                out,
                "{}: schema version {}; this manifestd upgrades it to {} (manifestd db migrate)",
                path.display(),
                found.version,
                found.known
            )?,
        }
        for problem in found.integrity.iter().chain(&found.foreign_keys) {
            writeln!(out, "  {}", clean(problem))?;
        }
        match found.is_whole() {
            true => writeln!(out, "it is whole")?,
            false => writeln!(
                out,
                "it is damaged: bring a backup back with manifestd restore FILE --force, or make it anew with manifestd db rebuild"
            )?,
        }
    }
    Ok(if found.is_whole() { Exit::Ok } else { Exit::No })
}

fn try_migration(context: &Context, json: bool) -> anyhow::Result<Exit> {
    let path = database_path(&context.state);
    let (from, steps) = pending_steps(&path)?;
    let scratch = scratch().context("a directory for the copy")?;
    let copy = database_path(scratch.path());
    check::snapshot(&path, &copy).context("copying the database")?;
    let size = copy.metadata().map(|found| found.len()).unwrap_or_default();
    let lock = StateLock::acquire(scratch.path())?;
    let began = tokio::time::Instant::now();
    check::migrate(&lock).context("on a copy; the database was not touched")?;
    let took = began.elapsed();
    let after = copy.metadata().map(|found| found.len()).unwrap_or_default();
    let found = check::check(&copy)?;
    let mut out = Out::new(context.colour);
    if json {
        out.json(&json!({
            "from": from, "to": SCHEMA_VERSION, "steps": steps, "tookMs": took.as_millis(), "bytesBefore": size, "bytesAfter": after,
            "backup": upgrade_backup(&path, from), "whole": found.is_whole(), "dryRun": true,
        }))?;
    } else if steps.is_empty() {
        writeln!(out, "schema version {from}: nothing to do")?;
    } else {
        writeln!(out, "schema version {from} -> {SCHEMA_VERSION}")?;
        writeln!(out, "  copy the database to {}, {}", upgrade_backup(&path, from).display(), bytes(size))?;
        for step in &steps {
            writeln!(out, "  migration {} -> version {}", step.name, step.to)?;
        }
        let took = took.as_secs_f64();
        writeln!(out, "tried on a copy: it took {took:.2} s and came to {}. Nothing was changed.", bytes(after))?;
    }
    Ok(if found.is_whole() { Exit::Ok } else { Exit::No })
}

fn migrate(context: &Context, json: bool) -> anyhow::Result<Exit> {
    let path = database_path(&context.state);
    // Of a database that is not there, none is made.
    pending_steps(&path)?;
    let lock = StateLock::acquire(&context.state)?;
    let (from, steps) = pending_steps(&path)?;
    let began = tokio::time::Instant::now();
    check::migrate(&lock)?;
    let took = began.elapsed();
    let backup = (!steps.is_empty()).then(|| upgrade_backup(&path, from));
    let mut out = Out::new(context.colour);
    if json {
        out.json(&json!({
            "from": from, "to": SCHEMA_VERSION, "steps": steps, "tookMs": took.as_millis(), "backup": backup, "dryRun": false,
        }))?;
    } else {
        match &backup {
            None => writeln!(out, "schema version {from}: nothing to do")?,
            Some(backup) => writeln!(
                out,
                "schema version {from} -> {SCHEMA_VERSION} in {:.2} s; as it was before: {}",
                took.as_secs_f64(),
                backup.display()
            )?,
        }
    }
    Ok(Exit::Ok)
}
