//! Reads single frames of the wire protocol: which one ends a request, and which one tells how far it is.

use serde_json::Value;

use crate::resource::attempt::Sign;
use crate::resource::outcome::one_line;

/// Whether a frame ends its request: a `type` that ends in `_analysis_result` is the result, `error` is a failure, everything else is
/// not terminal. It is the one rule; there is no list of types to fall out of date.
#[must_use]
pub fn terminal(frame: &Value) -> bool {
    frame["type"].as_str().is_some_and(|kind| kind == "error" || kind.ends_with("_analysis_result"))
}

/// How far the request is, out of a `progress_update` (`stage`, `message`, `data.progress` from 0.0 to 1.0) or a `status_update`
/// (`stage`, `message`); `None` for any other frame.
#[must_use]
pub fn progress(frame: &Value) -> Option<Sign> {
    let kind = frame["type"].as_str()?;
    if kind != "progress_update" && kind != "status_update" {
        return None;
    }
    let fraction = [&frame["data"]["progress"], &frame["progress"]].into_iter().find_map(Value::as_f64);
    Some(Sign::Progress {
        stage: one_line(frame["stage"].as_str().unwrap_or("running")),
        message: one_line(frame["message"].as_str().unwrap_or_default()),
        fraction: fraction.filter(|part| (0.0..=1.0).contains(part)),
    })
}

/// What an error frame says: services put the text in `message` or in `error`, either as text or as an object that has one of them.
#[must_use]
pub fn error_text(frame: &Value) -> Option<&str> {
    [frame, &frame["data"], &frame["analysis"]].into_iter().find_map(|place| {
        ["message", "error"].into_iter().find_map(|key| {
            let said = &place[key];
            said.as_str().or_else(|| said["message"].as_str()).or_else(|| said["error"].as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_results_and_errors_end_a_request() {
        for (kind, ends) in [
            ("static_analysis_result", true),
            ("anything_analysis_result", true),
            ("error", true),
            ("status_update", false),
            ("progress_update", false),
            ("analysis_result_preview", false),
            ("pong", false),
        ] {
            assert_eq!(terminal(&json!({"type": kind})), ends, "{kind}");
        }
        for odd in [json!({}), json!([1]), json!({"type": 7}), json!("error"), json!(null)] {
            assert!(!terminal(&odd), "{odd}");
        }
    }

    #[test]
    fn progress_is_read_with_its_fraction_only_when_that_makes_sense() {
        let sign = progress(
            &json!({"type": "progress_update", "stage": "scan", "message": "a\nb", "data": {"progress": 0.5}}),
        );
        assert_eq!(sign, Some(Sign::Progress { stage: "scan".into(), message: "a b".into(), fraction: Some(0.5) }));
        let sign = progress(&json!({"type": "status_update", "data": {"progress": 7.0}}));
        assert_eq!(sign, Some(Sign::Progress { stage: "running".into(), message: String::new(), fraction: None }));
        assert_eq!(progress(&json!({"type": "pong"})), None);
    }

    #[test]
    fn every_shape_of_an_error_is_read() {
        for frame in [
            json!({"type": "error", "message": "no"}),
            json!({"type": "error", "error": "no"}),
            json!({"type": "error", "error": {"message": "no"}}),
            json!({"type": "error", "data": {"error": "no"}}),
            json!({"type": "error", "analysis": {"status": "error", "error": "no"}}),
        ] {
            assert_eq!(error_text(&frame), Some("no"), "{frame}");
        }
        assert_eq!(error_text(&json!({"type": "error"})), None);
    }
}
