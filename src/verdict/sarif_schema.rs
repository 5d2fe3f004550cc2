//! Prunes any JSON to what the SARIF 2.1.0 schema allows: what the schema refuses is dropped, the rest stays as it is.
//!
//! The schema is the one of OASIS (Errata 01), with descriptions and defaults left out; only the keywords that occur in it are known here.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use fluent_uri::{Uri, UriRef};
use regex::Regex;
use serde_json::{Map, Value};

/// The schema's own address, for `$schema`.
pub(super) const SCHEMA_URI: &str = "https://json.schemastore.org/sarif-2.1.0.json";

struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let root: Value = serde_json::from_str(include_str!("sarif-schema-2.1.0.json")).unwrap_or_default();
    let mut patterns = HashMap::new();
    collect_patterns(&root, &mut patterns);
    Schema { root, patterns }
});

fn collect_patterns(schema: &Value, into: &mut HashMap<String, Regex>) {
    if let Some(text) = schema["pattern"].as_str()
        && let Ok(pattern) = Regex::new(text)
    {
        into.insert(text.to_owned(), pattern);
    }
    match schema {
        Value::Object(map) => map.values().for_each(|inner| collect_patterns(inner, into)),
        Value::Array(list) => list.iter().for_each(|inner| collect_patterns(inner, into)),
        _ => {}
    }
}

/// A run without what the schema refuses; `None` when it cannot be a run, since something that is required is missing or wrong.
pub(super) fn prune_run(run: Value) -> Option<Value> {
    prune(&SCHEMA.root["definitions"]["run"], run)
}

fn prune(schema: &Value, value: Value) -> Option<Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return prune(&SCHEMA.root["definitions"][name], value);
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(&value)) {
        return None;
    }
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(map)) => prune_object(schema, map),
        (Some("array"), Value::Array(list)) => prune_list(schema, list),
        (Some("string"), Value::String(text)) => prune_text(schema, text).map(Value::String),
        (Some(kind @ ("integer" | "number")), Value::Number(number)) => {
            let size = number.as_f64()?;
            let whole = kind == "number" || number.is_i64() || number.is_u64();
            let fits = schema["minimum"].as_f64().is_none_or(|least| size >= least)
                && schema["maximum"].as_f64().is_none_or(|most| size <= most);
            (whole && fits).then_some(Value::Number(number))
        }
        (Some("boolean"), value @ Value::Bool(_)) | (None, value) => Some(value),
        _ => None,
    }
}

fn prune_object(schema: &Value, map: Map<String, Value>) -> Option<Value> {
    let others = &schema["additionalProperties"];
    let mut kept = Map::with_capacity(map.len());
    for (key, value) in map {
        let value = match schema["properties"].get(&key) {
            Some(known) => prune(known, value),
            None if others.is_object() => prune(others, value),
            None => (others != &Value::Bool(false)).then_some(value),
        };
        if let Some(value) = value {
            kept.insert(key, value);
        }
    }
    let has_all = |rule: &Value| {
        rule["required"]
            .as_array()
            .is_none_or(|keys| keys.iter().all(|key| key.as_str().is_some_and(|key| kept.contains_key(key))))
    };
    let any = schema["anyOf"].as_array().is_none_or(|rules| rules.iter().any(has_all));
    let one = schema["oneOf"].as_array().is_none_or(|rules| rules.iter().filter(|rule| has_all(rule)).count() == 1);
    (has_all(schema) && any && one).then_some(Value::Object(kept))
}

fn prune_list(schema: &Value, list: Vec<Value>) -> Option<Value> {
    let mut kept: Vec<Value> = list.into_iter().filter_map(|item| prune(&schema["items"], item)).collect();
    if schema["uniqueItems"] == true {
        let mut seen = HashSet::new();
        kept.retain(|item| seen.insert(item.to_string()));
    }
    let enough = schema["minItems"].as_u64().is_none_or(|least| kept.len() as u64 >= least);
    enough.then_some(Value::Array(kept))
}

fn prune_text(schema: &Value, text: String) -> Option<String> {
    if let Some(pattern) = schema["pattern"].as_str()
        && !SCHEMA.patterns.get(pattern).is_some_and(|pattern| pattern.is_match(&text))
    {
        return None;
    }
    match schema["format"].as_str() {
        Some("date-time") => {
            (RFC_3339.as_ref()?.is_match(&text) && text.parse::<jiff::Timestamp>().is_ok()).then_some(text)
        }
        Some("uri") => Some(encode_uri(&text)).filter(|uri| Uri::parse(uri.as_str()).is_ok()),
        Some("uri-reference") => Some(encode_reference(&text)).filter(|uri| UriRef::parse(uri.as_str()).is_ok()),
        _ => Some(text),
    }
}

/// A time of RFC 3339, section 5.6, as far as its digits may be: with seconds, and with a zone, without which it says too little to be kept.
static RFC_3339: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d+)?(Z|[+-]\d\d:\d\d)$").ok());

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// A plain path with a colon in its first segment would read as a scheme, so that colon is encoded (RFC 3986, section 4.2).
fn encode_reference(text: &str) -> String {
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    if first.contains(':') && !has_scheme(text) {
        let (head, rest) = text.split_at(first.len());
        return encode_uri(&head.replace(':', "%3A")) + &encode_uri(rest);
    }
    encode_uri(text)
}

/// Percent-encodes what RFC 3986 does not allow in a URI, such as blanks in a file's name; what is encoded already stays.
fn encode_uri(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut encoded = String::with_capacity(bytes.len());
    let mut fragment = false;
    for (at, &byte) in bytes.iter().enumerate() {
        let allowed = match byte {
            b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            b'#' => !std::mem::replace(&mut fragment, true),
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?@!$&'()*+,;=".contains(&byte),
        };
        if allowed {
            encoded.push(char::from(byte));
        } else if byte == b'\\' {
            encoded.push('/');
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_address_is_dropped_and_what_can_be_one_is_encoded() {
        let uri = |format: &str, text: &str| prune_text(&json!({"format": format}), text.to_owned());
        assert_eq!(uri("uri", "https://git:ub.com/ruff"), None, "a port is a number");
        assert_eq!(uri("uri", "no scheme"), None);
        assert_eq!(uri("uri", "https://[::1/x"), None);
        assert_eq!(uri("uri", "file:///a b.py").as_deref(), Some("file:///a%20b.py"));
        assert_eq!(uri("uri-reference", "//git:ub.com/x"), None);
        assert_eq!(uri("uri-reference", "1:2/a b.py").as_deref(), Some("1%3A2/a%20b.py"));
    }

    #[test]
    fn a_time_is_kept_when_everybody_can_read_it() {
        let is_kept = |text: &str| prune_text(&json!({"format": "date-time"}), text.to_owned()).is_some();
        for good in ["2026-01-05T10:26:00Z", "2026-01-05T10:26:59.123456+02:00"] {
            assert!(is_kept(good), "{good}");
        }
        for bad in [
            "2026-01-05T10:26Z",
            "2026-01-05 10:26:00Z",
            "2026-13-05T10:26:00Z",
            "2026-01-05T10:26:00",
            "20260105T102600Z",
            "soon",
        ] {
            assert!(!is_kept(bad), "{bad}");
        }
    }

    #[test]
    fn what_the_schema_refuses_is_dropped_and_the_rest_stays() {
        let run = json!({
            "tool": {"driver": {"name": "x", "version": 7, "organization": "y"}},
            "surprise": 1,
            "results": [
                {"message": {"text": "m"}, "level": "awful", "ruleIndex": -7, "locations": [
                    {"physicalLocation": {"artifactLocation": {"uri": "a b.py"}, "region": {"startLine": 0, "endLine": 3}}},
                ]},
                {"level": "error"},
            ],
        });
        let pruned = prune_run(run).unwrap();
        assert_eq!(
            pruned,
            json!({
                "tool": {"driver": {"name": "x", "organization": "y"}},
                "results": [{"message": {"text": "m"}, "locations": [
                    {"physicalLocation": {"artifactLocation": {"uri": "a%20b.py"}, "region": {"endLine": 3}}},
                ]}],
            })
        );
        assert_eq!(prune_run(json!({"results": []})), None);
    }

    #[test]
    fn file_names_become_uri_references_and_stay_readable() {
        for (raw, encoded) in [
            ("src/app.py", "src/app.py"),
            ("a b.py", "a%20b.py"),
            ("a%20b.py", "a%20b.py"),
            ("100%.py", "100%25.py"),
            ("C:\\x\\y.py", "C:/x/y.py"),
            ("app/[id].tsx", "app/%5Bid%5D.tsx"),
            ("1:2/x", "1%3A2/x"),
            ("ä", "%C3%A4"),
            ("a#b#c", "a#b%23c"),
        ] {
            assert_eq!(encode_reference(raw), encoded);
        }
    }
}
