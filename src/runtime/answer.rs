//! Answering requests: the one code behind the control socket and behind a command line that finds no daemon.

use std::sync::Arc;

use super::control::{Request, Response, TaskAnswer};
use super::controller::Controller;
use super::core::Core;
use super::git_source::GitSource;
use super::maintenance::scan_apps;
use super::mirror::Mirror;
use super::mirror_loop::MirrorHandle;
use super::report::{Due, HeldReport, StatusReport, SyncReport};
use crate::plan::action::Permit;
use crate::plan::task::Carried;
use crate::plan::tree::SETTLE;
use crate::resource::time::{Span, Timestamp};
use crate::store::StoreError;
use crate::store::request::Requested;

/// Later happenings that a report names.
const DUE_MAX: usize = 20;

/// The words that `reconcile --only` knows.
pub const LOOPS: [&str; 5] = ["manifests", "filesystem", "pipelines", "tasks", "maintenance"];

/// Pause before manifests that changed a moment ago are looked at again.
const LOOK_AGAIN: Span = Span(250);

/// Looks at most: a file that is written without a pause is left to the next scan.
const LOOKS_MAX: u64 = 2 + SETTLE.0 / LOOK_AGAIN.0;

/// Whether a loop is asked for: every one is when none is named.
#[must_use]
pub fn is_wanted(only: &[String], word: &str) -> bool {
    only.is_empty() || only.iter().any(|only| only == word)
}

/// What answering needs of a controller. A cheap handle for the control socket.
#[derive(Clone)]
pub struct Answerer {
    pub(super) core: Core,
    // `None` when no loop runs: then this does itself what the loops would.
    mirror: Option<MirrorHandle>,
    git: Option<Arc<GitSource>>,
    embedded: Option<String>,
    started_at: Timestamp,
}

impl Answerer {
    /// Answers for this controller, with its loops if they have been started, else in their place.
    #[must_use]
    pub fn new(controller: &Controller) -> Self {
        Self {
            core: controller.core().clone(),
            mirror: controller.mirror(),
            git: controller.git(),
            embedded: controller.embedded().map(|address| address.to_string()),
            started_at: controller.started_at(),
        }
    }

    /// Carries out a request.
    pub async fn answer(&self, request: Request) -> Response {
        self.try_answer(request).await.unwrap_or_else(|message| Response::Failed { message })
    }

    async fn try_answer(&self, request: Request) -> Result<Response, String> {
        let store = &self.core.store;
        let text = |error: StoreError| error.to_string();
        Ok(match request {
            Request::Cancel { tasks } => {
                let mut answers = Vec::new();
                for name in tasks {
                    let requested = store.request_cancel(name.clone()).await.map_err(text)?;
                    answers.push(self.requested(name, requested));
                }
                Response::Requested { tasks: answers }
            }
            Request::Retry { tasks, no_cache } => {
                let mut answers = Vec::new();
                for name in tasks {
                    let requested = store.request_retry(name.clone(), no_cache).await.map_err(text)?;
                    answers.push(self.requested(name, requested));
                }
                Response::Requested { tasks: answers }
            }
            request @ (Request::Run { .. }
            | Request::Rerun { .. }
            | Request::CancelRuns { .. }
            | Request::RetryRun { .. }
            | Request::Suspend { .. }
            | Request::Resume { .. }
            | Request::Decide { .. }
            | Request::Backfill { .. }) => self.answer_run(request).await?,
            Request::Sync => Response::Synced(self.refresh().await?),
            Request::AcceptOrphans => {
                let sources = store.accept_orphans(self.core.now()).await.map_err(text)?;
                self.sync().await?;
                scan_apps(&self.core, Permit::All).await.map_err(text)?;
                Response::Accepted { sources }
            }
            Request::Reconcile { only, planned } => {
                let permit = planned.map_or(Permit::All, |planned| Permit::only(&planned));
                Response::Reconciled(Box::new(self.reconcile(&only, permit).await?))
            }
            request @ (Request::Care { .. } | Request::Purge { .. }) => self.answer_orphans(request).await?,
            Request::Mend { fixes } => Response::Mended { lines: self.mend(fixes).await? },
            Request::Status => Response::Status(StatusReport {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: self.started_at,
                held: self.core.attempts.count() as u64,
                in_flight: self.core.attempts.in_flight() as u64,
                embedded: self.embedded.clone(),
                loops: self.core.pulses.report(&self.core.settings),
                disk_full: self.core.room.report(),
            }),
            Request::Held => {
                let held = self.core.attempts.held(self.core.now()).into_iter();
                let report = |(id, carried): (_, Carried)| HeldReport {
                    id,
                    alive_at: carried.alive_at,
                    stopping: carried.stopping,
                };
                Response::Held { attempts: held.map(report).collect() }
            }
        })
    }

    /// Whether no loop runs beside this.
    pub(super) const fn is_alone(&self) -> bool {
        self.mirror.is_none()
    }

    /// Scans the manifests, again and again while some of them may be in the middle of being written.
    pub(super) async fn sync(&self) -> Result<SyncReport, String> {
        let mut report = SyncReport::default();
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(LOOK_AGAIN.std()).await;
            }
            report = report.then(self.sync_once().await?);
            if report.settling == 0 {
                break;
            }
        }
        Ok(report)
    }

    async fn sync_once(&self) -> Result<SyncReport, String> {
        match &self.mirror {
            Some(mirror) => mirror.sync().await,
            None => Mirror::new(&self.core).scan().await.map_err(|error| error.to_string()),
        }
    }

    /// Follows the git repository, if there is one, then scans.
    pub(super) async fn refresh(&self) -> Result<SyncReport, String> {
        let followed = match &self.git {
            Some(git) => git.pass(self.mirror.as_ref()).await,
            None => None,
        };
        match followed {
            Some(report) => report,
            None => self.sync().await,
        }
    }

    fn requested(&self, name: String, requested: Option<Requested>) -> TaskAnswer {
        let (phase, effective) = requested.map_or((None, false), |requested| {
            self.core.wakes.add(requested.key);
            (Some(requested.phase), requested.effective)
        });
        TaskAnswer { name, phase, effective }
    }

    pub(super) async fn due(&self) -> Result<Vec<Due>, String> {
        let due = self.core.store.due(DUE_MAX, self.core.now()).await.map_err(|error| error.to_string())?;
        Ok(due.into_iter().map(|(name, reason, at)| Due { name, reason, at }).collect())
    }
}
