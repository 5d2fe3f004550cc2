//! `history KIND/NAME`: every kept revision of a definition, and the diff of two of them.

use std::io::Write;

use anyhow::bail;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::authors::{Authors, Origin};
use super::context::Context;
use super::exit::{Exit, refused};
use super::names;
use super::out::{Out, clean, note};
use super::rows::or_nothing;
use super::table::Columns;
use super::unified::unified;
use crate::resource::kind::Kind;
use crate::store::history::{REVISIONS_KEPT, Revision, revisions};
use crate::store::view::ObjectView;

/// Characters of a digest or a commit that are shown in a table; as many as git shows of a commit in a large repository.
pub(super) const SHORT: usize = 12;

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The object, as KIND/NAME
    #[arg(value_name = "KIND/NAME")]
    object: String,
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    output: String,
}

/// An object with its revisions, newest first.
pub(super) struct History {
    /// The object.
    pub(super) object: ObjectView,
    /// Its revisions; never empty.
    pub(super) revisions: Vec<Revision>,
}

impl History {
    /// Reads the history of `KIND/NAME`.
    ///
    /// # Errors
    /// When there is no such object, or nothing declares it.
    pub(super) fn read(connection: &Connection, word: &str) -> anyhow::Result<Self> {
        let object = object(connection, word)?;
        let revisions = revisions(connection, &object.uid)?;
        if revisions.iter().all(|revision| revision.digest.is_empty()) {
            let why = match object.provenance.file.split_once('/') {
                _ if object.provenance.line > 0 => {
                    "its manifest was read by an older manifestd; it is known after the next mirroring (manifestd reconcile --once)".to_owned()
                }
                Some(("run", run)) => format!("run {run} asked for it; see manifestd trace"),
                _ => format!("it comes from {}; see manifestd trace", object.provenance.file),
            };
            return Err(refused(clean(&format!("{} has no revisions: {why}", named(&object)))));
        }
        Ok(Self { object, revisions })
    }

    /// One revision by its number.
    ///
    /// # Errors
    /// When it is not kept.
    pub(super) fn revision(&self, number: i64) -> anyhow::Result<&Revision> {
        let found = self.revisions.iter().find(|revision| revision.number == number);
        found.filter(|revision| !revision.digest.is_empty()).ok_or_else(|| {
            let (newest, oldest) = (self.revisions[0].number, self.revisions[self.revisions.len() - 1].number);
            refused(format!(
                "revision {number} of {} is not kept; there are {oldest} to {newest} (manifestd history {}), and at most {REVISIONS_KEPT} older ones are kept",
                clean(&named(&self.object)),
                clean(&named(&self.object)),
            ))
        })
    }

    /// The current revision.
    pub(super) fn current(&self) -> &Revision {
        &self.revisions[0]
    }
}

/// `kind/name`.
pub(super) fn named(object: &ObjectView) -> String {
    format!("{}/{}", object.kind.singular(), object.name)
}

/// The declared object in `KIND/NAME`, also a removed one.
fn object(connection: &Connection, word: &str) -> anyhow::Result<ObjectView> {
    let Some((prefix, name)) = word.split_once('/') else { bail!("\"{}\" has no kind; write KIND/NAME", clean(word)) };
    let kind = names::kind(prefix)?;
    if kind == Kind::Run {
        return Err(refused(
            "a run has no revisions: it keeps to the one of its pipeline that it was made with; see manifestd trace",
        ));
    }
    names::find(connection, kind, name)
}

/// The beginning of a digest or a commit.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(SHORT).collect()
}

/// `file:line`, or where else it came from.
pub(super) fn place(file: &str, line: u32) -> String {
    if line == 0 { file.to_owned() } else { format!("{file}:{line}") }
}

/// Runs `history`.
///
/// # Errors
/// When there is no such object.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let history = History::read(&connection, &args.object)?;
    let mut authors = Authors::of(&context.manifests);
    let mut origins = Vec::with_capacity(history.revisions.len());
    for revision in &history.revisions {
        origins.push(authors.origin(revision.commit.as_deref(), &revision.file, &revision.manifest).await);
    }
    let rows = history.revisions.iter().zip(&origins);
    let mut out = Out::new(context.colour);
    if args.output == "json" {
        out.json(&rows.map(|(revision, origin)| as_json(revision, origin)).collect::<Vec<_>>())?;
    } else {
        let rows: Vec<Vec<String>> = rows.map(|(revision, origin)| row(revision, origin)).collect();
        let header = ["REVISION", "GENERATION", "DIGEST", "ACCEPTED", "FILE:LINE", "COMMIT", "AUTHOR", "SUBJECT"];
        Columns::new(&header).write(&mut out, &rows, false)?;
    }
    out.flush()?;
    if let Some(at) = history.object.removed_at {
        note(format_args!("note: its manifest was removed at {}", at.rfc3339()));
    }
    Ok(Exit::Ok)
}

fn row(revision: &Revision, origin: &Origin) -> Vec<String> {
    let (commit, author, subject) = match origin {
        Origin::Commit(written) => (short(&written.commit), written.author.clone(), written.subject.clone()),
        Origin::NotCommitted => (String::new(), "(not committed)".into(), String::new()),
        Origin::Unknown => (revision.commit.as_deref().map(short).unwrap_or_default(), String::new(), String::new()),
    };
    vec![
        revision.number.to_string(),
        revision.generation.to_string(),
        or_nothing(&short(&revision.digest)),
        revision.at.rfc3339(),
        place(&revision.file, revision.line),
        or_nothing(&commit),
        or_nothing(&author),
        or_nothing(&subject),
    ]
}

/// A revision as JSON: `checkout` is the commit that was checked out, `commit` the one that brought the text.
pub(super) fn as_json(revision: &Revision, origin: &Origin) -> Value {
    let mut value = json!({
        "revision": revision.number,
        "generation": revision.generation,
        "digest": revision.digest,
        "acceptedTime": revision.at.rfc3339(),
        "file": revision.file,
        "line": revision.line,
        "checkout": revision.commit,
        "committed": match origin {
            Origin::Commit(_) => Some(true),
            Origin::NotCommitted => Some(false),
            Origin::Unknown => None,
        },
    });
    if let (Value::Object(map), Origin::Commit(written)) = (&mut value, origin) {
        map.insert("commit".into(), json!(written.commit));
        map.insert("author".into(), json!(written.author));
        map.insert("authoredTime".into(), json!(written.authored));
        map.insert("subject".into(), json!(written.subject));
    }
    value
}

/// Prints the diff of two revisions. Without `to` it is the current one, without `from` the one before `to`.
///
/// # Errors
/// When one of them is not kept.
pub(super) fn diff(
    context: &Context,
    word: &str,
    (from, to): (Option<i64>, Option<i64>),
    as_json: bool,
) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let history = History::read(&connection, word)?;
    let to = history.revision(to.unwrap_or(history.current().number))?;
    let before = history.revisions.iter().find(|revision| revision.number < to.number);
    let from = match (from, before) {
        (Some(number), _) => history.revision(number)?,
        (None, Some(before)) => before,
        (None, None) => return Err(refused(format!("there is no revision before {}", to.number))),
    };
    let label = |revision: &Revision| {
        clean(&format!(
            "{} revision {} ({})",
            named(&history.object),
            revision.number,
            place(&revision.file, revision.line)
        ))
    };
    let text = unified((&label(from), &from.manifest), (&label(to), &to.manifest));
    let mut out = Out::new(context.colour);
    if as_json {
        let side = |revision: &Revision| json!({ "revision": revision.number, "digest": revision.digest, "manifest": revision.manifest });
        out.json(&json!({ "from": side(from), "to": side(to), "diff": text }))?;
    } else {
        out.raw(text.as_bytes())?;
    }
    out.flush()?;
    Ok(if from.digest == to.digest { Exit::Ok } else { Exit::No })
}
