//! `manifestd delete`: removes documents from the manifests directory, and files that then declare nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;

use super::context::Context;
use super::edit::{self, Directory};
use super::exit::{Exit, refused};
use super::files::{self, ManifestFile};
use super::out::Out;
use super::{apply, names};
use crate::import::FROM_THE_OLD_SYSTEM;
use crate::manifest::{Bounds, Document};
use crate::plan::mirror::FOUND_ON_DISK;
use crate::resource::kind::Kind;
use crate::resource::object::Object;
use crate::store::made_by::{MadeBy, made_by};

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Running attempts of a deleted task are stopped. Results stay on disk.")]
pub(crate) struct Args {
    /// KIND NAME..., or KIND/NAME...
    #[arg(value_name = "KIND NAME", required_unless_present = "files", conflicts_with = "files")]
    what: Vec<String>,
    /// Delete what these manifests declare: file, directory, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `delete`.
pub(crate) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let bounds = context.bounds();
    if !args.dry_run {
        context.check_writable()?;
    }
    let wanted = wanted(args, bounds)?;
    let directory = Directory::read(&context.manifests, bounds, false)?;
    let mut cuts: BTreeMap<PathBuf, (&ManifestFile, BTreeMap<usize, &Document>)> = BTreeMap::new();
    for (kind, name) in &wanted {
        let Some((file, document)) = directory.find(*kind, name)? else {
            return Err(absent(context, *kind, name));
        };
        cuts.entry(file.path.clone()).or_insert((file, BTreeMap::new())).1.insert(document.whole.start, document);
    }
    let mut edits: Vec<(&ManifestFile, Option<String>)> = Vec::new();
    for (file, of_file) in cuts.values() {
        edits.push((file, without(file, of_file, bounds)?));
    }
    if !args.dry_run {
        for (file, after) in &edits {
            match after {
                Some(after) => directory.write(&file.path, after, Some(&file.bytes))?,
                None => directory.remove(&file.path, &file.bytes)?,
            }
        }
    }
    let mut out = Out::new(context.colour);
    for (kind, name) in &wanted {
        writeln!(out, "{}/{name} deleted{}", kind.singular(), if args.dry_run { " (dry run)" } else { "" })?;
    }
    out.flush()?;
    if !args.dry_run && !edits.is_empty() {
        apply::tell(context).await;
    }
    Ok(Exit::Ok)
}

fn wanted(args: &Args, bounds: Bounds<'_>) -> anyhow::Result<Vec<(Kind, String)>> {
    let mut wanted = if args.files.is_empty() { names::objects(&args.what)? } else { Vec::new() };
    for file in files::read_all(&args.files, bounds)? {
        // What is broken can be deleted too, as long as its kind and name can be read.
        let broken = file.parsed.broken.iter().filter_map(|broken| Some((broken.kind?, broken.name.clone()?)));
        let valid = file.parsed.documents.iter().map(|doc| (doc.object.kind(), doc.object.metadata.name.clone()));
        wanted.extend(valid.chain(broken));
        if file.parsed.unreadable {
            bail!("{} cannot be read as YAML, so it does not say what to delete", file.label);
        }
    }
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|identity| seen.insert(identity.clone()));
    if wanted.is_empty() {
        bail!("the files declare nothing that could be deleted");
    }
    Ok(wanted)
}

/// The file's text without these documents; `None` when nothing else is in it.
fn without(
    file: &ManifestFile,
    cuts: &BTreeMap<usize, &Document>,
    bounds: Bounds<'_>,
) -> anyhow::Result<Option<String>> {
    let parsed = &file.parsed;
    if cuts.len() == parsed.documents.len() && parsed.broken.is_empty() && !parsed.unreadable {
        return Ok(None);
    }
    let mut after = file.text().to_owned();
    for document in cuts.values().rev() {
        after = edit::cut(&after, document);
    }
    let rest = parsed.documents.iter().filter(|document| !cuts.contains_key(&document.whole.start));
    let objects: Vec<&Object> = rest.map(|document| &document.object).collect();
    edit::verify(&file.label, &after, &objects, bounds)?;
    Ok(Some(after))
}

/// Why an object cannot be deleted: nobody knows it, or no file declares it.
fn absent(context: &Context, kind: Kind, name: &str) -> anyhow::Error {
    let here = format!("{}/{name} is declared in no file of {}", kind.singular(), context.manifests.display());
    let Ok(connection) = context.open() else { return refused(here) };
    match of_a_run(&connection, kind, name) {
        Ok(Some(said)) => return refused(said),
        Ok(None) => {}
        Err(error) => return error,
    }
    match names::find(&connection, kind, name) {
        Err(unknown) => unknown,
        Ok(object) if object.removed_at.is_some() => refused(format!("{}/{name} was deleted already", kind.singular())),
        Ok(object) if object.provenance.line == 0 && object.provenance.file == FROM_THE_OLD_SYSTEM => refused(format!(
            "{}/{name} was imported and is declared in no file; maintenance sets old tasks aside, and apps go with their directories",
            kind.singular()
        )),
        Ok(object) => match object.provenance.file.strip_prefix(FOUND_ON_DISK) {
            Some(set) => refused(format!(
                "app/{name} was found on disk by AppSet \"{set}\"; it goes when its directory {} goes",
                super::rows::text(&object.spec, "path")
            )),
            None => refused(format!("{here}; the controller will see that at its next scan")),
        },
    }
}

/// What to do instead about something that a run made, or about a run; `None` for what is declared in files.
fn of_a_run(connection: &rusqlite::Connection, kind: Kind, name: &str) -> anyhow::Result<Option<String>> {
    if kind == Kind::Run {
        let name = names::run(connection, name)?.name;
        return Ok(Some(format!(
            "run/{name} was made by a trigger and is declared in no file; manifestd cancel run/{name} ends it, and what it did is kept"
        )));
    }
    let Some(MadeBy { run, step, pipeline }) = made_by(connection, kind, name)? else { return Ok(None) };
    Ok(Some(match kind {
        Kind::Task => format!(
            "task/{name} belongs to step {step} of run {run}, and no file declares it; manifestd cancel task/{name} ends it, \
             manifestd retry {run} --only {step} runs that step again, and without the step in pipeline/{pipeline} no later run has it"
        ),
        _ => format!(
            "{}/{name} was made by step {step} of run {run}, and no file declares it; it is gone when its directory is, \
             and without the step in pipeline/{pipeline} no later run makes it",
            kind.singular()
        ),
    }))
}
