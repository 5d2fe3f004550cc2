//! `manifestd get`: objects as tables, JSON, YAML or names, once or as they change.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;

use anyhow::bail;
use clap::ValueEnum;
use rusqlite::Connection;
use serde_json::Value;

use super::changes::Watched;
use super::context::Context;
use super::exit::Exit;
use super::item::{self, Beside};
use super::names;
use super::out::{Out, note};
use super::problems;
use super::rows;
use super::selector::Selector;
use super::sort::sort;
use super::stuck;
use super::table::Columns;
use crate::manifest::to_yaml;
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::store::run_view::{self, RunFilter};
use crate::store::view::{self, Filter, ObjectView};

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  manifestd get tasks -l model=gpt-4o -o wide
  manifestd get task/lint-demo -o yaml
  manifestd get tasks,apps --sort-by .spec.priority
  manifestd get tasks --stuck
  manifestd get runs --pipeline study --phase Failed
  manifestd get problems

FINDINGS(H/M/L) counts high, medium and low findings; `+n` are those whose severity the tool did not say.")]
pub(crate) struct Args {
    /// `tasks`, `apps`, `analyzers`, `appsets`, `pools`, `pipelines`, `runs` (several with commas), `all`, or `problems`; then names, or KIND/NAME
    #[arg(required = true, value_name = "KIND|all|problems [NAME]")]
    pub(super) what: Vec<String>,
    /// Only objects with these labels: KEY=VALUE, KEY!=VALUE, KEY, !KEY, several with commas
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(super) selector: Option<Selector>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    /// Go on printing what changes
    #[arg(short, long)]
    pub(super) watch: bool,
    /// Also objects whose manifest was removed
    #[arg(long)]
    removed: bool,
    /// Only runs of this pipeline
    #[arg(long, value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// Only tasks and runs in this phase
    #[arg(long, value_name = "PHASE", value_parser = phase)]
    phase: Option<Phase>,
    /// Sort by a column (name, age, phase, ...) or a field (.spec.priority)
    #[arg(long, value_name = "FIELD")]
    sort_by: Option<String>,
    /// Only tasks that will not move by themselves, or are suspiciously long where they are, with what to do about it
    #[arg(long, conflicts_with_all = ["watch", "removed"])]
    stuck: bool,
    /// Print no column titles
    #[arg(long)]
    pub(super) no_headers: bool,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// Columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON: a List, or the object when one is named
    Json,
    /// YAML of the same
    Yaml,
    /// KIND/NAME on each line
    Name,
}

/// A phase in any case.
fn phase(text: &str) -> Result<Phase, String> {
    let found = Phase::ALL.iter().find(|phase| phase.as_str().eq_ignore_ascii_case(text));
    let words = || Phase::ALL.iter().map(|phase| phase.as_str()).collect::<Vec<_>>().join(", ");
    found.copied().ok_or_else(|| format!("phases: {}", words()))
}

/// What to list.
struct Wanted {
    kinds: Vec<Kind>,
    /// Names with their kinds; empty for all.
    names: Vec<(Kind, String)>,
}

/// Runs `get`.
pub(crate) async fn run(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let mut out = Out::new(context.colour);
    if args.what.first().is_some_and(|word| matches!(word.as_str(), "problems" | "problem")) {
        return problems::problems(context, &args, &mut out);
    }
    let wanted = wanted(&args.what)?;
    let connection = context.open()?;
    let (objects, beside) = load(&connection, context, &args, &wanted)?;
    if args.stuck {
        return stuck(context, &args, &wanted, &objects, &beside, &mut out).await;
    }
    if args.watch {
        return watch(context, &args, &wanted, connection, &mut out).await;
    }
    let alone = wanted.names.len() == 1;
    match args.output {
        Format::Table | Format::Wide => tables(&objects, &beside, &args, &wanted, &mut out)?,
        Format::Name => names_of(&objects, &mut out)?,
        Format::Json | Format::Yaml => {
            let mut items: Vec<Value> = objects.iter().map(|object| item::item(object, &beside)).collect();
            let whole = if alone { items.pop().unwrap_or_default() } else { item::list(items) };
            match args.output {
                Format::Json => out.json(&whole)?,
                _ => out.raw(to_yaml(&whole).as_bytes())?,
            }
        }
    }
    out.flush()?;
    if objects.is_empty() && !matches!(args.output, Format::Json | Format::Yaml) {
        let kinds: Vec<_> = wanted.kinds.iter().map(|kind| kind.plural()).collect();
        note(format_args!("No {} found in {}.", kinds.join(", "), context.state.display()));
    }
    Ok(Exit::Ok)
}

/// Prints those of the tasks that are stuck.
async fn stuck(
    context: &Context,
    args: &Args,
    wanted: &Wanted,
    objects: &[ObjectView],
    beside: &Beside,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    if wanted.kinds != [Kind::Task] {
        bail!("--stuck is about tasks: manifestd get tasks --stuck");
    }
    let carriers = stuck::carriers(&context.state).await;
    let judge = |task| stuck::judge(task, &carriers, context.settings.stuck_after, beside.now);
    let found: Vec<_> = objects.iter().filter_map(|task| Some((task, judge(task)?))).collect();
    let wide = args.output == Format::Wide;
    match args.output {
        Format::Json | Format::Yaml => {
            let whole = item::list(found.iter().map(|(task, of)| stuck::item(task, of, beside)).collect());
            if args.output == Format::Json { out.json(&whole)? } else { out.raw(to_yaml(&whole).as_bytes())? }
        }
        Format::Name => found.iter().try_for_each(|(task, _)| writeln!(out, "task/{}", task.name))?,
        Format::Table | Format::Wide if found.is_empty() => {}
        Format::Table | Format::Wide => {
            let rows: Vec<_> = found.iter().map(|(task, of)| stuck::row(task, of, beside.now, wide)).collect();
            Columns::new(&stuck::header(wide)).write(out, &rows, args.no_headers)?;
        }
    }
    out.flush()?;
    if found.is_empty() && !matches!(args.output, Format::Json | Format::Yaml) {
        note(format_args!("No task is stuck, of {} in {}.", objects.len(), context.state.display()));
    }
    Ok(Exit::Ok)
}

fn wanted(words: &[String]) -> anyhow::Result<Wanted> {
    let first = words.first().map_or("", String::as_str);
    if first == "all" {
        if words.len() > 1 {
            bail!("`all` takes no names; write KIND NAME");
        }
        // What runs first, then what it runs on.
        return Ok(Wanted {
            kinds: vec![Kind::Run, Kind::Pipeline, Kind::Task, Kind::App, Kind::AppSet, Kind::Analyzer, Kind::Pool],
            names: Vec::new(),
        });
    }
    if words.len() == 1 && !first.contains('/') {
        let kinds = first.split(',').map(names::kind).collect::<anyhow::Result<Vec<_>>>()?;
        return Ok(Wanted { kinds, names: Vec::new() });
    }
    let names = names::objects(words)?;
    let mut kinds: Vec<Kind> = Vec::new();
    for (kind, _) in &names {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    Ok(Wanted { kinds, names })
}

/// Reads what is wanted, in the order in which it is printed.
fn load(
    connection: &Connection,
    context: &Context,
    args: &Args,
    wanted: &Wanted,
) -> anyhow::Result<(Vec<ObjectView>, Beside)> {
    // One moment for all queries.
    let moment = connection.unchecked_transaction()?;
    let beside = Beside::read(connection, &wanted.kinds, &context.settings, super::now())?;
    let mut objects = Vec::new();
    if wanted.names.is_empty() {
        for kind in &wanted.kinds {
            objects.extend(match kind {
                Kind::Run => listed_runs(connection, args)?,
                _ => view::objects(connection, *kind, &Filter { name: None, removed: args.removed })?,
            });
        }
    } else {
        for (kind, name) in &wanted.names {
            let object = names::find(connection, *kind, name)?;
            // Somebody who names a removed object is told, rather than shown as if it were there.
            if object.removed_at.is_some() && !args.removed && !args.watch {
                let again = format!("{} \"{name}\" was removed; add --removed to see it", kind.singular());
                return Err(super::exit::refused(again));
            }
            objects.push(object);
        }
    }
    if let Some(phase) = args.phase {
        let of = |object: &ObjectView| match (&object.task, &object.run) {
            (Some(task), _) => Some(task.status.phase),
            (None, Some(run)) => Some(run.status.phase),
            (None, None) => None,
        };
        objects.retain(|object| of(object) == Some(phase));
    }
    let beside = beside.with_runs(connection, &objects)?;
    moment.finish()?;
    if let Some(selector) = &args.selector {
        objects.retain(|object| selector.matches(&object.labels));
    }
    if let Some(field) = &args.sort_by {
        sort(&mut objects, &beside, field)?;
    }
    Ok((objects, beside))
}

/// The runs that are asked for, newest first.
fn listed_runs(connection: &Connection, args: &Args) -> anyhow::Result<Vec<ObjectView>> {
    let filter = RunFilter { pipeline: args.pipeline.clone(), phase: args.phase, ..RunFilter::default() };
    let runs = run_view::runs(connection, &filter)?;
    if runs.len() as u32 >= run_view::RUNS_MAX {
        note(format_args!("note: only the latest {} runs are listed; --pipeline and --phase narrow it", runs.len()));
    }
    Ok(runs.into_iter().map(run_view::object).collect())
}

fn tables(objects: &[ObjectView], beside: &Beside, args: &Args, wanted: &Wanted, out: &mut Out) -> std::io::Result<()> {
    let wide = args.output == Format::Wide;
    let several = wanted.kinds.len() > 1;
    let mut first = true;
    for kind in &wanted.kinds {
        let of_kind = objects.iter().filter(|object| object.kind == *kind);
        let rows: Vec<_> = of_kind.map(|object| rows::row(object, beside, wide, several)).collect();
        if rows.is_empty() {
            continue;
        }
        if !std::mem::take(&mut first) {
            writeln!(out)?;
        }
        Columns::new(&rows::header(*kind, wide)).write(out, &rows, args.no_headers)?;
    }
    Ok(())
}

fn names_of(objects: &[ObjectView], out: &mut Out) -> std::io::Result<()> {
    objects.iter().try_for_each(|object| writeln!(out, "{}/{}", object.kind.singular(), object.name))
}

/// Prints what there is, then each object whenever it changes, until interrupted.
async fn watch(
    context: &Context,
    args: &Args,
    wanted: &Wanted,
    connection: Connection,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    let mut watched = Watched::new(connection, &context.state);
    let mut seen: HashMap<String, (u64, Kind, String)> = HashMap::new();
    let mut columns: HashMap<Kind, Columns> = HashMap::new();
    loop {
        watched.changed().await?;
        let (objects, beside) = load(watched.connection(), context, args, wanted)?;
        let mut gone: HashMap<_, _> = std::mem::take(&mut seen);
        let mut fresh = Vec::new();
        for object in objects {
            let mark = (fingerprint(&object, &beside), object.kind, object.name.clone());
            if gone.remove(&object.uid).is_none_or(|old| old.0 != mark.0) {
                fresh.push(object.clone());
            }
            seen.insert(object.uid, mark);
        }
        for (_, kind, name) in gone.into_values() {
            fresh.extend(view::objects(watched.connection(), kind, &Filter { name: Some(name), removed: true })?);
        }
        print_changed(&fresh, &beside, args, wanted, &mut columns, out)?;
        out.flush()?;
    }
}

/// Whether an object is as it was; time that passes changes nothing.
fn fingerprint(object: &ObjectView, beside: &Beside) -> u64 {
    let mut hasher = DefaultHasher::new();
    item::item(object, beside).to_string().hash(&mut hasher);
    hasher.finish()
}

fn print_changed(
    objects: &[ObjectView],
    beside: &Beside,
    args: &Args,
    wanted: &Wanted,
    columns: &mut HashMap<Kind, Columns>,
    out: &mut Out,
) -> anyhow::Result<()> {
    let wide = args.output == Format::Wide;
    match args.output {
        Format::Json => objects.iter().try_for_each(|object| out.json_line(&item::item(object, beside))),
        Format::Yaml => Ok(objects
            .iter()
            .try_for_each(|object| out.raw(format!("---\n{}", to_yaml(&item::item(object, beside))).as_bytes()))?),
        Format::Name => Ok(names_of(objects, out)?),
        Format::Table | Format::Wide => {
            for kind in &wanted.kinds {
                let of_kind = objects.iter().filter(|object| object.kind == *kind);
                let rows: Vec<_> =
                    of_kind.map(|object| rows::row(object, beside, wide, wanted.kinds.len() > 1)).collect();
                if rows.is_empty() {
                    continue;
                }
                let headless = args.no_headers || columns.contains_key(kind);
                let columns = columns.entry(*kind).or_insert_with(|| Columns::new(&rows::header(*kind, wide)));
                columns.write(out, &rows, headless)?;
            }
            Ok(())
        }
    }
}
