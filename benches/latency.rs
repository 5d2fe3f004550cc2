//! How long from the rename of a manifest into the directory to its task being Running, on an idle controller. Prints the median and the
//! worst of 50 beside their limits.
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

/// Tasks that are dropped, one after the other has ended.
const ROUNDS: usize = 50;

/// Wanted on a quiet machine, in milliseconds.
const MEDIAN_MS_MAX: f64 = 5.0;
const WORST_MS_MAX: f64 = 20.0;

fn main() {
    let bench = Bench::start(1);
    let database = bench.database();
    let mut times: Vec<f64> = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let name = format!("task-{round}");
        let prepared = bench.prepare(&format!("{name}.yaml"), &Bench::task(&name));
        let began = Instant::now();
        bench.drop_in(&prepared);
        let started = wait(&database, &name, "attempt >= 1");
        times.push(started.duration_since(began).as_secs_f64() * 1000.0);
        wait(&database, &name, "phase = 'Completed'");
    }
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    println!("drop to Running, {ROUNDS} rounds, idle controller:");
    println!("  median {median:7.2} ms   limit {MEDIAN_MS_MAX} ms   {}", verdict(median <= MEDIAN_MS_MAX));
    println!("  worst  {worst:7.2} ms   limit {WORST_MS_MAX} ms   {}", verdict(worst <= WORST_MS_MAX));
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ok" } else { "short" }
}

/// Looks again and again without a pause, since this is what is measured; gives up after ten seconds.
fn wait(database: &rusqlite::Connection, name: &str, condition: &str) -> Instant {
    let query = format!("SELECT EXISTS (SELECT 1 FROM task WHERE name = ?1 AND {condition})");
    let mut statement = database.prepare(&query).expect("a query");
    let began = Instant::now();
    loop {
        let there: bool = statement.query_row([name], |row| row.get(0)).expect("an answer");
        let now = Instant::now();
        if there {
            return now;
        }
        assert!(now.duration_since(began) < Duration::from_secs(10), "{name} is not yet: {condition}");
    }
}
