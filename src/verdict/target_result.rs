//! Reads the results of services that test a running app (dynamic, performance): `analysis.tool_results` is the summary of each tool and
//! `analysis.results.tool_runs` the record of its run; success must stand in both.

use std::collections::HashSet;

use serde_json::Value;

use super::count;
use super::judge::{Evidence, is_absent_for_good, report, status_of, why};
use crate::resource::findings::Findings;
use crate::resource::outcome::{ToolReport, ToolStatus};

pub(super) fn read(analysis: &Value) -> Evidence {
    let runs = &analysis["results"]["tool_runs"];
    let summaries = &analysis["tool_results"];
    let mut evidence = Evidence::default();
    let told = summaries.as_object().into_iter().flatten();
    let only_run = runs.as_object().into_iter().flatten().filter(|(name, _)| summaries.get(name).is_none());
    let targets = analysis["target_urls"].as_array().into_iter().flatten().filter_map(Value::as_str).map(without_slash);
    let targets: HashSet<&str> = targets.collect();
    for (name, tool) in told.chain(only_run).filter(|(name, tool)| !name.starts_with('_') && tool["status"].is_string())
    {
        if !evidence.has_room() {
            break;
        }
        evidence.tools.push(judge_tool(name, tool, &runs[name], &targets));
    }
    evidence
}

fn without_slash(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn judge_tool(name: &str, tool: &Value, run: &Value, targets: &HashSet<&str>) -> ToolReport {
    // These services have no notion of "no files": a tool that was skipped did not run.
    let status = status_of(tool, false);
    let found = count::findings(tool);
    if status != ToolStatus::Completed {
        return ToolReport { permanent: is_absent_for_good(tool), ..report(name, status, &why(tool), found) };
    }
    if no_request_succeeded(tool) || no_request_succeeded(run) {
        return report(name, ToolStatus::Failed, "no request to the app succeeded", Findings::default());
    }
    if run.is_object() && status_of(run, false) != ToolStatus::Completed && !only_closed_ports(run, targets) {
        let message = format!("its summary says success, the record of its run does not: {}", why(run));
        return report(name, ToolStatus::Failed, &message, found);
    }
    report(name, ToolStatus::Completed, "", found)
}

/// A load test whose every request failed says `success` all the same.
fn no_request_succeeded(tool: &Value) -> bool {
    let zero = |key: &str| tool[key].as_f64().is_some_and(|value| value <= 0.0);
    zero("success_rate") || (zero("successful_requests") && !zero("requests"))
}

/// Whether a run record says `error` only because its port scan met closed ports.
///
/// The dynamic service marks the run of `curl` as `error` when any of its commands exits with other than 0. Among these commands are the knocks of a port
/// scan, and a port where nothing listens is what a scan is there to tell apart: curl exits with 7 (could not connect) or 28
/// (timed out). So the record still proves success when a command exited with 0, every other ended with 7 or 28,
/// and none of those went to a URL that is a target of the request.
fn only_closed_ports(run: &Value, targets: &HashSet<&str>) -> bool {
    const CONNECT_FAILED: i64 = 7;
    const TIMED_OUT: i64 = 28;
    let Some(commands) = run["commands"].as_array().filter(|_| run["executed"] == true) else { return false };
    let mut worked = false;
    for command in commands {
        let url = command["cmd"].as_array().and_then(|argv| argv.last()).and_then(Value::as_str).unwrap_or_default();
        match command["exit_code"].as_i64() {
            Some(0) => worked = true,
            Some(CONNECT_FAILED | TIMED_OUT) if url.starts_with("http") && !targets.contains(without_slash(url)) => {}
            _ => return false,
        }
    }
    worked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judge::judge_frame;
    use super::*;
    use crate::resource::outcome::{Outcome, Verdict};

    fn judge(analysis: Value) -> Verdict {
        let frame = json!({"type": "dynamic_analysis_result", "status": "success", "analysis": analysis});
        judge_frame(&["curl".to_owned()], &frame)
    }

    fn curl(commands: Value) -> Value {
        json!({
            "target_urls": ["http://192.0.2.2:8080/"],
            "tool_results": {"curl": {"status": "success", "executed": true, "total_issues": 0}},
            "results": {"tool_runs": {"curl": {"status": "error", "executed": true, "commands": commands}}},
        })
    }

    #[test]
    fn closed_ports_are_what_a_scan_tells_and_nothing_else_is_forgiven() {
        let ok = json!({"cmd": ["curl", "http://192.0.2.2:8080"], "exit_code": 0});
        let closed = json!({"cmd": ["curl", "http://192.0.2.2:22"], "exit_code": 7});
        let down = json!({"cmd": ["curl", "http://192.0.2.2:8080"], "exit_code": 7});
        let crashed = json!({"cmd": ["curl", "http://192.0.2.2:22"], "exit_code": 2});
        for (commands, outcome) in [
            (json!([ok, closed]), Outcome::Completed),
            (json!([closed]), Outcome::Failed),
            (json!([ok, closed, down]), Outcome::Failed),
            (json!([ok, crashed]), Outcome::Failed),
            (json!([]), Outcome::Failed),
            (json!(null), Outcome::Failed),
        ] {
            assert_eq!(judge(curl(commands.clone())).outcome, outcome, "{commands}");
        }
    }

    #[test]
    fn a_load_test_without_one_good_answer_failed() {
        for run in [
            json!({"status": "success", "success_rate": 0.0}),
            json!({"status": "success", "requests": 20, "successful_requests": 0}),
        ] {
            let verdict = judge(json!({
                "tool_results": {"curl": {"status": "success"}},
                "results": {"tool_runs": {"curl": run}},
            }));
            assert_eq!((verdict.outcome, verdict.tools[0].status), (Outcome::Failed, ToolStatus::Failed));
        }
    }

    #[test]
    fn a_tool_without_a_run_record_is_judged_by_its_summary() {
        assert_eq!(judge(json!({"tool_results": {"curl": {"status": "completed"}}})).outcome, Outcome::Completed);
        assert_eq!(judge(json!({"tool_results": {"curl": {"status": "skipped"}}})).outcome, Outcome::Failed);
    }
}
