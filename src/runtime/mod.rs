//! Floor 4: the loops. Observes, plans, commits and performs, woken by file events, timers and reports.

pub mod app_scan;
pub mod control;
