//! Worlds to begin with: an analyzer, an app, a task; and the words in which cases speak of time.

use manifestd::plan::Probe;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use serde_json::{Value, json};

use crate::world::{Act, Reply, World};

/// The shortest time there is.
pub(crate) const MS: Span = Span(1);

/// A day.
pub(crate) const DAY: Span = Span::minutes(24 * 60);

/// The same span but for a millisecond.
pub(crate) const fn just_before(span: Span) -> Span {
    Span(span.0 - 1)
}

/// The address of the one replica of a service.
pub(crate) const URL: &str = "ws://one:2001";

/// A world with an app and a program with one slot. A program is gone once it has ended, so a slot is free at once.
pub(crate) fn with_program(environment: &[(&str, &str)]) -> World {
    with_analyzer(environment, json!({"command": {"argv": ["lint"]}}), |_, _| Reply::healthy())
}

/// A world with an app and a service with one slot. A service that was left goes on, so its slot stays taken until the deadline.
pub(crate) fn with_service(environment: &[(&str, &str)]) -> World {
    with_analyzer(environment, service(json!({})), |_, _| Reply::healthy())
}

/// The same with a service that is there in none but the ages for which `is_there` says so, as far as probes can tell.
pub(crate) fn with_service_at(environment: &[(&str, &str)], is_there: impl Fn(Span) -> bool + 'static) -> World {
    let replies = move |_: &_, age| if is_there(age) { Reply::healthy() } else { Reply::refused() };
    with_analyzer(environment, service(json!({})), replies)
}

/// A world with an app and an analyzer whose replicas answer so.
pub(crate) fn with_analyzer(
    environment: &[(&str, &str)],
    analyzer: Value,
    replies: impl FnMut(&Probe, Span) -> Reply + 'static,
) -> World {
    let mut world = World::new(environment);
    world.replies(replies);
    world.make_directory("apps/demo/app1");
    world.declare(Kind::App, "demo", json!({"path": "apps/demo/app1", "model": "demo", "number": 1}));
    world.declare(Kind::Analyzer, "lint", analyzer);
    world
}

/// The spec of a service with one replica, with more in it.
pub(crate) fn service(more: Value) -> Value {
    with_more(json!({"websocket": {"urls": [URL], "request": "static_analyze"}}), &more)
}

fn with_more(mut spec: Value, more: &Value) -> Value {
    let fields = spec.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    spec
}

impl World {
    /// Declares a task of the app `demo` on the analyzer `lint`, with more in its spec.
    pub(crate) fn submit(&mut self, name: &str, more: Value) {
        self.declare(Kind::Task, name, task(more));
    }

    /// Declares such a task, whose attempts all go like this.
    pub(crate) fn submit_with(&mut self, name: &str, more: Value, act: Act) {
        self.script(move |_| act.clone());
        self.submit(name, more);
    }

    /// Lets time pass to this age but for a millisecond, and then that millisecond: a task is in the one state until then, and in the other from
    /// then on.
    pub(crate) fn turns_at(&mut self, age: Span, name: &str, before: (Phase, Reason), after: (Phase, Reason)) {
        self.advance_to_age(just_before(age));
        assert_eq!(self.state(name), before, "{name} just before {age}: {:?}", self.turns(name));
        self.advance(MS);
        assert_eq!(self.state(name), after, "{name} at {age}: {:?}", self.turns(name));
    }

    /// How the attempts of a task's current round ended, oldest first; `None` for one that has not.
    pub(crate) fn outcomes(&self, name: &str) -> Vec<Option<Outcome>> {
        let attempts = self.task(name).attempts.into_iter();
        attempts.map(|attempt| attempt.ended.map(|ended| ended.outcome)).collect()
    }
}

/// The spec of a task of the app `demo` on the analyzer `lint`, with more in it.
pub(crate) fn task(more: Value) -> Value {
    with_more(json!({"app": "demo", "analyzer": "lint"}), &more)
}

/// Ready, and waiting for its turn.
pub(crate) const QUEUED: (Phase, Reason) = (Phase::Pending, Reason::Queued);

/// An attempt runs.
pub(crate) const RUNNING: (Phase, Reason) = (Phase::Running, Reason::AttemptStarted);

/// Waits before the next try.
pub(crate) const BACK_OFF: (Phase, Reason) = (Phase::Pending, Reason::BackOff);

/// Waits for an analyzer that cannot be reached.
pub(crate) const UNAVAILABLE: (Phase, Reason) = (Phase::Pending, Reason::AnalyzerUnavailable);

/// It ran well.
pub(crate) const COMPLETED: (Phase, Reason) = (Phase::Completed, Reason::AllToolsRan);
