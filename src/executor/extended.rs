//! Runs an attempt on a service that speaks `manifestd/v1`. The service goes on when its client is gone and knows an attempt by its token,
//! so a lost connection is not the end: the same is asked for again, which attaches to what runs, or gives the result that was kept.
//! That is no retry; it is the same attempt at the same analyzer.
//!
//! What is not wanted any more is cancelled there, and the ending says whether that was confirmed. Only when this process itself ends, the
//! attempt is left running, for the next process to take up.

use std::time::Duration;

use serde_json::json;

use super::answer::{Received, conclude};
use super::dialer::Endpoint;
use super::executors::Limits;
use super::hub::Hub;
use super::link::{Lost, Place, Told};
use super::request;
use super::running::Running;
use super::socket::Broken;
use crate::resource::address::EMBEDDED;
use crate::resource::analyzer::Credentials;
use crate::resource::attempt::{Ending, Sign};
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::verdict::frame;

/// How often one attempt is asked for again, with a pause before each that doubles from `Limits::reconnect_pause`: about 15 s by
/// default, in which an analyzer can be started again. What takes longer is the plan's to wait for.
const ASKED_AGAIN_MAX: u32 = 5;

/// One request and its way to the analyzer.
struct Call<'a> {
    hub: &'a Hub,
    limits: &'a Limits,
    endpoint: &'a Endpoint,
    connect_timeout: Duration,
    token: &'a str,
    place: Option<Place>,
    /// The analyzer may know of it.
    asked: bool,
    /// This process has had a connection for it.
    reached: bool,
    /// It gets a connection of its own from now on.
    alone: bool,
}

/// Drives the attempt to its ending; `None` when it was left running.
pub(super) async fn run(
    mut running: Running<'_>,
    hub: &Hub,
    (url, credentials): (&str, &Credentials),
    kind: &str,
    connect_timeout: Duration,
) -> Option<Ending> {
    let surroundings = running.surroundings;
    let endpoint = match surroundings.endpoint(url, credentials) {
        Ok(endpoint) => endpoint,
        Err(verdict) => return Some(running.end(verdict, None, Vec::new()).await),
    };
    let asked = request::attempt_frame(kind, &running.token, running.assignment, running.time());
    let (fence, token) = (running.fence.clone(), running.token.clone());
    let mut call = Call {
        hub,
        limits: &surroundings.limits,
        endpoint: &endpoint,
        connect_timeout,
        token: &token,
        place: None,
        asked: running.assignment.resumed,
        reached: false,
        alone: false,
    };
    // The analyzer inside the daemon ends with it.
    let can_be_left = !url.starts_with(EMBEDDED);
    let received = tokio::select! {
        biased;
        () = fence.left(), if can_be_left => {
            running.leave().await;
            return None;
        }
        verdict = fence.reached() => Err(Broken { verdict, over: false }),
        received = async {
            let asked = asked.map_err(|verdict| Broken { verdict, over: false })?;
            call.converse(&mut running, &asked.to_string()).await
        } => received,
    };
    match received {
        Ok(received) => Some(conclude(running, received).await),
        Err(Broken { verdict, over }) => {
            let may_still_run = call.asked && !over && !call.withdraw().await;
            Some(Ending { may_still_run, ..running.end(verdict, None, Vec::new()).await })
        }
    }
}

impl Call<'_> {
    /// Asks, and asks again when the connection is lost, until there is an answer.
    async fn converse(&mut self, running: &mut Running<'_>, asked: &str) -> Result<Received, Broken> {
        let mut again = 0;
        loop {
            let lost = match self.ask(running, asked).await {
                Ok(received) => match read(received, running.assignment.resumed) {
                    Answer::Final(received) => return Ok(received),
                    Answer::Refused(broken) => return Err(broken),
                    Answer::Leaving => Lost::connection("the analyzer is shutting down"),
                },
                Err(lost) => lost,
            };
            if lost.too_large && !self.alone {
                // Whose message it was is found out by giving each request a connection of its own.
                self.alone = true;
                continue;
            }
            if !self.asked || lost.foreign || lost.too_large {
                return Err(lost.broken);
            }
            if again == ASKED_AGAIN_MAX {
                return Err(if self.reached { given_up(&lost.broken) } else { lost.broken });
            }
            let line = format!("{} asking again: {}\n", running.time(), lost.broken.verdict.message);
            running.log.append(line.as_bytes());
            tokio::time::sleep(self.limits.reconnect_pause.saturating_mul(1 << again)).await;
            again += 1;
        }
    }

    /// Asks once, and listens until there is an answer or the connection is lost.
    async fn ask(&mut self, running: &mut Running<'_>, asked: &str) -> Result<Received, Lost> {
        self.place = None;
        let place = self.enter().await.map_err(|broken| Lost { broken, too_large: false, foreign: false })?;
        self.reached = true;
        let place = self.place.insert(place);
        self.asked = true;
        place.send(asked.to_owned()).await?;
        running.tell(Sign::Alive);
        loop {
            let told = place.hear().await?;
            running.tell(Sign::Alive);
            match told {
                Told::Alive => {}
                Told::Progress(sign) => running.progress(sign),
                Told::Answer(received) => {
                    self.place = None;
                    return Ok(*received);
                }
            }
        }
    }

    async fn enter(&self) -> Result<Place, Broken> {
        self.hub.enter(self.endpoint, self.token, self.alone, self.connect_timeout, self.limits).await
    }

    /// Cancels the attempt at the analyzer, and says whether it is known not to be worked on any more. Bounded by `Limits::cancel_wait`.
    async fn withdraw(&mut self) -> bool {
        let patience = self.limits.cancel_wait;
        // The id finds a request of this connection, the token an attempt of an earlier one.
        let cancel = json!({"type": "cancel_request", "id": self.token, "attempt_token": self.token}).to_string();
        let confirmed = async {
            // If the connection at hand turns out to be gone, there is another one.
            for _ in 0..2 {
                let mut place = match self.place.take() {
                    Some(place) => place,
                    None => match self.enter().await {
                        Ok(place) => place,
                        Err(broken) => return broken.over,
                    },
                };
                if let Ok(over) = cancelled(&mut place, &cancel).await {
                    return over;
                }
            }
            false
        };
        tokio::time::timeout(patience, confirmed).await.unwrap_or(false)
    }
}

/// Asks for a cancel and waits for what is said to it. A result, too, says that nothing runs any more.
async fn cancelled(place: &mut Place, cancel: &str) -> Result<bool, Lost> {
    place.send(cancel.to_owned()).await?;
    loop {
        if let Told::Answer(received) = place.hear().await? {
            let over = ["cancelled", "unknown_request", "shutting_down"];
            return Ok(received.frame["type"] != "error" || over.iter().any(|code| received.frame["code"] == *code));
        }
    }
}

/// What an answer means for the attempt.
enum Answer {
    /// It is judged as it is.
    Final(Received),
    /// It was not run, or its result cannot come.
    Refused(Broken),
    /// The analyzer ends; another may come in its place.
    Leaving,
}

fn read(received: Received, resumed: bool) -> Answer {
    if received.frame["type"] != "error" {
        return Answer::Final(received);
    }
    let text = frame::error_text(&received.frame).unwrap_or("without saying why");
    let refused = |outcome, reason, message: String, over| {
        Answer::Refused(Broken { verdict: Verdict::without_tools(outcome, reason, message), over })
    };
    match received.frame["code"].as_str() {
        Some("busy") => {
            let message = format!("the analyzer has too much to do: {text}");
            refused(Outcome::Unavailable, Reason::AnalyzerUnavailable, message, true)
        }
        // What it is asked with has changed while no controller ran. That is nobody's fault; what runs there is cancelled.
        Some("token_conflict") if resumed => {
            let message = "its app or its analyzer was edited while no controller ran".to_owned();
            refused(Outcome::Interrupted, Reason::Interrupted, message, false)
        }
        // What runs there under this attempt's token is this attempt's, and is cancelled.
        Some("token_conflict") => {
            let message = format!("the analyzer knows this attempt as a request for something else: {text}");
            refused(Outcome::ProtocolError, Reason::ProtocolError, message, false)
        }
        Some("result_too_large") => refused(Outcome::Failed, Reason::ResultTooLarge, text.to_owned(), true),
        Some("shutting_down") => Answer::Leaving,
        _ => Answer::Final(received),
    }
}

fn given_up(last: &Broken) -> Broken {
    let text = format!("it was asked for again {ASKED_AGAIN_MAX} times; {}", last.verdict.message);
    let Broken { verdict, .. } = Broken::lost(&text);
    // The analyzer works on whether or not anybody listens.
    Broken { verdict, over: false }
}
