//! Slots of pools, which attempts of several lanes share: how many a pass over one lane may take, and when to look again.
//!
//! What a pass takes is checked again when it is committed: a lane that looks at the disk plans while others open their attempts.

use super::Plan;
use crate::resource::analyzer::Rate;
use crate::resource::pool::PoolSpec;
use crate::resource::time::{Span, Timestamp};

/// So long a free slot is left to the lane with the better claim. Long enough for its pass and commit; and when that lane cannot use the
/// slot after all, the others have lost no more than this.
pub const YIELD: Span = Span(200);

/// What is seen of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPool {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: PoolSpec,
    /// Taken slots: open attempts on any analyzer, and abandoned ones whose other side may still work.
    pub used: u32,
    /// When the first abandoned slot becomes free.
    pub slot_free_at: Option<Timestamp>,
    /// When its attempts were opened within the rate's period, newest first, at most `rate.limit` of them.
    pub opened: Vec<Timestamp>,
    /// Whether tasks of other lanes, which have a free slot of their own, wait for it too. Then lanes take turns, one slot at a time.
    pub contested: bool,
    /// Until when its free slots are left to a lane with a better claim.
    pub yields_until: Option<Timestamp>,
}

impl ObservedPool {
    /// How many attempts may be opened now.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> u32 {
        if self.yields_until.is_some_and(|until| until > now) {
            return 0;
        }
        self.spec.slots.saturating_sub(self.used).min(self.allowance(now))
    }

    /// How many attempts the rate allows now.
    fn allowance(&self, now: Timestamp) -> u32 {
        let Some(Rate { limit, per }) = self.spec.rate else { return u32::MAX };
        let recent = self.opened.iter().filter(|at| is_within(**at, per, now)).count();
        limit.saturating_sub(u32::try_from(recent).unwrap_or(u32::MAX))
    }

    /// When the pool may have something left by itself, after `taken` more were opened now; `None` when only an ending can change it.
    #[must_use]
    pub fn next_at(&self, taken: u32, now: Timestamp) -> Option<Timestamp> {
        if let Some(until) = self.yields_until.filter(|until| *until > now) {
            return Some(until);
        }
        if self.spec.slots <= self.used.saturating_add(taken) {
            return self.slot_free_at;
        }
        let Rate { per, .. } = self.spec.rate?;
        let oldest = self.opened.iter().filter(|at| is_within(**at, per, now)).min().copied();
        Some(oldest.unwrap_or(now).plus(per))
    }
}

/// Whether an opening counts for a rate. A clock that was turned back leaves openings in the future; they count for one period, not until
/// that time comes.
fn is_within(at: Timestamp, per: Span, now: Timestamp) -> bool {
    now.since(at) < per && at.since(now) < per
}

/// What a pool has for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A slot.
    Free,
    /// Something is left, but lanes take turns: the next pass, which follows at once, says whose turn it is.
    NextPass,
    /// Nothing is left.
    Nothing,
}

/// What one pass over a lane takes of the pools that its tasks name.
pub(super) struct Claims<'l> {
    pools: Vec<Claim<'l>>,
}

struct Claim<'l> {
    pool: &'l ObservedPool,
    left: u32,
    taken: u32,
    /// Whether a task of the lane waits for it.
    waiting: bool,
}

impl<'l> Claims<'l> {
    /// Nothing is taken yet.
    pub(super) fn new(pools: &'l [ObservedPool], now: Timestamp) -> Self {
        let claim = |pool: &'l ObservedPool| {
            let left = pool.left(now);
            let share = if pool.contested { left.min(1) } else { left };
            // Tasks of a pool with nothing left are not even among the candidates, but they do wait.
            Claim { pool, left: share, taken: 0, waiting: left == 0 }
        };
        Self { pools: pools.iter().map(claim).collect() }
    }

    /// Whether a pool of this name is known.
    pub(super) fn knows(&self, pool: &str) -> bool {
        self.pools.iter().any(|claim| claim.pool.name == pool)
    }

    /// Whether a task of this pool could be opened; remembers that one waits when it could not.
    pub(super) fn ask(&mut self, pool: Option<&str>, now: Timestamp) -> Answer {
        let Some(claim) = self.find(pool) else { return Answer::Free };
        claim.waiting |= claim.left == 0;
        match claim.left {
            0 if claim.pool.left(now) > claim.taken => Answer::NextPass,
            0 => Answer::Nothing,
            _ => Answer::Free,
        }
    }

    /// Takes a slot of the pool for a task that is opened.
    pub(super) fn take(&mut self, pool: Option<&str>) {
        if let Some(claim) = self.find(pool) {
            claim.left = claim.left.saturating_sub(1);
            claim.taken += 1;
        }
    }

    /// Looks again when a pool that somebody waits for may have something left by itself. An ending wakes the lane without this.
    pub(super) fn look_again(&self, now: Timestamp, plan: &mut Plan) {
        for claim in self.pools.iter().filter(|claim| claim.waiting) {
            // Something is left, and the next look says whose turn it is.
            let is_shared = claim.pool.left(now) > claim.taken;
            let again = if is_shared { Some(now) } else { claim.pool.next_at(claim.taken, now) };
            again.into_iter().for_each(|at| plan.look_again(at));
        }
    }

    fn find(&mut self, pool: Option<&str>) -> Option<&mut Claim<'l>> {
        self.pools.iter_mut().find(|claim| Some(claim.pool.name.as_str()) == pool)
    }
}
