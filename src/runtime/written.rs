//! Which manifests are being written just now. Half a file is valid YAML, so nothing is concluded from one before its writer is done: by the
//! events of its file system, and where there are none, by the time of its last change.

use std::collections::HashSet;

use crate::plan::tree::is_moving;
use crate::resource::time::{Span, Timestamp};
use crate::store::FileStat;

/// A file whose writer has neither written nor closed it for so long is read as it stands. It may have been cut without being opened, which
/// no event tells from writing.
const OPEN_MAX: Span = Span::minutes(10);

/// Times of files lag behind the clock by a tick of the kernel at most.
const TICK: Span = Span(10);

/// What is known of the files of a directory when a scan of it begins.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Files that were written into, and not closed since.
    pub(super) open: HashSet<String>,
    /// Files that were closed, or moved in, since the last scan.
    pub(super) closed: HashSet<String>,
    /// When that was so.
    pub(super) at: Timestamp,
}

impl Written {
    /// Whether somebody is in the middle of writing a file: it counts as what it was before.
    pub(super) fn is_open(&self, path: &str, stat: &FileStat) -> bool {
        self.open.contains(path) && self.at.since(changed_at(stat)) < OPEN_MAX
    }

    /// Whether a file that declares less than before can be believed, having been read as it was then.
    pub(super) fn is_whole(&self, path: &str, stat: &FileStat) -> bool {
        let changed_at = changed_at(stat);
        let is_closed = self.closed.contains(path) && changed_at.plus(TICK) <= self.at;
        is_closed || !is_moving(changed_at, self.at)
    }
}

fn changed_at(stat: &FileStat) -> Timestamp {
    Timestamp(stat.mtime_ns / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tree::SETTLE;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn stat(changed_at: Timestamp) -> FileStat {
        FileStat { size: 0, mtime_ns: changed_at.0 * 1_000_000, inode: 1 }
    }

    #[test]
    fn a_file_is_open_until_its_writer_closes_it_or_is_silent_for_long() {
        let written = Written { open: HashSet::from(["a.yaml".to_owned()]), at: NOW, ..Written::default() };
        assert!(written.is_open("a.yaml", &stat(NOW)));
        assert!(written.is_open("a.yaml", &stat(NOW.minus(Span(OPEN_MAX.0 - 1)))));
        assert!(!written.is_open("a.yaml", &stat(NOW.minus(OPEN_MAX))));
        assert!(!written.is_open("b.yaml", &stat(NOW)));
    }

    #[test]
    fn what_changed_just_now_is_believed_only_if_it_was_closed_before_the_look() {
        let nothing = Written { at: NOW, ..Written::default() };
        assert!(!nothing.is_whole("a.yaml", &stat(NOW.minus(Span(1)))));
        assert!(nothing.is_whole("a.yaml", &stat(NOW.minus(SETTLE))));
        assert!(nothing.is_whole("a.yaml", &stat(NOW.plus(Span::minutes(60)))), "such a time tells nothing");
        let closed = Written { closed: HashSet::from(["a.yaml".to_owned()]), ..nothing };
        assert!(closed.is_whole("a.yaml", &stat(NOW.minus(TICK))));
        assert!(!closed.is_whole("a.yaml", &stat(NOW)), "it was opened again since");
    }
}
