//! `diff PATH`: what mirroring a directory would change, deletions first. `diff KIND/NAME`: two revisions of a definition.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::context::Context;
use super::exit::Exit;
use super::out::{Out, note};
use crate::plan::mirror::{Change, Difference, Existing, Identity};
use crate::resource::kind::Kind;
use crate::runtime::preview::{Preview, preview};
use crate::store::database_path;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing would change, 1 something would, 2 it cannot be told")]
pub(super) struct Args {
    /// The directory to compare with what is stored [default: the manifests directory]; or KIND/NAME, to compare two of its revisions
    #[arg(value_name = "PATH|KIND/NAME", value_hint = clap::ValueHint::DirPath)]
    path: Option<PathBuf>,
    /// The older revision [default: the one before --to]
    #[arg(long, value_name = "REVISION", requires = "path")]
    from: Option<i64>,
    /// The newer revision [default: the current one]
    #[arg(long, value_name = "REVISION", requires = "path")]
    to: Option<i64>,
    /// How to print the differences
    #[arg(short, long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

impl Args {
    /// The object whose revisions are meant: `KIND/NAME`, unless that is a directory and no revision is given.
    fn object(&self) -> Option<&str> {
        let word = self.path.as_ref()?.to_str()?;
        let (prefix, _) = word.split_once('/')?;
        let is_object = Kind::from_word(prefix).is_some() && !Path::new(word).is_dir();
        (is_object || self.from.is_some() || self.to.is_some()).then_some(word)
    }
}

/// One difference, as it is printed.
#[derive(Debug, serde::Serialize)]
struct Line {
    /// `delete`, `update` or `create`.
    action: &'static str,
    object: String,
    place: String,
    fields: Vec<String>,
}

/// Prints the differences.
///
/// # Errors
/// When the directory has problems or cannot be read: then what would change is not known.
pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    if let Some(object) = args.object() {
        return super::history::diff(context, object, (args.from, args.to), args.output == "json");
    }
    let directory = args.path.clone().unwrap_or_else(|| context.manifests.clone());
    anyhow::ensure!(directory.is_dir(), "{} is not a directory", directory.display());
    let store = if database_path(&context.state).exists() { Some(context.open()?) } else { None };
    let preview = preview(&directory, context.bounds(), store.as_ref())?;
    for problem in &preview.problems {
        note(problem.render(context.colour_stderr));
    }
    let lines = lines(&preview);
    let mut out = Out::new(context.colour);
    if args.output == "json" {
        out.json(&lines)?;
    } else {
        print(&mut out, &lines)?;
    }
    if let Some(why) = &preview.incomplete {
        anyhow::bail!("not read as a whole, so nothing can be said of deletions: {why}");
    }
    if preview.problems.iter().any(crate::manifest::Problem::is_error) {
        anyhow::bail!("the broken documents above keep their last good version");
    }
    Ok(if lines.is_empty() { Exit::Ok } else { Exit::No })
}

fn lines(preview: &Preview) -> Vec<Line> {
    let mut lines = Vec::new();
    for change in preview.plan.removals.iter().chain(&preview.plan.changes) {
        match change {
            Change::Remove { identity, provenance, .. } => {
                lines.push(line("delete", identity, format!("{}:{}", provenance.file, provenance.line), Vec::new()));
            }
            Change::Update { declared, difference, .. } => {
                let identity = (declared.object.kind(), declared.object.metadata.name.clone());
                let fields = preview.existing.get(&identity).map(|existing| fields(existing, declared, *difference));
                let fields = fields.unwrap_or_default();
                // Another line of another file is no difference to anybody.
                if !fields.is_empty() {
                    let place = format!("{}:{}", declared.provenance.file, declared.provenance.line);
                    lines.push(line("update", &identity, place, fields));
                }
            }
            Change::Create(declared) => {
                let identity = (declared.object.kind(), declared.object.metadata.name.clone());
                let place = format!("{}:{}", declared.provenance.file, declared.provenance.line);
                lines.push(line("create", &identity, place, Vec::new()));
            }
        }
    }
    lines
}

fn line(action: &'static str, identity: &Identity, place: String, fields: Vec<String>) -> Line {
    Line { action, object: format!("{}/{}", identity.0.singular(), identity.1), place, fields }
}

/// The changed fields, each as `path: old -> new`.
fn fields(existing: &Existing, declared: &crate::plan::mirror::Declared, difference: Difference) -> Vec<String> {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let metadata = &declared.object.metadata;
    let old = serde_json::json!({
        "labels": parsed(&existing.labels), "annotations": parsed(&existing.annotations), "spec": parsed(&existing.spec),
    });
    let new = serde_json::json!({
        "labels": metadata.labels, "annotations": metadata.annotations, "spec": declared.object.spec.to_value(),
    });
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten("", &old, &mut before);
    flatten("", &new, &mut after);
    let mut fields = Vec::new();
    if difference.restored {
        fields.push("it was removed and is there again".to_owned());
    }
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        let show = |side: &BTreeMap<String, String>| side.get(path).cloned().unwrap_or_else(|| "(none)".into());
        if before.get(path) != after.get(path) {
            fields.push(format!("{path}: {} -> {}", show(&before), show(&after)));
        }
    }
    fields
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&below(key), value, leaves)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| flatten(&format!("{path}[{index}]"), value, leaves));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            leaves.insert(path.to_owned(), value.to_string());
        }
    }
}

fn print(out: &mut Out, lines: &[Line]) -> anyhow::Result<()> {
    for line in lines {
        let sign = match line.action {
            "delete" => '-',
            "create" => '+',
            _ => '~',
        };
        writeln!(out, "{sign} {} ({})", line.object, line.place)?;
        for field in &line.fields {
            writeln!(out, "    {field}")?;
        }
    }
    Ok(())
}
