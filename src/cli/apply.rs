//! `manifestd apply`: validates manifests and writes them into the manifests directory, where the controller takes them from.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::context::Context;
use super::edit::{self, Directory};
use super::exit::{Exit, refused};
use super::files::{self, ManifestFile};
use super::out::{Out, note};
use super::table::many;
use super::{known, request, validate};
use crate::manifest::{Document, Problem};
use crate::resource::object::Object;
use crate::runtime::control::{Request, Response};

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An object that a file in the manifests directory declares already is replaced there, and the rest of that file stays as it is.
A new one gets a file KIND-NAME.yaml. Nothing is written when anything is wrong."
)]
pub(crate) struct Args {
    /// File, directory, or - for standard input
    #[arg(short, long = "filename", required = true, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What happens to one file of the directory.
struct FileEdit {
    path: PathBuf,
    label: String,
    before: Option<Vec<u8>>,
    after: String,
    /// What it declares afterwards, for a last check.
    objects: Vec<Arc<Object>>,
}

/// Runs `apply`.
pub(crate) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let bounds = context.bounds();
    if !args.dry_run {
        context.check_writable()?;
    }
    let given = files::read_all(&args.files, bounds)?;
    let directory = Directory::read(&context.manifests, bounds, !args.dry_run)?;
    let problems = problems(context, &given, &directory)?;
    validate::show(&problems, context.colour_stderr);
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if errors > 0 || given.iter().any(|file| file.parsed.has_errors()) {
        return Err(refused(format!("nothing was written: {}", many(errors, "problem"))));
    }
    let (edits, said) = plan(&given, &directory)?;
    for edit in edits.values() {
        let objects: Vec<&Object> = edit.objects.iter().map(Arc::as_ref).collect();
        edit::verify(&edit.label, &edit.after, &objects, bounds)?;
    }
    if !args.dry_run {
        for edit in edits.values() {
            directory.write(&edit.path, &edit.after, edit.before.as_deref())?;
        }
    }
    let mut out = Out::new(context.colour);
    let mark = if args.dry_run { " (dry run)" } else { "" };
    for (name, what) in &said {
        writeln!(out, "{name} {what}{mark}")?;
    }
    out.flush()?;
    if said.is_empty() {
        note("nothing to apply: the files declare nothing");
    }
    if !args.dry_run && !edits.is_empty() {
        tell(context).await;
    }
    Ok(Exit::Ok)
}

/// What is wrong with the given files, also together with what is there already.
fn problems(context: &Context, given: &[ManifestFile], directory: &Directory) -> anyhow::Result<Vec<Problem>> {
    let mut problems: Vec<Problem> = given.iter().flat_map(|file| file.parsed.problems.iter().cloned()).collect();
    let new: Vec<(&str, &Document)> = documents(given).collect();
    let is_given = |document: &Document| {
        let same =
            |new: &Object| new.kind() == document.object.kind() && new.metadata.name == document.object.metadata.name;
        new.iter().any(|(_, new)| same(&new.object))
    };
    let old = documents(&directory.files).filter(|(_, document)| !is_given(document));
    let all: Vec<(&str, &Document)> = new.iter().copied().chain(old).collect();
    let broken = given.iter().chain(&directory.files).flat_map(|file| &file.parsed.broken);
    let found = known::check(&all, broken, known::stored(context)?, &context.workspace);
    problems.extend(found.into_iter().filter(|problem| given.iter().any(|file| file.label == problem.file)));
    Ok(problems)
}

fn documents(files: &[ManifestFile]) -> impl Iterator<Item = (&str, &Document)> {
    files.iter().flat_map(|file| file.parsed.documents.iter().map(|document| (file.label.as_str(), document)))
}

/// The edits by path, and what to say of each object.
type Planned = (BTreeMap<PathBuf, FileEdit>, Vec<(String, &'static str)>);

/// A file of the directory, and its documents that are replaced: the old, the new and its text, by where the old one starts.
type Replacements<'f> = (&'f ManifestFile, BTreeMap<usize, (&'f Document, &'f Document, String)>);

fn plan(given: &[ManifestFile], directory: &Directory) -> anyhow::Result<Planned> {
    let mut edits: BTreeMap<PathBuf, FileEdit> = BTreeMap::new();
    let mut said = Vec::new();
    let mut replacements: BTreeMap<PathBuf, Replacements<'_>> = BTreeMap::new();
    for file in given {
        for new in &file.parsed.documents {
            let (kind, name) = (new.object.kind(), &new.object.metadata.name);
            let text = edit::lifted(file.text(), new);
            let what = match directory.find(kind, name)? {
                Some((_, old)) if old.object == new.object => "unchanged",
                Some((held, old)) => {
                    let of_file = replacements.entry(held.path.clone()).or_insert((held, BTreeMap::new()));
                    of_file.1.insert(old.whole.start, (old, new, text));
                    "configured"
                }
                None => {
                    let label = format!("{}-{name}.yaml", kind.singular());
                    let path = directory.path_of(&label);
                    let objects = vec![new.object.clone()];
                    edits.insert(path.clone(), FileEdit { path, label, before: None, after: text, objects });
                    "created"
                }
            };
            said.push((format!("{}/{name}", kind.singular()), what));
        }
    }
    for (path, (held, of_file)) in replacements {
        let mut after = held.text().to_owned();
        // From the last to the first, so that the places of the others stay what they are.
        for (old, _, text) in of_file.values().rev() {
            after = edit::replaced(&after, old, text);
        }
        let object = |document: &Document| {
            of_file.get(&document.whole.start).map_or_else(|| document.object.clone(), |(_, new, _)| new.object.clone())
        };
        let objects = held.parsed.documents.iter().map(object).collect();
        let before = Some(held.bytes.clone());
        edits.insert(path.clone(), FileEdit { path, label: held.label.clone(), before, after, objects });
    }
    Ok((edits, said))
}

/// Lets a running controller take over the change now; without one it is taken over when one starts.
pub(crate) async fn tell(context: &Context) {
    match request::ask(&context.state, &Request::Sync).await {
        Ok(Some(Response::Synced(report))) => {
            if let Some(why) = report.incomplete {
                note(format_args!("note: the controller could not read all manifests: {why}"));
            }
            if report.open + report.settling > 0 {
                note(format_args!(
                    "note: {} being written, and read once that is over",
                    many(report.open + report.settling, "file")
                ));
            }
            if report.frozen > 0 {
                note(format_args!(
                    "note: nothing is removed yet, since so much at once looks like a mistake: {}. If it is none: manifestd orphans accept",
                    many(report.frozen, "removal")
                ));
            }
        }
        Ok(Some(Response::Failed { message })) => {
            note(format_args!("note: the controller could not scan now: {message}"))
        }
        Ok(Some(_)) => {}
        Ok(None) => note("note: no controller is running; the change is picked up when one starts (manifestd serve)"),
        Err(error) => {
            note(format_args!("note: the controller was not told, its next scan will find the change: {error}"))
        }
    }
}
