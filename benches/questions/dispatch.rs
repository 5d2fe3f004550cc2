//! (b) How many durable no-op tasks go from Pending to Completed in a second over WebSocket.
//!
//! *Mirrored*: the analyzer of the bench holds back its answers until all tasks are in the database, Pending but for those that fill its slots. Then
//! it answers, and what counts are the tasks that were Pending at that moment. *From drop*: from the rename of a directory of manifests to the
//! last task Completed. The analyzer is the one of the bench, unless a row names one of ours.

use std::time::Instant;

use crate::analyzer::{Analyzer, Protocol};
use crate::ceiling::{Ceiling, Work};
use crate::figure::{Figure, Unit};
use crate::rounds::{Run, interleaved};
use crate::workspace::{COMPLETED, KNOWN, Workspace, count, until, until_risen};

/// The name of the analyzer in all manifests of a bench.
pub(crate) const NAME: &str = "bench";

/// One way to dispatch.
#[derive(Debug, Clone, Copy)]
struct Way {
    protocol: Protocol,
    slots: u32,
    tasks: u32,
}

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let connection = |slots, tasks| Way { protocol: Protocol::Base, slots, tasks };
    let shared = |slots, tasks| Way { protocol: Protocol::Extended, slots, tasks };
    compare(run, connection(1, 500), None);
    compare(run, connection(64, 10_000), Some("dispatch-connection"));
    compare(run, connection(1024, 10_000), None);
    compare(run, shared(1, 1_000), None);
    compare(run, shared(64, 20_000), Some("dispatch-shared"));
    compare(run, shared(1024, 20_000), None);
    from_drop(run, shared(64, 20_000));
    parts(run);
}

/// Mirrored tasks, beside the combined ceiling.
fn compare(run: &mut Run, way: Way, goal: Option<&'static str>) {
    let way = Way { tasks: run.size(way.tasks).max(way.slots * 2), ..way };
    let what = format!("{}, {} in flight, mirrored", way.name(), way.slots);
    let (ours, limit) = interleaved(run, Unit::PerSecond, || mirrored(way), || way.ceiling().measure());
    match goal {
        Some(goal) => run.report.goal(goal, &what, ours, limit),
        None => run.report.row(&what, ours, limit),
    }
}

fn from_drop(run: &mut Run, way: Way) {
    let way = Way { tasks: run.size(way.tasks), ..way };
    let what = format!("{}, {} in flight, from drop", way.name(), way.slots);
    let (ours, limit) = interleaved(run, Unit::PerSecond, || dropped(way), || way.ceiling().measure());
    run.report.goal("dispatch-drop", &what, ours, limit);
}

/// What the parts of the ceiling come to alone.
fn parts(run: &mut Run) {
    let tasks = run.size(100_000);
    for (what, ceiling) in [
        ("bare WebSocket, shared connection, 64 in flight", Ceiling::bare(Work::Shared, 64, tasks)),
        ("bare WebSocket, shared connection, 256 in flight", Ceiling::bare(Work::Shared, 256, tasks)),
        ("bare WebSocket, connection per task, 64 in flight", Ceiling::bare(Work::Single, 64, tasks / 5)),
        ("bare SQLite, three commits per task, groups of 64", Ceiling::combined(Work::Nothing, 64, tasks)),
        ("bare SQLite, three commits per task, groups of 1024", Ceiling::combined(Work::Nothing, 1024, tasks)),
        ("combined, shared connection, 256 in flight", Ceiling::combined(Work::Shared, 256, tasks)),
    ] {
        let rates: Vec<f64> = (0..run.rounds()).map(|_| ceiling.measure()).collect();
        run.report.limit(what, Figure::of(Unit::PerSecond, &rates));
    }
}

impl Way {
    const fn name(self) -> &'static str {
        match self.protocol {
            Protocol::Base => "connection per task",
            Protocol::Extended => "manifestd/v1",
        }
    }

    /// The same work without us. It is faster, so it gets more of it.
    fn ceiling(self) -> Ceiling {
        let work = match self.protocol {
            Protocol::Base => Work::Single,
            Protocol::Extended => Work::Shared,
        };
        Ceiling::combined(work, self.slots, self.tasks * 2)
    }
}

fn mirrored(way: Way) -> f64 {
    let analyzer = Analyzer::start(way.protocol);
    let workspace = Workspace::new();
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), way.slots, "");
    let _controller = workspace.serve(&[]);
    released(&workspace, &analyzer, "task", way.slots, way.tasks)
}

/// Has so many tasks mirrored, and then done; the rate of those that were Pending when that began.
pub(crate) fn released(workspace: &Workspace, analyzer: &Analyzer, name: &str, slots: u32, tasks: u32) -> f64 {
    let database = workspace.database();
    let (known, done) = (count(&database, KNOWN), count(&database, COMPLETED));
    analyzer.hold();
    let prepared = workspace.prepare(name, 0..tasks, NAME);
    workspace.drop_in(&prepared);
    until_risen(&database, KNOWN, known, tasks, Instant::now());
    let running = format!("SELECT count(*) FROM task WHERE phase = 'Running' AND analyzer = '{NAME}'");
    until(&database, &running, |running| running == u64::from(slots.min(tasks)));
    let began = Instant::now();
    analyzer.release();
    let ended = until_risen(&database, COMPLETED, done, tasks, began);
    f64::from(tasks - slots) / ended.duration_since(began).as_secs_f64()
}

fn dropped(way: Way) -> f64 {
    let analyzer = Analyzer::start(way.protocol);
    let workspace = Workspace::new();
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), way.slots, "");
    let _controller = workspace.serve(&[]);
    let prepared = workspace.prepare("task", 0..way.tasks, NAME);
    let (database, began) = (workspace.database(), Instant::now());
    workspace.drop_in(&prepared);
    let ended = until_risen(&database, COMPLETED, 0, way.tasks, began);
    f64::from(way.tasks) / ended.duration_since(began).as_secs_f64()
}
