//! Filling placeholders, and finding the values of parameters. Everything that cannot be filled is an error with its reason.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::resource::pipeline::PipelineSpec;
use crate::resource::template::{Piece, Place, pieces};

/// What the placeholders of one child stand for.
#[derive(Debug, Clone, Default)]
pub struct Values<'a> {
    /// Parameters of the run.
    pub params: Option<&'a Map<String, Value>>,
    /// Name of the run.
    pub run: &'a str,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// The item.
    pub item: Option<Value>,
    /// The combination of the matrix.
    pub matrix: BTreeMap<String, Value>,
    /// The app.
    pub app: Option<String>,
    /// Name and directory of the app that is made.
    pub produced: Option<(String, String)>,
    /// Outputs of other steps.
    pub outputs: BTreeMap<String, Map<String, Value>>,
}

impl Values<'_> {
    fn get(&self, place: &Place) -> Result<Value, String> {
        let found = match place {
            Place::Param(key) => self.params.and_then(|params| params.get(key)).cloned(),
            Place::Item => self.item.clone(),
            Place::ItemKey(key) => self.item.as_ref().and_then(|item| item.get(key)).cloned(),
            Place::Matrix(key) => self.matrix.get(key).cloned(),
            Place::App => self.app.clone().map(Value::String),
            Place::ProducedApp => self.produced.as_ref().map(|(name, _)| name.clone().into()),
            Place::ProducedPath => self.produced.as_ref().map(|(_, path)| path.clone().into()),
            Place::RunName => Some(self.run.into()),
            Place::PipelineName => Some(self.pipeline.into()),
            Place::Output { step, key } => self.outputs.get(step).and_then(|outputs| outputs.get(key)).cloned(),
        };
        found.ok_or_else(|| match place {
            Place::Output { step, key } => format!("step {step} has given no output {key:?}"),
            Place::Param(key) => format!("there is no parameter {key:?}"),
            Place::Item
            | Place::ItemKey(_)
            | Place::Matrix(_)
            | Place::App
            | Place::ProducedApp
            | Place::ProducedPath
            | Place::RunName
            | Place::PipelineName => format!("nothing stands for {place:?} here"),
        })
    }

    /// Fills a text; one that is a single placeholder becomes what it stands for, whatever type that has.
    ///
    /// # Errors
    /// What cannot be filled.
    pub fn value(&self, text: &str) -> Result<Value, String> {
        let pieces = pieces(text).map_err(|bad| bad.to_string())?;
        if let [Piece::Place(place)] = pieces.as_slice() {
            return self.get(place);
        }
        let mut filled = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => filled.push_str(&text),
                Piece::Place(place) => filled.push_str(&plain(&self.get(&place)?)),
            }
        }
        Ok(Value::String(filled))
    }

    /// Fills a text, into a text.
    ///
    /// # Errors
    /// What cannot be filled.
    pub fn text(&self, text: &str) -> Result<String, String> {
        self.value(text).map(|value| plain(&value))
    }

    /// Fills every text in a map.
    ///
    /// # Errors
    /// What cannot be filled, with its key.
    pub fn map(&self, map: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        map.iter()
            .map(|(key, value)| Ok((key.clone(), self.any(value).map_err(|why| format!("{key}: {why}"))?)))
            .collect()
    }

    fn any(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.value(text)?,
            Value::Array(items) => Value::Array(items.iter().map(|item| self.any(item)).collect::<Result<_, _>>()?),
            Value::Object(map) => Value::Object(self.map(map)?),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }
}

/// A value as it stands in a text.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a parameter is declared as: its default, its type, and the values that it may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// What it is when nobody says.
    pub default: Option<Value>,
    /// `string`, `number` or `boolean`; `None` for any.
    pub word: Option<&'static str>,
    /// The values that it may have; empty for any.
    pub choices: Vec<Value>,
}

/// Reads the declaration of a parameter: a plain value is its default, a map says more.
#[must_use]
pub fn declared(value: &Value) -> Declared {
    let Value::Object(map) = value else {
        return Declared { default: Some(value.clone()), word: type_of(value), choices: Vec::new() };
    };
    let default = map.get("default").cloned();
    let choices = map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
    let said =
        ["string", "number", "boolean"].into_iter().find(|word| map.get("type").and_then(Value::as_str) == Some(*word));
    let word = said.or_else(|| default.as_ref().or(choices.first()).and_then(type_of));
    Declared { default, word, choices }
}

/// The type of a plain value.
#[must_use]
pub const fn type_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("boolean"),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The value of every parameter of a run.
///
/// # Errors
/// An unknown parameter, one without a value, one of the wrong type or outside of its choices.
pub fn resolve_params(spec: &PipelineSpec, given: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    if let Some(unknown) = given.keys().find(|key| !spec.params.contains_key(*key)) {
        let known: Vec<&str> = spec.params.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(format!("the pipeline has no parameter {unknown:?}; {known}"));
    }
    let mut params = Map::new();
    for (key, value) in &spec.params {
        let declared = declared(value);
        let value = given.get(key).or(declared.default.as_ref());
        let value =
            value.ok_or_else(|| format!("the parameter {key:?} has no default and needs a value: -p {key}=..."))?;
        if declared.word.is_some_and(|word| type_of(value) != Some(word)) {
            return Err(format!("the parameter {key:?} is a {}, not {value}", declared.word.unwrap_or_default()));
        }
        if !declared.choices.is_empty() && !declared.choices.contains(value) {
            let choices: Vec<String> = declared.choices.iter().map(plain).collect();
            return Err(format!("the parameter {key:?} cannot be {value}; one of {}", choices.join(", ")));
        }
        params.insert(key.clone(), value.clone());
    }
    Ok(params)
}

/// Parameters as a person wrote them, by the types that the pipeline declares.
///
/// # Errors
/// A text that is not of that type; and what [`resolve_params`] finds later is left to it.
pub fn read_params(spec: &PipelineSpec, given: &BTreeMap<String, String>) -> Result<Map<String, Value>, String> {
    let mut params = Map::new();
    for (key, text) in given {
        let word = spec.params.get(key).and_then(|value| declared(value).word);
        let value = match word {
            Some("number") => text
                .parse::<i64>()
                .map(Value::from)
                .ok()
                .or_else(|| text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number)),
            Some("boolean") => text.parse::<bool>().ok().map(Value::Bool),
            _ => Some(Value::String(text.clone())),
        };
        let value =
            value.ok_or_else(|| format!("the parameter {key:?} is a {}, not {text:?}", word.unwrap_or_default()))?;
        params.insert(key.clone(), value);
    }
    Ok(params)
}
