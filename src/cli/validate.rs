//! `manifestd validate`: every problem of manifests on disk, without a controller and without a store.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::files;
use super::known;
use super::out::{Out, note};
use super::table::many;
use crate::manifest::{Known, Problem};

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends with 0 when nothing is wrong, 1 when there are problems, 2 when a path cannot be read. Warnings are no problems."
)]
pub(crate) struct Args {
    /// Files, or directories with everything below them; - for standard input
    #[arg(required = true, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Do not check whether the apps and analyzers that tasks name are there
    #[arg(long)]
    no_references: bool,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// On stderr, with the line and a caret
    #[default]
    Text,
    /// One JSON object on stdout
    Json,
}

/// Runs `validate`.
pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let files = files::read_all(&args.paths, context.bounds())?;
    let mut problems: Vec<Problem> = files.iter().flat_map(|file| file.parsed.problems.iter().cloned()).collect();
    if !args.no_references {
        problems.extend(known::problems(&files, Known::default(), &context.workspace));
    }
    problems.sort_by(|a, b| (&a.file, a.place.line, a.place.column).cmp(&(&b.file, b.place.line, b.place.column)));
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let wrong: HashSet<&str> =
        problems.iter().filter(|problem| problem.is_error()).map(|problem| problem.file.as_str()).collect();
    let refused = files.iter().any(|file| file.parsed.has_errors());
    let valid: usize = files.iter().map(|file| file.parsed.documents.len()).sum();
    match args.output {
        Format::Json => {
            let mut out = Out::new(context.colour);
            let summary = json!({
                "valid": errors == 0 && !refused,
                "files": files.len(),
                "filesWithProblems": wrong.len(),
                "documents": valid,
                "problems": problems,
            });
            out.json(&summary)?;
            out.flush()?;
        }
        Format::Text => {
            show(&problems, context.colour_stderr);
            note(summary(errors, wrong.len(), files.len(), valid, problems.len() - errors));
        }
    }
    Ok(if errors > 0 || refused { Exit::No } else { Exit::Ok })
}

/// Prints problems as rustc does, to standard error.
pub(crate) fn show(problems: &[Problem], colour: bool) {
    problems.iter().for_each(|problem| note(format_args!("{}\n", problem.render(colour))));
}

fn summary(errors: usize, wrong: usize, files: usize, documents: usize, warnings: usize) -> String {
    let tail = if warnings > 0 { format!(", {}", many(warnings, "warning")) } else { String::new() };
    match errors {
        0 => format!("ok: {} in {}{tail}", many(documents, "document"), many(files, "file")),
        errors => format!("{} in {wrong} of {}{tail}", many(errors, "problem"), many(files, "file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_problems_and_files() {
        assert_eq!(summary(3, 2, 8, 5, 0), "3 problems in 2 of 8 files");
        assert_eq!(summary(1, 1, 1, 0, 2), "1 problem in 1 of 1 file, 2 warnings");
        assert_eq!(summary(0, 0, 2, 1, 0), "ok: 1 document in 2 files");
    }
}
