//! A picture as a Mermaid flowchart. Source of the syntax: mermaid.js.org/syntax/flowchart.html.

use std::fmt::Write;

use super::super::picture::{Picture, StepPicture};
use super::{COLOURS, lines};

/// The flowchart: a box for each step with a class for its phase, an arrow for each need, a dotted one where apps stream.
pub(super) fn mermaid(picture: &Picture) -> String {
    let mut text = format!("---\ntitle: \"{}\"\n---\nflowchart LR\n", escaped(&picture.title));
    let (finals, others): (Vec<_>, Vec<_>) = picture.steps.iter().enumerate().partition(|(_, step)| step.is_final);
    for (at, step) in others {
        text.push_str(&node(at, step, "  "));
    }
    if !finals.is_empty() {
        text.push_str("  subgraph finally\n");
        for (at, step) in &finals {
            text.push_str(&node(*at, step, "    "));
        }
        text.push_str("  end\n");
    }
    for (at, step) in picture.steps.iter().enumerate() {
        for need in &step.needs {
            let arrow = if step.streams_from == Some(*need) { "-.->" } else { "-->" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  s{need} {arrow} s{at}");
        }
    }
    for (phase, inside, around) in COLOURS {
        let of_phase: Vec<String> = picture
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.standing.as_ref().is_some_and(|standing| standing.phase == phase))
            .map(|(at, _)| format!("s{at}"))
            .collect();
        if !of_phase.is_empty() {
            let _ = writeln!(text, "  classDef {phase} fill:{inside},stroke:{around},color:#111111");
            let _ = writeln!(text, "  class {} {phase}", of_phase.join(","));
        }
    }
    text
}

fn node(at: usize, step: &StepPicture, indent: &str) -> String {
    let label: Vec<String> = lines(step).iter().map(|line| escaped(line)).collect();
    // A step whose failure is the run's has a double frame.
    let (open, close) = if step.critical { ("[[", "]]") } else { ("[", "]") };
    format!("{indent}s{at}{open}\"{}\"{close}\n", label.join("<br/>"))
}

/// The text with everything that Mermaid could take for syntax as its number.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut safe, c| {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '-' | '_' | '.' | '/' => safe.push(c),
            other => {
                let _ = write!(safe, "#{};", u32::from(other));
            }
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::picture::tests::picture;

    #[test]
    fn a_run_is_a_flowchart_with_classes_by_phase() {
        let mut picture = picture();
        picture.steps[2].streams_from = Some(0);
        picture.steps[1].critical = true;
        let text = mermaid(&picture);
        for line in [
            "title: \"run/study-1\"",
            "  s0[\"generate<br/>PartialSuccess 3/3\"]",
            "  s1[[\"prepare<br/>Completed 1/1\"]]",
            "  subgraph finally",
            "    s4[\"report<br/>Waiting\"]",
            "  s0 -.-> s2",
            "  s1 --> s2",
            "  class s0 PartialSuccess",
            "  class s3 Skipped",
        ] {
            assert!(text.lines().any(|of| of == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn nothing_in_a_name_is_taken_for_syntax() {
        assert_eq!(escaped("a\"]b<\n#"), "a#34;#93;b#60;#10;#35;");
    }
}
