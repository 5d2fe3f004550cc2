//! `orphans`: what is on its way out and what was found without a record, for a person to look at, keep, bring back or delete; and a
//! person's word that what a fuse froze is really gone.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use serde_json::json;

use super::context::Context;
use super::exit::{Exit, refused};
use super::out::{Out, clean};
use super::request::perform;
use super::table::{Columns, many};
use crate::plan::maintenance::Rules;
use crate::resource::time::Timestamp;
use crate::runtime::clock::system_time;
use crate::runtime::control::{Request, Response};
use crate::store::aside::Care;
use crate::store::orphan_view::{LINES_MAX, OrphanView, Why, orphans};

/// Arguments of `orphans`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do
    #[command(subcommand)]
    action: Action,
}

/// What to do with what is gone.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List missing apps, deleted records, what was set aside, and results that belong to no attempt
    List {
        /// How to print it
        #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "json", "name"], default_value = "table")]
        output: String,
        /// At most so many of each kind
        #[arg(long, value_name = "COUNT", default_value_t = LINES_MAX)]
        limit: u32,
    },
    /// Leave these alone from now on, whatever their age
    Keep(Named),
    /// Bring these back, and leave them alone from now on
    Restore(Named),
    /// Let the rules be for these again, which were kept or restored
    Release(Named),
    /// Delete these for good, whatever their age
    Purge {
        /// What, as `orphans list` names it
        #[arg(value_name = "KIND/NAME", required_unless_present = "all")]
        objects: Vec<String>,
        /// Everything that is listed, but missing apps and what is kept
        #[arg(long, conflicts_with = "objects")]
        all: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Accept that the manifests and apps which a blown fuse froze are really gone
    Accept(Format),
}

/// Objects by their names.
#[derive(Debug, clap::Args)]
struct Named {
    /// What, as `orphans list` names it: app/NAME, task/NAME, run/NAME, results/PATH
    #[arg(value_name = "KIND/NAME", required = true)]
    objects: Vec<String>,
    #[command(flatten)]
    format: Format,
}

/// How to print what was done.
#[derive(Debug, clap::Args)]
struct Format {
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

impl Format {
    fn is_json(&self) -> bool {
        self.output == "json"
    }
}

/// Runs `orphans`.
///
/// # Errors
/// When neither a controller nor the state directory can be reached.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    match &args.action {
        Action::List { output, limit } => list(context, output, *limit),
        Action::Keep(named) => care(context, named, Care::Keep).await,
        Action::Restore(named) => care(context, named, Care::Restore).await,
        Action::Release(named) => care(context, named, Care::Release).await,
        Action::Purge { objects, all, yes, format } => {
            purge(context, (!all).then(|| objects.clone()), *yes, format.is_json()).await
        }
        Action::Accept(format) => accept(context, format.is_json()).await,
    }
}

fn list(context: &Context, output: &str, limit: u32) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    let found = orphans(&context.open()?, limit)?;
    let rules = context.settings.rules();
    match output {
        "json" => {
            let lines: Vec<_> = found.iter().map(|orphan| as_json(orphan, rules)).collect();
            out.json(&lines)?;
        }
        "name" => found.iter().try_for_each(|orphan| writeln!(out, "{}", clean(&orphan.object)))?,
        _ if found.is_empty() => writeln!(out, "Nothing is missing, set aside or without a record.")?,
        _ => {
            let now = system_time();
            let rows: Vec<Vec<String>> = found
                .iter()
                .map(|orphan| {
                    vec![
                        clean(&orphan.object),
                        word(orphan.why).into(),
                        orphan.since.to_string(),
                        next(orphan, rules, now),
                    ]
                })
                .collect();
            Columns::new(&["OBJECT", "WHY", "SINCE", "NEXT"]).write(&mut out, &rows, false)?;
        }
    }
    Ok(Exit::Ok)
}

const fn word(why: Why) -> &'static str {
    match why {
        Why::Missing => "Missing",
        Why::Deleted => "Deleted",
        Why::SetAside => "SetAside",
        Why::Stray => "Stray",
    }
}

/// When the next rule is for it; `None` when none will be.
fn due(orphan: &OrphanView, rules: Rules) -> Option<Timestamp> {
    let threshold = if orphan.why == Why::Missing { rules.missing_app } else { rules.quarantine };
    threshold.filter(|_| orphan.kept_at.is_none()).map(|threshold| orphan.since.plus(threshold.max(rules.grace)))
}

/// What maintenance will do with it.
fn next(orphan: &OrphanView, rules: Rules, now: Timestamp) -> String {
    let what = if orphan.why == Why::Missing { "its record is deleted" } else { "is deleted for good" };
    match due(orphan, rules) {
        None if orphan.kept_at.is_some() => "kept".into(),
        None => "nothing, as the settings are".into(),
        Some(at) if at <= now => format!("{what} by the next maintenance"),
        Some(at) => format!("{what} by maintenance after {at}"),
    }
}

fn as_json(orphan: &OrphanView, rules: Rules) -> serde_json::Value {
    json!({
        "object": orphan.object,
        "why": word(orphan.why),
        "since": orphan.since.rfc3339(),
        "keptAt": orphan.kept_at.map(Timestamp::rfc3339),
        "dueAt": due(orphan, rules).map(Timestamp::rfc3339),
    })
}

async fn care(context: &Context, named: &Named, care: Care) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    match perform(context, Request::Care { objects: named.objects.clone(), care }).await? {
        (Response::Cared { objects }, _) => {
            if named.format.is_json() {
                out.json(&objects)?;
            } else {
                for answer in &objects {
                    writeln!(out, "{} {}", clean(&answer.object), clean(&answer.message))?;
                }
            }
            Ok(if objects.iter().all(|answer| answer.effective) { Exit::Ok } else { Exit::No })
        }
        (Response::Failed { message }, _) => bail!("{message}"),
        (other, _) => bail!("the controller answered something else: {other:?}"),
    }
}

async fn purge(context: &Context, objects: Option<Vec<String>>, yes: bool, json: bool) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    if !yes {
        if !std::io::stdin().is_terminal() {
            return Err(refused("what is purged cannot be brought back; say --yes where nobody can be asked"));
        }
        write!(out, "Delete this for good? It cannot be brought back. [y/N] ")?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            writeln!(out, "nothing was deleted")?;
            return Ok(Exit::No);
        }
    }
    let asked = objects.as_ref().map(Vec::len);
    match perform(context, Request::Purge { objects }).await? {
        (Response::Purged { actions }, _) if json => {
            out.json(&actions)?;
            Ok(if asked.is_none_or(|asked| asked == actions.len()) { Exit::Ok } else { Exit::No })
        }
        (Response::Purged { actions }, _) => {
            for action in &actions {
                writeln!(out, "{}", clean(&action.to_string()))?;
            }
            if actions.is_empty() {
                writeln!(
                    out,
                    "nothing was deleted: only what orphans list shows as SetAside, Deleted or Stray can be"
                )?;
            }
            Ok(if asked.is_none_or(|asked| asked == actions.len()) { Exit::Ok } else { Exit::No })
        }
        (Response::Failed { message }, _) => bail!("{message}"),
        (other, _) => bail!("the controller answered something else: {other:?}"),
    }
}

async fn accept(context: &Context, json: bool) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    match perform(context, Request::AcceptOrphans).await? {
        (Response::Accepted { sources }, _) if json => {
            out.json(&json!({"sources": sources}))?;
            Ok(Exit::Ok)
        }
        (Response::Accepted { sources: 0 }, _) => {
            writeln!(out, "nothing is frozen")?;
            Ok(Exit::Ok)
        }
        (Response::Accepted { sources }, _) => {
            writeln!(out, "accepted for {}; what is gone is now marked or removed", many(sources, "source"))?;
            Ok(Exit::Ok)
        }
        (Response::Failed { message }, _) => bail!("{message}"),
        (other, _) => bail!("the controller answered something else: {other:?}"),
    }
}
