//! Analyzers that are not there: nobody listens, nobody speaks WebSocket, or the process was killed and is started again later.

use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use crate::scene::{More, ONCE, Scene, TWICE};
use crate::support::daemon::find;
use crate::support::misbehaving::{Behaviour, static_result};

/// While waits are allowed a task waits, and tasks beside it run; without any, it fails at once. No attempt is spent on what a probe knows.
fn is_unavailable(behaviour: Behaviour, websocket: &'static str) {
    let more = More { websocket, ..More::default() };
    let mut scene = Scene::new(behaviour.clone(), &more);
    scene.give("bad", TWICE);
    scene.home.until_reason("bad", Phase::Pending, Reason::AnalyzerUnavailable);
    scene.neighbours_run_beside("bad");
    let why = scene.home.run(&["why", "bad"]).ok();
    assert!(why.contains("is Pending (AnalyzerUnavailable)") && why.contains("as soon as a replica answers"), "{why}");
    assert!(why.contains(&scene.bad.url()) && why.contains("(wait 1 of 3)"), "{why}");
    scene.home.run(&["cancel", "bad"]).ok();
    scene.ends("bad", Phase::Cancelled, Reason::CancelledByUser, &[]);
    scene.stop();

    let scene = Scene::new(behaviour, &More { settings: "preflightMaxRetries: 0", websocket, ..More::default() });
    scene.give("bad", TWICE);
    let ended = scene.ends("bad", Phase::Failed, Reason::AnalyzerUnavailable, &[]);
    assert!(ended.message.contains(&scene.bad.url()), "{}", ended.message);
    scene.stop();
}

#[test]
fn a_port_at_which_nobody_listens() {
    is_unavailable(Behaviour::Refuses, "");
}

#[test]
fn a_port_at_which_nobody_speaks() {
    is_unavailable(Behaviour::NeverShakesHands, "connectTimeout: 500ms,");
}

#[test]
fn a_connection_that_is_not_made_yet_delays_nobody() {
    let websocket = "connectTimeout: 1h,";
    let mut scene = Scene::new(Behaviour::NeverShakesHands, &More { websocket, ..More::default() });
    scene.give("bad", ONCE);
    scene.wait_for(|bad| Box::pin(bad.knocked()));
    scene.neighbours_run_beside("bad");
    scene.home.run(&["cancel", "bad"]).ok();
    scene.home.until_reason("bad", Phase::Cancelled, Reason::CancelledByUser);
    scene.stop();
}

#[test]
fn tasks_of_a_killed_analyzer_wait_and_complete_by_themselves_when_it_is_back() {
    let analyzer = "capacity: 1, probe: {interval: 500ms, timeout: 500ms}";
    let mut scene = Scene::new(Behaviour::Silent, &More { analyzer, ..More::default() });
    scene.give("first", "");
    scene.request();
    let names = ["second", "third", "fourth"];
    for name in names {
        scene.give(name, "");
        scene.home.until_reason(name, Phase::Pending, Reason::Queued);
    }
    scene.kill();
    // As many tasks as there are slots say so, and the others stay in the queue: which, is not laid down.
    scene.home.until("the analyzer to be known as gone", |connection| {
        let analyzer = find(connection, Kind::Analyzer, "bad")?;
        analyzer.conditions.iter().any(|known| known.reason == "NoHealthyReplica").then_some(())
    });
    scene.neighbours_run_beside("first");
    for name in ["first"].into_iter().chain(names) {
        scene.home.until_phase(name, Phase::Pending);
    }
    scene.come_back(Behaviour::Answers(static_result("ruff", 0)));
    for name in ["first"].into_iter().chain(names) {
        scene.home.until_phase(name, Phase::Completed);
        let outcomes = scene.outcomes(name);
        let unreached = outcomes.iter().filter(|outcome| **outcome == Outcome::Unavailable).count();
        assert!(unreached <= 4, "more than three waits: {outcomes:?}");
        assert_eq!(outcomes.last(), Some(&Outcome::Completed), "{outcomes:?}");
        scene.ends(name, Phase::Completed, Reason::AllToolsRan, &outcomes);
    }
    assert_eq!(scene.outcomes("first")[0], Outcome::ProtocolError);
    scene.stop();
}
