//! What both executors share while an attempt runs: its deadline and stop signal, its signs, its log, and how it comes to an ending.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Bytes;

use super::executors::Surroundings;
use super::log::{Log, Logged};
use super::press::Press;
use super::results::{self, Staging};
use super::sheet::Payload;
use super::stop::Stop;
use crate::resource::attempt::{Assignment, Ending, Sign};
use crate::resource::outcome::{Outcome, Verdict, one_line};
use crate::resource::reason::Reason;
use crate::resource::time::{Span, Timestamp};

/// One attempt that is being carried.
pub(super) struct Running<'a> {
    pub(super) surroundings: &'a Surroundings,
    pub(super) assignment: &'a Assignment,
    press: &'a Press,
    pub(super) token: String,
    pub(super) staging: Staging,
    pub(super) log: Log,
    pub(super) fence: Fence,
    signs: mpsc::Sender<Sign>,
    now: Timestamp,
    started: Instant,
}

/// What ends an attempt from this side.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    stop: Stop,
    started: Instant,
    remaining: Span,
    allowed: Span,
}

impl Fence {
    /// Comes back when the attempt must end, with how it ended.
    pub(super) async fn reached(&self) -> Verdict {
        let left = self.remaining.std().saturating_sub(self.started.elapsed());
        // A sleep of no time is not over at once, and nothing is to be begun past a deadline.
        let deadline = async {
            if !left.is_zero() {
                tokio::time::sleep(left).await;
            }
        };
        tokio::select! {
            () = self.stop.told() => {
                Verdict::without_tools(Outcome::Cancelled, Reason::CancelledByUser, "stopped while it ran")
            }
            () = deadline => {
                let message = format!("it ran past its deadline of {}", self.allowed);
                Verdict::without_tools(Outcome::TimedOut, Reason::DeadlineExceeded, message)
            }
        }
    }
}

impl Fence {
    /// Comes back when this process ends, unless the attempt was not wanted before that.
    pub(super) async fn left(&self) {
        self.stop.left().await;
    }
}

impl<'a> Running<'a> {
    pub(super) fn new(
        (surroundings, press): (&'a Surroundings, &'a Press),
        assignment: &'a Assignment,
        now: Timestamp,
        signs: mpsc::Sender<Sign>,
        stop: Stop,
    ) -> Self {
        let started = Instant::now();
        let staging = Staging::of(&surroundings.state, &assignment.id);
        let fence = Fence {
            stop,
            started,
            remaining: assignment.remaining(now),
            allowed: assignment.deadline_at.since(assignment.opened_at),
        };
        Self {
            surroundings,
            assignment,
            press,
            token: surroundings.token(&assignment.id),
            log: Log::new(staging.clone(), surroundings.limits.log_bytes_max),
            staging,
            fence,
            signs,
            now,
            started,
        }
    }

    /// The time by the runtime's clock.
    pub(super) fn time(&self) -> Timestamp {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now.plus(Span(elapsed))
    }

    /// A clone for sending a sign that must arrive.
    pub(super) fn signs(&self) -> mpsc::Sender<Sign> {
        self.signs.clone()
    }

    /// Tells a sign that may be lost: the next one says the same.
    pub(super) fn tell(&self, sign: Sign) {
        let _ = self.signs.try_send(sign);
    }

    /// Tells how far it is, and logs it as `<time> <stage> <message>`.
    pub(super) fn progress(&mut self, sign: Sign) {
        if let Sign::Progress { stage, message, .. } = &sign {
            let line = format!("{} {stage} {message}", self.time());
            self.log.append(format!("{}\n", line.trim_end()).as_bytes());
        }
        self.tell(sign);
    }

    /// Lets go of an attempt that goes on without this process. What was logged is not kept: who takes it up logs anew.
    pub(super) async fn leave(self) {
        let _ = self.log.close().await;
        results::discard(self.staging).await;
    }

    /// An ending before anything was begun.
    pub(super) async fn refuse(self, outcome: Outcome, reason: Reason, message: impl Into<String>) -> Ending {
        self.end(Verdict::without_tools(outcome, reason, message), None, Vec::new()).await
    }

    /// Stores what there is and gives the ending. A success whose result cannot be stored is none, nor is a failure when
    /// the disk is full; any other ending keeps its reason.
    pub(super) async fn end(
        self,
        mut verdict: Verdict,
        payload: Option<(&'static str, Bytes)>,
        sarif: Vec<(String, serde_json::Value)>,
    ) -> Ending {
        let ended_at = self.time();
        let log = self.log.close().await;
        let untouched = log.as_ref().is_ok_and(|log| log.file.is_none());
        let is_empty = payload.is_none() && sarif.is_empty() && log.as_ref().is_ok_and(Logged::is_empty);
        if is_empty || !self.assignment.keep_results.keeps(verdict.outcome) {
            if !untouched {
                results::discard(self.staging).await;
            }
            return Ending::bare(verdict);
        }
        let stored = match log {
            Ok(log) => {
                let payload = Payload { result: payload, sarif, log };
                let (place, staging) = ((self.surroundings.state.as_path(), self.press), self.staging.clone());
                results::store(place, staging, self.assignment, (&verdict, ended_at), payload).await
            }
            Err(error) => Err(error),
        };
        match stored {
            Ok(result) => Ending { verdict, result: Some(result), may_still_run: false },
            Err(error) => {
                results::discard(self.staging).await;
                let problem = format!("the result could not be stored: {error}");
                let full = results::is_full(&error);
                // On a full disk a failure is no more to be believed than a success: the tools had no room either.
                let lost = matches!(verdict.outcome, Outcome::Completed | Outcome::PartialSuccess)
                    || full && verdict.outcome == Outcome::Failed;
                if lost {
                    verdict.outcome = Outcome::Failed;
                    verdict.reason = if full { Reason::DiskFull } else { Reason::ResultNotStored };
                    verdict.message = one_line(&problem);
                } else {
                    verdict.message = one_line(&format!("{}; {problem}", verdict.message));
                }
                Ending::bare(verdict)
            }
        }
    }
}
