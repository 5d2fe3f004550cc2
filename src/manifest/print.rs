//! Prints an object as YAML, the way a person would write it.

use serde_json::Value;

/// The YAML of a value, as for `get -o yaml`. Keys keep their order, and what looks like a number, a boolean or a date but is a text is quoted,
/// so that reading it back gives the same value.
#[must_use]
pub fn to_yaml(object: &Value) -> String {
    // Folded block scalars would move the spaces of long texts to line breaks: correct, but unlike what was written.
    let options = serde_yaml::ser_options! { prefer_block_scalars: false };
    match serde_yaml::to_string_with_options(object, options) {
        Ok(mut text) => {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        }
        // JSON is YAML, and printing a JSON value cannot fail.
        Err(_) => format!("{object:#}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let object = json!({
            "kind": "Task", "metadata": {"name": "8", "labels": {"a": "yes", "b": "null", "c": "1.5", "d": "~", "e": "007"}},
            "spec": {"config": {"text": "a\nb\n", "long": "word ".repeat(40), "list": [], "map": {}, "n": 1.5, "colon": "a: b", "esc": "\u{1b}", "empty": ""}},
        });
        let text = to_yaml(&object);
        assert!(text.contains("\n  name: \"8\"\n") || text.contains("\n  name: '8'\n"), "{text}");
        assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), object, "{text}");
    }
}
