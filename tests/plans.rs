//! Every plan that matters, as text: each case is an observation built in a few words, carried out and planned again until nothing is left
//! to do, and the plans on the way are compared with `golden/plans`. `UPDATE_GOLDEN=1` rewrites the texts. Then properties over random
//! observations.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

#[path = "plans/apps.rs"]
mod apps;
#[path = "plans/carry_out.rs"]
mod carry_out;
#[path = "plans/freshness.rs"]
mod freshness;
#[path = "plans/golden.rs"]
mod golden;
#[path = "plans/health.rs"]
mod health;
#[path = "plans/lanes.rs"]
mod lanes;
#[path = "plans/maintenance.rs"]
mod maintenance;
#[path = "plans/mirrors.rs"]
mod mirrors;
#[path = "plans/pools.rs"]
mod pools;
#[path = "plans/properties.rs"]
mod properties;
#[path = "plans/rounds.rs"]
mod rounds;
#[path = "plans/task_case.rs"]
mod task_case;
#[path = "plans/tasks.rs"]
mod tasks;
