//! A restart costs nothing where the analyzer speaks `manifestd/v1`: fifty analyses run at once in a standalone analyzer while the
//! controller goes, comes back and takes them up. Real programs, five seconds of work in each task, and nothing runs twice.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

mod support;

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::store::view::{self, Filter};
use serde_json::{Value, json};
use support::daemon::{Home, PATIENCE, document, task};
use support::process::Daemon;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

/// Tasks, and slots of the analyzer: all of them run at once.
const TASKS: usize = 50;

/// A workspace with the tasks, and an analyzer beside it.
struct Fifty {
    home: Home,
    analyzer: Daemon,
    address: String,
}

impl Fifty {
    fn new(settings: &str) -> Self {
        let home = Home::new(settings);
        let app = home.app(1);
        let analyzer = home.spawn(&analyzer("127.0.0.1:0"));
        let address = listening(&analyzer);
        let spec = format!(
            "{{websocket: {{urls: [\"ws://{address}\"], request: static_analyze}}, capacity: {TASKS}, probe: {{interval: 500ms, timeout: 500ms}}}}"
        );
        let more = "tools: [noop], config: {noop: {delayMs: 5000}}, retry: {base: 100ms},";
        let tasks: String = (0..TASKS).map(|n| task(&name(n), "app1", "standalone", more)).collect();
        home.drop_in("all.yaml", &format!("{app}{}{tasks}", document("Analyzer", "standalone", &spec)));
        Self { home, analyzer, address }
    }

    /// Starts the controller, and waits until the analyzer runs every task.
    fn all_running(&self) -> Daemon {
        let controller = self.home.serve();
        let running = |health: &Value| health["running"] == TASKS;
        self.health("that all tasks run", running);
        controller
    }

    /// Asks the analyzer how it is until it is as wanted.
    fn health(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                let (mut socket, _) = connect_async(format!("ws://{}", self.address)).await.unwrap();
                loop {
                    socket.send(Message::text(json!({"type": "health_check"}).to_string())).await.unwrap();
                    let said = socket.next().await.unwrap().unwrap();
                    let health: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
                    if wanted(&health) {
                        return health;
                    }
                    // Nothing tells when it changes.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await
        });
        asked.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}\n{}", self.home.dump()))
    }

    /// Waits until every task has ended well. How the attempts of each have ended.
    fn all_complete(&self) -> Vec<Vec<Outcome>> {
        let waited = self.home.run(&["wait", "--all", "--for=phase=Completed", "--timeout", "80s"]);
        assert_eq!(waited.code, 0, "{}{}\n{}", waited.out, waited.err, self.home.dump());
        let connection = self.home.database();
        let tasks = view::objects(&connection, Kind::Task, &Filter::default()).unwrap();
        assert_eq!(tasks.len(), TASKS);
        let ended = |uid: &str| {
            let attempts = view::attempts(&connection, uid).unwrap();
            attempts.iter().map(|attempt| attempt.outcome.expect("no attempt is open")).collect()
        };
        tasks
            .iter()
            .map(|task| {
                let status = &task.task.as_ref().unwrap().status;
                assert_eq!((status.phase, status.round), (Phase::Completed, 1), "{}", task.name);
                ended(&task.uid)
            })
            .collect()
    }

    /// Every task was asked for once, ran once, and has one attempt, which a second controller took up.
    fn nothing_ran_twice(&self) {
        assert_eq!(self.all_complete(), vec![vec![Outcome::Completed]; TASKS], "{}", self.home.dump());
        let health = self.health("an answer", |_| true);
        assert_eq!(health["analyses_started"], TASKS, "{health}");
        for n in 0..TASKS {
            let events = self.home.events(Kind::Task, &name(n));
            let taken_up = events.iter().filter(|event| event.starts_with("TakenUp:")).count();
            assert_eq!(taken_up, 1, "{events:#?}");
        }
    }
}

fn name(n: usize) -> String {
    format!("task{n}")
}

fn analyzer(listen: &str) -> [&str; 7] {
    ["analyzer", "--listen", listen, "--sources", "generated/apps", "--parallel", "50"]
}

/// Waits until an analyzer listens; its address.
fn listening(analyzer: &Daemon) -> String {
    analyzer.says("analyzer is listening");
    let text = analyzer.log.text();
    let address = text.split_whitespace().find_map(|word| word.strip_prefix("address="));
    address.expect("it says where it listens").to_owned()
}

#[test]
fn a_controller_that_was_killed_takes_up_what_runs_and_nothing_runs_twice() {
    let fifty = Fifty::new("");
    fifty.all_running().kill();
    let controller = fifty.home.serve();
    fifty.nothing_ran_twice();
    controller.stop();
    fifty.analyzer.stop();
}

#[test]
fn a_controller_that_was_stopped_takes_up_what_runs_and_nothing_runs_twice() {
    let fifty = Fifty::new("shutdownGracePeriod: 100ms");
    let mut controller = fifty.all_running();
    controller.terminate();
    assert_eq!(controller.wait(), Some(0), "{}", fifty.home.dump());
    let health = fifty.health("an answer", |_| true);
    assert_eq!(health["running"], TASKS, "the controller must have left before the work was done: {health}");
    let controller = fifty.home.serve();
    fifty.nothing_ran_twice();
    controller.stop();
    fifty.analyzer.stop();
}

#[test]
fn tasks_whose_analyzer_was_killed_as_well_complete_when_both_are_back() {
    let mut fifty = Fifty::new("");
    let controller = fifty.all_running();
    fifty.analyzer.kill();
    controller.kill();
    let controller = fifty.home.serve();
    fifty.analyzer = fifty.home.spawn(&analyzer(&fifty.address));
    assert_eq!(listening(&fifty.analyzer), fifty.address);
    for outcomes in fifty.all_complete() {
        // It ran in one attempt, and another one at most was spent on an analyzer that was not there, for each wait that there may be.
        let (last, lost) = outcomes.split_last().unwrap();
        let spent = lost.iter().all(|outcome| matches!(outcome, Outcome::ProtocolError | Outcome::Unavailable));
        assert!(*last == Outcome::Completed && lost.len() <= 3 && spent, "{outcomes:?}\n{}", fifty.home.dump());
    }
    // What was lost was begun again, and once.
    let health = fifty.health("an answer", |_| true);
    assert_eq!(health["analyses_started"], TASKS, "{health}");
    controller.stop();
    fifty.analyzer.stop();
}
