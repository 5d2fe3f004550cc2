//! The causal chain behind a task's phase, as sentences. Pure: what is known goes in, what to say comes out.

use super::advice::advice;
use super::chain_app::{after_completion, app_changed, app_trouble, not_read};
use super::chain_pool::{self, PoolFacts};
use super::merged;
use super::replicas::Replica;
use super::rows::place;
use super::{table, unwell};
use crate::resource::outcome::ToolReport;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::task::{RunPolicy, TaskSpec};
use crate::resource::time::Timestamp;
use crate::store::glance::Occupant;
use crate::store::view::{AttemptView, ObjectView, TaskView};

/// Whether somebody is there to act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Controller {
    /// It answers.
    Running {
        /// Its process.
        pid: u32,
    },
    /// Nobody listens.
    Absent,
    /// Somebody listens and does not answer as expected.
    Silent(String),
}

/// Everything that can matter for one task.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The time.
    pub(crate) now: Timestamp,
    /// Whether somebody is there to act.
    pub(crate) controller: Controller,
    /// The task.
    pub(crate) task: ObjectView,
    /// What it wants.
    pub(crate) spec: TaskSpec,
    /// Its attempts, oldest first.
    pub(crate) attempts: Vec<AttemptView>,
    /// Its app, when that is declared.
    pub(crate) app: Option<ObjectView>,
    /// What exists instead of its app.
    pub(crate) app_hint: String,
    /// Its analyzer, when that is declared.
    pub(crate) analyzer: Option<ObjectView>,
    /// What exists instead of its analyzer.
    pub(crate) analyzer_hint: String,
    /// The pool of which it takes a slot, when it has one.
    pub(crate) pool: Option<PoolFacts>,
    /// Replicas of the analyzer.
    pub(crate) replicas: Vec<Replica>,
    /// How often in a row a task is started over when its analyzer is back.
    pub(crate) recoveries_max: u32,
    /// Slots of the analyzer.
    pub(crate) capacity: u64,
    /// Open attempts on the analyzer.
    pub(crate) in_flight: u64,
    /// Slots that abandoned attempts still occupy.
    pub(crate) draining: u64,
    /// Some of the open attempts.
    pub(crate) occupants: Vec<Occupant>,
    /// Queued tasks that are dispatched before this one.
    pub(crate) ahead: u64,
    /// Problems of the file that declares it.
    pub(crate) file_problems: usize,
}

/// Why, and what happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    /// Sentences, each the reason of the one before.
    pub(crate) because: Vec<String>,
    /// What happens next.
    pub(crate) next: String,
    /// When, if that is known.
    pub(crate) next_at: Option<Timestamp>,
}

/// Says why a task is where it is.
pub(crate) fn explain(facts: &Facts) -> Why {
    let Some(task) = &facts.task.task else {
        return Why { because: vec!["it has no status".into()], next: "nothing is known".into(), next_at: None };
    };
    let mut because = Vec::new();
    if facts.file_problems > 0 {
        because.push(format!(
            "its file {} has {}, so its last accepted version counts: manifestd get problems",
            facts.task.provenance.file,
            table::many(facts.file_problems, "problem")
        ));
    }
    if let Some(removed) = facts.task.removed_at {
        because.push(format!("its manifest was removed at {removed}, from {}", place(&facts.task)));
    }
    let next = match task.status.phase {
        Phase::Pending => pending(facts, task, &mut because),
        Phase::Running => running(facts, task, &mut because),
        Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => ended(facts, task, &mut because),
    };
    let recovers = unwell::recoveries_left(facts, &task.status) > 0;
    let acts = !task.status.phase.is_terminal() || recovers || will_run_again(facts, task);
    let next = match &facts.controller {
        Controller::Running { .. } => next,
        Controller::Absent if acts => {
            because.push("no controller is running on this state directory".into());
            format!("nothing will happen until a controller runs: manifestd serve. Then: {next}")
        }
        Controller::Silent(why) if acts => {
            because.push(format!("the controller does not answer: {why}"));
            next
        }
        Controller::Absent | Controller::Silent(_) => next,
    };
    let next_at = task.status.next_at.filter(|_| !task.status.phase.is_terminal());
    Why { because, next, next_at }
}

/// Whether a finished task starts over at the next look.
fn will_run_again(facts: &Facts, task: &TaskView) -> bool {
    let changed = facts.task.generation > task.status.observed_generation;
    let restored = task.status.reason == Reason::ManifestRemoved;
    facts.task.removed_at.is_none()
        && (task.retry_requested
            || restored
            || (changed && facts.spec.run_policy != RunPolicy::Once)
            || app_changed(facts, task))
}

fn pending(facts: &Facts, task: &TaskView, because: &mut Vec<String>) -> String {
    let name = &facts.task.name;
    let status = &task.status;
    if task.cancel_requested || facts.task.removed_at.is_some() {
        if task.cancel_requested {
            because.push("a person asked to cancel it".into());
        }
        return "it is cancelled at the controller's next look".into();
    }
    match status.reason {
        Reason::Queued => return queued(facts, because),
        Reason::Suspended => {
            because.push(format!("spec.suspend is true, in {}", place(&facts.task)));
            return "it waits until a person sets spec.suspend to false".into();
        }
        Reason::AppNotFound => match &facts.app {
            Some(app) => {
                because.push(format!("app \"{}\" was not known, and is by now, from {}", app.name, place(app)));
                return "it is queued at the controller's next look".into();
            }
            None => {
                because.push(format!(
                    "no App is called \"{}\", which {} names; {}",
                    facts.spec.app,
                    place(&facts.task),
                    facts.app_hint
                ));
                return "it goes on by itself once an App of that name is declared, or found by an AppSet".into();
            }
        },
        Reason::AppNotRead => return not_read(facts, because),
        Reason::AppMissing | Reason::AppNotAddressable => return app_trouble(facts, status.reason, because),
        Reason::PoolNotFound => return chain_pool::missing(facts, because),
        Reason::AnalyzerNotFound => {
            because.push(format!(
                "no Analyzer is called \"{}\", which {} names; {}",
                facts.spec.analyzer,
                place(&facts.task),
                facts.analyzer_hint
            ));
            return "it goes on by itself once an Analyzer of that name is declared".into();
        }
        Reason::AnalyzerUnavailable | Reason::BreakerOpen => return unwell::waits(facts, status, because),
        _ => {}
    }
    if !status.message.is_empty() {
        because.push(status.message.clone());
    }
    if let Some(last) = facts.attempts.last() {
        because.push(last_attempt(facts, last));
    }
    because.push(format!("what helps: {}", advice(status.reason)));
    match status.next_at {
        Some(at) => format!("it is tried again {}; to try it now: manifestd retry {name}", when(at, facts.now)),
        None => format!("it waits for something to change; to try it now: manifestd retry {name}"),
    }
}

fn queued(facts: &Facts, because: &mut Vec<String>) -> String {
    let (analyzer, priority) = (&facts.spec.analyzer, facts.spec.priority);
    let owner = facts.task.task.as_ref().map_or("unknown", |task| task.owner.as_str());
    if let Some(last) = facts.attempts.last().filter(|last| last.ended_at.is_some()) {
        because.push(last_attempt(facts, last));
    }
    if facts.analyzer.is_none() {
        because.push(format!("no Analyzer is called \"{analyzer}\"; {}", facts.analyzer_hint));
        return "the controller's next look holds it as AnalyzerNotFound".into();
    }
    let blocked = unwell::queued(facts, because);
    because.push(match facts.ahead {
        0 => format!("nothing is before it in the queue (priority {priority})"),
        1 => format!(
            "1 queued task goes first (this one has priority {priority}; higher ones go first, then owners take turns; \
             its owner is {owner})"
        ),
        ahead => format!(
            "{ahead} queued tasks go first (this one has priority {priority}; higher ones go first, then owners take turns; \
             its owner is {owner})"
        ),
    });
    if blocked {
        return "it goes on when a replica can be used; they are asked again and again".into();
    }
    let pool = chain_pool::waits(facts, because);
    let used = facts.in_flight + facts.draining;
    let mut slots = format!("{used} of {} slots are in use", facts.capacity);
    if facts.draining > 0 {
        slots.push_str(&format!(
            ", {} of them by abandoned requests that the analyzer may still work on",
            facts.draining
        ));
    }
    because.push(slots);
    for occupant in &facts.occupants {
        let at = if occupant.replica.is_empty() { String::new() } else { format!(" at {}", occupant.replica) };
        because.push(format!(
            "task/{} runs{at} for {}, until {} at the latest",
            occupant.task,
            table::age(facts.now, occupant.opened_at),
            occupant.deadline_at
        ));
    }
    let unnamed = facts.in_flight.saturating_sub(facts.occupants.len() as u64);
    if unnamed > 0 {
        because.push(format!("and {unnamed} more run there"));
    }
    if let Some(next) = pool {
        return next;
    }
    if used >= facts.capacity {
        return "it starts when slots become free for it and all that go first".into();
    }
    match facts.analyzer.as_ref().and_then(|analyzer| analyzer.spec.get("rate")).filter(|rate| !rate.is_null()) {
        Some(rate) => {
            let part = |key: &str| super::rows::text(rate, key);
            because.push(format!("the analyzer's rate allows {} starts in {}", part("limit"), part("per")));
            "it starts when its turn comes and the rate allows it".into()
        }
        None => "it starts at the controller's next look, when its turn comes".into(),
    }
}

fn running(facts: &Facts, task: &TaskView, because: &mut Vec<String>) -> String {
    let name = &facts.task.name;
    let Some(attempt) = facts.attempts.last().filter(|attempt| attempt.ended_at.is_none()) else {
        because.push("its latest attempt has ended".into());
        return "the controller settles it at its next look".into();
    };
    let at = if attempt.replica.is_empty() { String::new() } else { format!(" at {}", attempt.replica) };
    because.push(format!(
        "attempt {} runs on analyzer \"{}\"{at} since {} ({})",
        attempt.number,
        attempt.analyzer,
        attempt.opened_at,
        table::age(facts.now, attempt.opened_at)
    ));
    if attempt.stage.is_some() || attempt.progress.is_some() || attempt.fraction.is_some() {
        let share = attempt.fraction.map(|fraction| format!("{:.0} %", (fraction * 100.0).clamp(0.0, 100.0)));
        let parts = [attempt.stage.clone(), share, attempt.progress.clone()];
        because.push(format!("it last said: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    if task.cancel_requested {
        because.push("a person asked to cancel it".into());
        return "it is stopped at the controller's next look".into();
    }
    if facts.task.generation > attempt.generation && facts.spec.run_policy != RunPolicy::Once {
        because.push("its spec changed since the attempt started".into());
        return "the attempt is stopped, and the new spec runs".into();
    }
    if app_changed(facts, task) {
        because.push("the files of its app changed since the attempt started".into());
        return format!("it ends {} at the latest, and then runs again", when(attempt.deadline_at, facts.now));
    }
    format!(
        "it ends {} at the latest; manifestd logs -f {name} shows what it says",
        when(attempt.deadline_at, facts.now)
    )
}

fn ended(facts: &Facts, task: &TaskView, because: &mut Vec<String>) -> String {
    let name = &facts.task.name;
    let status = &task.status;
    if let Some(at) = status.finished_at {
        let tries = table::many(status.attempt, "attempt");
        because.push(format!("it ended at {at} ({} ago), after {tries}", table::age(facts.now, at)));
    }
    if !status.message.is_empty() {
        because.push(status.message.clone());
    }
    let last = facts.attempts.last();
    for tool in merged::latest(&facts.task, &facts.attempts).map(|of| of.merged.tools).unwrap_or_default() {
        let ToolReport { name, status, message, permanent, .. } = &tool.report;
        if !tool.report.is_good() {
            let message = if message.is_empty() { String::new() } else { format!(": {message}") };
            let permanent = if *permanent { "; trying again cannot help until a person mends that" } else { "" };
            because.push(format!("tool {name} is {status} in attempt {}{message}{permanent}", tool.attempt));
        }
    }
    if matches!(status.phase, Phase::Failed | Phase::PartialSuccess) {
        because.push(format!("what helps: {}", advice(status.reason)));
    }
    if task.retry_requested {
        return "another run was requested and starts at the controller's next look".into();
    }
    if will_run_again(facts, task) {
        let why = if status.reason == Reason::ManifestRemoved {
            "its manifest is there again"
        } else if facts.task.generation <= status.observed_generation {
            "the files of its app changed since"
        } else {
            "its spec changed since"
        };
        because.push(why.into());
        return "it runs again at the controller's next look".into();
    }
    if facts.task.generation > status.observed_generation {
        because.push("its spec changed since, but runPolicy is Once".into());
    }
    if let Some(next) = unwell::recovers(facts, status, because) {
        return next;
    }
    let log = if last.is_some_and(|attempt| attempt.result_dir.is_some()) {
        format!("manifestd logs {name}, ")
    } else {
        String::new()
    };
    match status.phase {
        Phase::Completed => after_completion(facts, status.reason),
        Phase::PartialSuccess => {
            format!("nothing by itself; see manifestd results {name}, {log}and manifestd retry {name} to run it again")
        }
        Phase::Cancelled if status.reason == Reason::ManifestRemoved => {
            "nothing until its manifest is back; then it runs again by itself".to_owned()
        }
        Phase::Cancelled => format!("nothing by itself; manifestd retry {name} runs it again"),
        _ => format!(
            "nothing by itself; see {log}manifestd describe task {name}, and manifestd retry {name} to run it again"
        ),
    }
}

pub(super) fn last_attempt(facts: &Facts, attempt: &AttemptView) -> String {
    let outcome = attempt.outcome.map_or("runs", |outcome| outcome.as_str());
    let reason = attempt.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let ago = attempt.ended_at.map(|at| format!(" {} ago", table::age(facts.now, at))).unwrap_or_default();
    let message = attempt.message.as_deref().filter(|message| !message.is_empty());
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    format!("its attempt {} ended{ago} as {outcome}{reason}{message}", attempt.number)
}

/// `at 2026-11-23T18:16:02.120Z (in 43s)`.
pub(super) fn when(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("at {at} (in {})", table::length(at.since(now)))
    } else {
        format!("at once (due since {at})")
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
