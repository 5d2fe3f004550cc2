//! Builds the request frame of a WebSocket analyzer, and only that: pure.

use serde_json::{Value, json};

use crate::resource::attempt::Assignment;
use crate::resource::name::check_slug;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::reason::Reason;
use crate::resource::time::Timestamp;

/// The request frame for an attempt. `config` is always an object, since the services answer null with an internal error; the model is checked, since
/// they join it to a path as it is; `id` is the attempt's token.
///
/// # Errors
/// The ending of an attempt whose app cannot be told to the service.
pub(super) fn frame(kind: &str, token: &str, assignment: &Assignment, now: Timestamp) -> Result<Value, Verdict> {
    let app = &assignment.app;
    let refuse = |message: String| Verdict::without_tools(Outcome::Failed, Reason::AppNotAddressable, message);
    let (Some(model), Some(number)) = (&app.model, app.number) else {
        return Err(refuse(format!(
            "app {} needs spec.model and spec.number: the analyzer finds its sources by them",
            app.name
        )));
    };
    check_slug(model).map_err(|bad| refuse(format!("app {}: {bad}", app.name)))?;
    let mut frame = json!({
        "type": kind,
        "id": token,
        "model_slug": model,
        "app_number": number,
        "tools": assignment.tools,
        "config": assignment.config,
        "timestamp": now.rfc3339(),
    });
    if !app.target_urls.is_empty() {
        frame["target_urls"] = json!(app.target_urls);
    }
    Ok(frame)
}

/// The same by the extension `manifestd/v1`: the token is also what the analyzer knows the attempt by, over connections and restarts.
///
/// # Errors
/// The ending of an attempt whose app cannot be told to the service.
pub(super) fn attempt_frame(
    kind: &str,
    token: &str,
    assignment: &Assignment,
    now: Timestamp,
) -> Result<Value, Verdict> {
    let mut frame = frame(kind, token, assignment, now)?;
    frame["attempt_token"] = token.into();
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::analyzer::Credentials;
    use crate::resource::attempt::{AppTarget, AttemptId, Target};
    use crate::resource::name::Uid;
    use crate::resource::time::Span;

    fn assignment() -> Assignment {
        Assignment {
            id: AttemptId { task: Uid("t".into()), number: 2 },
            task: "lint".into(),
            analyzer: "static".into(),
            app: AppTarget {
                name: "a".into(),
                path: "apps/a".into(),
                model: Some("acme_alpha-1".into()),
                number: Some(1),
                target_urls: Vec::new(),
            },
            target: Target::WebSocket {
                url: String::new(),
                request: String::new(),
                connect_timeout: Span(1),
                credentials: Credentials::default(),
                extended: false,
            },
            rate: None,
            tools: vec!["ruff".into()],
            config: serde_json::Map::new(),
            keep_results: crate::resource::analyzer::KeepResults::Always,
            origin: crate::resource::attempt::Origin::default(),
            stamp: None,
            opened_at: Timestamp(0),
            deadline_at: Timestamp(1),
            resumed: false,
        }
    }

    #[test]
    fn the_frame_is_the_one_of_the_protocol() {
        let mut assignment = assignment();
        let sent = frame("static_analyze", "p/t/2", &assignment, Timestamp(0)).unwrap();
        assert_eq!(
            sent,
            json!({"type": "static_analyze", "id": "p/t/2", "model_slug": "acme_alpha-1", "app_number": 1, "tools": ["ruff"],
                   "config": {}, "timestamp": "1970-01-01T00:00:00.000Z"})
        );
        assignment.app.target_urls = vec!["http://192.0.2.1".into()];
        let sent = frame("dynamic_analyze", "p/t/2", &assignment, Timestamp(0)).unwrap();
        assert_eq!(sent["target_urls"], json!(["http://192.0.2.1"]));
        let sent = attempt_frame("dynamic_analyze", "p/t/2", &assignment, Timestamp(0)).unwrap();
        assert_eq!((&sent["id"], &sent["attempt_token"]), (&json!("p/t/2"), &json!("p/t/2")));
    }

    #[test]
    fn an_app_without_a_safe_address_is_refused() {
        let mut assignment = assignment();
        assignment.app.model = Some("../x".into());
        assert_eq!(frame("x", "t", &assignment, Timestamp(0)).unwrap_err().reason, Reason::AppNotAddressable);
        assignment.app.model = None;
        assert_eq!(frame("x", "t", &assignment, Timestamp(0)).unwrap_err().reason, Reason::AppNotAddressable);
    }
}
