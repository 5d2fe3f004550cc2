//! Ends what a killed controller left running: the process group of an attempt, and everything that carries the attempt's token.
//!
//! A process is known by its id together with its start time, or by `MANIFESTD_ATTEMPT=<token>` in its environment; a pid that was used again
//! matches neither. It all works from `/proc`; where there is none, nothing is found.

use std::collections::BTreeSet;
use std::time::Duration;

use super::process::ATTEMPT_VARIABLE;

/// How long leftovers get between TERM and KILL, and how long they may take to be gone after KILL.
const PATIENCE: Duration = Duration::from_secs(3);

/// Time between two looks at `/proc` while waiting.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What became of an attempt's leftovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Processes that were found and are gone.
    pub ended: usize,
    /// Processes that are still there: they hang in the kernel.
    pub remaining: usize,
}

/// One process: a pid can be used again, a pid with its start time cannot.
type Known = (i32, u64);

/// Ends the leftovers of an attempt and waits until they are gone, for at most a few seconds.
///
/// `token` is the whole value of `MANIFESTD_ATTEMPT` ([`Surroundings::token`](super::Surroundings::token)); only processes of this user that
/// carry exactly it are touched. `process` is what `Sign::Spawned` told: the group of that pid, if the pid still has that start time.
pub async fn reap(token: &str, process: Option<(i32, u64)>) -> Reaped {
    let mut seen: BTreeSet<Known> = BTreeSet::new();
    let mut asked: BTreeSet<Known> = BTreeSet::new();
    let start = tokio::time::Instant::now();
    loop {
        let wanted = format!("{ATTEMPT_VARIABLE}={token}");
        let known = seen.clone();
        let look = tokio::task::spawn_blocking(move || find(wanted.as_bytes(), process, &known));
        let alive = look.await.unwrap_or_default();
        seen.extend(&alive);
        let elapsed = start.elapsed();
        if alive.is_empty() || elapsed >= 2 * PATIENCE {
            return Reaped { ended: seen.len() - alive.len(), remaining: alive.len() };
        }
        let kill = elapsed >= PATIENCE;
        for &process in &alive {
            // TERM once, then KILL at every look: something may have been born between the two.
            if kill || asked.insert(process) {
                signal(process, kill);
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Field 22 of `/proc/PID/stat`: when the process started, in clock ticks since boot (proc_pid_stat(5)); `None` when there is no such process.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start)
}

struct Stat {
    state: u8,
    group: i32,
    start: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; the third field follows the last parenthesis.
    let after = text.iter().rposition(|&byte| byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&text[after..]).ok()?.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        state: *field(3)?.as_bytes().first()?,
        group: field(5)?.parse().ok()?,
        start: field(22)?.parse().ok()?,
    })
}

/// Live processes that are leftovers: those that carry the token, the group of `process`, and those of `known` that are still there.
fn find(wanted: &[u8], process: Option<Known>, known: &BTreeSet<Known>) -> BTreeSet<Known> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let group = process.filter(|&(pid, start)| start != 0 && start_time(pid) == Some(start)).map(|(pid, _)| pid);
    let pids = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found = BTreeSet::new();
    for pid in pids.filter(|&pid: &i32| pid != own) {
        let Some(stat) = stat(pid).filter(|stat| !matches!(stat.state, b'Z' | b'X')) else { continue };
        let process = (pid, stat.start);
        if known.contains(&process) || group == Some(stat.group) || carries(pid, wanted) {
            found.insert(process);
        }
    }
    found
}

fn carries(pid: i32, wanted: &[u8]) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own =
        std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw());
    let environment = || std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    own && environment().split(|&byte| byte == 0).any(|entry| entry == wanted)
}

/// Signals exactly this process: the descriptor holds on to whatever has the pid now, and the start time is compared after it is held.
#[cfg(target_os = "linux")]
fn signal((pid, start): Known, kill: bool) {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Some(raw) = Pid::from_raw(pid) else { return };
    let Ok(held) = pidfd_open(raw, PidfdFlags::empty()) else { return };
    if start_time(pid) == Some(start) {
        let _ = pidfd_send_signal(&held, if kill { Signal::KILL } else { Signal::TERM });
    }
}

#[cfg(not(target_os = "linux"))]
fn signal(_: Known, _: bool) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        let start = start_time(own).unwrap();
        assert!(start > 0);
        assert_eq!(start_time(own), Some(start));
        assert_eq!(start_time(i32::MAX), None);
    }

    #[tokio::test]
    async fn nothing_is_found_for_an_unknown_token() {
        assert_eq!(reap("nobody/ever/0", None).await, Reaped::default());
    }
}
