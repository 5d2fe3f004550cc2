//! Fair share between owners and pools over several analyzers, seen in the attempts of a live run.

use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use super::tasks::one_slot;
use crate::support::daemon::{Home, document, gated, waiter};

/// A gate that is open already: any file will do.
const OPEN: &str = "manifestd.yaml";

#[test]
fn the_single_task_of_another_owner_runs_among_the_first_few_of_two_hundred() {
    let home = one_slot();
    home.gate("first");
    home.drop_in("first.yaml", &waiter("first", "first", ""));
    let daemon = home.serve();
    home.until_spawned("first");
    let many: String = (0..200).map(|number| waiter(&format!("many{number:03}"), OPEN, "")).collect();
    home.drop_in("many.yaml", &many);
    home.until_reason("many199", Phase::Pending, Reason::Queued);
    home.drop_in("team/single.yaml", &waiter("single", OPEN, ""));
    home.until_reason("single", Phase::Pending, Reason::Queued);
    let why = home.run(&["why", "single"]).ok();
    assert!(why.contains("1 queued task goes first") && why.contains("its owner is team/"), "{why}");
    home.open_gate("first");
    home.until_phase("single", Phase::Completed);
    let before: u32 = home
        .database()
        .query_row(
            "SELECT count(*) FROM attempt a JOIN task t ON t.name = 'single' JOIN attempt s ON s.task_uid = t.uid
             WHERE a.opened_at < s.opened_at",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(
        before <= 2,
        "{before} were opened before it: the one that ran, and the head of the queue\n{}",
        home.dump()
    );
    daemon.stop();
}

/// Two analyzers whose programs wait at gates, and a pool with one slot for both.
fn shared_pool() -> Home {
    let home = Home::new("");
    let other = gated(4).replace("name: gated", "name: other");
    home.drop_in("base.yaml", &format!("{}{}{other}{}", home.app(1), gated(4), document("Pool", "gpu", "{slots: 1}")));
    home
}

fn on(analyzer: &str, name: &str, gate: &str, more: &str) -> String {
    waiter(name, gate, more).replace("analyzer: gated", &format!("analyzer: {analyzer}"))
}

#[test]
fn a_slot_freed_on_one_analyzer_starts_a_task_on_another_at_once() {
    let home = shared_pool();
    let daemon = home.serve();
    for gate in ["a", "b"] {
        home.gate(gate);
    }
    home.drop_in("a.yaml", &waiter("a", "a", "pool: gpu,"));
    home.until_spawned("a");
    home.drop_in("b.yaml", &on("other", "b", "b", "pool: gpu,"));
    home.until_reason("b", Phase::Pending, Reason::Queued);
    // Who needs no slot of the pool is not kept waiting behind it.
    home.drop_in("free.yaml", &on("other", "free", OPEN, ""));
    home.until_phase("free", Phase::Completed);
    assert!(home.attempts("b").is_empty());
    let why = home.run(&["why", "b"]).ok();
    assert!(why.contains("pool \"gpu\" is full, 1/1 by task/a on gated"), "{why}");
    home.open_gate("a");
    home.until_spawned("b");
    home.open_gate("b");
    home.until_phase("b", Phase::Completed);
    let opened = home.attempts("b")[0].opened_at;
    assert!(home.attempts("a")[0].ended_at.is_some_and(|ended| ended <= opened));
    daemon.stop();
}

#[test]
fn a_pool_has_all_of_its_slots_after_kill_9_and_grows_when_it_is_edited() {
    let home = shared_pool();
    home.gate("a");
    home.drop_in("a.yaml", &waiter("a", "a", "pool: gpu,"));
    let daemon = home.serve();
    home.until_spawned("a");
    home.drop_in("b.yaml", &on("other", "b", OPEN, "pool: gpu,"));
    home.until_reason("b", Phase::Pending, Reason::Queued);
    daemon.kill();
    let daemon = home.serve();
    // The attempt of the dead controller is closed, and its slot is given again: to both, one after the other, in whatever order.
    home.until_task("a", "to run again", |task| task.status.attempt == 2);
    home.until_spawned("a");
    home.open_gate("a");
    home.until_phase("a", Phase::Completed);
    home.until_phase("b", Phase::Completed);
    assert_eq!((home.attempts("a").len(), home.attempts("b").len()), (2, 1));
    let used = |home: &Home| home.run(&["get", "pool", "gpu", "-o", "json"]).json()["status"]["used"].clone();
    assert_eq!(used(&home), 0);
    home.gate("d");
    home.drop_in("d.yaml", &waiter("d", "d", "pool: gpu,"));
    home.until_spawned("d");
    home.drop_in("c.yaml", &on("other", "c", OPEN, "pool: gpu,"));
    home.until_reason("c", Phase::Pending, Reason::Queued);
    assert_eq!(used(&home), 1);
    let base = std::fs::read_to_string(home.path("manifests/base.yaml")).unwrap();
    home.drop_in("base.yaml", &base.replace("slots: 1", "slots: 2"));
    home.until_phase("c", Phase::Completed);
    home.open_gate("d");
    home.until_phase("d", Phase::Completed);
    daemon.stop();
}

#[test]
fn a_pool_that_comes_later_lets_its_tasks_go() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), gated(4)));
    let daemon = home.serve();
    home.drop_in("t.yaml", &waiter("t", OPEN, "pool: gpu,"));
    home.until_reason("t", Phase::Pending, Reason::PoolNotFound);
    home.drop_in("pool.yaml", &document("Pool", "gpu", "{slots: 1}"));
    home.until_phase("t", Phase::Completed);
    daemon.stop();
}
