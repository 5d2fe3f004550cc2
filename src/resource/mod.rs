//! Floor 0: the words of the project. Kinds, names, specs, statuses, outcomes and time, as plain data.
//!
//! Nothing here does I/O, reads a clock or draws a random number; every other floor may use it.

pub mod address;
pub mod algebra;
pub mod analyzer;
pub mod app;
pub mod app_set;
pub mod attempt;
pub mod digest;
pub mod event;
pub mod findings;
pub mod health;
pub mod kind;
pub mod metadata;
pub mod name;
pub mod object;
pub mod outcome;
pub mod path;
pub mod phase;
pub mod pipeline;
pub mod pool;
pub mod provenance;
pub mod reason;
pub mod run;
pub mod task;
pub mod template;
pub mod text;
pub mod time;
pub mod words;
