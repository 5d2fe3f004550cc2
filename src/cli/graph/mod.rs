//! `manifestd graph`: the steps of a run or of a pipeline as a picture for other programs: Mermaid, DOT, SVG.

mod dot;
mod layout;
mod mermaid;
mod svg;

use std::io::Write;

use clap::ValueEnum;

use super::context::Context;
use super::exit::Exit;
use super::names;
use super::out::Out;
use super::picture::{Picture, StepPicture};
use crate::resource::run::StepPhase;

/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  manifestd graph pipeline/study
  manifestd graph study-3 -o svg > study-3.svg
  manifestd graph study-3 -o dot | dot -Tpng > study-3.png")]
pub(crate) struct Args {
    /// Name of a run, run/NAME or pipeline/NAME
    #[arg(value_name = "RUN|pipeline/NAME")]
    what: String,
    /// The language of the picture
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// The language of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// A Mermaid flowchart, for Markdown
    #[default]
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture for browsers
    Svg,
}

/// Runs `graph`.
pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let moment = connection.unchecked_transaction()?;
    let picture = match names::run_or_pipeline(&connection, &args.what)? {
        names::RunOrPipeline::Run(run) => Picture::of_run(&connection, &run, super::now())?,
        names::RunOrPipeline::Pipeline(object) => Picture::of_pipeline(&object.name, names::pipeline_spec(&object)?),
    };
    moment.finish()?;
    let mut out = Out::new(context.colour);
    let text = match args.output {
        Format::Mermaid => mermaid::mermaid(&picture),
        Format::Dot => dot::dot(&picture),
        Format::Svg => svg::svg(&picture),
    };
    out.raw(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Ok)
}

/// What stands in the box of a step, line by line.
fn lines(step: &StepPicture) -> Vec<String> {
    let mut lines = vec![step.name.clone()];
    match &step.standing {
        Some(standing) if standing.tally.all() > 0 => lines.push(format!("{} {}", standing.phase, standing.done())),
        Some(standing) => lines.push(standing.phase.to_string()),
        None => lines.push(step.does.clone()),
    }
    lines
}

/// The phases with the colours of their boxes: inside, and around.
const COLOURS: [(StepPhase, &str, &str); 7] = [
    (StepPhase::Waiting, "#f6f6f6", "#9a9a9a"),
    (StepPhase::Running, "#dbeafe", "#2563eb"),
    (StepPhase::Completed, "#dcfce7", "#15803d"),
    (StepPhase::PartialSuccess, "#fef3c7", "#b45309"),
    (StepPhase::Failed, "#fee2e2", "#b91c1c"),
    (StepPhase::Cancelled, "#e5e5e5", "#525252"),
    (StepPhase::Skipped, "#ffffff", "#a3a3a3"),
];

/// The colours of a step's box.
fn colours(step: &StepPicture) -> (&'static str, &'static str) {
    let phase = step.standing.as_ref().map_or(StepPhase::Waiting, |standing| standing.phase);
    let found = COLOURS.iter().find(|(of, _, _)| *of == phase);
    found.map_or(("#ffffff", "#000000"), |(_, inside, around)| (inside, around))
}
