//! (b) How many durable no-op tasks go from Pending to Completed in a second over WebSocket.
//!
//! *Mirrored*: the analyzer of the bench holds back its answers until all tasks are in the database, Pending but for those that fill its slots. Then
//! it answers, and what counts are the tasks that were Pending at that moment. *From drop*: from the rename of a directory of manifests to the
//! last task Completed. The analyzer is the one of the bench, unless a row names one of ours. Where a row says nothing of result files, the
//! analyzer has `keepResults: OnFailure`, since the ceiling keeps none either.

use std::time::Instant;

use super::served::{Running, Served};
use crate::analyzer::{Analyzer, Protocol};
use crate::ceiling::{Ceiling, Work};
use crate::figure::{Figure, Unit};
use crate::rounds::{Run, interleaved, write_back};
use crate::workspace::{COMPLETED, Controller, KNOWN, Workspace, count, until, until_done, until_known};

/// The name of the analyzer in all manifests of a bench.
pub(crate) const NAME: &str = "bench";

/// One way to dispatch.
#[derive(Debug, Clone, Copy)]
struct Way {
    by: Served,
    slots: u32,
    tasks: u32,
    /// Whether each result becomes files.
    files: bool,
}

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let way = |by, slots, tasks| Way { by, slots, tasks, files: false };
    let (base, extended) = (Served::Bench(Protocol::Base), Served::Bench(Protocol::Extended));
    mirrored(run, way(base, 1, 500), None);
    mirrored(run, way(base, 64, 10_000), Some("dispatch-connection"));
    mirrored(run, way(base, 1024, 10_000), None);
    mirrored(run, way(extended, 1, 1_000), None);
    mirrored(run, way(extended, 64, 20_000), Some("dispatch-shared"));
    mirrored(run, way(extended, 1024, 20_000), None);
    dropped(run, way(base, 64, 10_000), None);
    dropped(run, way(extended, 64, 20_000), Some("dispatch-drop"));
    for by in [base, extended, Served::Embedded, Served::Standalone] {
        dropped(run, Way { files: true, ..way(by, 64, 5_000) }, None);
    }
    parts(run);
}

fn mirrored(run: &mut Run, way: Way, goal: Option<&'static str>) {
    let way = Way { tasks: run.size(way.tasks).max(way.slots * 2), ..way };
    compare(run, way, "mirrored", goal, rate_mirrored);
}

fn dropped(run: &mut Run, way: Way, goal: Option<&'static str>) {
    let way = Way { tasks: run.size(way.tasks), ..way };
    compare(run, way, "from drop", goal, rate_dropped);
}

/// Ours beside the combined ceiling, which does the same work without us.
fn compare(run: &mut Run, way: Way, from: &str, goal: Option<&'static str>, ours: fn(Way) -> f64) {
    let files = if way.files { ", with result files" } else { "" };
    let what = format!("{}, {} in flight, {from}{files}", way.by.name(), way.slots);
    let work = if way.by == Served::Bench(Protocol::Base) { Work::Single } else { Work::Shared };
    // It is faster, so it gets more to do.
    let ceiling = Ceiling::combined(work, way.slots, way.tasks * 2);
    let (ours, limit) = interleaved(run, Unit::PerSecond, || ours(way), || ceiling.measure());
    match goal {
        Some(goal) => run.report.goal(goal, &what, ours, limit),
        None => run.report.row(&what, ours, limit),
    }
}

/// What the parts of the ceiling come to alone.
fn parts(run: &mut Run) {
    let tasks = run.size(100_000);
    for (what, ceiling) in [
        ("combined, shared connection, 256 in flight", Ceiling::combined(Work::Shared, 256, tasks)),
        ("bare WebSocket, shared connection, 64 in flight", Ceiling::bare(Work::Shared, 64, tasks)),
        ("bare WebSocket, shared connection, 256 in flight", Ceiling::bare(Work::Shared, 256, tasks)),
        ("bare WebSocket, connection per task, 64 in flight", Ceiling::bare(Work::Single, 64, tasks / 4)),
        ("bare SQLite, three commits per task, groups of 64", Ceiling::combined(Work::Nothing, 64, tasks)),
        ("bare SQLite, three commits per task, groups of 1024", Ceiling::combined(Work::Nothing, 1024, tasks)),
        ("the same with 500,000 settled tasks", Ceiling::combined(Work::Nothing, 1024, tasks).after(5 * tasks)),
    ] {
        let rates: Vec<f64> = (0..run.rounds()).map(|_| ceiling.measure()).collect();
        run.report.limit(what, Figure::of(Unit::PerSecond, &rates));
    }
}

fn rate_mirrored(way: Way) -> f64 {
    let Served::Bench(protocol) = way.by else {
        unreachable!("only the analyzer of the bench can hold back its answers")
    };
    let analyzer = Analyzer::start(protocol);
    let workspace = Workspace::new();
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), way.slots, keeping(way.files));
    let controller = workspace.serve(&[]);
    released(&workspace, &controller, &analyzer, "task", way.slots, way.tasks)
}

/// Has so many tasks mirrored, and then done; the rate of those that were Pending when that began.
pub(crate) fn released(
    workspace: &Workspace,
    controller: &Controller,
    analyzer: &Analyzer,
    name: &str,
    slots: u32,
    tasks: u32,
) -> f64 {
    let database = workspace.database();
    let (known, done) = (count(&database, KNOWN), count(&database, COMPLETED));
    analyzer.hold();
    let prepared = workspace.prepare(name, 0..tasks, NAME);
    workspace.drop_in(&prepared);
    until_known(&database, known, tasks, Instant::now());
    let running = format!("SELECT count(*) FROM task WHERE phase = 'Running' AND analyzer = '{NAME}'");
    until(&database, &running, |running| running == u64::from(slots.min(tasks)));
    controller.until_calm();
    write_back();
    let began = Instant::now();
    analyzer.release();
    let ended = until_done(&database, NAME, done, tasks, began);
    f64::from(tasks - slots) / ended.duration_since(began).as_secs_f64()
}

fn rate_dropped(way: Way) -> f64 {
    let workspace = Workspace::new();
    let service = Running::start(way.by, &workspace);
    workspace.declare_service(NAME, service.url(), way.slots, keeping(way.files));
    let _controller = workspace.serve(service.arguments());
    let prepared = workspace.prepare("task", 0..way.tasks, NAME);
    write_back();
    let (database, began) = (workspace.database(), Instant::now());
    workspace.drop_in(&prepared);
    let ended = until_done(&database, NAME, 0, way.tasks, began);
    f64::from(way.tasks) / ended.duration_since(began).as_secs_f64()
}

/// The tail of an analyzer's spec that says whether results of completed attempts become files.
pub(crate) const fn keeping(files: bool) -> &'static str {
    if files { "" } else { "  keepResults: OnFailure\n" }
}
