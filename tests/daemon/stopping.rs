//! Signals, kill -9, and who owns the state directory.

use std::os::unix::fs::PermissionsExt as _;

use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;

use super::tasks::one_slot;
use crate::support::daemon::{Home, document, quick, task, waiter};
use crate::support::process::processes_of;
use crate::support::stage::group_lives;

fn outcomes(home: &Home, name: &str) -> Vec<Option<Outcome>> {
    home.attempts(name).into_iter().map(|attempt| attempt.outcome).collect()
}

/// Two programs that wait at gates a and b; with no retries, so that an interruption that counted as a failure would end them.
fn two_running(settings: &str) -> Home {
    let home = Home::new(settings);
    let analyzer = "{command: {argv: [cat, \"${config.gate}\"], tool: gate}, capacity: 2}";
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), document("Analyzer", "gated", analyzer)));
    for name in ["a", "b"] {
        home.gate(name);
        home.drop_in(&format!("{name}.yaml"), &waiter(name, name, "backoffLimit: 0,"));
    }
    home
}

#[test]
fn sigterm_ends_with_0_and_what_ran_longer_than_the_grace_period_runs_again_for_free() {
    let home = two_running("shutdownGracePeriod: 1s");
    for round in 1..=2 {
        let mut daemon = home.serve();
        let groups = ["a", "b"].map(|name| home.until_spawned(name));
        daemon.terminate();
        assert_eq!(daemon.wait(), Some(0), "{}", home.dump());
        assert!(!groups.into_iter().any(group_lives), "a program still runs\n{}", home.dump());
        for name in ["a", "b"] {
            assert_eq!(outcomes(&home, name), vec![Some(Outcome::Interrupted); round]);
            // A person who looks now must not be told that it runs.
            assert_eq!(home.task(name).status.phase, Phase::Pending, "{}", home.dump());
        }
    }
    let daemon = home.serve();
    for name in ["a", "b"] {
        home.open_gate(name);
        home.until_phase(name, Phase::Completed);
        assert_eq!(home.attempts(name).len(), 3);
    }
    daemon.stop();
}

#[test]
fn what_ends_within_the_grace_period_is_waited_for_and_nothing_new_is_started() {
    let home = one_slot();
    home.gate("a");
    let mut daemon = home.serve();
    home.drop_in("a.yaml", &waiter("a", "a", ""));
    home.until_spawned("a");
    home.drop_in("b.yaml", &waiter("b", "a", ""));
    home.until_phase("b", Phase::Pending);
    daemon.terminate();
    daemon.says("waiting for running attempts");
    home.open_gate("a");
    assert_eq!(daemon.wait(), Some(0));
    assert_eq!(home.task("a").status.phase, Phase::Completed, "{}", home.dump());
    assert!(home.attempts("b").is_empty());
}

#[test]
fn a_once_that_is_interrupted_leaves_no_attempt_behind_that_it_has_not_begun() {
    let home = Home::new("");
    let tasks: String = (0..300).map(|n| task(&format!("t{n}"), "app1", "quick", "cache: Content,")).collect();
    home.drop_in("base.yaml", &format!("{}{}{tasks}", home.app(1), quick()));
    home.run(&["reconcile", "--once", "--only", "manifests"]).ok();
    for ended in [1, 60, 120] {
        let mut once = home.spawn(&["reconcile", "--once"]);
        home.until("some tasks to have ended", |connection| {
            let query = "SELECT count(*) FROM task WHERE phase = 'Completed'";
            let count: i64 = connection.query_row(query, [], |row| row.get(0)).ok()?;
            (count >= ended).then_some(())
        });
        once.terminate();
        // It may have been through just then.
        assert!(matches!(once.wait(), Some(0 | 2)), "{}", home.dump());
        let query = "SELECT count(*) FROM attempt WHERE outcome IS NULL";
        let open: i64 = home.database().query_row(query, [], |row| row.get(0)).unwrap();
        assert_eq!(open, 0, "after {ended}: {}", home.dump());
    }
}

#[test]
fn a_second_signal_ends_at_once_with_5_and_nothing_is_lost() {
    let home = two_running("shutdownGracePeriod: 1h");
    let mut daemon = home.serve();
    let groups = ["a", "b"].map(|name| home.until_spawned(name));
    daemon.terminate();
    daemon.says("waiting for running attempts");
    daemon.terminate();
    assert_eq!(daemon.wait(), Some(5), "{}", home.dump());

    let daemon = home.serve();
    home.until_task("a", "to run a second time", |task| task.status.attempt == 2);
    home.until_task("b", "to run a second time", |task| task.status.attempt == 2);
    assert!(!groups.into_iter().any(group_lives), "a program of the first one still runs\n{}", home.dump());
    for name in ["a", "b"] {
        home.open_gate(name);
        home.until_phase(name, Phase::Completed);
        assert_eq!(outcomes(&home, name), [Some(Outcome::Interrupted), Some(Outcome::Completed)]);
    }
    daemon.stop();
    assert_eq!(processes_of(&home.state()), Vec::<String>::new());
}

#[test]
fn a_second_daemon_is_refused_with_4_and_starts_once_the_first_was_killed() {
    let home = two_running("");
    let first = home.serve();
    let groups = ["a", "b"].map(|name| home.until_spawned(name));
    let refused = home.run(&["serve"]);
    assert_eq!(refused.code, 4, "{}{}", refused.out, refused.err);
    let pid = first.pid().to_string();
    assert!(refused.err.contains(&pid) && refused.err.contains(".manifestd"), "{}", refused.err);
    // The refused one has not taken the first one's socket away.
    assert_eq!(home.run(&["status"]).code, 0);

    first.kill();
    assert!(groups.into_iter().all(group_lives), "kill -9 leaves programs behind; else this proves nothing");
    let second = home.serve();
    for name in ["a", "b"] {
        home.until_task(name, "to run again", |task| task.status.attempt == 2 && task.status.phase == Phase::Running);
    }
    assert!(!groups.into_iter().any(group_lives), "programs of the killed one still run");
    for name in ["a", "b"] {
        home.open_gate(name);
        home.until_phase(name, Phase::Completed);
    }
    second.stop();
}

#[test]
fn the_state_directory_is_its_owners_and_so_is_the_socket() {
    let home = Home::new("");
    let daemon = home.serve();
    let mode = |path: &str| home.path(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".manifestd"), 0o700);
    for file in ["control.sock", "manifestd.db", "lock"] {
        assert_eq!(mode(&format!(".manifestd/{file}")), 0o600, "{file}");
    }
    daemon.stop();
}

#[test]
fn a_daemon_that_cannot_start_says_why_and_ends_with_2() {
    let home = Home::new("");
    std::fs::remove_dir(home.path("manifests")).unwrap();
    let refused = home.run(&["serve"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("manifests") && refused.err.contains("--manifests"), "{}", refused.err);
    let refused = home.run(&["serve", "--manifests", "home", "--embedded-analyzer", "--state", "manifestd.yaml"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("manifestd.yaml"), "{}", refused.err);
}

#[test]
fn a_daemon_that_was_killed_while_nothing_ran_finds_what_changed_meanwhile() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    home.drop_in("a.yaml", &task("a", "app1", "quick", ""));
    home.drop_in("b.yaml", &task("b", "app1", "quick", "suspend: true,"));
    let daemon = home.serve();
    home.until_phase("a", Phase::Completed);
    daemon.kill();
    home.drop_in("c.yaml", &task("c", "app1", "quick", ""));
    home.take_away("b.yaml");
    let daemon = home.serve();
    home.until_phase("c", Phase::Completed);
    home.until_phase("b", Phase::Cancelled);
    assert_eq!(home.attempts("a").len(), 1);
    daemon.stop();
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    home.run(&["reconcile", "--once", "--only", "manifests"]).ok();
    // Every line is refused, from the first one on.
    let mut daemon = home.spawn_under(&["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"], &["serve"]);
    home.drop_in("broken.yaml", "bad: [");
    home.until("the problem", |connection| {
        let count: i64 = connection.query_row("SELECT count(*) FROM problem", [], |row| row.get(0)).ok()?;
        (count > 0).then_some(())
    });
    home.drop_in("t.yaml", &task("t", "app1", "quick", ""));
    home.until_phase("t", Phase::Completed);
    daemon.terminate();
    assert_eq!(daemon.wait(), Some(0));
}
