//! What several test suites share.
#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod bench;
pub(crate) mod daemon;
pub(crate) mod extended;
pub(crate) mod kills;
pub(crate) mod misbehaving;
pub(crate) mod process;
pub(crate) mod stage;
pub(crate) mod tools;
pub(crate) mod versions;
