//! What the outside world really did, whatever the controller believes: every piece of work with who works on it and how it ended, and every
//! ending that was told.

use std::collections::BTreeMap;

use manifestd::resource::attempt::{Assignment, AttemptId, Target};
use manifestd::resource::outcome::{Outcome, Verdict};

use super::conduct::{Conduct, How};
use super::troubles::Mood;

/// Who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A program on this machine.
    Program,
    /// A service that goes on without its client, which can neither stop it nor come back.
    Base,
    /// A service that knows attempts by their token.
    Extended,
}

/// How far work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// Somebody works on it.
    Going,
    /// It came to its end by itself.
    Done,
    /// It was stopped.
    Stopped,
    /// Whoever worked on it is gone.
    Dead,
}

/// One piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) task: String,
    pub(crate) analyzer: String,
    pub(crate) replica: String,
    pub(crate) side: Side,
    pub(crate) conduct: Conduct,
    /// When it began, and when it comes to its end by itself; in ages of the world.
    pub(crate) began: u64,
    pub(crate) ends: u64,
    /// When whoever works on it gives up.
    pub(crate) deadline: u64,
    pub(crate) course: Course,
    /// When it last gave a sign of life.
    pub(crate) heard: u64,
    /// The number of the controller that carries it.
    pub(crate) carried: Option<u64>,
    /// Whether that controller has told it to stop.
    pub(crate) stopping: bool,
}

/// Everything that the outside world did.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) works: BTreeMap<AttemptId, Work>,
    pub(crate) told: BTreeMap<AttemptId, Vec<Verdict>>,
    moods: BTreeMap<String, Mood>,
    pids: i32,
}

impl Work {
    /// The work that an assignment asks for.
    pub(crate) fn of(assignment: &Assignment, conduct: Conduct, age: u64, remaining: u64) -> Self {
        let (side, replica) = match &assignment.target {
            Target::Command(_) => (Side::Program, String::new()),
            Target::WebSocket { url, extended: true, .. } => (Side::Extended, url.clone()),
            Target::WebSocket { url, extended: false, .. } => (Side::Base, url.clone()),
        };
        let ends = if conduct.how == How::Hangs { u64::MAX } else { age.saturating_add(conduct.after) };
        Self {
            task: assignment.task.clone(),
            analyzer: assignment.analyzer.clone(),
            replica,
            side,
            conduct,
            began: age,
            heard: age,
            ends,
            deadline: age.saturating_add(remaining),
            course: Course::Going,
            carried: None,
            stopping: false,
        }
    }
}

impl Ledger {
    /// What has come to its end by itself by now.
    pub(crate) fn settle(&mut self, age: u64) {
        for work in self.works.values_mut().filter(|work| work.course == Course::Going) {
            if work.ends <= age {
                work.course = Course::Done;
            } else if work.deadline <= age && work.carried.is_none() {
                work.course = Course::Stopped;
            }
        }
    }

    /// How a replica is.
    pub(crate) fn mood(&self, url: &str) -> Mood {
        self.moods.get(url).copied().unwrap_or(Mood::Well)
    }

    /// A replica changes. With one that is gone all that it worked on is gone.
    pub(crate) fn turn(&mut self, url: &str, mood: Mood) {
        self.moods.insert(url.to_owned(), mood);
        if mood == Mood::Gone {
            self.restart(url);
        }
    }

    /// A replica begins anew, and knows nothing of what it worked on.
    pub(crate) fn restart(&mut self, url: &str) {
        for work in self.works.values_mut().filter(|work| work.replica == url && !url.is_empty()) {
            if matches!(work.course, Course::Going | Course::Done) {
                work.course = Course::Dead;
            }
        }
    }

    /// All replicas are well.
    pub(crate) fn heal(&mut self) {
        self.moods.clear();
    }

    /// Whatever a controller carried goes on, or not, without it.
    pub(crate) fn bereave(&mut self, life: u64) {
        for work in self.works.values_mut().filter(|work| work.carried == Some(life)) {
            work.carried = None;
        }
    }

    /// Work that goes on at a replica, or on this machine for an analyzer that is a program.
    pub(crate) fn going<'l>(
        &'l self,
        analyzer: &'l str,
        replica: &'l str,
    ) -> impl Iterator<Item = (&'l AttemptId, &'l Work)> {
        self.works.iter().filter(move |(_, work)| {
            work.course == Course::Going && work.analyzer == analyzer && work.replica == replica
        })
    }

    /// The number of another process.
    pub(crate) fn pid(&mut self) -> i32 {
        self.pids += 1;
        self.pids
    }

    /// Whether an ending of an attempt was ever told.
    pub(crate) fn has_told(&self, id: &AttemptId, outcome: Outcome) -> Option<&Verdict> {
        self.told.get(id)?.iter().find(|told| told.outcome == outcome)
    }
}
