//! (c) How long from the rename of a manifest into the directory to its task being Running.
//!
//! A task is Running in the database before its request is sent, so the arrival of the request at the analyzer of the bench is a little later than what
//! is asked for: by one wake-up and one write to a socket. That is what the goals are held against, because whoever waits for it sleeps meanwhile.
//! Looking at the database again and again would take a part of one of two cores from what is measured; it is done for one row, for comparison.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::dispatch::NAME;
use super::states::State;
use crate::analyzer::{Analyzer, Protocol};
use crate::figure::{Figure, Unit, percentile};
use crate::rounds::Run;
use crate::workspace::{Controller, Workspace, task_text};

/// Drops of each measurement; p99 is the eleventh worst of them.
const DROPS: u32 = 1_000;

/// Drops of one turn.
const TURN: u32 = 50;

/// Between two drops the controller comes to rest. Not always as long, so that no timer keeps step with it.
const REST_MIN: Duration = Duration::from_millis(5);

/// What is wanted of an idle controller, in milliseconds.
const MEDIAN_MS_MAX: f64 = 1.0;
const P99_MS_MAX: f64 = 3.0;

/// No task takes longer to start; then something is wrong.
const LONGEST: Duration = Duration::from_secs(30);

/// A running controller and the analyzer that notes when requests arrive.
pub(crate) struct Scene<'w> {
    workspace: &'w Workspace,
    _analyzer: Analyzer,
    arrivals: Receiver<Instant>,
    controller: Controller,
    dropped: u32,
    prefix: &'static str,
}

impl<'w> Scene<'w> {
    /// Starts both in a workspace. Names of tasks begin with `prefix`.
    pub(crate) fn new(workspace: &'w Workspace, prefix: &'static str) -> Self {
        let (analyzer, arrivals) = Analyzer::telling(Protocol::Extended);
        workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), 4, "");
        let controller = workspace.serve(&[]);
        Self { workspace, _analyzer: analyzer, arrivals, controller, dropped: 0, prefix }
    }

    /// Drops a task; gives the milliseconds until its request arrives. Waits until it is Completed.
    pub(crate) fn drop_one(&mut self) -> f64 {
        let (name, file) = self.prepare();
        let began = Instant::now();
        self.workspace.drop_in(&file);
        let arrived = self.arrivals.recv_timeout(LONGEST).expect("an arrival");
        self.rest(&name);
        arrived.duration_since(began).as_secs_f64() * 1000.0
    }

    /// Drops a task; gives the milliseconds until a reader that looks every 50 microseconds finds it Running, or past that.
    fn drop_and_look(&mut self) -> f64 {
        let (name, file) = self.prepare();
        let database = self.workspace.database();
        let mut statement =
            database.prepare("SELECT count(*) FROM task WHERE name = ?1 AND attempt > 0").expect("a query");
        let began = Instant::now();
        self.workspace.drop_in(&file);
        while statement.query_row([&name], |row| row.get::<_, u64>(0)).expect("a count") == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        let took = began.elapsed();
        self.arrivals.recv_timeout(LONGEST).expect("an arrival");
        self.rest(&name);
        took.as_secs_f64() * 1000.0
    }

    /// The largest resident set of the controller so far.
    pub(crate) fn peak_rss_mib(&self) -> f64 {
        self.controller.status("VmHWM") as f64 / 1024.0
    }

    fn prepare(&mut self) -> (String, std::path::PathBuf) {
        let name = format!("{}-{:05}", self.prefix, self.dropped);
        self.dropped += 1;
        let file = self.workspace.path(format!("{name}.yaml"));
        std::fs::write(&file, task_text(&name, NAME)).expect("a file");
        (name, file)
    }

    fn rest(&self, name: &str) {
        let query = format!("SELECT count(*) FROM task WHERE name = '{name}' AND phase = 'Completed'");
        crate::workspace::until(&self.workspace.database(), &query, |done| done == 1);
        std::thread::sleep(REST_MIN + Duration::from_micros(u64::from(self.dropped % 17) * 100));
    }
}

/// Drops in turns, so many in each scene; the milliseconds of each.
pub(crate) fn in_turns(scenes: &mut [Scene<'_>], drops: u32) -> Vec<Vec<f64>> {
    let mut times: Vec<Vec<f64>> = scenes.iter().map(|_| Vec::new()).collect();
    for _ in 0..drops.div_ceil(TURN) {
        for (scene, times) in scenes.iter_mut().zip(&mut times) {
            times.extend((0..TURN.min(drops)).map(|_| scene.drop_one()));
        }
    }
    times
}

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let (idle, pending) = (Workspace::new(), run.state(State::Pending(100_000)));
    let mut scenes = [Scene::new(&idle, "idle"), Scene::new(&pending, "late")];
    let drops = run.size(DROPS);
    let times = in_turns(&mut scenes, drops);
    let looked: Vec<f64> = (0..drops / 4).map(|_| scenes[0].drop_and_look()).collect();
    let figure = |times: &[f64], percent| Figure::exact(Unit::Millis, percentile(times, percent));
    let wanted = |milliseconds| Figure::exact(Unit::Millis, milliseconds);
    let (p50, p99) = (figure(&times[0], 50.0), figure(&times[0], 99.0));
    run.report.goal("latency-idle-p50", "rename to request, idle, p50", p50, wanted(MEDIAN_MS_MAX));
    run.report.goal("latency-idle-p99", "rename to request, idle, p99", p99, wanted(P99_MS_MAX));
    let what = "rename to request, 100,000 Pending elsewhere";
    run.report.goal("latency-pending-p50", &format!("{what}, p50 (limit: idle)"), figure(&times[1], 50.0), p50);
    run.report.goal("latency-pending-p99", &format!("{what}, p99 (limit: idle)"), figure(&times[1], 99.0), p99);
    run.report.ours("rename to Running for a reader that looks all the time, p50", figure(&looked, 50.0));
    run.report.ours("rename to Running for a reader that looks all the time, p99", figure(&looked, 99.0));
    run.report.ours("rename to request, idle, worst", figure(&times[0], 100.0));
}
