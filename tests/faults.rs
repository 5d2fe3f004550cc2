//! Faults of analyzers against the real daemon: whatever an analyzer does, its tasks end in the documented phase with the documented
//! reason within their budgets, and the tasks of another analyzer beside it do not notice.
//!
//! Budgets and deadlines are small, by the settings and manifests that everybody has; the slow timers are set to an hour. Every wait is
//! for a signal: what the analyzer hears, or what the database says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

#[path = "faults/broken.rs"]
mod broken;
#[path = "faults/errors.rs"]
mod errors;
#[path = "faults/large.rs"]
mod large;
#[path = "faults/late.rs"]
mod late;
#[path = "faults/scene.rs"]
mod scene;
mod support;
#[path = "faults/unreachable.rs"]
mod unreachable;
