//! The frame that ended a request: read leniently, judged, and stored.

use serde_json::Value;
use tokio_tungstenite::tungstenite::Bytes;

use super::running::Running;
use crate::resource::attempt::Ending;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::verdict::judge::judge_frame;
use crate::verdict::{lenient, sarif};

/// How many messages that are not JSON objects are overlooked.
pub(super) const GARBAGE_MAX: u32 = 100;

/// Messages above this are parsed where it may block: a result can be tens of MiB.
pub(super) const INLINE_BYTES_MAX: usize = 1 << 20;

/// What ended a request: the frame, its bytes as received, and whether these are valid JSON.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) frame: Value,
    pub(super) bytes: Bytes,
    pub(super) exact: bool,
}

/// Reads one message.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn parse(bytes: Bytes) -> Result<(Value, bool), String> {
    let parse = |bytes: &[u8]| match lenient::parse(bytes) {
        Ok((frame, exact)) if frame.is_object() => Ok((frame, exact)),
        Ok(_) => Err("it is JSON, but not an object".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if bytes.len() <= INLINE_BYTES_MAX {
        return parse(&bytes);
    }
    tokio::task::spawn_blocking(move || parse(&bytes)).await.map_err(|error| error.to_string())?
}

/// Judges the frame and stores it. Of a frame that is not valid JSON as received, what was read is stored, so that others can read it too.
pub(super) async fn conclude(running: Running<'_>, received: Received) -> Ending {
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
            running.end(Verdict::without_tools(Outcome::Failed, Reason::AnalyzerError, message), None, Vec::new()).await
        }
    }
}
