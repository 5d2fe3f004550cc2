//! Moments that a seed draws, and commands that are killed at such a moment: a step that the command tells in its log.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::daemon::Home;

/// Small steps that look random: splitmix64, so that a seed gives the same moments everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From the seed that the environment gives.
    pub(crate) fn new() -> Self {
        let given = std::env::var_os("MANIFESTD_TEST_SEED").and_then(|text| text.to_str()?.parse().ok());
        Self(given.unwrap_or(20_261_124))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Runs a command and kills it when it has told so many steps. Gives how many it told; it may have ended before.
pub(crate) fn kill_at(home: &Home, arguments: &[&str], step: u64) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_manifestd"))
        .args(arguments)
        .args(["--log", "manifestd=debug"])
        .current_dir(home.dir.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let (mut told, stderr) = (0, child.stderr.take().expect("its log"));
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        told += u64::from(line.contains("DEBUG"));
        if told >= step {
            // It may have ended by itself in this very moment.
            let _ = child.kill();
            break;
        }
    }
    child.wait().expect("its end");
    told
}

/// How many steps a command tells when nobody kills it.
pub(crate) fn steps(home: &Home, arguments: &[&str]) -> u64 {
    let told = kill_at(home, arguments, u64::MAX);
    assert!(told > 2, "{arguments:?} tells only {told} steps");
    told
}
