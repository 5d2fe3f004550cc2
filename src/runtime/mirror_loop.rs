//! When the mirror reads: at once what an event says is complete, after a quiet moment whatever else an event tells, everything now and
//! then, and when somebody asks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::Event;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::core::Core;
use super::hints::{Told, Watch};
use super::mirror::Mirror;
use super::pulse::Beat;
use super::report::SyncReport;
use crate::plan::tree::SETTLE;
use crate::store::StoreError;

/// Events must pause for so long before a scan begins.
const QUIET: Duration = Duration::from_millis(100);

/// A scan begins so long after the first event, however many follow.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// Pause before a scan that failed, or did not see the whole directory, is tried again.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// Requests that may wait for a scan.
const REQUESTS_MAX: usize = 64;

/// Asks the mirror for scans, and tells it of files.
#[derive(Clone)]
pub struct MirrorHandle {
    requests: mpsc::Sender<oneshot::Sender<Result<SyncReport, String>>>,
    told: Arc<Told>,
}

impl MirrorHandle {
    /// Scans now and waits for the report.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn sync(&self) -> Result<SyncReport, String> {
        let (answer, report) = oneshot::channel();
        let gone = || "the mirror has stopped".to_owned();
        self.requests.send(answer).await.map_err(|_| gone())?;
        report.await.map_err(|_| gone())?
    }

    /// Tells of an event below a directory, as the operating system does.
    pub fn tell(&self, directory: &Path, event: Event) {
        self.told.hear(directory, Ok(event));
    }
}

/// The loop's inbox.
pub struct MirrorInbox {
    requests: mpsc::Receiver<oneshot::Sender<Result<SyncReport, String>>>,
    told: Arc<Told>,
}

/// A handle and the inbox that it sends to.
#[must_use]
pub fn handle() -> (MirrorHandle, MirrorInbox) {
    let ((sender, receiver), told) = (mpsc::channel(REQUESTS_MAX), Arc::<Told>::default());
    (MirrorHandle { requests: sender, told: Arc::clone(&told) }, MirrorInbox { requests: receiver, told })
}

/// Mirrors until the process stops. The first scan has been made by the caller.
pub async fn run(core: Core, inbox: MirrorInbox) {
    let MirrorInbox { mut requests, told } = inbox;
    let mirror = Mirror::new(&core);
    let mut watch = watch(&core, &mirror, &told);
    // What happened between the first scan and the watch is found by this one.
    let mut periodic_at = Instant::now();
    let mut hints = Quiet::default();
    // A scan that did not see everything is made again soon, whoever asked for it: it has taken the hints that there were.
    let next_after = |scanned: &Result<SyncReport, StoreError>| {
        let pause = match scanned {
            Ok(SyncReport { incomplete: None, settling: 0, .. }) => core.settings.rescan_interval.std(),
            Ok(SyncReport { incomplete: None, .. }) => SETTLE.std(),
            Ok(_) | Err(_) => FAILED_PAUSE,
        };
        Instant::now() + pause
    };
    loop {
        let scan_at = hints.over_at().map_or(periodic_at, |at| at.min(periodic_at));
        tokio::select! {
            biased;
            () = core.stopping.cancelled() => break,
            // Before the events, of which there may be more and more.
            () = tokio::time::sleep_until(scan_at) => {
                hints.scanned(Instant::now());
                periodic_at = next_after(&scan(&core, &mirror, &told, &mut watch).await);
            }
            request = requests.recv() => {
                let Some(answer) = request else { break };
                let report = scan(&core, &mirror, &told, &mut watch).await;
                periodic_at = next_after(&report);
                // Whoever asked may have gone.
                let _ = answer.send(report.map_err(|error| error.to_string()));
            }
            () = told.changed() => {
                if read_complete(&core, &mirror, &told).await || told.needs_scan() {
                    hints.hint(Instant::now(), told.is_moved_in());
                }
            }
        }
    }
}

/// When events have paused long enough.
#[derive(Default)]
struct Quiet {
    first: Option<Instant>,
    last: Option<Instant>,
    scanned: Option<Instant>,
    is_whole: bool,
}

impl Quiet {
    /// Something happened. What is whole already waits for no more, unless a scan has just been.
    fn hint(&mut self, now: Instant, is_whole: bool) {
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.is_whole |= is_whole && self.scanned.is_none_or(|at| now >= at + QUIET);
    }

    /// A scan begins.
    fn scanned(&mut self, now: Instant) {
        *self = Self { scanned: Some(now), ..Self::default() };
    }

    fn over_at(&self) -> Option<Instant> {
        let (first, last) = self.first.zip(self.last)?;
        Some(if self.is_whole { first } else { (last + QUIET).min(first + QUIET_MAX) })
    }
}

/// Reads what can be read at once. Says whether a scan must follow.
async fn read_complete(core: &Core, mirror: &Mirror, told: &Told) -> bool {
    let complete = told.take_complete();
    if complete.is_empty() {
        return false;
    }
    mirror.read_now(complete).await.unwrap_or_else(|error| {
        core.check("reading manifests", &error);
        true
    })
}

async fn scan(
    core: &Core,
    mirror: &Mirror,
    told: &Arc<Told>,
    watch: &mut Option<Watch>,
) -> Result<SyncReport, StoreError> {
    // Before the directory is listed, so that whatever happens after that is told.
    if told.has_lost() || watch.as_ref().is_none_or(|watch| watch.is_left_behind(mirror.directory())) {
        told.forget();
        *watch = self::watch(core, mirror, told);
    }
    let (open, closed) = told.begin_scan();
    let pass = core.pulses.begin(Beat::Manifests, core.now());
    let report = mirror.scan_beside(&open, &closed).await;
    core.pulses.end(pass, core.now());
    match &report {
        Ok(report) if report.created + report.updated + report.removed > 0 => {
            tracing::info!(
                created = report.created,
                updated = report.updated,
                removed = report.removed,
                "manifests mirrored"
            );
        }
        Ok(_) => {}
        Err(error) => core.check("scanning manifests", error),
    }
    core.progress.notify_waiters();
    report
}

fn watch(core: &Core, mirror: &Mirror, told: &Arc<Told>) -> Option<Watch> {
    if !core.disk.is_watched() {
        return None;
    }
    match Watch::start(mirror.directory(), Arc::clone(told)) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, directory = %mirror.directory().display(), "cannot watch; only the periodic scan finds changes");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scan_waits_for_a_pause_but_not_for_what_is_whole_and_never_for_long() {
        let now = Instant::now();
        let mut quiet = Quiet::default();
        assert_eq!(quiet.over_at(), None);
        quiet.hint(now, false);
        assert_eq!(quiet.over_at(), Some(now + QUIET));
        (1..100).for_each(|n| quiet.hint(now + QUIET / 2 * n, false));
        assert_eq!(quiet.over_at(), Some(now + QUIET_MAX), "however many follow");
        quiet.hint(now, true);
        assert_eq!(quiet.over_at(), Some(now), "a directory that was moved in is whole");
        // One after the other, they are scanned together.
        quiet.scanned(now);
        quiet.hint(now + QUIET / 2, true);
        assert_eq!(quiet.over_at(), Some(now + QUIET / 2 + QUIET));
        quiet.scanned(now);
        quiet.hint(now + QUIET, true);
        assert_eq!(quiet.over_at(), Some(now + QUIET));
    }
}
