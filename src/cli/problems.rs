//! `manifestd get problems`: what is wrong with the manifests as they are.

use std::io::Write;

use anyhow::bail;
use rusqlite::Connection;

use super::context::Context;
use super::exit::Exit;
use super::get::{Args, Format};
use super::item;
use super::out::{Out, note};
use super::table::Columns;
use crate::manifest::to_yaml;
use crate::store::view;

/// Prints the problems of the manifests directory.
pub(super) fn problems(context: &Context, args: &Args, out: &mut Out) -> anyhow::Result<Exit> {
    if args.what.len() > 1 || args.selector.is_some() || args.watch {
        bail!("`get problems` takes no names, labels or --watch");
    }
    let connection = context.open()?;
    let problems = view::problems(&connection)?;
    let wide = args.output == Format::Wide;
    match args.output {
        Format::Json | Format::Yaml => {
            let items = problems.iter().map(|problem| serde_json::to_value(problem).unwrap_or_default()).collect();
            let whole = item::list(items);
            if args.output == Format::Json { out.json(&whole)? } else { out.raw(to_yaml(&whole).as_bytes())? }
        }
        Format::Name => {
            problems.iter().try_for_each(|problem| writeln!(out, "{}", super::out::clean(&problem.file)))?
        }
        Format::Table | Format::Wide if problems.is_empty() => {}
        Format::Table | Format::Wide => {
            let rows: Vec<Vec<String>> = problems
                .into_iter()
                .map(|problem| {
                    let place = format!("{}:{}:{}", problem.file, problem.place.line, problem.place.column);
                    let severity = if problem.is_error() { "error" } else { "warning" };
                    let mut row = vec![place, problem.code.into_owned(), problem.message];
                    if wide {
                        row.extend([severity.to_owned(), problem.help.unwrap_or_default()]);
                    }
                    row
                })
                .collect();
            let header: &[_] = if wide {
                &["FILE:LINE:COL", "CODE", "MESSAGE", "SEVERITY", "HELP"]
            } else {
                &["FILE:LINE:COL", "CODE", "MESSAGE"]
            };
            Columns::new(header).write(out, &rows, args.no_headers)?;
            out.flush()?;
            say_conditions(&connection)?;
            return Ok(Exit::Ok);
        }
    }
    out.flush()?;
    if !matches!(args.output, Format::Json | Format::Yaml | Format::Name) {
        note(format_args!("No problems found in {}.", context.manifests.display()));
        say_conditions(&connection)?;
    }
    Ok(Exit::Ok)
}

/// What holds of the manifests directory as a whole, such as a blown fuse.
fn say_conditions(connection: &Connection) -> anyhow::Result<()> {
    for condition in view::directory_conditions(connection)?.iter().filter(|condition| condition.status == "True") {
        note(super::out::clean(&format!("{} ({}): {}", condition.condition, condition.reason, condition.message)));
    }
    Ok(())
}
