//! The questions that this process has asked of replicas: performing probes, remembering when, reporting what came back.
//!
//! Like the register of attempts it is read before the store: an answer is written first, then it leaves the register as given, then the
//! analyzer is woken. A restart empties it, so every replica is asked anew.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::core::Fatal;
use super::wakes::Wakes;
use crate::executor::Executors;
use crate::plan::analyzer::Asked;
use crate::plan::{Key, Probe};
use crate::resource::time::Timestamp;
use crate::store::Store;
use crate::store::replica::ProbeReport;

/// The questions that this process has asked of replicas.
pub struct Probes {
    // By analyzer, then by address. An analyzer's entries are cut to its replicas at each look, so there are never more than those.
    asked: Mutex<HashMap<String, HashMap<String, Asked>>>,
    running: TaskTracker,
    store: Store,
    clock: Clock,
    wakes: Arc<Wakes>,
    executors: Executors,
    fatal: Arc<Fatal>,
    progress: Arc<Notify>,
    stopping: CancellationToken,
    urgent: AtomicUsize,
}

impl Probes {
    pub(super) fn new(
        store: Store,
        clock: Clock,
        wakes: Arc<Wakes>,
        executors: Executors,
        (fatal, progress): (Arc<Fatal>, Arc<Notify>),
        stopping: CancellationToken,
    ) -> Self {
        Self {
            asked: Mutex::default(),
            running: TaskTracker::new(),
            store,
            clock,
            wakes,
            executors,
            fatal,
            progress,
            stopping,
            urgent: AtomicUsize::new(0),
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Asked>>> {
        // Every change under this lock is a single insert, remove or assignment.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the replicas of an analyzer were asked. Read before the store.
    #[must_use]
    pub fn asked(&self, analyzer: &str) -> Vec<(String, Asked)> {
        let asked = self.locked();
        let of_it = asked.get(analyzer).into_iter().flatten();
        of_it.map(|(url, asked)| (url.clone(), *asked)).collect()
    }

    /// Forgets what was asked of addresses that an analyzer has no more.
    pub(super) fn keep(&self, analyzer: &str, urls: &[String]) {
        let mut asked = self.locked();
        if let Some(of_it) = asked.get_mut(analyzer) {
            of_it.retain(|url, asked| asked.under_way || urls.contains(url));
            if of_it.is_empty() {
                asked.remove(analyzer);
            }
        }
    }

    /// Takes a replica for asked and answered, as a dry run does with what is stored.
    pub(super) fn assume(&self, analyzer: &str, url: &str) {
        let now = self.clock.now();
        let asked = Asked { at: now, under_way: false, answered: Some(now) };
        self.locked().entry(analyzer.to_owned()).or_default().insert(url.to_owned(), asked);
    }

    /// Whether nothing is being asked on which something may depend. The regular probes of replicas that are known do not count: one that
    /// swallows every question would keep people waiting for ever.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) == 0
    }

    /// Asks a replica. Returns at once; the answer is reported through the store.
    pub(super) fn perform(self: &Arc<Self>, probe: Probe) {
        if self.stopping.is_cancelled() {
            return;
        }
        {
            let mut asked = self.locked();
            let entry = asked.entry(probe.analyzer.clone()).or_default();
            let answered = entry.get(&probe.url).and_then(|asked| asked.answered);
            entry.insert(probe.url.clone(), Asked { at: self.clock.now(), under_way: true, answered });
        }
        let urgent = usize::from(probe.urgent);
        self.urgent.fetch_add(urgent, Ordering::SeqCst);
        let probes = Arc::clone(self);
        self.running.spawn(async move {
            // A probe leaves nothing behind, so it is simply dropped when the controller stops.
            tokio::select! {
                biased;
                () = probes.stopping.cancelled() => {}
                () = probes.carry(probe) => {}
            }
            probes.urgent.fetch_sub(urgent, Ordering::SeqCst);
            probes.progress.notify_waiters();
        });
    }

    /// Waits until nothing is being asked; soon, once the controller stops.
    pub(super) async fn all_ended(&self) {
        self.running.close();
        self.running.wait().await;
    }

    async fn carry(&self, probe: Probe) {
        let (connect_timeout, timeout) = (probe.connect_timeout.std(), probe.timeout.std());
        let ask = self.executors.probe(&probe.url, &probe.credentials, connect_timeout, timeout);
        let answer = AssertUnwindSafe(ask)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err("manifestd failed while it asked; this is a bug, its log says more".into()));
        let Probe { analyzer, url, failure_threshold, .. } = probe;
        let at = self.clock.now();
        tracing::debug!(%analyzer, %url, healthy = answer.is_ok(), "a replica was asked");
        let report = ProbeReport { analyzer: analyzer.clone(), url: url.clone(), answer, failure_threshold, at };
        let is_well = report.answer.is_ok();
        let changed = match self.store.report_probe(report).await {
            Ok(changed) => changed,
            // Not tried again by itself: the next probe says the same.
            Err(error) if error.is_fatal() => {
                self.fatal.raise(format!("writing what a probe of {url} said: {error}"));
                false
            }
            Err(error) => {
                tracing::warn!(%analyzer, %url, %error, "what a probe said could not be written");
                false
            }
        };
        let first = self.settle(&analyzer, &url, at);
        // When it can be used again, those who waited for it come back into the queue first: the pass over the analyzer lets go of them,
        // and then wakes the lane.
        if (changed || first) && !(changed && is_well) {
            self.wakes.add(Key::Lane(analyzer.clone()));
        }
        self.wakes.add(Key::Analyzer(analyzer));
    }

    /// Enters that an answer has come; says whether it was the first.
    fn settle(&self, analyzer: &str, url: &str, at: Timestamp) -> bool {
        let mut asked = self.locked();
        let Some(entry) = asked.get_mut(analyzer).and_then(|of_it| of_it.get_mut(url)) else { return true };
        entry.under_way = false;
        entry.answered.replace(at).is_none()
    }
}
