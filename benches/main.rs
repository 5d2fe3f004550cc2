//! `make bench`: measures the real binary, in the release profile, as a process of its own in a temporary workspace, beside the limits of the
//! machine, which are measured in the same run. One table, and at its end one line for each goal.
//!
//!     cargo bench --bench bench                         everything
//!     cargo bench --bench bench -- dispatch idle        only these questions
//!     cargo bench --bench bench -- --quick              small sizes: does it work?
//!     cargo bench --bench bench -- --record             writes what was measured into docs/benchmarks.md, too
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark prints and measures, and ends at once when something is not as it should be"
)]

mod analyzer;
mod ceiling;
mod figure;
mod goals;
mod machine;
mod page;
mod questions;
mod report;
mod rounds;
mod workspace;

use ceiling::Ceiling;
use machine::Machine;
use questions::{commands, dispatch, history, idle, ingest, latency, maintenance, peers, pipeline, restart};
use report::Report;
use rounds::Run;

/// The allocator of the program that is measured, for the limits as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A question: its name on the command line, its title in the table, and what measures it.
type Question = (&'static str, &'static str, fn(&mut Run));

/// The question that needs programs which are installed first, by `make bench-peers`: asked only by its name.
const PEERS: &str = "peers";

/// Every question, in the order of the table.
const QUESTIONS: [Question; 10] = [
    ("ingest", "(a) ingest: from manifests on disk to tasks that are visible and Pending", ingest::measure),
    ("dispatch", "(b) dispatch: durable no-op tasks from Pending to Completed over WebSocket", dispatch::measure),
    ("latency", "(c) latency: from the rename of a manifest to its task Running", latency::measure),
    ("commands", "(d) commands: from the drop of manifests to Completed", commands::measure),
    (
        "history",
        "(e) history: dispatch and passes with what has ended, and with what waits elsewhere",
        history::measure,
    ),
    ("idle", "(f) idle: nothing to do, with 1,000,000 finished tasks", idle::measure),
    ("restart", "(g) restart: with 1,000,000 finished tasks and 10,000 Pending", restart::measure),
    ("pipeline", "pipelines: runs of 20,000 tasks", pipeline::measure),
    ("maintenance", "maintenance: 100,000 directories and 1,000,000 finished tasks", maintenance::measure),
    (PEERS, "other queues, in turns with ours", peers::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(ceiling) = Ceiling::read(&arguments) {
        println!("{}", ceiling.run());
        return;
    }
    let mut run = Run::default();
    let (mut only, mut record): (Vec<&str>, bool) = (Vec::new(), false);
    for argument in &arguments {
        match argument.as_str() {
            // Cargo's own word.
            "--bench" => {}
            "--quick" => run.quick = true,
            "--record" => record = true,
            name if QUESTIONS.iter().any(|(known, ..)| *known == name) => only.push(name),
            unknown => {
                let names: Vec<&str> = QUESTIONS.iter().map(|(name, ..)| *name).collect();
                refuse(&format!("{unknown:?} is no question; there are: {}; and --quick, --record", names.join(", ")));
            }
        }
    }
    if run.quick && record {
        refuse(
            "the figures of a quick run say nothing, so they are not recorded; leave one of --quick and --record out",
        );
    }
    let machine = Machine::look();
    println!("{machine}");
    if run.quick {
        println!("Small sizes, one round: these figures only show that the bench works.");
    }
    Report::head();
    for (name, title, measure) in QUESTIONS {
        if only.contains(&name) || (only.is_empty() && name != PEERS) {
            run.report.section(name, title);
            measure(&mut run);
        }
    }
    run.report.tell_goals();
    if record {
        page::record(&machine, &run.report);
    }
}

fn refuse(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(2);
}
