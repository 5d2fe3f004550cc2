//! Judges a terminal frame: what is known of every requested tool, and what the attempt came to.
//!
//! The service's outer `status` never proves success; it can only take it away. Each service shape has a file that reads its
//! evidence, and one place, here, draws the conclusion.

use std::collections::BTreeMap;

use serde_json::Value;

use super::frame::error_text;
use super::{ai_result, outputs, static_result, target_result};
use crate::resource::algebra::{Ended, fold};
use crate::resource::findings::Findings;
use crate::resource::outcome::{Outcome, ToolReport, ToolStatus, Verdict, one_line, tool_name};
use crate::resource::reason::Reason;

/// Tools that were not requested and still ran are told of, up to so many.
const EXTRA_TOOLS_MAX: usize = 64;

/// The most tools that a result may tell of; the existing analyzers have some dozens. A row must stay small, and reading must not take long.
pub(super) const TOOLS_MAX: usize = 1024;

/// What a result tells, in one shape for all services.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Every tool that the result tells of, in its order.
    pub(super) tools: Vec<ToolReport>,
    /// Tools that could not work for want of a key.
    pub(super) without_key: Vec<String>,
    /// Tools for whose language the app has no files; an absent one of these counts as not applicable.
    pub(super) without_files: Vec<&'static str>,
    /// A fault of the whole request, with its text: whatever the tools say, it failed.
    pub(super) whole: Option<(Reason, String)>,
}

impl Evidence {
    /// Whether one more tool may be told of. A result that tells of too many has failed: among those that are not read could be one that did.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.tools.len() < TOOLS_MAX;
        if !has_room {
            let said = || (Reason::AnalyzerError, format!("the result tells of more than {TOOLS_MAX} tools"));
            self.whole.get_or_insert_with(said);
        }
        has_room
    }
}

/// Judges a terminal frame (see [`super::frame::terminal`]).
///
/// `requested` are the tools that were asked for; when it is empty, all that the result tells of count and one must have run. Names are
/// compared exactly but for case; there are no aliases: `curl`, which knocks at ports, and `curl-endpoint-tester`, which tests an
/// API, are two tools that may be told of side by side.
#[must_use]
pub fn judge_frame(requested: &[String], frame: &Value) -> Verdict {
    if frame["type"] == "error" {
        let said = error_text(frame).unwrap_or("no reason given");
        return failed(
            requested,
            Vec::new(),
            Reason::AnalyzerError,
            &format!("the analyzer answered with an error: {said}"),
        );
    }
    let kind = frame["type"].as_str().unwrap_or_default();
    let analysis = &frame["analysis"];
    let mut evidence = match kind.trim_end_matches("_analysis_result") {
        "static" => static_result::read(analysis),
        "dynamic" | "performance" => target_result::read(analysis),
        "ai" => ai_result::read(analysis),
        // A service that is not known: its shape says how to read it.
        _ if analysis["tool_results"].is_object() => target_result::read(analysis),
        _ if analysis["tools"].is_object() => ai_result::read(analysis),
        _ => static_result::read(analysis),
    };
    if frame["status"] == "targets_unreachable" || analysis["status"] == "targets_unreachable" {
        let said = analysis["error"].as_str().unwrap_or("the app did not answer at its target URLs");
        evidence.whole = Some((Reason::TargetsUnreachable, said.to_owned()));
    } else if evidence.whole.is_none() {
        evidence.whole = whole_fault(analysis, &evidence.tools);
    }
    let mut verdict = conclude(requested, evidence, says_failed(frame));
    if verdict.outcome != Outcome::Failed {
        *verdict.outputs = outputs::of_frame(frame);
    }
    verdict
}

/// A fault that left no tool a chance: the analysis itself is an error and tells of no tool.
fn whole_fault(analysis: &Value, tools: &[ToolReport]) -> Option<(Reason, String)> {
    if analysis["status"] != "error" || !tools.is_empty() {
        return None;
    }
    let said = analysis["error"].as_str().or_else(|| analysis["message"].as_str()).unwrap_or("no reason given");
    let lower = said.to_ascii_lowercase();
    let reason = if ["path not found", "app not found", "directory not found"].iter().any(|text| lower.contains(text)) {
        Reason::AppMissing
    } else if lower.contains("no valid analysis tool") {
        Reason::ToolNotRun
    } else if lower.contains("api key") {
        Reason::ApiKeyMissing
    } else {
        Reason::AnalyzerError
    };
    Some((reason, said.to_owned()))
}

/// Whether the service itself says that the request as a whole failed; then no tool's word makes it a success.
fn says_failed(frame: &Value) -> Option<String> {
    [frame, &frame["analysis"]].into_iter().find_map(|place| {
        let status = place["status"].as_str()?;
        let bad = matches!(status, "error" | "failed" | "failure" | "timeout" | "cancelled");
        bad.then(|| format!("the analyzer says {status}: {}", error_text(place).unwrap_or("no reason given")))
    })
}

fn conclude(requested: &[String], mut evidence: Evidence, says_failed: Option<String>) -> Verdict {
    if let Some((reason, said)) = evidence.whole {
        // What a tool says of an app that was not there proves nothing, and what it "found" is no finding.
        for tool in &mut evidence.tools {
            if tool.is_good() {
                tool.status = ToolStatus::Failed;
                tool.message = one_line(&said);
            }
            tool.findings = Findings::default();
        }
        return failed(requested, evidence.tools, reason, &said);
    }
    let (mut tools, extra) = split(requested, evidence.tools);
    for tool in &mut tools {
        let without_files = evidence.without_files.iter().any(|name| name.eq_ignore_ascii_case(&tool.name));
        if tool.status == ToolStatus::NotRun && tool.message == ABSENT && without_files {
            tool.status = ToolStatus::NotApplicable;
            tool.message.clear();
        }
    }
    let mut verdict = weigh(tools);
    if verdict.outcome == Outcome::Failed {
        let keyless = |tool: &&ToolReport| evidence.without_key.contains(&tool.name);
        if let Some(tool) = verdict.tools.iter().find(keyless) {
            verdict.reason = Reason::ApiKeyMissing;
            verdict.message = one_line(&format!("{}: {}", tool.name, tool.message));
        }
    } else if let Some(said) = says_failed {
        verdict.outcome = Outcome::Failed;
        verdict.reason = Reason::AnalyzerError;
        verdict.message = one_line(&format!("every tool reports success, but {said}"));
    }
    for tool in extra {
        verdict.findings += tool.findings;
        verdict.tools.push(tool);
    }
    verdict
}

/// The message of a tool that the result does not tell of.
const ABSENT: &str = "the result does not tell of it, so it did not run; is it installed in the analyzer?";

/// Every requested tool as the evidence has it, then others that ran.
fn split(requested: &[String], told: Vec<ToolReport>) -> (Vec<ToolReport>, Vec<ToolReport>) {
    if requested.is_empty() {
        return (told, Vec::new());
    }
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    let mut tools: Vec<ToolReport> = Vec::new();
    for name in requested {
        wanted.entry(name.to_ascii_lowercase()).or_insert_with(|| {
            tools.push(report(name, ToolStatus::NotRun, ABSENT, Findings::default()));
            tools.len() - 1
        });
    }
    let mut extra = Vec::new();
    for tool in told {
        match wanted.get(&tool.name.to_ascii_lowercase()) {
            Some(&at) => tools[at] = ToolReport { name: tools[at].name.clone(), ..tool },
            None if tool.status == ToolStatus::NotRun || extra.len() >= EXTRA_TOOLS_MAX => {}
            None => extra.push(tool),
        }
    }
    (tools, extra)
}

/// One tool's report, with its texts made safe for a row and a terminal.
pub(super) fn report(name: &str, status: ToolStatus, message: &str, findings: Findings) -> ToolReport {
    let message = if matches!(status, ToolStatus::Completed | ToolStatus::NotApplicable) { "" } else { message };
    ToolReport { name: tool_name(name), status, message: one_line(message), findings, permanent: false }
}

/// Whether a tool's own status says that it is not there, so that asking for it again is in vain.
pub(super) fn is_absent_for_good(tool: &Value) -> bool {
    let status = tool["status"].as_str().unwrap_or_default();
    ["not_available", "not_installed", "unsupported"].iter().any(|word| status.eq_ignore_ascii_case(word))
}

/// Folds the reports of the tools that count into a verdict; findings are theirs together.
pub(super) fn weigh(tools: Vec<ToolReport>) -> Verdict {
    let ended = fold(tools.iter().map(|tool| if tool.is_good() { Ended::Completed } else { Ended::Failed }));
    let none_ran = tools.iter().all(|tool| tool.status == ToolStatus::NotRun);
    let (outcome, reason) = match ended {
        Some(Ended::Completed) => (Outcome::Completed, Reason::AllToolsRan),
        Some(Ended::Partial) => (Outcome::PartialSuccess, Reason::SomeToolsFailed),
        Some(Ended::Failed | Ended::Cancelled) if !none_ran => (Outcome::Failed, Reason::ToolFailed),
        Some(Ended::Failed | Ended::Cancelled) | None => (Outcome::Failed, Reason::ToolNotRun),
    };
    let mut findings = Findings::default();
    tools.iter().for_each(|tool| findings += tool.findings);
    let message = one_line(&describe(&tools, findings));
    Verdict { outcome, reason, message, tools, findings, outputs: Box::default() }
}

/// The reports of tools as one sentence: what is wrong, else how many ran and what they found.
pub(crate) fn describe(tools: &[ToolReport], findings: Findings) -> String {
    let bad: Vec<String> = tools
        .iter()
        .filter_map(|tool| match tool.status {
            ToolStatus::Completed | ToolStatus::NotApplicable => None,
            ToolStatus::Failed => Some(format!("{} failed: {}", tool.name, tool.message)),
            ToolStatus::NotRun => Some(format!("{} did not run: {}", tool.name, tool.message)),
        })
        .collect();
    if tools.is_empty() {
        return "the result tells of no tool that ran".into();
    }
    if !bad.is_empty() {
        return bad.join("; ");
    }
    let count = |n: u64, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    format!("{} ran, {}", count(tools.len() as u64, "tool"), count(findings.total(), "finding"))
}

/// A failure as a whole: requested tools that the result does not tell of are known not to have run.
fn failed(requested: &[String], told: Vec<ToolReport>, reason: Reason, said: &str) -> Verdict {
    let (mut tools, extra) = split(requested, told);
    for tool in tools.iter_mut().filter(|tool| tool.message == ABSENT) {
        tool.message = one_line(said);
        // The analyzer knows none of them, or has no key for any: it will say the same again.
        tool.permanent = matches!(reason, Reason::ToolNotRun | Reason::ApiKeyMissing);
    }
    tools.extend(extra);
    Verdict {
        outcome: Outcome::Failed,
        reason,
        message: one_line(said),
        tools,
        findings: Findings::default(),
        outputs: Box::default(),
    }
}

/// What one `status` word and the `executed` flag beside it prove. `not_applicable` says whether the app is known to have no files for the tool.
pub(super) fn status_of(tool: &Value, not_applicable: bool) -> ToolStatus {
    let status = tool["status"].as_str().unwrap_or_default().to_ascii_lowercase();
    let denied = tool["executed"] == false;
    match status.as_str() {
        "success" | "completed" | "no_issues" if !denied => ToolStatus::Completed,
        "no_files" | "skipped" if not_applicable => ToolStatus::NotApplicable,
        "error" | "failed" | "timeout" if !denied => ToolStatus::Failed,
        "partial" | "partial_success" if !denied => ToolStatus::Failed,
        _ => ToolStatus::NotRun,
    }
}

/// Why a tool did not succeed, in its own words where it has some.
pub(super) fn why(tool: &Value) -> String {
    let said = ["error", "message", "reason", "skip_reason"].into_iter().find_map(|key| tool[key].as_str());
    match (said, tool["status"].as_str()) {
        (Some(said), _) => said.to_owned(),
        (None, Some(status)) => format!("the analyzer says {status}"),
        (None, None) => "the analyzer gives no status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    fn static_frame(tools: Value) -> Value {
        json!({"type": "static_analysis_result", "status": "success", "analysis": {"results": {"python": tools}}})
    }

    #[test]
    fn nothing_told_is_never_a_success() {
        for frame in [
            json!({"type": "static_analysis_result", "status": "success"}),
            json!({"type": "static_analysis_result", "status": "success", "analysis": {"results": {}}}),
            json!({"type": "dynamic_analysis_result", "status": "success", "analysis": {"tool_results": {}}}),
            json!({"type": "ai_analysis_result", "status": "success", "analysis": {"tools": []}}),
            json!({"type": "new_analysis_result", "status": "success", "analysis": 7}),
        ] {
            for requested in [&[][..], &["ruff"][..]] {
                let verdict = judge_frame(&names(requested), &frame);
                assert_eq!((verdict.outcome, verdict.reason), (Outcome::Failed, Reason::ToolNotRun), "{frame}");
            }
        }
    }

    #[test]
    fn a_tool_that_says_success_without_having_executed_did_not_run() {
        let frame = static_frame(json!({"ruff": {"status": "success", "executed": false}}));
        assert_eq!(judge_frame(&names(&["ruff"]), &frame).reason, Reason::ToolNotRun);
    }

    #[test]
    fn what_a_result_gives_to_later_steps_counts_only_if_something_succeeded() {
        let mut frame = static_frame(json!({"ruff": {"status": "success", "executed": true, "total_issues": 0}}));
        frame["analysis"]["outputs"] = json!({"url": "http://h", "odd": [1]});
        assert_eq!(Value::Object(*judge_frame(&names(&["ruff"]), &frame).outputs), json!({"url": "http://h"}));
        assert!(judge_frame(&names(&["bandit"]), &frame).outputs.is_empty());
    }

    #[test]
    fn extra_tools_are_told_of_but_decide_nothing() {
        let frame = static_frame(json!({
            "ruff": {"status": "success", "executed": true, "total_issues": 2},
            "mypy": {"status": "error", "executed": true, "error": "boom"},
            "radon": {"status": "not_run", "executed": false},
        }));
        let verdict = judge_frame(&names(&["RUFF", "ruff"]), &frame);
        assert_eq!(verdict.outcome, Outcome::Completed);
        let told: Vec<&str> = verdict.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(told, ["RUFF", "mypy"]);
        assert_eq!(judge_frame(&[], &frame).outcome, Outcome::PartialSuccess);
    }

    #[test]
    fn a_service_that_says_it_failed_is_believed() {
        let mut frame = static_frame(json!({"ruff": {"status": "success", "executed": true}}));
        frame["status"] = "error".into();
        let verdict = judge_frame(&names(&["ruff"]), &frame);
        assert_eq!((verdict.outcome, verdict.reason), (Outcome::Failed, Reason::AnalyzerError));
    }

    #[test]
    fn only_what_is_known_to_be_absent_for_good_is_permanent() {
        let frame = static_frame(json!({
            "one": {"status": "not_available", "executed": false},
            "two": {"status": "not_run", "executed": false},
            "three": {"status": "error", "executed": true},
        }));
        let permanent = |verdict: Verdict| verdict.tools.iter().map(|tool| tool.permanent).collect::<Vec<_>>();
        let requested = names(&["one", "two", "three", "silent"]);
        assert_eq!(permanent(judge_frame(&requested, &frame)), [true, false, false, false]);
        let whole =
            |error: &str| json!({"type": "ai_analysis_result", "analysis": {"status": "error", "error": error}});
        for (error, expected) in [("No valid analysis tools", true), ("API key missing", true), ("boom", false)] {
            assert_eq!(permanent(judge_frame(&names(&["a"]), &whole(error))), [expected], "{error}");
        }
    }

    #[test]
    fn peer_texts_are_cut_and_cleaned() {
        let frame =
            static_frame(json!({"ruff": {"status": "error", "error": format!("\u{1b}[31m{}", "x".repeat(5000))}}));
        let verdict = judge_frame(&names(&["ruff"]), &frame);
        assert!(verdict.message.len() <= 1000 && !verdict.message.contains('\u{1b}'));
    }
}
