//! What `reconcile --once` does, in the daemon or in its place: every asked loop until nothing more can be done now. And what people say of
//! what the file system and maintenance have put aside.

use tokio::task::JoinSet;

use super::answer::{Answerer, LOOPS, is_wanted};
use super::control::{Request, Response};
use super::controller::{wake_trees, wake_unsettled};
use super::doctor::make_private;
use super::maintenance::{maintain_once, purge_now, scan_apps, sweep};
use super::quiet::quiet;
use super::reconcile::run_loop;
use super::report::{AppsReport, CareAnswer, MaintenanceReport, ReconcileReport};
use super::wakes::Loop;
use crate::plan::action::Permit;
use crate::plan::doctor::Fix;
use crate::resource::time::Span;
use crate::store::StoreError;

/// Actions that a report lists; the rest is counted.
const ACTIONS_MAX: usize = 20_000;

impl Answerer {
    /// Runs every asked loop until nothing more can be done now; with `permit`, only what it allows.
    pub(super) async fn reconcile(&self, only: &[String], permit: Permit) -> Result<ReconcileReport, String> {
        let text = |error: StoreError| error.to_string();
        if let Some(unknown) = only.iter().find(|word| !LOOPS.contains(&word.as_str())) {
            return Err(format!("there is no loop {unknown:?}; one of: {}", LOOPS.join(", ")));
        }
        let wanted = |word: &str| is_wanted(only, word);
        let (began, opened) = (self.core.now(), self.core.attempts.opened());
        let mut report = ReconcileReport::default();
        if wanted("manifests") {
            report.manifests = Some(self.refresh().await?);
        }
        let mut actions = Vec::new();
        if wanted("filesystem") {
            let done = scan_apps(&self.core, permit.clone()).await.map_err(text)?;
            report.apps = Some(AppsReport::of(&done));
            actions.extend(done);
        }
        self.run_loops(only).await?;
        if wanted("maintenance") {
            // After the tasks: what can go on now has gone on, so only what hangs is left to be found.
            let done = maintain_once(&self.core, self.core.settings.rules(), permit).await.map_err(text)?;
            report.maintenance = Some(MaintenanceReport::of(&done));
            if !done.is_empty() {
                self.run_loops(only).await?;
            }
            actions.extend(done);
        }
        report.actions_left_out = actions.len().saturating_sub(ACTIONS_MAX) as u64;
        actions.truncate(ACTIONS_MAX);
        report.actions = actions;
        report.attempts = self.core.attempts.opened() - opened;
        report.phases = self.core.store.phase_counts().await.map_err(text)?;
        report.due = self.due().await?;
        report.took_ms = self.core.now().since(began).0;
        Ok(report)
    }

    /// Runs the loops of pipelines and tasks, as far as they are asked for, until nothing more can be done now.
    async fn run_loops(&self, only: &[String]) -> Result<(), String> {
        let text = |error: StoreError| error.to_string();
        let mut asked = Vec::new();
        if is_wanted(only, "pipelines") {
            wake_unsettled(&self.core).await.map_err(text)?;
            asked.push(Loop::Pipelines);
        }
        if is_wanted(only, "tasks") {
            wake_trees(&self.core, Span(0)).await.map_err(text)?;
            wake_unsettled(&self.core).await.map_err(text)?;
            asked.extend([Loop::Tasks, Loop::Apps, Loop::Trees]);
        }
        let (mut loops, over) = (JoinSet::new(), self.core.stopping.child_token());
        if self.is_alone() {
            asked.iter().for_each(|of| _ = loops.spawn(run_loop(self.core.clone(), *of, over.clone())));
        }
        let ended = if asked.is_empty() { Ok(()) } else { quiet(&self.core, &asked).await };
        over.cancel();
        // A pass that has begun is finished: what it has committed must be performed.
        while loops.join_next().await.is_some() {}
        ended
    }

    /// Does what doctor found to be safe.
    pub(super) async fn mend(&self, fixes: Vec<Fix>) -> Result<Vec<String>, String> {
        let text = |error: StoreError| error.to_string();
        let mut lines = self.core.store.mend(fixes.clone(), self.core.now()).await.map_err(text)?;
        // Ended attempts have freed slots.
        wake_unsettled(&self.core).await.map_err(text)?;
        if fixes.contains(&Fix::Sweep) {
            sweep(&self.core).await.map_err(text)?;
            // What dead attempts left was removed when this controller started.
            lines.push(Fix::Sweep.to_string());
        }
        if fixes.contains(&Fix::MakePrivate) {
            make_private(&self.core.workspace.join(&self.core.settings.state)).map_err(|error| error.to_string())?;
            lines.push(Fix::MakePrivate.to_string());
        }
        Ok(lines)
    }

    /// Keeps, restores, releases or purges.
    pub(super) async fn answer_orphans(&self, request: Request) -> Result<Response, String> {
        let text = |error: StoreError| error.to_string();
        match request {
            Request::Care { objects, care } => {
                let mut answers = Vec::new();
                for object in objects {
                    let cared = self.core.store.care(object, care, self.core.now()).await.map_err(text)?;
                    cared.woken.into_iter().for_each(|key| self.core.wakes.add(key));
                    let (object, message, effective) = (cared.object, cared.message, cared.effective);
                    answers.push(CareAnswer { object, message, effective });
                }
                Ok(Response::Cared { objects: answers })
            }
            Request::Purge { objects } => {
                Ok(Response::Purged { actions: purge_now(&self.core, objects).await.map_err(text)? })
            }
            other => Err(format!("{other:?} is not about orphans")),
        }
    }
}
