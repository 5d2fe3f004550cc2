//! Maintenance with the real program on real directories: what a dry run lists is what is done, what is set aside can be brought back, what is
//! purged is gone with its files, and a kill at any step costs nothing that is wanted. Moments and states are drawn from a seed that is printed;
//! `MANIFESTD_TEST_SEED` gives another one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

#[path = "maintenance/care.rs"]
mod care;
#[path = "maintenance/fuse.rs"]
mod fuse;
#[path = "maintenance/kills.rs"]
mod kills;
#[path = "maintenance/old.rs"]
mod old;
#[path = "maintenance/rehearsal.rs"]
mod rehearsal;
mod support;
