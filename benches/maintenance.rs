//! A hundred thousand app directories and a million finished tasks: how long `reconcile --once` takes with nothing to do, and how long a task
//! that is dropped waits while fifty thousand expired ones are deleted and as many set aside. Each beside its limit, with the peak of memory.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark prints and measures"
)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Bench;
use manifestd::store::database_path;
use rusqlite::{Connection, params};

/// Directories that an AppSet finds.
const APPS: usize = 100_000;

/// Finished tasks, each with an attempt and an event.
const TASKS: i64 = 1_000_000;

/// Tasks of these that are deleted, and as many that are set aside.
const EXPIRED: i64 = 50_000;

/// Tasks that are dropped before maintenance runs.
const ROUNDS: usize = 50;

/// Wanted of a run with nothing to do, in seconds.
const QUIET_S_MAX: f64 = 2.0;

/// Wanted of every dispatch while tasks are deleted, in milliseconds.
const DISPATCH_MS_MAX: f64 = 50.0;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn main() {
    let directory = Bench::workspace(4);
    for app in 0..APPS {
        let place = directory.path().join(format!("generated/found/model{}/app{}", app / 1000, app % 1000 + 1));
        std::fs::create_dir_all(place).expect("an app");
    }
    let set =
        "apiVersion: manifestd.dev/v1alpha1\nkind: AppSet\nmetadata: {name: found}\nspec: {root: generated/found}\n";
    std::fs::write(directory.path().join("manifests/found.yaml"), set).expect("an AppSet");
    let (took, rss) = once(directory.path());
    println!("{APPS} directories found by reconcile --once: {took:6.2} s, peak RSS {rss} MiB");
    let began = Instant::now();
    fill(directory.path());
    println!("{TASKS} finished tasks written by the bench in {:.0} s", began.elapsed().as_secs_f64());
    for round in ["first", "second"] {
        let (took, rss) = once(directory.path());
        println!(
            "reconcile --once with nothing to do, {round}: {took:6.2} s   limit {QUIET_S_MAX} s   {}; peak RSS {rss} MiB",
            verdict(took <= QUIET_S_MAX)
        );
    }
    expire(directory.path());
    let bench = Bench::serve(directory);
    let database = bench.database();
    let idle: Vec<f64> = (0..ROUNDS).map(|round| dispatch(&bench, &database, &format!("idle-{round}"))).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
    command.args(["reconcile", "--once", "--only", "maintenance", "-o", "json", "--workspace"]).arg(bench.path(""));
    let began = Instant::now();
    let mut maintenance = command.stdout(Stdio::null()).spawn().expect("the binary");
    let mut busy = Vec::new();
    while maintenance.try_wait().expect("a child").is_none() {
        busy.push(dispatch(&bench, &database, &format!("busy-{}", busy.len())));
    }
    let took = began.elapsed().as_secs_f64();
    let left: i64 = database
        .query_row("SELECT count(*) FROM task WHERE name LIKE 'old-%' AND aside_at IS NULL", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(left, TASKS - 2 * EXPIRED, "what had expired is gone or set aside, and nothing else");
    println!(
        "{EXPIRED} expired tasks deleted and {EXPIRED} set aside in {took:.1} s, beside a controller that dispatches:"
    );
    println!("  drop to Running while idle: median {:.2} ms, worst {:.2} ms of {ROUNDS}", median(&idle), worst(&idle));
    println!(
        "  drop to Running meanwhile:  median {:.2} ms, worst {:.2} ms of {}   limit {DISPATCH_MS_MAX} ms   {}",
        median(&busy),
        worst(&busy),
        busy.len(),
        verdict(worst(&busy) <= DISPATCH_MS_MAX)
    );
    println!("  peak RSS of the controller {} MiB", bench.peak_rss_kib() / 1024);
}

/// Runs `reconcile --once`; gives its seconds and the peak of its memory in MiB.
fn once(workspace: &Path) -> (f64, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manifestd"));
    command.args(["reconcile", "--once", "-o", "json", "--workspace"]).arg(workspace);
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("the binary");
    let mut peak = 0;
    loop {
        let ended = child.try_wait().expect("a child");
        if let Some(status) = ended {
            assert!(status.success(), "reconcile --once: {status}");
            return (began.elapsed().as_secs_f64(), peak / 1024);
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
        peak = peak.max(now.unwrap_or(0));
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Writes what a million tasks leave whose manifests were taken away since.
fn fill(workspace: &Path) {
    let mut connection = open(workspace);
    let now = now_ms();
    let transaction = connection.transaction().expect("a transaction");
    {
        let statements = [
            "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, removed_at, file, line, digest)
             VALUES (?1, 'Task', ?2, '{}', '{}', '{\"app\":\"app\",\"analyzer\":\"noop\"}', 1, ?3, ?3, ?3, 'old.yaml', 1, '')",
            "INSERT INTO task (uid, name, app, analyzer, priority, created_at, generation, observed_generation, removed, phase, reason, attempt,
                 started_at, finished_at, since)
             VALUES (?1, ?2, 'app', 'noop', 100, ?3, 1, 1, 1, 'Completed', 'AllToolsRan', 1, ?3, ?3, ?3)",
            "INSERT INTO attempt (task_uid, number, round, generation, analyzer, replica, opened_at, deadline_at, ended_at, outcome, reason, message,
                 tools) VALUES (?1, 1, 1, 1, 'noop', '', ?3, ?3, ?3, 'Completed', 'AllToolsRan', ?2, '[]')",
            "INSERT INTO event (uid, kind, name, type, reason, message, first_at, last_at)
             VALUES (?1, 'Task', ?2, 'Normal', 'Completed', 'AllToolsRan: 1 tool ran', ?3, ?3)",
        ];
        let mut prepared: Vec<_> =
            statements.iter().map(|text| transaction.prepare(text).expect("a statement")).collect();
        for number in 0..TASKS {
            let (uid, name) = (format!("{number:08x}-0000-7000-8000-000000000000"), format!("old-{number:07}"));
            // Over three weeks, the oldest first.
            let at = now - 21 * DAY_MS + number * 20 * DAY_MS / TASKS;
            prepared.iter_mut().for_each(|each| _ = each.execute(params![uid, name, at]).expect("a row"));
        }
    }
    transaction.commit().expect("a commit");
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").expect("a checkpoint");
}

/// Makes the oldest tasks as old as those that are deleted, and the next as old as those that are set aside.
fn expire(workspace: &Path) {
    let connection = open(workspace);
    let (long_ago, ago) = (now_ms() - 60 * DAY_MS, now_ms() - 10 * DAY_MS);
    connection
        .execute_batch(&format!(
            "DROP TRIGGER task_terminal_is_final;
             UPDATE task SET finished_at = {long_ago}, aside_at = {ago} WHERE name LIKE 'old-%' AND name < 'old-{EXPIRED:07}';
             UPDATE task SET finished_at = {long_ago} WHERE name >= 'old-{EXPIRED:07}' AND name < 'old-{:07}';",
            2 * EXPIRED
        ))
        .expect("an update");
}

fn open(workspace: &Path) -> Connection {
    let connection = Connection::open(database_path(&workspace.join(".manifestd"))).expect("the database");
    connection.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    connection
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_millis()).expect("a time")
}

/// Drops a task; gives the milliseconds until it is Running.
fn dispatch(bench: &Bench, database: &Connection, name: &str) -> f64 {
    let prepared = bench.prepare(&format!("{name}.yaml"), &Bench::task(name));
    let began = Instant::now();
    bench.drop_in(&prepared);
    let mut statement = database
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM task WHERE name = ?1 AND attempt >= 1)")
        .expect("a query");
    while !statement.query_row([name], |row| row.get::<_, bool>(0)).expect("an answer") {
        assert!(began.elapsed() < Duration::from_secs(30), "{name} does not start");
    }
    began.elapsed().as_secs_f64() * 1000.0
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn worst(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ok" } else { "short" }
}
