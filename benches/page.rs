//! Writes what a run measured into docs/benchmarks.md: the rows of each question between two marks, and the row of each goal in the table of goals. What
//! the run did not measure stays as it is, so each part names the commit and the machine that it comes from.

use std::fmt::Write as _;
use std::fs;

use crate::machine::Machine;
use crate::report::{Report, Section};

/// The page.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");

/// Behind the figures of a question; before them there is `<!-- figures of QUESTION -->`.
const END: &str = "<!-- end of figures -->\n";

/// The heading of the table of goals.
const GOALS: &str = "\n## Goals\n";

/// Writes it. Ends the bench when the page has no place for a question or a goal.
pub(crate) fn record(machine: &Machine, report: &Report) {
    let page = fs::read_to_string(PAGE).expect("the page of figures");
    let page = report.sections().iter().fold(page, |page, section| with_figures(&page, machine, section));
    let page = report.goal_rows().fold(page, |page, (name, row)| with_goal(&page, name, &row));
    fs::write(PAGE, page).expect("the page of figures");
    println!("\nrecorded in {PAGE}");
}

fn with_figures(page: &str, machine: &Machine, section: &Section) -> String {
    let question = section.question;
    let mark = format!("<!-- figures of {question} -->\n");
    let (before, rest) = page.split_once(&mark).unwrap_or_else(|| panic!("the page has no place for {question}"));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("the figures of {question} have no end"));
    let mut figures = format!("\n{machine}.\n\n");
    section.lines.iter().for_each(|line| writeln!(figures, "{line}").expect("a text"));
    format!("{before}{mark}{figures}\n{END}{after}")
}

fn with_goal(page: &str, name: &str, row: &str) -> String {
    let (before, rest) = page.split_once(GOALS).expect("the page has a table of goals");
    // Further tables tell what a goal measures, by the same names.
    let (goals, after) = rest.split_at(rest.find("\n## ").unwrap_or(rest.len()));
    let begin = format!("\n| `{name}` |");
    let start = goals.find(&begin).unwrap_or_else(|| panic!("the page has no row for the goal {name}")) + 1;
    let end = goals[start..].find('\n').map_or(goals.len(), |length| start + length);
    format!("{before}{GOALS}{}{row}{}{after}", &goals[..start], &goals[end..])
}
