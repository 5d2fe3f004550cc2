//! (a) How long until a directory of a hundred thousand manifests is mirrored: with nothing known of it, and again with nothing changed.

use std::time::Instant;

use super::dispatch::NAME;
use crate::ceiling::reading;
use crate::figure::Unit;
use crate::rounds::{Run, interleaved};
use crate::workspace::{Workspace, until_known};

/// Manifests, one task in each.
const FILES: u32 = 100_000;

/// Measures all of it.
pub(crate) fn measure(run: &mut Run) {
    let files = run.size(FILES);
    let workspace = Workspace::new();
    // Nobody listens there, so that all of them stay Pending and nothing else has to be done.
    workspace.declare_service(NAME, "ws://127.0.0.1:1", 1, "");
    let directory = workspace.path("manifests/many");
    std::fs::create_dir(&directory).expect("a directory");
    for number in 0..files {
        std::fs::write(directory.join(format!("task-{number:06}.yaml")), manifest(number)).expect("a file");
    }
    let cold = || {
        let _ = std::fs::remove_dir_all(workspace.path(".manifestd"));
        let began = Instant::now();
        let controller = workspace.spawn(&[]);
        let ended = until_known(&workspace.database(), 0, files, began);
        controller.stop();
        ended.duration_since(began).as_secs_f64()
    };
    let (ours, limit) = interleaved(run, Unit::Seconds, cold, || reading::cold(&directory));
    let what = format!("{files} manifests, cold, until all are Pending");
    run.report.goal("ingest-cold", &what, ours, limit);
    let again = || {
        let began = Instant::now();
        let controller = workspace.spawn(&["--log", "info,manifestd::runtime::mirror=debug"]);
        controller.until_said("the manifests directory was scanned");
        let took = began.elapsed().as_secs_f64();
        controller.stop();
        took
    };
    let (ours, limit) = interleaved(run, Unit::Seconds, again, || reading::unchanged(&directory));
    run.report.goal("ingest-restart", "the same unchanged, until scanned", ours, limit);
}

/// A task of about 400 bytes.
fn manifest(number: u32) -> String {
    format!(
        "apiVersion: manifestd.dev/v1alpha1\nkind: Task\nmetadata:\n  name: task-{number:06}\n  labels:\n    team: research\n    study: spring-2027\n  \
         annotations:\n    note: one of a hundred thousand, written by the generator of the study\nspec:\n  app: app\n  analyzer: {NAME}\n  \
         tools: [noop]\n  config:\n    noop: {{delayMs: 0}}\n  priority: 100\n  activeDeadlineSeconds: 600\n  backoffLimit: 3\n  \
         runPolicy: OnSpecChange\n"
    )
}
