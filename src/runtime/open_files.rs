//! How many files this process may have open at once. Every attempt needs a few: a connection, or two pipes and a directory, then its results.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for more than a thousand attempts at once. Programs inherit it, and some close every number up to it when they start, so it is no more.
const WANTED: u64 = 16_384;

/// Raises the limit as far as the system lets this user. Shells and systemd mostly give 1,024, for the sake of programs that know no other way to
/// wait than `select`.
pub fn allow_many() {
    let Some(raised) = raised(getrlimit(Resource::Nofile)) else { return };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised; many attempts at once may fail for want of them");
    }
}

/// The limit that is wanted in place of this one; `None` to leave it. Without a number there is no limit.
fn raised(Rlimit { current, maximum }: Rlimit) -> Option<Rlimit> {
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    current.filter(|current| *current < wanted).map(|_| Rlimit { current: Some(wanted), maximum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be_and_never_lowered() {
        let raised = |current, maximum| raised(Rlimit { current, maximum }).map(|limit| (limit.current, limit.maximum));
        assert_eq!(raised(Some(1_024), Some(524_288)), Some((Some(WANTED), Some(524_288))));
        assert_eq!(raised(Some(1_024), None), Some((Some(WANTED), None)));
        assert_eq!(raised(Some(1_024), Some(4_096)), Some((Some(4_096), Some(4_096))));
        assert_eq!(raised(Some(4_096), Some(4_096)), None);
        assert_eq!(raised(Some(100_000), Some(524_288)), None);
        assert_eq!(raised(None, None), None);
    }
}
