//! JSON Schema of manifests, derived from the types that serde reads. Editors read it, and validation and `explain` stand on it.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::app::AppSpec;
use crate::resource::app_set::AppSetSpec;
use crate::resource::kind::{API_VERSION, Kind};
use crate::resource::metadata::Metadata;
use crate::resource::name::NAME_BYTES_MAX;
use crate::resource::pipeline::PipelineSpec;
use crate::resource::pool::PoolSpec;
use crate::resource::task::TaskSpec;

/// The dialect, JSON Schema draft 2020-12.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

static SCHEMAS: LazyLock<Vec<(Kind, Value)>> =
    LazyLock::new(|| Kind::DECLARED.iter().map(|&kind| (kind, build(kind))).collect());

/// The JSON Schema of a manifest of one kind, or of any kind.
#[must_use]
pub fn schema(kind: Option<Kind>) -> Value {
    let mut whole = match kind {
        Some(kind) => of_kind(kind).clone(),
        None => json!({
            "title": "manifestd manifest",
            "description": "One object, declared in YAML.",
            "oneOf": Kind::DECLARED.iter().map(|&kind| of_kind(kind).clone()).collect::<Vec<_>>(),
        }),
    };
    if let Some(map) = whole.as_object_mut() {
        map.shift_insert(0, "$schema".into(), DIALECT.into());
    }
    whole
}

/// The schema of one kind, built once.
pub(crate) fn of_kind(kind: Kind) -> &'static Value {
    static NOTHING: Value = Value::Null;
    SCHEMAS.iter().find(|(found, _)| *found == kind).map_or(&NOTHING, |(_, schema)| schema)
}

fn build(kind: Kind) -> Value {
    let spec = match kind {
        Kind::Analyzer => derive::<AnalyzerSpec>(),
        Kind::App => derive::<AppSpec>(),
        Kind::AppSet => derive::<AppSetSpec>(),
        Kind::Pipeline => derive::<PipelineSpec>(),
        Kind::Pool => derive::<PoolSpec>(),
        Kind::Run => Value::Null,
        Kind::Task => derive::<TaskSpec>(),
    };
    let mut metadata = derive::<Metadata>();
    if let Some(name) = metadata.pointer_mut("/properties/name").and_then(Value::as_object_mut) {
        // The same rule as resource::name::check_name.
        name.insert("pattern".into(), r"^[a-z0-9]((\.?[a-z0-9-])*\.?[a-z0-9])?$".into());
        name.insert("minLength".into(), 1.into());
        name.insert("maxLength".into(), NAME_BYTES_MAX.into());
    }
    let api_version =
        json!({ "description": "The version of the manifest format.", "type": "string", "const": API_VERSION });
    let word = json!({ "description": "What this manifest declares.", "type": "string", "const": kind.as_str() });
    json!({
        "title": kind.as_str(),
        "description": capitalised(kind.summary()),
        "type": "object",
        "properties": { "apiVersion": api_version, "kind": word, "metadata": metadata, "spec": spec },
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
    })
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).chain(['.']).collect()).unwrap_or_default()
}

fn derive<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(map) = schema.as_object_mut() {
        map.remove("title");
    }
    tidy(&mut schema);
    schema
}

/// Makes the schema say exactly what a manifest may contain: an absent field is left out and never written as `null`, and
/// Rust's number formats become the limits they mean.
fn tidy(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|word| word != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = choices.as_mut_slice() {
            let only = std::mem::take(only);
            map.remove("anyOf");
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
    limit_number(map);
    for key in ["properties", "$defs"] {
        map.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut).for_each(tidy);
    }
    for key in ["items", "additionalProperties"] {
        map.get_mut(key).into_iter().for_each(tidy);
    }
    for key in ["oneOf", "anyOf"] {
        map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(tidy);
    }
}

fn limit_number(map: &mut Map<String, Value>) {
    let Some(format) = map.get("format").and_then(Value::as_str) else { return };
    let (least, most): (Value, Value) = match format {
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "uint8" => (u8::MIN.into(), u8::MAX.into()),
        "uint16" => (u16::MIN.into(), u16::MAX.into()),
        "uint32" => (u32::MIN.into(), u32::MAX.into()),
        "int64" => (i64::MIN.into(), i64::MAX.into()),
        "uint64" => (u64::MIN.into(), u64::MAX.into()),
        _ => {
            // `duration` here is `15m`, not the ISO 8601 that JSON Schema means; the pattern says it.
            map.remove("format");
            return;
        }
    };
    map.remove("format");
    map.entry("minimum").or_insert(least);
    map.entry("maximum").or_insert(most);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
        for key in ["$ref", "format", "anyOf"] {
            if schema.get(key).is_some() {
                found.push(format!("{path}: {key}"));
            }
        }
        if schema.get("type").is_some_and(Value::is_array) {
            found.push(format!("{path}: several types"));
        }
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if field.get("description").is_none() {
                found.push(format!("{path}.{name}: no description"));
            }
            walk(field, &format!("{path}.{name}"), found);
        }
    }

    #[test]
    fn every_field_is_described_and_has_one_type() {
        for &kind in Kind::DECLARED {
            let mut found = Vec::new();
            walk(of_kind(kind), kind.singular(), &mut found);
            assert_eq!(found, Vec::<String>::new());
        }
    }

    #[test]
    fn the_schema_of_any_kind_offers_each_kind_once() {
        let any = schema(None);
        assert_eq!(any["oneOf"].as_array().map(Vec::len), Some(Kind::DECLARED.len()));
        assert_eq!(any["$schema"], DIALECT);
        assert_eq!(schema(Some(Kind::Task))["properties"]["kind"]["const"], "Task");
    }
}
