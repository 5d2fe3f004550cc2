//! Runs an attempt on a WebSocket service that speaks the base protocol: one connection, one request, and its result or what came instead.
//!
//! There is no idle time-out, for services are silent for many minutes while they work; there is one deadline, and pings tell that the
//! other side lives.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::answer::{GARBAGE_MAX, Received, Unread, conclude, parse};
use super::client::{Client, Heard};
use super::dialer::{Dialer, Endpoint};
use super::request;
use super::running::Running;
use super::socket::Broken;
use crate::resource::address::EMBEDDED;
use crate::resource::analyzer::Credentials;
use crate::resource::attempt::{Ending, Sign};
use crate::verdict::frame;

/// The connection of one request, and whether the request may have reached the other side.
#[derive(Default)]
struct Asked {
    client: Option<Client>,
    sent: bool,
}

pub(super) async fn run(
    mut running: Running<'_>,
    dialer: &Dialer,
    (url, credentials): (&str, &Credentials),
    kind: &str,
    connect_timeout: Duration,
) -> Ending {
    let asked = match request::frame(kind, &running.token, running.assignment, running.time()) {
        Ok(frame) => frame.to_string(),
        Err(verdict) => return running.end(verdict, None, Vec::new()).await,
    };
    let endpoint = match running.surroundings.endpoint(url, credentials) {
        Ok(endpoint) => endpoint,
        Err(verdict) => return running.end(verdict, None, Vec::new()).await,
    };
    let fence = running.fence.clone();
    let mut call = Asked::default();
    let received = tokio::select! {
        received = converse(&mut running, &mut call, (dialer, &endpoint), asked, connect_timeout) => received,
        verdict = fence.reached() => Err(Broken { verdict, over: false }),
    };
    if let Some(client) = call.client {
        client.leave().await;
    }
    match received {
        Ok(received) => conclude(running, received).await,
        Err(Broken { verdict, over }) => {
            // Existing services know no cancel and go on working; ours stops as soon as its client is gone.
            let may_still_run = call.sent && !over && !url.starts_with(EMBEDDED);
            Ending { may_still_run, ..running.end(verdict, None, Vec::new()).await }
        }
    }
}

/// Connects, asks, and listens until a frame ends the request. `call` is the caller's, who takes leave after this was dropped.
async fn converse(
    running: &mut Running<'_>,
    call: &mut Asked,
    (dialer, endpoint): (&Dialer, &Endpoint),
    asked: String,
    connect_timeout: Duration,
) -> Result<Received, Broken> {
    let limits = &running.surroundings.limits;
    let client = Client::connect(dialer, endpoint, limits.message_bytes_max, connect_timeout).await?;
    let client = call.client.insert(client);
    call.sent = true;
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
        let size = bytes.len();
        match parse(bytes).await {
            Ok(received) if frame::terminal(&received.frame) => return Ok(received),
            Ok(Received { frame, .. }) => {
                if let Some(sign) = frame::progress(&frame) {
                    running.progress(sign);
                }
            }
            Err(Unread::TooHeavy(why)) => return Err(Broken::too_heavy(&why)),
            Err(Unread::Garbage(problem)) => {
                garbage += 1;
                let line = format!("{} unreadable message of {} bytes: {problem}\n", running.time(), size);
                running.log.append(line.as_bytes());
                if garbage > GARBAGE_MAX {
                    return Err(Broken::garbage(&problem));
                }
            }
        }
    }
}
