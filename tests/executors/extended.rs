//! What is special to analyzers that speak `manifestd/v1`: many requests on one connection, lost connections, cancel, leaving, taking up.

use std::time::Duration;

use manifestd::resource::attempt::{Assignment, Sign};
use manifestd::resource::outcome::Outcome;
use manifestd::resource::reason::Reason;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::extended::{Extended, Script};
use crate::support::misbehaving::static_result;
use crate::support::stage::{Carried, FAR, LIMIT, SOON, Stage, assignment, extended};

fn text(frame: &Value) -> Message {
    Message::text(frame.to_string())
}

/// The assignment of another attempt: each has its own token and its own directory.
fn numbered(analyzer: &Extended, number: u32) -> Assignment {
    let mut assignment = assignment(extended(analyzer.url()), FAR);
    assignment.id.number = number;
    assignment
}

/// An attempt that its analyzer has heard of and works on.
async fn working(stage: &Stage, analyzer: &mut Extended) -> Carried {
    let mut carried = stage.start(assignment(extended(analyzer.url()), FAR));
    let (connection, request) = analyzer.hears().await;
    assert_eq!((connection, request["id"].as_str()), (1, Some(carried.token.as_str())));
    assert_eq!(request["attempt_token"], carried.token);
    carried.sign(|sign| matches!(sign, Sign::Progress { .. })).await;
    carried
}

#[tokio::test]
async fn a_connection_that_drops_in_the_middle_costs_nothing() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::Keeps).await;
    let mut carried = working(&stage, &mut analyzer).await;
    analyzer.drop_connections(1);
    let (connection, request) = analyzer.hears().await;
    assert_eq!((connection, request["attempt_token"].as_str()), (2, Some(carried.token.as_str())));
    analyzer.finish(&carried.token, static_result("ruff", 1));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    assert_eq!(analyzer.started(&carried.token), 1, "it ran once");
    stage.assert_clean("dropped", &carried).await;
    let log = stage.state().join("results").join(ending.result.expect("a result").directory).join("log.txt");
    assert!(std::fs::read_to_string(log).expect("a log").contains("asking again: the connection was lost"));
}

#[tokio::test]
async fn a_result_that_came_while_nobody_listened_is_kept() {
    // The first connection is given up as silent. A later one that were so by chance would only be opened once more.
    let stage = Stage::with(|limits| limits.silence_max = Duration::from_millis(200));
    let mut analyzer = Extended::start(Script::FallsSilentFirst).await;
    let mut carried = stage.start(assignment(extended(analyzer.url()), FAR));
    analyzer.hears().await;
    analyzer.finish(&carried.token, static_result("ruff", 1));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    assert_eq!(analyzer.started(&carried.token), 1);
    stage.assert_clean("silent", &carried).await;
}

#[tokio::test]
async fn a_server_that_closes_is_asked_again_for_a_while_and_then_given_up() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::ClosesFirst(3)).await;
    let mut carried = stage.start(assignment(extended(analyzer.url()), FAR));
    for connection in 1..=4 {
        assert_eq!(analyzer.hears().await.0, connection);
    }
    analyzer.finish(&carried.token, static_result("ruff", 1));
    assert_eq!(carried.end().await.verdict.outcome, Outcome::Completed);

    let analyzer = Extended::start(Script::ClosesFirst(usize::MAX)).await;
    let mut carried = stage.start(numbered(&analyzer, 2));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.reason, Reason::ConnectionLost, "{ending:?}");
    // It was told to cancel what it may have, and said that it has nothing.
    assert!(ending.verdict.message.contains("1001") && !ending.may_still_run, "{ending:?}");
    stage.assert_clean("closing", &carried).await;
}

#[tokio::test]
async fn an_analyzer_that_is_gone_works_on_nothing() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::Keeps).await;
    let mut carried = working(&stage, &mut analyzer).await;
    analyzer.kill().await;
    let ending = carried.end().await;
    assert_eq!((ending.verdict.reason, ending.may_still_run), (Reason::ConnectionLost, false), "{ending:?}");
}

#[tokio::test]
async fn a_cancel_is_confirmed_or_the_slot_stays_taken() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::Keeps).await;
    let mut carried = working(&stage, &mut analyzer).await;
    carried.stop.cancel();
    let ending = carried.end().await;
    assert_eq!((ending.verdict.outcome, ending.may_still_run), (Outcome::Cancelled, false), "{ending:?}");
    let (connection, cancel) = analyzer.hears().await;
    assert_eq!((connection, cancel["type"].as_str()), (1, Some("cancel_request")));
    assert!(analyzer.cancelled(&carried.token));

    let stage = Stage::with(|limits| limits.cancel_wait = SOON.std());
    let mut analyzer = Extended::start(Script::IgnoresCancel).await;
    let mut carried = working(&stage, &mut analyzer).await;
    carried.stop.cancel();
    let ending = carried.end().await;
    assert_eq!((ending.verdict.outcome, ending.may_still_run), (Outcome::Cancelled, true), "{ending:?}");
    stage.assert_clean("not confirmed", &carried).await;
}

#[tokio::test]
async fn requests_share_one_connection_and_come_back_in_any_order() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::Keeps).await;
    let mut all: Vec<Carried> = (1..=20).map(|number| stage.start(numbered(&analyzer, number))).collect();
    for _ in &all {
        assert_eq!(analyzer.hears().await.0, 1, "one connection");
    }
    for (number, carried) in all.iter_mut().enumerate().rev() {
        analyzer.finish(&carried.token, static_result("ruff", number as u64));
        let ending = carried.end().await;
        assert_eq!(ending.verdict.findings.total(), number as u64, "each has its own result: {ending:?}");
    }
    stage.assert_clean("shared", &all[0]).await;
}

#[tokio::test]
async fn frames_of_others_and_of_nobody_are_not_taken_for_ones_own() {
    let stage = Stage::new();
    let mut other = static_result("ruff", 7);
    other["correlation_id"] = "another".into();
    let babble = vec![
        text(&other),
        text(&json!({"type": "error", "message": "whose?"})),
        text(&json!({"type": "error", "message": "another's", "correlation_id": "another"})),
        text(&json!({"type": "pong"})),
        text(&json!({"type": "weather", "correlation_id": 7})),
        Message::text("{"),
        text(&json!([1])),
    ];
    let analyzer = Extended::start(Script::Babbles(babble, static_result("ruff", 1))).await;
    let mut carried = stage.start(numbered(&analyzer, 1));
    let ending = carried.end().await;
    assert_eq!((ending.verdict.outcome, ending.verdict.findings.total()), (Outcome::Completed, 1), "{ending:?}");

    // A result without an id is what a service of the base protocol sends: it would be run again and again.
    let base = vec![text(&static_result("ruff", 1))];
    let analyzer = Extended::start(Script::Babbles(base, json!({"type": "pong"}))).await;
    let mut carried = stage.start(numbered(&analyzer, 2));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.outcome, Outcome::ProtocolError, "{ending:?}");
    assert!(ending.verdict.message.contains("manifestd/v1"), "{ending:?}");
}

#[tokio::test]
async fn a_result_that_is_too_large_ends_its_own_attempt_alone() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::Keeps).await;
    let mut large = stage.start(numbered(&analyzer, 1));
    let mut other = stage.start(numbered(&analyzer, 2));
    for _ in 0..2 {
        assert_eq!(analyzer.hears().await.0, 1);
    }
    let mut result = static_result("ruff", 0);
    result["padding"] = "x".repeat(2 * LIMIT).into();
    analyzer.finish(&large.token, result);
    let ending = large.end().await;
    assert_eq!((ending.verdict.reason, ending.may_still_run), (Reason::ResultTooLarge, false), "{ending:?}");
    analyzer.finish(&other.token, static_result("ruff", 1));
    assert_eq!(other.end().await.verdict.outcome, Outcome::Completed);
    assert_eq!((analyzer.started(&large.token), analyzer.started(&other.token)), (1, 1));
}

#[tokio::test]
async fn a_refusal_says_what_follows_from_it() {
    let stage = Stage::new();
    let error = |code: &str| json!({"type": "error", "code": code, "message": "so it is"});
    for (number, (code, outcome, reason)) in (1..).zip([
        ("busy", Outcome::Unavailable, Reason::AnalyzerUnavailable),
        ("token_conflict", Outcome::ProtocolError, Reason::ProtocolError),
        ("result_too_large", Outcome::Failed, Reason::ResultTooLarge),
        ("cancelled", Outcome::Failed, Reason::AnalyzerError),
        ("failed", Outcome::Failed, Reason::AnalyzerError),
        ("shutting_down", Outcome::ProtocolError, Reason::ConnectionLost),
    ]) {
        let mut analyzer = Extended::start(Script::Answers(error(code))).await;
        let mut carried = stage.start(numbered(&analyzer, number));
        let ending = carried.end().await;
        assert_eq!((ending.verdict.outcome, ending.verdict.reason), (outcome, reason), "{code}: {ending:?}");
        assert!(ending.verdict.message.contains("so it is") || code == "shutting_down", "{code}: {ending:?}");
        assert!(!ending.may_still_run, "{code}");
        if code == "token_conflict" {
            analyzer.hears().await;
            let (_, cancel) = analyzer.hears().await;
            assert_eq!(cancel["type"], "cancel_request", "what runs under its token is its own");
        }
    }
}

#[tokio::test]
async fn an_attempt_that_is_left_goes_on_and_is_taken_up_with_its_result() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::Keeps).await;
    let mut carried = working(&stage, &mut analyzer).await;
    carried.stop.leave();
    assert_eq!(carried.end_or_leave().await, None);
    assert!(!analyzer.cancelled(&carried.token));
    stage.assert_clean("left", &carried).await;

    analyzer.finish(&carried.token, static_result("ruff", 1));
    // The controller died after it had stored the result, and before its row said so.
    let place = stage.state().join("results/one/lint/1");
    std::fs::create_dir_all(&place).expect("a directory");
    std::fs::write(place.join("half"), "x").expect("a file");
    let resumed = Assignment { resumed: true, ..assignment(extended(analyzer.url()), FAR) };
    let ending = stage.start(resumed).end().await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    assert_eq!(analyzer.started(&carried.token), 1, "it ran once");
    assert!(!place.join("half").exists() && place.join("result.json").exists());
    stage.assert_clean("taken up", &carried).await;
}

#[tokio::test]
async fn what_is_taken_up_only_to_end_is_cancelled_where_it_runs() {
    let stage = Stage::new();
    for unwanted in [true, false] {
        let mut analyzer = Extended::start(Script::Keeps).await;
        let mut carried = working(&stage, &mut analyzer).await;
        carried.stop.leave();
        assert_eq!(carried.end_or_leave().await, None);
        let deadline = if unwanted { FAR } else { manifestd::resource::time::Span(0) };
        let mut resumed = Assignment { resumed: true, ..assignment(extended(analyzer.url()), deadline) };
        // What is stopped needs no app any more.
        resumed.app.model = None;
        let mut again = stage.start(resumed);
        if unwanted {
            again.stop.cancel();
        }
        let ending = again.end().await;
        let outcome = if unwanted { Outcome::Cancelled } else { Outcome::TimedOut };
        assert_eq!(ending.verdict.outcome, outcome, "{ending:?}");
        assert!(!ending.may_still_run && analyzer.cancelled(&carried.token), "{ending:?}");
    }
}

#[tokio::test]
async fn a_taken_up_attempt_whose_analyzer_is_gone_is_unavailable() {
    let stage = Stage::new();
    let mut analyzer = Extended::start(Script::Keeps).await;
    analyzer.kill().await;
    let resumed = Assignment { resumed: true, ..assignment(extended(analyzer.url()), FAR) };
    let ending = stage.start(resumed).end().await;
    assert_eq!((ending.verdict.outcome, ending.may_still_run), (Outcome::Unavailable, false), "{ending:?}");
}

#[tokio::test]
async fn a_garbled_connection_ends_what_was_on_it() {
    let stage = Stage::with(|limits| limits.cancel_wait = SOON.std());
    let analyzer = Extended::start(Script::Garbage).await;
    let mut carried = stage.start(numbered(&analyzer, 1));
    let ending = carried.end().await;
    assert_eq!(ending.verdict.reason, Reason::ProtocolError, "{ending:?}");
    assert!(ending.verdict.message.contains("not JSON objects"), "{ending:?}");
}
