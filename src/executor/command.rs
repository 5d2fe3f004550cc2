//! Runs an attempt as a program on this machine: argv without a shell, a process group of its own, bounded output, and nothing left behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Bytes;

use super::answer::INLINE_BYTES_MAX;
use super::process::{self, Process};
use super::pump::{Flow, Pump};
use super::running::Running;
use super::{leftover, placeholders};
use crate::resource::analyzer::{CommandSpec, Output};
use crate::resource::attempt::{AppTarget, Ending, Sign};
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::verdict::command::{Exit, judge_command};

/// How long the pipes may stay open after the program has exited and its group is dead: only what left the group can hold them.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How a program's run came to its end.
enum End {
    Exited,
    TooLarge,
    Stopped(Verdict),
}

pub(super) async fn run(mut running: Running<'_>, spec: &CommandSpec) -> Ending {
    let (argv, directory) = match prepare(&running, spec).await {
        Ok(prepared) => prepared,
        Err((reason, message)) => return running.refuse(Outcome::Failed, reason, message).await,
    };
    let environment = process::environment(&running.surroundings.environment, spec, &running.token);
    let mut process = match Process::spawn(&argv, &directory, &environment) {
        Ok(process) => process,
        Err(message) => return running.refuse(Outcome::Failed, Reason::SpawnFailed, message).await,
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

/// Finds the app's directory, which must lie in the workspace whatever links there are, and fills the argv.
async fn prepare(running: &Running<'_>, spec: &CommandSpec) -> Result<(Vec<String>, PathBuf), placeholders::Problem> {
    let (root, app) = (running.surroundings.workspace.clone(), running.assignment.app.clone());
    // All that may wait for the disk at once.
    let found = tokio::task::spawn_blocking(move || directories(&root, &app)).await;
    let (workspace, app) = found.map_err(|panic| (Reason::InvalidConfiguration, panic.to_string())).flatten()?;
    let argv = placeholders::expand(&spec.argv, running.assignment, app.as_deref().unwrap_or_default())?;
    let directory = app.filter(|_| spec.in_app_directory).map_or(workspace, PathBuf::from);
    Ok((argv, directory))
}

/// The real paths of the workspace and of the app's directory, if there is an app.
fn directories(root: &Path, app: &AppTarget) -> Result<(PathBuf, Option<String>), placeholders::Problem> {
    let workspace = root
        .canonicalize()
        .map_err(|error| (Reason::InvalidConfiguration, format!("the workspace {}: {error}", root.display())))?;
    if app.name.is_empty() {
        return Ok((workspace, None));
    }
    let path = workspace
        .join(&app.path)
        .canonicalize()
        .map_err(|error| (Reason::AppMissing, format!("the directory {:?} of app {}: {error}", app.path, app.name)))?;
    if !path.starts_with(&workspace) {
        let text = format!("the directory {:?} of app {} leads out of the workspace", app.path, app.name);
        return Err((Reason::InvalidConfiguration, text));
    }
    if !path.is_dir() {
        return Err((Reason::AppMissing, format!("{:?} of app {} is not a directory", app.path, app.name)));
    }
    let path = path.into_os_string().into_string().map_err(|_| {
        (Reason::InvalidConfiguration, format!("the directory of app {} has a name that is not UTF-8", app.name))
    })?;
    Ok((workspace, Some(path)))
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
    let (tools, analyzer, spec) = (running.assignment.tools.clone(), running.assignment.analyzer.clone(), spec.clone());
    let is_large = pump.output.len() > INLINE_BYTES_MAX;
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
