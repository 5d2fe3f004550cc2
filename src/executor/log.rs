//! The log of one attempt: written as it comes, so that it can be followed, and bounded whatever is said.
//!
//! The first half of the limit goes to `log.txt` at once. Of the rest the end is kept in memory and written when the attempt is over,
//! behind a line that says how much is missing between the two.

use std::collections::VecDeque;
use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;

use super::results::Staging;

/// A log that is being written. No file exists until the first byte.
pub(super) struct Log {
    staging: Staging,
    head_left: usize,
    tail: VecDeque<u8>,
    tail_max: usize,
    left_out: u64,
    /// Taken in, and not yet handed to the file.
    unwritten: Vec<u8>,
    /// The file is being made. It is made even if nobody waits for it, so somebody must before its directory is removed.
    opening: Option<JoinHandle<io::Result<tokio::fs::File>>>,
    file: Option<tokio::fs::File>,
    broken: Option<io::Error>,
}

impl Log {
    pub(super) fn new(staging: Staging, bytes_max: usize) -> Self {
        let half = bytes_max / 2;
        Self {
            staging,
            head_left: half,
            tail: VecDeque::new(),
            tail_max: half,
            left_out: 0,
            unwritten: Vec::new(),
            opening: None,
            file: None,
            broken: None,
        }
    }

    /// Adds to the log. A disk error is kept for [`Log::close`]: it must not end what is being logged. When this is dropped half way, as happens
    /// when an attempt is stopped, [`Log::close`] writes the rest.
    pub(super) async fn append(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_left));
        self.head_left -= head.len();
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.tail_max);
        self.tail.drain(..over);
        self.left_out += over as u64;
        if !head.is_empty() && self.broken.is_none() {
            self.unwritten.extend_from_slice(head);
            self.broken = self.write().await.err();
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opening = self.opening.get_or_insert_with(|| self.staging.create_log());
                let opened = opening.await.map_err(io::Error::other).flatten();
                self.opening = None;
                self.file.insert(opened?)
            }
        };
        // The file takes in all of it at once, or nothing: both without anything being written twice.
        while !self.unwritten.is_empty() {
            let taken = file.write(&self.unwritten).await?;
            self.unwritten.drain(..taken);
        }
        file.flush().await
    }

    /// Writes the end and gives the file, which the caller syncs; `None` when nothing was logged.
    pub(super) async fn close(mut self) -> io::Result<Option<std::fs::File>> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        if !self.tail.is_empty() {
            if self.left_out > 0 {
                let line = format!("\n... {} bytes left out ...\n", self.left_out);
                self.unwritten.extend_from_slice(line.as_bytes());
            }
            self.unwritten.extend(std::mem::take(&mut self.tail));
        }
        if !self.unwritten.is_empty() || self.opening.is_some() {
            self.write().await?;
        }
        match self.file {
            Some(file) => Ok(Some(file.into_std().await)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::attempt::AttemptId;
    use crate::resource::name::Uid;

    #[tokio::test]
    async fn head_and_tail_are_kept_and_the_gap_is_told() {
        let state = tempfile::tempdir().unwrap();
        let staging = Staging::of(state.path(), &AttemptId { task: Uid("t".into()), number: 1 });
        let mut log = Log::new(staging.clone(), 8);
        for part in ["ab", "cdef", "ghijkl", "mn"] {
            log.append(part.as_bytes()).await;
        }
        assert_eq!(std::fs::read_to_string(staging.path().join("log.txt")).unwrap(), "abcd");
        assert!(log.close().await.unwrap().is_some());
        let text = std::fs::read_to_string(staging.path().join("log.txt")).unwrap();
        assert_eq!(text, "abcd\n... 6 bytes left out ...\nklmn");
    }

    #[tokio::test]
    async fn what_was_being_logged_when_the_attempt_was_stopped_is_kept_and_nothing_is_made_behind_its_back() {
        use futures_util::FutureExt as _;
        let state = tempfile::tempdir().unwrap();
        let staging = Staging::of(state.path(), &AttemptId { task: Uid("t".into()), number: 1 });
        let mut log = Log::new(staging.clone(), 100);
        // Polled once, then dropped: the file is being made, as a rule.
        let _ = log.append(b"half ").now_or_never();
        log.append(b"whole").await;
        let _ = log.append(b" end").now_or_never();
        assert!(log.close().await.unwrap().is_some());
        assert_eq!(std::fs::read_to_string(staging.path().join("log.txt")).unwrap(), "half whole end");
    }

    #[tokio::test]
    async fn a_silent_attempt_leaves_no_file() {
        let state = tempfile::tempdir().unwrap();
        let staging = Staging::of(state.path(), &AttemptId { task: Uid("t".into()), number: 1 });
        assert!(Log::new(staging, 8).close().await.unwrap().is_none());
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
