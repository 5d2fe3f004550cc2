//! Floor 5: the control socket, by which the command line asks a running controller to change things.

pub mod client;
pub mod listen;
pub mod socket;
