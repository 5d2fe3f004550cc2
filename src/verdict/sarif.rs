//! SARIF out of results: collects the runs that analyzers mix up, makes valid SARIF 2.1.0 of them, and counts their findings.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::count::severity;
use super::judge::TOOLS_MAX;
use super::sarif_schema::{SCHEMA_URI, prune_run};
use crate::resource::findings::{Findings, Severity};

/// How deep documents may be nested in documents before they are left alone; existing analyzers nest one level.
const NESTING_MAX: usize = 4;

/// Every run object in an export. `runs` mixes run objects with whole documents, which have `runs` of their own; a bare run is taken too.
#[must_use]
pub fn flatten(export: &Value) -> Vec<&Value> {
    fn collect<'v>(value: &'v Value, depth: usize, runs: &mut Vec<&'v Value>) {
        if let Some(inner) = value["runs"].as_array() {
            if depth < NESTING_MAX {
                inner.iter().for_each(|value| collect(value, depth + 1, runs));
            }
        } else if value["tool"].is_object() {
            runs.push(value);
        }
    }
    let mut runs = Vec::new();
    collect(export, 0, &mut runs);
    runs
}

/// The SARIF in a result frame: one valid document for each tool, named as the analyzer names the tool.
///
/// A tool's own `sarif` wins; of `analysis.sarif_export` only runs are added that no tool has told of, under their driver's name.
#[must_use]
pub fn documents(frame: &Value) -> Vec<(String, Value)> {
    let analysis = &frame["analysis"];
    let mut found = Found::default();
    let groups = analysis["results"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object);
    let tools = ["tools", "tool_results"].into_iter().filter_map(|key| analysis[key].as_object());
    for (name, tool) in groups.chain(tools).flatten().filter(|(name, _)| !name.starts_with('_')) {
        let runs = tool.get("sarif").map(flatten).unwrap_or_default();
        if !runs.is_empty() {
            found.add(name, runs);
        }
    }
    // Whoever tells of its own runs does so for all of them.
    let told: HashSet<&Value> = found.tools.iter().flat_map(|(_, runs)| runs.iter().copied()).collect();
    let names: HashSet<String> = found.tools.iter().map(|(name, _)| plain(name)).collect();
    for run in flatten(&analysis["sarif_export"]) {
        let name = driver(run).to_ascii_lowercase();
        if !names.contains(&plain(&name)) && !told.contains(run) {
            found.add(if name.is_empty() { "unnamed" } else { &name }, vec![run]);
        }
    }
    found.tools.into_iter().filter_map(|(name, runs)| document(&name, runs).map(|sarif| (name, sarif))).collect()
}

/// Runs by the name of their tool, in the order in which they are told of.
#[derive(Default)]
struct Found<'v> {
    tools: Vec<(String, Vec<&'v Value>)>,
    places: HashMap<String, usize>,
}

impl<'v> Found<'v> {
    /// Each tool becomes a file, so there are no more of them than a result may tell of.
    fn add(&mut self, name: &str, runs: Vec<&'v Value>) {
        match self.places.get(name) {
            Some(&at) => self.tools[at].1.extend(runs),
            None if self.tools.len() < TOOLS_MAX => {
                self.places.insert(name.to_owned(), self.tools.len());
                self.tools.push((name.to_owned(), runs));
            }
            None => {}
        }
    }
}

/// The name a run's tool gives itself; empty when it gives none.
pub(super) fn driver(run: &Value) -> &str {
    run["tool"]["driver"]["name"].as_str().unwrap_or_default()
}

/// A name without case and punctuation, so that `ESLint` is `eslint` and `detect_secrets` is `detect-secrets`.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// One valid SARIF 2.1.0 document of a tool's runs; `None` when none of them can be made valid.
#[must_use]
pub fn document(tool: &str, runs: Vec<&Value>) -> Option<Value> {
    let runs: Vec<Value> = runs.into_iter().filter_map(|run| normalise(tool, run.clone())).collect();
    (!runs.is_empty()).then(|| json!({"$schema": SCHEMA_URI, "version": "2.1.0", "runs": runs}))
}

/// Repairs what tools are known to leave out, then drops what the schema refuses.
fn normalise(tool: &str, mut run: Value) -> Option<Value> {
    let rules_before = rules(&run).len();
    if run["tool"]["driver"].is_object() && driver(&run).is_empty() {
        run["tool"]["driver"]["name"] = tool.into();
    }
    // The tool wrote a report, so without a word to the contrary the call is taken to have worked.
    for invocation in run["invocations"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if !invocation.get("executionSuccessful").is_some_and(Value::is_boolean) {
            invocation.insert("executionSuccessful".into(), true.into());
        }
    }
    let ids: Vec<Value> = rules(&run).iter().map(|rule| rule["id"].clone()).collect();
    for result in run["results"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        repair_result(result, &ids);
    }
    let mut run = prune_run(run)?;
    // A rule that was dropped moves the others, so an index would point at the wrong one; `ruleId` still names it.
    if rules(&run).len() != rules_before {
        for result in run["results"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            result.shift_remove("ruleIndex");
            if let Some(rule) = result.get_mut("rule").and_then(Value::as_object_mut) {
                rule.shift_remove("index");
            }
        }
    }
    prune_run(run)
}

fn repair_result(result: &mut Map<String, Value>, rule_ids: &[Value]) {
    if !result.get("ruleId").is_some_and(Value::is_string)
        && let Some(id) =
            result.get("ruleIndex").and_then(Value::as_u64).and_then(|at| rule_ids.get(usize::try_from(at).ok()?))
    {
        result.insert("ruleId".into(), id.clone());
    }
    let message = &result.get("message").cloned().unwrap_or_default();
    if !message["text"].is_string() && !message["id"].is_string() {
        let text = message.as_str().or_else(|| result.get("ruleId").and_then(Value::as_str)).unwrap_or("no message");
        result.insert("message".into(), json!({ "text": text }));
    }
    if let Some(level) = result.get("level").and_then(Value::as_str)
        && !matches!(level, "none" | "note" | "warning" | "error")
        && let Some(rated) = severity(level)
    {
        result.insert("level".into(), level_of(rated).into());
    }
}

const fn level_of(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

fn rules(run: &Value) -> &[Value] {
    run["tool"]["driver"]["rules"].as_array().map_or(&[], Vec::as_slice)
}

/// Counts findings by severity. Not findings: results of a `kind` other than `fail`, `open` and `review`, suppressed ones, and ones that a baseline
/// says are absent (SARIF 2.1.0, sections 3.27.9, 3.27.23 and 3.27.24).
#[must_use]
pub fn count(runs: &[&Value]) -> Findings {
    let mut found = Findings::default();
    for run in runs {
        for result in run["results"].as_array().into_iter().flatten().filter(|result| is_finding(result)) {
            match rate(result, rule_of(run, result)) {
                Some(severity) => found.add(severity),
                None => found.unrated += 1,
            }
        }
    }
    found
}

/// Why a run says itself that its tool failed, in an invocation whose `executionSuccessful` is false (SARIF 2.1.0, section 3.20.14). `None` when it
/// does not.
pub(super) fn failure(run: &Value) -> Option<String> {
    let invocations = run["invocations"].as_array()?;
    let failed = invocations.iter().find(|invocation| invocation["executionSuccessful"] == false)?;
    let notified = ["toolExecutionNotifications", "toolConfigurationNotifications"]
        .iter()
        .filter_map(|list| failed[list].as_array())
        .flatten();
    // The worst comes first.
    let said = notified
        .filter_map(|one| Some((one["level"] != "error", one["message"]["text"].as_str()?)))
        .min_by_key(|(is_mild, _)| *is_mild);
    let code = || Some(format!("exit code {}", failed["exitCode"].as_i64()?));
    let text = said.map(|(_, text)| text).or_else(|| failed["exitCodeDescription"].as_str());
    Some(text.map(str::to_owned).or_else(code).unwrap_or_else(|| "it does not say why".into()))
}

fn is_finding(result: &Value) -> bool {
    let kind = result["kind"].as_str().unwrap_or("fail");
    let accepted = |suppression: &Value| suppression["status"].as_str().unwrap_or("accepted") == "accepted";
    let suppressed = result["suppressions"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(accepted));
    matches!(kind, "fail" | "open" | "review") && !suppressed && result["baselineState"] != "absent"
}

fn rule_of<'v>(run: &'v Value, result: &Value) -> &'v Value {
    let rules = rules(run);
    let by_index = result["ruleIndex"].as_u64().and_then(|at| rules.get(usize::try_from(at).ok()?));
    by_index
        .or_else(|| rules.iter().find(|rule| rule["id"].is_string() && rule["id"] == result["ruleId"]))
        .unwrap_or(&Value::Null)
}

/// How bad one result is: the tool's own word, then the CVSS-like score that code hosts read (7.0 and above is high, 4.0 and above medium), then
/// the SARIF level with its default of `warning` (section 3.27.10). A level of `none` says nothing.
fn rate(result: &Value, rule: &Value) -> Option<Severity> {
    let own = |place: &Value| place["properties"]["issue_severity"].as_str().and_then(severity);
    let score = |place: &Value| {
        let score = &place["properties"]["security-severity"];
        let score = score.as_f64().or_else(|| score.as_str()?.trim().parse().ok())?;
        Some(if score >= 7.0 {
            Severity::High
        } else if score >= 4.0 {
            Severity::Medium
        } else {
            Severity::Low
        })
    };
    let level = || {
        let level = result["level"].as_str().or_else(|| rule["defaultConfiguration"]["level"].as_str());
        severity(level.unwrap_or("warning"))
    };
    own(result).or_else(|| score(result)).or_else(|| score(rule)).or_else(level)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(name: &str) -> Value {
        json!({"tool": {"driver": {"name": name}}, "results": []})
    }

    #[test]
    fn runs_and_documents_are_flattened() {
        let export = json!({"runs": [run("a"), {"version": "2.1.0", "runs": [run("b"), run("c")]}, 7, {"odd": 1}]});
        let names: Vec<&str> = flatten(&export).into_iter().map(driver).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(flatten(&run("d")).len(), 1);
        assert!(flatten(&Value::Null).is_empty());
    }

    #[test]
    fn a_tool_and_the_export_do_not_tell_the_same_run_twice() {
        let frame = json!({"analysis": {
            "results": {"javascript": {"eslint": {"status": "success", "sarif": run("ESLint")}}},
            "sarif_export": {"runs": [{"runs": [run("ESLint")]}, run("Other Tool")]},
        }});
        let found = documents(&frame);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["eslint", "other tool"]);
        assert!(
            found.iter().all(|(_, sarif)| sarif["version"] == "2.1.0" && sarif["runs"].as_array().unwrap().len() == 1)
        );
    }

    #[test]
    fn what_tools_leave_out_is_repaired() {
        let broken = json!({
            "tool": {"driver": {"rules": [{"name": "without id"}, {"id": "R2"}]}},
            "invocations": [{"endTimeUtc": "2026-01-01T00:00:00Z"}],
            "results": [{"ruleIndex": 1, "message": "plain text", "level": "HIGH"}, {"ruleId": "R2"}],
        });
        let sarif = document("mytool", vec![&broken]).unwrap();
        let run = &sarif["runs"][0];
        assert_eq!(driver(run), "mytool");
        assert_eq!(run["invocations"][0]["executionSuccessful"], true);
        assert_eq!(run["results"][0], json!({"message": {"text": "plain text"}, "level": "error", "ruleId": "R2"}));
        assert_eq!(run["results"][1]["message"]["text"], "R2");
    }

    #[test]
    fn findings_are_rated_by_score_then_level_then_default() {
        let run = json!({"tool": {"driver": {"name": "x", "rules": [
            {"id": "A", "properties": {"security-severity": "9.1"}},
            {"id": "B", "defaultConfiguration": {"level": "note"}},
        ]}}, "results": [
            {"ruleId": "A", "level": "note"},
            {"ruleIndex": 1},
            {"ruleId": "unknown"},
            {"level": "none"},
            {"kind": "pass"},
            {"suppressions": [{"kind": "inSource"}]},
            {"baselineState": "absent"},
        ]});
        assert_eq!(count(&[&run]), Findings { high: 1, medium: 1, low: 1, unrated: 1 });
    }
}
