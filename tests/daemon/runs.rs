//! Runs of pipelines and the end of the daemon, or of their definition.

use manifestd::resource::phase::Phase;

use crate::support::daemon::{Home, document};
use crate::support::process::Daemon;

/// Programs that wait at the gates that their tasks name.
fn gated() -> Home {
    let home = Home::new("shutdownGracePeriod: 1h");
    let analyzer = "{command: {argv: [cat, \"${config.gate}\"], tool: gate}, capacity: 2}";
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), document("Analyzer", "gated", analyzer)));
    home
}

/// A pipeline with a task that waits at gate `a`, and then one that waits at gate `b`.
fn pipeline(home: &Home, more: &str) {
    let step = |name: &str, gate: &str, more: &str| {
        format!("{{name: {name}, analyzer: gated, app: app1, backoffLimit: 0, config: {{gate: {gate}}}{more}}}")
    };
    let steps = format!("[{}, {}]", step("first", "a", ""), step("second", "b", ", needs: [first]"));
    home.drop_in(
        "gates.yaml",
        &document("Pipeline", "gates", &format!("{{runPolicy: Manual, {more} steps: {steps}}}")),
    );
}

/// Waits until a run is in this phase for this reason.
fn until(home: &Home, run: &str, wanted: &str) {
    let query = "SELECT phase || ' ' || reason FROM run WHERE name = ?1";
    home.until(&format!("run {run} to be {wanted}"), |connection| {
        let found: Option<String> = connection.query_row(query, [run], |row| row.get(0)).ok();
        found.filter(|found| found == wanted)
    });
}

/// A daemon with one run whose first task runs, and another that waits for the end of the first.
fn one_runs_and_one_waits(more: &str) -> (Home, Daemon) {
    let home = gated();
    ["a", "b"].iter().for_each(|gate| home.gate(gate));
    pipeline(&home, more);
    let daemon = home.serve();
    home.run(&["run", "gates"]).ok();
    home.run(&["run", "gates"]).ok();
    home.until_spawned("gates-1_first");
    until(&home, "gates-2", "Pending ConcurrencyLimit");
    (home, daemon)
}

#[test]
fn a_run_that_could_begin_while_the_daemon_ends_waits_for_the_next_start() {
    let (home, mut daemon) = one_runs_and_one_waits("");
    home.open_gate("a");
    home.until_spawned("gates-1_second");
    daemon.terminate();
    daemon.says("waiting for running attempts");
    home.open_gate("b");
    assert_eq!(daemon.wait(), Some(0));
    until(&home, "gates-1", "Completed AllStepsCompleted");
    until(&home, "gates-2", "Pending ConcurrencyLimit");
    let mut daemon = home.serve();
    home.until_spawned("gates-2_first");
    daemon.terminate();
    home.open_gate("a");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn a_removed_definition_cancels_its_runs() {
    // What it said last counts, not what the runs are pinned to.
    let (home, daemon) = one_runs_and_one_waits("deletionPolicy: Orphan,");
    pipeline(&home, "deletionPolicy: Cancel,");
    home.until("the edit to be seen", |connection| {
        let query = "SELECT generation FROM object WHERE kind = 'Pipeline' AND generation = 2";
        connection.query_row(query, [], |row| row.get::<_, i64>(0)).ok()
    });
    home.take_away("gates.yaml");
    until(&home, "gates-1", "Cancelled ManifestRemoved");
    until(&home, "gates-2", "Cancelled ManifestRemoved");
    assert_eq!(home.task("gates-1_first").status.phase, Phase::Cancelled);
    assert_eq!(home.run(&["get", "task/gates-1_second"]).code, 1, "it never began");
    daemon.stop();
}

#[test]
fn a_removed_definition_lets_its_runs_finish_that_have_begun() {
    let (home, daemon) = one_runs_and_one_waits("deletionPolicy: Finish,");
    home.take_away("gates.yaml");
    until(&home, "gates-2", "Cancelled ManifestRemoved");
    home.open_gate("a");
    home.until_spawned("gates-1_second");
    home.open_gate("b");
    until(&home, "gates-1", "Completed AllStepsCompleted");
    daemon.stop();
}

#[test]
fn a_removed_definition_leaves_its_runs_to_themselves() {
    let (home, daemon) = one_runs_and_one_waits("deletionPolicy: Orphan,");
    home.take_away("gates.yaml");
    home.until("the removal to be seen", |connection| {
        let query = "SELECT 1 FROM object WHERE kind = 'Pipeline' AND removed_at IS NOT NULL";
        connection.query_row(query, [], |row| row.get::<_, i64>(0)).ok()
    });
    for run in ["gates-1", "gates-2"] {
        home.until_spawned(&format!("{run}_first"));
        home.open_gate("a");
        home.until_spawned(&format!("{run}_second"));
        home.open_gate("b");
        until(&home, run, "Completed AllStepsCompleted");
    }
    daemon.stop();
}
