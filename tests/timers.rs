//! Every timer and every budget, on its boundary: what must happen by itself, when, and what must not happen before. The controller runs in
//! virtual time with a scripted outside world (tests/support/world), in a process whose time zone is 5 hours and 45 minutes from UTC.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

#[path = "timers/attempts.rs"]
mod attempts;
#[path = "timers/maintenance.rs"]
mod maintenance;
#[path = "timers/stage.rs"]
mod stage;
#[path = "timers/table.rs"]
mod table;
#[path = "timers/troubles.rs"]
mod troubles;
#[path = "timers/unavailable.rs"]
mod unavailable;
#[path = "support/world/mod.rs"]
mod world;
