//! `trace KIND/NAME`: where something comes from. A task of a run leads to its step, the run, what triggered that, and the revision of the pipeline that it
//! is pinned to; an app to the AppSet or the run that made it; and each definition to file, line, commit and author.

use std::io::Write;

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::authors::{Authors, Origin};
use super::context::Context;
use super::exit::Exit;
use super::history::{place, short};
use super::names;
use super::out::{Out, clean};
use crate::plan::pipeline::DEPTH_MAX;
use crate::resource::kind::Kind;
use crate::store::history::{Revision, asked_by, revisions};
use crate::store::run_view::RunView;
use crate::store::view::{Filter, ObjectView, objects};

/// Runs lie within each other at most so deep; at the top there are a task, a pipeline and what follows it.
const LINKS_MAX: usize = 2 * DEPTH_MAX as usize + 4;

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The object, as KIND/NAME or KIND NAME
    #[arg(value_name = "KIND/NAME", required = true, num_args = 1..=2)]
    object: Vec<String>,
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// One link of the chain: an object and what is known of where it comes from, as words and as JSON.
struct Link {
    object: String,
    facts: Vec<(&'static str, String)>,
    json: Map<String, Value>,
}

impl Link {
    fn new(object: String) -> Self {
        Self { json: Map::from_iter([("object".to_owned(), json!(object))]), object, facts: Vec::new() }
    }

    fn tell(&mut self, word: &'static str, text: String, fields: Value) {
        self.facts.push((word, text));
        if let Value::Object(fields) = fields {
            self.json.extend(fields);
        }
    }
}

/// Where the chain goes on.
enum Next {
    Object(Kind, String),
    /// A pipeline as a run is pinned to it.
    Pinned(Box<RunView>),
    End,
}

/// Runs `trace`.
///
/// # Errors
/// When there is no such object.
pub(super) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let (kind, name) = names::objects(&args.object)?.swap_remove(0);
    // The first one must be there; of the others what is known is told.
    let first = names::find(&connection, kind, &name)?;
    let mut authors = Authors::of(&context.manifests);
    let mut links = Vec::new();
    let (top, mut next) = link(&connection, &mut authors, &first).await?;
    links.push(top);
    while links.len() < LINKS_MAX {
        let object = match &next {
            Next::End => break,
            Next::Object(kind, name) => one(&connection, *kind, name)?,
            Next::Pinned(run) => one(&connection, Kind::Pipeline, &run.pipeline)?,
        };
        let Some(object) = object else { break };
        let (below, after) = match &next {
            Next::Pinned(run) => (pinned(&connection, &mut authors, run).await?, Next::End),
            Next::Object(..) | Next::End => link(&connection, &mut authors, &object).await?,
        };
        links.push(below);
        next = after;
    }
    let mut out = Out::new(context.colour);
    if args.output == "json" {
        out.json(&links.into_iter().map(|link| Value::Object(link.json)).collect::<Vec<_>>())?;
    } else {
        for link in &links {
            writeln!(out, "{}", clean(&link.object))?;
            for (word, text) in &link.facts {
                writeln!(out, "  {:<13} {}", format!("{word}:"), clean(text))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn one(connection: &Connection, kind: Kind, name: &str) -> anyhow::Result<Option<ObjectView>> {
    let filter = Filter { name: Some(name.to_owned()), removed: true };
    Ok(objects(connection, kind, &filter)?.pop())
}

async fn link(connection: &Connection, authors: &mut Authors, object: &ObjectView) -> anyhow::Result<(Link, Next)> {
    let mut link = Link::new(format!("{}/{}", object.kind.singular(), object.name));
    let asked = asked_by(connection, &object.uid)?;
    if let Some(asked) = &asked {
        let label = if asked.label.is_empty() { String::new() } else { format!(" ({})", asked.label) };
        let text = format!("step {}, item {}{label}, of run/{}", asked.step, asked.item, asked.run);
        let fields = json!({ "run": asked.run, "step": asked.step, "item": asked.item, "label": asked.label });
        link.tell("Asked for by", text, fields);
    }
    if let Some(run) = &object.run {
        made(&mut link, run);
        return Ok((link, asked.map_or_else(|| Next::Pinned(run.clone()), |asked| Next::Object(Kind::Run, asked.run))));
    }
    if let Some(at) = object.removed_at {
        link.tell("Removed", at.rfc3339(), json!({ "removedTime": at.rfc3339() }));
    }
    if let Some(asked) = asked {
        return Ok((link, Next::Object(Kind::Run, asked.run)));
    }
    let file = &object.provenance.file;
    match file.split_once('/').filter(|_| object.provenance.line == 0) {
        Some(("run", run)) => {
            link.tell("Made by", format!("run/{run}"), json!({ "run": run }));
            Ok((link, Next::Object(Kind::Run, run.to_owned())))
        }
        Some((_, set)) => {
            link.tell("Found by", format!("appset/{set}"), json!({ "appSet": set }));
            Ok((link, Next::Object(Kind::AppSet, set.to_owned())))
        }
        None => {
            if let Some(revision) = revisions(connection, &object.uid)?.first() {
                declared(&mut link, authors, revision).await;
            }
            Ok((link, Next::End))
        }
    }
}

/// What made a run, and what it is pinned to.
fn made(link: &mut Link, run: &RunView) {
    let at = run.scheduled_at.map(|at| format!(", for the slot {}", at.rfc3339())).unwrap_or_default();
    link.tell(
        "Triggered by",
        format!("{}{at}, made at {}", run.cause, run.created_at.rfc3339()),
        json!({ "cause": run.cause, "scheduledTime": run.scheduled_at.map(crate::resource::time::Timestamp::rfc3339),
            "creationTimestamp": run.created_at.rfc3339() }),
    );
    let commit = run.commit.as_deref().map(|commit| format!(", commit {}", short(commit))).unwrap_or_default();
    link.tell(
        "Pinned to",
        format!(
            "pipeline/{} revision {}, generation {}, spec {}{commit}",
            run.pipeline,
            run.revision,
            run.generation,
            short(&run.digest)
        ),
        json!({ "pipeline": run.pipeline, "revision": run.revision, "generation": run.generation, "specDigest": run.digest,
            "manifestDigest": run.manifest_digest, "checkout": run.commit }),
    );
}

/// The pipeline as it was when a run was made.
async fn pinned(connection: &Connection, authors: &mut Authors, run: &RunView) -> anyhow::Result<Link> {
    let mut link = Link::new(format!("pipeline/{}", run.pipeline));
    let known = revisions(connection, &run.pipeline_uid)?;
    match known.iter().find(|revision| revision.number == run.revision) {
        Some(revision) => declared(&mut link, authors, revision).await,
        None => link.tell(
            "Revision",
            format!("{}, which is no longer kept", run.revision),
            json!({ "revision": run.revision }),
        ),
    }
    if let Some(newest) = known.first().filter(|newest| newest.number > run.revision) {
        let text = format!("revision {}, in {}", newest.number, place(&newest.file, newest.line));
        link.tell("Now", text, json!({ "currentRevision": newest.number }));
    }
    Ok(link)
}

/// Where a revision is declared, and who wrote it.
async fn declared(link: &mut Link, authors: &mut Authors, revision: &Revision) {
    let Revision { number, generation, file, line, digest, .. } = revision;
    link.tell("Declared in", place(file, *line), json!({ "file": file, "line": line }));
    link.tell(
        "Revision",
        format!("{number}, generation {generation}, manifest {}, accepted at {}", short(digest), revision.at.rfc3339()),
        json!({ "revision": number, "generation": generation, "manifestDigest": digest, "acceptedTime": revision.at.rfc3339() }),
    );
    match authors.origin(revision.commit.as_deref(), file, &revision.manifest).await {
        Origin::Commit(written) => {
            let text = format!("{} {}", short(&written.commit), written.subject);
            link.tell("Commit", text, json!({ "commit": written.commit, "subject": written.subject }));
            let text = format!("{}, {}", written.author, written.authored);
            link.tell("Author", text, json!({ "author": written.author, "authoredTime": written.authored }));
        }
        Origin::NotCommitted => link.tell("Commit", "not committed".into(), json!({ "committed": false })),
        Origin::Unknown => {
            if let Some(commit) = &revision.commit {
                link.tell("Commit", short(commit), json!({ "checkout": commit }));
            }
        }
    }
}
