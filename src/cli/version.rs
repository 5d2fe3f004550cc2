//! `manifestd version`: which program this is, and which formats it knows.

use std::io::Write;

use clap::ValueEnum;
use serde_json::json;

use super::exit::Exit;
use super::out::Out;
use crate::resource::kind::API_VERSION;
use crate::store::SCHEMA_VERSION;

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs `version`.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = Out::new(false);
    match args.output {
        Format::Text => {
            writeln!(out, "manifestd {version} (manifests {API_VERSION}, database schema {SCHEMA_VERSION})")?
        }
        Format::Json => {
            out.json(&json!({ "version": version, "apiVersion": API_VERSION, "databaseSchema": SCHEMA_VERSION }))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
