//! The work queue, without I/O and without a clock: keys to look at now, keys to look at later, one run per key at a time.
//!
//! A key added while it is being worked on is remembered and comes back when that run is done, so nothing is lost and nothing runs twice
//! at once. The idea is client-go's work queue: queued, busy, dirty.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;

use crate::resource::time::{Span, Timestamp};

/// First pause after a failed run; it doubles.
const FAILURE_PAUSE: Span = Span::seconds(1);

/// The longest pause after a failed run.
const FAILURE_PAUSE_MAX: Span = Span::seconds(60);

/// Keys waiting to be worked on.
#[derive(Debug)]
pub struct Queue<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    busy: HashSet<K>,
    dirty: HashSet<K>,
    later: BTreeSet<(Timestamp, K)>,
    due: HashMap<K, Timestamp>,
    failures: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            busy: HashSet::new(),
            dirty: HashSet::new(),
            later: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Adds a key to be worked on as soon as possible. Adding it again before that changes nothing.
    pub fn add(&mut self, key: K) {
        if self.busy.contains(&key) {
            self.dirty.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Adds a key to be worked on at a time; the earliest of several times counts.
    pub fn add_at(&mut self, key: K, at: Timestamp) {
        match self.due.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.later.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    /// Takes the next key to work on; [`Queue::done`] or [`Queue::failed`] must follow.
    pub fn pop(&mut self, now: Timestamp) -> Option<K> {
        while let Some((at, key)) = self.later.first().cloned() {
            if at > now {
                break;
            }
            self.later.pop_first();
            self.due.remove(&key);
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.busy.insert(key.clone());
        Some(key)
    }

    /// Takes the next key, and of those behind it as many as can be worked on together with it, at most `max` in all.
    pub fn pop_together(&mut self, now: Timestamp, max: usize, together: impl Fn(&K, &K) -> bool) -> Vec<K> {
        let mut keys: Vec<K> = self.pop(now).into_iter().collect();
        while keys.len() < max
            && let ([first, ..], Some(next)) = (keys.as_slice(), self.ready.front())
            && together(first, next)
        {
            keys.extend(self.pop(now));
        }
        keys
    }

    /// Says that a key has been worked on; it comes back at once if it was added meanwhile.
    pub fn done(&mut self, key: &K) {
        self.failures.remove(key);
        self.release(key);
    }

    /// Says that working on a key failed; it comes back after a pause that doubles with each failure in a row.
    pub fn failed(&mut self, key: &K, now: Timestamp) {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = FAILURE_PAUSE.times(1 << (*failures).min(10)).min(FAILURE_PAUSE_MAX);
        *failures += 1;
        self.release(key);
        self.add_at(key.clone(), now.plus(pause));
    }

    fn release(&mut self, key: &K) {
        self.busy.remove(key);
        if self.dirty.remove(key) {
            self.add(key.clone());
        }
    }

    /// When the first later key is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(at, _)| *at)
    }

    /// The key that failed most often in a row, and how often, until it is done well.
    #[must_use]
    pub fn worst_failing(&self) -> Option<(&K, u32)> {
        self.failures.iter().map(|(key, count)| (key, *count)).max_by_key(|(_, count)| *count)
    }

    /// Whether nothing is ready, being worked on, or due.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.ready.is_empty() && self.busy.is_empty() && self.next_due().is_none_or(|at| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_added_many_times_is_worked_on_once() {
        let mut queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.pop(Timestamp(0)), Some("a"));
        assert_eq!(queue.pop(Timestamp(0)), None);
    }

    #[test]
    fn a_key_is_never_worked_on_twice_at_once_and_never_lost() {
        let mut queue = Queue::default();
        queue.add("a");
        assert_eq!(queue.pop(Timestamp(0)), Some("a"));
        queue.add("a");
        assert_eq!(queue.pop(Timestamp(0)), None);
        queue.done(&"a");
        assert_eq!(queue.pop(Timestamp(0)), Some("a"));
    }

    #[test]
    fn keys_that_go_together_are_taken_together_and_in_their_order() {
        let mut queue = Queue::default();
        [2, 4, 6, 3, 8].into_iter().for_each(|key| queue.add(key));
        let even = |one: &i32, other: &i32| one % 2 == 0 && other % 2 == 0;
        assert_eq!(queue.pop_together(Timestamp(0), 2, even), [2, 4]);
        assert_eq!(queue.pop_together(Timestamp(0), 9, even), [6], "nobody is overtaken");
        assert_eq!(queue.pop_together(Timestamp(0), 9, even), [3]);
        queue.add(8);
        assert_eq!(queue.pop_together(Timestamp(0), 9, even), [8]);
        assert!(queue.pop_together(Timestamp(0), 9, even).is_empty());
        queue.done(&2);
        assert!(!queue.is_idle(Timestamp(0)), "each of them is being worked on");
    }

    #[test]
    fn the_earliest_of_several_times_counts() {
        let mut queue = Queue::default();
        queue.add_at("a", Timestamp(50));
        queue.add_at("a", Timestamp(20));
        queue.add_at("a", Timestamp(90));
        assert_eq!(queue.next_due(), Some(Timestamp(20)));
        assert_eq!(queue.pop(Timestamp(19)), None);
        assert!(!queue.is_idle(Timestamp(20)));
        assert_eq!(queue.pop(Timestamp(20)), Some("a"));
        queue.done(&"a");
        assert!(queue.is_idle(Timestamp(1000)));
    }

    #[test]
    fn failures_pause_longer_and_longer_and_success_forgets_them() {
        let mut queue = Queue::default();
        let mut now = Timestamp(0);
        queue.add("a");
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(queue.pop(now), Some("a"));
            queue.failed(&"a", now);
            now = now.plus(Span::seconds(seconds));
            assert_eq!(queue.next_due(), Some(now));
        }
        assert_eq!(queue.pop(now), Some("a"));
        queue.done(&"a");
        queue.add("a");
        queue.pop(now);
        queue.failed(&"a", now);
        assert_eq!(queue.next_due(), Some(now.plus(Span::seconds(1))));
    }

    #[test]
    fn a_failing_key_is_known_until_it_is_done_well() {
        let mut queue = Queue::default();
        for (key, times) in [("a", 1), ("b", 3)] {
            for now in (0..times).map(|n| Timestamp(n * 100_000)) {
                queue.add(key);
                queue.pop(now);
                queue.failed(&key, now);
            }
        }
        assert_eq!(queue.worst_failing(), Some((&"b", 3)));
        for key in ["b", "a"] {
            queue.done(&key);
        }
        assert_eq!(queue.worst_failing(), None);
    }
}
