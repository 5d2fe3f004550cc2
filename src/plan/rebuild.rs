//! What stored results say of a task whose row is lost: its attempts, and where it stands. It never runs again what a result proves.

use super::merge::{Told, merge};
use super::write::TaskStatus;
use crate::resource::algebra::Ended;
use crate::resource::analyzer::KeepResults;
use crate::resource::findings::Findings;
use crate::resource::outcome::{Outcome, Verdict};
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::task::{RunPolicy, TaskSpec};
use crate::resource::time::Timestamp;

/// An attempt as its stored result tells of it, whole and verified. What older programs did not write is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundAttempt {
    /// Its number.
    pub number: u32,
    /// The round that it belonged to.
    pub round: Option<i64>,
    /// The generation of the spec that it ran.
    pub generation: Option<i64>,
    /// Digest of that spec.
    pub spec_digest: Option<String>,
    /// Name of the app.
    pub app: String,
    /// Name of the analyzer.
    pub analyzer: String,
    /// Address of the replica; empty for a command.
    pub replica: String,
    /// The tools that it was asked for.
    pub asked: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it came to.
    pub verdict: Verdict,
    /// What the files of the app looked like.
    pub app_digest: Option<String>,
    /// The directory of the result, its digest, and its bytes.
    pub result: crate::resource::attempt::StoredResult,
}

/// What is brought back of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct BroughtBack {
    /// The generation that its present spec gets.
    pub generation: i64,
    /// Its attempts with their rounds and generations, oldest first.
    pub attempts: Vec<(FoundAttempt, i64, i64)>,
    /// Where it stands.
    pub status: TaskStatus,
    /// Whether the result was taken to be about the present spec without a digest that proves it.
    pub assumed: bool,
}

/// Concludes from the results of a task where it stands. `found` must not be empty.
///
/// A result is about the present spec if the digest of the spec says so. One without a digest was stored by an older program: it counts if it
/// is of the same app and analyzer and tells of every tool that is asked for now.
///
/// `kept` says which attempts leave results at all: where those that completed leave none, one may have followed a failure that did.
#[must_use]
pub fn bring_back(
    spec: &TaskSpec,
    digest: &str,
    kept: KeepResults,
    mut found: Vec<FoundAttempt>,
) -> Option<BroughtBack> {
    found.sort_by_key(|attempt| attempt.number);
    found.dedup_by_key(|attempt| attempt.number);
    let attempts = placed(found);
    let (last, round, generation) = attempts.last()?;
    let assumed = last.spec_digest.is_none();
    let is_present = last.spec_digest.as_ref().map_or_else(|| looks_like(spec, last), |known| known == digest);
    let status =
        TaskStatus { app_digest: last.app_digest.clone(), ..TaskStatus::fresh(*round, *generation, last.number) };
    let of_round: Vec<&FoundAttempt> =
        attempts.iter().filter(|(_, of, _)| of == round).map(|(found, ..)| found).collect();
    let proves = kept.keeps(Outcome::Completed) || last.verdict.outcome == Outcome::Completed;
    let concluded = |status| if proves { concluded(spec, last, &of_round, status) } else { status };
    let (status, generation) = match (is_present, spec.run_policy == RunPolicy::Once) {
        (true, _) => (concluded(status), *generation),
        (false, true) => (concluded(status), generation + 1),
        // As the plan for a finished task whose spec changed: the next round.
        (false, false) => {
            let next = TaskStatus::fresh(round + 1, *generation, last.number);
            (TaskStatus { message: "its spec changed".into(), ..next }, generation + 1)
        }
    };
    Some(BroughtBack { generation, status, assumed: assumed && is_present, attempts })
}

/// Gives every attempt a round and a generation. Where they are not told, a round ends with the attempt that completed.
fn placed(found: Vec<FoundAttempt>) -> Vec<(FoundAttempt, i64, i64)> {
    let (mut round, mut generation, mut completed) = (1, 1, false);
    let place = |attempt: FoundAttempt| {
        let next = round + i64::from(completed);
        round = attempt.round.unwrap_or(next).max(round);
        generation = attempt.generation.unwrap_or(generation).max(generation);
        completed = attempt.verdict.outcome == Outcome::Completed;
        (attempt, round, generation)
    };
    found.into_iter().map(place).collect()
}

fn looks_like(spec: &TaskSpec, attempt: &FoundAttempt) -> bool {
    let tells = |tool: &String| attempt.verdict.tools.iter().any(|told| told.name.eq_ignore_ascii_case(tool));
    attempt.analyzer == spec.analyzer && attempt.app == spec.app && spec.tools.iter().all(tells)
}

fn concluded(spec: &TaskSpec, last: &FoundAttempt, of_round: &[&FoundAttempt], status: TaskStatus) -> TaskStatus {
    let phase = match last.verdict.outcome {
        Outcome::Completed | Outcome::PartialSuccess | Outcome::Failed | Outcome::TimedOut | Outcome::ProtocolError => {
            phase(spec, last, of_round)
        }
        // These prove no end of the task: what was interrupted or not wanted then is looked at anew.
        Outcome::Cancelled | Outcome::HeartbeatLost | Outcome::Unavailable | Outcome::Interrupted => return status,
    };
    let (phase, reason, message, findings) = phase;
    let started_at = of_round.first().map(|first| first.opened_at);
    TaskStatus { started_at, ..status }.ended(phase, reason, message, findings, last.ended_at)
}

fn phase(spec: &TaskSpec, last: &FoundAttempt, of_round: &[&FoundAttempt]) -> (Phase, Reason, String, Findings) {
    let told: Vec<Told> = of_round
        .iter()
        .map(|attempt| Told {
            number: attempt.number,
            generation: 0,
            asked: attempt.asked.clone(),
            outcome: attempt.verdict.outcome,
            message: attempt.verdict.message.clone(),
            tools: attempt.verdict.tools.clone(),
        })
        .collect();
    let merged = merge(&spec.tools, &told);
    match merged.ended() {
        Some(Ended::Completed) => (Phase::Completed, Reason::AllToolsRan, merged.message(), merged.findings()),
        Some(Ended::Partial) => (Phase::PartialSuccess, Reason::SomeToolsFailed, merged.message(), merged.findings()),
        _ => (Phase::Failed, last.verdict.reason, last.verdict.message.clone(), merged.findings()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::attempt::StoredResult;
    use crate::resource::outcome::{ToolReport, ToolStatus};

    fn spec(tools: &str) -> TaskSpec {
        serde_json::from_str(&format!(r#"{{"app": "a", "analyzer": "l", "tools": {tools}}}"#)).unwrap()
    }

    fn found(number: u32, outcome: Outcome, good: &[(&str, bool)]) -> FoundAttempt {
        let report = |&(name, good): &(&str, bool)| ToolReport {
            name: name.into(),
            status: if good { ToolStatus::Completed } else { ToolStatus::Failed },
            message: String::new(),
            findings: Findings { high: 1, ..Findings::default() },
            permanent: false,
        };
        let verdict = Verdict {
            tools: good.iter().map(report).collect(),
            ..Verdict::without_tools(outcome, Reason::ToolFailed, "so")
        };
        let result = StoredResult { directory: format!("a/t/{number}"), sha256: String::new(), bytes: 1 };
        let (opened_at, ended_at) = (Timestamp(10), Timestamp(20 + i64::from(number)));
        FoundAttempt {
            number,
            round: None,
            generation: None,
            spec_digest: None,
            app: "a".into(),
            analyzer: "l".into(),
            replica: String::new(),
            asked: Vec::new(),
            opened_at,
            ended_at,
            verdict,
            app_digest: None,
            result,
        }
    }

    #[test]
    fn a_task_with_a_completed_attempt_is_completed_and_does_not_run_again() {
        let back =
            bring_back(&spec("[]"), "d", KeepResults::Always, vec![found(1, Outcome::Completed, &[("x", true)])])
                .unwrap();
        assert_eq!((back.status.phase, back.status.finished_at), (Phase::Completed, Some(Timestamp(21))));
        assert_eq!((back.generation, back.status.observed_generation, back.assumed), (1, 1, true));
    }

    #[test]
    fn what_the_attempts_of_a_round_proved_is_kept_together() {
        let attempts = vec![
            found(3, Outcome::PartialSuccess, &[("y", true), ("x", false)]),
            found(2, Outcome::PartialSuccess, &[("x", true), ("y", false)]),
            found(1, Outcome::Completed, &[("x", true), ("y", true)]),
        ];
        let back = bring_back(&spec(r#"["x", "y"]"#), "d", KeepResults::Always, attempts).unwrap();
        let rounds: Vec<i64> = back.attempts.iter().map(|(_, round, _)| *round).collect();
        assert_eq!((rounds, back.status.phase, back.status.attempt), (vec![1, 2, 2], Phase::Completed, 3));
        assert_eq!(back.status.findings.high, 2);
    }

    #[test]
    fn a_digest_decides_and_without_one_app_analyzer_and_tools_do() {
        let told = |digest: Option<&str>| FoundAttempt {
            spec_digest: digest.map(str::to_owned),
            ..found(4, Outcome::Completed, &[("x", true)])
        };
        let of = |spec: &TaskSpec, found| bring_back(spec, "now", KeepResults::Always, vec![found]).unwrap();
        let same = of(&spec(r#"["x"]"#), told(Some("now")));
        assert_eq!((same.status.phase, same.assumed), (Phase::Completed, false));
        for changed in [of(&spec(r#"["x"]"#), told(Some("then"))), of(&spec(r#"["x", "z"]"#), told(None))] {
            assert_eq!((changed.status.phase, changed.status.round, changed.status.attempt), (Phase::Pending, 2, 4));
            assert!(changed.generation > changed.status.observed_generation);
        }
        let once = TaskSpec { run_policy: RunPolicy::Once, ..spec(r#"["x"]"#) };
        assert_eq!(of(&once, told(Some("then"))).status.phase, Phase::Completed);
    }

    #[test]
    fn what_was_interrupted_is_looked_at_anew_under_the_next_number() {
        let back =
            bring_back(&spec("[]"), "d", KeepResults::Always, vec![found(7, Outcome::Interrupted, &[])]).unwrap();
        assert_eq!((back.status.phase, back.status.attempt), (Phase::Pending, 7));
        let failed = bring_back(&spec("[]"), "d", KeepResults::Always, vec![found(7, Outcome::TimedOut, &[])]).unwrap();
        assert_eq!((failed.status.phase, failed.status.reason), (Phase::Failed, Reason::ToolFailed));
        assert_eq!(bring_back(&spec("[]"), "d", KeepResults::Always, Vec::new()), None);
    }

    #[test]
    fn a_failure_proves_no_end_where_a_success_behind_it_would_have_left_nothing() {
        let of = |kept, outcome| bring_back(&spec("[]"), "d", kept, vec![found(3, outcome, &[("x", true)])]).unwrap();
        let failed = of(KeepResults::OnFailure, Outcome::Failed).status;
        assert_eq!((failed.phase, failed.attempt), (Phase::Pending, 3));
        assert_eq!(of(KeepResults::Always, Outcome::Failed).status.phase, Phase::Failed);
        // One from before the analyzer kept no more of them.
        assert_eq!(of(KeepResults::OnFailure, Outcome::Completed).status.phase, Phase::Completed);
    }
}
