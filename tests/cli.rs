//! The command line as a person or a script sees it: the real binary, in a temporary workspace with a store that the library filled.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "cli/children.rs"]
mod children;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/old_world.rs"]
mod old_world;
#[path = "cli/pools.rs"]
mod pools;
#[path = "cli/reading.rs"]
mod reading;
#[path = "cli/runs.rs"]
mod runs;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/waiting.rs"]
mod waiting;
#[path = "cli/world.rs"]
mod world;
#[path = "cli/writing.rs"]
mod writing;
