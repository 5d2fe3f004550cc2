//! Reads a static analysis result: `analysis.results.<language>.<tool>`, where a language without files is a status instead of tools.

use serde_json::Value;

use super::count;
use super::judge::{Evidence, is_absent_for_good, report, status_of, why};
use crate::resource::outcome::{ToolReport, ToolStatus};

/// Which tools of the existing static analyzer belong to which language, and under which names `_project_metadata.file_counts` counts its
/// files. Tools that read any file (such as secret scanners) are left out: there is always something for them to do.
const LANGUAGES: [(&str, &[&str], &[&str]); 4] = [
    ("python", &["python"], &["bandit", "pylint", "mypy", "safety", "pip-audit", "vulture", "ruff", "radon"]),
    ("javascript", &["javascript", "typescript"], &["eslint", "jshint", "npm-audit", "snyk"]),
    ("css", &["css"], &["stylelint"]),
    ("html", &["html"], &["html-validator", "htmlhint"]),
];

pub(super) fn read(analysis: &Value) -> Evidence {
    let mut evidence = Evidence::default();
    let counts = &analysis["_project_metadata"]["file_counts"];
    for (language, group) in analysis["results"].as_object().into_iter().flatten() {
        if language.starts_with('_') {
            continue;
        }
        let no_files = group["status"] == "no_files" || counted_none(language, counts);
        if group["status"] == "no_files" {
            evidence.without_files.extend(tools_of(language));
        }
        for (name, tool) in group.as_object().into_iter().flatten() {
            if name.starts_with('_') || !tool["status"].is_string() {
                continue;
            }
            if !evidence.has_room() {
                break;
            }
            let status = status_of(tool, no_files);
            let told = report(name, status, &why(tool), count::findings(tool));
            merge(&mut evidence.tools, ToolReport { permanent: is_absent_for_good(tool), ..told });
        }
    }
    evidence
}

fn tools_of(language: &str) -> &'static [&'static str] {
    LANGUAGES.iter().find(|(name, _, _)| *name == language).map_or(&[], |(_, _, tools)| tools)
}

/// Whether the analyzer counted the language's files and found none.
fn counted_none(language: &str, counts: &Value) -> bool {
    let keys = LANGUAGES.iter().find(|(name, _, _)| *name == language).map(|(_, keys, _)| *keys);
    keys.is_some_and(|keys| keys.iter().all(|key| counts[*key] == 0))
}

/// One tool may work on several languages: its worst part speaks for it, except that a language without files takes nothing away.
fn merge(tools: &mut Vec<ToolReport>, new: ToolReport) {
    const fn weight(status: ToolStatus) -> u8 {
        match status {
            ToolStatus::NotApplicable => 0,
            ToolStatus::Completed => 1,
            ToolStatus::NotRun => 2,
            ToolStatus::Failed => 3,
        }
    }
    match tools.iter_mut().find(|tool| tool.name == new.name) {
        Some(old) => {
            old.findings += new.findings;
            if weight(new.status) > weight(old.status) {
                old.status = new.status;
                old.message = new.message;
                old.permanent = new.permanent;
            }
        }
        None => tools.push(new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judge::judge_frame;
    use super::*;
    use crate::resource::outcome::Outcome;

    fn judge(requested: &[&str], analysis: Value) -> (Outcome, Vec<ToolStatus>) {
        let requested: Vec<String> = requested.iter().map(|&name| name.to_owned()).collect();
        let frame = json!({"type": "static_analysis_result", "status": "success", "analysis": analysis});
        let verdict = judge_frame(&requested, &frame);
        (verdict.outcome, verdict.tools.iter().map(|tool| tool.status).collect())
    }

    #[test]
    fn no_files_counts_only_where_there_are_none() {
        let told = |python: u64| {
            json!({
                "results": {"python": {"ruff": {"status": "no_files"}}},
                "_project_metadata": {"file_counts": {"python": python}},
            })
        };
        assert_eq!(judge(&["ruff"], told(0)), (Outcome::Completed, vec![ToolStatus::NotApplicable]));
        assert_eq!(judge(&["ruff"], told(3)), (Outcome::Failed, vec![ToolStatus::NotRun]));
        let uncounted = json!({"results": {"python": {"ruff": {"status": "skipped"}}}});
        assert_eq!(judge(&["ruff"], uncounted), (Outcome::Failed, vec![ToolStatus::NotRun]));
    }

    #[test]
    fn a_tool_of_a_language_without_files_is_not_missed() {
        let analysis = json!({"results": {"css": {"status": "no_files", "message": "No CSS files found"}}});
        assert_eq!(judge(&["stylelint"], analysis.clone()), (Outcome::Completed, vec![ToolStatus::NotApplicable]));
        assert_eq!(judge(&["eslint"], analysis.clone()), (Outcome::Failed, vec![ToolStatus::NotRun]));
        assert_eq!(judge(&[], analysis).0, Outcome::Failed);
    }

    #[test]
    fn a_tool_with_two_languages_is_as_good_as_its_worst() {
        let analysis = json!({"results": {
            "python": {"semgrep": {"status": "success", "total_issues": 2}},
            "javascript": {"semgrep": {"status": "error", "error": "boom"}},
        }});
        assert_eq!(judge(&["semgrep"], analysis), (Outcome::Failed, vec![ToolStatus::Failed]));
    }

    #[test]
    fn groups_and_underscored_keys_are_not_tools() {
        let analysis = json!({"results": {
            "structure": {"status": "success"},
            "python": {"_metadata": {"ruff": {"status": "success"}}, "_x": {"status": "success"}},
            "_hidden": {"ruff": {"status": "success"}},
        }});
        assert_eq!(judge(&[], analysis.clone()), (Outcome::Failed, vec![]));
        assert_eq!(judge(&["structure"], analysis), (Outcome::Failed, vec![ToolStatus::NotRun]));
    }
}
