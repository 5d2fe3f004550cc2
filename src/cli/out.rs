//! Standard output: buffered, quiet when the reader has gone, and free of what a terminal would take for a command.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

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
        serde_json::to_writer_pretty(&mut *self, value).map_err(json_error)?;
        self.inner.write_all(b"\n")?;
        Ok(())
    }

    /// Writes JSON on one line.
    pub(crate) fn json_line(&mut self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut *self, value).map_err(json_error)?;
        self.inner.write_all(b"\n")?;
        Ok(())
    }

    /// Writes bytes of a file: as they are into a pipe, without control sequences onto a terminal.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.terminal {
            return self.inner.write_all(bytes);
        }
        let visible: String = String::from_utf8_lossy(bytes)
            .chars()
            .map(|c| if c == '\n' || c == '\t' || !is_unsafe(c) { c } else { '\u{fffd}' })
            .collect();
        self.inner.write_all(visible.as_bytes())
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
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(clean("a\u{1b}[31m\nb\u{202e}ö"), "a\u{fffd}[31m\u{fffd}b\u{fffd}ö");
    }
}
