//! Shipped and user-written YAML files that are not manifests, such as tool declarations: text to one typed value, with
//! the place of the first problem.

use serde::de::DeserializeOwned;

/// The largest text that is read.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Reads one YAML document into `T`. `label` names the text in messages: a file name, usually.
///
/// # Errors
/// One line, `label:line:column: what is wrong`. Duplicate keys are errors; unknown ones are when `T` says so.
pub fn typed<T: DeserializeOwned>(label: &str, text: &str) -> Result<T, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("{label}:1:1: {} bytes are more than the {TEXT_BYTES_MAX} that are read", text.len()));
    }
    let options = serde_yaml::options! { strict_booleans: true };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        let message = error.without_snippet().to_string();
        format!("{label}:{line}:{column}: {}", message.lines().next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        left: u8,
        right: String,
    }

    #[test]
    fn a_document_becomes_a_value() {
        let pair: Pair = typed("pair.yaml", "left: 3\nright: \"no\"\n").unwrap();
        assert_eq!((pair.left, pair.right.as_str()), (3, "no"));
    }

    #[test]
    fn a_problem_is_one_line_with_its_place() {
        for text in
            ["left: 3\nright: a\nmiddle: 1\n", "left: 3\nleft: 4\nright: a\n", "left: [\n", "left: 300\nright: a"]
        {
            let message = typed::<Pair>("pair.yaml", text).unwrap_err();
            let mut parts = message.splitn(4, ':');
            assert_eq!(parts.next(), Some("pair.yaml"), "{message}");
            assert!(parts.next().is_some_and(|line| line.parse::<u64>().is_ok()), "{message}");
            assert!(parts.next().is_some_and(|column| column.parse::<u64>().is_ok()), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
