//! A picture in the language of Graphviz. Source of the syntax: graphviz.org/doc/info/lang.html.

use std::fmt::Write;

use super::super::picture::{Picture, StepPicture};
use super::{colours, lines};

/// The graph: a box for each step coloured by its phase, an arrow for each need, a dashed one where apps stream.
pub(super) fn dot(picture: &Picture) -> String {
    let mut text = format!("digraph {} {{\n  rankdir=LR;\n", quoted(&picture.title));
    text.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n");
    let (finals, others): (Vec<_>, Vec<_>) = picture.steps.iter().enumerate().partition(|(_, step)| step.is_final);
    for (at, step) in others {
        text.push_str(&node(at, step, "  "));
    }
    if !finals.is_empty() {
        text.push_str("  subgraph cluster_finally {\n    label=\"finally\"; style=dashed;\n");
        for (at, step) in &finals {
            text.push_str(&node(*at, step, "    "));
        }
        text.push_str("  }\n");
    }
    for (at, step) in picture.steps.iter().enumerate() {
        for need in &step.needs {
            let style = if step.streams_from == Some(*need) { " [style=dashed]" } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  s{need} -> s{at}{style};");
        }
    }
    text.push_str("}\n");
    text
}

fn node(at: usize, step: &StepPicture, indent: &str) -> String {
    let (inside, around) = colours(step);
    let width = if step.critical { ", penwidth=3" } else { "" };
    let label = quoted(&lines(step).join("\n"));
    format!("{indent}s{at} [label={label}, fillcolor=\"{inside}\", color=\"{around}\"{width}];\n")
}

/// A quoted text. A line break is written as Graphviz's escape for one; no other control character is left.
fn quoted(text: &str) -> String {
    let inner = text.chars().fold(String::new(), |mut safe, c| {
        match c {
            '"' => safe.push_str("\\\""),
            '\\' => safe.push_str("\\\\"),
            '\n' => safe.push_str("\\n"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
        safe
    });
    format!("\"{inner}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::picture::tests::picture;

    #[test]
    fn a_run_is_a_graph_with_colours_by_phase() {
        let mut picture = picture();
        picture.steps[2].streams_from = Some(0);
        let text = dot(&picture);
        for line in [
            "digraph \"run/study-1\" {",
            "  s0 [label=\"generate\\nPartialSuccess 3/3\", fillcolor=\"#fef3c7\", color=\"#b45309\"];",
            "  subgraph cluster_finally {",
            "  s0 -> s2 [style=dashed];",
            "  s1 -> s2;",
            "  s0 -> s3;",
            "}",
        ] {
            assert!(text.lines().any(|of| of == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn nothing_in_a_name_ends_the_quotes() {
        assert_eq!(quoted("a\"b\\c\nd\u{7}"), "\"a\\\"b\\\\c\\nd\u{fffd}\"");
    }
}
