//! The limit: a program that is stripped to what any durable task queue must do on this machine. Tasks are in SQLite already; each becomes started,
//! ended and settled in three durable, acknowledged transitions with one event, while its work is done on the same two cores. No YAML, no
//! watcher, no queue order, no capture of output. Beside it, each part bare.
//!
//! It runs in a process of its own, as what is measured does: this program again, with [`ROLE`] as its first argument.

mod course;
mod programs;
pub(crate) mod reading;
mod sockets;
mod store;

use std::process::Command;
use std::time::Instant;

use tokio::sync::mpsc::unbounded_channel;

use crate::analyzer::{Analyzer, Protocol};
use crate::machine::workplace;
use course::Course;
use store::Store;

/// The first argument of a process that is the reference.
pub(crate) const ROLE: &str = "--ceiling";

/// The work of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// None: SQLite alone.
    Nothing,
    /// One request on a shared connection.
    Shared,
    /// A connection, one request, and the close.
    Single,
    /// A program.
    Program,
}

impl Work {
    const ALL: [Self; 4] = [Self::Nothing, Self::Shared, Self::Single, Self::Program];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Shared => "shared",
            Self::Single => "single",
            Self::Program => "program",
        }
    }
}

/// One measurement of the reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceiling {
    /// What each task does.
    pub(crate) work: Work,
    /// Whether each step is durable.
    pub(crate) durable: bool,
    /// Tasks at work at once.
    pub(crate) slots: u32,
    /// Tasks that are measured.
    pub(crate) tasks: u32,
    /// Settled tasks in the database before.
    pub(crate) history: u32,
}

impl Ceiling {
    /// Three durable steps of each task, around its work.
    pub(crate) const fn combined(work: Work, slots: u32, tasks: u32) -> Self {
        Self { work, durable: true, slots, tasks, history: 0 }
    }

    /// The work alone.
    pub(crate) const fn bare(work: Work, slots: u32, tasks: u32) -> Self {
        Self { work, durable: false, slots, tasks, history: 0 }
    }

    /// With so many settled tasks in the database before.
    pub(crate) const fn after(self, history: u32) -> Self {
        Self { history, ..self }
    }

    /// Measures in a process of its own; tasks in a second.
    pub(crate) fn measure(self) -> f64 {
        let program = std::env::current_exe().expect("the path of this program");
        let numbers = [u32::from(self.durable), self.slots, self.tasks, self.history].map(|number| number.to_string());
        let output = Command::new(program).args([ROLE, self.work.name()]).args(numbers).output().expect("a process");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the reference has failed: {error}");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a rate")
    }

    /// The reference that these arguments of this process ask for.
    pub(crate) fn read(arguments: &[String]) -> Option<Self> {
        let [role, work, numbers @ ..] = arguments else { return None };
        if role != ROLE {
            return None;
        }
        let work = Work::ALL.into_iter().find(|known| known.name() == work)?;
        let numbers: Vec<u32> = numbers.iter().map_while(|number| number.parse().ok()).collect();
        let [durable, slots, tasks, history] = numbers.try_into().ok()?;
        Some(Self { work, durable: durable != 0, slots, tasks, history })
    }

    /// Runs the reference in this process; tasks in a second.
    pub(crate) fn run(self) -> f64 {
        // On the disk of the workspaces: where a temporary directory is kept in memory, nothing is durable.
        let directory = tempfile::tempdir_in(workplace()).expect("a temporary directory");
        let store = |acknowledge: Box<dyn FnMut(store::Group) + Send>| {
            self.durable.then(|| Store::start(directory.path(), self.tasks, self.history, acknowledge))
        };
        let course = |store| Course::new(store, self.history, self.history + self.tasks, self.slots);
        let seconds = match self.work {
            Work::Nothing | Work::Program => {
                let (teller, told) = std::sync::mpsc::channel();
                let acknowledger = teller.clone();
                let store = store(Box::new(move |group| _ = acknowledger.send(programs::Told::Acknowledged(group))));
                let (course, began) = (course(store), Instant::now());
                match self.work {
                    Work::Program => programs::run(course, self.slots, &told, &teller),
                    _ => nothing(course, &told),
                }
                began.elapsed()
            }
            Work::Shared | Work::Single => {
                let protocol = if self.work == Work::Shared { Protocol::Extended } else { Protocol::Base };
                let analyzer = Analyzer::start(protocol);
                let (teller, told) = unbounded_channel();
                let store = store(Box::new(move |group| _ = teller.send(group)));
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let (course, began) = (course(store), Instant::now());
                match self.work {
                    Work::Shared => runtime.block_on(sockets::shared(analyzer.address(), course, told)),
                    _ => runtime.block_on(sockets::single(analyzer.address(), course, told)),
                }
                began.elapsed()
            }
        };
        f64::from(self.tasks) / seconds.as_secs_f64()
    }
}

/// Work that takes no time: what is started has ended.
fn nothing(mut course: Course, told: &std::sync::mpsc::Receiver<programs::Told>) {
    let mut begin = course.begin();
    while !course.is_over() {
        if !begin.is_empty() {
            begin = course.ended(begin);
            continue;
        }
        if let programs::Told::Acknowledged(group) = told.recv().expect("a message") {
            begin = course.acknowledged(group);
        }
    }
}
