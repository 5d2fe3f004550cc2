//! The one table of a run, written as its rows are measured, and the lines of the goals behind it.

use crate::figure::Figure;
use crate::goals::{GOALS, Wanted};

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    goals: Vec<(&'static str, Figure, Figure, f64)>,
}

impl Report {
    /// The head of the table.
    pub(crate) fn head() {
        println!("\n{:<62} {:<26} {:<26} {:>6}", "", "ours", "limit", "ratio");
    }

    /// What the next rows are about.
    pub(crate) fn section(title: &str) {
        println!("\n{title}");
    }

    /// Ours beside its limit.
    pub(crate) fn row(&self, what: &str, ours: Figure, limit: Figure) {
        println!("  {what:<60} {ours:<26} {limit:<26} {:>6.2}", ratio(ours, limit));
    }

    /// The same, and it decides a goal.
    pub(crate) fn goal(&mut self, goal: &'static str, what: &str, ours: Figure, limit: Figure) {
        self.row(what, ours, limit);
        self.goals.push((goal, ours, limit, ratio(ours, limit)));
    }

    /// A goal about times whose ratio is one of speeds: the limit through ours.
    pub(crate) fn speed_goal(&mut self, goal: &'static str, what: &str, ours: Figure, limit: Figure) {
        println!("  {what:<60} {ours:<26} {limit:<26} {:>6.2}", ratio(limit, ours));
        self.goals.push((goal, ours, limit, ratio(limit, ours)));
    }

    /// Ours alone.
    pub(crate) fn ours(&self, what: &str, ours: Figure) {
        println!("  {what:<60} {ours:<26}");
    }

    /// A limit alone.
    pub(crate) fn limit(&self, what: &str, limit: Figure) {
        println!("  {what:<60} {:<26} {limit:<26}", "");
    }

    /// The lines of the goals that were measured, in the order of their list.
    pub(crate) fn tell_goals(&self) {
        println!();
        for (name, _) in GOALS {
            for (_, ours, limit, ratio) in self.goals.iter().filter(|(goal, ..)| *goal == name) {
                let wanted = Wanted::of(name);
                let verdict = if wanted.is_met(*ratio) { "ok" } else { "short" };
                let (ours, limit, wanted) = (ours.plain(), limit.plain(), wanted.text());
                println!("goal {name} ours={ours} limit={limit} ratio={ratio:.2} wanted={wanted} {verdict}");
            }
        }
    }
}

/// Ours through its limit; of nothing, nothing is as good as it can be.
fn ratio(ours: Figure, limit: Figure) -> f64 {
    match (ours.median, limit.median) {
        (0.0, 0.0) => 1.0,
        (ours, limit) => ours / limit,
    }
}
