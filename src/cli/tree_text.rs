//! A tree as lines: what hangs below what, drawn with lines as `tree` draws directories.

use super::out::clean;
use super::picture::{StepPicture, StepStanding};
use super::table;
use crate::resource::phase::Phase;
use crate::resource::reason::Reason;
use crate::resource::run::{Conclusion, StepPhase};
use crate::resource::time::Timestamp;
use crate::store::run_view::{ChildView, RunView};

/// Names are padded up to this width, so that phases stand below each other.
const NAME_WIDTH_MAX: usize = 48;

/// One node with what hangs below it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Branch {
    /// What it is called.
    pub(crate) name: String,
    /// The word for where it stands, as it is coloured.
    pub(crate) phase: &'static str,
    /// What else there is to say.
    pub(crate) rest: String,
    /// What hangs below it.
    pub(crate) below: Vec<Branch>,
}

impl Branch {
    /// A line without a phase.
    pub(crate) fn note(text: String) -> Self {
        Self { rest: text, ..Self::default() }
    }
}

/// The lines of a tree, with colours when wanted.
pub(crate) fn lines(root: &Branch, coloured: bool) -> Vec<String> {
    let mut lines = vec![line(root, 0, coloured)];
    add(&root.below, "", coloured, &mut lines);
    lines
}

fn add(branches: &[Branch], indent: &str, coloured: bool, lines: &mut Vec<String>) {
    let width = branches.iter().map(|branch| branch.name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH_MAX);
    for (at, branch) in branches.iter().enumerate() {
        let last = at + 1 == branches.len();
        let (corner, further) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        lines.push(format!("{indent}{corner}{}", line(branch, width, coloured)));
        add(&branch.below, &format!("{indent}{further}"), coloured, lines);
    }
}

fn line(branch: &Branch, width: usize, coloured: bool) -> String {
    let mut parts = Vec::new();
    if !branch.name.is_empty() {
        parts.push(format!("{:<width$}", clean(&branch.name)));
    }
    if !branch.phase.is_empty() {
        parts.push(table::word(branch.phase, coloured));
    }
    if !branch.rest.is_empty() {
        parts.push(clean(&branch.rest));
    }
    parts.join("  ").trim_end().to_owned()
}

/// A run as the root of its tree.
pub(crate) fn run(run: &RunView, now: Timestamp) -> Branch {
    let status = &run.status;
    let mut rest = vec![format!("({})", status.reason)];
    if let Some(started) = status.started_at {
        rest.push(table::length(status.finished_at.unwrap_or(now).since(started)));
    }
    if status.round > 1 {
        rest.push(format!("round {}", status.round));
    }
    if let Some(suspension) = run.suspension.as_ref().filter(|of| of.holds(now) && !status.phase.is_terminal()) {
        let why = if suspension.reason.is_empty() { String::new() } else { format!(": {}", suspension.reason) };
        rest.push(format!("suspended by {}{why}", suspension.by));
    }
    if !status.message.is_empty() {
        rest.push(format!("- {}", status.message));
    }
    Branch { name: format!("run/{}", run.name), phase: status.phase.as_str(), rest: rest.join(" "), below: Vec::new() }
}

/// A step of a run or of a pipeline, without its children.
pub(crate) fn step(step: &StepPicture) -> Branch {
    let mut rest = Vec::new();
    let phase = match &step.standing {
        None => {
            rest.push(step.does.clone());
            ""
        }
        Some(standing) => {
            rest.extend(standing_words(standing));
            standing.phase.as_str()
        }
    };
    if step.critical {
        rest.push("critical".into());
    }
    if step.is_final {
        rest.push("finally".into());
    }
    Branch { name: step.name.clone(), phase, rest: rest.join(", "), below: Vec::new() }
}

fn standing_words(standing: &StepStanding) -> Vec<String> {
    let mut words = Vec::new();
    let tally = &standing.tally;
    if tally.all() > 0 || standing.phase == StepPhase::Running && !standing.is_asked {
        words.push(standing.done());
    }
    let counts = [
        (tally.failed, "failed"),
        (tally.partial, "partial"),
        (tally.cancelled, "cancelled"),
        (tally.skipped, "skipped"),
        (tally.running, "running"),
        (tally.pending, "pending"),
    ];
    words.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    let is_plain = matches!(standing.reason, Reason::AllStepsCompleted | Reason::StepsRunning);
    if !is_plain {
        words.push(standing.reason.to_string());
    }
    if !standing.message.is_empty() {
        words.push(standing.message.clone());
    }
    words
}

/// A child of a step.
pub(crate) fn child(child: &ChildView, now: Timestamp) -> Branch {
    let mut rest = Vec::new();
    if let Some(reason) = child.reason {
        rest.push(format!("({reason})"));
    }
    match child.conclusion {
        Some(word @ (Conclusion::AppNotProduced | Conclusion::OutputMissing | Conclusion::Skipped)) => {
            rest.push(format!("counts as {word}"));
        }
        Some(Conclusion::Succeeded | Conclusion::Partial | Conclusion::Failed | Conclusion::Cancelled) | None => {}
    }
    if let Some(started) = child.started_at {
        rest.push(table::length(child.finished_at.unwrap_or(now).since(started)));
    }
    let is_bad = matches!(child.phase, Some(Phase::Failed | Phase::PartialSuccess | Phase::Pending));
    if is_bad && !child.message.is_empty() {
        rest.push(format!("- {}", child.message));
    }
    let kind = match child.kind {
        crate::resource::run::ChildKind::Task => "task",
        crate::resource::run::ChildKind::Run => "run",
    };
    Branch {
        name: format!("{kind}/{}", child.name),
        phase: child.phase.map_or("gone", Phase::as_str),
        rest: rest.join(" "),
        below: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::picture::tests::picture;

    #[test]
    fn a_tree_is_drawn_with_names_and_phases_below_each_other() {
        let leaf =
            |name: &str| Branch { name: name.into(), phase: "Failed", rest: "(ToolFailed)".into(), below: vec![] };
        let mut root = Branch { name: "run/a".into(), phase: "Running", rest: "(StepsRunning)".into(), below: vec![] };
        root.below = vec![leaf("generate"), leaf("x")];
        root.below[0].below = vec![leaf("task/one"), Branch::note("and 3 more".into())];
        assert_eq!(
            lines(&root, false),
            [
                "run/a  Running  (StepsRunning)",
                "├─ generate  Failed  (ToolFailed)",
                "│  ├─ task/one  Failed  (ToolFailed)",
                "│  └─ and 3 more",
                "└─ x         Failed  (ToolFailed)",
            ]
        );
        assert!(lines(&root, true)[0].contains("\u{1b}[34mRunning\u{1b}[0m"));
    }

    #[test]
    fn a_step_says_how_many_of_its_children_stand_how() {
        let picture = picture();
        assert_eq!(lines(&step(&picture.steps[0]), false), ["generate  PartialSuccess  3/3, 1 failed"]);
        assert_eq!(lines(&step(&picture.steps[4]), false), ["report  Waiting  finally"]);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_drawn() {
        let root = Branch { name: "a\u{1b}[2J".into(), rest: "b\nc".into(), ..Branch::default() };
        assert_eq!(lines(&root, true), ["a\u{fffd}[2J  b\u{fffd}c"]);
    }
}
