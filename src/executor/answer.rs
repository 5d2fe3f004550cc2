//! The frame that ended a request: read leniently, judged, and stored.

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_tungstenite::tungstenite::Bytes;

use super::running::Running;
use crate::resource::attempt::Ending;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::verdict::judge::judge_frame;
use crate::verdict::weight::{is_heavier, too_heavy};
use crate::verdict::{lenient, sarif};

/// How many messages that are not JSON objects are overlooked.
pub(super) const GARBAGE_MAX: u32 = 100;

/// Messages above this are parsed and judged where it may block: a result can be tens of MiB.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// So are those that take more memory than this, however short they are.
const INLINE_WEIGHT_MAX: usize = 16 << 20;

/// Whether a message, or what a program wrote, is one of those that are read one after another.
pub(super) fn is_large(bytes: &[u8]) -> bool {
    bytes.len() > INLINE_BYTES_MAX || is_heavier(bytes, INLINE_WEIGHT_MAX)
}

/// Large messages are read, judged and stored one after another: many small values take ten times as much memory as their text, and
/// dozens of analyzers may answer at once.
static LARGE: Semaphore = Semaphore::const_new(1);

/// A JSON object as it was received.
#[derive(Debug)]
pub(super) struct Received {
    /// What it says.
    pub(super) frame: Value,
    bytes: Bytes,
    /// Whether the bytes are valid JSON.
    exact: bool,
    /// The next large message waits for this one to be done with.
    turn: Option<SemaphorePermit<'static>>,
}

/// Waits until no other large message or output is read, judged and stored.
pub(super) async fn large_turn() -> Option<SemaphorePermit<'static>> {
    // It is never closed.
    LARGE.acquire().await.ok()
}

/// Why a message is not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is no JSON object.
    Garbage(String),
    /// Reading it would take too much memory.
    TooHeavy(String),
}

/// Reads one message. A large one waits for its turn, and keeps it until it is dropped.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn parse(bytes: Bytes) -> Result<Received, Unread> {
    let parse = |bytes: &[u8]| match lenient::parse(bytes) {
        Ok((frame, exact)) if frame.is_object() => Ok((frame, exact)),
        Ok(_) => Err(Unread::Garbage("it is JSON, but not an object".to_owned())),
        Err(error) => Err(Unread::Garbage(error.to_string())),
    };
    if !is_large(&bytes) {
        let (frame, exact) = parse(&bytes)?;
        return Ok(Received { frame, bytes, exact, turn: None });
    }
    let turn = large_turn().await;
    let read = move || match too_heavy(&bytes) {
        Some(why) => Err(Unread::TooHeavy(why)),
        None => parse(&bytes).map(|(frame, exact)| Received { frame, bytes, exact, turn }),
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| Unread::Garbage(error.to_string()))?
}

/// Judges the frame and stores it. Of a frame that is not valid JSON as received, what was read is stored, so that others can read it too.
pub(super) async fn conclude(running: Running<'_>, received: Received) -> Ending {
    let requested = running.assignment.tools.clone();
    let is_large = received.bytes.len() > INLINE_BYTES_MAX;
    let Received { frame, bytes, exact, turn: _turn } = received;
    let judge = move || {
        let verdict = judge_frame(&requested, &frame);
        let documents = sarif::documents(&frame);
        let bytes = if exact { bytes } else { Bytes::from(frame.to_string()) };
        (verdict, documents, bytes)
    };
    // A panic in here is a failure of the attempt, as anywhere in an executor.
    let judged = if is_large { tokio::task::spawn_blocking(judge).await } else { Ok(judge()) };
    match judged {
        Ok((verdict, documents, bytes)) => running.end(verdict, Some(("result.json", bytes)), documents).await,
        Err(panic) => {
            let message = format!("judging the result failed, which is a bug in manifestd: {panic}");
            running.end(Verdict::without_tools(Outcome::Failed, Reason::AnalyzerError, message), None, Vec::new()).await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn large_messages_are_read_one_after_another_and_small_ones_pass_by() {
        let large = || Bytes::from(format!("{{\"padding\": \"{}\"}}", "x".repeat(INLINE_BYTES_MAX)));
        let first = parse(large()).await.unwrap();
        let second = parse(large());
        tokio::pin!(second);
        assert!(matches!(futures_util::poll!(&mut second), Poll::Pending));
        assert_eq!(LARGE.available_permits(), 0);
        assert!(parse(Bytes::from_static(b"{}")).await.is_ok());
        drop(first);
        assert_eq!(second.await.unwrap().bytes.len(), large().len());
        // What cannot be read keeps nobody waiting.
        assert!(parse(Bytes::from(vec![b'['; INLINE_BYTES_MAX + 1])).await.is_err());
        assert!(parse(large()).await.is_ok());
        assert!(is_large(&vec![b'{'; 100_000]) && !is_large(&vec![b'x'; 1 << 20]));
        let heavy = Bytes::from(format!("{{\"a\": [{}0]}}", "0,".repeat(8 << 20)));
        assert!(matches!(parse(heavy).await, Err(Unread::TooHeavy(_))));
        assert_eq!(LARGE.available_permits(), 1);
    }
}
