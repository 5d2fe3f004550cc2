//! `manifestd why`: the causal chain of a task's phase, and the time of the next transition. Runs are in `run_why.rs`.

use std::io::Write;

use rusqlite::Connection;
use serde_json::json;

use super::chain::{self, Controller, Facts};
use super::chain_pool::PoolFacts;
use super::context::Context;
use super::exit::Exit;
use super::item;
use super::names;
use super::out::{Out, clean};
use super::replicas::replicas;
use super::request::ask;
use super::run_why;
use super::table;
use super::version::Format;
use crate::manifest::suggest::did_you_mean;
use crate::resource::kind::Kind;
use crate::resource::object::Spec;
use crate::runtime::control::{Request, Response};
use crate::store::pool::{pool_occupants, pool_use};
use crate::store::view::{self, Filter, ObjectView};
use crate::store::{StoreError, glance};

/// So many attempts that occupy slots are named.
const OCCUPANTS_MAX: u32 = 5;

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the task, or of the run
    #[arg(value_name = "TASK|RUN")]
    task: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Runs `why`.
pub(crate) async fn run(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let connection = context.open()?;
    let task = names::task_or_run(&connection, &args.task)?;
    if let Some(run) = &task.run {
        return run_why::why(context, &connection, run, args.output);
    }
    let controller = match ask(&context.state, &Request::Status).await {
        Ok(Some(Response::Status(report))) => Controller::Running { pid: report.pid },
        Ok(None) => Controller::Absent,
        Ok(Some(Response::Failed { message })) => Controller::Silent(message),
        Ok(Some(_)) => Controller::Silent("it answered something else".into()),
        Err(error) => Controller::Silent(error.to_string()),
    };
    let moment = connection.unchecked_transaction()?;
    let facts = facts(context, &connection, task, controller)?;
    moment.finish()?;
    let mut out = Out::new(context.colour);
    let why = chain::explain(&facts);
    match args.output {
        Format::Json => out.json(&json!({
            "task": facts.task.name,
            "phase": facts.task.task.as_ref().map(|task| task.status.phase),
            "reason": facts.task.task.as_ref().map(|task| task.status.reason),
            "why": why.because,
            "next": why.next,
            "nextTime": why.next_at.map(crate::resource::time::Timestamp::rfc3339),
        }))?,
        Format::Text => {
            let (phase, reason) = facts.task.task.as_ref().map_or_else(
                || (String::new(), String::new()),
                |task| (table::phase(task.status.phase, out.colour), task.status.reason.to_string()),
            );
            writeln!(out, "task/{} is {phase} ({reason})", facts.task.name)?;
            for sentence in &why.because {
                writeln!(out, "  - {}", clean(sentence))?;
            }
            writeln!(out, "Next: {}", clean(&why.next))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn facts(
    context: &Context,
    connection: &Connection,
    task: ObjectView,
    controller: Controller,
) -> Result<Facts, StoreError> {
    let one = |kind, name: &str| {
        let filter = Filter { name: Some(name.to_owned()), removed: false };
        Ok::<_, StoreError>(view::objects(connection, kind, &filter)?.pop())
    };
    let spec = match Spec::from_value(Kind::Task, task.spec.clone()) {
        Ok(Spec::Task(spec)) => *spec,
        Ok(_) => return Err(StoreError::Corrupt(format!("the spec of task {:?} is of another kind", task.name))),
        Err(error) => return Err(StoreError::Corrupt(format!("the spec of task {:?}: {error}", task.name))),
    };
    let now = super::now();
    let app = one(Kind::App, &spec.app)?;
    let analyzer = one(Kind::Analyzer, &spec.analyzer)?;
    let problems = view::problems(connection)?;
    let refused: Vec<String> =
        problems.iter().filter(|problem| problem.is_error()).map(|problem| problem.line()).collect();
    let hint = |kind, name: &str| {
        let known = glance::names(connection, kind)?;
        let near = did_you_mean(name, known.iter().map(String::as_str));
        let several = || format!("there are {} {}: manifestd get {}", known.len(), kind.plural(), kind.plural());
        // One that names it, by its text or its file, tells more than the first one.
        let refused = refused.iter().find(|line| line.contains(name)).or(refused.first());
        let refused = refused.map_or_else(String::new, |line| format!("; perhaps it was refused: {line}"));
        Ok::<_, StoreError>(near.unwrap_or_else(several) + &refused)
    };
    let pool = match task.task.as_ref().and_then(|task| task.pool.clone()) {
        None => None,
        Some(name) => {
            let found = pool_use(connection, &name, now)?;
            let hint = if found.is_none() { hint(Kind::Pool, &name)? } else { String::new() };
            let occupants = pool_occupants(connection, &name, OCCUPANTS_MAX)?;
            Some(PoolFacts { name, found, occupants, hint })
        }
    };
    let slots = view::slots_in_use(connection, now)?.get(&spec.analyzer).copied().unwrap_or_default();
    let in_file = problems.iter().filter(|problem| problem.file == task.provenance.file && problem.is_error());
    Ok(Facts {
        now,
        controller,
        app_hint: if app.is_none() { hint(Kind::App, &spec.app)? } else { String::new() },
        analyzer_hint: if analyzer.is_none() { hint(Kind::Analyzer, &spec.analyzer)? } else { String::new() },
        pool,
        replicas: match &analyzer {
            Some(analyzer) => {
                let known = crate::store::replica::replicas(connection, &analyzer.name)?;
                replicas(analyzer, &known, &context.settings, now)
            }
            None => Vec::new(),
        },
        recoveries_max: context.settings.transient_failure_max_retries,
        capacity: analyzer.as_ref().map_or(0, |analyzer| item::analyzer(analyzer, &context.settings).capacity),
        occupants: glance::occupants(connection, &spec.analyzer, OCCUPANTS_MAX)?,
        in_flight: slots.0,
        draining: slots.1,
        ahead: view::ahead_in_queue(connection, &task.uid)?,
        attempts: view::attempts(connection, &task.uid)?,
        file_problems: in_file.count(),
        task,
        spec,
        app,
        analyzer,
    })
}
