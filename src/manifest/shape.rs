//! The schema of a kind, compiled once into what validation walks and `explain` prints.

use std::sync::LazyLock;

use serde_json::Value;

use crate::resource::kind::Kind;

use super::schema;

/// One place of a manifest: what may stand there.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) description: String,
    pub(crate) default: Option<Value>,
    pub(crate) wants: Wants,
}

/// What may stand at a place.
#[derive(Debug)]
pub(crate) enum Wants {
    /// Any value, handed on as it is.
    Any,
    Bool,
    /// A whole number within limits, both inclusive.
    Int {
        min: i128,
        max: i128,
    },
    Number,
    Text,
    /// A text such as `15m`.
    Duration,
    /// One of some words, each with its description.
    Words(Vec<(String, String)>),
    List {
        item: Box<Shape>,
        min: usize,
        max: usize,
    },
    /// A map with free keys.
    Map(Box<Shape>),
    /// A map with known keys.
    Record(Vec<Field>),
}

/// A key of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
}

static SHAPES: LazyLock<Vec<(Kind, Shape)>> =
    LazyLock::new(|| Kind::DECLARED.iter().map(|&kind| (kind, compile(schema::of_kind(kind)))).collect());

/// What a whole manifest of a kind looks like.
pub(crate) fn of_kind(kind: Kind) -> &'static Shape {
    static NOTHING: Shape = Shape { description: String::new(), default: None, wants: Wants::Any };
    SHAPES.iter().find(|(found, _)| *found == kind).map_or(&NOTHING, |(_, shape)| shape)
}

impl Shape {
    /// The known keys; none for anything but a record.
    pub(crate) fn fields(&self) -> &[Field] {
        if let Wants::Record(fields) = &self.wants { fields } else { &[] }
    }

    /// The shape below one key of a record.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The type in one short word, for `explain`.
    pub(crate) fn word(&self) -> String {
        match &self.wants {
            Wants::Any => "any".into(),
            Wants::Bool => "boolean".into(),
            Wants::Int { .. } => "integer".into(),
            Wants::Number => "number".into(),
            Wants::Text | Wants::Words(_) => "string".into(),
            Wants::Duration => "duration".into(),
            Wants::List { item, .. } => format!("[]{}", item.word()),
            Wants::Map(value) => format!("map[string]{}", value.word()),
            Wants::Record(_) => "object".into(),
        }
    }
}

fn compile(schema: &Value) -> Shape {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    Shape {
        description: text("description").unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
        default: schema.get("default").cloned(),
        wants: wants(schema),
    }
}

fn wants(schema: &Value) -> Wants {
    let words =
        schema.get("oneOf").and_then(Value::as_array).map_or_else(|| vec![schema], |list| list.iter().collect());
    if words.iter().all(|word| word.get("const").is_some_and(Value::is_string)) {
        return Wants::Words(words.into_iter().map(word_of).collect());
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        let text = |word: &Value| (word.as_str().unwrap_or_default().to_owned(), String::new());
        return Wants::Words(list.iter().map(text).collect());
    }
    let number = |key: &str| {
        schema.get(key).and_then(|value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from)))
    };
    let size = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => Wants::Bool,
        Some("integer") => Wants::Int {
            min: number("minimum").unwrap_or(i64::MIN.into()),
            max: number("maximum").unwrap_or(i64::MAX.into()),
        },
        Some("number") => Wants::Number,
        Some("string") if schema.get("pattern").and_then(Value::as_str).is_some_and(|p| p.contains("(ms|s|")) => {
            Wants::Duration
        }
        Some("string") => Wants::Text,
        Some("array") => Wants::List {
            item: Box::new(compile(schema.get("items").unwrap_or(&Value::Null))),
            min: size("minItems").unwrap_or(0),
            max: size("maxItems").unwrap_or(usize::MAX),
        },
        Some("object") => match schema.get("properties").and_then(Value::as_object) {
            None => Wants::Map(Box::new(compile(schema.get("additionalProperties").unwrap_or(&Value::Null)))),
            Some(properties) => {
                Wants::Record(properties.iter().map(|(name, field)| field_of(schema, name, field)).collect())
            }
        },
        _ => Wants::Any,
    }
}

fn word_of(schema: &Value) -> (String, String) {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("const"), text("description"))
}

fn field_of(parent: &Value, name: &str, schema: &Value) -> Field {
    let required =
        parent.get("required").and_then(Value::as_array).is_some_and(|list| list.iter().any(|word| word == name));
    Field { name: name.to_owned(), required, shape: compile(schema) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anything(shape: &Shape, path: &str, found: &mut Vec<String>) {
        match &shape.wants {
            Wants::Any => found.push(path.to_owned()),
            Wants::List { item, .. } => anything(item, &format!("{path}[]"), found),
            Wants::Map(value) => anything(value, &format!("{path}.*"), found),
            Wants::Record(fields) => {
                fields.iter().for_each(|field| anything(&field.shape, &format!("{path}.{}", field.name), found));
            }
            _ => {}
        }
    }

    #[test]
    fn nothing_in_the_schemas_is_left_unchecked_but_what_is_free() {
        let mut found = Vec::new();
        Kind::DECLARED.iter().for_each(|&kind| anything(of_kind(kind), kind.singular(), &mut found));
        found.retain(|path| !path.starts_with("pipeline.spec.finally[]"));
        let of_steps = ["forEach.items[]", "forEach.matrix.*[]", "config.*", "params.*"];
        let of_steps = of_steps.map(|field| format!("pipeline.spec.steps[].{field}"));
        let free =
            ["pipeline.spec.params.*".to_owned()].into_iter().chain(of_steps).chain(["task.spec.config.*".to_owned()]);
        assert!(found.iter().cloned().eq(free), "{found:?}");
    }

    #[test]
    fn limits_words_and_durations_are_seen() {
        let task = of_kind(Kind::Task).field("spec").map(|field| &field.shape).unwrap();
        assert!(matches!(task.field("backoffLimit").unwrap().shape.wants, Wants::Int { min: 0, max: 100 }));
        assert!(matches!(&task.field("runPolicy").unwrap().shape.wants, Wants::Words(words) if words.len() == 3));
        let retry = &task.field("retry").unwrap().shape;
        assert!(matches!(retry.field("base").unwrap().shape.wants, Wants::Duration));
    }
}
