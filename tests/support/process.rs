//! A running controller as a child process: its log, its signals, its end, and the processes that it may leave behind.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use manifestd::store::{database_path, open_read_only};
use rustix::process::{Pid, Signal, kill_process};

use super::daemon::PATIENCE;

/// A running controller. Killed when the test ends before it.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) log: Arc<Log>,
    state: PathBuf,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Starts it. What it logs goes to its own log and to the one of the whole test.
    pub(crate) fn start(command: &mut Command, state: PathBuf, whole: Arc<Log>, arguments: &[&str]) -> Self {
        let mut child = command.spawn().expect("the program");
        let stderr = child.stderr.take().expect("a pipe");
        let log = Arc::new(Log::default());
        let own = Arc::clone(&log);
        whole.add(&format!("--- {arguments:?} as process {}", child.id()));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                whole.add(&line);
                own.add(&line);
            }
            own.close();
        });
        Self { child, log, state, ended: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How much memory it had at most, in bytes.
    pub(crate) fn memory_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
    }

    /// Waits until it has logged a line with these words.
    pub(crate) fn says(&self, words: &str) {
        assert!(self.log.wait(|log| log.text.contains(words)), "waited for {words:?} in the log:\n{}", self.log.text());
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a living process");
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it on the spot.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits for its end; the exit code, `None` when a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        assert!(self.log.wait(|log| log.closed), "waited {PATIENCE:?} for its end:\n{}", self.log.text());
        let status = self.child.wait().expect("a child");
        self.ended = Some(status);
        status.code()
    }

    /// Stops it in an orderly way.
    pub(crate) fn stop(mut self) {
        self.terminate();
        assert_eq!(self.wait(), Some(0), "{}", self.log.text());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // A killed one may have left programs, which wait at a gate that nobody opens any more.
        if !std::thread::panicking() && self.ended.is_some() {
            return;
        }
        for pid in carriers(&self.state).into_iter().flatten() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Lines that a process has logged.
#[derive(Default)]
pub(crate) struct Log {
    lines: Mutex<Lines>,
    changed: Condvar,
}

/// See [`Log`].
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) text: String,
    pub(crate) closed: bool,
}

impl Log {
    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn add(&self, line: &str) {
        self.change(|lines| {
            lines.text.push_str(line);
            lines.text.push('\n');
        });
    }

    fn close(&self) {
        self.change(|lines| lines.closed = true);
    }

    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    fn wait_for(&self, patience: Duration, wanted: impl Fn(&Lines) -> bool) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let unmet = |lines: &mut Lines| !wanted(lines) && !lines.closed;
        let (lines, _) =
            self.changed.wait_timeout_while(lines, patience, unmet).unwrap_or_else(PoisonError::into_inner);
        wanted(&lines)
    }

    fn wait(&self, wanted: impl Fn(&Lines) -> bool) -> bool {
        self.wait_for(PATIENCE, wanted)
    }
}

/// Processes that carry a token of this state directory; `None` when there is no database yet.
fn carriers(state: &Path) -> Option<Vec<Pid>> {
    let connection = open_read_only(&database_path(state)).ok()?;
    let query = "SELECT value FROM meta WHERE key = 'state_id'";
    let id: String = connection.query_row(query, [], |row| row.get(0)).ok()?;
    let wanted = format!("MANIFESTD_ATTEMPT={id}/");
    let names = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let carries = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry.starts_with(wanted.as_bytes()))
    };
    Some(names.filter_map(|name| name.parse().ok()).filter(carries).filter_map(Pid::from_raw).collect())
}

/// Processes that carry a token of this state directory, as `pid: command line`.
pub(crate) fn processes_of(state: &Path) -> Vec<String> {
    let line = |pid: Pid| {
        let words = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        format!("{}: {}", pid.as_raw_nonzero(), String::from_utf8_lossy(&words).replace('\0', " "))
    };
    carriers(state).expect("a database").into_iter().map(line).collect()
}
