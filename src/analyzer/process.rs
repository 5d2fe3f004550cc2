//! One outside program: started without a shell, in a process group of its own, with bounded output, and stopped as a group.

use std::collections::BTreeMap;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::disk::Directory;

/// The most a program may write to standard output.
const STDOUT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How much of standard error is kept: its end, where programs say why they failed.
const STDERR_BYTES_MAX: usize = 64 * 1024;

/// Time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long pipes are read after the program and its group are gone. Only a process that left the group can hold them.
const DRAIN: Duration = Duration::from_secs(1);

/// The variables that are passed on; everything else stays here.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// What to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// Program and arguments.
    pub argv: &'a [String],
    /// The working directory, which is held open: it stays the one that was looked at.
    pub directory: &'a Directory,
    /// The environment to choose from.
    pub environment: &'a BTreeMap<String, String>,
    /// More environment, from the tool's declaration.
    pub env: &'a BTreeMap<String, String>,
    /// How long it may take.
    pub limit: Duration,
}

/// How a program ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It could not be started.
    NotStarted(io::Error),
    /// It ended by itself.
    Exited(ExitStatus),
    /// It ran past its limit and was stopped.
    TimedOut,
    /// It wrote more than is read and was stopped.
    TooMuchOutput,
    /// It was stopped on request.
    Cancelled,
    /// The system did not say how it ended, or its output could not be read.
    Lost(io::Error),
}

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Run {
    /// How it ended.
    pub ending: Ending,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

impl Run {
    const fn empty(ending: Ending) -> Self {
        Self { ending, stdout: Vec::new(), stderr: String::new() }
    }
}

/// A process group that is killed when this is dropped, so that no path out of here leaves one behind.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // An error means that the group is gone, which is what was wanted.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Runs a program to its end, or stops it when it takes too long, writes too much, or `cancel` says so.
pub(super) async fn run(job: Job<'_>, cancel: &CancellationToken) -> Run {
    let mut child = match start(&job) {
        Ok(child) => child,
        Err(error) => return Run::empty(Ending::NotStarted(error)),
    };
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Run::empty(Ending::Lost(io::Error::other("the program has no pipes")));
    };
    let mut written = Vec::new();
    let mut complaints = Vec::new();
    // Both pipes are read beside the waiting, or a program with much to say would wait for us for ever.
    let (ending, reading) = {
        let mut out = std::pin::pin!(read_all(stdout, &mut written));
        let mut err = std::pin::pin!(read_end(stderr, &mut complaints));
        let mut out_result = None;
        let mut err_done = false;
        let deadline = tokio::time::sleep(job.limit);
        let mut deadline = std::pin::pin!(deadline);
        let ending = loop {
            tokio::select! {
                result = &mut out, if out_result.is_none() => match result {
                    Ok(true) => out_result = Some(Ok(())),
                    Ok(false) => break Ending::TooMuchOutput,
                    Err(error) => out_result = Some(Err(error)),
                },
                () = &mut err, if !err_done => err_done = true,
                status = child.wait() => break status.map_or_else(Ending::Lost, Ending::Exited),
                () = &mut deadline => break Ending::TimedOut,
                () = cancel.cancelled() => break Ending::Cancelled,
            }
        };
        stop(&group, &mut child, &ending).await;
        // Everything was told to go; a second signal might meet a stranger who got the same number.
        group.0 = None;
        let rest = async {
            if out_result.is_none() && matches!(ending, Ending::Exited(_)) {
                out_result = Some(match out.await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(io::Error::other("it wrote too much")),
                    Err(error) => Err(error),
                });
            }
            if !err_done {
                err.await;
            }
        };
        let drained = timeout(DRAIN, rest).await;
        let reading = match (out_result, drained) {
            (Some(result), _) => result,
            (None, _) => Err(io::Error::other("a process it left behind holds its standard output")),
        };
        (ending, reading)
    };
    let ending = match (ending, reading) {
        (Ending::Exited(_), Err(error)) => Ending::Lost(error),
        (ending, _) => ending,
    };
    Run { ending, stdout: written, stderr: String::from_utf8_lossy(&complaints).into_owned() }
}

fn start(job: &Job<'_>) -> io::Result<Child> {
    let (program, arguments) = job.argv.split_first().ok_or_else(|| io::Error::other("the command is empty"))?;
    let passed_on = job.environment.iter().filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
    Command::new(program)
        .args(arguments)
        .current_dir(job.directory.held())
        .env_clear()
        .envs(passed_on)
        .envs(job.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Ends what is left of a group: politely first, unless the program is gone already.
async fn stop(group: &Group, child: &mut Child, ending: &Ending) {
    if !matches!(ending, Ending::Exited(_)) {
        group.signal(Signal::TERM);
        if timeout(GRACE, child.wait()).await.is_ok() {
            group.signal(Signal::KILL);
            return;
        }
        group.signal(Signal::KILL);
        // KILL cannot be refused; the wait only reaps the process.
        let _ = timeout(GRACE, child.wait()).await;
        return;
    }
    group.signal(Signal::KILL);
}

/// Reads to the end; `false` when there is more than is read.
async fn read_all(mut pipe: impl AsyncRead + Unpin, bytes: &mut Vec<u8>) -> io::Result<bool> {
    while pipe.read_buf(bytes).await? > 0 {
        if bytes.len() > STDOUT_BYTES_MAX {
            bytes.clear();
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads to the end and keeps the last part.
async fn read_end(mut pipe: impl AsyncRead + Unpin, bytes: &mut Vec<u8>) {
    while let Ok(1..) = pipe.read_buf(bytes).await {
        if bytes.len() > 2 * STDERR_BYTES_MAX {
            bytes.drain(..bytes.len() - STDERR_BYTES_MAX);
        }
    }
    if bytes.len() > STDERR_BYTES_MAX {
        bytes.drain(..bytes.len() - STDERR_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, limit: Duration, cancel: &CancellationToken) -> Run {
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let environment = BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("SECRET".to_owned(), "not passed on".to_owned()),
        ]);
        let env = BTreeMap::from([("MORE".to_owned(), "given".to_owned())]);
        let top = Directory::open(std::path::Path::new("/")).unwrap();
        run(Job { argv: &argv, directory: &top, environment: &environment, env: &env, limit }, cancel).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn output_exit_code_and_environment_are_as_declared() {
        let run = sh("echo \"$MORE-$SECRET\"; echo why >&2; exit 3", LONG, &CancellationToken::new()).await;
        assert!(matches!(run.ending, Ending::Exited(status) if status.code() == Some(3)), "{:?}", run.ending);
        assert_eq!((run.stdout.as_slice(), run.stderr.as_str()), (b"given-\n".as_slice(), "why\n"));
    }

    #[tokio::test]
    async fn a_program_that_writes_too_much_is_stopped() {
        let run = sh("exec yes", LONG, &CancellationToken::new()).await;
        assert!(matches!(run.ending, Ending::TooMuchOutput), "{:?}", run.ending);
        assert!(run.stdout.is_empty());
    }

    #[tokio::test]
    async fn much_standard_error_keeps_its_end_and_blocks_nothing() {
        let run = sh("yes | head -c 1000000 >&2; echo last >&2", LONG, &CancellationToken::new()).await;
        assert!(matches!(run.ending, Ending::Exited(_)), "{:?}", run.ending);
        assert!(run.stderr.len() <= STDERR_BYTES_MAX && run.stderr.ends_with("last\n"));
    }

    #[tokio::test]
    async fn a_background_process_does_not_hold_the_result() {
        let run = sh("sleep 600 & echo done", LONG, &CancellationToken::new()).await;
        assert!(matches!(run.ending, Ending::Exited(_)), "{:?}", run.ending);
        assert_eq!(run.stdout, b"done\n");
    }

    #[tokio::test]
    async fn a_slow_program_is_stopped_even_when_it_ignores_term() {
        let stubborn = "trap '' TERM; while :; do sleep 600; done";
        let run = sh(stubborn, Duration::from_millis(300), &CancellationToken::new()).await;
        assert!(matches!(run.ending, Ending::TimedOut), "{:?}", run.ending);
    }

    #[tokio::test]
    async fn a_cancelled_program_is_stopped() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(matches!(sh("sleep 600", LONG, &cancel).await.ending, Ending::Cancelled));
    }

    #[tokio::test]
    async fn a_missing_program_is_not_started() {
        let argv = ["no-such-program-anywhere".to_owned()];
        let none = BTreeMap::new();
        let top = Directory::open(std::path::Path::new("/")).unwrap();
        let job = Job { argv: &argv, directory: &top, environment: &none, env: &none, limit: LONG };
        assert!(matches!(run(job, &CancellationToken::new()).await.ending, Ending::NotStarted(_)));
    }
}
