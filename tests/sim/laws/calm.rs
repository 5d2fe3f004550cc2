//! When the world is calm: what has come to its end, what waits for a reason that holds, and what does neither.

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use super::super::model::{Run, Task};
use super::Moment;

/// What failed for want of an analyzer just now, as far as a clock can tell: a service that answers probes and refuses requests is back in no
/// time, and then it starts over.
pub(crate) fn may_start_over(moment: &Moment<'_>) -> Vec<String> {
    let failed = moment.model.tasks.values().filter(|task| task.reason == Reason::AnalyzerUnavailable);
    let just_now =
        failed.filter(|task| task.row.maybe("finished_at").is_some_and(|at| moment.wall.abs_diff(at) < 60_000));
    just_now.map(|task| format!("{} is {} just now, and may start over", task.name(), task.phase)).collect()
}

/// What has neither ended nor waits for something that does not come by itself, each with where it is.
pub(crate) fn unsettled(moment: &Moment<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for task in moment.model.tasks.values() {
        if !task.phase.is_terminal() && !waits(task, moment) {
            found.push(format!("{} is {} ({})", task.name(), task.phase, task.reason));
        }
    }
    for run in moment.model.runs.values() {
        if !run.phase.is_terminal() && !run_waits(run, moment) {
            found.push(format!("run {} is {} ({})", run.row.text("name"), run.phase, run.reason));
        }
    }
    let stale = moment.model.tasks.values().filter(|task| task.phase.is_terminal() && task.row.number("removed") == 0);
    for task in stale {
        let (observed, generation) = (task.row.number("observed_generation"), task.row.number("generation"));
        if observed < generation {
            found.push(format!(
                "{} is {} and speaks of generation {observed} of {generation}",
                task.name(),
                task.phase
            ));
        }
    }
    found
}

/// Whether a task waits for something that a person or the disk has to do.
fn waits(task: &Task, moment: &Moment<'_>) -> bool {
    let model = moment.model;
    let known = |kind, name: &str| model.find(kind, name).filter(|(_, object)| !object.removed);
    let app = known(Kind::App, &task.spec.app);
    let is_deleted = |uid: &str| model.apps.get(uid).is_some_and(|row| row.maybe("deleted_at").is_some());
    let is_there = |spec: &str| {
        let spec: serde_json::Value = serde_json::from_str(spec).unwrap_or_default();
        moment.declared.is_there(spec["path"].as_str().unwrap_or_default())
    };
    if task.phase != Phase::Pending {
        return false;
    }
    match task.reason {
        Reason::Suspended => task.spec.suspend,
        Reason::AppNotFound => app.is_none_or(|(uid, _)| is_deleted(uid)),
        // While a scan is not to be believed, nothing that it says counts, also that something is back.
        Reason::AppMissing | Reason::AppNotRead => {
            let suspect = model.conditions.iter().any(|(_, condition)| condition == "SourceSuspect");
            app.is_some_and(|(_, object)| !is_there(&object.spec) || suspect)
        }
        Reason::AnalyzerNotFound => known(Kind::Analyzer, &task.spec.analyzer).is_none(),
        Reason::PoolNotFound => known(Kind::Pool, "shared").is_none(),
        Reason::AppNotAddressable => true,
        _ => false,
    }
}

/// Whether a run waits for a person, or for what waits for one.
fn run_waits(run: &Run, moment: &Moment<'_>) -> bool {
    // Its deadline is still to come, whatever else it waits for.
    if run.phase == Phase::Running && run.reason != Reason::DeadlineExceeded && has_deadline(run, moment) {
        return false;
    }
    match run.reason {
        // Here nobody is asked without a time by which the answer is taken for given.
        Reason::WaitingForApproval => false,
        Reason::Suspended | Reason::PipelineNotFound => true,
        // One that is being stopped says why; that it waits for a person stands behind it.
        Reason::DeadlineExceeded | Reason::RunCancelled | Reason::ManifestRemoved
            if run.row.text("message").contains("it is suspended") =>
        {
            true
        }
        Reason::ConcurrencyLimit => moment.model.runs.values().any(|other| {
            let before =
                other.row.text("pipeline") == run.row.text("pipeline") && other.row.text("uid") != run.row.text("uid");
            before && !other.phase.is_terminal() && other.reason != Reason::ConcurrencyLimit && run_waits(other, moment)
        }),
        _ => {
            let uid = run.row.text("uid");
            let mut open = moment
                .model
                .children
                .iter()
                .filter(|((of, _, _), row)| of == uid && row.maybe_text("conclusion").is_none());
            open.any(|(_, row)| {
                let child = row.text("uid");
                let task =
                    moment.model.tasks.get(child).is_some_and(|task| !task.phase.is_terminal() && waits(task, moment));
                task || moment
                    .model
                    .runs
                    .get(child)
                    .is_some_and(|run| !run.phase.is_terminal() && run_waits(run, moment))
            })
        }
    }
}

/// Whether what it does before its end may take only so long, and is still under way. Of a step without children it is only certain that it
/// has not begun when nothing could have passed it over.
fn has_deadline(run: &Run, moment: &Moment<'_>) -> bool {
    let Some(spec) = super::runs::spec(&run.row, moment) else { return false };
    if spec["activeDeadlineSeconds"].is_null() {
        return false;
    }
    let uid = run.row.text("uid");
    spec["steps"].as_array().into_iter().flatten().any(|step| {
        let mut of_step =
            moment.model.children.iter().filter(|((of, name, _), _)| of == uid && step["name"] == **name).peekable();
        let begins_first = step["needs"].is_null() && step["when"].is_null() && step["forEach"]["appsFrom"].is_null();
        match of_step.peek() {
            None => begins_first && run.reason == Reason::Suspended,
            Some(_) => of_step.any(|(_, row)| row.maybe_text("conclusion").is_none()),
        }
    })
}
