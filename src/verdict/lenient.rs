//! Parses JSON as Python writes it: its `NaN` and `Infinity` and its lone surrogates are not JSON, yet the existing analyzers send them when a
//! tool measured nothing or an app's file is not UTF-8. A whole analysis should not be lost over one such value.

use serde_json::Value;

/// Parses JSON; where that fails, once more with `NaN`, `Infinity` and `-Infinity` outside of strings read as `null`, and lone surrogate
/// escapes read as U+FFFD. The flag says whether the text was valid JSON as it stood.
///
/// # Errors
/// The parser's first complaint when the text is not JSON even so.
pub fn parse(bytes: &[u8]) -> Result<(Value, bool), serde_json::Error> {
    serde_json::from_slice(bytes)
        .map(|value| (value, true))
        .or_else(|error| serde_json::from_slice(&repair(bytes)).map(|value| (value, false)).map_err(|_| error))
}

fn repair(bytes: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut repaired = Vec::with_capacity(bytes.len());
    let mut in_string = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        if in_string && byte == b'\\' {
            let (kept, taken): (&[u8], usize) = match (unit(rest), rest.get(6..).and_then(unit)) {
                (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (&rest[..12], 12),
                (Some(0xD800..=0xDFFF), _) => (b"\\ufffd", 6),
                _ => (&rest[..rest.len().min(2)], rest.len().min(2)),
            };
            repaired.extend_from_slice(kept);
            at += taken;
        } else if let Some(word) = WORDS.iter().find(|word| !in_string && rest.starts_with(word)) {
            repaired.extend_from_slice(b"null");
            at += word.len();
        } else {
            in_string ^= byte == b'"';
            repaired.push(byte);
            at += 1;
        }
    }
    repaired
}

/// The UTF-16 unit of an escape such as `\ud83d` at the start of `text`.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_read_as_it_stands() {
        assert_eq!(parse(br#"{"a": "NaN \ud83d\ude00"}"#).unwrap(), (json!({"a": "NaN 😀"}), true));
        assert!(parse(b"{").is_err() && parse(b"").is_err() && parse(b"NaN,").is_err());
    }

    #[test]
    fn what_python_writes_is_read_too() {
        let text = br#"{"mean": NaN, "max": [-Infinity, Infinity], "s": "NaN \" \ud83d \udc00\ud83d\ude00 \\ud800"}"#;
        let (value, exact) = parse(text).unwrap();
        assert!(!exact);
        assert_eq!(value, json!({"mean": null, "max": [null, null], "s": "NaN \" \u{fffd} \u{fffd}😀 \\ud800"}));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let mut quoted = b"\"\\u".to_vec();
            quoted.extend(&bytes);
            let _ = parse(&quoted);
        }
    }
}
