//! The store through its public door: guards of commits, groups, what a scan writes, what a resync finds, what people read, and what is
//! left when the power goes at any moment.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

#[path = "store/apps.rs"]
mod apps;
#[path = "store/children.rs"]
mod children;
#[path = "store/clocks.rs"]
mod clocks;
#[path = "store/commits.rs"]
mod commits;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "store/freshness.rs"]
mod freshness;
#[path = "store/groups.rs"]
mod groups;
#[path = "store/health.rs"]
mod health;
#[path = "store/history.rs"]
mod history;
#[path = "store/imported.rs"]
mod imported;
#[path = "store/mirroring.rs"]
mod mirroring;
#[path = "store/pools.rs"]
mod pools;
#[path = "store/reads.rs"]
mod reads;
#[path = "store/run_algebra.rs"]
mod run_algebra;
#[path = "store/run_guards.rs"]
mod run_guards;
#[path = "store/run_rounds.rs"]
mod run_rounds;
#[path = "store/run_stops.rs"]
mod run_stops;
#[path = "store/runs.rs"]
mod runs;
#[path = "store/schema.rs"]
mod schema;
#[path = "store/shares.rs"]
mod shares;
#[path = "store/turns.rs"]
mod turns;
#[path = "store/unsettled.rs"]
mod unsettled;
