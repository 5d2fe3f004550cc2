//! The course of a reference: which task's work begins next. With a store each step waits until it is durable; without one, work follows work.

use super::store::{Group, Step, Store};

/// Tasks from first to last, with so many at work at once.
pub(crate) struct Course {
    store: Option<Store>,
    /// The next task to be taken from the queue.
    next: u32,
    /// The one after the last.
    end: u32,
    slots: u32,
    open: u32,
}

impl Course {
    /// Tasks from `first` to before `end`, `slots` at once; bare without a store.
    pub(crate) const fn new(store: Option<Store>, first: u32, end: u32, slots: u32) -> Self {
        Self { store, next: first, end, slots, open: 0 }
    }

    /// Fills the slots. Gives the tasks whose work begins at once.
    pub(crate) fn begin(&mut self) -> Vec<u32> {
        let taken = self.take(self.slots);
        self.start(taken, Vec::new())
    }

    /// The work of these has ended. Gives the tasks whose work begins at once.
    pub(crate) fn ended(&mut self, tasks: Vec<u32>) -> Vec<u32> {
        match &self.store {
            Some(store) => {
                store.write(tasks.into_iter().map(|task| (task, Step::Ended)).collect());
                Vec::new()
            }
            None => self.free(tasks.len(), Vec::new()),
        }
    }

    /// These steps are durable. Gives the tasks whose work begins now.
    pub(crate) fn acknowledged(&mut self, group: Group) -> Vec<u32> {
        let (mut begin, mut follow, mut freed) = (Vec::new(), Vec::new(), 0);
        for (task, step) in group {
            match step {
                Step::Started => begin.push(task),
                Step::Ended => follow.push((task, Step::Settled)),
                Step::Settled => freed += 1,
            }
        }
        begin.extend(self.free(freed, follow));
        begin
    }

    /// Whether every task has come to its end.
    pub(crate) const fn is_over(&self) -> bool {
        self.open == 0 && self.next == self.end
    }

    fn free(&mut self, slots: usize, follow: Group) -> Vec<u32> {
        let slots = u32::try_from(slots).expect("a number of slots");
        self.open -= slots;
        let taken = self.take(slots);
        self.start(taken, follow)
    }

    fn take(&mut self, slots: u32) -> Vec<u32> {
        let first = self.next;
        self.next = self.end.min(first + slots);
        self.open += self.next - first;
        (first..self.next).collect()
    }

    fn start(&self, taken: Vec<u32>, mut follow: Group) -> Vec<u32> {
        let Some(store) = &self.store else { return taken };
        follow.extend(taken.into_iter().map(|task| (task, Step::Started)));
        if !follow.is_empty() {
            store.write(follow);
        }
        Vec::new()
    }
}
