//! Floor 1: judges evidence. From what an analyzer or a program said to what is known of every tool.
//!
//! Success is proven: a status word that says `success` counts for nothing unless every requested tool is known to have run. All of
//! it is pure, so that recorded exchanges are the tests.

mod ai_result;
pub mod command;
mod count;
pub mod frame;
pub mod judge;
pub mod lenient;
mod outputs;
pub mod sarif;
mod sarif_schema;
mod static_result;
mod target_result;
pub mod weight;
