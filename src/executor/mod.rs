//! Floor 3: the outside world. Drives one attempt to its end and stores its result.
//!
//! An executor is one file with a `run`, one variant of [`Target`](crate::resource::attempt::Target) and one arm in `executors.rs`. Executors
//! never retry: how an attempt ended is a fact, and what follows from it is the plan's to say.

mod answer;
mod client;
mod command;
mod dialer;
mod executors;
mod extended;
mod hub;
pub mod leftover;
mod link;
mod log;
pub mod outside;
mod pace;
pub mod placeholders;
mod press;
mod probe;
mod process;
mod pump;
mod request;
pub mod results;
mod room;
mod running;
mod sheet;
mod socket;
mod stop;
mod trust;
mod websocket;

pub use executors::{Embedded, Executors, Limits, Surroundings};
pub use stop::Stop;
