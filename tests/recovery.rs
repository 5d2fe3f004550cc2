//! Backup, restore, upgrade and rebuild with the real program, also killed at any step: afterwards the state is the old or the new one, and
//! nothing that was wanted is gone. The moments are steps that the program tells in its log, drawn from a seed that is printed;
//! `MANIFESTD_TEST_SEED` gives another one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

#[path = "recovery/broken.rs"]
mod broken;
#[path = "recovery/doctor.rs"]
mod doctor;
#[path = "recovery/kept.rs"]
mod kept;
#[path = "recovery/kills.rs"]
mod kills;
#[path = "recovery/scene.rs"]
mod scene;
mod support;
#[path = "recovery/upgrades.rs"]
mod upgrades;
