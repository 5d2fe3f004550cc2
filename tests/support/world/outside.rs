//! What is outside of the controller: attempts that go as a script says, the ticks of its timers, and when all that happens.

use manifestd::plan::orphan::interrupted;
use manifestd::plan::task::Carried;
use manifestd::plan::write::CloseAttempt;
use manifestd::plan::{Effect, Key, Probe};
use manifestd::resource::address::EMBEDDED;
use manifestd::resource::attempt::{Assignment, AttemptId, Target};
use manifestd::resource::health::Health;
use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};

use super::World;

/// How one attempt goes.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    end: Option<(Span, Verdict)>,
    signs: Signs,
    stops_after: Span,
}

#[derive(Debug, Clone)]
enum Signs {
    Every(Span),
    At(Vec<Span>),
}

impl Act {
    /// It ends so long after it was opened, without a sign of life before. If its deadline comes first, it ends then, as executors end what
    /// they run (`every_executor_keeps_to_the_documented_endings` in tests/executors.rs).
    pub(crate) fn ends(after: Span, verdict: Verdict) -> Self {
        Self { end: Some((after, verdict)), ..Self::hangs() }
    }

    /// It completes.
    pub(crate) fn completes(after: Span) -> Self {
        Self::ends(after, Verdict::without_tools(Outcome::Completed, Reason::AllToolsRan, "all tools ran"))
    }

    /// It runs and fails.
    pub(crate) fn fails(after: Span, reason: Reason) -> Self {
        Self::ends(after, Verdict::without_tools(Outcome::Failed, reason, "it failed"))
    }

    /// Nobody is there, which is noticed at once.
    pub(crate) fn reaches_nobody() -> Self {
        let verdict = Verdict::without_tools(Outcome::Unavailable, Reason::AnalyzerUnavailable, "connection refused");
        Self::ends(Span(0), verdict)
    }

    /// It never ends by itself, and gives no sign of life.
    pub(crate) fn hangs() -> Self {
        Self { end: None, signs: Signs::At(Vec::new()), stops_after: Span(0) }
    }

    /// It gives signs of life at this interval.
    pub(crate) fn with_signs_every(self, interval: Span) -> Self {
        Self { signs: Signs::Every(interval), ..self }
    }

    /// It gives signs of life so long after it was opened.
    pub(crate) fn with_signs_at(self, after: &[Span]) -> Self {
        Self { signs: Signs::At(after.to_vec()), ..self }
    }

    /// When it is told to stop, it takes so long to end.
    pub(crate) fn stops_after(self, span: Span) -> Self {
        Self { stops_after: span, ..self }
    }
}

/// An attempt that the controller carries, or a leftover that it reaps.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) alive_at: Timestamp,
    /// Why it was told to stop.
    stopping: Option<Reason>,
    stops_after: Span,
    /// The ending that counts; one that was scheduled before it was told to stop does not.
    ending: u64,
    /// What it carries; `None` for a leftover.
    work: Option<Assignment>,
}

impl Carrier {
    fn new(now: Timestamp) -> Self {
        Self { alive_at: now, stopping: None, stops_after: Span(0), ending: 0, work: None }
    }

    pub(super) fn seen(&self) -> Carried {
        Carried { alive_at: self.alive_at, stopping: self.stopping.is_some() }
    }
}

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Happening {
    /// The task loop looks again at whatever is unsettled.
    Resync,
    /// The apps on disk are looked at.
    ScanApps,
    /// Maintenance runs.
    Maintain,
    /// An attempt gives a sign of life, and perhaps another one after this interval.
    Sign(AttemptId, Option<Span>),
    /// An attempt ends, if this is still the ending that counts.
    End(AttemptId, u64, Verdict),
    /// A replica answers a question, or does not in time.
    Answer(Box<Probe>, Result<Health, String>),
}

impl World {
    /// Schedules something.
    pub(super) fn later(&mut self, after: Span, happening: Happening) {
        self.count += 1;
        self.agenda.insert((self.now.plus(after), self.count), happening);
    }

    /// Makes something happen.
    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Resync => {
                self.resync();
                self.later(self.settings.task_poll_interval, Happening::Resync);
            }
            Happening::ScanApps => {
                self.wake(Key::Apps);
                self.later(self.settings.scan_interval, Happening::ScanApps);
            }
            Happening::Maintain => {
                self.wake(Key::Maintenance);
                self.later(self.settings.maintenance_interval, Happening::Maintain);
            }
            Happening::Sign(id, again) => {
                let now = self.now;
                let Some(carrier) = self.running.as_mut().and_then(|running| running.held.get_mut(&id)) else { return };
                carrier.alive_at = now;
                if let Some(interval) = again {
                    self.later(interval, Happening::Sign(id, again));
                }
            }
            Happening::End(id, ending, verdict) => self.end(id, ending, verdict),
            Happening::Answer(probe, answer) => self.answer(*probe, answer),
        }
    }

    /// Registers the attempts that a plan is about to open, before their rows exist.
    pub(super) fn reserve(&mut self, effects: &[Effect]) {
        let now = self.now;
        let Some(running) = &mut self.running else { return };
        for effect in effects {
            if let Effect::Start(assignment) | Effect::Resume { assignment, .. } = effect {
                running.held.insert(assignment.id.clone(), Carrier::new(now));
            }
        }
    }

    /// Takes that back, when the plan was not committed.
    pub(super) fn release(&mut self, effects: &[Effect]) {
        let Some(running) = &mut self.running else { return };
        for effect in effects {
            if let Effect::Start(assignment) | Effect::Resume { assignment, .. } = effect {
                running.held.remove(&assignment.id);
            }
        }
    }

    /// Performs one effect of a committed plan.
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Start(assignment) => self.carry(*assignment),
            Effect::Resume { assignment, stop } => {
                let id = assignment.id.clone();
                self.carry(*assignment);
                if let Some(reason) = stop {
                    self.tell_to_stop(&id, reason);
                }
            }
            Effect::Stop { id, reason } => self.tell_to_stop(&id, reason),
            Effect::Probe(probe) => self.ask(*probe),
            // Nothing here writes results, so there is nothing to sweep.
            Effect::Sweep => {}
            Effect::Reap { id, .. } => {
                let now = self.now;
                let Some(running) = &mut self.running else { return };
                let carrier = Carrier { stopping: Some(Reason::Interrupted), ..Carrier::new(now) };
                if running.held.insert(id.clone(), carrier).is_none() {
                    self.schedule_end(&id, self.now, interrupted());
                }
            }
        }
    }

    fn carry(&mut self, work: Assignment) {
        let act = (self.script)(&work);
        let (id, opened_at, deadline_at) = (work.id.clone(), work.opened_at, work.deadline_at);
        match act.signs {
            Signs::Every(interval) => self.later(interval, Happening::Sign(id.clone(), Some(interval))),
            Signs::At(spans) => {
                let still_to_come = spans.into_iter().map(|span| opened_at.plus(span)).filter(|at| *at >= self.now);
                for at in still_to_come.collect::<Vec<_>>() {
                    self.later(at.since(self.now), Happening::Sign(id.clone(), None));
                }
            }
        }
        let now = self.now;
        let Some(running) = &mut self.running else { return };
        let carrier = running.held.entry(id.clone()).or_insert_with(|| Carrier::new(now));
        carrier.stops_after = act.stops_after;
        carrier.work = Some(work);
        let end = act.end.map(|(after, verdict)| (opened_at.plus(after), verdict)).filter(|(at, _)| *at < deadline_at);
        let (at, verdict) = end.unwrap_or_else(|| {
            let verdict = Verdict::without_tools(Outcome::TimedOut, Reason::DeadlineExceeded, "it ran too long");
            (deadline_at, verdict)
        });
        self.schedule_end(&id, at, verdict);
    }

    /// Tells an attempt to stop: it ends within the time that its act says, and at its deadline at the latest.
    fn tell_to_stop(&mut self, id: &AttemptId, reason: Reason) {
        let now = self.now;
        let Some(carrier) = self.running.as_mut().and_then(|running| running.held.get_mut(id)) else { return };
        if carrier.stopping.is_none() {
            carrier.stopping = Some(reason);
            let deadline_at = carrier.work.as_ref().map_or(now, |work| work.deadline_at);
            let at = now.plus(carrier.stops_after).min(deadline_at);
            let verdict = Verdict::without_tools(Outcome::Cancelled, reason, "it was told to stop");
            self.schedule_end(id, at, explain(verdict, reason));
        }
    }

    /// Schedules an ending instead of the one that was scheduled before.
    fn schedule_end(&mut self, id: &AttemptId, at: Timestamp, verdict: Verdict) {
        let ending = self.count + 1;
        if let Some(carrier) = self.running.as_mut().and_then(|running| running.held.get_mut(id)) {
            carrier.ending = ending;
        }
        self.later(at.since(self.now), Happening::End(id.clone(), ending, verdict));
    }

    /// Writes an ending, then lets go of the attempt, then wakes its owner and its lane, as `src/runtime/attempts.rs` does.
    fn end(&mut self, id: AttemptId, ending: u64, verdict: Verdict) {
        let Some(running) = &self.running else { return };
        let Some(carrier) = running.held.get(&id).filter(|carrier| carrier.ending == ending) else { return };
        let work = carrier.work.clone();
        let slot_until = work.as_ref().filter(|work| may_still_run(work, verdict.outcome)).map(|work| work.deadline_at);
        let doubtful = matches!(verdict.outcome, Outcome::Unavailable | Outcome::ProtocolError);
        let close = CloseAttempt { id: id.clone(), verdict, result: None, at: self.now, slot_until, cache_key: None };
        let lanes = self.wait_for(running.store.report_ending(close)).expect("the store");
        let lanes = lanes.unwrap_or_else(|| panic!("the ending of {id} came too late, though it was carried"));
        lanes.into_iter().for_each(|lane| self.wake(lane));
        self.running.as_mut().and_then(|running| running.held.remove(&id));
        self.wake(Key::Task(id.task));
        if let Some(work) = work {
            if doubtful {
                self.wake(Key::Analyzer(work.analyzer.clone()));
            }
            self.wake(Key::Lane(work.analyzer));
        }
    }
}

/// Whether the other side may still be working on an attempt that ended so: a service goes on after its client has left, unless it speaks the
/// extension, by which it confirms that it has stopped.
fn may_still_run(work: &Assignment, outcome: Outcome) -> bool {
    let left = match outcome {
        Outcome::Cancelled | Outcome::TimedOut | Outcome::HeartbeatLost | Outcome::Interrupted => true,
        Outcome::Completed
        | Outcome::PartialSuccess
        | Outcome::Failed
        | Outcome::Unavailable
        | Outcome::ProtocolError => false,
    };
    let tells = match &work.target {
        Target::WebSocket { url, extended, .. } => *extended || url.starts_with(EMBEDDED),
        Target::Command(_) => true,
    };
    left && !tells
}

/// What a verdict that only says that an attempt was stopped means, by the reason why it was told to.
fn explain(verdict: Verdict, why: Reason) -> Verdict {
    let outcome = match why {
        Reason::HeartbeatLost => Outcome::HeartbeatLost,
        Reason::Interrupted => Outcome::Interrupted,
        _ => verdict.outcome,
    };
    Verdict { outcome, ..verdict }
}
