//! What a round knows of its tools: the reports of its attempts, merged. A tool that ran well is never asked for again in the same round,
//! and what it found is counted once.

use std::collections::BTreeMap;

use crate::resource::algebra::{Ended, fold};
use crate::resource::findings::Findings;
use crate::resource::outcome::{Outcome, ToolReport, ToolStatus, tool_name};
use crate::verdict::judge::describe;

/// What one ended attempt told of its tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Number of the attempt.
    pub number: u32,
    /// Generation of the spec that it ran.
    pub generation: i64,
    /// The tools that it was asked for; empty for all that the analyzer has.
    pub asked: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for a person.
    pub message: String,
    /// What it told of each tool.
    pub tools: Vec<ToolReport>,
}

/// One tool's report, and the attempt that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedTool {
    /// What is known of it.
    pub report: ToolReport,
    /// Number of the attempt; its directory has the tool's files.
    pub attempt: u32,
}

/// The tools of a round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// First the tools that decide how the round ends, in the order of the request; then others that were told of.
    pub tools: Vec<MergedTool>,
    deciding: usize,
}

/// Merges what the attempts of a round told, in whatever order they are given. Of each tool the latest good report counts, else the latest.
///
/// `requested` are the tools of the spec. When it is empty, the latest attempt that was asked for all tools says which there are. An attempt
/// that did not succeed proves nothing good: its result may be lost, or the analyzer took it back.
#[must_use]
pub fn merge(requested: &[String], told: &[Told]) -> Merged {
    let mut in_order: Vec<&Told> = told.iter().filter(|told| !told.tools.is_empty()).collect();
    in_order.sort_by_key(|told| told.number);
    let Some(last) = in_order.last().map(|told| told.number) else { return Merged::default() };
    let mut chosen: BTreeMap<String, MergedTool> = BTreeMap::new();
    let mut seen: Vec<String> = Vec::new();
    for attempt in &in_order {
        for tool in &attempt.tools {
            let next = MergedTool { report: proven(attempt, tool), attempt: attempt.number };
            let key = key(&tool.name);
            match chosen.get_mut(&key) {
                Some(known) if known.report.is_good() && !next.report.is_good() => {}
                Some(known) => *known = next,
                None => {
                    seen.push(key.clone());
                    chosen.insert(key, next);
                }
            }
        }
    }
    let of_all = in_order.iter().rev().find(|told| told.asked.is_empty());
    let wanted: Vec<String> = match (requested, of_all) {
        ([], Some(told)) => told.tools.iter().map(|tool| tool.name.clone()).collect(),
        _ => requested.to_vec(),
    };
    let mut merged = Merged::default();
    for name in wanted.into_iter().filter(|name| !name.is_empty()) {
        let key = key(&name);
        match chosen.remove(&key) {
            Some(tool) => merged.tools.push(tool),
            // Named twice.
            None if seen.contains(&key) => continue,
            None => merged.tools.push(MergedTool { report: unheard_of(&name), attempt: last }),
        }
        seen.push(key);
    }
    merged.deciding = merged.tools.len();
    merged.tools.extend(seen.iter().filter_map(|key| chosen.remove(key)));
    merged
}

/// Names are the same tool whatever their case, and as they are kept.
fn key(name: &str) -> String {
    tool_name(name).to_ascii_lowercase()
}

fn proven(attempt: &Told, tool: &ToolReport) -> ToolReport {
    let counts = matches!(attempt.outcome, Outcome::Completed | Outcome::PartialSuccess);
    if counts || !tool.is_good() {
        return tool.clone();
    }
    let (message, findings) = (attempt.message.clone(), Findings::default());
    ToolReport { status: ToolStatus::Failed, message, findings, ..tool.clone() }
}

fn unheard_of(name: &str) -> ToolReport {
    ToolReport {
        name: tool_name(name),
        status: ToolStatus::NotRun,
        message: "no attempt told of it".into(),
        findings: Findings::default(),
        permanent: false,
    }
}

impl Merged {
    fn deciding(&self) -> impl Iterator<Item = &ToolReport> {
        self.tools.iter().take(self.deciding).map(|tool| &tool.report)
    }

    /// How the tools that decide ended together; `None` when nothing is known of any.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        fold(self.deciding().map(|tool| if tool.is_good() { Ended::Completed } else { Ended::Failed }))
    }

    /// Whether some tool that decides ran well.
    #[must_use]
    pub fn has_good(&self) -> bool {
        self.deciding().any(ToolReport::is_good)
    }

    /// What the tools found together.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        self.tools.iter().for_each(|tool| findings += tool.report.findings);
        findings
    }

    /// What another attempt has to be asked for, as `spec.tools` would say it; `None` when another attempt cannot help.
    ///
    /// Without a good tool nothing is saved by asking for less, and a failure of the whole may have hidden tools: an empty `requested`
    /// stays empty then, which means all.
    #[must_use]
    pub fn remaining(&self, requested: &[String]) -> Option<Vec<String>> {
        if self.tools.is_empty() {
            return Some(requested.to_vec());
        }
        let open = self.deciding().filter(|tool| !tool.is_good() && !tool.permanent);
        let names: Vec<String> = open.map(|tool| tool.name.clone()).collect();
        match names.is_empty() {
            true => None,
            false if requested.is_empty() && !self.has_good() => Some(Vec::new()),
            false => Some(names),
        }
    }

    /// The tools that decide as one sentence: what is missing and why, else how many ran.
    #[must_use]
    pub fn message(&self) -> String {
        let tools: Vec<ToolReport> = self.deciding().cloned().collect();
        describe(&tools, self.findings())
    }

    /// Whether every report comes from this attempt.
    #[must_use]
    pub fn is_only_of(&self, attempt: u32) -> bool {
        self.tools.iter().all(|tool| tool.attempt == attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, status: ToolStatus, high: u64) -> ToolReport {
        let findings = Findings { high, ..Findings::default() };
        ToolReport { name: name.into(), status, message: String::new(), findings, permanent: false }
    }

    fn told(number: u32, asked: &[&str], outcome: Outcome, tools: Vec<ToolReport>) -> Told {
        let asked = asked.iter().map(|&name| name.to_owned()).collect();
        Told { number, generation: 1, asked, outcome, message: "lost".into(), tools }
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    use ToolStatus::{Completed, Failed, NotRun};

    #[test]
    fn only_what_did_not_run_well_remains_and_findings_are_counted_once() {
        let first = told(1, &["a", "b"], Outcome::PartialSuccess, vec![tool("a", Completed, 2), tool("b", Failed, 1)]);
        let both = names(&["a", "b"]);
        let merged = merge(&both, std::slice::from_ref(&first));
        assert_eq!((merged.ended(), merged.remaining(&both)), (Some(Ended::Partial), Some(names(&["b"]))));
        let second = told(2, &["b"], Outcome::Completed, vec![tool("B", Completed, 5), tool("a", Failed, 9)]);
        let merged = merge(&both, &[second, first]);
        assert_eq!((merged.ended(), merged.remaining(&both)), (Some(Ended::Completed), None));
        assert_eq!(merged.findings().total(), 7);
        assert_eq!(merged.tools.iter().map(|tool| tool.attempt).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn an_attempt_that_failed_proves_no_tool() {
        let lost = told(1, &["a"], Outcome::Failed, vec![tool("a", Completed, 3)]);
        let merged = merge(&names(&["a"]), &[lost]);
        assert_eq!((merged.ended(), merged.findings().total()), (Some(Ended::Failed), 0));
        assert_eq!(merged.remaining(&names(&["a"])), Some(names(&["a"])));
    }

    #[test]
    fn all_tools_are_asked_for_again_until_one_of_them_ran_well() {
        let nothing = told(1, &[], Outcome::Failed, vec![tool("a", Failed, 0)]);
        assert_eq!(merge(&[], std::slice::from_ref(&nothing)).remaining(&[]), Some(vec![]));
        let some = told(2, &[], Outcome::PartialSuccess, vec![tool("b", Completed, 0), tool("c", NotRun, 0)]);
        // The second attempt, which was asked for all, does not know the first one's tool.
        let merged = merge(&[], &[nothing, some.clone()]);
        assert_eq!(merged.remaining(&[]), Some(names(&["c"])));
        // What a later attempt tells of beside what it was asked for decides nothing.
        let extra = told(3, &["c"], Outcome::Completed, vec![tool("c", Completed, 0), tool("d", Failed, 0)]);
        assert_eq!(merge(&[], &[some, extra]).ended(), Some(Ended::Completed));
    }

    #[test]
    fn what_is_permanent_is_not_asked_for_again() {
        let permanent = ToolReport { permanent: true, ..tool("b", NotRun, 0) };
        let first = told(1, &["a", "b"], Outcome::PartialSuccess, vec![tool("a", Completed, 0), permanent]);
        assert_eq!(merge(&names(&["a", "b"]), &[first]).remaining(&names(&["a", "b"])), None);
    }

    #[test]
    fn nothing_told_is_nothing_known() {
        let silent = told(1, &["a"], Outcome::TimedOut, vec![]);
        let merged = merge(&names(&["a"]), &[silent]);
        assert_eq!((merged.ended(), merged.remaining(&names(&["a"]))), (None, Some(names(&["a"]))));
    }
}
