//! How long to wait before the next try: exponential, capped, with a jitter derived from the key so that a plan is repeatable.

use crate::resource::name::Uid;
use crate::resource::task::Retry;
use crate::resource::time::Span;

/// Wait before the first retry when an analyzer is unavailable; it doubles: 30 s, 60 s, 120 s.
pub const UNAVAILABLE_BASE: Span = Span::seconds(30);

/// Wait before an attempt whose result found no room on the disk is tried again. It burns no budget, since a person may need days to make
/// room; it is long enough that an analyzer is not kept busy in vain.
pub const DISK_FULL_PAUSE: Span = Span::minutes(5);

/// The delay before retry number `retry` (from 1) of a task.
#[must_use]
pub fn delay(policy: Retry, uid: &Uid, retry: u32) -> Span {
    let factor = u64::from(policy.factor.max(1)).saturating_pow(retry.saturating_sub(1).min(64));
    let plain = policy.base.times(factor).min(policy.max);
    let tenth = plain.0 / 10;
    let jitter = if tenth == 0 { 0 } else { fnv1a(&uid.0, retry) % (tenth + 1) };
    Span(plain.0.saturating_add(jitter))
}

/// FNV-1a over the key: spreads retries of many tasks that failed together, and always the same way.
fn fnv1a(text: &str, salt: u32) -> u64 {
    let bytes = text.bytes().chain(salt.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_jitter_adds_at_most_a_tenth() {
        let policy = Retry::default();
        for (retry, seconds) in [(1, 30), (2, 60), (3, 120), (5, 480), (6, 900), (100, 900)] {
            let delay = delay(policy, &Uid("a".into()), retry);
            assert!(delay >= Span::seconds(seconds) && delay.0 <= seconds * 1100, "{retry}: {delay}");
        }
    }

    #[test]
    fn the_jitter_is_the_same_every_time_and_differs_between_tasks() {
        let policy = Retry::default();
        let of = |uid: &str| delay(policy, &Uid(uid.into()), 3);
        assert_eq!(of("a"), of("a"));
        assert!((0..20).any(|i| of(&format!("t{i}")) != of("a")));
    }
}
