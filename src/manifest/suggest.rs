//! "Did you mean": the known word nearest to a mistyped one; and how text from a file is quoted in a message.

/// Words longer than this are not compared: nobody mistypes a sentence.
const WORD_BYTES_MAX: usize = 80;
/// At most so many characters of a text are quoted.
const QUOTED_CHARS_MAX: usize = 60;

/// The candidate a person most likely meant; `None` when nothing is near.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return None;
    }
    let folded = fold(word);
    let allowed = (folded.len() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        // A difference in length is a lower bound of the distance, and much cheaper.
        if candidate.len().abs_diff(word.len()) > allowed + 3 {
            continue;
        }
        let distance = strsim::osa_distance(&folded, &fold(candidate));
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The help line for a mistyped word.
pub(crate) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Case and separators are what people get wrong most often.
fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Text from a file, quoted, escaped and cut, for a message.
pub(crate) fn quoted(text: &str) -> String {
    let cut = text.char_indices().nth(QUOTED_CHARS_MAX).map(|(at, _)| at);
    match cut {
        Some(at) => format!("\"{}…\"", escaped(&text[..at])),
        None => format!("\"{}\"", escaped(text)),
    }
}

fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c == '\'' { c.to_string().chars().collect::<Vec<_>>() } else { c.escape_debug().collect() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_wins_and_far_ones_do_not() {
        let words = ["tools", "app", "analyzer", "activeDeadlineSeconds"];
        assert_eq!(nearest("tool", words), Some("tools"));
        assert_eq!(nearest("Analyser", words), Some("analyzer"));
        assert_eq!(nearest("active_deadline_seconds", words), Some("activeDeadlineSeconds"));
        assert_eq!(nearest("replicas", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}\"b"), "\"a\\u{1b}\\\"b\"");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), QUOTED_CHARS_MAX + 3);
    }
}
