//! `backup FILE`: the database, and the results if asked, as one file, whether or not a controller runs.

use std::io::Write as _;
use std::path::PathBuf;

use super::context::Context;
use super::disk::bytes;
use super::exit::Exit;
use super::now;
use super::out::{Out, clean, note};
use super::table::many;
use super::work::Work;
use crate::runtime::backup::{Wanted, back_up};

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write; a tar that any tar can open
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Put the results in it as well; without them it has what is known of them, and restoring leaves those on disk where they are
    #[arg(long)]
    results: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// How to print the report
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Writes a backup.
///
/// # Errors
/// Why there is none.
pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let json = args.output == "json";
    let wanted =
        Wanted { state: context.state.clone(), file: args.file.clone(), results: args.results, force: args.force };
    let mut work = Work::start("result directories", !json);
    let report = back_up(&wanted, now(), &mut |done, of| work.tell(done, of))?;
    work.end();
    let mut out = Out::new(context.colour);
    if json {
        out.json(&report)?;
    } else {
        let about = &report.about;
        let results = match about.with_results {
            true => format!("results of {}", many(about.result_directories, "attempt")),
            false => "without results (--results)".to_owned(),
        };
        writeln!(out, "{}: {}, {results}, {}", report.file.display(), bytes(report.bytes), many(about.files, "file"))?;
        if about.missing_directories > 0 {
            note(format_args!(
                "results of {} that the database refers to are not there, so they are not in the backup; the first: {}",
                many(about.missing_directories, "attempt"),
                report.missing.first().map(|first| clean(first)).unwrap_or_default()
            ));
        }
    }
    Ok(Exit::Ok)
}
