//! Carrying one attempt: from its start to the moment at which its ending is durable.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::attempts::{Carrier, locked};
use super::core::Core;
use super::endings::{self, Closing};
use super::twist::Order;
use crate::plan::Key;
use crate::plan::orphan::interrupted;
use crate::plan::write::CloseAttempt;
use crate::resource::attempt::{Assignment, AttemptId, Ending, Sign, Target};
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};

/// Signs that may wait to be read; more are dropped by the executor, which costs nothing but a line of progress.
const SIGNS_MAX: usize = 64;

/// Progress is written at most this often for one attempt.
const PROGRESS_INTERVAL: Span = Span(250);

/// A process that is over by then is not written down: it costs as much as an ending. Of a controller that is killed before, the process is found
/// by the token in its environment.
const SPAWNED_MOMENT: Span = Span(100);

/// Pause before an ending that could not be written is tried again.
const REPORT_PAUSE: Span = Span::seconds(1);

/// Reading the app again after a run keeps its slot taken, so it takes no longer; then the result is nobody else's.
const READ_AGAIN_MAX: Duration = Duration::from_secs(60);

/// Drives an attempt to its end and writes that, unless it is left running at its analyzer.
pub(super) async fn carry(core: Core, assignment: Box<Assignment>, carrier: Carrier) {
    let executors = core.attempts.executors();
    let (sender, signs) = mpsc::channel(SIGNS_MAX);
    if let Some(rate) = assignment.rate.filter(|_| !assignment.resumed) {
        // The plan has kept to the rate already; this only smooths what is left of a burst after a restart.
        tokio::select! {
            biased;
            () = carrier.stop.told() => {}
            () = executors.pace(&assignment.analyzer, rate) => {}
        }
    }
    *locked(&carrier.alive) = Some(Instant::now());
    let run = executors.run(&assignment, core.now(), sender, carrier.stop.clone());
    let listen = listen(&core, &assignment.id, &carrier, signs);
    let (ending, ()) = tokio::join!(AssertUnwindSafe(run).catch_unwind(), listen);
    let ending = ending.unwrap_or_else(|_| {
        let message = "manifestd failed while it carried this attempt; this is a bug, its log says more";
        let verdict = Verdict::without_tools(Outcome::Interrupted, Reason::Interrupted, message);
        Some(Ending { may_still_run: matches!(assignment.target, Target::WebSocket { .. }), ..Ending::bare(verdict) })
    });
    let Some(ending) = ending else {
        tracing::info!(attempt = %assignment.id, "left running at its analyzer; the next start takes it up");
        return;
    };
    let why = *locked(&carrier.why);
    let is_whole = ending.verdict.outcome == Outcome::Completed;
    let cache_key = if is_whole { cache_key(&core, &assignment).await } else { None };
    let close = CloseAttempt {
        id: assignment.id.clone(),
        slot_until: ending.may_still_run.then_some(assignment.deadline_at),
        verdict: explain(ending.verdict, why),
        result: ending.result,
        at: core.now(),
        cache_key,
    };
    end(&core, Closing { close, lane: Some(assignment.analyzer) }).await;
}

/// The key under which others may take the result of an attempt that completed: only if nobody has touched the app meanwhile.
async fn cache_key(core: &Core, assignment: &Assignment) -> Option<String> {
    let stamp = assignment.stamp.as_ref()?;
    let workspace = &core.attempts.surroundings().workspace;
    let peek = core.trees.peek(workspace, &assignment.app.path, core.now());
    let (digest, changed_at) = tokio::time::timeout(READ_AGAIN_MAX, peek).await.ok().flatten()?;
    // A file that was changed and changed back has a newer time.
    let is_same = digest == stamp.app_digest && changed_at < assignment.opened_at;
    is_same.then(|| stamp.cache_key.clone())
}

/// Reads signs of life until the executor has no more to give.
async fn listen(core: &Core, id: &AttemptId, carrier: &Carrier, mut signs: mpsc::Receiver<Sign>) {
    let mut written = Timestamp(0);
    let mut spawned = None;
    let moment = tokio::time::sleep(SPAWNED_MOMENT.std());
    tokio::pin!(moment);
    loop {
        let sign = tokio::select! {
            biased;
            sign = signs.recv() => sign,
            () = &mut moment, if spawned.is_some() => spawned.take(),
        };
        let Some(sign) = sign else { return };
        let now = core.now();
        *locked(&carrier.alive) = Some(Instant::now());
        let worth_writing = match &sign {
            Sign::Alive => false,
            Sign::Spawned { .. } if !moment.is_elapsed() => {
                spawned = Some(sign);
                continue;
            }
            Sign::Spawned { .. } => true,
            Sign::Progress { .. } => now.since(written) >= PROGRESS_INTERVAL,
        };
        if worth_writing {
            written = now;
            if let Err(error) = core.store.report_sign(id.clone(), sign).await
                && !core.room.lacks("a sign of life could not be written", &error, now)
            {
                tracing::warn!(attempt = %id, %error, "a sign of life could not be written");
            }
        }
    }
}

/// Ends what a controller that is gone left of an attempt, and writes that it was interrupted.
pub(super) async fn reap(core: Core, id: AttemptId, process: Option<(i32, u64)>) {
    let reaped = core.attempts.executors().reap(&id, process).await;
    if reaped.ended > 0 {
        tracing::info!(attempt = %id, processes = reaped.ended, "killed what a controller that is gone left running");
    }
    let at = core.now();
    let close = CloseAttempt { id, verdict: interrupted(), result: None, at, slot_until: None, cache_key: None };
    end(&core, Closing { close, lane: None }).await;
}

/// Writes an ending, then lets go of the attempt, then tells whom that concerns.
async fn end(core: &Core, mut closing: Closing) {
    let (id, outcome) = (closing.close.id.clone(), closing.close.verdict.outcome);
    if core.swaps(Order::LetsGoFirst) {
        core.attempts.let_go(&id);
    }
    let ended = loop {
        // It may have waited long for room on the disk, and the clock may have been turned back since.
        closing.close.at = closing.close.at.min(core.now());
        match endings::end(core, &closing).await {
            Ok(Some(ended)) => {
                tracing::debug!(attempt = %id, %outcome, "attempt ended");
                break Some(ended);
            }
            Ok(None) => {
                tracing::warn!(attempt = %id, %outcome, "late ending rejected");
                break None;
            }
            // Kept in memory until there is room: only then does the attempt leave the register.
            Err(error) if core.room.lacks("an ending could not be written", &error, core.now()) => {}
            Err(error) if error.is_fatal() => {
                core.fatal.raise(format!("writing the ending of attempt {id}: {error}"));
                break None;
            }
            Err(error) => tracing::warn!(attempt = %id, %error, "an ending could not be written; trying again"),
        }
        tokio::time::sleep(REPORT_PAUSE.std()).await;
    };
    core.room.was_there(core.now());
    core.attempts.let_go(&id);
    match ended {
        Some(ended) => ended.tell(core),
        None => {
            core.wakes.add(Key::Task(id.task));
            closing.concerned().into_iter().for_each(|key| core.wakes.add(key));
        }
    }
}

/// Gives the reason for which an attempt was told to stop to a verdict that only says that it was. One that stopped unasked has failed.
fn explain(verdict: Verdict, why: Option<Reason>) -> Verdict {
    match (verdict.outcome, why) {
        (Outcome::Cancelled, Some(Reason::HeartbeatLost)) => Verdict {
            outcome: Outcome::HeartbeatLost,
            reason: Reason::HeartbeatLost,
            message: "no sign of life".into(),
            ..verdict
        },
        (Outcome::Cancelled, Some(Reason::Interrupted)) => Verdict {
            outcome: Outcome::Interrupted,
            reason: Reason::Interrupted,
            message: "the controller was stopped while it ran".into(),
            ..verdict
        },
        (Outcome::Cancelled, Some(reason)) => Verdict { reason, ..verdict },
        // It would be queued again for ever, on no budget.
        (Outcome::Cancelled, None) => Verdict {
            outcome: Outcome::Failed,
            reason: Reason::AnalyzerError,
            message: "it was cancelled, and nobody here had asked for that".into(),
            ..verdict
        },
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cancelled_and_was_not_told_to_stop_has_failed() {
        let cancelled = || Verdict::without_tools(Outcome::Cancelled, Reason::CancelledByUser, "stopped while it ran");
        let ended = |why| {
            let verdict = explain(cancelled(), why);
            (verdict.outcome, verdict.reason)
        };
        assert_eq!(ended(Some(Reason::SpecChanged)), (Outcome::Cancelled, Reason::SpecChanged));
        assert_eq!(ended(Some(Reason::Interrupted)), (Outcome::Interrupted, Reason::Interrupted));
        assert_eq!(ended(None), (Outcome::Failed, Reason::AnalyzerError));
    }
}
