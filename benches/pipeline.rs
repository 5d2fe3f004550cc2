//! Pipelines of twenty thousand tasks on the no-op tool: how long a run takes, what it leaves in the database and in memory, and the longest
//! pass over a run at any moment, as the controller itself measured it, beside its limit. One run over a list of items with a step that counts
//! them; one with failures and apps that another step goes on with, and a second round of that.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark prints and measures"
)]

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::Bench;
use rusqlite::Connection;

/// Items of the run with one list, and tasks of the one whose second step follows from the first.
const ITEMS: usize = 20_000;

/// Wanted of the plan of every pass over a run, in milliseconds.
const PASS_MS_MAX: f64 = 5.0;

/// Wanted peak of the resident set, in MiB.
const RSS_MIB_MAX: u64 = 150;

/// Of so many sources one fails.
const FAILS_EVERY: usize = 10;

/// Tasks that fail in this bench cannot be mended, so that a second round tries them again and ends as the first.
const LONGEST: Duration = Duration::from_secs(600);

fn main() {
    listed();
    streamed();
}

/// One step over a list in the manifest, and one that needs it and names how many of it succeeded.
fn listed() {
    let mut items = String::new();
    (0..ITEMS).for_each(|item| write!(items, "item-{item:05}, ").expect("a text"));
    let manifest = format!(
        "apiVersion: manifestd.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: listed}}\nspec:\n  parallelism: 64\n  steps:\n    \
         - name: work\n      analyzer: noop\n      app: app\n      tools: [noop]\n      forEach:\n        items: [{items}]\n    \
         - name: report\n      needs: [work]\n      when: [{{step: work, phases: [Completed], succeededAtLeast: {ITEMS}}}]\n      \
         analyzer: noop\n      app: app\n      tools: [noop]\n      config: {{report: {{worked: '${{steps.work.outputs.succeeded}}'}}}}\n"
    );
    let bench = Bench::start(64);
    let database = bench.database();
    let began = Instant::now();
    bench.drop_in(&bench.prepare("listed.yaml", &manifest));
    wait(&database, "listed-g1", 1, "Completed");
    let took = began.elapsed();
    println!(
        "{ITEMS} items of one list, 64 at once, then a step that counts them ({} KiB of manifest):",
        manifest.len() / 1024
    );
    tell(&bench, &database, took, ITEMS + 1);
    reads(&bench, "listed-g1");
}

/// Apps that one step makes and another goes on with at once, and a third when all have ended. One of ten fails, and all that did is tried again.
fn streamed() {
    let sources = ITEMS / 2;
    let mut items = String::new();
    for item in 0..sources {
        let ok = if item % FAILS_EVERY == 0 { "no" } else { "yes" };
        write!(items, "{{name: app-{item:05}, ok: '{ok}'}}, ").expect("a text");
    }
    let follower = |name: &str, more: &str| {
        format!(
            "    - name: {name}\n      analyzer: noop\n      tools: [noop]\n      forEach: {{appsFrom: make}}\n{more}"
        )
    };
    let manifest = format!(
        "apiVersion: manifestd.dev/v1alpha1\nkind: Analyzer\nmetadata: {{name: maker}}\nspec: {{command: {{argv: [test, '${{config.ok}}', \
         '=', 'yes'], tool: maker}}, capacity: 64}}\n---\n\
         apiVersion: manifestd.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: streamed}}\nspec:\n  parallelism: 64\n  steps:\n    \
         - name: make\n      analyzer: maker\n      backoffLimit: 0\n      config: {{ok: '${{item.ok}}'}}\n      \
         produces: {{app: '${{item.name}}', path: generated/apps/m/app1, model: m, number: '1'}}\n      forEach:\n        items: [{items}]\n{}{}",
        follower("analyse", ""),
        follower("check", "      needs: [analyse]\n      when: [{step: analyse, failedAtMost: 0}]\n"),
    );
    let bench = Bench::start(64);
    let database = bench.database();
    let began = Instant::now();
    bench.drop_in(&bench.prepare("streamed.yaml", &manifest));
    wait(&database, "streamed-g1", 1, "PartialSuccess");
    let (took, failing) = (began.elapsed(), sources.div_ceil(FAILS_EVERY));
    println!("{sources} apps that one step makes and two go on with, one of {FAILS_EVERY} fails:");
    tell(&bench, &database, took, sources + 2 * (sources - failing));
    let began = Instant::now();
    bench.run(&["retry", "run/streamed-g1", "--failed"]);
    wait(&database, "streamed-g1", 2, "PartialSuccess");
    println!("a second round of it, for the {failing} that failed:");
    tell(&bench, &database, began.elapsed(), failing);
    reads(&bench, "streamed-g1");
}

/// Waits for a round of a run to end, and for it to end as it should.
fn wait(database: &Connection, run: &str, round: i64, phase: &str) {
    let query = "SELECT phase, message FROM run WHERE name = ?1 AND round = ?2 AND finished_at IS NOT NULL";
    let mut statement = database.prepare(query).expect("a query");
    let began = Instant::now();
    loop {
        let found = statement.query_row((run, round), |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        let problem: Option<String> =
            database.query_row("SELECT message FROM problem LIMIT 1", [], |row| row.get(0)).ok();
        assert_eq!(problem, None, "the manifest of this bench is refused");
        if let Ok((found, message)) = found {
            assert_eq!(found, phase, "{message}");
            return;
        }
        assert!(began.elapsed() < LONGEST, "{run} does not end");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn tell(bench: &Bench, database: &Connection, took: Duration, tasks: usize) {
    let took = took.as_secs_f64();
    println!("  ended after {took:6.2} s, {:.0} tasks/s", tasks as f64 / took);
    let rows = |table: &str| -> i64 {
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a count")
    };
    println!("  rows: {} task, {} child, {} attempt", rows("task"), rows("child"), rows("attempt"));
    let status: serde_json::Value = serde_json::from_str(&bench.run(&["status", "-o", "json"])).expect("JSON");
    let loops = status["controller"]["loops"].as_array().expect("loops");
    let of = loops.iter().find(|each| each["name"] == "pipelines").expect("the loop of pipelines");
    let ms = |field: &str| of[field].as_f64().expect("a figure") / 1000.0;
    let (plan, commit) = (ms("longest_plan_us"), ms("longest_commit_us"));
    println!("  {} passes over runs and pipelines so far", of["passes"]);
    println!("  longest plan of one pass {plan:.2} ms   limit {PASS_MS_MAX} ms   {}", verdict(plan <= PASS_MS_MAX));
    let look = ms("longest_look_us");
    println!(
        "  longest look and plan {look:.2} ms, with the wait for a reader; longest commit {commit:.2} ms, with the wait for its group"
    );
    let rss = bench.peak_rss_kib() / 1024;
    println!("  peak RSS {rss} MiB   limit {RSS_MIB_MAX} MiB   {}", verdict(rss <= RSS_MIB_MAX));
    let bytes = |name: &str| std::fs::metadata(bench.path(name)).map_or(0, |file| file.len()) / (1 << 20);
    println!("  database {} MiB, log {} MiB", bytes(".manifestd/manifestd.db"), bytes(".manifestd/manifestd.db-wal"));
}

/// How long people wait for what they ask about such a run.
fn reads(bench: &Bench, run: &str) {
    let name = format!("run/{run}");
    for arguments in [&["get", "runs"][..], &["tree", &name], &["why", &name], &["describe", &name]] {
        let began = Instant::now();
        bench.run(arguments);
        println!("  manifestd {} took {} ms", arguments.join(" "), began.elapsed().as_millis());
    }
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ok" } else { "short" }
}
