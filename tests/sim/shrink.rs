//! Makes the script of a failure as short as it can be told: takes steps out as long as the same law is still broken.

use super::laws::Law;
use super::mutant::Mutant;
use super::play::{Played, play};
use super::script::Script;
use super::world::Bench;

/// Plays at most. A failure that needs many steps is told with some too many rather than late.
const PLAYS_MAX: usize = 400;

/// A failure with as few steps as it needs.
pub(crate) struct Shrunk {
    /// Which steps of the whole script are left.
    pub(crate) kept: Vec<usize>,
    pub(crate) script: Script,
    pub(crate) played: Played,
}

/// Takes steps out of a script that breaks a law: first many at once, then fewer, then one by one.
pub(crate) fn shrink(script: &Script, law: Law, mutant: Option<&'static Mutant>) -> Shrunk {
    let bench = Bench::new(mutant);
    let mut kept: Vec<usize> = (0..script.steps.len()).collect();
    let mut best = play(script, &bench, mutant);
    let mut plays = 0;
    let mut part = (kept.len() / 2).max(1);
    loop {
        let mut at = 0;
        let mut is_shorter = false;
        while at < kept.len() && plays < PLAYS_MAX {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + part).min(kept.len()));
            let played = play(&script.only(&fewer), &bench, mutant);
            plays += 1;
            if played.breach.as_ref().is_some_and(|breach| breach.law == law) {
                (kept, best, is_shorter) = (fewer, played, true);
            } else {
                at += part;
            }
        }
        if plays >= PLAYS_MAX || (part == 1 && !is_shorter) {
            break;
        }
        part = (part / 2).max(1);
    }
    Shrunk { script: script.only(&kept), kept, played: best }
}
