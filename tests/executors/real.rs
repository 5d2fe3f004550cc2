//! Extended attempts on the analyzer that manifestd ships, over a real connection.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use manifestd::analyzer::{Options, serve, shipped_tools};
use manifestd::resource::analyzer::Credentials;
use manifestd::resource::attempt::{Assignment, Sign};
use manifestd::resource::outcome::Outcome;
use manifestd::runtime::clock::system_time;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::support::stage::{Carried, FAR, SOON, Stage, assignment, extended};

/// The analyzer, over the sources of a stage.
struct Real {
    url: String,
    _running: JoinSet<()>,
}

impl Real {
    async fn start(stage: &Stage) -> Self {
        let sources = stage.workspace().join("sources");
        std::fs::create_dir_all(sources.join("acme_alpha-1/app1")).expect("an app");
        let options = Options::new(sources, shipped_tools().expect("they are right"), system_time);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a local port");
        let url = format!("ws://{}", listener.local_addr().expect("its address"));
        let mut running = JoinSet::new();
        running.spawn(async move { serve(listener, options, CancellationToken::new()).await.expect("it serves") });
        Self { url, _running: running }
    }

    /// An attempt whose only tool takes so long.
    fn takes(&self, time: Duration) -> Assignment {
        let mut assignment = assignment(extended(self.url.clone()), FAR);
        assignment.tools = vec!["noop".into()];
        let config = json!({"noop": {"delayMs": u64::try_from(time.as_millis()).expect("it is short")}});
        assignment.config = config.as_object().cloned().expect("an object");
        assignment
    }

    /// How many analyses run, and how many were started.
    async fn counts(&self) -> (Value, Value) {
        let (mut socket, _) = tokio_tungstenite::connect_async(&self.url).await.expect("a connection");
        socket.send(Message::text(r#"{"type":"health_check"}"#)).await.expect("it reads");
        let answer = socket.next().await.expect("an answer").expect("a message").into_text().expect("text");
        let health: Value = serde_json::from_str(&answer).expect("JSON");
        (health["running"].clone(), health["analyses_started"].clone())
    }
}

async fn has_begun(carried: &mut Carried) {
    carried.sign(|sign| matches!(sign, Sign::Progress { .. })).await;
}

#[tokio::test]
async fn the_shipped_analyzer_says_that_it_is_extended_and_does_what_is_asked() {
    let stage = Stage::new();
    let real = Real::start(&stage).await;
    // On a busy machine it may not know its tools yet.
    let health = loop {
        let answer = stage.executors.probe(&real.url, &Credentials::default(), FAR.std(), FAR.std()).await;
        let health = answer.expect("it is healthy");
        if !health.tools.is_empty() {
            break health;
        }
    };
    assert!(health.is_extended() && health.tools.iter().any(|tool| tool == "noop"), "{health:?}");
    let ending = stage.run(real.takes(Duration::ZERO)).await;
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
}

#[tokio::test]
async fn another_controller_gets_what_the_first_one_began() {
    let stage = Stage::new();
    let real = Real::start(&stage).await;
    let mut carried = stage.start(real.takes(SOON.std()));
    has_begun(&mut carried).await;
    carried.stop.leave();
    assert_eq!(carried.end_or_leave().await, None);

    let resumed = Assignment { resumed: true, ..real.takes(SOON.std()) };
    let ending = stage.another_controller().run(&resumed).await.expect("an ending");
    assert_eq!(ending.verdict.outcome, Outcome::Completed, "{ending:?}");
    assert_eq!(real.counts().await, (0.into(), 1.into()), "it ran once");
    stage.assert_clean("taken up", &carried).await;
}

#[tokio::test]
async fn what_is_cancelled_stops_there_also_for_another_controller() {
    let stage = Stage::new();
    let real = Real::start(&stage).await;
    let mut carried = stage.start(real.takes(FAR.std()));
    has_begun(&mut carried).await;
    carried.stop.cancel();
    let ending = carried.end().await;
    assert_eq!((ending.verdict.outcome, ending.may_still_run), (Outcome::Cancelled, false), "{ending:?}");
    assert_eq!(real.counts().await, (0.into(), 1.into()));

    let long = || {
        let mut long = real.takes(FAR.std());
        long.id.number = 2;
        long
    };
    let mut carried = stage.start(long());
    has_begun(&mut carried).await;
    carried.stop.leave();
    assert_eq!(carried.end_or_leave().await, None);
    assert_eq!(real.counts().await, (1.into(), 2.into()), "it goes on");
    let past = Assignment { resumed: true, deadline_at: long().opened_at, ..long() };
    let ending = stage.another_controller().run(&past).await.expect("an ending");
    assert_eq!((ending.verdict.outcome, ending.may_still_run), (Outcome::TimedOut, false), "{ending:?}");
    assert_eq!(real.counts().await, (0.into(), 2.into()));
}
