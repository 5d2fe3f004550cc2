//! (f) What a controller costs that has nothing to do, with a million finished tasks in its database.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use super::dispatch::{NAME, keeping, released};
use crate::analyzer::{Analyzer, Protocol};
use crate::figure::{Figure, Unit};
use crate::rounds::Run;
use crate::workspace::{Controller, Workspace};

/// Wanted of the resident set: 20 MB, in MiB.
const RSS_MIB_MAX: f64 = 20e6 / (1024.0 * 1024.0);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// How long it is left alone first: what a start or a burst of work leaves behind ends within a minute, such as a connection that nobody uses.
const LEFT_ALONE: Duration = Duration::from_secs(65);

/// Settings under which nothing is due while it is watched.
const BETWEEN_RESYNCS: &str = "taskPollInterval: 10m\nscanInterval: 1h\nrescanInterval: 1h\n";

/// Tasks of the burst of work.
const TASKS: u32 = 10_000;

/// What a controller had of the machine.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    ticks: u64,
    cpu_ms: f64,
    wakeups: u64,
}

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let workspace = run.finished(1_000_000);
    let analyzer = Analyzer::start(Protocol::Extended);
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), 64, keeping(false));
    workspace.settle(BETWEEN_RESYNCS);
    let controller = workspace.serve(&[]);
    let (ticks, limit) = (Figure::exact(Unit::Count, 0.0), Figure::exact(Unit::MiB, RSS_MIB_MAX));
    let spent = watch(run, &controller);
    run.report.goal("idle-rss", "RSS after a start", rss(&controller, "VmRSS"), limit);
    run.report.goal("idle-ticks", "CPU ticks in 60 s between resyncs", count(spent.ticks), ticks);
    run.report.ours("the same as processor time", Figure::exact(Unit::Millis, spent.cpu_ms));
    run.report.ours("wake-ups in 60 s between resyncs", count(spent.wakeups));
    let tasks = run.size(TASKS);
    released(&workspace, &analyzer, "burst", 64, tasks);
    let spent = watch(run, &controller);
    run.report.row(&format!("RSS after {tasks} tasks more"), rss(&controller, "VmRSS"), limit);
    run.report.ours("its peak meanwhile", rss(&controller, "VmHWM"));
    run.report.ours("wake-ups in 60 s between resyncs, after them", count(spent.wakeups));
    controller.stop();
    by_default(run, &workspace);
}

/// The same with the default settings.
fn by_default(run: &mut Run, workspace: &Workspace) {
    workspace.settle("");
    let controller = workspace.serve(&[]);
    let spent = watch(run, &controller);
    run.report.ours("processor time in 60 s with default settings", Figure::exact(Unit::Millis, spent.cpu_ms));
    run.report.ours("wake-ups in 60 s with default settings", count(spent.wakeups));
    controller.stop();
}

/// Leaves it alone for a while, then watches it.
fn watch(run: &Run, controller: &Controller) -> Spent {
    let share = if run.quick { 10 } else { 1 };
    std::thread::sleep(LEFT_ALONE / share);
    let (ticks, before) = (ticks(controller), threads(controller));
    std::thread::sleep(WATCHED / share);
    let mut spent = Spent { ticks: self::ticks(controller) - ticks, ..Spent::default() };
    let after = threads(controller);
    for (thread, (cpu_ms, wakeups)) in &after {
        let (cpu_ms_before, wakeups_before) = before.get(thread).copied().unwrap_or_default();
        spent.cpu_ms += cpu_ms - cpu_ms_before;
        spent.wakeups += wakeups - wakeups_before;
    }
    // A thread that has ended since was awake for that.
    spent.wakeups += before.keys().filter(|thread| !after.contains_key(*thread)).count() as u64;
    spent
}

/// Ticks of processor time that it has had.
fn ticks(controller: &Controller) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", controller.pid())).expect("/proc");
    // Behind the name, which may hold anything: the twelfth and thirteenth field are user and system time.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum()
}

/// Of each thread the milliseconds of processor time that it has had, and how often it has gone to sleep, which is as often as it was woken.
fn threads(controller: &Controller) -> HashMap<OsString, (f64, u64)> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", controller.pid())).expect("/proc");
    let look = |thread: std::io::Result<std::fs::DirEntry>| {
        let thread = thread.expect("a thread");
        // A thread may end between the listing and the look.
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let nanos = read("schedstat").split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok());
        let status = read("status");
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let wakeups = switches.and_then(|count| count.trim().parse().ok());
        Some((thread.file_name(), (nanos? / 1e6, wakeups?)))
    };
    threads.filter_map(look).collect()
}

fn rss(controller: &Controller, field: &str) -> Figure {
    Figure::exact(Unit::MiB, controller.status(field) as f64 / 1024.0)
}

fn count(count: u64) -> Figure {
    Figure::exact(Unit::Count, count as f64)
}
