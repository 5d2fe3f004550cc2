//! Any JSON as a SARIF export: what the normaliser makes of it is valid SARIF 2.1.0, and stays as it is when it is normalised again.

use std::sync::OnceLock;

use jsonschema::Validator;
use manifestd::verdict::{lenient, sarif};
use serde_json::Value;

use super::corpus::{files, texts};

pub(crate) const WORDS: &[&str] = &[
    "\"runs\":[",
    "\"tool\":{\"driver\":{\"name\":\"a\"",
    "\"rules\":[{\"id\":\"r\"}]",
    "\"results\":[{",
    "\"ruleId\":\"r\"",
    "\"ruleIndex\":0",
    "\"level\":\"error\"",
    "\"level\":\"HIGH\"",
    "\"kind\":\"pass\"",
    "\"message\":{\"text\":\"m\"}",
    "\"locations\":[{\"physicalLocation\":{",
    "\"artifactLocation\":{\"uri\":\"a b\"}",
    "\"region\":{\"startLine\":0}",
    "\"suppressions\":[{\"kind\":\"inSource\"}]",
    "\"baselineState\":\"absent\"",
    "\"properties\":{\"security-severity\":\"9.8\"}",
    "\"invocations\":[{}]",
    "\"executionSuccessful\":1",
    "\"guid\":\"x\"",
    "\"taxa\":[",
    "\"fixes\":[",
    "\"version\":\"2.1.0\"",
    "\"$schema\":\"x\"",
    "null",
    "-1",
    "1e99",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"\"",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = texts(&[
        r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"ruff","rules":[{"id":"F401","helpUri":"https://x/y"}]}},"results":[{"ruleId":"F401","ruleIndex":0,"level":"warning","message":{"text":"unused"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.py"},"region":{"startLine":1,"startColumn":1,"endLine":1,"endColumn":9}}}]}]}]}"#,
        r#"{"runs":[{"runs":[{"tool":{"driver":{}},"invocations":[{}],"results":[{"ruleIndex":0,"message":"text","level":"HIGH"}]}]},{"tool":{}}]}"#,
        r#"{"runs":[{"tool":{"driver":{"name":"x","informationUri":"https://git:ub.com/x"}},"invocations":[{"endTimeUtc":"2026-01-05T10:26Z","executionSuccessful":true}],"results":[]}]}"#,
        r#"{"tool":{"driver":{"name":"x"}},"results":[{"message":{"text":"m"},"kind":"pass"},{"message":{"id":"m"},"suppressions":[{"kind":"external"}]}]}"#,
    ]);
    for exchange in files("tests/fixtures/frames", &["json"]) {
        let frames = serde_json::from_slice::<Value>(&exchange).unwrap_or_default();
        let mut places = vec![&frames];
        while let Some(place) = places.pop() {
            match place {
                Value::Object(map) if map.get("runs").is_some() => seeds.push(place.to_string().into_bytes()),
                Value::Object(map) => places.extend(map.values()),
                Value::Array(list) => places.extend(list),
                _ => {}
            }
        }
    }
    seeds
}

/// What must hold of any JSON.
pub(crate) fn check(data: &[u8]) {
    let Ok((export, _)) = lenient::parse(data) else { return };
    let runs = sarif::flatten(&export);
    let found = sarif::count(&runs);
    assert!(found.total() <= data.len() as u64, "more findings than bytes: {found:?}");
    let Some(document) = sarif::document("tool", runs) else { return };
    assert_valid("tool", &document);
    let again = sarif::document("tool", sarif::flatten(&document));
    assert_eq!(again.as_ref(), Some(&document), "normalised twice");
}

/// The document is what the standard's own schema accepts.
pub(crate) fn assert_valid(name: &str, document: &Value) {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let text = include_str!("../schemas/sarif-2.1.0.json");
        let schema = serde_json::from_str(text).expect("JSON");
        jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
    });
    let wrong: Vec<String> =
        schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert!(wrong.is_empty(), "{name}: {wrong:?} in {document}");
}
