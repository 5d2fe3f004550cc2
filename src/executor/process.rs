//! One program in a process group of its own: starts it, tells when it exits, and leaves nothing of the group behind.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::leftover::start_time;
use crate::resource::analyzer::CommandSpec;
use crate::verdict::command::Exit;

/// What a program inherits, besides `spec.env`.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Where programs are looked for when nothing says otherwise.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The variable by which the processes of an attempt are known.
pub(super) const ATTEMPT_VARIABLE: &str = "MANIFESTD_ATTEMPT";

/// How long a killed process may take to be gone; one that hangs in the kernel is given up.
const REAP_MAX: Duration = Duration::from_secs(5);

/// A running program. Dropping it kills the group.
pub(super) struct Process {
    pub(super) child: Child,
    group: Option<Pid>,
    pub(super) pid: i32,
    pub(super) pid_start: u64,
    #[cfg(target_os = "linux")]
    exit: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

/// The whole environment of a program.
pub(super) fn environment(
    inherit: &BTreeMap<String, String>,
    spec: &CommandSpec,
    token: &str,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    let inherited = INHERITED.iter().filter_map(|&key| inherit.get_key_value(key));
    environment.extend(inherited.chain(&spec.env).map(|(key, value)| (key.clone(), value.clone())));
    environment.insert(ATTEMPT_VARIABLE.into(), token.into());
    environment
}

impl Process {
    /// Starts a program: the one at `place`, under the name that argv gives it, else the one that this name leads to.
    ///
    /// # Errors
    /// A text for a person: what could not be started and where it was looked for.
    pub(super) fn spawn(
        place: Option<&Path>,
        argv: &[String],
        directory: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let [program, arguments @ ..] = argv else { return Err("argv names no program".into()) };
        let mut command = Command::new(place.unwrap_or(Path::new(program)));
        command.arg0(program).args(arguments).current_dir(directory).env_clear().envs(environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if !directory.is_dir() => {
                format!("the working directory {} is not there", directory.display())
            }
            io::ErrorKind::NotFound if program.contains('/') => {
                format!("program {program:?} (or its interpreter) is not there")
            }
            io::ErrorKind::NotFound => {
                format!(
                    "program {program:?} was not found in PATH={}",
                    environment.get("PATH").map_or("", String::as_str)
                )
            }
            _ => format!("program {program:?} could not be started: {error}"),
        })?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or("the program has no process id")?;
        let group = Pid::from_raw(pid);
        Self::adopt(child, pid, group).map_err(|error| {
            // Without a way to see its end it must not run; the child itself is killed when it is dropped.
            group.map(|group| kill_process_group(group, Signal::KILL));
            format!("program {program:?} could not be watched: {error}")
        })
    }

    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that lie about their descriptor; an OwnedFd cannot"
    )]
    fn adopt(child: Child, pid: i32, group: Option<Pid>) -> io::Result<Self> {
        let raw = group.ok_or(io::ErrorKind::NotFound)?;
        let descriptor = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty())?;
        let exit = tokio::io::unix::AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE)?;
        Ok(Self { child, group, pid, pid_start: start_time(pid).unwrap_or(0), exit })
    }

    #[cfg(not(target_os = "linux"))]
    fn adopt(child: Child, pid: i32, group: Option<Pid>) -> io::Result<Self> {
        Ok(Self { child, group, pid, pid_start: start_time(pid).unwrap_or(0) })
    }

    /// Waits until the program has exited. On Linux it is not reaped by that, so its id still names its group and nothing else.
    pub(super) async fn exited(&mut self) {
        #[cfg(target_os = "linux")]
        {
            // An error here means that the descriptor is unusable; waiting for the child then tells the same.
            if self.exit.readable().await.is_ok() {
                return;
            }
        }
        let _ = self.child.wait().await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Kills what is left of the group and reaps the program; `None` when it does not die within a bounded time.
    pub(super) async fn finish(&mut self) -> Option<Exit> {
        self.signal(Signal::KILL);
        let status = tokio::time::timeout(REAP_MAX, self.child.wait()).await.ok()?.ok()?;
        self.group = None;
        let signal = || status.signal().map(Exit::Signal);
        status.code().map(Exit::Code).or_else(signal)
    }

    /// Asks the group to end, gives it `grace`, then kills it.
    pub(super) async fn terminate(&mut self, grace: Duration) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(grace, self.exited()).await;
        self.finish().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::Directory;

    #[tokio::test]
    async fn a_program_starts_in_the_directory_that_was_looked_at_whatever_has_its_path_by_then() {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in [("app/x", "of the app"), ("evil/x", "of somebody else")] {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let app = place.path().join("app");
        let held = Directory::inside(place.path(), &app).unwrap();
        fs::rename(&app, place.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(place.path().join("evil"), &app).unwrap();
        let environment = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        let argv = ["cat", "x"].map(str::to_owned);
        let mut process = Process::spawn(None, &argv, &held.held(), &environment).unwrap();
        let mut said = String::new();
        let mut stdout = process.child.stdout.take().unwrap();
        tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut said).await.unwrap();
        assert_eq!(said, "of the app");
        process.finish().await;
    }
}
