//! Deciding for pipelines and their runs. `trigger.rs` makes runs, `run.rs` moves one on, `steps.rs` derives how its steps stand, `ask.rs` asks for
//! children and draws conclusions, `child.rs` says what one is, `circle.rs` finds pipelines that run each other, `end.rs` says what a run comes to, `graph.rs` is the pinned spec with what follows from it, `expand.rs` says which children a step has, `render.rs` fills placeholders.

mod ask;
pub mod child;
pub mod circle;
pub mod end;
pub mod expand;
pub mod graph;
pub mod observed;
pub mod render;
pub mod run;
pub mod schedule;
pub mod steps;
pub mod trigger;
pub mod write;

/// Open children of one step at most, however many have ended and wait for the steps after it.
pub const WINDOW: usize = 256;

/// Runs of pipelines within runs at most: deeper is surely a circle.
pub const DEPTH_MAX: u32 = 8;
