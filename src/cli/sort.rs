//! The order of what `get` lists: by a column, or by any field of the JSON.

use anyhow::bail;
use serde_json::Value;

use super::item::{self, Beside};
use crate::store::view::ObjectView;

/// Sorts by a field of the JSON; objects without it come last.
pub(crate) fn sort(objects: &mut Vec<ObjectView>, beside: &Beside, field: &str) -> anyhow::Result<()> {
    let path = match field.to_ascii_lowercase().as_str() {
        "name" => "/metadata/name".into(),
        "age" => "/metadata/creationTimestamp".into(),
        "app" | "analyzer" | "priority" | "path" | "model" | "number" => format!("/spec/{}", field.to_lowercase()),
        "phase" | "reason" | "attempts" | "message" => format!("/status/{}", field.to_lowercase()),
        "next" => "/status/nextTime".into(),
        _ if field.starts_with('.') || field.starts_with("{.") => field.trim_matches(['{', '}']).replace('.', "/"),
        _ => bail!(
            "cannot sort by {field:?}; write name, age, app, analyzer, phase, reason, priority, attempts, next, or a field such as .spec.priority"
        ),
    };
    let mut keyed: Vec<(Option<Value>, ObjectView)> = std::mem::take(objects)
        .into_iter()
        .map(|object| (item::item(&object, beside).pointer(&path).cloned(), object))
        .collect();
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        bail!("cannot sort by {field:?}: no object has this field");
    }
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    });
    objects.extend(keyed.into_iter().map(|(_, object)| object));
    Ok(())
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_f64(), b.as_f64(), a.as_str(), b.as_str()) {
        (Some(a), Some(b), _, _) => a.total_cmp(&b),
        (_, _, Some(a), Some(b)) => a.cmp(b),
        _ => a.to_string().cmp(&b.to_string()),
    }
}
