//! Any message of an analyzer: judging it never fails, never proves a tool that the message does not tell of, and gives texts that are safe
//! in a row and on a terminal.

use manifestd::resource::attempt::Sign;
use manifestd::resource::outcome::{MESSAGE_BYTES_MAX, Outcome, Verdict};
use manifestd::verdict::command::{Exit, judge_command};
use manifestd::verdict::frame::{error_text, progress, terminal};
use manifestd::verdict::judge::judge_frame;
use manifestd::verdict::weight::weight;
use manifestd::verdict::{lenient, sarif};
use serde_json::Value;

use super::corpus::{files, texts};

pub(crate) const WORDS: &[&str] = &[
    "\"type\":\"error\"",
    "\"static_analysis_result\"",
    "\"ai_analysis_result\"",
    "\"dynamic_analysis_result\"",
    "\"performance_analysis_result\"",
    "\"x_analysis_result\"",
    "\"progress_update\"",
    "\"status_update\"",
    "\"analysis\":{",
    "\"status\":\"success\"",
    "\"status\":\"error\"",
    "\"status\":\"targets_unreachable\"",
    "\"tool_results\":{",
    "\"tools\":{",
    "\"tools_used\":[\"bandit\"]",
    "\"results\":{\"python\":{",
    "\"bandit\":{",
    "\"ruff\":{",
    "\"sarif\":{\"runs\":[",
    "\"sarif_export\":{",
    "\"executed\":true",
    "\"total_issues\":1e99",
    "\"issues\":[",
    "\"outputs\":{",
    "\"_metadata\":{}",
    "NaN",
    "-Infinity",
    "\\ud800",
    "\\u0000",
    "\\u001b[31m",
    "null",
    "true",
    "-1",
    "1e400",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"\"",
];

/// Tools that were asked for; messages of the corpus tell of some of them.
const ASKED: [&str; 4] = ["bandit", "ruff", "curl", "no-such-tool"];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = texts(&[
        r#"{"type":"error","error":{"message":"no"}}"#,
        r#"{"type":"progress_update","stage":"scan","message":"a","data":{"progress":0.5}}"#,
        r#"{"type":"x_analysis_result","status":"success","analysis":{"status":"success","tool_results":{"curl":{"status":"success","executed":true}},"outputs":{"a":1}}}"#,
        r#"{"type":"static_analysis_result","analysis":{"results":{"python":{"bandit":{"executed":true,"status":"success","total_issues":2,"sarif":{"runs":[{"tool":{"driver":{"name":"Bandit"}},"results":[{"ruleId":"B1","level":"error","message":{"text":"x"}}]}]}}}}}}"#,
    ]);
    // A recorded exchange is a list of frames, of which each may come.
    for exchange in files("tests/fixtures/frames", &["json"]) {
        let frames = serde_json::from_slice::<serde_json::Value>(&exchange).unwrap_or_default();
        let all = frames.get("frames").and_then(|frames| frames.as_array()).cloned().unwrap_or_default();
        seeds.extend(all.iter().map(|frame| frame["frame"].to_string().into_bytes()));
    }
    seeds
}

/// What must hold of any message.
pub(crate) fn check(data: &[u8]) {
    // A program's output is judged as it is, whatever it is.
    for output in ["exitCode", "sarif", "json"] {
        let spec = serde_json::json!({"argv": ["x"], "output": output});
        let spec = serde_json::from_value(spec).expect("a spec");
        for asked in [&ASKED[..0], &ASKED[..]] {
            let asked: Vec<String> = asked.iter().map(|&tool| tool.to_owned()).collect();
            let (verdict, documents) = judge_command(&asked, "analyzer", &spec, Exit::Code(0), data, data);
            assert_sound(&verdict, &asked);
            assert!(documents.is_empty() || output == "sarif");
        }
    }
    let Ok((frame, _)) = lenient::parse(data) else { return };
    assert!(least_weight(&frame) <= weight(data), "it takes more memory than was said");
    let ends = terminal(&frame);
    if let Some(Sign::Progress { stage, message, fraction }) = progress(&frame) {
        assert!(!ends, "a message that ends a request tells of no progress");
        assert_safe(&stage);
        assert_safe(&message);
        assert!(fraction.is_none_or(|fraction| (0.0..=1.0).contains(&fraction)));
    }
    let _ = error_text(&frame);
    for asked in [&ASKED[..0], &ASKED[..1], &ASKED[..]] {
        let asked: Vec<String> = asked.iter().map(|&tool| tool.to_owned()).collect();
        let verdict = judge_frame(&asked, &frame);
        assert_sound(&verdict, &asked);
        assert!(frame["type"] != "error" || verdict.outcome == Outcome::Failed, "an error is no success: {verdict:?}");
        assert_eq!(judge_frame(&asked, &frame), verdict, "the same message, judged twice");
    }
    for (name, document) in sarif::documents(&frame) {
        super::sarif::assert_valid(&name, &document);
    }
}

/// What a document takes in memory at the least: each value by itself, and the name of each member.
fn least_weight(value: &Value) -> usize {
    let inside = match value {
        Value::Array(list) => list.iter().map(least_weight).sum(),
        Value::Object(map) => map.values().map(|value| size_of::<String>() + least_weight(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + inside
}

/// Law 5, and that nothing of a peer is stored raw.
fn assert_sound(verdict: &Verdict, asked: &[String]) {
    let is_good = verdict.outcome == Outcome::Completed;
    for name in asked {
        let told: Vec<_> = verdict.tools.iter().filter(|tool| tool.name == *name).collect();
        assert_eq!(told.len(), 1, "{name}, which was asked for, is told of once: {verdict:?}");
        assert!(!is_good || told[0].is_good(), "success without proof: {verdict:?}");
    }
    if is_good {
        assert!(!verdict.tools.is_empty(), "success of nothing");
    }
    assert_safe(&verdict.message);
    assert!(!verdict.message.is_empty());
    for tool in &verdict.tools {
        assert_safe(&tool.name);
        assert_safe(&tool.message);
        assert!(tool.name.chars().count() <= 100);
    }
    let text = serde_json::to_string(verdict).expect("JSON");
    assert_eq!(serde_json::from_str::<Verdict>(&text).ok().as_ref(), Some(verdict), "not as it is stored: {text}");
}

fn assert_safe(text: &str) {
    assert!(text.len() <= MESSAGE_BYTES_MAX, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "a control character in {text:?}");
}
