//! Records that have been as they are for too long: apps that stay away, tasks that hang, tasks and runs that nobody will look at again.

use super::{AgedAttempt, AgedRun, AgedTask, MissingApp, Pass, Rules, told};
use crate::plan::Key;
use crate::plan::action::{Action, Rule};
use crate::plan::transition::{TaskRef, transition};
use crate::plan::write::{CloseAttempt, TaskStatus, Write};
use crate::resource::findings::Findings;
use crate::resource::kind::Kind;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};

impl AgedTask {
    /// Whether the rule for its phase has nothing to do about it now, however long it has been so: something carries it, or what waits for a
    /// person who asked it to wait, for a directory that may come back, or for its turn in a queue that moves, is not stuck.
    #[must_use]
    pub fn is_left_alone(&self, rules: Rules, now: Timestamp) -> bool {
        match self.status.phase {
            // Without an open attempt nothing hangs: its ending is there, and the task loop draws the conclusion.
            Phase::Running => !matches!(self.open, Some(AgedAttempt { carried: false, .. })),
            Phase::Pending => {
                let Some(threshold) = rules.is_over(rules.pending, self.since, now) else { return true };
                match self.status.reason {
                    Reason::Suspended | Reason::AppMissing => true,
                    Reason::Queued | Reason::BreakerOpen => {
                        let longest = threshold.max(self.lane_period);
                        self.lane_busy || self.lane_moved_at.is_some_and(|at| now.since(at) <= longest)
                    }
                    _ => false,
                }
            }
            Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => false,
        }
    }
}

impl Pass<'_> {
    /// Plans for every record that is too old.
    pub(super) fn aged(&mut self) {
        for app in &self.observed.apps {
            self.delete_app(app);
        }
        for task in &self.observed.tasks {
            match task.status.phase {
                Phase::Running => self.fail_stuck(task),
                Phase::Pending => self.cancel_waiting(task),
                Phase::Completed | Phase::PartialSuccess | Phase::Failed | Phase::Cancelled => self.set_aside(task),
            }
        }
        for run in &self.observed.runs {
            self.set_run_aside(run);
        }
    }

    fn delete_app(&mut self, app: &MissingApp) {
        let rules = self.observed.rules;
        let Some(threshold) = rules.is_over(rules.missing_app, app.missing_since, self.now) else { return };
        // Deleted only on what the disk says now, and only where it can be believed.
        if app.present != Some(false) || app.suspect || self.now.since(app.created_at) <= rules.grace {
            return;
        }
        let message = format!("{:?} is gone since {}, for more than {threshold}", app.path, app.missing_since);
        let what = format!("record deleted, since {message}");
        let delete = Write::DeleteApp { uid: app.uid.clone(), missing_since: app.missing_since };
        let event = told(&app.uid, Kind::App, &app.name, "Deleted", message);
        self.act(Action::over(Rule::AppDeleted, format!("app/{}", app.name), what, threshold), [delete, event]);
    }

    /// Running, and nobody carries it: the task loop ends such attempts within seconds, so this only ever finds what that could not.
    fn fail_stuck(&mut self, task: &AgedTask) {
        let (rules, now) = (self.observed.rules, self.now);
        let Some(threshold) = rules.is_over(rules.stuck, task.since, now) else { return };
        let Some(open) = task.open.as_ref().filter(|open| !open.carried) else { return };
        let verdict = Verdict::without_tools(Outcome::Interrupted, Reason::Interrupted, "nobody carries it");
        let close = Write::CloseAttempt(Box::new(CloseAttempt {
            id: open.id.clone(),
            verdict,
            result: None,
            at: now,
            slot_until: Some(open.deadline_at).filter(|deadline| *deadline > now),
            cache_key: None,
        }));
        let message = format!("Running since {}, for more than {threshold}, while nobody carried it", task.since);
        self.end(task, Rule::TaskStuck, (Phase::Failed, Reason::Stuck), message, threshold, vec![close]);
    }

    fn cancel_waiting(&mut self, task: &AgedTask) {
        let (rules, now) = (self.observed.rules, self.now);
        let Some(threshold) = rules.is_over(rules.pending, task.since, now) else { return };
        if !task.is_left_alone(rules, now) {
            let message = format!("Pending since {}, for more than {threshold}: {}", task.since, task.status.reason);
            let end = (Phase::Cancelled, Reason::PendingTooLong);
            self.end(task, Rule::TaskPendingTooLong, end, message, threshold, Vec::new());
        }
    }

    fn set_aside(&mut self, task: &AgedTask) {
        let rules = self.observed.rules;
        let finished_at = task.status.finished_at.unwrap_or(task.since);
        let Some(threshold) = rules.is_over(rules.finished, finished_at, self.now) else { return };
        let what = format!("set aside, since it is {} since {finished_at}", task.status.phase);
        let action = Action::over(Rule::TaskSetAside, format!("task/{}", task.name), what, threshold);
        self.act(action, [Write::SetAside { uid: task.uid.clone(), version: task.version }]);
    }

    fn set_run_aside(&mut self, run: &AgedRun) {
        let rules = self.observed.rules;
        let Some(threshold) = rules.is_over(rules.finished, run.finished_at, self.now) else { return };
        let what = format!("set aside with its tasks, since it is {} since {}", run.phase, run.finished_at);
        let action = Action::over(Rule::RunSetAside, format!("run/{}", run.name), what, threshold);
        self.act(action, [Write::SetRunAside { uid: run.uid.clone(), version: run.version }]);
    }

    fn end(
        &mut self,
        task: &AgedTask,
        rule: Rule,
        (phase, reason): (Phase, Reason),
        message: String,
        threshold: Span,
        mut writes: Vec<Write>,
    ) {
        // A cancelled task is about the spec as it is: it does not start again by itself.
        let generation = if phase == Phase::Cancelled { task.generation } else { task.status.observed_generation };
        let status = TaskStatus { observed_generation: generation, ..task.status.clone() };
        let action = Action::over(rule, format!("task/{}", task.name), format!("{phase}, since {message}"), threshold);
        let status = status.ended(phase, reason, message, Findings::default(), self.now);
        let seen = TaskRef { uid: &task.uid, name: &task.name, version: task.version };
        writes.extend(transition(seen, status));
        let before = self.plan.writes.len();
        self.act(action, writes);
        if self.plan.writes.len() > before {
            // What the task loop does about an ended task, such as to note what files it is about, follows at once.
            let lane = task.open.as_ref().map_or(&task.analyzer, |open| &open.analyzer);
            self.plan.wakes.extend([Key::Task(task.uid.clone()), Key::Lane(lane.clone())]);
        }
    }
}
