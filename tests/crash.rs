//! kill -9, twenty times, in the middle of two hundred tasks; then one quiet run, after which everything must be as if nothing had happened.
//!
//! The moments are drawn from a seed, which is printed; `MANIFESTD_TEST_SEED` gives another one. A moment is a number of endings to wait
//! for, and some of them also a number of further commits, so that kills hit openings, endings and everything between.
//!
//! A task that is interrupted more than ten times in one round fails by design. No task here can come near: each runs for a few
//! milliseconds, without a tool that has to warm up first, two of each analyzer at a time. The test asserts how near they came.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

mod support;

use std::collections::BTreeSet;

use manifestd::plan::Budgets;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::store::glance::data_version;
use manifestd::store::view::{self, Filter};
use rusqlite::Connection;
use support::daemon::{Home, document, embedded, task};
use support::process::processes_of;
use support::stage::check_stored;

const TASKS: usize = 200;
const KILLS: usize = 20;

/// Small steps that look random: splitmix64, so that a seed gives the same moments everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn two_hundred() -> Home {
    let home = Home::new("embeddedAnalyzer: true\nembeddedParallel: 4\nembeddedTools: tools.yaml");
    std::fs::write(home.path("tools.yaml"), "tools:\n- {name: noop, builtin: noop}\n").unwrap();
    // Each program has a child in a session of its own, which only the token finds, and which outlives the test if it is not found. The
    // short sleep waits for nothing: it is the work.
    let script = r#"setsid sleep 600 & sleep 0.02; kill $!; wait; printf '{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "script"}}, "results": []}]}'"#;
    let argv = serde_json::json!(["sh", "-c", script]);
    let spec = format!("{{command: {{argv: {argv}, output: sarif, tool: script}}, capacity: 2}}");
    let script = document("Analyzer", "script", &spec);
    let apps: String = (1..=10).map(|n| home.app(n)).collect();
    home.drop_in("base.yaml", &format!("{apps}{}{script}", embedded(2)));
    for n in 0..TASKS {
        let (name, app) = (format!("t{n}"), format!("app{}", n % 10 + 1));
        let text = match n % 2 {
            0 => task(&name, &app, "script", "backoffLimit: 0,"),
            _ => {
                let more = format!("tools: [noop], config: {{noop: {{delayMs: {}}}}}, backoffLimit: 0,", n % 40);
                task(&name, &app, "embedded", &more)
            }
        };
        home.drop_in(&format!("{}/{name}.yaml", n % 7), &text);
    }
    home
}

fn count(connection: &Connection, query: &str) -> usize {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

fn completed(connection: &Connection) -> usize {
    count(connection, "SELECT count(*) FROM attempt WHERE outcome = 'Completed'")
}

#[test]
fn two_hundred_tasks_survive_twenty_kills_and_each_has_one_accepted_result() {
    let seed =
        std::env::var_os("MANIFESTD_TEST_SEED").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20_260_101);
    println!("seed {seed}");
    let (home, mut dice) = (two_hundred(), Dice(seed));
    for kill in 0..KILLS {
        let daemon = home.serve();
        let before = completed(&home.database());
        // On average 20 kills take half of the tasks, so that there is always something in flight to be hit.
        let endings = usize::try_from(dice.below(9)).unwrap();
        let mut commits = dice.below(12);
        let mut last = None;
        home.until(&format!("kill {kill}: {endings} endings after {before}"), |connection| {
            if completed(connection) < before + endings {
                return None;
            }
            let version = Some(data_version(connection).unwrap());
            commits = commits.saturating_sub(u64::from(version != last));
            last = version;
            (commits == 0).then_some(())
        });
        daemon.kill();
    }
    let interrupted = count(&home.database(), "SELECT count(*) FROM attempt WHERE outcome = 'Interrupted'");
    println!("{interrupted} attempts were interrupted");
    assert!(interrupted >= KILLS, "the kills hit next to nothing, so they prove nothing: {interrupted}");
    assert!(completed(&home.database()) < TASKS, "everything was done before the last kill");

    let quiet = home.run(&["reconcile", "--once"]);
    assert_eq!(quiet.code, 0, "{}\n{}", quiet.out, home.dump());
    println!("no task was interrupted more than {} times", check_tasks(&home));
    check_leavings(&home);
    let again = home.run(&["reconcile", "--once"]).ok();
    assert!(again.contains("nothing to start"), "{again}");
    // The daemon has nothing to do either.
    let daemon = home.serve();
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!((&report["attempts"], &report["phases"]["Completed"]), (&0.into(), &TASKS.into()));
    daemon.stop();
}

/// Every task is done, by exactly one accepted result, which lies on disk as its row says. Returns how often the unluckiest was interrupted.
fn check_tasks(home: &Home) -> usize {
    let connection = home.database();
    let tasks = view::objects(&connection, Kind::Task, &Filter::default()).unwrap();
    assert_eq!(tasks.len(), TASKS);
    let mut worst = 0;
    for task in &tasks {
        let name = &task.name;
        let status = &task.task.as_ref().unwrap().status;
        assert_eq!(status.phase, Phase::Completed, "{name}: {status:?}\n{}", home.dump());
        assert_eq!(status.round, 1, "{name} was started over");
        let attempts = view::attempts(&connection, &task.uid).unwrap();
        let accepted: Vec<_> = attempts.iter().filter(|attempt| attempt.outcome == Some(Outcome::Completed)).collect();
        assert_eq!(accepted.len(), 1, "{name}: {attempts:?}");
        assert_eq!(accepted[0].number, status.attempt, "{name}: the accepted one is not the last");
        let others = attempts.iter().filter(|attempt| attempt.outcome != Some(Outcome::Completed));
        let lost = others
            .inspect(|other| assert_eq!(other.outcome, Some(Outcome::Interrupted), "{name}: {other:?}"))
            .inspect(|other| assert_eq!(other.result_dir, None, "{name}: {other:?}"))
            .count();
        worst = worst.max(lost);
        let place = home.state().join("results").join(accepted[0].result_dir.as_ref().unwrap());
        let bytes: u64 = connection
            .query_row(
                "SELECT result_bytes FROM attempt WHERE task_uid = ?1 AND outcome = 'Completed'",
                [&task.uid],
                |row| row.get(0),
            )
            .unwrap();
        check_stored(name, &place, accepted[0].result_sha256.as_ref().unwrap(), bytes);
    }
    assert!(worst < Budgets::default().interruptions_max as usize, "one was interrupted {worst} times");
    worst
}

/// Nothing is left lying about, running, or open.
fn check_leavings(home: &Home) {
    let connection = home.database();
    assert_eq!(processes_of(&home.state()), Vec::<String>::new());
    let staged: Vec<_> = std::fs::read_dir(home.path(".manifestd/staging")).map_or(Vec::new(), |dir| dir.collect());
    assert!(staged.is_empty(), "{staged:?}");
    assert_eq!(count(&connection, "SELECT count(*) FROM attempt WHERE outcome IS NULL"), 0);
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert_eq!(count(&connection, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    // A result that was on disk before a kill, and whose row was not, may lie there; it is never that of an accepted attempt.
    let accepted: BTreeSet<String> = {
        let mut statement = connection.prepare("SELECT result_dir FROM attempt WHERE result_dir IS NOT NULL").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(accepted.len(), TASKS);
}
