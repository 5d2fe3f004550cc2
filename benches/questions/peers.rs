//! `make bench-peers`: the same no-op work through other queues that people use, in turns with ours. The limit of a row is the best of them at the same
//! size; for commands it is task-spooler, which the goal names. `benches/peers/install.sh` puts them below target/, `benches/peers/run.sh` runs one of them once.

use std::process::Command;
use std::time::Instant;

use super::commands;
use super::dispatch::{NAME, keeping, released};
use crate::analyzer::{Analyzer, Protocol};
use crate::figure::{Figure, Unit};
use crate::machine::workplace;
use crate::rounds::{Run, write_back};
use crate::workspace::Workspace;

/// Where their scripts are.
const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/run.sh");

/// Commands of each round.
const COMMANDS: u32 = 2_000;

/// Our commands at once: one for each core, and as many as we are fastest with, which decides the goal.
const COMMAND_SLOTS: [(u32, Option<&str>); 2] = [(2, None), (32, Some("peers-commands"))];

/// A number of no-op tasks.
#[derive(Debug, Clone, Copy)]
struct Size {
    tasks: u32,
    /// The shorter a round is, the more of them there are.
    repeated: usize,
    /// Our goal with a connection for each task, and with a shared one.
    connection: &'static str,
    shared: Option<&'static str>,
}

const SIZES: [Size; 3] = [
    Size { tasks: 300, repeated: 3, connection: "peers-connection-300", shared: None },
    Size { tasks: 2_000, repeated: 1, connection: "peers-connection-2000", shared: None },
    Size { tasks: 10_000, repeated: 1, connection: "peers-connection-10000", shared: Some("peers-shared-10000") },
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
    /// Commands at once, as many as it is fastest with; 0 when it runs functions only.
    commands_at_once: u32,
}

/// The one that the goal of commands names.
const SPOOLER: &str = "task-spooler";

const PEERS: [Peer; 6] = [
    Peer { name: "apalis", noops_at_once: 64, noops_max: 10_000, commands_at_once: 0 },
    Peer { name: "huey", noops_at_once: 2, noops_max: 10_000, commands_at_once: 8 },
    Peer { name: "dbos", noops_at_once: 32, noops_max: 2_000, commands_at_once: 32 },
    Peer { name: SPOOLER, noops_at_once: 0, noops_max: 0, commands_at_once: 2 },
    Peer { name: "parallel", noops_at_once: 0, noops_max: 0, commands_at_once: 8 },
    Peer { name: "pueue", noops_at_once: 0, noops_max: 0, commands_at_once: 64 },
];

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let peers: Vec<Peer> = PEERS.into_iter().filter(|peer| peer.is_there(run)).collect();
    SIZES.into_iter().for_each(|size| noops(run, &peers, size));
    commands(run, &peers);
}

/// No-op tasks that are queued already.
fn noops(run: &mut Run, peers: &[Peer], size: Size) {
    let peers: Vec<Peer> = peers.iter().copied().filter(|peer| peer.noops_max >= size.tasks).collect();
    let tasks = run.size(size.tasks).max(SLOTS * 2);
    let (mut single, mut one, mut theirs) = (Vec::new(), Vec::new(), vec![Vec::new(); peers.len()]);
    for _ in 0..run.rounds() * size.repeated {
        single.push(ours(Protocol::Base, tasks));
        one.push(ours(Protocol::Extended, tasks));
        peers.iter().zip(&mut theirs).for_each(|(peer, rates)| rates.push(peer.noops(tasks)));
    }
    let what = format!("{tasks} no-op functions");
    let Some(best) = tell(run, &what, &peers, &theirs, |peer| peer.noops_at_once) else { return };
    let figure = |rates: &[f64]| Figure::of(Unit::PerSecond, rates);
    let what = |way| format!("{tasks} no-op tasks, {SLOTS} at once: manifestd, {way} (limit: the best)");
    run.report.goal(size.connection, &what("connection per task"), figure(&single), best);
    match size.shared {
        Some(goal) => run.report.goal(goal, &what("manifestd/v1"), figure(&one), best),
        None => run.report.row(&what("manifestd/v1"), figure(&one), best),
    }
}

/// Commands, from the first word of any of them: the first submission, or the first manifest that is written.
fn commands(run: &mut Run, peers: &[Peer]) {
    let peers: Vec<Peer> = peers.iter().copied().filter(|peer| peer.commands_at_once > 0).collect();
    let tasks = run.size(COMMANDS);
    let (mut ours, mut theirs) = (vec![Vec::new(); COMMAND_SLOTS.len()], vec![Vec::new(); peers.len()]);
    for _ in 0..run.rounds() {
        for ((slots, _), rates) in COMMAND_SLOTS.iter().zip(&mut ours) {
            write_back();
            rates.push(commands::submitted(*slots, tasks));
        }
        peers.iter().zip(&mut theirs).for_each(|(peer, rates)| rates.push(peer.commands(tasks)));
    }
    let what = format!("{tasks} commands");
    let Some(best) = tell(run, &what, &peers, &theirs, |peer| peer.commands_at_once) else { return };
    let spooler = peers.iter().zip(&theirs).find(|(peer, _)| peer.name == SPOOLER);
    let spooler = spooler.map(|(_, rates)| Figure::of(Unit::PerSecond, rates));
    for ((slots, goal), rates) in COMMAND_SLOTS.into_iter().zip(&ours) {
        let (what, figure) = (format!("{what}, {slots} at once: manifestd"), Figure::of(Unit::PerSecond, rates));
        match (goal, spooler) {
            (Some(goal), Some(spooler)) => {
                run.report.goal(goal, &format!("{what} (limit: {SPOOLER})"), figure, spooler);
            }
            _ => run.report.row(&format!("{what} (limit: the best)"), figure, best),
        }
    }
}

/// The rows of the others; gives the best of them, unless nobody is there.
fn tell(run: &mut Run, what: &str, peers: &[Peer], rates: &[Vec<f64>], at_once: fn(&Peer) -> u32) -> Option<Figure> {
    let figures: Vec<Figure> = rates.iter().map(|rates| Figure::of(Unit::PerSecond, rates)).collect();
    for (peer, figure) in peers.iter().zip(&figures) {
        run.report.limit(&format!("{what}, {} at once: {}", at_once(peer), peer.name), *figure);
    }
    figures.into_iter().max_by(|one, other| one.median.total_cmp(&other.median))
}

fn ours(protocol: Protocol, tasks: u32) -> f64 {
    let analyzer = Analyzer::start(protocol);
    let workspace = Workspace::new();
    workspace.declare_service(NAME, &format!("ws://{}", analyzer.address()), SLOTS, keeping(false));
    let controller = workspace.serve(&[]);
    released(&workspace, &controller, &analyzer, "task", SLOTS, tasks)
}

impl Peer {
    /// Whether it was installed; tells its version.
    fn is_there(&self, run: &mut Run) -> bool {
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
        self.rate("command", tasks, self.commands_at_once)
    }

    fn rate(&self, kind: &str, tasks: u32, at_once: u32) -> f64 {
        let directory = tempfile::tempdir_in(workplace()).expect("a temporary directory");
        write_back();
        let numbers = [tasks, at_once].map(|number| number.to_string());
        let mut command = Command::new(RUN);
        let began = Instant::now();
        let output = command.args([self.name, kind]).args(numbers).arg(directory.path()).output().expect("the script");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let rate = out.lines().last().and_then(|line| line.trim().parse().ok()).filter(|_| output.status.success());
        rate.unwrap_or_else(|| panic!("{} has failed after {:?}: {out}{error}", self.name, began.elapsed()))
    }
}
