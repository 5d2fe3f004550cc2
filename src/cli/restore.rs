//! `restore FILE`: brings a backup back, after all of it was verified. What was there is kept beside it.

use std::io::Write as _;
use std::path::PathBuf;

use super::context::Context;
use super::exit::Exit;
use super::now;
use super::out::{Out, clean};
use super::table::many;
use super::work::Work;
use crate::runtime::restore::{RestoreReport, Wanted, restore, verify};

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file that manifestd backup wrote
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Set a database that is there aside, and take the backup in its place
    #[arg(long)]
    force: bool,
    /// Only verify the file
    #[arg(long)]
    dry_run: bool,
    /// How to print the report
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Restores.
///
/// # Errors
/// Why it was not done; then everything is as it was.
pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let json = args.output == "json";
    let mut work = Work::start("files", !json);
    let mut tell = |done, of| work.tell(done, of);
    let report = if args.dry_run {
        verify(&args.file, &mut tell)?
    } else {
        let wanted = Wanted { state: context.state.clone(), file: args.file.clone(), force: args.force };
        restore(&wanted, now(), &mut tell)?
    };
    work.end();
    let mut out = Out::new(context.colour);
    if json {
        out.json(&report)?;
    } else {
        print(&mut out, context, args, &report)?;
    }
    Ok(Exit::Ok)
}

fn print(out: &mut Out, context: &Context, args: &Args, report: &RestoreReport) -> anyhow::Result<()> {
    let about = &report.about;
    let results = match about.with_results {
        true => format!("with results of {}", many(about.result_directories, "attempt")),
        false => "without results".to_owned(),
    };
    let (taken, program) = (clean(&about.taken_at), clean(&about.program));
    writeln!(
        out,
        "{}: whole; taken at {taken} by manifestd {program}, schema version {}, {results}",
        args.file.display(),
        about.schema
    )?;
    if args.dry_run {
        writeln!(out, "Nothing was changed.")?;
        return Ok(());
    }
    writeln!(out, "restored into {}", context.state.display())?;
    if let Some(aside) = &report.aside {
        writeln!(out, "what was there before is in {}; remove it when nobody misses it", aside.display())?;
    }
    if report.strays > 0 {
        writeln!(out, "{} results are younger than the backup, and are there as well", report.strays)?;
    }
    Ok(())
}
