//! Asks a replica how it is: a connection of its own, one health check, one answer. Existing services read nothing else while they work, so
//! a probe never shares the connection of a request.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Bytes;

use super::client::{Client, Heard};
use super::dialer::{Dialer, Endpoint};
use super::socket::Broken;
use crate::resource::health::Health;
use crate::resource::outcome::one_line;
use crate::verdict::{frame, lenient};

/// The largest answer to a health check. It names tools; a peer that says more has another idea of what it was asked.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How many tools are kept of an answer. The richest existing service has about twenty.
const TOOLS_MAX: usize = 256;

/// How many protocol extensions are kept of an answer.
const PROTOCOLS_MAX: usize = 16;

/// The longest name of a tool or protocol, in bytes; longer ones are no names and are left out.
const NAME_BYTES_MAX: usize = 100;

/// Answers that mean well, in any case of letters.
const GOOD: [&str; 3] = ["healthy", "ok", "success"];

/// What [`Executors::probe`](super::Executors::probe) promises.
pub(super) async fn probe(
    dialer: &Dialer,
    url: &str,
    endpoint: &Endpoint,
    (connect_timeout, timeout): (Duration, Duration),
) -> Result<Health, String> {
    let mut client = Client::connect(dialer, endpoint, ANSWER_BYTES_MAX, connect_timeout).await.map_err(said)?;
    let answered = tokio::time::timeout(timeout, ask(&mut client)).await;
    client.leave().await;
    let silent =
        |_| format!("{url} took the connection, and did not answer a health check within {} ms", timeout.as_millis());
    answered.map_err(silent).flatten().map_err(|problem| one_line(&problem))
}

fn said(broken: Broken) -> String {
    broken.verdict.message
}

async fn ask(client: &mut Client) -> Result<Health, String> {
    client.send(json!({"type": "health_check"}).to_string()).await.map_err(said)?;
    loop {
        let Heard::Message(bytes) = client.hear().await.map_err(said)? else { continue };
        if let Some(answer) = read(&bytes) {
            return answer;
        }
    }
}

/// What a message says about health; `None` when it is about something else.
fn read(bytes: &Bytes) -> Option<Result<Health, String>> {
    let answer = match lenient::parse(bytes) {
        Ok((answer, _)) if answer.is_object() => answer,
        Ok(_) => return Some(Err("it answered a health check with JSON that is no object".into())),
        Err(error) => return Some(Err(format!("it answered a health check with something that is not JSON: {error}"))),
    };
    match answer["type"].as_str() {
        Some("health_response") => Some(judge(&answer)),
        Some("error") => Some(Ok(Health::default())),
        _ => None,
    }
}

fn judge(answer: &Value) -> Result<Health, String> {
    let status = answer["status"].as_str().unwrap_or("nothing");
    if !GOOD.iter().any(|good| status.eq_ignore_ascii_case(good)) {
        let why = frame::error_text(answer).map_or(String::new(), |text| format!(": {text}"));
        return Err(format!("its health check says {status:?}{why}"));
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    let version = one_line(&format!("{} {}", text("service"), text("version")));
    let protocols = names(&answer["protocols"], PROTOCOLS_MAX);
    Ok(Health { version, protocols, tools: names(&answer["available_tools"], TOOLS_MAX) })
}

fn names(list: &Value, max: usize) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.filter(|text| !text.is_empty() && text.len() <= NAME_BYTES_MAX).map(one_line).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(answer: &Value) -> Option<Result<Health, String>> {
        read(&Bytes::from(answer.to_string()))
    }

    #[test]
    fn a_healthy_answer_is_read_and_bounded() {
        let many: Vec<String> = (0..1000).map(|n| format!("tool{n}\n")).collect();
        let answer = json!({"type": "health_response", "status": "OK", "service": "static-analyzer", "version": "1.0\u{1b}[31m",
            "protocols": ["manifestd/v1", 7, "x".repeat(101)], "available_tools": many});
        let health = heard(&answer).unwrap().unwrap();
        assert_eq!(health.version, "static-analyzer 1.0 [31m");
        assert_eq!(
            (health.protocols.as_slice(), health.tools.len()),
            (["manifestd/v1".to_owned()].as_slice(), TOOLS_MAX)
        );
        assert_eq!(health.tools[1], "tool1");
        assert!(health.is_extended());
    }

    #[test]
    fn an_error_frame_is_a_sign_of_life_and_a_bad_status_is_none() {
        assert_eq!(heard(&json!({"type": "error", "message": "Unknown message type"})), Some(Ok(Health::default())));
        let sick = heard(&json!({"type": "health_response", "status": "degraded", "message": "no disk"}));
        assert_eq!(sick, Some(Err("its health check says \"degraded\": no disk".into())));
        assert!(heard(&json!({"type": "health_response"})).unwrap().is_err());
        assert!(heard(&json!([1])).unwrap().is_err() && read(&Bytes::from_static(b"{")).unwrap().is_err());
        assert_eq!(heard(&json!({"type": "status_update"})), None);
    }
}
