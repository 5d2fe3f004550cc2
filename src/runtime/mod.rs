//! Floor 4: the loops. Observes, plans, commits and performs, woken by file events, timers and reports.
//!
//! [`reconcile`] holds the central function. [`controller`] starts and stops everything.

pub mod answer;
pub mod app_scan;
mod apps;
pub mod archive;
mod attempts;
pub mod backup;
mod carry;
pub mod clock;
pub mod control;
pub mod controller;
pub mod core;
mod disk;
pub mod doctor;
pub mod doctor_analyzers;
pub mod dry_run;
mod found;
pub mod git;
mod git_program;
pub mod git_source;
mod hints;
pub mod import;
mod maintenance;
pub mod mirror;
pub mod mirror_loop;
mod mirror_observe;
mod once;
pub mod open_files;
mod pass;
pub mod preview;
mod probes;
pub mod pulse;
pub mod rebuild;
pub mod reconcile;
pub mod report;
pub mod restore;
mod reuse;
pub mod room;
mod run_requests;
mod runs;
pub mod scan;
mod stray_scan;
mod tree_scan;
mod trees;
pub mod twist;
pub mod wakes;
