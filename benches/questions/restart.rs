//! (g) How long from the start of the program to the arrival of its first request, with a million finished tasks and ten thousand Pending.

use std::time::{Duration, Instant};

use super::dispatch::NAME;
use crate::analyzer::{Analyzer, Protocol};
use crate::figure::{Figure, Unit};
use crate::rounds::Run;
use crate::workspace::{Controller, until_known};

/// Wanted, in milliseconds.
const MS_MAX: f64 = 300.0;

/// Tasks that wait.
const PENDING: u32 = 10_000;

/// Slots of their analyzer. Each start uses up so many of the tasks.
const SLOTS: u32 = 4;

/// Starts that are measured.
const STARTS: usize = 9;

/// No start takes longer; then something is wrong.
const LONGEST: Duration = Duration::from_secs(60);

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let workspace = run.finished(1_000_000);
    let (analyzer, arrivals) = Analyzer::telling(Protocol::Extended);
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), SLOTS, "");
    let pending = run.size(PENDING);
    let prepared = workspace.prepare("restart", 0..pending, NAME);
    analyzer.hold();
    workspace.drop_in(&prepared);
    let controller = workspace.serve(&[]);
    until_known(&workspace.database(), 0, pending, Instant::now());
    arrivals.recv_timeout(LONGEST).expect("an arrival");
    // Asked to end, it opens nothing more; then the open requests are answered, so that the next start has none to take up.
    let end = |controller: Controller| {
        controller.ask_to_end();
        std::thread::sleep(Duration::from_millis(50));
        analyzer.release();
        controller.ended();
        while arrivals.try_recv().is_ok() {}
        analyzer.hold();
    };
    end(controller);
    let times: Vec<f64> = (0..if run.quick { 2 } else { STARTS })
        .map(|_| {
            let began = Instant::now();
            let controller = workspace.spawn(&[]);
            let arrived = arrivals.recv_timeout(LONGEST).expect("an arrival");
            controller.until_said("serving");
            end(controller);
            arrived.duration_since(began).as_secs_f64() * 1000.0
        })
        .collect();
    let limit = Figure::exact(Unit::Millis, MS_MAX);
    run.report.goal("restart-1e6", "start to first request, 10,000 Pending", Figure::of(Unit::Millis, &times), limit);
}
