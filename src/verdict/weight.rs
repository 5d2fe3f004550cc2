//! How much memory a JSON document takes once it is read, told from its text: many small values take dozens of times as much, so that a message
//! within the limit of its bytes could fill the memory all the same.

/// The heaviest document that is read, in bytes of memory. A hundred thousand findings of a dozen members each take about half of it.
pub const WEIGHT_MAX: usize = 512 << 20;

/// What a value takes in the list that holds it.
const VALUE: usize = 80;

/// What a member of an object takes besides its value: its name, and its place.
const MEMBER: usize = 80;

/// What an object takes besides its members.
const OBJECT: usize = 120;

/// About how many bytes a document takes when it is read, without its texts, which take what they take. What is no JSON has a weight, too: that
/// of the part that is read before this is found out is never more.
#[must_use]
pub fn weight(text: &[u8]) -> usize {
    let (mut values, mut members, mut objects) = (1, 0, 0);
    let (mut in_string, mut at) = (false, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b',' | b'[' => values += 1,
            b':' => members += 1,
            b'{' => {
                values += 1;
                objects += 1;
            }
            _ => {}
        }
        at += 1;
    }
    values * VALUE + members * MEMBER + objects * OBJECT
}

/// Whether a document takes more than so many bytes when it is read.
#[must_use]
pub fn is_heavier(text: &[u8], than: usize) -> bool {
    // No character weighs more than an object with the value that it is, so most texts need not be looked at.
    text.len() > than / (VALUE + OBJECT) && weight(text) > than
}

/// Why a document is not read; nothing when it is light enough.
#[must_use]
pub fn too_heavy(text: &[u8]) -> Option<String> {
    if !is_heavier(text, WEIGHT_MAX) {
        return None;
    }
    let limit = WEIGHT_MAX >> 20;
    Some(format!(
        "it has so many values that reading it would take more than {limit} MiB of memory; ask for fewer tools or a smaller app"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_members_and_objects_are_counted_and_texts_are_not() {
        for (text, values, members, objects) in [
            ("[]", 2, 0, 0),
            ("[1,2]", 3, 0, 0),
            (r#"{"a": 1, "b": [true]}"#, 4, 2, 1),
            (r#"{"a,b:{[": "x\",[[[,,,", "\\": "{"}"#, 3, 2, 1),
            ("", 1, 0, 0),
        ] {
            assert_eq!(weight(text.as_bytes()), values * VALUE + members * MEMBER + objects * OBJECT, "{text}");
        }
    }

    #[test]
    fn a_value_takes_no_more_than_is_said() {
        assert!(size_of::<Value>() <= VALUE, "{}", size_of::<Value>());
        assert!(size_of::<String>() + size_of::<u64>() <= MEMBER);
    }

    #[test]
    fn small_values_without_number_are_refused_and_long_texts_are_not() {
        let many = |one: &str, times: usize| format!("[{}0]", one.repeat(times)).into_bytes();
        assert!(too_heavy(&many("0,", 8 << 20)).is_some());
        assert!(too_heavy(&many("{},", 4 << 20)).is_some());
        assert!(too_heavy(&many("[[", 8 << 20)).is_some());
        assert_eq!(too_heavy(&many(&format!("\"{}\",", "[".repeat(4000)), 10_000)), None);
        assert_eq!(too_heavy(&many("{\"a\":1},", 100_000)), None);
    }
}
