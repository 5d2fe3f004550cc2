//! Attempts on an analyzer of its own process that speaks `manifestd/v1`: they go on while the controller is killed or stopped, and the next one
//! takes them up. How often an analysis ran is counted by the tool that it runs.

use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use rusqlite::Connection;

use crate::support::daemon::{Home, document, task};
use crate::support::process::{Daemon, processes_of};

/// Tasks that run at once.
const TASKS: u32 = 4;

/// An analyzer in a process of its own, whose only tool notes down that it ran, and then waits at the gate of its app.
struct Scene {
    home: Home,
    analyzer: Daemon,
}

fn name(number: u32) -> String {
    format!("t{number}")
}

fn gate(number: u32) -> String {
    format!("gate-{number}")
}

fn count(connection: &Connection, query: &str) -> u32 {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

impl Scene {
    /// With a controller that runs the tasks `t1` to `t4`, each at its gate.
    fn running(settings: &str) -> (Self, Daemon) {
        let home = Home::new(settings);
        let script = "echo ran >> \"$0/ran-$1\"; read line < \"$0/gate-$1\"";
        let place = home.path("").display().to_string();
        let tools = serde_json::json!({"tools": [
            {"name": "waits", "detect": ["true"], "argv": ["sh", "-c", script, place, "${app.number}"]},
            {"name": "noop", "builtin": "noop"},
        ]});
        std::fs::write(home.path("tools.yaml"), tools.to_string()).unwrap();
        let mut base: String = (1..=TASKS).map(|number| home.app(number)).collect();
        let arguments =
            ["--listen", "127.0.0.1:0", "--sources", "generated/apps", "--tools", "tools.yaml", "--parallel", "8"];
        let analyzer = home.spawn(&[&["analyzer"], arguments.as_slice()].concat());
        analyzer.says("analyzer is listening");
        let log = analyzer.log.text();
        let address = log.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        let spec = format!(
            "{{websocket: {{urls: [\"ws://{address}\"], request: static_analyze}}, capacity: {TASKS}, probe: {{interval: 500ms, timeout: 500ms}}}}"
        );
        base.push_str(&document("Analyzer", "remote", &spec));
        home.drop_in("base.yaml", &base);
        let daemon = home.serve();
        // What the analyzer speaks is known from its first answer on.
        home.drop_in("first.yaml", &task("first", "app1", "remote", "tools: [noop],"));
        home.until_phase("first", Phase::Completed);
        home.until("the analyzer to say what it speaks", |connection| {
            (count(connection, "SELECT count(*) FROM replica WHERE protocols LIKE '%manifestd/v1%'") == 1).then_some(())
        });
        for number in 1..=TASKS {
            home.gate(&gate(number));
            let spec = task(&name(number), &format!("app{number}"), "remote", "tools: [waits], backoffLimit: 0,");
            home.drop_in(&format!("{}.yaml", name(number)), &spec);
        }
        home.until("every analysis to be under way", |connection| {
            let begun = "SELECT count(*) FROM attempt WHERE outcome IS NULL AND resumable = 1 AND stage IS NOT NULL";
            (count(connection, begun) == TASKS).then_some(())
        });
        (Self { home, analyzer }, daemon)
    }

    /// Lets every analysis end; each ran once, in one attempt, whose result is accepted.
    fn all_complete(&self) {
        let home = &self.home;
        for number in 1..=TASKS {
            home.open_gate(&gate(number));
        }
        for number in 1..=TASKS {
            home.until_phase(&name(number), Phase::Completed);
            let attempts = home.attempts(&name(number));
            let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
            assert_eq!(outcomes, [Some(Outcome::Completed)], "{}", home.dump());
            let ran = std::fs::read_to_string(home.path(&format!("ran-{number}"))).unwrap();
            assert_eq!(ran, "ran\n", "{} ran more than once\n{}", name(number), home.dump());
            let taken_up =
                home.events(Kind::Task, &name(number)).iter().any(|event| event.starts_with("TakenUp: attempt 1"));
            assert!(taken_up, "{}", home.dump());
        }
    }

    fn end(self, daemon: Daemon) {
        daemon.stop();
        assert_eq!(processes_of(&self.home.state()), Vec::<String>::new());
        self.analyzer.stop();
    }
}

#[test]
fn a_controller_that_was_killed_takes_up_what_it_had_begun_and_each_analysis_runs_once() {
    let (scene, daemon) = Scene::running("");
    daemon.kill();
    // And killed once more while they run.
    let daemon = scene.home.serve();
    scene.home.until("the first to be taken up", |connection| {
        (count(connection, "SELECT count(*) FROM event WHERE reason = 'TakenUp'") == TASKS).then_some(())
    });
    daemon.kill();
    let daemon = scene.home.serve();
    scene.all_complete();
    scene.end(daemon);
}

#[test]
fn a_controller_that_is_stopped_leaves_them_running_and_what_ends_meanwhile_is_fetched() {
    let (scene, mut daemon) = Scene::running("shutdownGracePeriod: 1s");
    daemon.terminate();
    assert_eq!(daemon.wait(), Some(0), "{}", scene.home.dump());
    assert_eq!(count(&scene.home.database(), "SELECT count(*) FROM attempt WHERE outcome IS NULL"), TASKS);
    // Its result is kept where it ran.
    scene.home.open_gate(&gate(1));
    let report = std::thread::scope(|scope| {
        let once = scope.spawn(|| scene.home.run(&["reconcile", "--once"]));
        for number in 2..=TASKS {
            scene.home.open_gate(&gate(number));
        }
        once.join().unwrap()
    });
    assert!(report.ok().contains("4 attempts were run"), "{}", scene.home.dump());
    for number in 1..=TASKS {
        assert_eq!(scene.home.task(&name(number)).status.phase, Phase::Completed, "{}", scene.home.dump());
        let ran = std::fs::read_to_string(scene.home.path(&format!("ran-{number}"))).unwrap();
        assert_eq!((ran.as_str(), scene.home.attempts(&name(number)).len()), ("ran\n", 1), "{}", scene.home.dump());
    }
    scene.analyzer.stop();
}

#[test]
fn what_is_not_wanted_any_more_when_the_controller_comes_back_is_stopped_where_it_runs() {
    let (scene, daemon) = Scene::running("");
    let home = &scene.home;
    daemon.kill();
    home.take_away("t1.yaml");
    // Without a controller, the command itself takes up what it cancels.
    home.run(&["cancel", "t2"]).ok();
    assert_eq!(home.task("t2").status.reason, Reason::CancelledByUser, "{}", home.dump());
    let changed = task("t3", "app3", "remote", "tools: [noop],");
    home.drop_in("t3.yaml", &changed);
    let daemon = home.serve();
    home.until_reason("t1", Phase::Cancelled, Reason::ManifestRemoved);
    home.until_phase("t3", Phase::Completed);
    for number in 1..=3 {
        let attempts = home.attempts(&name(number));
        assert_eq!(attempts[0].outcome, Some(Outcome::Cancelled), "{}", home.dump());
        let draining = format!(
            "SELECT count(*) FROM attempt JOIN task ON task.uid = task_uid WHERE name = 't{number}' AND slot_until IS NOT NULL"
        );
        assert_eq!(count(&home.database(), &draining), 0, "the analyzer confirmed that it stopped");
    }
    // Nobody reads these gates any more: the programs are gone.
    for number in 1..=3 {
        let gate = home.path(&gate(number));
        let reader = rustix::fs::open(
            &gate,
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
            rustix::fs::Mode::empty(),
        );
        assert!(reader.is_err(), "something still reads {}", gate.display());
    }
    home.open_gate(&gate(4));
    home.until_phase("t4", Phase::Completed);
    scene.end(daemon);
}
