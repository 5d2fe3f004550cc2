//! `rollback KIND/NAME --to N`: puts the text of an older revision back into its file, byte for byte. The state follows when the file is mirrored,
//! as after any other edit, so that files and state never say different things.

use std::io::Write;
use std::path::Path;

use super::apply::tell;
use super::context::Context;
use super::edit::{Directory, verify};
use super::exit::{Exit, refused};
use super::files::ManifestFile;
use super::history::{History, named, place};
use super::out::{Out, clean, note};
use super::unified::unified;
use crate::manifest::{Bounds, Document, parse};
use crate::resource::digest::sha256;
use crate::resource::object::Object;
use crate::store::history::{Revision, file_digest};

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --write it only shows what would be written. Only this one document of the file is replaced.
Exit codes: 0 shown, written, or nothing to do; 1 it is refused; 2 it cannot be done"
)]
pub(super) struct Args {
    /// The object, as KIND/NAME
    #[arg(value_name = "KIND/NAME")]
    object: String,
    /// The revision to go back to; `manifestd history` lists them
    #[arg(long, value_name = "REVISION")]
    to: i64,
    /// Write it into the manifests directory
    #[arg(long)]
    write: bool,
}

/// What is to be written.
#[derive(Debug, PartialEq)]
struct Edit {
    /// The document as it is now; empty when it is not there.
    old: String,
    /// The whole file afterwards.
    after: String,
    /// What the file declares afterwards.
    objects: Vec<Object>,
}

/// Runs `rollback`.
///
/// # Errors
/// When there is no such revision, or it cannot be put back safely.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let history = History::read(&connection, &args.object)?;
    let target = history.revision(args.to)?;
    let object = &history.object;
    let (name, file) = (clean(&named(object)), object.provenance.file.clone());
    if object.provenance.line == 0 {
        return Err(refused(format!("{name} is declared in no file now, it comes from {}", clean(&file))));
    }
    not_managed(context, &name)?;
    let bounds = context.bounds();
    let directory = Directory::of_file(&context.manifests, &file, bounds)?;
    let held = directory.files.first();
    let mirrored = file_digest(&connection, &file)?;
    // What is no text was not mirrored either.
    let digest = |held: &ManifestFile| std::str::from_utf8(&held.bytes).map(sha256).unwrap_or_default();
    if held.map(digest) != mirrored {
        return Err(refused(format!(
            "{} is not as it was mirrored last; nothing was written. Let the controller read it first (manifestd reconcile --once), then look again",
            clean(&file)
        )));
    }
    let edit = edit(held, &directory, &history, target, bounds)?;
    if edit.old == target.manifest {
        note(format_args!("nothing to do: {name} is as in revision {} already", target.number));
        return Ok(Exit::Ok);
    }
    let from = format!("{} ({})", name, place(&file, object.provenance.line));
    let to = format!("{name} revision {}", target.number);
    let mut out = Out::new(context.colour);
    out.raw(unified((&clean(&from), &edit.old), (&to, &target.manifest)).as_bytes())?;
    out.flush()?;
    let shown = clean(&context.manifests.join(&file).display().to_string());
    if !args.write {
        note(format_args!("would be written to {shown}; do it with --write"));
        return Ok(Exit::Ok);
    }
    let before = held.map(|held| held.bytes.as_slice());
    directory.write(&directory.path_of(&file), &edit.after, before)?;
    note(format_args!("{name}: revision {} was written to {shown}", target.number));
    tell(context).await;
    Ok(Exit::Ok)
}

/// Refuses a directory that the controller keeps itself: what is written there is lost with the next fetch.
fn not_managed(context: &Context, name: &str) -> anyhow::Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(&context.manifests).starts_with(real(&context.state)) {
        return Err(refused(format!(
            "{name} comes from a checkout that manifestd keeps up to date itself, so it cannot be written here; revert the commit in git"
        )));
    }
    Ok(())
}

/// The edit that makes the file declare the object as in this revision.
fn edit(
    held: Option<&ManifestFile>,
    directory: &Directory,
    history: &History,
    target: &Revision,
    bounds: Bounds<'_>,
) -> anyhow::Result<Edit> {
    let object = &history.object;
    let parsed = parse(&target.file, target.manifest.as_bytes(), bounds);
    let Some(new) = parsed.documents.first().filter(|_| parsed.documents.len() == 1 && !parsed.has_errors()) else {
        let why = parsed.problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
        return Err(refused(clean(&format!("revision {} is no valid manifest any more: {why}", target.number))));
    };
    let edit = match (held, directory.find(object.kind, &object.name)?) {
        (Some(held), Some((_, old))) => replace(held, old, &target.manifest, &new.object),
        (Some(held), None) => append(held, &target.manifest, &new.object),
        (None, _) => Edit { old: String::new(), after: target.manifest.clone(), objects: vec![new.object.clone()] },
    };
    verify(&object.provenance.file, &edit.after, &edit.objects.iter().collect::<Vec<_>>(), bounds)?;
    let again = parse(&object.provenance.file, edit.after.as_bytes(), bounds);
    let found = again.documents.iter().find(|document| document.object == new.object);
    if found.and_then(|document| edit.after.get(document.body.clone())) != Some(&target.manifest) {
        return Err(refused(format!(
            "revision {} cannot be put back byte for byte, as what is around it in {} is written in another way now; edit the file by hand",
            target.number,
            clean(&object.provenance.file)
        )));
    }
    Ok(edit)
}

fn replace(held: &ManifestFile, old: &Document, text: &str, new: &Object) -> Edit {
    let whole = held.text();
    let is_old = |document: &Document| document.body == old.body;
    let objects = held.parsed.documents.iter();
    Edit {
        old: whole[old.body.clone()].to_owned(),
        after: format!("{}{text}{}", &whole[..old.body.start], &whole[old.body.end..]),
        objects: objects.map(|document| if is_old(document) { new.clone() } else { document.object.clone() }).collect(),
    }
}

/// Puts a document that was removed behind the others of its file.
fn append(held: &ManifestFile, text: &str, new: &Object) -> Edit {
    let whole = held.text();
    let line_break = if whole.is_empty() || whole.ends_with('\n') { "" } else { "\n" };
    let objects = held.parsed.documents.iter().map(|document| document.object.clone());
    Edit {
        old: String::new(),
        after: format!("{whole}{line_break}---\n{text}"),
        objects: objects.chain([new.clone()]).collect(),
    }
}
