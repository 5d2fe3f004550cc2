//! The head of a run: on what it was measured, and with what.

use std::process::Command;

/// Prints the machine, the versions and the commit.
pub(crate) fn tell() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let gib = kib.unwrap_or(0_u64) as f64 / f64::from(1 << 20);
    println!("machine   {cores} x {model}, {gib:.0} GiB, Linux {}", read("/proc/sys/kernel/osrelease").trim());
    println!("disk      {} at {}", file_system(), workplace());
    println!("load      {}", read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    let commit = said("git", &["describe", "--always", "--dirty", "--abbrev=10"]);
    println!("manifestd {} at {commit}, release profile, SQLite {}", env!("CARGO_PKG_VERSION"), rusqlite::version());
    println!("rust      {}", said("rustc", &["--version"]));
}

/// Where workspaces and databases lie: below target/, which is on a real disk.
pub(crate) const fn workplace() -> &'static str {
    env!("CARGO_TARGET_TMPDIR")
}

fn file_system() -> String {
    said("stat", &["-f", "-c", "%T", workplace()])
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}
