//! New uids: UUIDs of version 7, which sort by time. What is not time in them is chance, unless a simulation has it follow from a seed.

use std::cell::RefCell;

use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// Where the part of a uid comes from that is not time.
enum Source {
    Chance(uuid::ContextV7),
    Seed { seed: u64, count: u32 },
}

thread_local! {
    static SOURCE: RefCell<Source> = const { RefCell::new(Source::Chance(uuid::ContextV7::new())) };
}

/// From now on uids that are made on this thread follow from a seed and from how many there were, so that what happens can happen again.
pub fn follow(seed: u64) {
    SOURCE.set(Source::Seed { seed, count: 0 });
}

/// A new uid. They sort by time and, within a millisecond, in the order in which the writer made them: tasks of equal priority and age
/// run in the order of their manifest.
pub(super) fn new_uid(now: Timestamp) -> Uid {
    let ms = now.0.max(0).unsigned_abs();
    let uuid = SOURCE.with_borrow_mut(|source| match source {
        Source::Chance(context) => {
            let nanos = u32::try_from(ms % 1000 * 1_000_000).unwrap_or(0);
            uuid::Uuid::new_v7(uuid::Timestamp::from_unix(&*context, ms / 1000, nanos))
        }
        Source::Seed { seed, count } => {
            *count += 1;
            let ([a, b, c, d, e, f, ..], [w, x, y, z]) = (seed.to_be_bytes(), count.to_be_bytes());
            uuid::Builder::from_unix_timestamp_millis(ms, &[a, b, c, w, x, y, z, d, e, f]).into_uuid()
        }
    });
    Uid(uuid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Uid> {
        (0..1000).map(|_| new_uid(Timestamp(1_767_600_000_123))).collect()
    }

    #[test]
    fn uids_of_one_millisecond_sort_in_the_order_of_their_making() {
        let uids = some();
        assert!(uids.is_sorted(), "{uids:?}");
    }

    #[test]
    fn uids_that_follow_from_a_seed_come_again_and_sort_as_any_others() {
        follow(7 << 40);
        let uids = some();
        assert!(uids.is_sorted(), "{uids:?}");
        follow(7 << 40);
        assert_eq!(uids, some());
        follow(8 << 40);
        assert_ne!(uids, some());
    }
}
