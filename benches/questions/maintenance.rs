//! A hundred thousand app directories and a million finished tasks: how long `reconcile --once` takes with nothing to do, and how long a task that is
//! dropped waits while fifty thousand expired ones are deleted and as many set aside.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use manifestd::store::database_path;
use rusqlite::Connection;

use super::latency::Scene;
use super::states::fill;
use crate::figure::{Figure, Unit, percentile};
use crate::rounds::Run;
use crate::workspace::{Workspace, count};

/// Directories that an AppSet finds.
const APPS: u32 = 100_000;

/// Finished tasks.
const TASKS: u32 = 1_000_000;

/// Tasks of these that are deleted, and as many that are set aside.
const EXPIRED: u32 = 50_000;

/// Tasks that are dropped before maintenance runs.
const DROPS: u32 = 50;

/// Wanted of a run with nothing to do, in seconds.
const QUIET_S_MAX: f64 = 2.0;

/// Wanted of every dispatch while tasks are deleted, in milliseconds.
const DISPATCH_MS_MAX: f64 = 50.0;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let workspace = Workspace::new();
    let (apps, tasks, expired) = (run.size(APPS), run.size(TASKS), run.size(EXPIRED));
    for app in 0..apps {
        let place = workspace.path(format!("generated/found/model{}/app{}", app / 1000, app % 1000 + 1));
        std::fs::create_dir_all(place).expect("an app");
    }
    workspace.declare("found", "kind: AppSet\nmetadata: {name: found}\nspec: {root: generated/found}\n");
    let (took, rss) = once(&workspace);
    run.report.ours(&format!("reconcile --once that finds {apps} directories"), took);
    run.report.ours("  peak RSS", rss);
    fill(&workspace.path(".manifestd"), tasks);
    for round in ["first", "second"] {
        let (took, rss) = once(&workspace);
        let what = format!("reconcile --once with nothing to do, {tasks} finished, {round}");
        run.report.row(&what, took, Figure::exact(Unit::Seconds, QUIET_S_MAX));
        run.report.ours("  peak RSS", rss);
    }
    expire(&workspace, expired);
    let mut scene = Scene::new(&workspace, "beside");
    let idle: Vec<f64> = (0..DROPS).map(|_| scene.drop_one()).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
    command.args(["reconcile", "--once", "--only", "maintenance", "-o", "json", "--workspace"]).arg(workspace.path(""));
    let began = Instant::now();
    let mut maintenance = command.stdout(Stdio::null()).spawn().expect("the binary");
    let mut busy = Vec::new();
    while maintenance.try_wait().expect("a child").is_none() {
        busy.push(scene.drop_one());
    }
    let took = Figure::exact(Unit::Seconds, began.elapsed().as_secs_f64());
    let left = count(&workspace.database(), "SELECT count(*) FROM task WHERE name LIKE 'old-%' AND aside_at IS NULL");
    assert_eq!(left, u64::from(tasks - 2 * expired), "what had expired is gone or set aside, and nothing else");
    run.report.ours(&format!("{expired} expired tasks deleted and {expired} set aside"), took);
    let figure = |times: &[f64], percent| Figure::exact(Unit::Millis, percentile(times, percent));
    run.report.ours("  rename to request before, p50", figure(&idle, 50.0));
    run.report.ours("  rename to request meanwhile, p50", figure(&busy, 50.0));
    let limit = Figure::exact(Unit::Millis, DISPATCH_MS_MAX);
    run.report.row("  rename to request meanwhile, worst", figure(&busy, 100.0), limit);
    run.report.ours("  peak RSS of the controller", Figure::exact(Unit::MiB, scene.peak_rss_mib()));
}

/// Runs `reconcile --once`; gives its time and the peak of its memory.
fn once(workspace: &Workspace) -> (Figure, Figure) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
    command.args(["reconcile", "--once", "-o", "json", "--workspace"]).arg(workspace.path(""));
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("the binary");
    let mut peak: f64 = 0.0;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(status.success(), "reconcile --once: {status}");
            let took = Figure::exact(Unit::Seconds, began.elapsed().as_secs_f64());
            return (took, Figure::exact(Unit::MiB, peak / 1024.0));
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
        peak = peak.max(now.unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes the oldest tasks as old as those that are deleted, and the next as old as those that are set aside.
fn expire(workspace: &Workspace, expired: u32) {
    let connection = Connection::open(database_path(&workspace.path(".manifestd"))).expect("the database");
    connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let now = i64::try_from(now.as_millis()).expect("a time");
    let (long_ago, ago) = (now - 60 * DAY_MS, now - 10 * DAY_MS);
    connection
        .execute_batch(&format!(
            "DROP TRIGGER task_terminal_is_final;
             UPDATE task SET finished_at = {long_ago}, aside_at = {ago} WHERE name LIKE 'old-%' AND name < 'old-{expired:07}';
             UPDATE task SET finished_at = {long_ago} WHERE name >= 'old-{expired:07}' AND name < 'old-{:07}';",
            2 * expired
        ))
        .expect("an update");
}
