//! Golden plans for one task: every outcome at its budget's limit and past it, every wish of a person or a manifest, every way to recover.

use manifestd::plan::task::{Carried, ObservedTask, TaskReconciler};
use manifestd::plan::{Reconciler, Write};
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::RunPolicy;
use manifestd::resource::time::Span;

use crate::carry_out::on_task;
use crate::golden::{Golden, NOW};
use crate::task_case::{TaskCase, command, task, usual};

fn settle(golden: &mut Golden, title: &str, case: ObservedTask) -> ObservedTask {
    golden.case(title, case, TaskReconciler::plan, on_task)
}

fn check(file: &str, cases: Vec<(&str, ObservedTask)>) {
    let mut golden = Golden::default();
    for (title, case) in cases {
        settle(&mut golden, title, case);
    }
    golden.check(file);
}

#[test]
fn every_outcome_leads_where_the_budgets_say() {
    let mut golden = Golden::default();
    for &outcome in Outcome::ALL {
        settle(&mut golden, &format!("the first attempt ends as {outcome}"), task().ended(1, outcome));
    }
    let limits = [
        ("Interrupted", Outcome::Interrupted, 10),
        ("HeartbeatLost", Outcome::HeartbeatLost, 3),
        ("Failed, backoffLimit 3,", Outcome::Failed, 3),
        ("TimedOut, backoffLimit 3,", Outcome::TimedOut, 3),
        ("ProtocolError, backoffLimit 3,", Outcome::ProtocolError, 3),
    ];
    for (what, outcome, limit) in limits {
        settle(&mut golden, &format!("{what} {limit} times: at its limit"), task().ended(limit, outcome));
        settle(&mut golden, &format!("{what} {} times: past its limit", limit + 1), task().ended(limit + 1, outcome));
    }
    for times in 2..=5 {
        settle(&mut golden, &format!("Unavailable {times} times"), task().ended(times, Outcome::Unavailable));
    }
    let without_retries = task().with(|task| task.spec.backoff_limit = 0).ended(1, Outcome::Failed);
    settle(&mut golden, "Failed, backoffLimit 0", without_retries);
    golden.check("task/outcomes.txt");
}

#[test]
fn a_task_whose_analyzer_is_removed_while_it_reaches_nobody_waits_as_often_as_its_budget_says() {
    for (budget, phase) in [(0, Phase::Failed), (1, Phase::Pending)] {
        let case = task().ended(1, Outcome::Unavailable).with(|task| {
            task.analyzer = None;
            task.budgets.preflight_retries_max = budget;
        });
        let plan = TaskReconciler::plan(&case, NOW);
        let written = plan.writes.iter().find_map(|write| match write {
            Write::Task(write) => Some((write.status.phase, write.status.reason)),
            _ => None,
        });
        assert_eq!(written, Some((phase, Reason::AnalyzerUnavailable)), "{budget} waits");
    }
}

#[test]
fn budgets_are_apart_from_each_other_and_from_earlier_rounds() {
    let mixed = task().ended(3, Outcome::HeartbeatLost).ended(10, Outcome::Interrupted).ended(3, Outcome::Unavailable);
    check(
        "task/budgets.txt",
        vec![
            (
                "all budgets are at their limits, and the first real failure comes",
                mixed.clone().ended(1, Outcome::Failed),
            ),
            ("all budgets are at their limits, and a fourth silence comes", mixed.ended(1, Outcome::HeartbeatLost)),
            (
                "attempts that were stopped for a suspension use up nothing",
                task().ended(3, Outcome::Failed).running().ends(Outcome::Cancelled, Reason::Suspended),
            ),
            (
                "an executor that cancels without being asked uses up retries",
                task().running().ends(Outcome::Cancelled, Reason::ConnectionLost),
            ),
            (
                "the fourth time it does so",
                task().ended(3, Outcome::Failed).running().ends(Outcome::Cancelled, Reason::ConnectionLost),
            ),
        ],
    );
}

#[test]
fn a_failure_that_trying_again_cannot_mend_ends_the_task_at_once() {
    for &reason in Reason::ALL {
        for outcome in [Outcome::Failed, Outcome::TimedOut, Outcome::ProtocolError] {
            let mut settled = task().running().ends(outcome, reason);
            let plan = TaskReconciler::plan(&settled, NOW);
            on_task(&mut settled, &plan, NOW);
            let wanted = if reason.is_retryable() { Phase::Pending } else { Phase::Failed };
            assert_eq!(settled.status.phase, wanted, "{outcome} {reason}");
            if !reason.is_retryable() {
                assert_eq!((settled.status.reason, settled.status.finished_at), (reason, Some(NOW)));
            }
        }
    }
}

#[test]
fn what_people_and_manifests_wish() {
    let ends_as = |outcome| move |case: ObservedTask| case.ends(outcome, usual(outcome));
    let completes = ends_as(Outcome::Completed);
    check(
        "task/wishes.txt",
        vec![
            ("cancel: it has not run yet, and stays cancelled", task().cancel()),
            (
                "cancel: it waits before another try",
                task().ended(1, Outcome::Failed).waiting(Reason::BackOff, Some(1)).cancel(),
            ),
            ("cancel: it runs", task().running().cancel()),
            ("cancel: it runs and was told to stop", task().running().stopping().cancel()),
            ("cancel: it was stopped", ends_as(Outcome::Cancelled)(task().running().cancel())),
            ("cancel: it completed first, and completed wins", completes(task().running().cancel())),
            ("cancel: it failed on its own meanwhile", ends_as(Outcome::Failed)(task().running().cancel())),
            ("cancel: then its spec changed before it was stopped", {
                ends_as(Outcome::Cancelled)(task().running().cancel().spec_changed())
            }),
            (
                "cancel: its spec had changed while it ran",
                ends_as(Outcome::Cancelled)(task().running().spec_changed().cancel()),
            ),
            (
                "cancel: an earlier round was meant",
                task().with(|task| task.status.round = 2).with(|task| task.cancel_round = 1),
            ),
            ("removed: it has not run yet", task().removed()),
            ("removed: it runs", task().running().removed()),
            ("removed: it was stopped", task().running().removed().ends(Outcome::Cancelled, Reason::ManifestRemoved)),
            (
                "removed: it completed long ago",
                task().ended(1, Outcome::Completed).finished(Phase::Completed, Reason::AllToolsRan).removed(),
            ),
            ("restored: its round was cancelled for that", {
                let gone = task().removed().with(|task| task.status.observed_generation = 1);
                gone.finished(Phase::Cancelled, Reason::ManifestRemoved).with(|task| task.removed = false)
            }),
            ("restored: with another spec", {
                let gone = task()
                    .with(|task| task.status.observed_generation = 1)
                    .finished(Phase::Cancelled, Reason::ManifestRemoved);
                gone.spec_changed()
            }),
            (
                "restored: while it was being stopped",
                task().running().ends(Outcome::Cancelled, Reason::ManifestRemoved),
            ),
            ("suspended: it waits", task().suspended()),
            ("suspended: it runs", task().running().suspended()),
            ("suspended: it was told to stop", task().running().stopping().suspended()),
            ("suspended: it was stopped", task().running().suspended().ends(Outcome::Cancelled, Reason::Suspended)),
            ("suspended no more", task().waiting(Reason::Suspended, None)),
            ("retry: it failed", {
                let failed = task().ended(1, Outcome::Failed).finished(Phase::Failed, Reason::ToolFailed);
                failed.with(|task| task.retry_round = 1)
            }),
            ("retry: it waits for its next try", {
                let waits = task().ended(1, Outcome::Failed).waiting(Reason::BackOff, Some(1));
                waits.with(|task| task.hurry_version = 1)
            }),
            ("retry: the try that was asked for has failed too, and is waited after", {
                task().ended(2, Outcome::Failed).with(|task| (task.version, task.hurry_version) = (3, 1))
            }),
            ("retry: the try that was asked for has completed, and that is all", {
                let asked = task().ended(1, Outcome::Failed).running();
                completes(asked.with(|task| (task.version, task.hurry_version) = (3, 1)))
            }),
        ],
    );
}

#[test]
fn what_follows_from_a_changed_spec() {
    let once = |task: &mut ObservedTask| task.spec.run_policy = RunPolicy::Once;
    let completed = || task().ended(1, Outcome::Completed).finished(Phase::Completed, Reason::AllToolsRan);
    check(
        "task/spec_changes.txt",
        vec![
            ("it has not run yet: it will run as it is then", task().spec_changed()),
            (
                "it waits before another try",
                task().ended(1, Outcome::Failed).waiting(Reason::BackOff, Some(1)).spec_changed(),
            ),
            ("it runs", task().running().spec_changed()),
            ("it runs and was told to stop", task().running().stopping().spec_changed()),
            ("it was stopped", task().running().spec_changed().ends(Outcome::Cancelled, Reason::SpecChanged)),
            ("it completed first", task().running().spec_changed().ends(Outcome::Completed, Reason::AllToolsRan)),
            ("it was interrupted too often first", task().ended(11, Outcome::Interrupted).spec_changed()),
            (
                "it was interrupted: fresh budgets for what is tried now",
                task().ended(10, Outcome::Interrupted).spec_changed(),
            ),
            ("it completed long ago", completed().spec_changed()),
            (
                "it failed long ago",
                task().ended(4, Outcome::Failed).finished(Phase::Failed, Reason::ToolFailed).spec_changed(),
            ),
            ("runPolicy Once: it has not run yet", task().with(once).spec_changed()),
            ("runPolicy Once: it runs", task().running().with(once).spec_changed()),
            (
                "runPolicy Once: it completed, and the change is only taken note of",
                completed().with(once).spec_changed(),
            ),
            ("runPolicy Once: a person asks for another run", completed().with(once).with(|task| task.retry_round = 1)),
        ],
    );
}

#[test]
fn attempts_that_are_gone_or_silent() {
    let minutes_ago = |minutes| Carried { alive_at: NOW.minus(Span::minutes(minutes)), stopping: false };
    let local = || task().with(|task| task.analyzer = Some(command()));
    check(
        "task/recovery.txt",
        vec![
            ("nobody carries it: a service, which goes on, so its slot stays taken", task().running().orphaned()),
            ("nobody carries it: the embedded analyzer, which stopped", {
                task().running().orphaned().attempt(|attempt| attempt.replica = "embedded:".into())
            }),
            ("nobody carries it: a command, whose processes go first", {
                local().running().orphaned().attempt(|attempt| attempt.process = Some((4711, 99)))
            }),
            ("nobody carries it: a command whose process was not recorded yet", local().running().orphaned()),
            ("nobody carries it: its analyzer knows it by its token", task().running().resumable()),
            ("nobody carries it: its analyzer knows it, after ten that were interrupted", {
                task().ended(10, Outcome::Interrupted).running().resumable()
            }),
            ("nobody carries it: its analyzer knows it, and it was cancelled", task().running().resumable().cancel()),
            ("nobody carries it: its analyzer knows it, and its manifest and its app were removed", {
                task().running().resumable().removed().with(|task| task.app = None)
            }),
            ("nobody carries it: its analyzer knows it, and its spec changed", {
                task().running().resumable().spec_changed()
            }),
            ("nobody carries it: its analyzer knows it, and its spec changed under runPolicy Once", {
                task().running().resumable().spec_changed().with(|task| task.spec.run_policy = RunPolicy::Once)
            }),
            ("nobody carries it: its analyzer knows it, and it is suspended", task().running().resumable().suspended()),
            ("nobody carries it: its analyzer knows it, and its deadline has passed", {
                task().running().resumable().attempt(|attempt| attempt.deadline_at = NOW.minus(Span::minutes(1)))
            }),
            ("nobody carries it: its analyzer knows it, and its manifest is gone", {
                task().running().resumable().with(|task| task.analyzer = None)
            }),
            ("nobody carries it: the embedded analyzer, whatever it said", {
                task().running().resumable().attempt(|attempt| attempt.replica = "embedded:".into())
            }),
            ("nobody carries it: for the eleventh time", task().ended(10, Outcome::Interrupted).running().orphaned()),
            ("nobody carries it: and it was cancelled", task().running().orphaned().cancel()),
            ("nobody carries it: and its manifest was removed", task().running().orphaned().removed()),
            ("nobody carries it: and its spec changed", task().running().orphaned().spec_changed()),
            (
                "it was alive 14 minutes ago",
                task().running().attempt(|attempt| attempt.carried = Some(minutes_ago(14))),
            ),
            (
                "it was alive 15 minutes ago",
                task().running().attempt(|attempt| attempt.carried = Some(minutes_ago(15))),
            ),
            ("it was alive 16 minutes ago and was told to stop", {
                let silent = Carried { stopping: true, ..minutes_ago(16) };
                task().running().attempt(|attempt| attempt.carried = Some(silent))
            }),
            ("it runs for 29 of 30 minutes and was alive just now", {
                task().running().attempt(|attempt| attempt.deadline_at = NOW.plus(Span::minutes(1)))
            }),
            ("it has ended, and is still carried for a moment", {
                task()
                    .running()
                    .ends(Outcome::Completed, Reason::AllToolsRan)
                    .attempt(|attempt| attempt.carried = Some(minutes_ago(0)))
            }),
            ("its row is gone", task().running().with(|task| task.attempts.clear())),
        ],
    );
}

#[test]
fn why_a_task_is_held_and_what_lifts_it() {
    check(
        "task/holds.txt",
        vec![
            ("all is well", task()),
            ("there is no such analyzer", task().with(|task| task.analyzer = None)),
            ("there is no such app", task().with(|task| task.app = None)),
            ("the app is gone from disk", {
                task().with(|task| task.app.iter_mut().for_each(|app| app.missing_since = Some(NOW)))
            }),
            ("the app has no model", task().with(|task| task.app.iter_mut().for_each(|app| app.model = None))),
            ("the app has no model, and a command needs none", {
                task()
                    .with(|task| task.app.iter_mut().for_each(|app| app.model = None))
                    .with(|task| task.analyzer = Some(command()))
            }),
            ("held for one reason, now for another", task().waiting(Reason::AppNotFound, None).suspended()),
            ("the app is known now", task().waiting(Reason::AppNotFound, None)),
            ("its wait is over", task().ended(1, Outcome::Failed).waiting(Reason::BackOff, Some(0))),
            ("its wait is not over", task().ended(1, Outcome::Failed).waiting(Reason::BackOff, Some(1))),
            ("its wait is not over, and its app is gone", {
                let waits = task().ended(1, Outcome::Failed).waiting(Reason::BackOff, Some(1));
                waits.with(|task| task.app = None)
            }),
        ],
    );
}

#[test]
fn a_cancelled_task_stays_cancelled_whenever_it_was_cancelled() {
    let before_it_ran = settle(&mut Golden::default(), "pending", task().cancel());
    assert_eq!((before_it_ran.status.phase, before_it_ran.status.round), (Phase::Cancelled, 1));
    let backing_off = task().ended(1, Outcome::Failed).waiting(Reason::BackOff, Some(1)).cancel();
    assert_eq!(settle(&mut Golden::default(), "backing off", backing_off).status.phase, Phase::Cancelled);
    let stopped = task().running().spec_changed().cancel().ends(Outcome::Cancelled, Reason::CancelledByUser);
    assert_eq!(settle(&mut Golden::default(), "stopped", stopped).status.phase, Phase::Cancelled);
}
