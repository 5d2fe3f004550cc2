//! The text of one file, and where a byte of it is for a person: line, column, and the line to show.

use super::problem::Place;

/// A range of bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// First byte.
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
}

/// At most so many characters of a source line are kept with a problem: a file may be one line of a mebibyte.
const SHOWN_CHARS_MAX: usize = 160;
/// So many of them lie before the problem when the line must be cut.
const SHOWN_BEFORE: usize = 50;

/// The text of one file and the starts of its lines.
pub(crate) struct Source<'a> {
    /// The whole text, with a byte order mark when there is one.
    pub(crate) text: &'a str,
    starts: Vec<u32>,
}

impl<'a> Source<'a> {
    /// Indexes the lines of `text`, which is at most [`super::FILE_BYTES_MAX`] long.
    pub(crate) fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        // As in YAML, a lone carriage return ends a line too.
        let ends = bytes.iter().enumerate().filter(|(at, byte)| match **byte {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at as u32 + 1)).collect();
        Self { text, starts }
    }

    /// The line of a byte, from 0.
    fn line_index(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start as usize <= at).saturating_sub(1)
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> u32 {
        self.line_index(at) as u32 + 1
    }

    /// Where the line of this byte starts.
    pub(crate) fn line_start(&self, at: usize) -> usize {
        self.starts[self.line_index(at)] as usize
    }

    /// Where the line after the line of this byte starts; the end of the text when there is none.
    pub(crate) fn next_line_start(&self, at: usize) -> usize {
        self.starts.get(self.line_index(at) + 1).map_or(self.text.len(), |start| *start as usize)
    }

    /// The text of the line of this byte, without its line break and without a byte order mark; and where that text starts.
    pub(crate) fn line_text(&self, at: usize) -> (&'a str, usize) {
        let start = self.line_start(at);
        let line = &self.text[start..self.next_line_start(at)];
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line.strip_prefix('\u{feff}') {
            Some(rest) if start == 0 => (rest, '\u{feff}'.len_utf8()),
            _ => (line, start),
        }
    }

    /// Where a span is for a person. Columns count characters from 1; a span over several lines is shown on its first.
    pub(crate) fn place(&self, span: Span) -> Place {
        let at = floor_boundary(self.text, span.start);
        let (line, start) = self.line_text(at);
        let from = floor_boundary(line, at.saturating_sub(start));
        let to = floor_boundary(line, span.end.saturating_sub(start)).max(from);
        let before = line[..from].chars().count();
        let width = line[from..to].trim_end().chars().count();
        let (source_line, source_column) = shown(line, from, before);
        Place {
            line: self.line(at),
            column: before as u32 + 1,
            end_column: (width > 0).then_some((before + width) as u32 + 1),
            source_line,
            source_column,
        }
    }
}

/// The nearest start of a character at or before `at`, inside the text.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The part of a line worth showing around byte `from`, which follows `before` characters; and the column in that part.
fn shown(line: &str, from: usize, before: usize) -> (String, u32) {
    let short = line.len() <= SHOWN_CHARS_MAX || line.chars().nth(SHOWN_CHARS_MAX).is_none();
    if short {
        return (line.to_owned(), before as u32 + 1);
    }
    let kept_before = before.min(SHOWN_BEFORE);
    let start = line[..from].char_indices().rev().take(kept_before).last().map_or(from, |(at, _)| at);
    let mut part = String::with_capacity(SHOWN_CHARS_MAX + 6);
    let mut column = kept_before as u32 + 1;
    if start > 0 {
        part.push('…');
        column += 1;
    }
    let rest = &line[start..];
    let end = rest.char_indices().nth(SHOWN_CHARS_MAX).map_or(rest.len(), |(at, _)| at);
    part.push_str(&rest[..end]);
    if end < rest.len() {
        part.push('…');
    }
    (part, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, start: usize, end: usize) -> (u32, u32, Option<u32>, String, u32) {
        let place = Source::new(text).place(Span { start, end });
        (place.line, place.column, place.end_column, place.source_line, place.source_column)
    }

    #[test]
    fn columns_count_characters_and_lines_lose_their_break() {
        assert_eq!(place("a: 1\r\nżó: x\r\n", 6, 10), (2, 1, Some(3), "żó: x".into(), 1));
        assert_eq!(place("a: 1\nżó: x", 11, 12), (2, 5, Some(6), "żó: x".into(), 5));
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        assert_eq!(place("\u{feff}a: 1", 3, 4), (1, 1, Some(2), "a: 1".into(), 1));
    }

    #[test]
    fn a_lone_carriage_return_ends_a_line_as_in_yaml() {
        assert_eq!(place("a: 1\rb: 2", 5, 6), (2, 1, Some(2), "b: 2".into(), 1));
        assert_eq!(place("\u{feff}\u{feff}1\r \r>", 10, 11), (3, 1, Some(2), ">".into(), 1));
    }

    #[test]
    fn places_outside_the_text_are_moved_into_it() {
        assert_eq!(place("ab", 99, 120), (1, 3, None, "ab".into(), 3));
        assert_eq!(place("", 0, 0), (1, 1, None, String::new(), 1));
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let text = "ą".repeat(5000);
        let (_, column, _, line, shown) = place(&text, 6000, 6002);
        assert_eq!(column, 3001);
        assert_eq!(line.chars().count(), SHOWN_CHARS_MAX + 2);
        assert_eq!(shown as usize, SHOWN_BEFORE + 2);
    }
}
