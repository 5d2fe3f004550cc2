//! The frame that ended a request: read leniently, judged, and stored.

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_tungstenite::tungstenite::Bytes;

use super::running::Running;
use crate::resource::attempt::Ending;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::verdict::judge::judge_frame;
use crate::verdict::{lenient, sarif};

/// How many messages that are not JSON objects are overlooked.
pub(super) const GARBAGE_MAX: u32 = 100;

/// Messages above this are parsed and judged where it may block: a result can be tens of MiB.
pub(super) const INLINE_BYTES_MAX: usize = 128 << 10;

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

/// Reads one message. A large one waits for its turn, and keeps it until it is dropped.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn parse(bytes: Bytes) -> Result<Received, String> {
    let parse = |bytes: &[u8]| match lenient::parse(bytes) {
        Ok((frame, exact)) if frame.is_object() => Ok((frame, exact)),
        Ok(_) => Err("it is JSON, but not an object".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if bytes.len() <= INLINE_BYTES_MAX {
        let (frame, exact) = parse(&bytes)?;
        return Ok(Received { frame, bytes, exact, turn: None });
    }
    // It is never closed.
    let turn = LARGE.acquire().await.ok();
    let read = move || parse(&bytes).map(|(frame, exact)| Received { frame, bytes, exact, turn });
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
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
    }
}
