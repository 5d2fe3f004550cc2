//! Reads an AI analysis result: `analysis.tools.<tool>`. Without an API key the service still says `success`, with the same excuse as the
//! only finding of every metric.

use serde_json::Value;

use super::count;
use super::judge::{Evidence, is_absent_for_good, report, status_of, why};
use crate::resource::outcome::{ToolReport, ToolStatus};

pub(super) fn read(analysis: &Value) -> Evidence {
    let mut evidence = Evidence::default();
    for (name, tool) in analysis["tools"].as_object().into_iter().flatten() {
        if name.starts_with('_') {
            continue;
        }
        if !evidence.has_room() {
            break;
        }
        let (status, message, permanent) = match excuse(tool) {
            Some(excuse) => {
                evidence.without_key.push(name.clone());
                (ToolStatus::Failed, excuse.to_owned(), true)
            }
            None => (status_of(tool, false), why(tool), is_absent_for_good(tool)),
        };
        let told = report(name, status, &message, count::findings(tool));
        evidence.tools.push(ToolReport { permanent, ..told });
    }
    evidence
}

/// The first text anywhere in a tool's report that consists of the excuse for a missing key and nothing more.
fn excuse(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => is_excuse(text).then_some(text),
        Value::Array(list) => list.iter().find_map(excuse),
        Value::Object(map) => map.values().find_map(excuse),
        _ => None,
    }
}

/// `OpenRouter API key not available` and its like. A longer text is the model's own prose, which may well speak of keys.
fn is_excuse(text: &str) -> bool {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    text.len() <= 80
        && ["api key not available", "api key not configured", "api key not set", "api key is missing"]
            .iter()
            .any(|ending| text.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judge::judge_frame;
    use crate::resource::outcome::Outcome;
    use crate::resource::reason::Reason;

    #[test]
    fn a_missing_key_is_found_whatever_the_status_says() {
        let keyless =
            json!({"status": "success", "results": {"metrics": [{"findings": ["Some API key not available"]}]}});
        let fine = json!({"status": "success", "results": {"metrics": [{"findings": [
            "the handler reads process.env and continues although it logs that the API key is missing, which hides the fault: API key is missing"
        ]}]}});
        let frame = |tools| json!({"type": "ai_analysis_result", "status": "success", "analysis": {"tools": tools}});
        let judge = |requested: &[&str], tools| {
            let requested: Vec<String> = requested.iter().map(|&name| name.to_owned()).collect();
            let verdict = judge_frame(&requested, &frame(tools));
            (verdict.outcome, verdict.reason)
        };
        assert_eq!(judge(&["a"], json!({"a": keyless})), (Outcome::Failed, Reason::ApiKeyMissing));
        assert_eq!(judge(&["b"], json!({"b": fine})), (Outcome::Completed, Reason::AllToolsRan));
        assert_eq!(
            judge(&["a", "b"], json!({"a": keyless, "b": fine})),
            (Outcome::PartialSuccess, Reason::SomeToolsFailed)
        );
    }
}
