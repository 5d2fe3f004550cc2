//! A daemon between two analyzers in the test process: `bad` does what a test says, `good` answers at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use rusqlite::Connection;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::daemon::{Home, PATIENCE, document, task};
use crate::support::misbehaving::{Behaviour, Misbehaving, static_result};
use crate::support::process::Daemon;

/// For a task that is tried twice.
pub(crate) const TWICE: &str = "backoffLimit: 1,";

/// For a task that is tried once.
pub(crate) const ONCE: &str = "backoffLimit: 0,";

/// So many tasks run on the good analyzer each time.
const NEIGHBOURS: usize = 5;

/// A daemon between two analyzers.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) daemon: Daemon,
    pub(crate) bad: Misbehaving,
    runtime: Runtime,
    neighbours: Vec<String>,
    _good: Misbehaving,
}

/// What else the manifests and settings say.
pub(crate) struct More {
    /// Lines of the settings file.
    pub(crate) settings: &'static str,
    /// Further fields of the bad analyzer's `websocket`, each with a comma behind it.
    pub(crate) websocket: &'static str,
    /// Its `capacity` and so on.
    pub(crate) analyzer: &'static str,
}

impl Default for More {
    fn default() -> Self {
        // The breaker has tests of its own; here every task is to meet the fault itself.
        let analyzer = "capacity: 4, breaker: {openAfterFailures: 1000}";
        Self { settings: "", websocket: "", analyzer }
    }
}

impl Scene {
    /// Starts both analyzers and the daemon, without any task.
    pub(crate) fn new(behaviour: Behaviour, more: &More) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let start = |behaviour| runtime.block_on(Misbehaving::start_healthy(anywhere, behaviour));
        let (bad, good) = (start(behaviour), start(Behaviour::Answers(static_result("ruff", 0))));
        let home = Home::new(more.settings);
        let websocket = |peer: &Misbehaving, more: &str, rest: &str| {
            format!("{{websocket: {{{more} urls: [\"{}\"], request: static_analyze}}, {rest}}}", peer.url())
        };
        let analyzers = [
            document("Analyzer", "bad", &websocket(&bad, more.websocket, more.analyzer)),
            document("Analyzer", "good", &websocket(&good, "", "capacity: 2")),
        ];
        home.drop_in("base.yaml", &format!("{}{}", home.app(1), analyzers.concat()));
        let daemon = home.serve();
        Self { home, daemon, bad, runtime, neighbours: Vec::new(), _good: good }
    }

    /// Gives the bad analyzer a task; `more` are further fields of its spec, each with a comma behind it.
    pub(crate) fn give(&self, name: &str, more: &str) {
        let more = format!("tools: [ruff], retry: {{base: 1ms}}, {more}");
        self.home.drop_in(&format!("{name}.yaml"), &task(name, "app1", "bad", &more));
    }

    /// Ends the bad analyzer as a killed process ends: nobody listens any more, and every connection is gone.
    pub(crate) fn kill(&mut self) {
        let gone = self.runtime.block_on(Misbehaving::start(Behaviour::Refuses));
        let address = self.bad.address;
        self.runtime.block_on(std::mem::replace(&mut self.bad, gone).stop());
        self.bad = self.runtime.block_on(Misbehaving::start_healthy(address, Behaviour::Refuses));
    }

    /// Starts the killed analyzer again, at the same address.
    pub(crate) fn come_back(&mut self, behaviour: Behaviour) {
        let address = self.bad.address;
        self.bad = self.runtime.block_on(Misbehaving::start_healthy(address, behaviour));
    }

    /// Waits until the bad analyzer has heard a request.
    pub(crate) fn request(&mut self) -> Value {
        self.wait_for(|scene| Box::pin(scene.request()))
    }

    /// Waits for what the bad analyzer does.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: impl for<'a> FnOnce(&'a mut Misbehaving) -> std::pin::Pin<Box<dyn Future<Output = T> + 'a>>,
    ) -> T {
        let bad = &mut self.bad;
        let waited = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, what(bad)).await });
        waited.unwrap_or_else(|_| panic!("nothing came in {PATIENCE:?}\n{}", self.home.dump()))
    }

    /// Runs some tasks on the good analyzer, while `bad` is in its fault and must not come to its end.
    pub(crate) fn neighbours_run_beside(&mut self, bad: &str) {
        let first = self.neighbours.len();
        let names: Vec<String> = (first..first + NEIGHBOURS).map(|n| format!("neighbour{n}")).collect();
        let tasks: String = names.iter().map(|name| task(name, "app1", "good", "tools: [ruff],")).collect();
        self.home.drop_in(&format!("neighbours{first}.yaml"), &tasks);
        for name in &names {
            self.home.until_phase(name, Phase::Completed);
            assert_eq!(self.home.attempts(name).len(), 1, "{}", self.home.dump());
        }
        let status = self.home.task(bad).status;
        assert!(!status.phase.is_terminal(), "{bad} has ended before the tasks beside it: {}", self.home.dump());
        self.neighbours.extend(names);
        // Who waits for it is told that it is not over.
        let waited = self.home.run(&["wait", bad, "--timeout", "1ms"]);
        assert_eq!(waited.code, 3, "{}{}", waited.out, waited.err);
    }

    /// Waits until a task has ended, and checks all that is told of it: its attempts, its events, `get`, `why`, and what `wait` ends with.
    pub(crate) fn ends(&self, name: &str, phase: Phase, reason: Reason, outcomes: &[Outcome]) -> Ended {
        let home = &self.home;
        home.until_task(name, "to have ended", |task| task.status.phase.is_terminal());
        let (status, attempts) = (home.task(name).status, home.attempts(name));
        assert_eq!((status.phase, status.reason), (phase, reason), "{name}: {}\n{}", status.message, home.dump());
        assert_eq!(self.outcomes(name), outcomes, "{name}\n{}", home.dump());
        if let Some(last) = attempts.last() {
            assert_eq!(last.reason, Some(reason), "{name}: {last:?}");
        }
        let item = home.run(&["get", "task", name, "-o", "json"]).json();
        let told = (&item["status"]["phase"], &item["status"]["reason"]);
        assert_eq!(told, (&phase.as_str().into(), &reason.as_str().into()), "{item}");
        let why = home.run(&["why", name, "-o", "json"]).json();
        assert_eq!((&why["phase"], &why["reason"]), (&phase.as_str().into(), &reason.as_str().into()), "{why}");
        assert!(why["why"].as_array().unwrap().contains(&status.message.as_str().into()), "{why}");
        let code = |phase: Phase| home.run(&["wait", name, &format!("--for=phase={phase}")]).code;
        let other = if phase == Phase::Completed { Phase::Failed } else { Phase::Completed };
        assert_eq!((code(phase), code(other)), (0, 1), "{name}");
        self.tells_the_story(name, outcomes, phase);
        Ended { message: status.message, results: attempts.into_iter().map(|attempt| attempt.result_dir).collect() }
    }

    /// How the attempts of a task have ended; none may be open.
    pub(crate) fn outcomes(&self, name: &str) -> Vec<Outcome> {
        let attempts = self.home.attempts(name);
        attempts.iter().map(|attempt| attempt.outcome.expect("no attempt is open")).collect()
    }

    /// The events of a task name each attempt and what followed from it, and the tasks beside it were done before.
    fn tells_the_story(&self, name: &str, outcomes: &[Outcome], phase: Phase) {
        let mut story: Vec<&str> = Vec::new();
        for (n, outcome) in outcomes.iter().enumerate() {
            story.push("AttemptStarted");
            match outcome {
                _ if n + 1 == outcomes.len() => {}
                Outcome::HeartbeatLost | Outcome::Interrupted => story.push("Queued"),
                Outcome::Unavailable => story.push("AnalyzerUnavailable"),
                _ => story.push("BackOff"),
            }
        }
        story.push(phase.as_str());
        let events = self.home.events(Kind::Task, name);
        let mut told = events.iter().map(|event| event.split(':').next().unwrap());
        assert!(story.iter().all(|word| told.any(|told| told == *word)), "{story:?} is not told by {events:#?}");

        let connection = self.home.database();
        let last = |name: &str, phase: Phase| -> Option<i64> {
            let query = "SELECT max(id) FROM event WHERE kind = 'Task' AND name = ?1 AND reason = ?2";
            connection.query_row(query, [name, phase.as_str()], |row| row.get(0)).unwrap()
        };
        for neighbour in &self.neighbours {
            let (done, ended) = (last(neighbour, Phase::Completed), last(name, phase));
            assert!(done.is_some() && done < ended, "{neighbour} was delayed by {name}\n{}", self.home.dump());
        }
    }

    /// The result of a task, as it was stored.
    pub(crate) fn result(&self, directory: &str) -> Value {
        let path = self.home.state().join("results").join(directory).join("result.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// How much memory the daemon had at most, in bytes.
    pub(crate) fn memory_max(&self) -> u64 {
        self.daemon.memory_max()
    }

    /// Stops the daemon in good order. Nothing may be left open or half done.
    pub(crate) fn stop(self) {
        let Self { home, daemon, .. } = self;
        daemon.stop();
        let connection = home.database();
        assert_eq!(count(&connection, "SELECT count(*) FROM attempt WHERE outcome IS NULL"), 0, "{}", home.dump());
        let staged: BTreeSet<_> = std::fs::read_dir(home.path(".manifestd/staging"))
            .map_or_else(|_| BTreeSet::new(), |dir| dir.map(|entry| entry.unwrap().path()).collect());
        assert!(staged.is_empty(), "{staged:?}");
    }
}

/// What is left of a task that has ended.
pub(crate) struct Ended {
    /// What its status says.
    pub(crate) message: String,
    /// Where the results of its attempts are, where there are any.
    pub(crate) results: Vec<Option<String>>,
}

pub(crate) fn count(connection: &Connection, query: &str) -> usize {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}
