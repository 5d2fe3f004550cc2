//! Power cuts. Scenes of real commands are recorded as the calls that they make (strace), and played on a model of a disk that keeps what
//! was synced and loses any of the rest. At moments that a seed draws the power goes: what is left is laid out, opened by the program, and
//! compared with everything that somebody had been told until then. It does not matter how something was made durable, only whether it was.
//!
//! `make power RUNS=n SEED=s` cuts at so many moments of each scene; `MANIFESTD_POWER_RUNS` and `MANIFESTD_TEST_SEED` say the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its support code too")]
#![expect(clippy::print_stdout, reason = "what is printed of a cut that fails is how it is found again")]

#[path = "power/cut.rs"]
mod cut;
#[path = "power/disk.rs"]
mod disk;
#[path = "power/exchange.rs"]
mod exchange;
#[path = "power/found.rs"]
mod found;
#[allow(dead_code, reason = "the scenes here need a part of it")]
#[path = "maintenance/old.rs"]
mod old;
#[path = "power/recording.rs"]
mod recording;
#[path = "power/replay.rs"]
mod replay;
#[path = "power/repository.rs"]
mod repository;
mod support;
#[path = "power/trace.rs"]
mod trace;
#[path = "power/upkeep.rs"]
mod upkeep;
#[path = "power/work.rs"]
mod work;
