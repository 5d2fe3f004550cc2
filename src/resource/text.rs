//! Which characters of somebody else's text may be shown as they are.

/// Whether a terminal would obey a character instead of showing it, or whether it turns the direction of writing, so that a text reads as
/// another one. Sources: ECMA-48 for the control characters; the Unicode property `Bidi_Control`; the two separators of lines and paragraphs.
#[must_use]
pub const fn is_obeyed(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_known_and_every_other_letter_is_shown() {
        assert!((0..0x11_0000).filter_map(char::from_u32).filter(|c| c.is_control()).all(is_obeyed));
        for c in ['\u{1b}', '\u{9b}', '\n', '\u{202e}', '\u{2067}', '\u{61c}', '\u{2028}'] {
            assert!(is_obeyed(c), "{c:?}");
        }
        for c in ['a', ' ', 'ö', 'ש', '中', '😀', '\u{a0}', '…'] {
            assert!(!is_obeyed(c), "{c:?}");
        }
    }
}
