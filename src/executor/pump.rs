//! Reads what a program writes: standard output up to a limit, standard error as log, with the end of it at hand for messages.

use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, ChildStdout};

use super::log::Log;

/// How much of the end of standard error is kept for messages.
const STDERR_BYTES_MAX: usize = 4096;

const CHUNK: usize = 64 << 10;

/// Both pipes of a program and what came out of them.
pub(super) struct Pump {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    out_buffer: Vec<u8>,
    err_buffer: Vec<u8>,
    /// Standard output so far.
    pub(super) output: Vec<u8>,
    /// The end of standard error.
    pub(super) stderr_end: Vec<u8>,
    output_max: usize,
    logs_stdout: bool,
}

/// What one read came to.
pub(super) enum Flow {
    /// There may be more.
    More,
    /// Both pipes are at their end.
    Closed,
    /// Standard output is over its limit.
    TooLarge,
}

/// Which pipe was read.
pub(super) enum Chunk {
    Out(usize),
    Err(usize),
    Closed,
}

impl Pump {
    /// `logs_stdout`: standard output is not the result, so it belongs into the log; then the log's bound is its limit.
    pub(super) fn new(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        output_max: usize,
        logs_stdout: bool,
    ) -> Self {
        // Most programs write little, so most of it is never touched.
        let (out_buffer, err_buffer) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
        Self {
            stdout,
            stderr,
            out_buffer,
            err_buffer,
            output: Vec::new(),
            stderr_end: Vec::new(),
            output_max,
            logs_stdout,
        }
    }

    /// Waits for the next bytes. They stay in the pump, so nothing is lost when this is dropped; hand the chunk to [`Pump::keep`].
    pub(super) async fn read(&mut self) -> Chunk {
        tokio::select! {
            Some(count) = read(&mut self.stdout, &mut self.out_buffer) => Chunk::Out(count),
            Some(count) = read(&mut self.stderr, &mut self.err_buffer) => Chunk::Err(count),
            else => Chunk::Closed,
        }
    }

    /// Puts what was read where it belongs.
    pub(super) fn keep(&mut self, chunk: Chunk, log: &mut Log) -> Flow {
        match chunk {
            Chunk::Out(0) => self.stdout = None,
            Chunk::Err(0) => self.stderr = None,
            Chunk::Out(count) if self.logs_stdout => log.append(&self.out_buffer[..count]),
            Chunk::Out(count) => {
                if self.output.len() + count > self.output_max {
                    return Flow::TooLarge;
                }
                self.output.extend_from_slice(&self.out_buffer[..count]);
            }
            Chunk::Err(count) => {
                let bytes = &self.err_buffer[..count];
                self.stderr_end.extend_from_slice(bytes);
                let over = self.stderr_end.len().saturating_sub(STDERR_BYTES_MAX);
                self.stderr_end.drain(..over);
                log.append(bytes);
            }
            Chunk::Closed => return Flow::Closed,
        }
        Flow::More
    }

    /// Reads until both pipes are at their end, or output is over its limit.
    pub(super) async fn drain(&mut self, log: &mut Log) -> Flow {
        loop {
            let chunk = self.read().await;
            match self.keep(chunk, log) {
                Flow::More => {}
                end => return end,
            }
        }
    }
}

/// Bytes read; 0 at the end or when the pipe broke, `None` when it was at its end before.
async fn read<R: tokio::io::AsyncRead + Unpin>(pipe: &mut Option<R>, buffer: &mut Vec<u8>) -> Option<usize> {
    let pipe = pipe.as_mut()?;
    buffer.clear();
    Some(pipe.read_buf(buffer).await.unwrap_or(0))
}
