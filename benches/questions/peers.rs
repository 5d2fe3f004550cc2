//! `make bench-peers`: the same no-op work through other queues that people use, in turns with ours. The limit of a row is the best of them at the same
//! size; for commands it is task-spooler, which the goal names. `benches/peers/install.sh` puts them below target/, `benches/peers/run.sh` runs one of them once.

use std::process::Command;
use std::time::Instant;

use super::commands;
use super::dispatch::{NAME, keeping, released};
use crate::analyzer::{Analyzer, Protocol};
use crate::figure::{Figure, Unit};
use crate::machine::workplace;
use crate::rounds::Run;
use crate::workspace::Workspace;

/// Where their scripts are.
const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/run.sh");

/// Commands of each round.
const COMMANDS: u32 = 2_000;

/// Commands at once: one for each core.
const COMMANDS_AT_ONCE: u32 = 2;

/// No-op tasks of each round, and our goals at this size.
const SIZES: [(u32, &str, Option<&str>); 3] = [
    (300, "peers-connection-300", None),
    (2_000, "peers-connection-2000", None),
    (10_000, "peers-connection-10000", Some("peers-shared-10000")),
];

/// Our requests in flight.
const SLOTS: u32 = 64;

/// A queue.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// What `run.sh` calls it.
    name: &'static str,
    /// No-op functions at once, as many as it is fastest with; 0 when it runs commands only.
    noops_at_once: u32,
    /// The most no-op functions that it is asked for: more of a slow one would take minutes.
    noops_max: u32,
    /// Whether it runs commands.
    commands: bool,
}

/// The one that the goal of commands names.
const SPOOLER: &str = "task-spooler";

const PEERS: [Peer; 6] = [
    Peer { name: "apalis", noops_at_once: 64, noops_max: 10_000, commands: false },
    Peer { name: "huey", noops_at_once: 2, noops_max: 10_000, commands: true },
    Peer { name: "dbos", noops_at_once: 16, noops_max: 2_000, commands: true },
    Peer { name: SPOOLER, noops_at_once: 0, noops_max: 0, commands: true },
    Peer { name: "parallel", noops_at_once: 0, noops_max: 0, commands: true },
    Peer { name: "pueue", noops_at_once: 0, noops_max: 0, commands: true },
];

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let peers: Vec<Peer> = PEERS.into_iter().filter(|peer| peer.is_there(run)).collect();
    for (tasks, connection, shared) in SIZES {
        noops(run, &peers, tasks, connection, shared);
    }
    commands(run, &peers);
}

/// No-op tasks that are queued already.
fn noops(run: &mut Run, peers: &[Peer], tasks: u32, connection: &'static str, shared: Option<&'static str>) {
    let peers: Vec<Peer> = peers.iter().copied().filter(|peer| peer.noops_max >= tasks).collect();
    let tasks = run.size(tasks).max(SLOTS * 2);
    let (mut single, mut one, mut theirs) = (Vec::new(), Vec::new(), vec![Vec::new(); peers.len()]);
    for _ in 0..run.rounds() {
        single.push(ours(Protocol::Base, tasks));
        one.push(ours(Protocol::Extended, tasks));
        peers.iter().zip(&mut theirs).for_each(|(peer, rates)| rates.push(peer.noops(tasks)));
    }
    let best = tell(run, &format!("{tasks} no-op functions, queued already"), &peers, &theirs);
    let figure = |rates: &[f64]| Figure::of(Unit::PerSecond, rates);
    let what = |way| format!("{tasks} no-op tasks, mirrored, {way}");
    run.report.goal(connection, &what("connection per task"), figure(&single), best);
    match shared {
        Some(goal) => run.report.goal(goal, &what("manifestd/v1"), figure(&one), best),
        None => run.report.row(&what("manifestd/v1"), figure(&one), best),
    }
}

/// Commands, from the first word of any of them: the first submission, or the first manifest that is written.
fn commands(run: &mut Run, peers: &[Peer]) {
    let peers: Vec<Peer> = peers.iter().copied().filter(|peer| peer.commands).collect();
    let tasks = run.size(COMMANDS);
    let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); peers.len()]);
    for _ in 0..run.rounds() {
        ours.push(commands::submitted(COMMANDS_AT_ONCE, tasks));
        peers.iter().zip(&mut theirs).for_each(|(peer, rates)| rates.push(peer.commands(tasks)));
    }
    let best = tell(run, &format!("{tasks} commands, {COMMANDS_AT_ONCE} at once"), &peers, &theirs);
    let spooler = peers.iter().zip(&theirs).find(|(peer, _)| peer.name == SPOOLER);
    let limit = spooler.map_or(best, |(_, rates)| Figure::of(Unit::PerSecond, rates));
    let figure = Figure::of(Unit::PerSecond, &ours);
    let what = format!("{tasks} commands, {COMMANDS_AT_ONCE} at once, manifests written and dropped");
    run.report.goal("peers-commands", &what, figure, limit);
}

/// The rows of the others; gives the best of them.
fn tell(run: &Run, what: &str, peers: &[Peer], rates: &[Vec<f64>]) -> Figure {
    let figures: Vec<Figure> = rates.iter().map(|rates| Figure::of(Unit::PerSecond, rates)).collect();
    for (peer, figure) in peers.iter().zip(&figures) {
        run.report.limit(&format!("{what}: {}", peer.name), *figure);
    }
    let best = figures.into_iter().max_by(|one, other| one.median.total_cmp(&other.median));
    best.unwrap_or(Figure::exact(Unit::PerSecond, f64::NAN))
}

fn ours(protocol: Protocol, tasks: u32) -> f64 {
    let analyzer = Analyzer::start(protocol);
    let workspace = Workspace::new();
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), SLOTS, keeping(false));
    let _controller = workspace.serve(&[]);
    released(&workspace, &analyzer, "task", SLOTS, tasks)
}

impl Peer {
    /// Whether it was installed; tells its version.
    fn is_there(&self, run: &Run) -> bool {
        let output = Command::new(RUN).args([self.name, "version"]).output().expect("the script");
        let said = String::from_utf8_lossy(&output.stdout);
        match output.status.success() {
            true => run.report.note(said.trim()),
            false => run.report.note(&format!("{}: not installed, left out", self.name)),
        }
        output.status.success()
    }

    fn noops(&self, tasks: u32) -> f64 {
        self.rate("noop", tasks, self.noops_at_once)
    }

    fn commands(&self, tasks: u32) -> f64 {
        self.rate("command", tasks, COMMANDS_AT_ONCE)
    }

    fn rate(&self, kind: &str, tasks: u32, at_once: u32) -> f64 {
        let directory = tempfile::tempdir_in(workplace()).expect("a temporary directory");
        let numbers = [tasks, at_once].map(|number| number.to_string());
        let mut command = Command::new(RUN);
        let began = Instant::now();
        let output = command.args([self.name, kind]).args(numbers).arg(directory.path()).output().expect("the script");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let rate = out.lines().last().and_then(|line| line.trim().parse().ok()).filter(|_| output.status.success());
        rate.unwrap_or_else(|| panic!("{} has failed after {:?}: {out}{error}", self.name, began.elapsed()))
    }
}
