//! Standard output: buffered, quiet when the reader has gone, and free of what a terminal would take for a command.

use std::io::{self, BufWriter, IsTerminal, Read, StdoutLock, Write};

use super::plain::PlainJson;
use crate::resource::text::is_obeyed;

/// So much of a file is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Standard output. Everything that a command answers goes through it; logs, notes and errors go to standard error.
pub(crate) struct Out {
    inner: BufWriter<StdoutLock<'static>>,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// Whether a person looks at it.
    pub(crate) terminal: bool,
}

impl Out {
    /// Takes standard output.
    pub(crate) fn new(colour: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { inner: BufWriter::new(stdout.lock()), colour, terminal }
    }

    /// Writes JSON, indented, with a line break.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(PlainJson(&mut *self), value).map_err(json_error)?;
        self.inner.write_all(b"\n")?;
        Ok(())
    }

    /// Writes JSON on one line.
    pub(crate) fn json_line(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(PlainJson(&mut *self), value).map_err(json_error)?;
        self.inner.write_all(b"\n")?;
        Ok(())
    }

    /// Writes a file to its end: as it is into a pipe, without what a terminal obeys onto one.
    pub(crate) fn copy(&mut self, file: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        // A character may lie across two chunks; only a terminal cares.
        let mut kept = 0;
        loop {
            let read = file.read(&mut buffer[kept..])?;
            let have = kept + read;
            let whole = if read == 0 { have } else { whole_characters(&buffer[..have]) };
            self.raw(&buffer[..whole])?;
            buffer.copy_within(whole..have, 0);
            kept = have - whole;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Writes a text that has its own way of writing odd characters, as YAML has: as it is into a pipe, without what a terminal obeys onto one.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.terminal {
            return self.inner.write_all(bytes);
        }
        self.inner.write_all(clean_lines(&String::from_utf8_lossy(bytes)).as_bytes())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// How many of these bytes do not end in the middle of a character.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

/// Keeps the error of the pipe below that of the JSON writer visible.
pub(crate) fn json_error(error: serde_json::Error) -> anyhow::Error {
    if error.is_io() { io::Error::from(error).into() } else { error.into() }
}

/// Writes a line for a person to standard error. A closed standard error is nobody's business.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The text on one line, without what a terminal would obey: control characters, and those that turn the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// The same for a text of several lines, which stay lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_never_cut_in_two() {
        assert_eq!(whole_characters("aö".as_bytes()), 3);
        assert_eq!(whole_characters(&"aö".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(b"a\xff"), 2);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(clean("a\u{1b}[31m\nb\u{202e}ö"), "a\u{fffd}[31m\u{fffd}b\u{fffd}ö");
    }
}
