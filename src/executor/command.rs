//! Runs an attempt as a program on this machine: argv without a shell, a process group of its own, bounded output, and nothing left behind.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Bytes;

use super::answer::{is_large, large_turn};
use super::process::{self, Process};
use super::pump::{Flow, Pump};
use super::running::Running;
use super::{leftover, placeholders};
use crate::disk::{Directory, TrustedPrograms, leads_out};
use crate::resource::analyzer::{CommandSpec, Output};
use crate::resource::attempt::{AppTarget, Assignment, Ending, Sign};
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::verdict::command::{Exit, judge_command};
use crate::verdict::weight::too_heavy;

/// How long the pipes may stay open after the program has exited and its group is dead: only what left the group can hold them.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How a program's run came to its end.
enum End {
    Exited,
    TooLarge,
    Stopped(Verdict),
}

pub(super) async fn run(mut running: Running<'_>, spec: &CommandSpec) -> Ending {
    let mut process = match start(&running, spec).await {
        Ok(process) => process,
        Err((reason, message)) => return running.refuse(Outcome::Failed, reason, message).await,
    };
    let output_max = running.surroundings.limits.output_bytes_max;
    let (stdout, stderr) = (process.child.stdout.take(), process.child.stderr.take());
    let mut pump = Pump::new(stdout, stderr, output_max, spec.output == Output::ExitCode);
    match attend(&mut running, &mut process, &mut pump).await {
        End::Exited => {
            let exit = process.finish().await;
            let drained = drain(&mut running, &mut pump).await;
            match (exit, drained) {
                (_, Flow::TooLarge) => too_large(running, output_max).await,
                (Some(exit), _) => conclude(running, spec, exit, pump).await,
                (None, _) => running.refuse(Outcome::Failed, Reason::ExitCode, "its exit code could not be read").await,
            }
        }
        End::TooLarge => {
            clear_away(&mut running, &mut process, &mut pump, Duration::ZERO).await;
            too_large(running, output_max).await
        }
        End::Stopped(verdict) => {
            clear_away(&mut running, &mut process, &mut pump, spec.termination_grace.std()).await;
            running.end(verdict, None, Vec::new()).await
        }
    }
}

/// Starts the program, on a thread that may wait: the disk may be slow, and whoever starts a program waits until that has begun.
async fn start(running: &Running<'_>, spec: &CommandSpec) -> Result<Process, placeholders::Problem> {
    let environment = process::environment(&running.surroundings.environment, spec, &running.token);
    let (workspace, programs) = (running.surroundings.workspace.clone(), running.surroundings.programs.clone());
    let (assignment, spec) = (running.assignment.clone(), spec.clone());
    let start = move || {
        let (argv, directory) = prepare(&workspace, &assignment, &spec)?;
        let program =
            find_program(programs.as_ref(), &spec, &argv).map_err(|text| (Reason::InvalidConfiguration, text))?;
        Process::spawn(program.as_deref(), &argv, &directory, &environment).map_err(|text| (Reason::SpawnFailed, text))
    };
    let started = tokio::task::spawn_blocking(start).await;
    started.map_err(|error| (Reason::SpawnFailed, error.to_string())).flatten()
}

/// The argv, and where the program starts: held open, so that it starts in the directory that was looked at, whatever has that path by then. The
/// app's directory must lie in the workspace whatever links there are. Blocking.
fn prepare(
    workspace: &Path,
    assignment: &Assignment,
    spec: &CommandSpec,
) -> Result<(Vec<String>, Directory), placeholders::Problem> {
    let (workspace, app) = open(workspace, &assignment.app)?;
    let path = app.as_ref().map_or(Ok(""), |app| app.path().to_str().ok_or(&assignment.app.name));
    let path = path.map_err(|name| {
        (Reason::InvalidConfiguration, format!("the directory of app {name} has a name that is not UTF-8"))
    })?;
    let argv = placeholders::expand(&spec.argv, assignment, path)?;
    Ok((argv, app.filter(|_| spec.in_app_directory).unwrap_or(workspace)))
}

/// Opens the workspace, and the app's directory if there is an app. Blocking.
fn open(workspace: &Path, app: &AppTarget) -> Result<(Directory, Option<Directory>), placeholders::Problem> {
    let held = Directory::open(workspace)
        .map_err(|error| (Reason::InvalidConfiguration, format!("the workspace {}: {error}", workspace.display())))?;
    if app.name.is_empty() {
        return Ok((held, None));
    }
    let found = Directory::inside(workspace, &workspace.join(&app.path)).map_err(|error| {
        let (path, name) = (&app.path, &app.name);
        match error.kind() {
            _ if leads_out(&error) => {
                let text = format!("the directory {path:?} of app {name} leads out of the workspace");
                (Reason::InvalidConfiguration, text)
            }
            io::ErrorKind::NotADirectory => (Reason::AppMissing, format!("{path:?} of app {name} is not a directory")),
            _ => (Reason::AppMissing, format!("the directory {path:?} of app {name}: {error}")),
        }
    })?;
    Ok((held, Some(found)))
}

/// Where the program lies, when the settings say where programs must lie; looked at again, since it was looked at when the manifest was
/// checked, and what lay there then may be something else now. Blocking.
fn find_program(
    programs: Option<&TrustedPrograms>,
    spec: &CommandSpec,
    argv: &[String],
) -> Result<Option<PathBuf>, String> {
    let Some(programs) = programs else { return Ok(None) };
    if !spec.env.is_empty() {
        let names = spec.env.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(format!("it sets {names}, and with the setting commandDirectory no command may set variables"));
    }
    programs.find(argv.first().map_or("", String::as_str)).map(Some)
}

/// Stays with the program until it exits, says too much, or must end.
async fn attend(running: &mut Running<'_>, process: &mut Process, pump: &mut Pump) -> End {
    let fence = running.fence.clone();
    let reached = fence.reached();
    tokio::pin!(reached);
    let signs = running.signs();
    let spawned = signs.send(Sign::Spawned { pid: process.pid, pid_start: process.pid_start });
    tokio::pin!(spawned);
    let mut told = false;
    let period = running.surroundings.limits.ping_interval;
    let mut alive = tokio::time::interval_at(Instant::now() + period, period);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        let chunk = tokio::select! {
            // Nobody listens when the attempt was given up; that is no reason to stop here.
            _ = &mut spawned, if !told => {
                told = true;
                continue;
            }
            () = process.exited(), if told => return End::Exited,
            verdict = &mut reached => return End::Stopped(verdict),
            _ = alive.tick() => {
                running.tell(Sign::Alive);
                continue;
            }
            chunk = pump.read(), if open => chunk,
        };
        match pump.keep(chunk, &mut running.log) {
            Flow::More => {}
            Flow::Closed => open = false,
            Flow::TooLarge => return End::TooLarge,
        }
    }
}

/// Reads the rest after the program has exited. Pipes that stay open are held by something that left the group: that is ended too.
async fn drain(running: &mut Running<'_>, pump: &mut Pump) -> Flow {
    if let Ok(flow) = tokio::time::timeout(DRAIN_MAX, pump.drain(&mut running.log)).await {
        return flow;
    }
    let reaped = leftover::reap(&running.token, None).await;
    tracing::warn!(task = %running.assignment.task, ended = reaped.ended, "a program left processes behind");
    tokio::time::timeout(DRAIN_MAX, pump.drain(&mut running.log)).await.unwrap_or(Flow::Closed)
}

/// Ends the program before its time, with all that carries its token. Its last words are read meanwhile, so that it is not stuck writing them.
async fn clear_away(running: &mut Running<'_>, process: &mut Process, pump: &mut Pump, grace: Duration) {
    let last_words = async {
        pump.drain(&mut running.log).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = process.terminate(grace) => {}
        () = last_words => {}
    }
    leftover::reap(&running.token, None).await;
    let _ = tokio::time::timeout(DRAIN_MAX, pump.drain(&mut running.log)).await;
}

async fn too_large(running: Running<'_>, max: usize) -> Ending {
    let message =
        format!("the program wrote more than {max} bytes to standard output, which is the limit; it was stopped");
    running.refuse(Outcome::Failed, Reason::ResultTooLarge, message).await
}

/// Judges the run and stores its output: `result.json` when it is what the analyzer declares, `output.txt` when it is not.
async fn conclude(running: Running<'_>, spec: &CommandSpec, exit: Exit, pump: Pump) -> Ending {
    // Many small values take dozens of times as much memory as their text, and many programs may end at once.
    let is_large = is_large(&pump.output);
    let _turn = if is_large { large_turn().await } else { None };
    if let Some(why) = too_heavy(&pump.output).filter(|_| spec.output != Output::ExitCode) {
        let message = format!("the program's output is too large: {why}");
        return running.refuse(Outcome::Failed, Reason::ResultTooLarge, message).await;
    }
    let (tools, analyzer, spec) = (running.assignment.tools.clone(), running.assignment.analyzer.clone(), spec.clone());
    let judge = move || {
        let (verdict, documents) = judge_command(&tools, &analyzer, &spec, exit, &pump.output, &pump.stderr_end);
        let name = if serde_json::from_slice::<serde::de::IgnoredAny>(&pump.output).is_ok() {
            "result.json"
        } else {
            "output.txt"
        };
        let payload = (!pump.output.is_empty()).then(|| (name, Bytes::from(pump.output)));
        (verdict, documents, payload)
    };
    // A panic in here is a failure of the attempt, as anywhere in an executor.
    let judged = if is_large { tokio::task::spawn_blocking(judge).await } else { Ok(judge()) };
    match judged {
        Ok((verdict, documents, payload)) => running.end(verdict, payload, documents).await,
        Err(panic) => {
            let message = format!("judging the output failed, which is a bug in manifestd: {panic}");
            running.refuse(Outcome::Failed, Reason::OutputInvalid, message).await
        }
    }
}
