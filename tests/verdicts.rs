//! Judges recorded exchanges with the existing analyzers. Every fixture has an expectation here, and every SARIF document that comes
//! out of one is checked against the SARIF 2.1.0 schema.

use std::collections::BTreeMap;
use std::path::Path;

use manifestd::resource::outcome::Outcome::{self, Completed, Failed, PartialSuccess};
use manifestd::resource::outcome::ToolStatus;
use manifestd::resource::reason::Reason::{self, *};
use manifestd::verdict::judge::judge_frame;
use manifestd::verdict::{frame, sarif};
use serde_json::Value;

struct Expected {
    outcome: Outcome,
    reason: Reason,
    /// Findings of all tools: high, medium, low, unrated.
    findings: [u64; 4],
    /// Tools with the first letter of their status: Completed, Failed, NotRun, notApplicable (A).
    tools: &'static str,
    /// Tools that have a SARIF document.
    sarif: &'static [&'static str],
}

const fn expect(
    outcome: Outcome,
    reason: Reason,
    findings: [u64; 4],
    tools: &'static str,
    sarif: &'static [&'static str],
) -> Option<Expected> {
    Some(Expected { outcome, reason, findings, tools, sarif })
}

const NONE: [u64; 4] = [0; 4];

/// What every fixture comes to; `None` where no frame ends the request.
fn expectations() -> BTreeMap<&'static str, Option<Expected>> {
    BTreeMap::from([
        ("ai_health_check", None),
        ("ai_no_key", expect(Failed, ApiKeyMissing, NONE, "code-quality-analyzer=F", &[])),
        ("ai_only_moved_tool", expect(Failed, ToolNotRun, NONE, "curl-endpoint-tester=N", &[])),
        ("dynamic_health_check", None),
        // `tool_runs.curl` says error, for a port scan met closed ports; all that it was asked to reach answered.
        ("dynamic_ok_curl", expect(Completed, AllToolsRan, [0, 0, 0, 7], "curl=C curl-endpoint-tester=C", &[])),
        ("dynamic_unknown_type", expect(Failed, AnalyzerError, NONE, "", &[])),
        ("dynamic_unreachable", expect(Failed, TargetsUnreachable, NONE, "curl=F curl-endpoint-tester=F", &[])),
        ("perf_config_null", expect(Failed, AnalyzerError, NONE, "aiohttp=N", &[])),
        ("perf_ok_aiohttp", expect(Completed, AllToolsRan, NONE, "aiohttp=C", &[])),
        ("perf_unknown_type", expect(Failed, AnalyzerError, NONE, "", &[])),
        ("perf_unreachable", expect(Failed, TargetsUnreachable, NONE, "aiohttp=F", &[])),
        ("perf_zero_success", expect(Failed, ToolFailed, NONE, "aiohttp=F", &[])),
        ("static_bad_json", expect(Failed, AnalyzerError, NONE, "", &[])),
        ("static_health_check", None),
        ("static_json_array", None),
        ("static_missing_path", expect(Failed, AppMissing, NONE, "bandit=N", &[])),
        ("static_ok_bandit", expect(Completed, AllToolsRan, [3, 0, 5, 0], "bandit=C", &["bandit"])),
        (
            "static_ok_bandit_ruff_vulture",
            expect(
                PartialSuccess,
                SomeToolsFailed,
                [6, 11, 5, 0],
                "bandit=F ruff=C vulture=C pylint=C mypy=C radon=C",
                &["pylint", "ruff"],
            ),
        ),
        ("static_ping", None),
        ("static_sigkill_mid_analysis", None),
        ("static_tools_null_config_bad", expect(Failed, AnalyzerError, NONE, "ruff=N", &[])),
        ("static_unknown_tool", expect(Failed, ToolNotRun, NONE, "no-such-tool=N", &[])),
        ("static_unknown_type", expect(Failed, AnalyzerError, NONE, "", &[])),
    ])
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/verdict/sarif-schema-2.1.0.json");
    jsonschema::options().should_validate_formats(true).build(&read(&path)).expect("the schema is one")
}

fn requested(exchange: &Value) -> Vec<String> {
    let tools = exchange["sent"][0]["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().filter_map(|tool| tool.as_str().map(str::to_owned)).collect()
}

#[test]
fn every_recorded_exchange_is_judged_as_expected() {
    let schema = schema();
    let mut expectations = expectations();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frames")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = expectations.remove(name.as_str());
        let expected = expected.unwrap_or_else(|| panic!("{name}: say in this test what the fixture should come to"));
        let exchange = read(&path);
        let frames: Vec<&Value> = exchange["frames"].as_array().unwrap().iter().map(|entry| &entry["frame"]).collect();
        let ends: Vec<&&Value> = frames.iter().filter(|value| frame::terminal(value)).collect();
        let Some(expected) = expected else {
            assert!(ends.is_empty(), "{name} has a terminal frame");
            continue;
        };
        assert_eq!(ends.len(), 1, "{name}");
        let verdict = judge_frame(&requested(&exchange), ends[0]);
        assert_eq!((verdict.outcome, verdict.reason), (expected.outcome, expected.reason), "{name}: {verdict:?}");
        let found = verdict.findings;
        assert_eq!([found.high, found.medium, found.low, found.unrated], expected.findings, "{name}");
        let letter = |status| match status {
            ToolStatus::Completed => 'C',
            ToolStatus::NotApplicable => 'A',
            ToolStatus::Failed => 'F',
            ToolStatus::NotRun => 'N',
        };
        let tools: Vec<String> =
            verdict.tools.iter().map(|tool| format!("{}={}", tool.name, letter(tool.status))).collect();
        assert_eq!(tools.join(" "), expected.tools, "{name}");
        assert!(!verdict.message.is_empty(), "{name}");
        let documents = sarif::documents(ends[0]);
        let mut names: Vec<&str> = documents.iter().map(|(tool, _)| tool.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, expected.sarif, "{name}");
        for (tool, document) in documents {
            let problems: Vec<String> =
                schema.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path)).collect();
            assert!(problems.is_empty(), "{name}, {tool}: {problems:#?}");
        }
    }
    assert!(expectations.is_empty(), "without a fixture: {:?}", expectations.keys());
}

/// Results that cost a careless reader quadratic time, or a row as long as they are. The test would not end within minutes if one of them did here.
#[test]
fn results_made_to_be_expensive_are_not_and_too_many_tools_are_a_failure() {
    const MANY: usize = 60_000;
    let list = |one: &dyn Fn(usize) -> String| (0..MANY).map(one).collect::<Vec<_>>().join(",");
    let tools = list(&|at| format!(r#""t{at}": {{"status": "success", "executed": true}}"#));
    let own = list(&|at| {
        format!(
            r#""t{at}": {{"status": "success", "sarif": {{"runs": [{{"tool": {{"driver": {{"name": "d{at}"}}}}}}]}}}}"#
        )
    });
    let runs = list(&|at| format!(r#"{{"tool": {{"driver": {{"name": "r{at}"}}}}, "results": []}}"#));
    let commands = list(&|at| format!(r#"{{"cmd": ["curl", "http://a/{at}"], "exit_code": 7}}"#));
    let targets = list(&|at| format!(r#""http://b/{at}/""#));
    for (kind, analysis) in [
        ("static", format!(r#""results": {{"python": {{{tools}}}}}"#)),
        ("ai", format!(r#""tools": {{{tools}}}"#)),
        ("dynamic", format!(r#""tool_results": {{{tools}}}"#)),
        ("static", format!(r#""results": {{"python": {{{own}}}}}, "sarif_export": {{"runs": [{runs}]}}"#)),
        (
            "performance",
            format!(
                r#""tool_results": {{"curl": {{"status": "success"}}}}, "target_urls": [{targets}],
                   "results": {{"tool_runs": {{"curl": {{"status": "error", "executed": true, "commands": [{commands}]}}}}}}"#
            ),
        ),
    ] {
        let text = format!(r#"{{"type": "{kind}_analysis_result", "status": "success", "analysis": {{{analysis}}}}}"#);
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert!(sarif::documents(&frame).len() <= 1024, "{kind}");
        for asked in [vec![], vec!["t7".to_owned()]] {
            let verdict = judge_frame(&asked, &frame);
            assert_eq!(verdict.outcome, Failed, "{kind}");
            assert!(
                verdict.tools.len() <= 1024
                    && (kind == "performance" || verdict.message.contains("more than 1024 tools"))
            );
        }
    }
}

#[test]
fn the_messages_say_what_was_wrong() {
    let frames = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frames");
    for (name, part) in [
        ("static_missing_path", "path not found"),
        ("static_unknown_tool", "no-such-tool did not run"),
        ("static_ok_bandit_ruff_vulture", "bandit failed: bandit exited with 2"),
        ("ai_no_key", "API key not available"),
        ("perf_config_null", "NoneType"),
        ("dynamic_unreachable", "No targets reachable"),
        ("perf_zero_success", "no request to the app succeeded"),
    ] {
        let exchange = read(&frames.join(format!("{name}.json")));
        let last = exchange["frames"].as_array().unwrap().last().unwrap()["frame"].clone();
        let verdict = judge_frame(&requested(&exchange), &last);
        assert!(verdict.message.contains(part), "{name}: {}", verdict.message);
    }
}
