//! Analyzers that are away, come back, and break: what the daemon does with their tasks, and with everybody else's.

use std::net::SocketAddr;

use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use tokio::runtime::Runtime;

use crate::support::daemon::{Home, document, find, quick, task};
use crate::support::misbehaving::{Behaviour, Misbehaving, static_result};

/// Probes so often that a test need not wait, and so patient that a busy machine is not taken for a dead analyzer.
const PROBE: &str = "probe: {interval: 500ms, timeout: 500ms, failureThreshold: 2}";

/// A service on an address of its own, which can be killed and started again.
struct Endpoint {
    runtime: Runtime,
    address: SocketAddr,
    running: Option<Misbehaving>,
}

impl Endpoint {
    /// One that does not run yet.
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // A port that was free a moment ago; nobody else is given it soon.
        let address = runtime.block_on(Misbehaving::start(Behaviour::Refuses)).address;
        Self { runtime, address, running: None }
    }

    fn start(&mut self, behaviour: Behaviour) {
        self.kill();
        self.running = Some(self.runtime.block_on(Misbehaving::start_healthy(self.address, behaviour)));
    }

    /// It is gone, with all its connections.
    fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

fn works() -> Behaviour {
    Behaviour::Answers(static_result("ruff", 0))
}

/// An analyzer `remote` with these replicas.
fn remote(services: &[&Endpoint], more: &str) -> String {
    let urls: Vec<String> = services.iter().map(|service| format!("\"{}\"", service.url())).collect();
    let spec = format!("{{websocket: {{urls: [{}], request: static_analyze}}, {PROBE}{more}}}", urls.join(", "));
    document("Analyzer", "remote", &spec)
}

fn on_remote(name: &str, more: &str) -> String {
    task(name, "app1", "remote", &format!("tools: [ruff], {more}"))
}

/// Waits until the condition Ready of `remote` is so.
fn until_ready(home: &Home, reason: &str) {
    home.until(&format!("remote to be {reason}"), |connection| {
        let remote = find(connection, Kind::Analyzer, "remote")?;
        remote.conditions.iter().any(|known| known.condition == "Ready" && known.reason == reason).then_some(())
    });
}

#[test]
fn tasks_of_an_analyzer_that_is_away_wait_without_attempts_and_complete_when_it_is_back_and_others_are_not_delayed() {
    let (home, mut service) = (Home::new(""), Endpoint::new());
    home.drop_in("base.yaml", &format!("{}{}{}", home.app(1), quick(), remote(&[&service], "")));
    let daemon = home.serve();
    home.drop_in("r.yaml", &format!("{}{}", on_remote("r1", ""), on_remote("r2", "")));
    let waits = home.until_reason("r1", Phase::Pending, Reason::AnalyzerUnavailable);
    assert_eq!(waits.task.unwrap().status.waits, 1);
    home.drop_in("q.yaml", &task("q", "app1", "quick", ""));
    home.until_phase("q", Phase::Completed);
    assert_eq!(home.task("r2").status.reason, Reason::Queued, "one slot, so one waits by the schedule");
    until_ready(&home, "NoHealthyReplica");
    let why = home.run(&["why", "r1"]).ok();
    assert!(why.contains("no replica of analyzer \"remote\" could be used") && why.contains(&service.url()), "{why}");
    let why = home.run(&["why", "r2"]).ok();
    assert!(why.contains("no replica of analyzer \"remote\" can be used"), "{why}");
    assert!(home.attempts("r1").is_empty() && home.attempts("r2").is_empty(), "nothing was burnt");

    service.start(works());
    for name in ["r1", "r2"] {
        home.until_phase(name, Phase::Completed);
        assert_eq!((home.attempts(name).len(), home.task(name).status.waits), (1, 0));
    }
    until_ready(&home, "ReplicasHealthy");

    // It dies, and is missed by the probes though nothing is sent: a task that waits keeps them coming.
    service.kill();
    home.drop_in("r3.yaml", &on_remote("r3", ""));
    home.until_reason("r3", Phase::Pending, Reason::AnalyzerUnavailable);
    until_ready(&home, "NoHealthyReplica");
    service.start(works());
    home.until_phase("r3", Phase::Completed);
    daemon.stop();
}

#[test]
fn a_task_that_failed_for_want_of_its_analyzer_starts_over_when_that_is_back() {
    let (home, mut service) = (Home::new("preflightMaxRetries: 0"), Endpoint::new());
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), remote(&[&service], "")));
    let daemon = home.serve();
    home.drop_in("r.yaml", &on_remote("r", ""));
    home.until_reason("r", Phase::Failed, Reason::AnalyzerUnavailable);
    let why = home.run(&["why", "r"]).ok();
    assert!(why.contains("starts over by itself when its analyzer is back"), "{why}");
    service.start(works());
    home.until_phase("r", Phase::Completed);
    let status = home.task("r").status;
    assert_eq!((status.round, status.recoveries, status.attempt), (2, 1, 1));
    daemon.stop();
}

#[test]
fn a_dead_replica_gets_nothing_while_another_works() {
    let (home, mut well, dead) = (Home::new(""), Endpoint::new(), Endpoint::new());
    well.start(works());
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), remote(&[&dead, &well], ", capacity: 2")));
    let daemon = home.serve();
    let names: Vec<String> = (1..=6).map(|number| format!("r{number}")).collect();
    home.drop_in("r.yaml", &names.iter().map(|name| on_remote(name, "")).collect::<String>());
    for name in &names {
        home.until_phase(name, Phase::Completed);
        let replicas: Vec<String> = home.attempts(name).into_iter().map(|attempt| attempt.replica).collect();
        assert_eq!(replicas, [well.url()]);
    }
    let shown = home.run(&["get", "analyzers"]).ok();
    assert!(shown.contains("1/2"), "{shown}");
    let remote = home.object(Kind::Analyzer, "remote");
    let degraded = remote.conditions.iter().find(|known| known.condition == "Degraded").expect("a condition");
    assert_eq!((degraded.status, degraded.reason.as_str()), ("True", "ReplicaUnhealthy"));
    daemon.stop();
}

#[test]
fn a_replica_that_dies_between_probes_fails_over_before_anything_is_sent() {
    let (home, mut first, mut second) = (Home::new(""), Endpoint::new(), Endpoint::new());
    first.start(works());
    second.start(works());
    let spec = remote(&[&first, &second], "").replace("interval: 500ms", "interval: 1h");
    home.drop_in("base.yaml", &format!("{}{spec}", home.app(1)));
    let daemon = home.serve();
    home.drop_in("a.yaml", &on_remote("a", ""));
    home.until_phase("a", Phase::Completed);
    until_ready(&home, "ReplicasHealthy");
    home.until("both replicas to have been asked", |connection| {
        let known = manifestd::store::replica::replicas(connection, "remote").unwrap();
        (known.iter().filter(|replica| replica.health.healthy).count() == 2).then_some(())
    });
    // The first among equals is the one that is gone now, and nobody knows.
    first.kill();
    home.drop_in("b.yaml", &on_remote("b", ""));
    home.until_phase("b", Phase::Completed);
    let tries: Vec<_> = home.attempts("b").into_iter().map(|attempt| (attempt.replica, attempt.outcome)).collect();
    let wanted = [(first.url(), Some(Outcome::Unavailable)), (second.url(), Some(Outcome::Completed))];
    assert_eq!(tries, wanted);
    assert_eq!(home.task("b").status.waits, 0, "no wait was counted");
    daemon.stop();
}

#[test]
fn a_service_that_answers_probes_and_breaks_requests_is_left_alone_and_a_restart_forgets_nothing() {
    let (home, mut service) = (Home::new(""), Endpoint::new());
    service.start(Behaviour::Resets);
    let breaker = ", breaker: {openAfterFailures: 2, halfOpenAfter: 1h}";
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), remote(&[&service], breaker)));
    let daemon = home.serve();
    for name in ["a", "b"] {
        home.drop_in(&format!("{name}.yaml"), &on_remote(name, "backoffLimit: 0,"));
        home.until_reason(name, Phase::Failed, Reason::ConnectionLost);
    }
    home.drop_in("c.yaml", &on_remote("c", "backoffLimit: 0,"));
    home.until_reason("c", Phase::Pending, Reason::BreakerOpen);
    until_ready(&home, "BreakerOpen");
    let why = home.run(&["why", "c"]).ok();
    assert!(why.contains("broke too many requests in a row"), "{why}");
    daemon.stop();

    // It works now, but the breaker is as it was.
    service.start(works());
    let daemon = home.serve();
    home.drop_in("d.yaml", &on_remote("d", ""));
    home.drop_in("q.yaml", &format!("{}{}", quick(), task("q", "app1", "quick", "")));
    home.until_phase("q", Phase::Completed);
    assert_eq!(home.task("c").status.reason, Reason::BreakerOpen);
    assert!(home.attempts("c").is_empty() && home.attempts("d").is_empty());
    // A person shortens the pause: the trial is allowed, it works, and all go on.
    let shorter = ", breaker: {openAfterFailures: 2, halfOpenAfter: 1ms}";
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), remote(&[&service], shorter)));
    home.until_phase("c", Phase::Completed);
    home.until_phase("d", Phase::Completed);
    daemon.stop();
}

#[test]
fn one_run_asks_and_then_does_everything_or_says_what_waits_until_when() {
    let (home, mut service) = (Home::new(""), Endpoint::new());
    let tasks = format!("{}{}", on_remote("r1", ""), on_remote("r2", ""));
    home.drop_in("base.yaml", &format!("{}{}{tasks}", home.app(1), remote(&[&service], "")));
    let said = home.run(&["reconcile", "--once"]).ok();
    assert!(said.contains("later: task/r1 (AnalyzerUnavailable)"), "{said}");
    assert!(home.attempts("r1").is_empty());
    let dry = home.run(&["reconcile", "--once", "--dry-run"]).ok();
    assert!(dry.contains("Nothing would be done"), "what is stored is believed: {dry}");

    service.start(works());
    let said = home.run(&["reconcile", "--once"]).ok();
    assert!(said.contains("2 attempts were run"), "{said}");
    let again = home.run(&["reconcile", "--once"]).ok();
    assert!(again.contains("nothing to start"), "{again}");
    assert_eq!((home.task("r1").status.phase, home.task("r2").status.phase), (Phase::Completed, Phase::Completed));
}
