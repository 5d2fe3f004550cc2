//! Judges a program: its exit code says whether it worked, its output must be what the analyzer declares.

use serde_json::{Map, Value};

use super::judge::{report, weigh};
use super::{outputs, sarif};
use crate::resource::analyzer::{CommandSpec, Output};
use crate::resource::findings::Findings;
use crate::resource::outcome::{Outcome, ToolReport, ToolStatus, Verdict, one_line};
use crate::resource::reason::Reason;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// The argument that becomes one argument for each tool.
pub const TOOLS: &str = "${tools}";

/// The tools one run of the program stands for, and the requested ones it does not.
///
/// A program that is handed the tools (`${tools}` in its argv) runs those that were requested. Any other program is one tool, known as `spec.tool`, by
/// the analyzer's name or by its file name; a requested tool of any other name cannot have been run by it.
fn names(requested: &[String], analyzer: &str, spec: &CommandSpec) -> (Vec<String>, Vec<String>) {
    let own = spec.tool.as_deref().unwrap_or(analyzer);
    if requested.is_empty() {
        return (vec![own.to_owned()], Vec::new());
    }
    if spec.argv.iter().any(|argument| argument == TOOLS) {
        return (requested.to_vec(), Vec::new());
    }
    let program = spec.argv.first().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
    let is_own = |name: &&String| [own, analyzer, program].iter().any(|known| name.eq_ignore_ascii_case(known));
    requested.iter().cloned().partition(|name| is_own(&name))
}

/// Judges one run of a program, and gives the SARIF documents of its tools (none unless the output is SARIF and the run counts).
///
/// `requested` are the task's tools, `analyzer` is the analyzer's name, `stderr` the end of standard error for messages. An exit code that is
/// not one of `spec.success_exit_codes`, or a signal, is `Failed(ExitCode)`; output that is not what `spec.output` declares is
/// `Failed(OutputInvalid)`. The findings of a JSON list are unrated.
#[must_use]
pub fn judge_command(
    requested: &[String],
    analyzer: &str,
    spec: &CommandSpec,
    exit: Exit,
    stdout: &[u8],
    stderr: &[u8],
) -> (Verdict, Vec<(String, Value)>) {
    let (ran, missing) = names(requested, analyzer, spec);
    let fail = |reason, message: String| {
        let tools = ran.iter().map(|name| report(name, ToolStatus::Failed, &message, Findings::default()));
        let tools = tools.chain(missing.iter().map(|name| absent(name, spec))).collect();
        let verdict = Verdict {
            outcome: Outcome::Failed,
            reason,
            message: one_line(&message),
            tools,
            findings: Findings::default(),
            outputs: Box::default(),
        };
        (verdict, Vec::new())
    };
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => {
            return fail(Reason::ExitCode, with_last_line(format!("killed by signal {signal}"), stderr));
        }
    };
    if !spec.success_exit_codes.iter().any(|&good| i32::from(good) == code) {
        return fail(Reason::ExitCode, with_last_line(format!("exit code {code}"), stderr));
    }
    let found = match spec.output {
        Output::ExitCode => Ok(Found::default()),
        Output::Json => read_json(stdout).and_then(|value| {
            Ok(Found { unrated: listed(&value), outputs: outputs::of_document(&value)?, ..Found::default() })
        }),
        Output::Sarif => read_sarif(&ran, stdout),
    };
    let Found { unrated, by_tool, documents, outputs } = match found {
        Ok(found) => found,
        Err(problem) => return fail(Reason::OutputInvalid, with_last_line(problem, stderr)),
    };
    let told = by_tool.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    let mut tools: Vec<ToolReport> = ran
        .iter()
        .zip(told)
        .map(|(name, told)| match told {
            None => report(name, ToolStatus::Completed, "", Findings::default()),
            Some(Told::Ran(findings)) => report(name, ToolStatus::Completed, "", findings),
            Some(Told::Failed(why, findings)) => report(name, ToolStatus::Failed, &why, findings),
            Some(Told::Nothing) => {
                report(name, ToolStatus::NotRun, "the program's SARIF has no run of it", Findings::default())
            }
        })
        .collect();
    if let Some(first) = tools.first_mut() {
        first.findings.unrated += unrated;
    }
    tools.extend(missing.iter().map(|name| absent(name, spec)));
    (Verdict { outputs: Box::new(outputs), ..weigh(tools) }, documents)
}

fn absent(name: &str, spec: &CommandSpec) -> ToolReport {
    let program = spec.argv.first().map_or("", String::as_str);
    let message =
        format!("the analyzer runs {program} and is not handed the task's tools; set spec.command.tool or use {TOOLS}");
    ToolReport { permanent: true, ..report(name, ToolStatus::NotRun, &message, Findings::default()) }
}

/// What a SARIF document tells of one tool.
#[derive(Clone)]
enum Told {
    Nothing,
    Ran(Findings),
    /// It says itself that the tool failed, and why.
    Failed(String, Findings),
}

/// What the output tells: of each tool by its index (empty: nothing is told apart), findings without a severity, and SARIF documents.
#[derive(Default)]
struct Found {
    unrated: u64,
    by_tool: Vec<Told>,
    documents: Vec<(String, Value)>,
    outputs: Map<String, Value>,
}

fn read_json(stdout: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(stdout).map_err(|error| {
        let what = if stdout.iter().all(u8::is_ascii_whitespace) {
            "nothing was written to it".into()
        } else {
            error.to_string()
        };
        format!("standard output is not JSON: {what}")
    })
}

fn listed(value: &Value) -> u64 {
    value.as_array().map_or(0, |list| list.len() as u64)
}

fn read_sarif(tools: &[String], stdout: &[u8]) -> Result<Found, String> {
    let not_sarif = |what: &str| format!("standard output is not SARIF 2.1.0: {what}");
    let document = read_json(stdout).map_err(|problem| not_sarif(&problem))?;
    if !document["version"].as_str().is_some_and(|version| version.starts_with("2.1.")) {
        return Err(not_sarif("`version` is not 2.1.0"));
    }
    let runs = document["runs"].as_array().ok_or_else(|| not_sarif("`runs` is not a list"))?;
    if !runs.iter().all(|run| run["tool"]["driver"].is_object()) {
        return Err(not_sarif("a run has no `tool.driver`"));
    }
    let whose = |run: &Value| tools.iter().position(|name| sarif::plain(name) == sarif::plain(sarif::driver(run)));
    // With several tools, runs say by their driver's name whose they are. Where no name fits, the program speaks with one voice.
    let told_apart = tools.len() > 1 && runs.iter().any(|run| whose(run).is_some());
    let mut found = Found::default();
    let mut by_tool: Vec<Vec<&Value>> = vec![Vec::new(); tools.len()];
    for run in runs {
        let at = if told_apart { whose(run).unwrap_or(0) } else { 0 };
        if let Some(of_tool) = by_tool.get_mut(at) {
            of_tool.push(run);
        }
    }
    for (runs, name) in by_tool.into_iter().zip(tools) {
        let findings = sarif::count(&runs);
        found.by_tool.push(match runs.iter().find_map(|run| sarif::failure(run)) {
            Some(why) => Told::Failed(format!("its SARIF says that it failed: {why}"), findings),
            None if runs.is_empty() => Told::Nothing,
            None => Told::Ran(findings),
        });
        found.documents.extend(sarif::document(name, runs).map(|document| (name.clone(), document)));
    }
    if let [first, rest @ ..] = found.by_tool.as_mut_slice()
        && !told_apart
    {
        // What it says is true of all of them; its findings count once.
        rest.fill(match first {
            Told::Ran(_) => Told::Ran(Findings::default()),
            Told::Failed(why, _) => Told::Failed(why.clone(), Findings::default()),
            Told::Nothing => Told::Nothing,
        });
    }
    Ok(found)
}

/// Adds the last line of standard error, which is where programs say what went wrong.
fn with_last_line(message: String, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    match text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("{message}: {line}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(output: Output, argv: &[&str]) -> CommandSpec {
        let mut spec: CommandSpec = serde_json::from_value(json!({"argv": argv})).unwrap();
        spec.output = output;
        spec.success_exit_codes = vec![0, 1];
        spec
    }

    fn judge(requested: &[&str], spec: &CommandSpec, exit: Exit, stdout: &str) -> (Verdict, Vec<(String, Value)>) {
        let requested: Vec<String> = requested.iter().map(|&name| name.to_owned()).collect();
        judge_command(&requested, "lint", spec, exit, stdout.as_bytes(), b"warning: x\nfatal: boom\n\n")
    }

    #[test]
    fn the_exit_code_decides_and_stderr_says_why() {
        let spec = spec(Output::ExitCode, &["ruff"]);
        assert_eq!(judge(&[], &spec, Exit::Code(1), "").0.outcome, Outcome::Completed);
        let (verdict, _) = judge(&[], &spec, Exit::Code(2), "");
        assert_eq!((verdict.reason, verdict.message.as_str()), (Reason::ExitCode, "exit code 2: fatal: boom"));
        let (verdict, _) = judge(&[], &spec, Exit::Signal(9), "");
        assert_eq!((verdict.reason, verdict.message.as_str()), (Reason::ExitCode, "killed by signal 9: fatal: boom"));
        assert_eq!(verdict.tools[0].name, "lint");
    }

    #[test]
    fn output_must_be_what_is_declared() {
        for (output, stdout) in [
            (Output::Json, ""),
            (Output::Json, "Usage: ruff"),
            (Output::Sarif, "[]"),
            (Output::Sarif, r#"{"version": "2.1.0"}"#),
            (Output::Sarif, r#"{"version": "1.0.0", "runs": []}"#),
            (Output::Sarif, r#"{"version": "2.1.0", "runs": [{"results": []}]}"#),
        ] {
            let (verdict, documents) = judge(&[], &spec(output, &["ruff"]), Exit::Code(0), stdout);
            assert_eq!((verdict.outcome, verdict.reason), (Outcome::Failed, Reason::OutputInvalid), "{stdout}");
            assert!(documents.is_empty());
        }
    }

    #[test]
    fn findings_come_from_the_output() {
        let (verdict, _) = judge(&[], &spec(Output::Json, &["ruff"]), Exit::Code(1), "[{}, {}]");
        assert_eq!(verdict.findings.unrated, 2);
        let sarif = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"Ruff"}},"results":[{"level":"error","message":{"text":"m"}}]}]}"#;
        let (verdict, documents) = judge(&["ruff"], &spec(Output::Sarif, &["/usr/bin/ruff"]), Exit::Code(1), sarif);
        assert_eq!((verdict.outcome, verdict.findings.high), (Outcome::Completed, 1));
        assert_eq!(documents.len(), 1);
    }

    #[test]
    fn a_program_that_is_not_handed_the_tools_did_not_run_others() {
        let (verdict, _) = judge(&["ruff", "mypy"], &spec(Output::ExitCode, &["ruff", "check"]), Exit::Code(0), "");
        assert_eq!(verdict.outcome, Outcome::PartialSuccess);
        assert!(verdict.message.contains("mypy did not run") && verdict.message.contains(TOOLS), "{}", verdict.message);
        let (verdict, _) = judge(&["ruff", "mypy"], &spec(Output::ExitCode, &["all", TOOLS]), Exit::Code(0), "");
        assert_eq!(verdict.outcome, Outcome::Completed);
    }

    #[test]
    fn a_program_of_several_tools_is_told_apart_by_its_runs() {
        let spec = spec(Output::Sarif, &["all", TOOLS]);
        let run = |name: &str| json!({"tool": {"driver": {"name": name}}, "results": [{"message": {"text": "m"}}]});
        let told = json!({"version": "2.1.0", "runs": [run("ruff")]}).to_string();
        let (verdict, documents) = judge(&["ruff", "mypy"], &spec, Exit::Code(0), &told);
        assert_eq!((verdict.outcome, verdict.tools[1].status), (Outcome::PartialSuccess, ToolStatus::NotRun));
        assert_eq!(documents.len(), 1);
        let one_voice = json!({"version": "2.1.0", "runs": [run("all")]}).to_string();
        assert_eq!(judge(&["ruff", "mypy"], &spec, Exit::Code(0), &one_voice).0.outcome, Outcome::Completed);
    }

    #[test]
    fn a_document_without_runs_or_with_one_that_failed_is_no_evidence_that_a_tool_ran_well() {
        let spec = spec(Output::Sarif, &["all", TOOLS]);
        let judged = |requested: &[&str], runs: Value| {
            let document = json!({"version": "2.1.0", "runs": runs}).to_string();
            let verdict = judge(requested, &spec, Exit::Code(0), &document).0;
            (verdict.outcome, verdict.tools.iter().map(|tool| tool.status).collect::<Vec<_>>(), verdict.message)
        };
        for requested in [&["ruff"][..], &["ruff", "mypy"]] {
            let (outcome, tools, _) = judged(requested, json!([]));
            assert_eq!((outcome, tools), (Outcome::Failed, vec![ToolStatus::NotRun; requested.len()]));
        }
        let run = |name: &str, successful: bool| {
            let notifications = json!([{"level": "error", "message": {"text": "nothing was checked"}}]);
            let invocation = json!({"executionSuccessful": successful, "toolExecutionNotifications": notifications});
            json!({"tool": {"driver": {"name": name}}, "invocations": [invocation], "results": []})
        };
        let both = &["ruff", "mypy"];
        let (outcome, tools, message) = judged(both, json!([run("ruff", true), run("mypy", false)]));
        assert_eq!((outcome, tools), (Outcome::PartialSuccess, vec![ToolStatus::Completed, ToolStatus::Failed]));
        assert!(message.contains("nothing was checked"), "{message}");
        let (outcome, tools, _) = judged(both, json!([run("all", false)]));
        assert_eq!((outcome, tools), (Outcome::Failed, vec![ToolStatus::Failed; 2]), "it speaks for both");
        assert_eq!(judged(both, json!([run("all", true)])).0, Outcome::Completed);
    }
}
