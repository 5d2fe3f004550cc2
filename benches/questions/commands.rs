//! (d) How many commands run in a second, from the drop of their manifests to all of them Completed.

use std::time::Instant;

use super::dispatch::NAME;
use crate::ceiling::{Ceiling, Work};
use crate::figure::{Figure, Unit};
use crate::rounds::{Run, interleaved, write_back};
use crate::workspace::{Workspace, until_done};

/// Commands of a measurement.
const TASKS: u32 = 2_000;

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let tasks = run.size(TASKS);
    for (slots, goal) in [(2, Some("commands-2")), (8, None), (32, Some("commands-32"))] {
        let what = format!("/bin/true, {slots} at once, from drop");
        let ceiling = Ceiling::combined(Work::Program, slots, tasks);
        let (ours, limit) = interleaved(run, Unit::PerSecond, || dropped(slots, tasks), || ceiling.measure());
        match goal {
            Some(goal) => run.report.goal(goal, &what, ours, limit),
            None => run.report.row(&what, ours, limit),
        }
    }
    let rates: Vec<f64> = (0..run.rounds()).map(|_| Ceiling::bare(Work::Program, 8, tasks).measure()).collect();
    run.report.limit("bare spawn and wait, 8 at once", Figure::of(Unit::PerSecond, &rates));
}

/// The rate of so many commands, from the drop of their manifests.
fn dropped(slots: u32, tasks: u32) -> f64 {
    timed(slots, tasks, false)
}

/// The same from the first manifest that is written.
pub(crate) fn submitted(slots: u32, tasks: u32) -> f64 {
    timed(slots, tasks, true)
}

fn timed(slots: u32, tasks: u32, with_writing: bool) -> f64 {
    let workspace = Workspace::new();
    let analyzer = format!(
        "kind: Analyzer\nmetadata: {{name: {NAME}}}\nspec: {{command: {{argv: [/bin/true], tool: noop}}, capacity: {slots}}}\n"
    );
    workspace.declare(NAME, &analyzer);
    let _controller = workspace.serve(&[]);
    let (database, first) = (workspace.database(), Instant::now());
    let prepared = workspace.prepare("task", 0..tasks, NAME);
    let began = if with_writing {
        first
    } else {
        write_back();
        Instant::now()
    };
    workspace.drop_in(&prepared);
    let ended = until_done(&database, NAME, 0, tasks, began);
    f64::from(tasks) / ended.duration_since(began).as_secs_f64()
}
