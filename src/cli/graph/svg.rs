//! A picture as SVG, without any other program: boxes in layers, arrows as curves.

use std::fmt::Write;

use super::super::picture::{Picture, StepPicture};
use super::layout::places;
use super::{colours, lines};

/// Height of a box.
const HEIGHT: usize = 46;
/// Between boxes that stand above each other.
const BELOW: usize = 18;
/// Between layers, where the arrows are.
const BESIDE: usize = 60;
/// Around everything.
const MARGIN: usize = 20;
/// Room for the title.
const TITLE: usize = 26;
/// What one character takes, about.
const LETTER: usize = 8;
/// The least width of a box.
const WIDTH_MIN: usize = 130;

/// The picture as one SVG document.
pub(super) fn svg(picture: &Picture) -> String {
    let places = places(picture);
    let letters = picture.steps.iter().flat_map(lines).map(|line| line.chars().count()).max().unwrap_or(0);
    let width = (letters * LETTER + 2 * LETTER).max(WIDTH_MIN);
    let spot =
        |(layer, place): (usize, usize)| (MARGIN + layer * (width + BESIDE), MARGIN + TITLE + place * (HEIGHT + BELOW));
    let right = places.iter().map(|place| spot(*place).0 + width).max().unwrap_or(WIDTH_MIN) + MARGIN;
    let bottom = places.iter().map(|place| spot(*place).1 + HEIGHT).max().unwrap_or(MARGIN + TITLE) + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right}\" height=\"{bottom}\" viewBox=\"0 0 {right} {bottom}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
         markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" fill=\"#666666\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "<text x=\"{MARGIN}\" y=\"{}\" font-weight=\"bold\">{}</text>",
        MARGIN + 8,
        escaped(&picture.title)
    );
    for (step, place) in picture.steps.iter().zip(&places) {
        for (need, from) in step.needs.iter().filter_map(|need| Some((*need, *places.get(*need)?))) {
            let dashed = if step.streams_from == Some(need) { " stroke-dasharray=\"5 4\"" } else { "" };
            text.push_str(&arrow(spot(from), spot(*place), width, dashed));
        }
    }
    for (step, place) in picture.steps.iter().zip(&places) {
        text.push_str(&node(step, spot(*place), width));
    }
    text.push_str("</svg>\n");
    text
}

fn arrow(from: (usize, usize), to: (usize, usize), width: usize, dashed: &str) -> String {
    let (x1, y1, x2, y2) = (from.0 + width, from.1 + HEIGHT / 2, to.0, to.1 + HEIGHT / 2);
    let (c1, c2) = (x1 + BESIDE / 2, x2.saturating_sub(BESIDE / 2));
    format!(
        "<path d=\"M{x1} {y1} C{c1} {y1} {c2} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#666666\"{dashed} marker-end=\"url(#tip)\"/>\n"
    )
}

fn node(step: &StepPicture, (x, y): (usize, usize), width: usize) -> String {
    let (inside, around) = colours(step);
    let thick = if step.critical { 3 } else { 1 };
    let dashed = if step.is_final { " stroke-dasharray=\"4 3\"" } else { "" };
    let mut text = format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{inside}\" stroke=\"{around}\" \
         stroke-width=\"{thick}\"{dashed}/>\n"
    );
    for (at, line) in lines(step).iter().enumerate() {
        let weight = if at == 0 { " font-weight=\"bold\"" } else { "" };
        let (x, y) = (x + width / 2, y + 19 + at * 17);
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\"{weight}>{}</text>", escaped(line));
    }
    text
}

/// The text as XML may hold it.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut safe, c| {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::picture::tests::picture;

    #[test]
    fn every_step_has_a_box_and_every_need_an_arrow() {
        let mut picture = picture();
        picture.steps[2].streams_from = Some(0);
        let text = svg(&picture);
        assert_eq!(text.matches("<rect ").count(), 1 + 5, "{text}");
        assert_eq!(text.matches("marker-end").count(), 3, "{text}");
        assert_eq!(text.matches("stroke-dasharray=\"5 4\"").count(), 1, "{text}");
        assert!(text.contains(">analyse</text>") && text.contains(">Running 1/6</text>"), "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn boxes_do_not_cover_each_other() {
        let text = svg(&picture());
        let number = |tag: &str, name: &str| -> usize {
            let rest = tag.split(&format!(" {name}=\"")).nth(1).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let boxes: Vec<(usize, usize, usize)> = text
            .lines()
            .filter(|line| line.starts_with("<rect x="))
            .map(|tag| (number(tag, "x"), number(tag, "y"), number(tag, "width")))
            .collect();
        for (at, one) in boxes.iter().enumerate() {
            for other in &boxes[at + 1..] {
                let apart = one.0.abs_diff(other.0) >= one.2 || one.1.abs_diff(other.1) >= HEIGHT;
                assert!(apart, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn nothing_in_a_name_is_taken_for_markup() {
        let mut picture = picture();
        picture.steps[0].name = "<script>\"&'\u{1}".into();
        let text = svg(&picture);
        assert!(text.contains("&lt;script&gt;&quot;&amp;&#39;\u{fffd}") && !text.contains("<script"));
    }
}
