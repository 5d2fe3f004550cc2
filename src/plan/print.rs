//! A plan as text: one line for each write, effect and wake, and when to look again. What `--log debug` tells of each pass that
//! does something, and what the golden plans in tests/ are made of.

use std::collections::HashMap;
use std::fmt;

use super::write::{CloseAttempt, ConditionWrite, EventWrite, OpenAttempt, TaskStatus, Write};
use super::{Effect, Plan};
use crate::resource::attempt::{Assignment, Target};
use crate::resource::name::Uid;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Names::of(self);
        let mut lines = Lines { f, begun: false };
        for write in &self.writes {
            lines.line("write", &PrintedWrite { write, names: &names })?;
        }
        for effect in &self.effects {
            lines.line("effect", &PrintedEffect { effect, names: &names })?;
        }
        for key in &self.wakes {
            lines.line("wake", key)?;
        }
        if !lines.begun {
            lines.line("nothing to do", &"")?;
        }
        self.next.map_or(Ok(()), |at| lines.line("look again", &at))
    }
}

struct Lines<'f, 'b> {
    f: &'f mut fmt::Formatter<'b>,
    begun: bool,
}

impl Lines<'_, '_> {
    fn line(&mut self, word: &str, rest: &dyn fmt::Display) -> fmt::Result {
        let (before, word) = (if self.begun { "\n" } else { "" }, format!("{word} {rest}"));
        self.begun = true;
        write!(self.f, "{before}{}", word.trim_end())
    }
}

/// Names of objects, as far as the plan's events tell them: nobody knows a uid by heart.
struct Names<'p>(HashMap<&'p Uid, &'p str>);

impl<'p> Names<'p> {
    fn of(plan: &'p Plan) -> Self {
        let mut names = HashMap::new();
        for write in &plan.writes {
            if let Write::Event(event) = write {
                names.insert(&event.uid, event.name.as_str());
            }
        }
        for effect in &plan.effects {
            if let Effect::Start(assignment) | Effect::Resume { assignment, .. } = effect {
                names.insert(&assignment.id.task, assignment.task.as_str());
            }
        }
        Self(names)
    }

    fn get(&self, uid: &'p Uid) -> &'p str {
        self.0.get(uid).copied().unwrap_or(&uid.0)
    }
}

struct PrintedWrite<'p> {
    write: &'p Write,
    names: &'p Names<'p>,
}

impl fmt::Display for PrintedWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.write {
            Write::Task(write) => write!(f, "task {}: {}", self.names.get(&write.uid), Status(&write.status)),
            Write::OpenAttempt(open) => {
                let OpenAttempt { id, generation, analyzer, deadline_at, pool, .. } = &**open;
                let task = self.names.get(&id.task);
                write!(f, "open attempt {task}/{} of generation {generation} on {analyzer}", id.number)?;
                write!(f, "{}, until {deadline_at}", Replica(&open.replica))?;
                pool.as_ref().map_or(Ok(()), |pool| write!(f, ", in pool {pool}"))
            }
            Write::TakeUp(id) => write!(f, "take up {}/{}, if it is still open", self.names.get(&id.task), id.number),
            Write::CloseAttempt(close) => {
                let CloseAttempt { id, verdict, slot_until, .. } = &**close;
                let task = self.names.get(&id.task);
                write!(f, "close attempt {task}/{}: {}", id.number, verdict.outcome)?;
                Quoted(&verdict.message).fmt(f)?;
                slot_until.map_or(Ok(()), |until| write!(f, ", its slot stays taken until {until}"))
            }
            Write::FoundApp(found) => {
                write!(f, "app {}: found by AppSet {}, {}", found.name, found.app_set, found.spec)
            }
            Write::AppMissing { uid, since } => match since {
                Some(since) => write!(f, "app {}: missing since {since}", self.names.get(uid)),
                None => write!(f, "app {}: there again", self.names.get(uid)),
            },
            Write::TreeSeen(seen) => {
                write!(f, "app {}: its files are {} at {}", self.names.get(&seen.uid), Short(&seen.digest), seen.at)
            }
            Write::DeleteApp { uid, .. } => write!(f, "app {}: its record is deleted", self.names.get(uid)),
            Write::SetAside { uid, .. } => write!(f, "task {}: set aside", self.names.get(uid)),
            Write::ForgetReplica { analyzer, url } => write!(f, "replica {url} of {analyzer}: forgotten"),
            Write::Run(write) => {
                let name = self.names.get(&write.uid);
                let (phase, reason) = (write.status.phase, write.status.reason);
                write!(f, "run {name}: {phase} {reason}{}", Quoted(&write.status.message))
            }
            Write::CreateRun(create) => write!(f, "create run {}, {}", create.name, create.cause),
            Write::AskChild(ask) => write!(f, "ask for {} in round {}", ask.name, ask.round),
            Write::Conclude(done) => write!(f, "conclude {}/{}: {}", done.step, done.item, done.conclusion),
            Write::CancelChild(cancel) => write!(f, "cancel {} {}", cancel.kind, cancel.uid),
            Write::ProducedApp(app) => write!(f, "app {}: made by {}", app.name, app.run),
            Write::Expand { step, apps, .. } => write!(f, "step {step}: {} apps", apps.len()),
            Write::PinRun(uid) => write!(f, "pin what is run by {}", self.names.get(uid)),
            Write::ScheduleSeen { at, .. } => write!(f, "schedule dealt with up to {at}"),
            Write::Unsuspend(uid) => write!(f, "end the suspension of {}", self.names.get(uid)),
            Write::Condition(condition) => {
                let ConditionWrite { uid, condition, holds, reason, message } = &**condition;
                let (of, holds) = (self.names.get(uid), if *holds { "True" } else { "False" });
                write!(f, "condition {condition} of {of}: {holds} {reason}{}", Quoted(message))
            }
            Write::Event(event) => {
                let EventWrite { kind, name, event_type, reason, message, .. } = &**event;
                write!(f, "event of {} {name}: {event_type} {reason}{}", kind.singular(), Quoted(message))
            }
        }
    }
}

struct PrintedEffect<'p> {
    effect: &'p Effect,
    names: &'p Names<'p>,
}

impl fmt::Display for PrintedEffect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effect {
            Effect::Start(assignment) => write!(f, "start {}", Work(assignment)),
            Effect::Resume { assignment, stop: None } => write!(f, "resume {}", Work(assignment)),
            Effect::Resume { assignment, stop: Some(reason) } => {
                let Assignment { id, task, .. } = &**assignment;
                write!(f, "resume {task}/{} to stop it: {reason}", id.number)
            }
            Effect::Stop { id, reason } => write!(f, "stop {}/{}: {reason}", self.names.get(&id.task), id.number),
            Effect::Reap { id, process } => {
                write!(f, "reap {}/{}", self.names.get(&id.task), id.number)?;
                process.map_or(Ok(()), |(pid, _)| write!(f, ", process group {pid}"))
            }
            Effect::Probe(probe) => {
                let urgent = if probe.urgent { ", urgent" } else { "" };
                write!(f, "ask {} at {}{urgent}", probe.analyzer, probe.url)
            }
        }
    }
}

struct Work<'p>(&'p Assignment);

impl fmt::Display for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Assignment { id, task, analyzer, app, target, tools, .. } = self.0;
        write!(f, "{task}/{} on {analyzer}", id.number)?;
        match target {
            Target::WebSocket { url, request, .. } => write!(f, "{} with {request}", Replica(url))?,
            Target::Command(command) => write!(f, " as {:?}", command.argv)?,
        }
        write!(f, ", app {} in {:?}", app.name, app.path)?;
        if tools.is_empty() { Ok(()) } else { write!(f, ", tools {}", tools.join(" ")) }
    }
}

struct Status<'p>(&'p TaskStatus);

impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskStatus { phase, reason, message, round, attempt, observed_generation, findings, .. } = self.0;
        write!(f, "{phase}({reason}), round {round}, generation {observed_generation}, attempt {attempt}")?;
        if findings.total() > 0 {
            write!(f, ", {} findings", findings.total())?;
        }
        for (word, at) in [("until", self.0.next_at), ("ended", self.0.finished_at)] {
            at.map_or(Ok(()), |at| write!(f, ", {word} {at}"))?;
        }
        Quoted(message).fmt(f)
    }
}

/// The head of a digest: enough to tell two apart.
struct Short<'p>(&'p str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(self.0))
    }
}

struct Replica<'p>(&'p str);

impl fmt::Display for Replica<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " at {}", self.0) }
    }
}

/// A message in quotes, escaped, so that one line stays one line.
struct Quoted<'p>(&'p str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", {:?}", self.0) }
    }
}
