//! Names on the command line: kinds, `task/NAME`, and what was probably meant when there is no such name.

use anyhow::bail;

use super::exit::refused;
use super::out::clean;
use crate::manifest::suggest::did_you_mean;
use crate::resource::kind::Kind;
use crate::resource::object::Spec;
use crate::resource::pipeline::PipelineSpec;
use crate::store::glance;
use crate::store::run_view::{self, RunView};
use crate::store::view::{self, Filter, ObjectView};

/// The kind of a word such as `task`, `tasks` or `Task`.
///
/// # Errors
/// With the nearest kind there is.
pub(crate) fn kind(word: &str) -> anyhow::Result<Kind> {
    if let Some(kind) = Kind::from_word(word) {
        return Ok(kind);
    }
    let words = Kind::ALL.iter().map(|kind| kind.plural());
    let hint = did_you_mean(word, words)
        .unwrap_or_else(|| "kinds: analyzers, apps, appsets, pipelines, pools, runs, tasks".into());
    bail!("there is no kind \"{}\"; {hint}", clean(word))
}

/// The name in `NAME` or `task/NAME`, where objects of one kind are expected.
///
/// # Errors
/// When the prefix is another kind.
pub(crate) fn of_kind(expected: Kind, word: &str) -> anyhow::Result<&str> {
    match word.split_once('/') {
        None => Ok(word),
        Some((prefix, name)) if kind(prefix)? == expected => Ok(name),
        Some((prefix, _)) => bail!("\"{}\" is not the name of a {}", clean(prefix), expected.singular()),
    }
}

/// Kinds and names in `KIND NAME...` or `KIND/NAME...`.
///
/// # Errors
/// On an unknown kind, or when names are missing.
pub(crate) fn objects(words: &[String]) -> anyhow::Result<Vec<(Kind, String)>> {
    let Some(first) = words.first() else { bail!("which object? Write KIND NAME or KIND/NAME") };
    if first.contains('/') {
        return words
            .iter()
            .map(|word| match word.split_once('/') {
                Some((prefix, name)) => Ok((kind(prefix)?, name.to_owned())),
                None => {
                    bail!("\"{}\" has no kind; write every object as KIND/NAME, or only the first as KIND", clean(word))
                }
            })
            .collect();
    }
    let kind = kind(first)?;
    if words.len() == 1 {
        bail!(
            "which {}? Write {} NAME; `manifestd get {}` lists them",
            kind.singular(),
            kind.singular(),
            kind.plural()
        );
    }
    words[1..].iter().map(|word| Ok((kind, of_kind(kind, word)?.to_owned()))).collect()
}

/// One object by its name, also one whose manifest was removed.
///
/// # Errors
/// When there is none, with the nearest name; ends with exit code 1.
pub(crate) fn find(connection: &rusqlite::Connection, kind: Kind, name: &str) -> anyhow::Result<ObjectView> {
    let filter = Filter { name: Some(name.to_owned()), removed: true };
    match view::objects(connection, kind, &filter)?.pop() {
        Some(object) => Ok(object),
        None => Err(unknown(connection, kind, name)),
    }
}

/// What a word names where a run or a pipeline is expected.
pub(crate) enum RunOrPipeline {
    /// A run.
    Run(Box<RunView>),
    /// A pipeline.
    Pipeline(Box<ObjectView>),
}

/// The run or pipeline in `run/NAME`, `pipeline/NAME` or `NAME`; a name of both is the run's.
///
/// # Errors
/// When there is neither; ends with exit code 1.
pub(crate) fn run_or_pipeline(connection: &rusqlite::Connection, word: &str) -> anyhow::Result<RunOrPipeline> {
    let (only, name) = match word.split_once('/') {
        None => (None, word),
        Some((prefix, name)) => match kind(prefix)? {
            found @ (Kind::Run | Kind::Pipeline) => (Some(found), name),
            other => bail!("\"{}\" is neither a run nor a pipeline, but a {}", clean(word), other.singular()),
        },
    };
    if only != Some(Kind::Pipeline)
        && let Some(run) = run_view::run(connection, name)?
    {
        return Ok(RunOrPipeline::Run(Box::new(run)));
    }
    if only == Some(Kind::Run) {
        return Err(unknown(connection, Kind::Run, name));
    }
    let filter = Filter { name: Some(name.to_owned()), removed: true };
    match (view::objects(connection, Kind::Pipeline, &filter)?.pop(), only) {
        (Some(pipeline), _) => Ok(RunOrPipeline::Pipeline(Box::new(pipeline))),
        (None, None) => Err(unknown(connection, Kind::Run, name)),
        (None, Some(kind)) => Err(unknown(connection, kind, name)),
    }
}

/// A run by `NAME` or `run/NAME`.
///
/// # Errors
/// When there is none, with the nearest name; ends with exit code 1.
pub(crate) fn run(connection: &rusqlite::Connection, word: &str) -> anyhow::Result<RunView> {
    let name = of_kind(Kind::Run, word)?;
    match run_view::run(connection, name)? {
        Some(run) => Ok(run),
        None => Err(unknown(connection, Kind::Run, name)),
    }
}

/// The task or the run in `task/NAME`, `run/NAME` or `NAME`; a name of both is the task's.
///
/// # Errors
/// When there is neither; ends with exit code 1.
pub(crate) fn task_or_run(connection: &rusqlite::Connection, word: &str) -> anyhow::Result<ObjectView> {
    match word.split_once('/') {
        Some((prefix, name)) => match kind(prefix)? {
            found @ (Kind::Run | Kind::Task) => find(connection, found, name),
            other => bail!("\"{}\" is neither a task nor a run, but a {}", clean(word), other.singular()),
        },
        None => find(connection, Kind::Task, word).or_else(|error| match run_view::run(connection, word)? {
            Some(run) => Ok(run_view::object(run)),
            None => Err(error),
        }),
    }
}

/// The spec of a pipeline.
///
/// # Errors
/// When the database holds something else.
pub(crate) fn pipeline_spec(object: &ObjectView) -> anyhow::Result<PipelineSpec> {
    match Spec::from_value(object.kind, object.spec.clone()) {
        Ok(Spec::Pipeline(spec)) => Ok(*spec),
        Ok(_) => bail!("{} {:?} is no pipeline", object.kind.singular(), object.name),
        Err(error) => bail!("the spec of pipeline {:?} cannot be read: {error}", object.name),
    }
}

/// The error for a name that nothing has.
pub(crate) fn unknown(connection: &rusqlite::Connection, kind: Kind, name: &str) -> anyhow::Error {
    let known = glance::names(connection, kind).unwrap_or_default();
    let hint = match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(hint) => format!("; {hint}"),
        None if known.is_empty() => format!("; there are no {}", kind.plural()),
        None => format!("; `manifestd get {}` lists the {} there are", kind.plural(), known.len()),
    };
    refused(format!("no {} is called \"{}\"{hint}", kind.singular(), clean(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn objects_are_named_as_in_kubectl() {
        let two = vec![(Kind::Task, "a".to_owned()), (Kind::Task, "b".to_owned())];
        assert_eq!(objects(&words("tasks a task/b")).unwrap(), two);
        assert_eq!(objects(&words("task/a tasks/b")).unwrap(), two);
        for wrong in ["", "task", "task/a b", "task app/a", "tsk a"] {
            assert!(objects(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_kind_names_the_nearest() {
        assert!(kind("taks").unwrap_err().to_string().contains("`tasks`"));
    }
}
