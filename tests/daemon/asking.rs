//! The command line beside a running daemon, and without one.

use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use super::tasks::one_slot;
use crate::support::daemon::{Home, document, quick, task, waiter};
use crate::support::stage::group_lives;

#[test]
fn cancel_and_retry_work_on_waiting_running_and_finished_tasks() {
    let home = one_slot();
    home.gate("a");
    home.gate("b");
    let daemon = home.serve();
    home.drop_in("a.yaml", &waiter("a", "a", ""));
    let group = home.until_spawned("a");
    home.drop_in("b.yaml", &waiter("b", "b", ""));
    home.until_phase("b", Phase::Pending);

    home.run(&["cancel", "b", "a"]).ok();
    home.until_reason("b", Phase::Cancelled, Reason::CancelledByUser);
    home.until_reason("a", Phase::Cancelled, Reason::CancelledByUser);
    assert!(!group_lives(group), "a cancelled program still runs");
    // It stays so: neither a rescan nor another loop starts it again.
    home.run(&["reconcile", "--once"]);
    assert_eq!((home.task("a").status.phase, home.task("b").status.phase), (Phase::Cancelled, Phase::Cancelled));
    assert!(home.attempts("b").is_empty(), "{}", home.dump());
    assert!(home.run(&["cancel", "a"]).ok().contains("already"));

    home.run(&["retry", "a"]).ok();
    home.until_spawned("a");
    assert_eq!(home.run(&["retry", "a"]).code, 1, "a running task cannot be retried");
    home.open_gate("a");
    home.until_phase("a", Phase::Completed);
    assert_eq!(home.run(&["cancel", "a"]).code, 1, "a finished task cannot be cancelled");
    home.run(&["retry", "b"]).ok();
    home.open_gate("b");
    home.until_phase("b", Phase::Completed);
    assert_eq!(home.attempts("b").len(), 1);
    assert_eq!(home.run(&["cancel", "nobody"]).code, 1);
    daemon.stop();
}

#[test]
fn a_cancelled_task_runs_again_when_its_spec_changes() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    home.drop_in("t.yaml", &task("t", "app1", "quick", "suspend: true,"));
    let daemon = home.serve();
    home.until_phase("t", Phase::Pending);
    home.run(&["cancel", "t"]).ok();
    home.until_phase("t", Phase::Cancelled);
    home.drop_in("t.yaml", &task("t", "app1", "quick", ""));
    home.until_phase("t", Phase::Completed);
    daemon.stop();
}

#[test]
fn cancel_and_retry_without_a_daemon_are_written_at_once_and_the_next_one_runs_what_there_is_to_run() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    home.drop_in("a.yaml", &task("a", "app1", "quick", ""));
    home.drop_in("b.yaml", &task("b", "app1", "quick", "suspend: true,"));
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!(home.task("a").status.phase, Phase::Completed);
    for command in [["retry", "a"], ["cancel", "b"]] {
        let said = home.run(&command);
        assert!(said.code == 0 && said.err.contains("no controller is running"), "{}{}", said.out, said.err);
    }
    assert_eq!((home.task("a").status.phase, home.task("b").status.phase), (Phase::Pending, Phase::Cancelled));
    let daemon = home.serve();
    home.until_reason("b", Phase::Cancelled, Reason::CancelledByUser);
    home.until_task("a", "to have run twice", |task| task.status.attempt == 2 && task.status.phase == Phase::Completed);
    daemon.stop();
}

#[test]
fn apply_and_delete_reach_the_running_daemon() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    let daemon = home.serve();
    std::fs::write(home.path("new.yaml"), task("t", "app1", "quick", "")).unwrap();
    assert!(home.run(&["apply", "-f", "new.yaml"]).ok().contains("task/t created"));
    // The daemon has been told before apply came back.
    let waited = home.run(&["wait", "t", "--for=phase=Completed", "--timeout", "60s"]).ok();
    assert!(waited.contains("task/t Completed"), "{waited}");
    assert!(home.run(&["apply", "-f", "new.yaml"]).ok().contains("unchanged"));
    home.run(&["delete", "task", "t"]).ok();
    assert!(home.object(Kind::Task, "t").removed_at.is_some(), "{}", home.dump());
    home.run(&["wait", "t", "--for=delete", "--timeout", "60s"]).ok();
    daemon.stop();
}

#[test]
fn wait_tells_a_wrong_end_from_no_end() {
    let home = one_slot();
    home.gate("a");
    let fails = document("Analyzer", "fails", "{command: {argv: [\"false\"], tool: fails}}");
    home.drop_in("fails.yaml", &format!("{fails}{}", task("f", "app1", "fails", "backoffLimit: 0,")));
    home.drop_in("a.yaml", &waiter("a", "a", ""));
    let daemon = home.serve();
    home.until_spawned("a");
    assert_eq!(home.run(&["wait", "f", "--for=phase=Completed", "--timeout", "60s"]).code, 1);
    assert_eq!(home.run(&["wait", "a", "--timeout", "100ms"]).code, 3);
    assert_eq!(home.run(&["wait", "f", "--timeout", "60s"]).code, 0);
    home.open_gate("a");
    daemon.stop();
}

#[test]
fn logs_that_are_followed_end_when_the_task_ends() {
    let home = Home::new("");
    home.gate("a");
    let analyzer = "{command: {argv: [sh, -c, 'echo first words; cat \"$0\"', \"${config.gate}\"], tool: talks}}";
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), document("Analyzer", "talks", analyzer)));
    home.drop_in("t.yaml", &task("t", "app1", "talks", "config: {gate: a},"));
    let daemon = home.serve();
    home.until_spawned("t");
    let said = std::thread::scope(|scope| {
        let following = scope.spawn(|| home.run(&["logs", "-f", "t"]));
        home.open_gate("a");
        following.join().unwrap()
    });
    let text = said.ok();
    assert!(text.contains("first words") && text.contains("open"), "{text}");
    assert_eq!(home.task("t").attempt().unwrap().outcome, Some(Outcome::Completed));
    // Afterwards it is in the result.
    assert!(home.run(&["logs", "t"]).ok().contains("first words"));
    daemon.stop();
}

#[test]
fn every_state_is_explained_by_get_describe_why_and_events() {
    let home = one_slot();
    home.gate("a");
    let fails = document("Analyzer", "fails", "{command: {argv: [\"false\"], tool: fails}}");
    let tasks = [
        waiter("running", "a", "priority: 200,"),
        waiter("queued", "a", ""),
        waiter("suspended", "a", "suspend: true,"),
        task("lost", "nowhere", "quick", ""),
        task("done", "app1", "quick", ""),
        task("failed", "app1", "fails", "backoffLimit: 0,"),
        task("later", "app1", "fails", "backoffLimit: 5,"),
        task("gone", "app1", "quick", "suspend: true,"),
    ];
    home.drop_in("others.yaml", &format!("{fails}{}", quick()));
    home.drop_in("tasks.yaml", &tasks.concat());
    let daemon = home.serve();
    home.until_spawned("running");
    home.run(&["cancel", "gone"]).ok();
    for (name, phase, reason, word) in [
        ("running", Phase::Running, Reason::AttemptStarted, "gated"),
        ("queued", Phase::Pending, Reason::Queued, "running"),
        ("suspended", Phase::Pending, Reason::Suspended, "suspend"),
        ("lost", Phase::Pending, Reason::AppNotFound, "nowhere"),
        ("done", Phase::Completed, Reason::AllToolsRan, "Completed"),
        ("failed", Phase::Failed, Reason::ExitCode, "1"),
        ("later", Phase::Pending, Reason::BackOff, "5 more tries"),
        ("gone", Phase::Cancelled, Reason::CancelledByUser, "cancel"),
    ] {
        home.until_reason(name, phase, reason);
        let line = home.run(&["get", "task", name, "--no-headers"]).ok();
        assert!(line.contains(name) && line.contains(phase.as_str()), "{line}");
        let json = home.run(&["get", "task", name, "-o", "json"]).json();
        assert_eq!(
            (&json["status"]["phase"], &json["status"]["reason"]),
            (&phase.as_str().into(), &reason.as_str().into())
        );
        let described = home.run(&["describe", "task", name]).ok();
        assert!(described.contains(phase.as_str()) && described.contains(reason.as_str()), "{described}");
        assert!(described.contains("tasks.yaml"), "it does not say where the task is declared: {described}");
        let why = home.run(&["why", name]).ok();
        assert!(why.contains(word), "why {name} does not say {word:?}: {why}");
        let events = home.run(&["events", &format!("task/{name}")]).ok();
        assert!(events.contains("Created"), "{events}");
    }
    let status = home.run(&["status"]).ok();
    assert!(status.contains("running") && status.contains("1 Running"), "{status}");
    home.run(&["cancel", "running"]).ok();
    home.run(&["cancel", "queued"]).ok();
    daemon.stop();
    assert_eq!(home.run(&["status"]).code, 1, "without a daemon, status says no");
}

#[test]
fn status_tells_of_the_loops_and_stuck_asks_who_is_carried() {
    let home = one_slot();
    home.gate("a");
    let daemon = home.serve();
    home.drop_in("a.yaml", &waiter("a", "a", ""));
    home.until_spawned("a");
    home.drop_in("lost.yaml", &task("lost", "nowhere", "gated", ""));
    home.until_reason("lost", Phase::Pending, Reason::AppNotFound);
    let status = home.run(&["status", "-o", "json"]).json();
    let loops = status["controller"]["loops"].as_array().unwrap();
    let names: Vec<_> = loops.iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tasks", "apps", "manifests", "resync", "pipelines"]);
    assert!(loops.iter().all(|each| each["stalled"] == false), "{status}");
    assert!(loops[0]["passes"].as_u64() > Some(0) && loops[0]["last_at"].is_number(), "{status}");
    assert_eq!((&status["controller"]["held"], &status["pending"]["AppNotFound"]), (&1.into(), &1.into()));
    assert!(home.run(&["status"]).ok().contains("Loop:        tasks      alive, last pass "), "{status}");
    // The running one is carried and has just said that it lives; the other one waits for a person.
    let stuck = home.run(&["get", "tasks", "--stuck", "-o", "json"]).json();
    let items: Vec<_> =
        stuck["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect();
    assert_eq!(items, ["lost"], "{stuck}");
    home.open_gate("a");
    home.until_phase("a", Phase::Completed);
    daemon.stop();
}
