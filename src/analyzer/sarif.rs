//! SARIF 2.1.0: building documents, counting findings, and making the paths in a tool's document relative to the app.
//! Source of the rules: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::resource::findings::{Findings, Severity};

/// The address of the SARIF 2.1.0 schema that documents name.
pub(super) const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One document with one run.
pub(super) fn document(
    tool: &str,
    version: Option<&str>,
    rules: Vec<Value>,
    results: Vec<Value>,
    problems: &[String],
) -> Value {
    let mut driver = json!({ "name": tool, "rules": rules });
    if let Some(version) = version {
        driver["version"] = json!(version);
    }
    let mut run = json!({ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results });
    if !problems.is_empty() {
        let notifications: Vec<Value> =
            problems.iter().map(|text| json!({ "level": "warning", "message": { "text": text } })).collect();
        run["invocations"] = json!([{ "executionSuccessful": true, "toolExecutionNotifications": notifications }]);
    }
    json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": [run] })
}

/// The SARIF level of a severity.
pub(super) const fn level_of(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

/// A relative path as a URI reference (RFC 3986): every byte but letters, digits and `-._~/` is escaped.
pub(super) fn uri_of(path: &Path) -> String {
    let mut uri = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// Checks that a value has the bones of a SARIF document, so that counting and merging are safe.
///
/// # Errors
/// Says what is missing.
pub(super) fn check(document: &Value) -> Result<(), String> {
    if document.get("version").and_then(Value::as_str) != Some("2.1.0") {
        return Err("it is not SARIF of version 2.1.0".into());
    }
    let runs = document.get("runs").and_then(Value::as_array).ok_or("it has no list \"runs\"")?;
    for run in runs {
        if run.pointer("/tool/driver/name").and_then(Value::as_str).is_none() {
            return Err("a run does not name its tool".into());
        }
        let invocations = run.get("invocations").and_then(Value::as_array);
        let failed = |invocation: &Value| invocation.get("executionSuccessful") == Some(&Value::Bool(false));
        if invocations.is_some_and(|invocations| invocations.iter().any(failed)) {
            return Err("it says that the tool's execution was not successful".into());
        }
        match run.get("results") {
            None | Some(Value::Null) => {}
            Some(Value::Array(results)) if results.iter().all(Value::is_object) => {}
            Some(_) => return Err("\"results\" is not a list of objects".into()),
        }
    }
    Ok(())
}

/// Counts the findings of a checked document. A result without a level has its rule's, else `warning` (section 3.27.10); results
/// whose kind is not `fail` are no findings (3.27.9).
pub(super) fn count(document: &Value) -> Findings {
    let mut findings = Findings::default();
    for run in document.get("runs").and_then(Value::as_array).into_iter().flatten() {
        let rules = run.pointer("/tool/driver/rules").and_then(Value::as_array);
        let levels: HashMap<&str, &str> = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| {
                Some((rule.get("id")?.as_str()?, rule.pointer("/defaultConfiguration/level")?.as_str()?))
            })
            .collect();
        for result in run.get("results").and_then(Value::as_array).into_iter().flatten() {
            if result.get("kind").and_then(Value::as_str).is_some_and(|kind| kind != "fail") {
                continue;
            }
            let of_rule = || levels.get(result.get("ruleId")?.as_str()?).copied();
            let level = result.get("level").and_then(Value::as_str).or_else(of_rule).unwrap_or("warning");
            findings.add(match level {
                "error" => Severity::High,
                "warning" => Severity::Medium,
                _ => Severity::Low,
            });
        }
    }
    findings
}

/// Makes every `uri` under the app's directory relative to it, so that a result does not depend on where the sources are.
pub(super) fn make_relative(value: &mut Value, root: &Path) {
    let plain = root.display().to_string();
    let escaped = uri_of(root);
    let prefixes =
        [format!("file://{escaped}/"), format!("file://{plain}/"), format!("{escaped}/"), format!("{plain}/")];
    visit(value, &prefixes, 0);
}

/// The deepest nesting that is looked at; serde_json reads no deeper document.
const DEPTH_MAX: usize = 128;

fn visit(value: &mut Value, prefixes: &[String], depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match inner {
                    Value::String(uri) if key == "uri" => {
                        if let Some(rest) = prefixes.iter().find_map(|prefix| uri.strip_prefix(prefix.as_str())) {
                            *uri = rest.to_owned();
                        }
                    }
                    inner => visit(inner, prefixes, depth + 1),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| visit(inner, prefixes, depth + 1)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_from_the_result_then_the_rule_then_warning() {
        let document = json!({ "runs": [{
            "tool": { "driver": { "name": "t", "rules": [{ "id": "a", "defaultConfiguration": { "level": "error" } }] } },
            "results": [{ "ruleId": "a" }, { "ruleId": "b" }, { "ruleId": "a", "level": "note" }, { "kind": "pass" }],
        }]});
        assert_eq!(count(&document), Findings { high: 1, medium: 1, low: 1, unrated: 0 });
    }

    #[test]
    fn a_document_without_its_bones_is_refused() {
        let tool = json!({ "driver": { "name": "x" } });
        for runs in [
            json!(3),
            json!([{}]),
            json!([{ "tool": tool, "results": [1] }]),
            json!([{ "tool": tool, "invocations": [{ "executionSuccessful": false }] }]),
        ] {
            let bad = json!({ "version": "2.1.0", "runs": runs });
            assert!(check(&bad).is_err(), "{bad}");
        }
        assert!(check(&json!([])).is_err() && check(&json!({ "version": "2.0.0", "runs": [] })).is_err());
        assert!(check(&document("x", None, vec![], vec![], &["p".into()])).is_ok());
    }

    #[test]
    fn addresses_under_the_app_become_relative() {
        let mut value =
            json!([{ "uri": "file:///s/a%20b/x.py" }, { "uri": "/s/a b/y.py" }, { "uri": "https://example.org" }]);
        make_relative(&mut value, Path::new("/s/a b"));
        assert_eq!(value, json!([{ "uri": "x.py" }, { "uri": "y.py" }, { "uri": "https://example.org" }]));
    }

    #[test]
    fn odd_names_become_valid_references() {
        assert_eq!(uri_of(Path::new("a b/ü:%.py")), "a%20b/%C3%BC%3A%25.py");
    }
}
