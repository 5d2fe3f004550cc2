//! The daemon as a person meets it: the real program in a directory, manifests dropped, edited and removed, signals, and the command line
//! beside it. The slow timers are set to an hour, so whatever is waited for must be caused by the event itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]

#[path = "daemon/asking.rs"]
mod asking;
#[path = "daemon/directory.rs"]
mod directory;
#[path = "daemon/dispatch.rs"]
mod dispatch;
#[path = "daemon/freshness.rs"]
mod freshness;
#[path = "daemon/git_source.rs"]
mod git_source;
#[path = "daemon/health.rs"]
mod health;
#[path = "daemon/history.rs"]
mod history;
#[path = "daemon/once.rs"]
mod once;
#[path = "daemon/runs.rs"]
mod runs;
#[path = "daemon/shares.rs"]
mod shares;
#[path = "daemon/stopping.rs"]
mod stopping;
mod support;
#[path = "daemon/systemd.rs"]
mod systemd;
#[path = "daemon/taking_up.rs"]
mod taking_up;
#[path = "daemon/tasks.rs"]
mod tasks;
