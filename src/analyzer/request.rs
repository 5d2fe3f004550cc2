//! What a client wants: one incoming message, understood and checked.

use serde_json::{Map, Value};

use crate::resource::name::check_slug;

/// The most tools one request names.
const TOOLS_MAX: usize = 256;

/// The longest id that is given back in frames.
const ID_BYTES_MAX: usize = 256;

/// One incoming message.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// Are you there?
    Ping,
    /// How are you, and which tools are there?
    Health,
    /// Run tools over an app.
    Analyze(Analyze),
    /// Answer with an error and stay open.
    Refused(String),
    /// Answer with an error and close.
    Invalid(String),
    /// Not an object, or not text at all: close without a word.
    Foreign,
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
        match message.get("type").and_then(Value::as_str) {
            Some("ping") => Self::Ping,
            Some("health_check") => Self::Health,
            Some("static_analyze") => match Analyze::read(message) {
                Ok(analyze) => Self::Analyze(analyze),
                Err(problem) => Self::Invalid(problem),
            },
            Some(other) => Self::Refused(format!("Unknown message type: {}", brief(other))),
            None => Self::Refused("Unknown message type: a text \"type\" is needed".into()),
        }
    }
}

impl Analyze {
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
