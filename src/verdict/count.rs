//! Counts the findings of one tool, once: how many from `total_issues`, how bad from the tool's own breakdown or from its SARIF.

use serde_json::Value;

use super::sarif;
use crate::resource::findings::{Findings, Severity};

/// The severity a word stands for, in the vocabularies of the known tools and of SARIF; `None` for `none` and unknown words.
pub(super) fn severity(word: &str) -> Option<Severity> {
    match word.to_ascii_lowercase().as_str() {
        "critical" | "high" | "error" | "severe" => Some(Severity::High),
        "medium" | "moderate" | "warning" => Some(Severity::Medium),
        "low" | "info" | "informational" | "note" | "minor" => Some(Severity::Low),
        _ => None,
    }
}

/// The largest count that is believed, so that sums of what peers say cannot overflow.
const COUNT_MAX: u64 = 1 << 40;

fn counted(value: &Value) -> Option<u64> {
    value.as_u64().map(|count| count.min(COUNT_MAX))
}

/// The findings of one tool's report. `total_issues` says how many, since `issues` may be empty while the data is in `sarif`;
/// `severity_breakdown`, or else the SARIF, says how bad; the difference is unrated. A breakdown that sums to more than the
/// total is believed, so that no finding is lost.
pub(super) fn findings(tool: &Value) -> Findings {
    let from_sarif = tool.get("sarif").map(|export| sarif::count(&sarif::flatten(export)));
    let mut found = tool["severity_breakdown"].as_object().map_or_else(
        || from_sarif.unwrap_or_default(),
        |breakdown| {
            let mut found = Findings::default();
            for (word, count) in breakdown {
                let count = counted(count).unwrap_or(0);
                match severity(word) {
                    Some(Severity::High) => found.high += count,
                    Some(Severity::Medium) => found.medium += count,
                    Some(Severity::Low) => found.low += count,
                    None => {}
                }
            }
            found
        },
    );
    let listed = || tool["issues"].as_array().map(|issues| issues.len() as u64);
    let total = counted(&tool["total_issues"])
        .or_else(|| counted(&tool["issue_count"]))
        .or_else(|| from_sarif.map(Findings::total))
        .or_else(listed);
    let rated = found.high + found.medium + found.low;
    if let Some(total) = total {
        found.unrated = total.saturating_sub(rated);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_breakdown_leaves_out_is_unrated() {
        let tool = json!({"total_issues": 8, "issues": [], "severity_breakdown": {"critical": 1, "high": 2, "low": 4}});
        assert_eq!(findings(&tool), Findings { high: 3, medium: 0, low: 4, unrated: 1 });
    }

    #[test]
    fn without_a_breakdown_the_sarif_says_how_bad() {
        let tool = json!({"total_issues": 3, "sarif": {"runs": [{"tool": {"driver": {"name": "x"}}, "results": [
            {"level": "note", "properties": {"issue_severity": "HIGH"}},
            {"level": "error", "properties": {"security-severity": "4.2"}},
        ]}]}});
        assert_eq!(findings(&tool), Findings { high: 1, medium: 1, low: 0, unrated: 1 });
    }

    #[test]
    fn a_tool_that_only_lists_its_issues_is_counted_by_the_list() {
        assert_eq!(findings(&json!({"issues": [{}, {}]})).unrated, 2);
        assert_eq!(findings(&json!({"status": "success"})), Findings::default());
    }
}
