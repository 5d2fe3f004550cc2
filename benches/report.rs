//! The one table of a run, written as its rows are measured, and the lines of the goals behind it. It is Markdown, so that a page can take it as it is.

use crate::figure::Figure;
use crate::goals::{GOALS, Wanted};

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: Vec<Section>,
    goals: Vec<Goal>,
}

/// What one question told.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its name on the command line.
    pub(crate) question: &'static str,
    /// Its rows, with a head of their own.
    pub(crate) lines: Vec<String>,
}

/// A goal that was measured.
#[derive(Debug)]
struct Goal {
    name: &'static str,
    ours: Figure,
    limit: Figure,
    ratio: f64,
}

impl Report {
    /// The head of the table.
    pub(crate) fn head() {
        println!("\n{}\n{RULE}", line("", "ours", "limit", "ratio"));
    }

    /// What the next rows are about.
    pub(crate) fn section(&mut self, question: &'static str, title: &str) {
        println!("{}", line(&format!("**{title}**"), "", "", ""));
        let lines = vec![line(title, "ours", "limit", "ratio"), RULE.to_owned()];
        self.sections.push(Section { question, lines });
    }

    /// Ours beside its limit.
    pub(crate) fn row(&mut self, what: &str, ours: Figure, limit: Figure) {
        self.tell(what, Some(ours), Some(limit), Some(ratio(ours, limit)));
    }

    /// The same, and it decides a goal.
    pub(crate) fn goal(&mut self, name: &'static str, what: &str, ours: Figure, limit: Figure) {
        self.decide(Goal { name, ours, limit, ratio: ratio(ours, limit) }, what);
    }

    /// A goal about times whose ratio is one of speeds: the limit through ours.
    pub(crate) fn speed_goal(&mut self, name: &'static str, what: &str, ours: Figure, limit: Figure) {
        self.decide(Goal { name, ours, limit, ratio: ratio(limit, ours) }, what);
    }

    /// Ours alone.
    pub(crate) fn ours(&mut self, what: &str, ours: Figure) {
        self.tell(what, Some(ours), None, None);
    }

    /// A limit alone.
    pub(crate) fn limit(&mut self, what: &str, limit: Figure) {
        self.tell(what, None, Some(limit), None);
    }

    /// A row that is no figure.
    pub(crate) fn note(&mut self, note: &str) {
        self.tell(note, None, None, None);
    }

    /// What each question told.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The goals that were measured, in the order of their list: each its name, and its row of the table of goals.
    pub(crate) fn goal_rows(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.in_order().map(|goal| {
            let Goal { name, ours, limit, ratio } = goal;
            let wanted = Wanted::of(name);
            (*name, format!("| `{name}` | {ours} | {limit} | {ratio:.2} | {} | {} |", wanted.text(), goal.verdict()))
        })
    }

    /// The lines of the goals that were measured, in the order of their list.
    pub(crate) fn tell_goals(&self) {
        println!();
        for goal in self.in_order() {
            let (name, ours, limit, ratio) = (goal.name, goal.ours.plain(), goal.limit.plain(), goal.ratio);
            let (wanted, verdict) = (Wanted::of(name).text(), goal.verdict());
            println!("goal {name} ours={ours} limit={limit} ratio={ratio:.2} wanted={wanted} {verdict}");
        }
    }

    fn in_order(&self) -> impl Iterator<Item = &Goal> {
        GOALS.iter().flat_map(|(name, _)| self.goals.iter().filter(move |goal| goal.name == *name))
    }

    fn decide(&mut self, goal: Goal, what: &str) {
        self.tell(what, Some(goal.ours), Some(goal.limit), Some(goal.ratio));
        self.goals.push(goal);
    }

    fn tell(&mut self, what: &str, ours: Option<Figure>, limit: Option<Figure>, ratio: Option<f64>) {
        let text = |figure: Option<Figure>| figure.map_or_else(String::new, |figure| figure.to_string());
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let row = line(what, &text(ours), &text(limit), &ratio);
        println!("{row}");
        let section = self.sections.last_mut().expect("a question is asked before it is answered");
        section.lines.push(row);
    }
}

impl Goal {
    fn verdict(&self) -> &'static str {
        if Wanted::of(self.name).is_met(self.ratio) { "ok" } else { "short" }
    }
}

/// What stands below the head of a table.
const RULE: &str = "| --- | --- | --- | ---: |";

fn line(what: &str, ours: &str, limit: &str, ratio: &str) -> String {
    format!("| {what:<62} | {ours:<26} | {limit:<26} | {ratio:>6} |")
}

/// Ours through its limit; of nothing, nothing is as good as it can be.
fn ratio(ours: Figure, limit: Figure) -> f64 {
    match (ours.median, limit.median) {
        (0.0, 0.0) => 1.0,
        (ours, limit) => ours / limit,
    }
}
