//! The small frames this analyzer sends, in the shape of the existing static analyzer's.

use serde_json::{Value, json};

use super::serve::Tally;
use crate::resource::time::Timestamp;

/// What this analyzer calls itself.
pub(super) const SERVICE: &str = "embedded-analyzer";

/// The answer to a ping.
pub(super) fn pong(now: Timestamp) -> Value {
    json!({ "type": "pong", "timestamp": now.rfc3339(), "service": SERVICE })
}

/// The extension that this analyzer speaks, as `docs/protocol.md` defines it.
pub(super) const EXTENSION: &str = "manifestd/v1";

/// What went wrong with a request, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Something is wrong with the request itself.
    InvalidRequest,
    /// The id belongs to a request that is in flight on this connection.
    DuplicateId,
    /// The token belongs to another request.
    TokenConflict,
    /// Too many requests at once.
    Busy,
    /// Nothing of that name runs.
    UnknownRequest,
    /// It was stopped on request.
    Cancelled,
    /// The result does not fit into one frame.
    ResultTooLarge,
    /// The analyzer itself failed.
    Failed,
    /// The analyzer is about to end.
    ShuttingDown,
}

impl Code {
    /// Every code.
    #[cfg(test)]
    const ALL: [Self; 9] = [
        Self::InvalidRequest,
        Self::DuplicateId,
        Self::TokenConflict,
        Self::Busy,
        Self::UnknownRequest,
        Self::Cancelled,
        Self::ResultTooLarge,
        Self::Failed,
        Self::ShuttingDown,
    ];

    /// The word in a frame.
    const fn word(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::DuplicateId => "duplicate_id",
            Self::TokenConflict => "token_conflict",
            Self::Busy => "busy",
            Self::UnknownRequest => "unknown_request",
            Self::Cancelled => "cancelled",
            Self::ResultTooLarge => "result_too_large",
            Self::Failed => "failed",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// The answer to a health check. `uptime` is in seconds.
pub(super) fn health(tools: &[&str], uptime: f64, tally: &Tally, now: Timestamp) -> Value {
    json!({
        "type": "health_response",
        "status": "healthy",
        "service": SERVICE,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": uptime,
        "available_tools": tools,
        "protocols": [EXTENSION],
        "running": tally.running(),
        "analyses_started": tally.started(),
        "timestamp": now.rfc3339(),
    })
}

/// Something is wrong with the request.
pub(super) fn error(message: &str) -> Value {
    json!({ "type": "error", "message": message, "service": SERVICE })
}

/// The same, with a code for programs.
pub(super) fn error_with(code: Code, message: &str) -> Value {
    json!({ "type": "error", "code": code.word(), "message": message, "service": SERVICE })
}

/// Makes a frame one of the request `id`.
pub(super) fn belonging_to(id: &str, mut frame: Value) -> Value {
    frame["correlation_id"] = id.into();
    frame
}

/// The same for a frame that is text already: many megabytes, which several requests may share.
pub(super) fn text_belonging_to(id: &str, text: &str) -> String {
    let members = text.strip_prefix('{').unwrap_or(text);
    format!("{{\"correlation_id\":{},{members}", Value::from(id))
}

/// The first frame of an analysis.
pub(super) fn started(slug: &str, number: u64, id: Option<&str>) -> Value {
    json!({
        "type": "status_update",
        "stage": "started",
        "message": format!("Starting static analysis for {slug} app {number}"),
        "analysis_id": id,
    })
}

/// How far an analysis is: `done` of `all` tools.
pub(super) fn progress(message: &str, done: usize, all: usize, id: Option<&str>, now: Timestamp) -> Value {
    let share = done as f64 / all.max(1) as f64;
    json!({
        "type": "progress_update",
        "stage": "analyzing",
        "message": message,
        "data": { "progress": share },
        "correlation_id": id,
        "service": SERVICE,
        "timestamp": now.rfc3339(),
    })
}

/// The end of an analysis. `status` is `success` whenever the request was carried out, as in the existing services; how each tool
/// fared stands in its entry and in the summary.
pub(super) fn result(analysis: Value, now: Timestamp) -> Value {
    json!({
        "type": "static_analysis_result",
        "status": "success",
        "service": SERVICE,
        "analysis": analysis,
        "timestamp": now.rfc3339(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/protocol.md");

    #[test]
    fn a_text_gets_the_id_of_its_request_whatever_is_in_the_id() {
        let text = result(json!({ "results": {} }), Timestamp(0)).to_string();
        let id = "a \"quoted\" id,\n";
        let frame: Value = serde_json::from_str(&text_belonging_to(id, &text)).unwrap();
        assert_eq!(frame["correlation_id"], id);
        assert_eq!(frame, belonging_to(id, serde_json::from_str(&text).unwrap()));
    }

    #[test]
    fn the_document_of_the_protocol_names_the_extension_and_every_code() {
        assert!(DOCUMENT.contains(&format!("`{EXTENSION}`")));
        for code in Code::ALL {
            assert!(DOCUMENT.contains(&format!("| `{}` |", code.word())), "no row for {}", code.word());
        }
    }

    #[test]
    fn every_example_in_the_document_of_the_protocol_is_json() {
        let blocks: Vec<&str> =
            DOCUMENT.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 5, "the examples are not there");
        for example in blocks.iter().flat_map(|block| block.lines()) {
            let frame: Value = serde_json::from_str(example).unwrap_or_else(|error| panic!("{example}: {error}"));
            assert!(frame["type"].is_string(), "{example}");
        }
    }
}
