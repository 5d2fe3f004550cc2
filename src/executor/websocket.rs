//! Runs an attempt on a WebSocket service: one connection, one request, and its result or what came instead.
//!
//! There is no idle time-out, for services are silent for many minutes while they work; there is one deadline, and pings tell that the
//! other side lives.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Bytes;

use super::client::{Client, Heard, protocol_error};
use super::executors::EMBEDDED;
use super::request;
use super::running::Running;
use crate::resource::attempt::{Ending, Sign};
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::verdict::judge::judge_frame;
use crate::verdict::{frame, lenient, sarif};

/// How many messages that are not JSON objects are overlooked.
const GARBAGE_MAX: u32 = 100;

/// Messages above this are parsed where it may block: a result can be tens of MiB.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// What ended a request: the frame, its bytes as received, and whether these are valid JSON.
struct Received {
    frame: Value,
    bytes: Bytes,
    exact: bool,
}

pub(super) async fn run(mut running: Running<'_>, url: &str, kind: &str, connect_timeout: Duration) -> Ending {
    let asked = match request::frame(kind, &running.token, running.assignment, running.time()) {
        Ok(frame) => frame.to_string(),
        Err(verdict) => return running.end(verdict, None, Vec::new()).await,
    };
    let embedded = url.starts_with(EMBEDDED);
    let address = match running.surroundings.address(url) {
        Ok(address) => address,
        Err(verdict) => return running.end(verdict, None, Vec::new()).await,
    };
    let fence = running.fence.clone();
    let mut client = None;
    let received = tokio::select! {
        received = converse(&mut running, &mut client, &address, asked, connect_timeout) => received,
        verdict = fence.reached() => Err(verdict),
    };
    if let Some(client) = client {
        // Existing services know no cancel; ours does, and stops working on what nobody waits for.
        let cancel = embedded && received.is_err();
        let last = cancel.then(|| json!({"type": "cancel_request", "id": running.token}).to_string());
        client.leave(last).await;
    }
    match received {
        Ok(received) => conclude(running, received).await,
        Err(verdict) => running.end(verdict, None, Vec::new()).await,
    }
}

/// Connects, asks, and listens until a frame ends the request. `client` is the caller's, so that it can take leave after this was dropped.
async fn converse(
    running: &mut Running<'_>,
    client: &mut Option<Client>,
    address: &str,
    asked: String,
    connect_timeout: Duration,
) -> Result<Received, Verdict> {
    let limits = &running.surroundings.limits;
    let client = client.insert(Client::connect(address, limits.message_bytes_max, connect_timeout).await?);
    client.send(asked).await?;
    running.tell(Sign::Alive);
    let mut ping = tokio::time::interval_at(Instant::now() + limits.ping_interval, limits.ping_interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut garbage = 0;
    loop {
        let heard = tokio::select! {
            heard = client.hear() => heard?,
            _ = ping.tick() => {
                client.ping().await?;
                continue;
            }
        };
        running.tell(Sign::Alive);
        let Heard::Message(bytes) = heard else { continue };
        match parse(bytes.clone()).await {
            Ok((frame, exact)) if frame::terminal(&frame) => return Ok(Received { frame, bytes, exact }),
            Ok((frame, _)) if frame.is_object() => {
                if let Some(sign) = frame::progress(&frame) {
                    running.progress(sign).await;
                }
            }
            unreadable => {
                garbage += 1;
                let problem = unreadable.err().unwrap_or_else(|| "it is JSON, but not an object".into());
                let line = format!("{} unreadable message of {} bytes: {problem}\n", running.time(), bytes.len());
                running.log.append(line.as_bytes()).await;
                if garbage > GARBAGE_MAX {
                    let text = format!(
                        "more than {GARBAGE_MAX} messages of the analyzer are not JSON objects; the last: {problem}"
                    );
                    return Err(protocol_error(&text));
                }
            }
        }
    }
}

async fn parse(bytes: Bytes) -> Result<(Value, bool), String> {
    let parse = |bytes: &[u8]| lenient::parse(bytes).map_err(|error| error.to_string());
    if bytes.len() <= INLINE_BYTES_MAX {
        return parse(&bytes);
    }
    tokio::task::spawn_blocking(move || parse(&bytes)).await.map_err(|error| error.to_string())?
}

/// Judges the frame and stores it. Of a frame that is not valid JSON as received, what was read is stored, so that others can read it too.
async fn conclude(running: Running<'_>, received: Received) -> Ending {
    let requested = running.assignment.tools.clone();
    let judge = move || {
        let verdict = judge_frame(&requested, &received.frame);
        let documents = sarif::documents(&received.frame);
        let bytes = if received.exact { received.bytes } else { Bytes::from(received.frame.to_string()) };
        (verdict, documents, bytes)
    };
    match tokio::task::spawn_blocking(judge).await {
        Ok((verdict, documents, bytes)) => running.end(verdict, Some(("result.json", bytes)), documents).await,
        Err(panic) => {
            let message = format!("judging the result failed, which is a bug in manifestd: {panic}");
            running.refuse(Outcome::Failed, Reason::AnalyzerError, message).await
        }
    }
}
