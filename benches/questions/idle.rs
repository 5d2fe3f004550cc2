//! (f) What a controller costs that has nothing to do, with a million finished tasks in its database.

use std::time::Duration;

use super::dispatch::{NAME, keeping, released};
use super::states::State;
use crate::analyzer::{Analyzer, Protocol};
use crate::figure::{Figure, Unit};
use crate::rounds::Run;
use crate::workspace::{Controller, Workspace};

/// Wanted of the resident set, in MiB.
const RSS_MIB_MAX: f64 = 20.0;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// How long it is left alone first: what a start or a burst of work leaves behind ends within a minute, such as a connection that nobody uses.
const LEFT_ALONE: Duration = Duration::from_secs(65);

/// Settings under which nothing is due while it is watched.
const BETWEEN_RESYNCS: &str = "taskPollInterval: 10m\nscanInterval: 1h\nrescanInterval: 1h\n";

/// Tasks of the burst of work.
const TASKS: u32 = 10_000;

/// What a controller had of the machine up to a moment.
#[derive(Debug, Clone, Copy)]
struct Spent {
    ticks: u64,
    cpu_ms: f64,
    wakeups: u64,
}

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let workspace = run.state(State::Finished(1_000_000));
    let analyzer = Analyzer::start(Protocol::Extended);
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), 64, keeping(false));
    workspace.settle(BETWEEN_RESYNCS);
    let controller = workspace.serve(&[]);
    let (ticks, limit) = (Figure::exact(Unit::Count, 0.0), Figure::exact(Unit::MiB, RSS_MIB_MAX));
    let spent = watch(run, &controller);
    run.report.goal("idle-rss", "RSS after a start", rss(&controller, "VmRSS"), limit);
    run.report.goal("idle-ticks", "CPU ticks in 60 s between resyncs", count(spent.ticks), ticks);
    run.report.ours("the same as processor time", Figure::exact(Unit::Millis, spent.cpu_ms));
    run.report.row("wake-ups in 60 s between resyncs", count(spent.wakeups), ticks);
    let tasks = run.size(TASKS);
    released(&workspace, &analyzer, "burst", 64, tasks);
    let spent = watch(run, &controller);
    run.report.row(&format!("RSS after {tasks} tasks more"), rss(&controller, "VmRSS"), limit);
    run.report.ours("its peak meanwhile", rss(&controller, "VmHWM"));
    run.report.row("wake-ups in 60 s between resyncs, after them", count(spent.wakeups), ticks);
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
    let before = spent(controller);
    std::thread::sleep(WATCHED / share);
    let after = spent(controller);
    Spent {
        ticks: after.ticks - before.ticks,
        cpu_ms: after.cpu_ms - before.cpu_ms,
        wakeups: after.wakeups - before.wakeups,
    }
}

fn spent(controller: &Controller) -> Spent {
    let process = format!("/proc/{}", controller.pid());
    let stat = std::fs::read_to_string(format!("{process}/stat")).expect("/proc");
    // Behind the name, which may hold anything: the twelfth and thirteenth field are user and system time.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
    let mut spent = Spent { ticks, cpu_ms: 0.0, wakeups: 0 };
    for thread in std::fs::read_dir(format!("{process}/task")).expect("/proc") {
        let thread = thread.expect("a thread").path();
        // A thread may end between the listing and the look.
        let read = |name: &str| std::fs::read_to_string(thread.join(name)).unwrap_or_default();
        let nanos = read("schedstat").split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok());
        spent.cpu_ms += nanos.unwrap_or_default() / 1e6;
        let status = read("status");
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        spent.wakeups += switches.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default();
    }
    spent
}

fn rss(controller: &Controller, field: &str) -> Figure {
    Figure::exact(Unit::MiB, controller.status(field) as f64 / 1024.0)
}

fn count(count: u64) -> Figure {
    Figure::exact(Unit::Count, count as f64)
}
