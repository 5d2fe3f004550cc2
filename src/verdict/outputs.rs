//! What a result gives to later steps of a pipeline: texts, numbers and booleans in an object `outputs`.

use serde_json::{Map, Value};

use crate::resource::outcome::{MESSAGE_BYTES_MAX, OUTPUTS_MAX};

/// The outputs in the JSON document of a program, which was written for this and is held to it.
///
/// # Errors
/// What cannot be an output, or that there are too many.
pub(super) fn of_document(document: &Value) -> Result<Map<String, Value>, String> {
    let Some(given) = document.get("outputs") else { return Ok(Map::new()) };
    let given = given.as_object().ok_or("`outputs` is not an object of texts, numbers and booleans")?;
    if given.len() > OUTPUTS_MAX {
        return Err(format!("`outputs` has {} entries, more than {OUTPUTS_MAX}", given.len()));
    }
    if let Some((key, _)) = given.iter().find(|(key, value)| !fits(key, value)) {
        let key: String = key.chars().take(80).collect();
        return Err(format!(
            "the output {key:?} is no number, no boolean and no text of at most {MESSAGE_BYTES_MAX} bytes"
        ));
    }
    Ok(given.clone())
}

/// The outputs in the `analysis` of a service's last frame, or beside it. What cannot be one, and what is too much, is passed over: the analysis is
/// not worth less for it, and a step that promises what is missing fails for that.
pub(super) fn of_frame(frame: &Value) -> Map<String, Value> {
    let given = [&frame["analysis"]["outputs"], &frame["outputs"]].into_iter().find_map(Value::as_object);
    let fitting = given.into_iter().flatten().filter(|(key, value)| fits(key, value));
    fitting.take(OUTPUTS_MAX).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn fits(key: &str, value: &Value) -> bool {
    key.len() <= MESSAGE_BYTES_MAX
        && match value {
            Value::String(text) => text.len() <= MESSAGE_BYTES_MAX,
            Value::Number(_) | Value::Bool(_) => true,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_program_gives_must_fit_and_what_a_service_gives_is_taken_as_far_as_it_does() {
        let long = "x".repeat(MESSAGE_BYTES_MAX + 1);
        let good = json!({"url": "http://h", "count": 3, "fine": true});
        for bad in [json!(null), json!([1]), json!({"a": 1}), json!(long)] {
            let mut outputs = good.clone();
            outputs["bad"] = bad;
            assert!(of_document(&json!({ "outputs": outputs })).is_err_and(|why| why.contains("\"bad\"")), "{outputs}");
            for frame in [json!({"analysis": {"outputs": outputs}}), json!({ "outputs": outputs, "analysis": {} })] {
                assert_eq!(Value::Object(of_frame(&frame)), good);
            }
        }
        assert_eq!(of_document(&json!({ "outputs": good })).map(Value::Object), Ok(good.clone()));
        assert!(of_document(&json!({"outputs": 7})).is_err());
        assert_eq!((of_document(&json!([])), of_frame(&json!({"outputs": 7}))), (Ok(Map::new()), Map::new()));
        let many: Map<String, Value> = (0..=OUTPUTS_MAX).map(|at| (format!("k{at}"), at.into())).collect();
        assert!(of_document(&json!({ "outputs": many })).is_err_and(|why| why.contains("33")));
        assert_eq!(of_frame(&json!({"analysis": {"outputs": many}})).len(), OUTPUTS_MAX);
        assert!(of_document(&json!({"outputs": {long: 1}})).is_err_and(|why| why.len() < 200));
    }
}
