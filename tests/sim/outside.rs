//! The outside world of one controller: what happens to each attempt that it carries, what replicas answer, what leftovers there are. The work
//! itself is in the [`Ledger`](super::ledger::Ledger), which outlives it.

use std::time::Duration;

use manifestd::executor::leftover::Reaped;
use manifestd::executor::outside::{Outside, Played};
use manifestd::executor::{Stop, results};
use manifestd::resource::attempt::{Assignment, AttemptId, Ending, Sign, StoredResult, Target};
use manifestd::resource::findings::Findings;
use manifestd::resource::health::{Health, MANIFESTD_V1};
use manifestd::resource::outcome::{Outcome, ToolReport, ToolStatus, Verdict};
use manifestd::resource::reason::Reason;
use manifestd::resource::time::{Span, Timestamp};
use serde_json::{Map, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::conduct::{self, How, Stops};
use super::laws::{begins, hold};
use super::ledger::{Course, Side, Work};
use super::life::{Life, until};
use super::script::Focus;
use super::troubles::Mood;
use super::words::TOOLS;

/// How long a client asks again for an attempt whose analyzer is gone.
const ASKS_AGAIN: u64 = 15_000;

/// How long the confirmation of a cancel is waited for.
const CANCEL_WAIT: u64 = 8_000;

/// A digest as the program writes it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What comes next of an attempt.
enum Next {
    /// It has ended by itself.
    Ends,
    /// Whoever worked on it is gone.
    Dies,
    /// It ran too long.
    Late,
    /// It is told to stop.
    Stopped,
    /// It is told to leave.
    Left,
    /// A sign of life is due, or something changed.
    Goes,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Life {
    /// Something begins, or is taken up: refused with a verdict, or worked on.
    fn take(&self, assignment: &Assignment, now: Timestamp) -> Result<(), Verdict> {
        let mut state = self.state();
        let (age, id) = (state.age, &assignment.id);
        state.ledger.settle(age);
        let word = if assignment.resumed { "taken up" } else { "begins" };
        state.say(format_args!("{} {word}: attempt {} at {}", assignment.task, id.number, address(assignment)));
        state.count(if assignment.resumed { "taken up" } else { "begun" });
        self.judge(&mut state, |moment| begins(assignment, moment));
        let refused =
            |message: &str| Verdict::without_tools(Outcome::Unavailable, Reason::AnalyzerUnavailable, message);
        let mood = state.ledger.mood(address(assignment));
        let known = state.ledger.works.get(id).map(|work| work.course);
        let mut conduct = if state.weather.calm {
            conduct::calm(self.world.seed, &assignment.task, id.number)
        } else {
            conduct::of(self.world.seed, &assignment.task, id.number, self.world.focus == Focus::Crashes)
        };
        let attaches = assignment.resumed && matches!(known, Some(Course::Going | Course::Done));
        match mood {
            Mood::Gone => return Err(refused("connection refused")),
            Mood::Busy if !attaches => return Err(refused("it has too much to do")),
            Mood::Silent if !attaches => {
                (conduct.how, conduct.signs, conduct.stops) = (How::Hangs, None, Stops::Never);
            }
            _ => {}
        }
        if conduct.how == How::Refuses && !attaches {
            return Err(refused("it refuses"));
        }
        if !attaches {
            let remaining = assignment.remaining(now).0;
            let work = Work::of(assignment, conduct, age, remaining);
            state.ledger.works.insert(id.clone(), work);
        }
        if let Some(work) = state.ledger.works.get_mut(id) {
            (work.carried, work.heard) = (Some(self.number), age);
        }
        Ok(())
    }

    /// The work of an attempt, as it is now.
    fn work(&self, id: &AttemptId) -> Work {
        let mut state = self.state();
        let age = state.age;
        state.ledger.settle(age);
        state.ledger.works[id].clone()
    }

    /// Waits for whatever comes next of an attempt.
    async fn next(&self, id: &AttemptId, deadline: u64, sign: &mut u64, stop: &Stop) -> Next {
        let work = self.work(id);
        match work.course {
            Course::Done => return Next::Ends,
            Course::Dead | Course::Stopped => return Next::Dies,
            Course::Going => {}
        }
        let can_leave = work.side == Side::Extended;
        let age = self.age();
        if age >= deadline {
            return Next::Late;
        }
        let next = work.ends.min(deadline).min(*sign);
        tokio::select! {
            biased;
            () = stop.left(), if can_leave => Next::Left,
            () = stop.told() => Next::Stopped,
            () = self.changed.notified() => Next::Goes,
            () = until(self.instant(next)) => {
                *sign = sign.saturating_add(work.conduct.signs.unwrap_or(u64::MAX));
                Next::Goes
            }
        }
    }

    /// An attempt from its beginning to its end.
    async fn carry(
        &self,
        assignment: &Assignment,
        now: Timestamp,
        signs: mpsc::Sender<Sign>,
        stop: &Stop,
    ) -> Option<Ending> {
        let id = &assignment.id;
        if let Err(verdict) = self.take(assignment, now) {
            // Nothing was sent, or, where it was before, whoever worked on it is gone.
            until(self.instant(self.age() + if assignment.resumed { ASKS_AGAIN } else { 5 })).await;
            return Some(Ending::bare(verdict));
        }
        let work = self.work(id);
        if work.side == Side::Program {
            let pid = self.state().ledger.pid();
            let _ = signs.send(Sign::Spawned { pid, pid_start: 1 }).await;
        }
        let deadline = self.age().saturating_add(assignment.remaining(now).0);
        let mut sign = self.age().saturating_add(work.conduct.signs.unwrap_or(u64::MAX));
        loop {
            match self.next(id, deadline, &mut sign, stop).await {
                Next::Goes => self.give_sign(id, &signs),
                Next::Ends => return Some(self.result(assignment)),
                Next::Dies => {
                    if let Some(ending) = self.bereft(assignment, stop).await {
                        return Some(ending);
                    }
                }
                Next::Left => {
                    self.let_go(id);
                    return None;
                }
                Next::Stopped => return Some(self.withdraw(assignment, Outcome::Cancelled).await),
                Next::Late => return Some(self.withdraw(assignment, Outcome::TimedOut).await),
            }
        }
    }

    /// Gives a sign of life.
    fn give_sign(&self, id: &AttemptId, signs: &mpsc::Sender<Sign>) {
        let mut state = self.state();
        let age = state.age;
        if let Some(work) = state.ledger.works.get_mut(id) {
            work.heard = age;
        }
        let _ = signs.try_send(Sign::Alive);
    }

    /// Whoever worked on it is gone. A service that knows its token is asked again, and begins anew when it is back.
    async fn bereft(&self, assignment: &Assignment, stop: &Stop) -> Option<Ending> {
        let work = self.work(&assignment.id);
        let lost = Verdict::without_tools(Outcome::ProtocolError, Reason::ConnectionLost, "the connection was lost");
        if work.side != Side::Extended {
            return Some(Ending::bare(lost));
        }
        let asked = tokio::time::timeout(Duration::from_millis(ASKS_AGAIN), stop.told()).await;
        if asked.is_ok() {
            let verdict = Verdict::without_tools(Outcome::Cancelled, Reason::CancelledByUser, "stopped while it ran");
            return Some(Ending::bare(verdict));
        }
        let mut state = self.state();
        if state.ledger.mood(address(assignment)) != Mood::Well {
            return Some(Ending::bare(lost));
        }
        let age = state.age;
        if let Some(work) = state.ledger.works.get_mut(&assignment.id) {
            work.course = Course::Going;
            work.ends = if work.conduct.how == How::Hangs { u64::MAX } else { age + work.conduct.after };
        }
        None
    }

    fn let_go(&self, id: &AttemptId) {
        let mut state = self.state();
        state.count("left");
        state.say(format_args!("{id} is left running"));
        if let Some(work) = state.ledger.works.get_mut(id) {
            work.carried = None;
        }
    }

    /// This side ends it: told to stop, or too late.
    async fn withdraw(&self, assignment: &Assignment, outcome: Outcome) -> Ending {
        let id = &assignment.id;
        let work = {
            let mut state = self.state();
            let work = state.ledger.works.get_mut(id).expect("its work");
            work.stopping = true;
            work.clone()
        };
        let wait = match (work.side, work.conduct.stops) {
            (_, Stops::AtOnce | Stops::WithResult) => 1,
            (Side::Base, _) => 1,
            (_, Stops::Slowly(ms)) => ms.min(CANCEL_WAIT - 1),
            (Side::Program, Stops::Never) => 2_000,
            (Side::Extended, Stops::Never) => CANCEL_WAIT,
        };
        until(self.instant(self.age() + wait)).await;
        if work.conduct.stops == Stops::WithResult && work.conduct.how != How::Hangs && outcome == Outcome::Cancelled {
            return self.result(assignment);
        }
        let mut state = self.state();
        let age = state.age;
        let may_still_run = match work.side {
            Side::Program => false,
            Side::Base => true,
            Side::Extended => work.conduct.stops == Stops::Never,
        };
        // A service in the base protocol may hear that its client has left, and may go on all the same.
        let goes_on = may_still_run && work.conduct.stops != Stops::AtOnce && age < work.deadline;
        if let Some(work) = state.ledger.works.get_mut(id) {
            work.carried = None;
            work.course = if goes_on { work.course } else { Course::Stopped };
        }
        if goes_on {
            state.count("abandoned");
        }
        let verdict = match outcome {
            Outcome::TimedOut => Verdict::without_tools(outcome, Reason::DeadlineExceeded, "it ran past its deadline"),
            _ => Verdict::without_tools(Outcome::Cancelled, Reason::CancelledByUser, "stopped while it ran"),
        };
        Ending { may_still_run, ..Ending::bare(verdict) }
    }

    /// It has come to its end by itself.
    fn result(&self, assignment: &Assignment) -> Ending {
        let id = &assignment.id;
        let work = self.work(id);
        let verdict = verdict(assignment, &work);
        {
            let mut state = self.state();
            if let Some(work) = state.ledger.works.get_mut(id) {
                (work.course, work.carried) = (Course::Done, None);
            }
            let makes = assignment.config.get("makes").and_then(|path| path.as_str());
            if let Some(path) = makes.filter(|_| work.conduct.makes && verdict.outcome == Outcome::Completed) {
                let _ = std::fs::create_dir_all(self.world.path(path));
                let age = state.age;
                state.declared.place(path, true, age);
            }
        }
        let keeps = matches!(verdict.outcome, Outcome::Completed | Outcome::PartialSuccess);
        let result = keeps.then(|| self.store(assignment, &verdict));
        let may_still_run = work.side == Side::Base && work.conduct.how == How::Garbage;
        Ending { verdict, result, may_still_run }
    }

    /// Puts a result on disk, as an executor does.
    fn store(&self, assignment: &Assignment, verdict: &Verdict) -> StoredResult {
        let app = match assignment.app.name.as_str() {
            "" => "_".to_owned(),
            name => results::file_name(name),
        };
        let directory = format!("{app}/{}/{}", results::file_name(&assignment.task), assignment.id.number);
        let place = self.world.results().join(&directory);
        std::fs::create_dir_all(&place).expect("a directory of results");
        let about = json!({"taskUid": assignment.id.task, "outcome": verdict.outcome}).to_string();
        std::fs::write(place.join("manifest.json"), &about).expect("a result");
        let at = std::time::UNIX_EPOCH + Duration::from_millis(self.world.wall(self.age()).unsigned_abs());
        std::fs::File::open(&place).and_then(|opened| opened.set_modified(at)).expect("its time");
        StoredResult { directory, sha256: digest(about.as_bytes()), bytes: about.len() as u64 }
    }

    /// Remembers what was told of an attempt.
    fn told(&self, assignment: &Assignment, ending: &Ending) {
        let mut state = self.state();
        let outcome = ending.verdict.outcome;
        state.say(format_args!(
            "{} tells that attempt {} is {outcome} ({})",
            assignment.task, assignment.id.number, ending.verdict.reason
        ));
        state.count(&format!("told {outcome}"));
        if let Some(work) = state.ledger.works.get_mut(&assignment.id) {
            work.carried = None;
        }
        state.ledger.told.entry(assignment.id.clone()).or_default().push(ending.verdict.clone());
    }
}

fn address(assignment: &Assignment) -> &str {
    match &assignment.target {
        Target::WebSocket { url, .. } => url,
        Target::Command(_) => "",
    }
}

/// What work comes to that ended by itself.
fn verdict(assignment: &Assignment, work: &Work) -> Verdict {
    let asked: Vec<String> = match assignment.tools.as_slice() {
        [] => TOOLS.iter().map(|tool| (*tool).to_owned()).collect(),
        tools => tools.to_vec(),
    };
    let good = match work.conduct.how {
        How::Completes => asked.len(),
        How::Partly(some) => some.min(asked.len()),
        _ => 0,
    };
    let tool = |(at, name): (usize, &String)| {
        let status = if at < good { ToolStatus::Completed } else { ToolStatus::Failed };
        let permanent = work.conduct.how == How::Lacks;
        ToolReport { name: name.clone(), status, message: String::new(), findings: Findings::default(), permanent }
    };
    let tools: Vec<ToolReport> = asked.iter().enumerate().map(tool).collect();
    let (outcome, reason) = match work.conduct.how {
        _ if good == asked.len() => (Outcome::Completed, Reason::AllToolsRan),
        _ if good > 0 => (Outcome::PartialSuccess, Reason::SomeToolsFailed),
        How::Fails(reason) => (Outcome::Failed, reason),
        How::Lacks => (Outcome::Failed, Reason::ToolNotRun),
        How::Garbage => (Outcome::ProtocolError, Reason::ProtocolError),
        How::Drops => (Outcome::ProtocolError, Reason::ConnectionLost),
        How::GivesUp => (Outcome::Cancelled, Reason::CancelledByUser),
        How::Completes | How::Partly(_) | How::Hangs | How::Refuses => (Outcome::Failed, Reason::ToolFailed),
    };
    let tells = matches!(outcome, Outcome::Completed | Outcome::PartialSuccess | Outcome::Failed);
    let mut outputs = Map::new();
    if work.conduct.scores && outcome == Outcome::Completed {
        outputs.insert("score".into(), json!(7));
    }
    Verdict {
        tools: if tells { tools } else { Vec::new() },
        outputs: Box::new(outputs),
        ..Verdict::without_tools(outcome, reason, format!("as its script says: {reason}"))
    }
}

impl Outside for Life {
    fn run<'o>(
        &'o self,
        assignment: &'o Assignment,
        now: Timestamp,
        signs: mpsc::Sender<Sign>,
        stop: Stop,
    ) -> Played<'o, Option<Ending>> {
        let called = self.age();
        Box::pin(async move {
            self.breathe().await;
            let now = now.plus(Span(self.age() - called));
            // Nothing is begun that must already end.
            let is_late = assignment.remaining(now).0 == 0;
            if !assignment.resumed && (stop.is_told() || is_late) {
                let outcome = if stop.is_told() { Outcome::Cancelled } else { Outcome::TimedOut };
                let reason = if stop.is_told() { Reason::CancelledByUser } else { Reason::DeadlineExceeded };
                let ending = Ending::bare(Verdict::without_tools(outcome, reason, "before it began"));
                self.told(assignment, &ending);
                return Some(ending);
            }
            let ending = self.carry(assignment, now, signs, &stop).await?;
            if self.is_over() {
                return std::future::pending().await;
            }
            self.told(assignment, &ending);
            self.breathe().await;
            Some(ending)
        })
    }

    fn probe<'o>(&'o self, url: &'o str, timeout: Duration) -> Played<'o, Result<Health, String>> {
        Box::pin(async move {
            self.breathe().await;
            let mood = self.state().ledger.mood(url);
            match mood {
                Mood::Well | Mood::Busy => {
                    until(self.instant(self.age() + 3)).await;
                    let extended = url.starts_with("ws://ext-");
                    let protocols = if extended { vec![MANIFESTD_V1.to_owned()] } else { Vec::new() };
                    let tools = TOOLS.iter().map(|tool| (*tool).to_owned()).collect();
                    Ok(Health { version: "sim 1".into(), protocols, tools })
                }
                Mood::Gone => Err(format!("{url}: connection refused")),
                Mood::Silent => {
                    until(tokio::time::Instant::now() + timeout).await;
                    Err(format!("{url} did not answer"))
                }
            }
        })
    }

    fn reap<'o>(&'o self, id: &'o AttemptId) -> Played<'o, Reaped> {
        Box::pin(async move {
            self.breathe().await;
            let going = {
                let mut state = self.state();
                let age = state.age;
                state.ledger.settle(age);
                state.count("reaped");
                state.say(format_args!("{id} is reaped"));
                let life = self.number;
                self.judge(&mut state, |moment| {
                    let own = moment.ledger.works.get(id).is_some_and(|work| work.carried == Some(life));
                    hold!(HeldOrOrphaned, !own, "{id} is reaped while it is carried");
                    let open = moment.model.tasks.get(&id.task.0).and_then(|task| task.attempts.get(&id.number));
                    let open = open.is_some_and(super::model::Attempt::is_open);
                    hold!(HeldOrOrphaned, open, "{id} is reaped, and has ended");
                    Ok(())
                });
                state.ledger.works.get(id).is_some_and(|work| work.course == Course::Going)
            };
            until(self.instant(self.age() + if going { 500 } else { 20 })).await;
            let mut state = self.state();
            if let Some(work) = state.ledger.works.get_mut(id).filter(|work| work.course == Course::Going) {
                work.course = Course::Stopped;
            }
            Reaped { ended: usize::from(going), remaining: 0 }
        })
    }
}
