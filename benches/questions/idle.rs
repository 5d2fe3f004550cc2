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

/// Tasks of the burst of work, and how many at once.
const TASKS: u32 = 10_000;
const SLOTS: u32 = 64;

/// What a controller had of the machine.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    ticks: u64,
    cpu_ms: f64,
    wakeups: u64,
}

/// Measures all of it: three controllers, each with a state of its own, are left alone and watched at the same time.
pub(crate) fn measure(run: &mut Run) {
    let analyzers = [(); 3].map(|()| Analyzer::start(Protocol::Extended));
    let states = [BETWEEN_RESYNCS, BETWEEN_RESYNCS, ""].map(|settings| (run.finished(1_000_000), settings));
    let begin = |((workspace, settings), analyzer): (&(Workspace, &str), &Analyzer)| {
        workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), SLOTS, keeping(false));
        workspace.settle(settings);
        workspace.serve(&[])
    };
    let controllers: Vec<Controller> = states.iter().zip(&analyzers).map(begin).collect();
    let [(_, _), (worked, _), (_, _)] = &states;
    let tasks = run.size(TASKS);
    released(worked, &controllers[1], &analyzers[1], "burst", SLOTS, tasks);
    let spent = watch(run, &controllers);
    let limit = Figure::exact(Unit::MiB, RSS_MIB_MAX);
    run.report.goal("idle-rss", "RSS after a start", rss(&controllers[0], "VmRSS"), limit);
    run.report.goal("idle-ticks", "CPU ticks in 60 s between resyncs", count(spent[0].ticks), count(0));
    run.report.ours("the same as processor time", Figure::exact(Unit::Millis, spent[0].cpu_ms));
    run.report.ours("wake-ups in 60 s between resyncs", count(spent[0].wakeups));
    run.report.row(&format!("RSS after {tasks} tasks more"), rss(&controllers[1], "VmRSS"), limit);
    run.report.ours("its peak meanwhile", rss(&controllers[1], "VmHWM"));
    run.report.ours("processor time in 60 s between resyncs, after them", Figure::exact(Unit::Millis, spent[1].cpu_ms));
    run.report.ours("wake-ups in 60 s between resyncs, after them", count(spent[1].wakeups));
    run.report.ours("processor time in 60 s with default settings", Figure::exact(Unit::Millis, spent[2].cpu_ms));
    run.report.ours("wake-ups in 60 s with default settings", count(spent[2].wakeups));
    controllers.into_iter().for_each(Controller::stop);
}

/// Leaves them alone for a while, then watches them.
fn watch(run: &Run, controllers: &[Controller]) -> Vec<Spent> {
    let share = if run.quick { 10 } else { 1 };
    std::thread::sleep(LEFT_ALONE / share);
    let look = || controllers.iter().map(|controller| (controller.ticks(), threads(controller))).collect::<Vec<_>>();
    let before = look();
    std::thread::sleep(WATCHED / share);
    before.iter().zip(look()).map(|(before, after)| spent(before, &after)).collect()
}

/// Ticks of a controller, and what its threads had.
type Seen = (u64, HashMap<OsString, (f64, u64)>);

/// What it had of the machine between two looks.
fn spent((ticks_before, before): &Seen, (ticks, after): &Seen) -> Spent {
    let mut spent = Spent { ticks: ticks - ticks_before, ..Spent::default() };
    for (thread, (cpu_ms, wakeups)) in after {
        let (cpu_ms_before, wakeups_before) = before.get(thread).copied().unwrap_or_default();
        spent.cpu_ms += cpu_ms - cpu_ms_before;
        spent.wakeups += wakeups - wakeups_before;
    }
    // A thread that has ended since was awake for that.
    spent.wakeups += before.keys().filter(|thread| !after.contains_key(*thread)).count() as u64;
    spent
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
