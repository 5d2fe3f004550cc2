//! Everything that can go wrong in a world, mixed by a seed: attempts fail, hang and are slow to stop, wake-ups are lost, the controller is
//! killed, specs change, people cancel, retry, and take manifests away. Afterwards every task has come to its end, nothing is left to do, and
//! the same seed gives the same history: so a seed that finds something can be looked at again.

use manifestd::resource::attempt::Assignment;
use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use serde_json::{Value, json};

use crate::stage::{task, with_program, with_service};
use crate::world::{Act, World};

/// Numbers that look random and follow from a seed (SplitMix64, by Vigna; public domain).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

const TASKS: u64 = 5;

/// An even seed plays with a program, an odd one with a service.
const SEEDS: [u64; 2] = [3, 4];
