//! `manifestd config`: every setting with its effective value, where that comes from, and what it does.

use std::io::Write;

use clap::ValueEnum;
use serde_json::{Map, json};

use super::context::Context;
use super::exit::Exit;
use super::out::Out;
use super::table::Columns;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Settings are read from manifestd.yaml in the workspace, then from the environment (MANIFESTD_TASK_TIMEOUT
for taskTimeout), then from flags; the later ones win. An unknown setting is an error."
)]
pub(crate) struct Args {
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
    /// JSON, by name
    Json,
}

/// Runs `config`.
pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    match args.output {
        Format::Table => {
            let rows: Vec<Vec<String>> = context
                .effective
                .iter()
                .map(|setting| {
                    let value = if setting.value.is_empty() { "\"\"".to_owned() } else { setting.value.clone() };
                    vec![setting.name.to_owned(), value, setting.origin.to_string(), setting.about.to_owned()]
                })
                .collect();
            Columns::new(&["SETTING", "VALUE", "ORIGIN", "MEANING"]).write(&mut out, &rows, false)?;
        }
        Format::Json => {
            let settings: Map<_, _> = context
                .effective
                .iter()
                .map(|setting| {
                    let value = json!({
                        "value": setting.value,
                        "origin": setting.origin.to_string(),
                        "about": setting.about,
                    });
                    (setting.name.to_owned(), value)
                })
                .collect();
            out.json(&settings)?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
