//! The small frames this analyzer sends, in the shape of the existing static analyzer's.

use serde_json::{Value, json};

use crate::resource::time::Timestamp;

/// What this analyzer calls itself.
pub(super) const SERVICE: &str = "embedded-analyzer";

/// The answer to a ping.
pub(super) fn pong(now: Timestamp) -> Value {
    json!({ "type": "pong", "timestamp": now.rfc3339(), "service": SERVICE })
}

/// The answer to a health check. `uptime` is in seconds.
pub(super) fn health(tools: &[&str], uptime: f64, now: Timestamp) -> Value {
    json!({
        "type": "health_response",
        "status": "healthy",
        "service": SERVICE,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": uptime,
        "available_tools": tools,
        "timestamp": now.rfc3339(),
    })
}

/// Something is wrong with the request.
pub(super) fn error(message: &str) -> Value {
    json!({ "type": "error", "message": message, "service": SERVICE })
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
