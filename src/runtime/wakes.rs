//! The queues of the loops, shared: whoever learns that something may have changed adds its key here.
//!
//! Each loop has a queue of its own, so that a slow disk never keeps a task waiting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::plan::Key;
use crate::queue::Queue;
use crate::resource::time::Timestamp;

/// Which loop works on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// Lanes, analyzers and tasks.
    Tasks,
    /// Apps on disk.
    Apps,
    /// The files of apps.
    Trees,
    /// Pipelines and their runs.
    Pipelines,
    /// What has been as it is for too long.
    Maintenance,
}

/// The queues of all loops.
#[derive(Debug, Default)]
pub struct Wakes {
    tasks: Lines,
    apps: Lines,
    trees: Lines,
    pipelines: Lines,
    maintenance: Lines,
    // How often something was added to any of them.
    added: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    queue: Mutex<Queue<Key>>,
    changed: Notify,
}

impl Wakes {
    fn lines(&self, of: Loop) -> &Lines {
        match of {
            Loop::Tasks => &self.tasks,
            Loop::Apps => &self.apps,
            Loop::Trees => &self.trees,
            Loop::Pipelines => &self.pipelines,
            Loop::Maintenance => &self.maintenance,
        }
    }

    /// Adds a key to be looked at now.
    pub fn add(&self, key: Key) {
        let lines = self.lines(loop_of(&key));
        lines.lock().add(key);
        self.added.fetch_add(1, Ordering::SeqCst);
        lines.changed.notify_one();
    }

    /// Adds a key to be looked at at a time.
    pub fn add_at(&self, key: Key, at: Timestamp) {
        let lines = self.lines(loop_of(&key));
        lines.lock().add_at(key, at);
        self.added.fetch_add(1, Ordering::SeqCst);
        lines.changed.notify_one();
    }

    /// How often something was added to any queue, for those who look at one after the other.
    pub fn added(&self) -> u64 {
        self.added.load(Ordering::SeqCst)
    }

    /// Takes the next key of a loop.
    pub fn pop(&self, of: Loop, now: Timestamp) -> Option<Key> {
        self.lines(of).lock().pop(now)
    }

    /// Takes the next key of a loop, and as many behind it, at most `max` in all, as can be passed over together with it.
    pub fn pop_together(&self, of: Loop, now: Timestamp, max: usize, together: fn(&Key) -> bool) -> Vec<Key> {
        self.lines(of).lock().pop_together(now, max, |one, other| together(one) && together(other))
    }

    /// Says that a key has been worked on.
    pub fn done(&self, key: &Key) {
        let lines = self.lines(loop_of(key));
        lines.lock().done(key);
        lines.changed.notify_one();
    }

    /// Says that working on a key failed.
    pub fn failed(&self, key: &Key, now: Timestamp) {
        let lines = self.lines(loop_of(key));
        lines.lock().failed(key, now);
        self.added.fetch_add(1, Ordering::SeqCst);
        lines.changed.notify_one();
    }

    /// When the first later key of a loop is due.
    pub fn next_due(&self, of: Loop) -> Option<Timestamp> {
        self.lines(of).lock().next_due()
    }

    /// Lets a loop look at its queue, though nothing was added: whether it still turns can then be seen.
    pub fn turn(&self, of: Loop) {
        self.lines(of).changed.notify_one();
    }

    /// Whether a loop has nothing to do now.
    pub fn is_idle(&self, of: Loop, now: Timestamp) -> bool {
        self.lines(of).lock().is_idle(now)
    }

    /// The key of a loop that failed most often in a row, and how often.
    pub fn worst_failing(&self, of: Loop) -> Option<(Key, u32)> {
        self.lines(of).lock().worst_failing().map(|(key, count)| (key.clone(), count))
    }

    /// Waits until something was added to a loop's queue, or worked on, since the last wait.
    pub async fn changed(&self, of: Loop) {
        self.lines(of).changed.notified().await;
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Queue<Key>> {
        // A panic while the lock was held cannot leave a queue half changed in a way that matters: the resync adds every key again.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn loop_of(key: &Key) -> Loop {
    match key {
        Key::Lane(_) | Key::Analyzer(_) | Key::Task(_) => Loop::Tasks,
        Key::Apps => Loop::Apps,
        Key::Tree(_) => Loop::Trees,
        Key::Pipeline(_) | Key::Run(_) => Loop::Pipelines,
        Key::Maintenance => Loop::Maintenance,
    }
}
