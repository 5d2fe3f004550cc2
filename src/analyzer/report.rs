//! The result of an analysis, in the shape of the existing static analyzer's, with honest entries.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::frames::{self, Code};
use super::sarif;
use super::tool_run::{Status, ToolRun};
use crate::resource::findings::Findings;
use crate::resource::time::Timestamp;

/// The largest result frame; a little under the 100 MiB that clients of this protocol accept.
const FRAME_BYTES_MAX: usize = 96 * 1024 * 1024;

/// What a result says before its tools.
#[derive(Debug)]
pub(super) struct Head {
    /// The model slug.
    pub slug: String,
    /// The app's number.
    pub number: u64,
    /// When the analysis began.
    pub analysis_time: Timestamp,
    /// Whether the request had any settings.
    pub configured: bool,
    /// Files by language, all files, and what was left out; absent when no tool needed the files.
    pub file_counts: Option<(BTreeMap<&'static str, u64>, usize, Option<String>)>,
}

/// The text of the result frame, within the protocol's limit.
pub(super) fn text(head: &Head, runs: Vec<ToolRun>, now: Timestamp) -> String {
    text_within(FRAME_BYTES_MAX, head, runs, now)
}

/// The text of the result frame. Over the limit, the copy of all SARIF runs is left out; still over it, the text is
/// that of an error frame.
fn text_within(limit: usize, head: &Head, runs: Vec<ToolRun>, now: Timestamp) -> String {
    let mut frame = frames::result(analysis(head, runs), now);
    let text = frame.to_string();
    if text.len() <= limit {
        return text;
    }
    frame["analysis"]["sarif_export"]["runs"] = json!([]);
    frame["analysis"]["sarif_export"]["properties"] =
        json!({ "omitted": "the result would be too large; each tool's entry has its own document" });
    let text = frame.to_string();
    if text.len() <= limit {
        return text;
    }
    let mib = text.len() / (1024 * 1024);
    let message = format!("The result has {mib} MiB, more than fits into one frame: ask for fewer tools at once");
    frames::error_with(Code::ResultTooLarge, &message).to_string()
}

fn analysis(head: &Head, runs: Vec<ToolRun>) -> Value {
    let used: Vec<String> = runs.iter().filter(|run| run.executed).map(|run| run.name.clone()).collect();
    let summary = summary(&runs);
    let mut exported = Vec::new();
    let mut sections: Map<String, Value> = Map::new();
    for run in runs {
        if let Some(Value::Array(list)) = run.produced.sarif.as_ref().and_then(|document| document.get("runs")) {
            exported.extend(list.iter().cloned());
        }
        let section = sections.entry(run.section.clone()).or_insert_with(|| json!({}));
        let name = run.name.clone();
        section[name] = entry(run);
    }
    let metadata = match &head.file_counts {
        Some((counts, all, None)) => json!({ "file_counts": counts, "total_files": all }),
        Some((counts, all, Some(why))) => json!({ "file_counts": counts, "total_files": all, "incomplete": why }),
        None => json!({ "file_counts": {} }),
    };
    json!({
        "model_slug": head.slug,
        "app_number": head.number,
        "analysis_time": head.analysis_time.rfc3339(),
        "tools_used": used,
        "configuration_applied": head.configured,
        "results": sections,
        "_project_metadata": metadata,
        "summary": summary,
        "sarif_export": { "$schema": sarif::SCHEMA, "version": "2.1.0", "runs": exported },
    })
}

fn entry(run: ToolRun) -> Value {
    let findings = run.produced.findings;
    let format = match (&run.produced.sarif, &run.produced.output) {
        (Some(_), _) => Some("sarif"),
        (None, Some(_)) => Some("json"),
        (None, None) => None,
    };
    let mut entry = json!({
        "tool": run.name,
        "executed": run.executed,
        "status": run.status.word(),
        "issues": [],
        "total_issues": findings.total(),
        "issue_count": findings.total(),
        "severity_breakdown": breakdown(findings),
        "exit_code": run.exit_code,
        "error": run.error,
        "duration": run.duration.as_secs_f64(),
        "version": run.version,
        "format": format,
    });
    if let Some(sarif) = run.produced.sarif {
        entry["sarif"] = sarif;
    }
    if let Some(output) = run.produced.output {
        entry["output"] = output;
    }
    entry
}

fn summary(runs: &[ToolRun]) -> Value {
    let good = runs.iter().filter(|run| run.status == Status::Success).count();
    let fine = runs.iter().filter(|run| matches!(run.status, Status::Success | Status::NoFiles)).count();
    let mut findings = Findings::default();
    runs.iter().for_each(|run| findings += run.produced.findings);
    let status = if runs.is_empty() || fine == 0 {
        "failed"
    } else if fine < runs.len() {
        "partial"
    } else {
        "completed"
    };
    json!({
        "total_issues_found": findings.total(),
        "tools_run_successfully": good,
        "severity_breakdown": breakdown(findings),
        "analysis_status": status,
    })
}

fn breakdown(findings: Findings) -> Value {
    json!({ "high": findings.high, "medium": findings.medium, "low": findings.low })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyzer::tool_run::Produced;

    fn head() -> Head {
        Head { slug: "m".into(), number: 1, analysis_time: Timestamp(0), configured: false, file_counts: None }
    }

    fn run(name: &str, status: Status) -> ToolRun {
        ToolRun { executed: status == Status::Success, ..ToolRun::not_started(name, "python", status, None) }
    }

    fn status(runs: &[ToolRun]) -> Value {
        summary(runs)["analysis_status"].clone()
    }

    #[test]
    fn the_summary_does_not_call_a_tool_that_did_not_run_completed() {
        assert_eq!(status(&[run("a", Status::Success), run("b", Status::NoFiles)]), "completed");
        assert_eq!(status(&[run("a", Status::Success), run("b", Status::NotAvailable)]), "partial");
        assert_eq!(status(&[run("a", Status::NotAvailable)]), "failed");
        assert_eq!(status(&[run("a", Status::Timeout), run("b", Status::Error)]), "failed");
        assert_eq!(status(&[]), "failed");
    }

    #[test]
    fn all_runs_are_exported_side_by_side() {
        let document = |name: &str| sarif::document(name, None, vec![], vec![], &[]);
        let with = |name: &str| ToolRun {
            produced: Produced { sarif: Some(document(name)), ..Produced::default() },
            ..run(name, Status::Success)
        };
        let analysis = analysis(&head(), vec![with("a"), with("b")]);
        let names: Vec<&Value> = analysis["sarif_export"]["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| &run["tool"]["driver"]["name"])
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(analysis["tools_used"], json!(["a", "b"]));
    }

    #[test]
    fn a_result_over_the_limit_loses_its_copy_first_and_then_becomes_an_error() {
        let huge = |kib: usize| ToolRun {
            produced: Produced { sarif: Some(json!({ "runs": ["x".repeat(kib * 1024)] })), ..Produced::default() },
            ..run("a", Status::Success)
        };
        let frame: Value =
            serde_json::from_str(&text_within(96 * 1024, &head(), vec![huge(50)], Timestamp(0))).unwrap();
        assert_eq!(frame["analysis"]["sarif_export"]["runs"], json!([]));
        assert_eq!(frame["analysis"]["results"]["python"]["a"]["sarif"]["runs"].as_array().unwrap().len(), 1);
        let frame: Value =
            serde_json::from_str(&text_within(96 * 1024, &head(), vec![huge(100)], Timestamp(0))).unwrap();
        assert_eq!(frame["type"], "error");
    }
}
