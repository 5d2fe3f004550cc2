//! What a client wants: one incoming message, understood and checked.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::resource::name::check_slug;

/// The most tools one request names.
const TOOLS_MAX: usize = 256;

/// The longest id that is given back in frames, and the longest attempt token.
const ID_BYTES_MAX: usize = 256;

/// One incoming message.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// Are you there?
    Ping,
    /// How are you, and which tools are there?
    Health,
    /// Run tools over an app, for as long as the client stays.
    Analyze(Analyze),
    /// Run tools over an app under a token, beside other requests, whether the client stays or not.
    Attempt(AttemptRequest),
    /// Stop what runs under an id of this connection, or under a token.
    Cancel(Cancel),
    /// Answer with an error and stay open.
    Refused(String),
    /// The same for a message of the extension: the error carries the id, if there is one, and a code.
    Rejected { id: Option<String>, problem: String },
    /// Answer with an error and close.
    Invalid(String),
    /// Not an object, or not text at all: close without a word.
    Foreign,
}

/// A checked request of the extension.
#[derive(Debug, PartialEq)]
pub(super) struct AttemptRequest {
    /// What the client calls this request; every frame about it carries this.
    pub id: String,
    /// The attempt it belongs to: the same token never runs twice.
    pub token: String,
    /// What to run. Without an id, as several requests may share the analysis.
    pub analyze: Analyze,
}

/// What to stop. At least one of the two is there.
#[derive(Debug, PartialEq)]
pub(super) struct Cancel {
    /// A request of this connection; beside a token, what the answer is called.
    pub id: Option<String>,
    /// An attempt, whoever asked for it.
    pub token: Option<String>,
}

/// A checked request for an analysis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Analyze {
    /// What the client calls this request.
    pub id: Option<String>,
    /// The model slug; it is safe to join to a path.
    pub slug: String,
    /// The app's number.
    pub number: u64,
    /// The tools, each once; empty for all.
    pub tools: Vec<String>,
    /// Settings, by tool.
    pub config: Map<String, Value>,
}

impl Request {
    /// Understands one message, given as the bytes of a text or binary frame.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Foreign };
        let Ok(value) = serde_json::from_str::<Value>(text) else { return Self::Refused("Invalid JSON format".into()) };
        let Value::Object(message) = value else { return Self::Foreign };
        let is_attempt = message.get("attempt_token").is_some_and(|token| !token.is_null());
        match message.get("type").and_then(Value::as_str) {
            Some("static_analyze") if is_attempt => match AttemptRequest::read(message) {
                Ok(request) => Self::Attempt(request),
                Err((id, problem)) => Self::Rejected { id, problem },
            },
            Some("cancel_request") => match Cancel::read(&message) {
                Ok(cancel) => Self::Cancel(cancel),
                Err(problem) => Self::Rejected { id: name(&message, "id").unwrap_or_default(), problem },
            },
            Some("ping") => Self::Ping,
            Some("health_check") => Self::Health,
            Some("static_analyze") => match Analyze::read(message) {
                Ok(analyze) => Self::Analyze(analyze),
                Err(problem) => Self::Invalid(problem),
            },
            Some(other) if is_attempt => Self::Rejected {
                id: name(&message, "id").unwrap_or_default(),
                problem: format!("Unknown message type: {}", brief(other)),
            },
            Some(other) => Self::Refused(format!("Unknown message type: {}", brief(other))),
            None => Self::Refused("Unknown message type: a text \"type\" is needed".into()),
        }
    }
}

impl AttemptRequest {
    /// The problem comes with the id, if that much is clear.
    fn read(message: Map<String, Value>) -> Result<Self, (Option<String>, String)> {
        let id = match name(&message, "id") {
            Ok(Some(id)) => id,
            Ok(None) => return Err((None, "id: a text is needed beside attempt_token".into())),
            Err(problem) => return Err((None, problem)),
        };
        let read = |message| {
            let token = name(&message, "attempt_token")?.ok_or("attempt_token: a text is needed")?;
            Ok((token, Analyze { id: None, ..Analyze::read(message)? }))
        };
        match read(message) {
            Ok((token, analyze)) => Ok(Self { id, token, analyze }),
            Err(problem) => Err((Some(id), problem)),
        }
    }
}

impl Cancel {
    fn read(message: &Map<String, Value>) -> Result<Self, String> {
        match (name(message, "id")?, name(message, "attempt_token")?) {
            (None, None) => Err("cancel_request: an id or an attempt_token is needed".into()),
            (id, token) => Ok(Self { id, token }),
        }
    }
}

/// An id or a token; none when it is absent or null.
fn name(message: &Map<String, Value>, member: &str) -> Result<Option<String>, String> {
    match message.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if (1..=ID_BYTES_MAX).contains(&text.len()) => Ok(Some(text.clone())),
        Some(Value::String(text)) => {
            Err(format!("{member}: a text of 1 to {ID_BYTES_MAX} bytes is needed, not {}", text.len()))
        }
        Some(other) => Err(format!("{member}: a text is needed, not {}", kind(other))),
    }
}

/// Tells requests apart that ask for different work: a digest of everything in them that matters to the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(pub [u8; 32]);

impl Analyze {
    /// The digest of what is asked for. The order of members in the settings does not matter, the order of tools does, since the
    /// result follows it.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut digest = Sha256::new();
        digest.update(b"static_analyze");
        let tools = self.tools.iter().cloned().map(Value::String).collect();
        for part in [Value::from(self.slug.as_str()), self.number.into(), Value::Array(tools)] {
            add(&mut digest, &part);
        }
        add_members(&mut digest, &self.config);
        Fingerprint(digest.finalize().into())
    }

    fn read(mut message: Map<String, Value>) -> Result<Self, String> {
        let slug = match message.get("model_slug") {
            Some(Value::String(slug)) => slug.clone(),
            _ => return Err("model_slug: a text is needed".into()),
        };
        check_slug(&slug).map_err(|bad| format!("model_slug: {bad}"))?;
        let number = message.get("app_number").and_then(Value::as_u64).ok_or("app_number: a whole number is needed")?;
        let config = match message.remove("config") {
            None => Map::new(),
            Some(Value::Object(config)) => config,
            Some(other) => return Err(format!("config: an object is needed, not {}", kind(&other))),
        };
        let tools = read_tools(message.get("tools"))?;
        let id = message.get("id").and_then(Value::as_str).filter(|id| id.len() <= ID_BYTES_MAX).map(str::to_owned);
        Ok(Self { id, slug, number, tools, config })
    }

    /// The settings for one tool; none when they are not an object.
    pub(super) fn config_of(&self, tool: &str) -> Map<String, Value> {
        self.config.get(tool).and_then(Value::as_object).cloned().unwrap_or_default()
    }
}

fn read_tools(value: Option<&Value>) -> Result<Vec<String>, String> {
    let list = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(format!("tools: a list of names is needed, not {}", kind(other))),
    };
    if list.len() > TOOLS_MAX {
        return Err(format!("tools: {} names are more than {TOOLS_MAX}", list.len()));
    }
    let mut tools = Vec::with_capacity(list.len());
    for item in list {
        let name = item.as_str().ok_or_else(|| format!("tools: a name is a text, not {}", kind(item)))?;
        // Keys that start with `_` are not tools in a result, and an entry's key is the tool's name.
        if name.is_empty() || name.len() > 100 || name.starts_with('_') || name.chars().any(char::is_control) {
            return Err(format!("tools: {:?} is not a name", brief(name)));
        }
        if !tools.iter().any(|tool| tool == name) {
            tools.push(name.to_owned());
        }
    }
    Ok(tools)
}

/// Adds a value to a digest, in JSON with sorted members. JSON ends where its value does, so that no two lists of values look alike.
fn add(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Object(members) => add_members(digest, members),
        Value::Array(items) => {
            digest.update(b"[");
            for item in items {
                add(digest, item);
                digest.update(b",");
            }
            digest.update(b"]");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            digest.update(value.to_string().as_bytes());
            digest.update(b";");
        }
    }
}

fn add_members(digest: &mut Sha256, members: &Map<String, Value>) {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| name.as_str());
    digest.update(b"{");
    for (name, value) in members {
        digest.update(Value::from(name.as_str()).to_string().as_bytes());
        digest.update(b":");
        add(digest, value);
        digest.update(b",");
    }
    digest.update(b"}");
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn analyze(more: Value) -> Request {
        let mut message = json!({ "type": "static_analyze", "model_slug": "m", "app_number": 1 });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Request::read(message.to_string().as_bytes())
    }

    #[test]
    fn messages_are_told_apart() {
        assert_eq!(Request::read(br#"{"type":"ping"}"#), Request::Ping);
        assert_eq!(Request::read(br#"{"type":"health_check","id":"h"}"#), Request::Health);
        assert_eq!(Request::read(b"{not json"), Request::Refused("Invalid JSON format".into()));
        assert!(matches!(Request::read(br#"{"type":"x"}"#), Request::Refused(m) if m == "Unknown message type: x"));
        assert!(matches!(Request::read(b"{}"), Request::Refused(_)));
        for foreign in [b"[1]".as_slice(), b"3", b"\xff\xfe"] {
            assert_eq!(Request::read(foreign), Request::Foreign);
        }
    }

    #[test]
    fn a_request_is_read_with_its_defaults() {
        let Request::Analyze(read) = analyze(json!({ "id": "a", "tools": ["ruff", "ruff", "x"] })) else { panic!() };
        assert_eq!((read.tools.len(), read.id.as_deref(), read.config.len()), (2, Some("a"), 0));
        assert!(matches!(analyze(json!({ "tools": null })), Request::Analyze(read) if read.tools.is_empty()));
    }

    #[test]
    fn a_token_makes_an_attempt_and_what_is_wrong_with_it_names_its_id() {
        let Request::Attempt(read) = analyze(json!({ "id": "a", "attempt_token": "t" })) else { panic!() };
        assert_eq!((read.id.as_str(), read.token.as_str(), read.analyze.id), ("a", "t", None));
        assert!(matches!(analyze(json!({ "id": "a", "attempt_token": null })), Request::Analyze(_)));
        for (bad, id) in [
            (json!({ "attempt_token": "t" }), None),
            (json!({ "attempt_token": "t", "id": 3 }), None),
            (json!({ "attempt_token": "t", "id": "x".repeat(257) }), None),
            (json!({ "attempt_token": "", "id": "a" }), Some("a")),
            (json!({ "attempt_token": 3, "id": "a" }), Some("a")),
            (json!({ "attempt_token": "t".repeat(257), "id": "a" }), Some("a")),
            (json!({ "attempt_token": "t", "id": "a", "model_slug": "../x" }), Some("a")),
            (json!({ "attempt_token": "t", "id": "a", "type": "guess" }), Some("a")),
        ] {
            let Request::Rejected { id: named, problem } = analyze(bad.clone()) else { panic!("{bad}") };
            assert_eq!(named.as_deref(), id, "{bad}: {problem}");
        }
    }

    #[test]
    fn a_cancel_needs_something_to_cancel() {
        let read = |more: &str| Request::read(format!("{{\"type\":\"cancel_request\"{more}}}").as_bytes());
        let cancel = |id: Option<&str>, token: Option<&str>| {
            Request::Cancel(Cancel { id: id.map(str::to_owned), token: token.map(str::to_owned) })
        };
        assert_eq!(read(r#","id":"a""#), cancel(Some("a"), None));
        assert_eq!(read(r#","attempt_token":"t""#), cancel(None, Some("t")));
        assert!(matches!(read(""), Request::Rejected { id: None, .. }));
        assert!(matches!(read(r#","id":"a","attempt_token":3"#), Request::Rejected { id: Some(_), .. }));
    }

    #[test]
    fn requests_are_the_same_when_they_ask_for_the_same() {
        let print = |more: Value| match analyze(more) {
            Request::Analyze(read) => read.fingerprint(),
            other => panic!("{other:?}"),
        };
        let one = print(json!({ "tools": ["a", "b"], "config": { "a": { "x": 1, "y": [2] }, "b": 3 } }));
        assert_eq!(
            one,
            print(json!({ "id": "i", "tools": ["a", "b"], "config": { "b": 3, "a": { "y": [2], "x": 1 } } }))
        );
        for other in [
            json!({ "tools": ["b", "a"], "config": { "a": { "x": 1, "y": [2] }, "b": 3 } }),
            json!({ "tools": ["a", "b"], "config": { "a": { "x": 1, "y": [2] }, "b": "3" } }),
            json!({ "tools": ["a", "b"], "config": { "a": { "x": 1, "y": [2], "b": 3 } } }),
            json!({ "tools": ["a", "b"] }),
            json!({ "app_number": 2 }),
            json!({ "model_slug": "n" }),
            json!({ "tools": ["a,b"] }),
        ] {
            assert_ne!(one, print(other.clone()), "{other}");
        }
        assert_ne!(print(json!({ "tools": ["a\";\"b"] })), print(json!({ "tools": ["a", "b"] })));
    }

    #[test]
    fn what_is_not_safe_or_not_understood_is_refused() {
        for bad in [
            json!({ "model_slug": "../x" }),
            json!({ "model_slug": "/etc" }),
            json!({ "model_slug": 3 }),
            json!({ "app_number": -1 }),
            json!({ "app_number": "1" }),
            json!({ "config": null }),
            json!({ "config": "x" }),
            json!({ "tools": "ruff" }),
            json!({ "tools": [1] }),
            json!({ "tools": ["_metadata"] }),
        ] {
            assert!(matches!(analyze(bad.clone()), Request::Invalid(_)), "{bad}");
        }
    }
}
