//! (e) Whether what has ended costs anything: the rate of dispatch, and the time of a pass, with finished tasks in the database and with many that are
//! Pending elsewhere.
//!
//! A pass is what a dropped task waits for: the mirror reads the manifest, its lane is looked at, planned and committed, and the request arrives.

use super::dispatch::{NAME, keeping, released};
use super::latency::{Scene, in_turns};
use crate::analyzer::{Analyzer, Protocol};
use crate::figure::{Figure, Unit, percentile};
use crate::rounds::Run;
use crate::workspace::Workspace;

/// Tasks that are dispatched in each round.
const TASKS: u32 = 10_000;

/// Requests in flight.
const SLOTS: u32 = 64;

/// Drops whose median is the time of a pass.
const DROPS: u32 = 400;

/// What is in the database, and the goals of the rate and of the pass.
const STATES: [(&str, &str, &str); 3] = [
    ("100,000 finished", "history-rate-1e5", "history-pass-1e5"),
    ("1,000,000 finished", "history-rate-1e6", "history-pass-1e6"),
    ("100,000 Pending elsewhere", "pending-rate-1e5", "pending-pass-1e5"),
];

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let (none, some, many) = (Workspace::new(), run.finished(100_000), run.finished(1_000_000));
    let pending = run.pending(100_000);
    rates(run, &[&none, &some, &many, &pending]);
    passes(run, &[&none, &some, &many, &pending]);
    once(run, &[&none, &some, &many]);
}

fn rates(run: &mut Run, workspaces: &[&Workspace]) {
    let tasks = run.size(TASKS).max(SLOTS * 2);
    let mut rates = vec![Vec::new(); workspaces.len()];
    // Twice as many as elsewhere, for what is compared is nearly the same, and an even number: every other round goes the other way round, so that
    // nobody is first more often than last.
    for round in 0..2 * run.rounds() {
        let mut turns: Vec<_> = workspaces.iter().zip(&mut rates).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (workspace, rates) in turns {
            let analyzer = Analyzer::start(Protocol::Extended);
            workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), SLOTS, keeping(false));
            let controller = workspace.serve(&[]);
            rates.push(released(workspace, &controller, &analyzer, &format!("round{round}"), SLOTS, tasks));
            controller.stop();
        }
    }
    let figures: Vec<Figure> = rates.iter().map(|rates| Figure::of(Unit::PerSecond, rates)).collect();
    for ((what, goal, _), with) in STATES.into_iter().zip(&figures[1..]) {
        let what = format!("dispatch, {SLOTS} in flight, {what} (limit: with none)");
        run.report.goal(goal, &what, *with, figures[0]);
    }
}

fn passes(run: &mut Run, workspaces: &[&Workspace]) {
    let mut scenes: Vec<Scene<'_>> = workspaces.iter().map(|workspace| Scene::new(workspace, "pass")).collect();
    let times = in_turns(&mut scenes, run.size(DROPS));
    let figures: Vec<Figure> = times.iter().map(|times| Figure::exact(Unit::Millis, percentile(times, 50.0))).collect();
    for ((what, _, goal), with) in STATES.into_iter().zip(&figures[1..]) {
        run.report.speed_goal(goal, &format!("pass, p50, {what} (limit: with none)"), *with, figures[0]);
    }
}

/// The whole program once, with nothing to do.
fn once(run: &mut Run, workspaces: &[&Workspace]) {
    for (workspace, what) in workspaces.iter().zip(["none", "100,000", "1,000,000"]) {
        let seconds: Vec<f64> = (0..run.rounds())
            .map(|_| {
                let began = std::time::Instant::now();
                workspace.run(&["reconcile", "--once", "-o", "json"]);
                began.elapsed().as_secs_f64()
            })
            .collect();
        let what = format!("reconcile --once with nothing to do, {what} finished");
        run.report.ours(&what, Figure::of(Unit::Seconds, &seconds));
    }
}
