//! On what a run measures, and with what.

use std::fmt;
use std::process::Command;
use std::time::Duration;

/// How long the machine is looked at before a run, which by then should leave it to the run.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// The machine and the versions, as a run found them.
pub(crate) struct Machine {
    hardware: String,
    disk: String,
    idle: String,
    program: String,
    compiler: String,
}

impl Machine {
    /// Looks at it.
    pub(crate) fn look() -> Self {
        let cpu = read("/proc/cpuinfo");
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("?", |(_, name)| name);
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let memory = read("/proc/meminfo");
        let kib =
            memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        let gib = kib.unwrap_or(0_u64) as f64 / f64::from(1 << 20);
        let commit = said("git", &["describe", "--always", "--dirty", "--abbrev=10"]);
        Self {
            hardware: format!("{cores} x {model}, {gib:.0} GiB, Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            disk: said("stat", &["-f", "-c", "%T", workplace()]),
            idle: format!("{:.0} % idle before", idle_share() * 100.0),
            program: format!("manifestd {} at {commit}", env!("CARGO_PKG_VERSION")),
            compiler: format!("release profile, {}, SQLite {}", said("rustc", &["--version"]), rusqlite::version()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hardware, disk, idle, program, compiler } = self;
        write!(f, "{program} on {hardware}, {disk}, {idle}; {compiler}")
    }
}

/// Where workspaces and databases lie: below target/, which is on a real disk.
pub(crate) const fn workplace() -> &'static str {
    env!("CARGO_TARGET_TMPDIR")
}

/// The part of all cores that nobody uses for a while; what a hypervisor takes away counts as used.
fn idle_share() -> f64 {
    let (before, idle_before) = processor_time();
    std::thread::sleep(LOOKED_AT);
    let (after, idle_after) = processor_time();
    (idle_after - idle_before) / (after - before).max(1.0)
}

/// Ticks of all cores since the machine began, all of them and those that were idle (the first line of `/proc/stat`).
fn processor_time() -> (f64, f64) {
    let stat = read("/proc/stat");
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = ticks.take(8).filter_map(|field| field.parse().ok()).collect();
    // The fourth and fifth are idle, and idle while a disk is at work.
    (ticks.iter().sum(), ticks.iter().skip(3).take(2).sum())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}
