//! Turns a tool's own JSON into SARIF, as the mapping in its declaration says.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::declaration::{Mapping, SeverityWords};
use super::sarif;

/// The most items that are taken over from one run.
const ITEMS_MAX: usize = 100_000;

/// The most problems that are taken over from one run.
const PROBLEMS_MAX: usize = 100;

/// Makes one SARIF document out of a tool's JSON. Paths under `root` become relative to it.
///
/// # Errors
/// Says which part of the document is not what the mapping expects.
pub(super) fn to_sarif(
    tool: &str,
    version: Option<&str>,
    mapping: &Mapping,
    document: &Value,
    root: &Path,
) -> Result<Value, String> {
    let mut rules = BTreeMap::new();
    let mut results = Vec::new();
    match &mapping.groups {
        Some(groups) => {
            for group in list(document, groups)? {
                let file = mapping.group_file.as_ref().and_then(|path| text(group, path));
                add_items(mapping, group, file.as_deref(), root, &mut rules, &mut results)?;
            }
        }
        None => add_items(mapping, document, None, root, &mut rules, &mut results)?,
    }
    let problems = problems(mapping, document, root);
    Ok(sarif::document(tool, version, rules.into_values().collect(), results, &problems))
}

fn add_items(
    mapping: &Mapping,
    container: &Value,
    file: Option<&str>,
    root: &Path,
    rules: &mut BTreeMap<String, Value>,
    results: &mut Vec<Value>,
) -> Result<(), String> {
    for item in list(container, &mapping.items)? {
        if results.len() >= ITEMS_MAX {
            return Err(format!("it lists more than {ITEMS_MAX} items"));
        }
        let own = mapping.file.as_ref().and_then(|path| text(item, path));
        let Some(file) = own.as_deref().or(file) else { return Err(format!("an item names no file: {}", brief(item))) };
        let message = text(item, &mapping.message).ok_or_else(|| format!("an item has no message: {}", brief(item)))?;
        let rule = text(item, &mapping.rule).map(|rule| format!("{}{rule}", mapping.rule_prefix));
        let mut result = json!({
            "message": { "text": message },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": relative(file, root) },
                "region": region(mapping, item),
            }}],
        });
        if let Some(level) = mapping.severity.as_ref().map(|words| level(words, item)) {
            result["level"] = json!(level);
        }
        if let Some(rule) = rule {
            rules.entry(rule.clone()).or_insert_with(|| rule_of(mapping, item, &rule));
            result["ruleId"] = json!(rule);
        }
        results.push(result);
    }
    Ok(())
}

fn region(mapping: &Mapping, item: &Value) -> Value {
    let number = |path: &Option<String>| path.as_ref().and_then(|path| item.pointer(path)).and_then(Value::as_u64);
    let column =
        |path: &Option<String>| number(path).map(|column| (column + 1).saturating_sub(mapping.column_base).max(1));
    // A problem of the whole file has no line, or line 0; SARIF lines start at 1.
    let line = item.pointer(&mapping.line).and_then(Value::as_u64).unwrap_or(1).max(1);
    let mut region = json!({ "startLine": line });
    if let Some(column) = column(&mapping.column) {
        region["startColumn"] = json!(column);
    }
    let end_line = number(&mapping.end_line).filter(|end| *end >= line);
    if let Some(end_line) = end_line {
        region["endLine"] = json!(end_line);
    }
    if let Some(column) = column(&mapping.end_column) {
        region["endColumn"] = json!(column);
    }
    region
}

fn rule_of(mapping: &Mapping, item: &Value, id: &str) -> Value {
    let mut rule = json!({ "id": id });
    let help = mapping.help_uri.as_ref().and_then(|path| text(item, path));
    if let Some(help) = help.filter(|uri| uri.starts_with("https://") && !uri.contains(char::is_whitespace)) {
        rule["helpUri"] = json!(help);
    }
    if let Some(cwe) = mapping.cwe.as_ref().and_then(|path| item.pointer(path)).and_then(Value::as_u64) {
        rule["properties"] = json!({ "tags": ["security", format!("external/cwe/cwe-{cwe}")] });
    }
    rule
}

fn level(words: &SeverityWords, item: &Value) -> &'static str {
    let word = text(item, &words.path).unwrap_or_default();
    if words.high.contains(&word) {
        "error"
    } else if words.low.contains(&word) {
        "note"
    } else {
        "warning"
    }
}

fn problems(mapping: &Mapping, document: &Value, root: &Path) -> Vec<String> {
    let Some(problems) = &mapping.problems else { return Vec::new() };
    let items = document.pointer(&problems.items).and_then(Value::as_array);
    let line = |item: &Value| {
        let file = text(item, &problems.file).unwrap_or_default();
        format!("{}: {}", relative(&file, root), text(item, &problems.message).unwrap_or_default())
    };
    items.into_iter().flatten().take(PROBLEMS_MAX).map(line).collect()
}

fn list<'v>(value: &'v Value, path: &str) -> Result<&'v Vec<Value>, String> {
    value.pointer(path).and_then(Value::as_array).ok_or_else(|| format!("there is no list at {path:?}"))
}

/// A text, or a number as text.
fn text(value: &Value, path: &str) -> Option<String> {
    match value.pointer(path)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn relative(file: &str, root: &Path) -> String {
    let path = Path::new(file);
    let path = path.strip_prefix(root).or_else(|_| path.strip_prefix(".")).unwrap_or(path);
    sarif::uri_of(path)
}

fn brief(item: &Value) -> String {
    item.to_string().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::shipped_tools;

    fn mapping_of(name: &str) -> Mapping {
        shipped_tools().unwrap().into_iter().find(|tool| tool.name == name).unwrap().mapping.unwrap()
    }

    fn convert(name: &str, document: &Value) -> Result<Value, String> {
        to_sarif(name, Some("1.0"), &mapping_of(name), document, Path::new("/apps/a"))
    }

    #[test]
    fn bandit_becomes_sarif_with_columns_from_one() {
        let document = json!({
            "errors": [{ "filename": "/apps/a/broken.py", "reason": "syntax error while parsing AST from file" }],
            "results": [{
                "col_offset": 4, "end_col_offset": 11, "filename": "/apps/a/s/x.py", "issue_cwe": { "id": 78 },
                "issue_severity": "HIGH", "issue_text": "Bad.", "line_number": 3, "line_range": [3],
                "more_info": "https://example.org/b307", "test_id": "B307",
            }],
        });
        let run = convert("bandit", &document).unwrap()["runs"][0].take();
        let result = &run["results"][0];
        assert_eq!((&result["ruleId"], &result["level"]), (&json!("B307"), &json!("error")));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "s/x.py");
        assert_eq!((&place["region"]["startColumn"], &place["region"]["endColumn"]), (&json!(5), &json!(12)));
        let notes = &run["invocations"][0]["toolExecutionNotifications"];
        assert_eq!(notes[0]["message"]["text"], "broken.py: syntax error while parsing AST from file");
        assert_eq!(run["tool"]["driver"]["rules"][0]["properties"]["tags"][1], "external/cwe/cwe-78");
    }

    #[test]
    fn shellcheck_rules_get_their_prefix() {
        let document = json!({ "comments": [{ "file": "/apps/a/r.sh", "line": 2, "endLine": 2, "column": 6, "endColumn": 8,
            "level": "info", "code": 2086, "message": "Double quote." }] });
        let sarif = convert("shellcheck", &document).unwrap();
        let result = &sarif["runs"][0]["results"][0];
        assert_eq!((&result["ruleId"], &result["level"]), (&json!("SC2086"), &json!("note")));
    }

    #[test]
    fn eslint_groups_its_items_by_file() {
        let document = json!([
            { "filePath": "/apps/a/x.js", "messages": [
                { "ruleId": "no-eval", "severity": 2, "message": "eval can be harmful.", "line": 1, "column": 9, "endLine": 1, "endColumn": 13 },
                { "ruleId": null, "fatal": true, "severity": 2, "message": "Parsing error", "line": 7, "column": 1 },
            ]},
            { "filePath": "/apps/a/y.js", "messages": [] },
        ]);
        let sarif = convert("eslint", &document).unwrap();
        let results = sarif["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!((&results[0]["ruleId"], &results[0]["level"]), (&json!("no-eval"), &json!("error")));
        assert!(results[1].get("ruleId").is_none());
        assert_eq!(results[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "x.js");
    }

    #[test]
    fn a_document_of_another_shape_is_an_error_and_not_zero_findings() {
        assert!(convert("bandit", &json!({ "results": 3 })).unwrap_err().contains("/results"));
        assert!(
            convert("bandit", &json!({ "results": [{ "issue_text": "x" }] })).unwrap_err().contains("names no file")
        );
        assert!(convert("shellcheck", &json!({ "comments": [{ "file": "x" }] })).unwrap_err().contains("no message"));
    }
}
