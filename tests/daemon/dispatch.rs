//! Order, capacity and rate, seen in the attempts of a live run.

use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use super::tasks::one_slot;
use crate::support::daemon::{Home, document, embedded, gated, task, waiter};

#[test]
fn higher_priorities_run_first_and_equal_ones_by_age() {
    let home = one_slot();
    home.gate("first");
    home.drop_in("first.yaml", &waiter("first", "first", ""));
    let daemon = home.serve();
    home.until_spawned("first");
    // They pile up behind the one that holds the slot. Priority and order of arrival disagree with the names.
    let gates = [("d", 5), ("a", 9), ("c", 5), ("e", 7), ("b", 1)];
    for (name, priority) in gates {
        home.gate(name);
        home.drop_in(&format!("{name}.yaml"), &waiter(name, name, &format!("priority: {priority},")));
        home.until_reason(name, Phase::Pending, Reason::Queued);
    }
    home.open_gate("first");
    std::thread::scope(|scope| gates.iter().for_each(|(name, _)| drop(scope.spawn(|| home.open_gate(name)))));
    let completed = |(name, _): &(&'static str, i32)| {
        home.until_phase(name, Phase::Completed);
        (home.attempts(name)[0].opened_at, *name)
    };
    let mut opened: Vec<_> = gates.iter().map(completed).collect();
    opened.sort();
    let order: String = opened.iter().map(|(_, name)| *name).collect();
    assert_eq!(order, "aedcb", "{}", home.dump());
    daemon.stop();
}

#[test]
fn a_shell_that_allows_few_open_files_keeps_no_attempt_from_running() {
    let home = Home::new("");
    let names: Vec<String> = (0..24).map(|number| format!("t{number}")).collect();
    names.iter().for_each(|name| home.gate(name));
    let tasks: String = names.iter().map(|name| waiter(name, name, "")).collect();
    home.drop_in("all.yaml", &[home.app(1), gated(24), tasks].concat());
    // Enough to start, and not for the pipes of so many programs.
    let daemon = home.spawn_under(&["sh", "-c", "ulimit -S -n 48; exec \"$0\" \"$@\""], &["serve"]);
    daemon.says("serving");
    names.iter().for_each(|name| _ = home.until_spawned(name));
    names.iter().for_each(|name| home.open_gate(name));
    names.iter().for_each(|name| _ = home.until_phase(name, Phase::Completed));
    daemon.stop();
}

#[test]
fn never_more_than_the_capacity_are_in_flight() {
    let home = Home::new("embeddedAnalyzer: true\nembeddedParallel: 8");
    let tasks: String = (0..20)
        .map(|n| task(&format!("t{n}"), "app1", "embedded", "tools: [noop], config: {noop: {delayMs: 20}},"))
        .collect();
    home.drop_in("all.yaml", &format!("{}{}{tasks}", home.app(1), embedded(3)));
    home.run(&["reconcile", "--once"]).ok();
    let mut moments = Vec::new();
    for n in 0..20 {
        let attempts = home.attempts(&format!("t{n}"));
        assert_eq!(attempts.len(), 1);
        let ended = attempts[0].ended_at.unwrap();
        // At the same millisecond an end comes before a beginning.
        moments.extend([(attempts[0].opened_at, 1), (ended, -1)]);
    }
    moments.sort();
    let mut most = 0;
    let mut now = 0;
    for (_, change) in moments {
        now += change;
        most = most.max(now);
    }
    assert_eq!(most, 3, "as many as allowed, and no more\n{}", home.dump());
}

#[test]
fn a_rate_opens_as_many_as_it_allows_and_the_rest_waits() {
    let home = Home::new("");
    let slow = "{command: {argv: [\"true\"], tool: slow}, capacity: 8, rate: {limit: 2, per: 1h}}";
    let tasks: String = (0..5).map(|n| task(&format!("t{n}"), "app1", "slow", "")).collect();
    home.drop_in("all.yaml", &format!("{}{}{tasks}", home.app(1), document("Analyzer", "slow", slow)));
    let daemon = home.serve();
    home.until_phase("t0", Phase::Completed);
    home.until_phase("t1", Phase::Completed);
    // Every loop at rest: whatever would be started has been.
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!((&report["phases"]["Completed"], &report["phases"]["Pending"]), (&2.into(), &3.into()), "{report}");
    daemon.stop();
    // The budget is in the store, not in the process.
    let daemon = home.serve();
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!((&report["attempts"], &report["phases"]["Pending"]), (&0.into(), &3.into()), "{report}");
    let why = home.run(&["why", "t2"]).ok();
    assert!(why.contains("rate"), "{why}");
    daemon.stop();
}
