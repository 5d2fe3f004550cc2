//! Ten thousand task manifests dropped at once on the no-op tool: how long until all are Completed, and the controller's peak memory beside
//! its limit.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark prints and measures"
)]

mod common;

use std::time::{Duration, Instant};

use common::Bench;

/// Tasks, one file each.
const TASKS: usize = 10_000;

/// Wanted peak of the resident set, in MiB.
const RSS_MIB_MAX: u64 = 100;

fn main() {
    let bench = Bench::start(64);
    let directory = bench.path("prepared");
    std::fs::create_dir(&directory).expect("a directory");
    for number in 0..TASKS {
        let name = format!("task-{number:05}");
        std::fs::write(directory.join(format!("{name}.yaml")), Bench::task(&name)).expect("a file");
    }
    let database = bench.database();
    let began = Instant::now();
    // One rename: all files are there at the same moment.
    std::fs::rename(&directory, bench.path("manifests/all")).expect("a rename");
    let mut visible = None;
    loop {
        let (known, completed): (usize, usize) = database
            .query_row("SELECT count(*), count(*) FILTER (WHERE phase = 'Completed') FROM task", [], |row| {
                Ok((row.get::<_, i64>(0)? as usize, row.get::<_, i64>(1)? as usize))
            })
            .expect("an answer");
        if known == TASKS && visible.is_none() {
            visible = Some(began.elapsed());
        }
        if completed == TASKS {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(600), "only {completed} of {TASKS} are Completed");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let took = began.elapsed().as_secs_f64();
    let rss = bench.peak_rss_kib() / 1024;
    println!("{TASKS} no-op tasks from one drop, 64 at once, a result on disk for each:");
    println!("  all visible after {:6.2} s", visible.unwrap_or_default().as_secs_f64());
    println!("  all Completed after {took:6.2} s, {:.0} tasks/s", TASKS as f64 / took);
    println!("  peak RSS {rss} MiB   limit {RSS_MIB_MAX} MiB   {}", if rss <= RSS_MIB_MAX { "ok" } else { "short" });
}
