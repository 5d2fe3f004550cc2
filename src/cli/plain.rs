//! Between what is written and where it goes: JSON whose texts no terminal obeys, and a log in which one event is one line.

use std::io::{self, Write};

use crate::resource::text::is_obeyed;

/// Writes JSON, with every character that a terminal would obey as an escape. The value is the same. Whoever writes must not cut characters in
/// two, as `serde_json` does not.
pub(crate) struct PlainJson<W>(pub(crate) W);

impl<W: Write> Write for PlainJson<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Line breaks stand between the parts of a document; within a text they are escapes already.
        match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().any(|c| is_obeyed(c) && c != '\n') => {
                let mut plain = String::with_capacity(text.len() + 16);
                for c in text.chars() {
                    match is_obeyed(c) && c != '\n' {
                        true => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
                        false => plain.push(c),
                    }
                }
                self.0.write_all(plain.as_bytes())?;
            }
            _ => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes the events of a log, each of which comes as a whole: whatever is in it, it stays one line. Escapes of colours are the log's own; those
/// in what it tells are made harmless by whoever writes it.
pub(crate) struct PlainLog<W>(pub(crate) W);

impl<W: Write> Write for PlainLog<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let is_kept = |c: char| !is_obeyed(c) || c == '\u{1b}' || c == '\t';
        match std::str::from_utf8(line) {
            Ok(text) if !text.chars().all(is_kept) => {
                let plain: String = text.chars().map(|c| if is_kept(c) { c } else { '\u{fffd}' }).collect();
                self.0.write_all(plain.as_bytes())?;
                self.0.write_all(&event[line.len()..])?;
            }
            _ => self.0.write_all(event)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_means_the_same_and_a_terminal_obeys_nothing_of_it() {
        let value = json!({"a\u{9b}b": ["\u{202e}x\u{7f}", "\u{1b}[31m\n", "ö😀\u{2028}"]});
        let mut written = Vec::new();
        serde_json::to_writer_pretty(PlainJson(&mut written), &value).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert!(text.chars().all(|c| !is_obeyed(c) || c == '\n'), "{text:?}");
        assert!(text.contains("ö😀") && text.contains("\\u202e"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn an_event_stays_one_line_whatever_is_in_it() {
        let mut written = Vec::new();
        let mut log = PlainLog(&mut written);
        log.write_all("\u{1b}[32mINFO\u{1b}[0m a\n2026 ERROR forged\u{202e}\n".as_bytes()).unwrap();
        log.write_all(b"plain\n").unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, "\u{1b}[32mINFO\u{1b}[0m a\u{fffd}2026 ERROR forged\u{fffd}\nplain\n");
    }
}
