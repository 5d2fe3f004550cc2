//! The log of one attempt: written while it runs, so that it can be followed, and bounded whatever is said.
//!
//! What is said goes to memory, and from there to `log.txt` a moment later, so that an attempt which is over by then never touches the disk
//! for it. The first half of the limit goes to the file. Of the rest the end is kept and written when the attempt is over, behind a line that
//! says how much is missing between the two.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::results::Staging;

/// How long what was said may wait before it is written: nobody who follows a log sees it, and most short attempts are over.
const MOMENT: Duration = Duration::from_millis(200);

/// A log that is being written. No file exists before the first moment is over.
pub(super) struct Log {
    staging: Staging,
    head_left: usize,
    tail: VecDeque<u8>,
    tail_max: usize,
    left_out: u64,
    shared: Arc<Mutex<Shared>>,
    /// Writes what was said, a moment later. It is waited for before the directory is anybody else's.
    writing: JoinSet<()>,
    closing: CancellationToken,
}

#[derive(Default)]
struct Shared {
    /// Said, and not yet written.
    unwritten: Vec<u8>,
    /// Somebody will write it.
    in_hand: bool,
    file: Option<File>,
    broken: Option<io::Error>,
}

/// What a log leaves: a file, and what is still to be written to it.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// `log.txt` below staging, if it is there already.
    pub(super) file: Option<File>,
    /// What comes behind its contents.
    pub(super) rest: Vec<u8>,
}

impl Logged {
    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.file.is_none() && self.rest.is_empty()
    }
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
            shared: Arc::default(),
            writing: JoinSet::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Adds to the log. A disk error is kept for [`Log::close`]: it must not end what is being logged.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_left));
        self.head_left -= head.len();
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.tail_max);
        self.tail.drain(..over);
        self.left_out += over as u64;
        if head.is_empty() {
            return;
        }
        let mut shared = locked(&self.shared);
        shared.unwritten.extend_from_slice(head);
        if !std::mem::replace(&mut shared.in_hand, true) {
            let (staging, shared, closing) = (self.staging.clone(), Arc::clone(&self.shared), self.closing.clone());
            // Who talks now and then for days leaves nothing behind each time.
            while self.writing.try_join_next().is_some() {}
            self.writing.spawn(write_later(staging, shared, closing));
        }
    }

    /// Gives what there is.
    ///
    /// # Errors
    /// What the disk said when something was written.
    pub(super) async fn close(mut self) -> io::Result<Logged> {
        self.closing.cancel();
        // It ends at once, but for a write that has begun.
        while self.writing.join_next().await.is_some() {}
        let mut shared = locked(&self.shared);
        if let Some(error) = shared.broken.take() {
            return Err(error);
        }
        let (file, mut rest) = (shared.file.take(), std::mem::take(&mut shared.unwritten));
        if self.left_out > 0 {
            let line = format!("\n... {} bytes left out ...\n", self.left_out);
            rest.extend_from_slice(line.as_bytes());
        }
        rest.extend(std::mem::take(&mut self.tail));
        Ok(Logged { file, rest })
    }
}

async fn write_later(staging: Staging, shared: Arc<Mutex<Shared>>, closing: CancellationToken) {
    loop {
        if closing.run_until_cancelled(tokio::time::sleep(MOMENT)).await.is_none() {
            return;
        }
        let (bytes, file) = {
            let mut shared = locked(&shared);
            (std::mem::take(&mut shared.unwritten), shared.file.take())
        };
        let staging = staging.clone();
        let write = move || {
            let mut file = file.map_or_else(|| staging.create_log(), Ok)?;
            file.write_all(&bytes).map(|()| file)
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten();
        let mut shared = locked(&shared);
        match written {
            Ok(file) => shared.file = Some(file),
            Err(error) => shared.broken = Some(error),
        }
        if shared.unwritten.is_empty() || shared.broken.is_some() {
            // After an error nobody writes any more; it is told at the end.
            shared.in_hand = shared.broken.is_some();
            return;
        }
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::attempt::AttemptId;
    use crate::resource::name::Uid;

    fn staging(state: &tempfile::TempDir) -> Staging {
        Staging::of(state.path(), &AttemptId { task: Uid("t".into()), number: 1 })
    }

    /// Lets a moment pass, and waits until what was said before it is written.
    async fn written(log: &mut Log) {
        while log.writing.join_next().await.is_some() {}
    }

    #[tokio::test(start_paused = true)]
    async fn head_and_tail_are_kept_and_the_gap_is_told() {
        let state = tempfile::tempdir().unwrap();
        let staging = staging(&state);
        let mut log = Log::new(staging.clone(), 8);
        ["ab", "cdef", "ghijkl", "mn"].into_iter().for_each(|part| log.append(part.as_bytes()));
        written(&mut log).await;
        assert_eq!(std::fs::read_to_string(staging.path().join("log.txt")).unwrap(), "abcd");
        let left = log.close().await.unwrap();
        assert!(left.file.is_some());
        assert_eq!(String::from_utf8(left.rest).unwrap(), "\n... 6 bytes left out ...\nklmn");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_over_within_a_moment_touches_no_disk_for_its_log() {
        let state = tempfile::tempdir().unwrap();
        let mut log = Log::new(staging(&state), 100);
        log.append(b"half ");
        log.append(b"whole");
        let left = log.close().await.unwrap();
        assert!(left.file.is_none());
        assert_eq!(left.rest, b"half whole");
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_again_and_again_can_be_followed() {
        let state = tempfile::tempdir().unwrap();
        let staging = staging(&state);
        let mut log = Log::new(staging.clone(), 100);
        for (said, there) in [("one ", "one "), ("two ", "one two "), ("three", "one two three")] {
            log.append(said.as_bytes());
            written(&mut log).await;
            assert_eq!(std::fs::read_to_string(staging.path().join("log.txt")).unwrap(), there);
        }
        for _ in 0..3 {
            log.append(b".");
            while locked(&log.shared).in_hand {
                tokio::time::sleep(MOMENT).await;
            }
            assert_eq!(log.writing.len(), 1, "what has been written is not kept");
        }
        log.append(b", and what nobody waits for");
        assert_eq!(log.close().await.unwrap().rest, b", and what nobody waits for");
    }

    #[tokio::test]
    async fn a_silent_attempt_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        assert!(Log::new(staging(&state), 8).close().await.unwrap().is_empty());
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
