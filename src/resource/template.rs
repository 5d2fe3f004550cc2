//! Placeholders in the texts of pipelines: `${params.model}`, `${item}`, `${steps.build.outputs.url}`. `$${` stands for `${`.

use std::fmt;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `params.NAME`
    Param(String),
    /// `item`
    Item,
    /// `item.KEY`
    ItemKey(String),
    /// `matrix.KEY`
    Matrix(String),
    /// `app`: the name of the app that the child is for.
    App,
    /// `produces.app`
    ProducedApp,
    /// `produces.path`
    ProducedPath,
    /// `run.name`
    RunName,
    /// `pipeline.name`
    PipelineName,
    /// `steps.NAME.outputs.KEY`
    Output {
        /// The step.
        step: String,
        /// One of its outputs, or a word of its summary.
        key: String,
    },
}

/// What every step gives to later ones without promising it: how it ended, and how many of its items ended how.
pub const SUMMARY: &[&str] = &["phase", "expected", "succeeded", "partial", "failed", "cancelled", "skipped"];

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// To be filled.
    Place(Place),
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTemplate(pub String);

impl fmt::Display for BadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes a text apart.
///
/// # Errors
/// What is not a placeholder, or has no end.
pub fn pieces(text: &str) -> Result<Vec<Piece>, BadTemplate> {
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            plain.push_str(&rest[..at - 1]);
            plain.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        plain.push_str(&rest[..at]);
        let end = rest[at..]
            .find('}')
            .ok_or_else(|| BadTemplate("a `${` has no `}`; write `$${` for the text itself".into()))?;
        let name = &rest[at + 2..at + end];
        let place = place(name).ok_or_else(|| {
            BadTemplate(format!(
                "there is no placeholder `${{{name}}}`; known are params.NAME, item, item.KEY, matrix.KEY, app, produces.app, produces.path, run.name, pipeline.name and steps.NAME.outputs.KEY"
            ))
        })?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Place(place));
        rest = &rest[at + end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

fn place(name: &str) -> Option<Place> {
    let word = |text: &str| (!text.is_empty() && !text.contains('.')).then(|| text.to_owned());
    Some(match name.split_once('.') {
        None if name == "item" => Place::Item,
        None if name == "app" => Place::App,
        Some(("params", key)) => Place::Param(word(key)?),
        Some(("item", key)) => Place::ItemKey(word(key)?),
        Some(("matrix", key)) => Place::Matrix(word(key)?),
        Some(("produces", "app")) => Place::ProducedApp,
        Some(("produces", "path")) => Place::ProducedPath,
        Some(("run", "name")) => Place::RunName,
        Some(("pipeline", "name")) => Place::PipelineName,
        Some(("steps", rest)) => {
            let (step, key) = rest.split_once(".outputs.")?;
            Place::Output { step: word(step)?, key: word(key)? }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_apart_into_what_stands_and_what_is_filled() {
        let text = |text: &str| Piece::Text(text.into());
        assert_eq!(pieces("plain"), Ok(vec![text("plain")]));
        assert_eq!(pieces(""), Ok(vec![]));
        assert_eq!(pieces("$${item} costs 5$"), Ok(vec![text("${item} costs 5$")]));
        assert_eq!(
            pieces("${params.model}-app${item}!"),
            Ok(vec![Piece::Place(Place::Param("model".into())), text("-app"), Piece::Place(Place::Item), text("!")])
        );
        let output = Place::Output { step: "build".into(), key: "url".into() };
        assert_eq!(pieces("${steps.build.outputs.url}"), Ok(vec![Piece::Place(output)]));
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for bad in
            ["${", "${nope}", "${item", "${params}", "${params.}", "${steps.a.url}", "${steps..outputs.x}", "${a.b.c}"]
        {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }
}
