//! Plays many seeds on all cores, each on one thread with a world of its own, and tells of the first that breaks a law: as short as it can be
//! made, with the command that plays it again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::laws::Breach;
use super::play::{Played, play};
use super::script::Script;
use super::shrink::{Shrunk, shrink};
use super::world::Bench;

/// After so many seeds it is told how far it is, when that is asked for.
const TELL: u64 = 1_000;

/// Lines of the log that are told of a failure.
pub(crate) const TAIL: usize = 60;

/// What many seeds came to.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) seeds: u64,
    pub(crate) steps: u64,
    /// How often what has happened.
    pub(crate) tally: BTreeMap<String, u64>,
    /// The lowest seed that was seen to break a law.
    pub(crate) breach: Option<(u64, Breach)>,
}

/// Plays these seeds, until one of them breaks a law.
pub(crate) fn many(seeds: Range<u64>, tells: bool) -> Sum {
    let (next, over, sum) = (AtomicU64::new(seeds.start), AtomicBool::new(false), Mutex::new(Sum::default()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let bench = Bench::new(None);
                while !over.load(Ordering::SeqCst) {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        break;
                    }
                    let played = play(&Script::of(seed), &bench, None);
                    over.fetch_or(played.breach.is_some(), Ordering::SeqCst);
                    let mut sum = sum.lock().expect("the sum");
                    sum.add(seed, played);
                    if tells && sum.seeds % TELL == 0 {
                        println!("{} seeds, {} steps", sum.seeds, sum.steps);
                    }
                }
            });
        }
    });
    sum.into_inner().expect("the sum")
}

impl Sum {
    fn add(&mut self, seed: u64, played: Played) {
        self.seeds += 1;
        self.steps += played.steps;
        for (what, count) in played.tally {
            *self.tally.entry(what).or_default() += count;
        }
        let is_first = self.breach.as_ref().is_none_or(|(first, _)| seed < *first);
        if let Some(breach) = played.breach.filter(|_| is_first) {
            self.breach = Some((seed, breach));
        }
    }
}

/// Tells of a seed that breaks a law.
pub(crate) fn told(seed: u64, breach: &Breach) -> String {
    let Shrunk { kept, script, played } = shrink(&Script::of(seed), breach.law, None);
    let lines: Vec<&str> = played.log.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    let only = kept.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let breach = played.breach.as_ref().unwrap_or(breach);
    format!(
        "seed {seed} breaks {:?}: {}\n\n{script}\n{tail}\n\nTo play it again: make sim SEED={seed} ONLY={only}\n",
        breach.law, breach.what
    )
}
