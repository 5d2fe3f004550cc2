//! `manifestd schema`: the JSON Schema of manifests, for editors.

use std::io::Write;

use super::exit::Exit;
use super::names;
use super::out::Out;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kind; without it, the schema of all kinds
    #[arg(value_name = "KIND")]
    kind: Option<String>,
}

/// Runs `schema`.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let kind = args.kind.as_deref().map(names::kind).transpose()?;
    let mut out = Out::new(false);
    out.json(&crate::manifest::schema(kind))?;
    out.flush()?;
    Ok(Exit::Ok)
}
