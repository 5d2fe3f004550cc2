//! Small changes of known inputs, drawn from a seed: what a fuzzer does without knowing what they lead to. It finds again what was found once,
//! and needs nothing but the tests' own build.

use std::path::Path;

use crate::support::kills::Dice;

/// The longest input.
const BYTES_MAX: usize = 16 << 10;

/// Numbers near which programs go wrong.
const NUMBERS: [&str; 8] = ["0", "-1", "255", "65536", "2147483648", "4294967296", "9223372036854775808", "1e309"];

/// Inputs that come from each other.
pub(crate) struct Mutation {
    dice: Dice,
    known: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

impl Mutation {
    pub(crate) fn new(seeds: Vec<Vec<u8>>, words: &'static [&'static str]) -> Self {
        Self { dice: Dice::new(), known: seeds, words }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.dice.below(limit.max(1) as u64)).unwrap_or_default()
    }

    fn one(&mut self) -> Vec<u8> {
        let at = self.below(self.known.len());
        self.known[at].clone()
    }

    /// A place in an input, and one behind it that is mostly near.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let width = if self.below(8) == 0 { length } else { 16 };
        let end = (start + self.below(width + 1)).min(length);
        start..end
    }

    /// The next input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.one();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let range = self.range(input.len());
        match self.below(9) {
            0 => drop(input.drain(range)),
            1 => {
                let part = input[range.clone()].to_vec();
                input.splice(range.end..range.end, part);
            }
            2 | 3 => {
                let at = self.below(self.words.len());
                input.splice(range.start..range.start, self.words[at].bytes());
            }
            4 => {
                let at = self.below(self.words.len());
                input.splice(range, self.words[at].bytes());
            }
            5 => {
                let other = self.one();
                let part = self.range(other.len());
                input.splice(range, other[part].to_vec());
            }
            6 => {
                let at = self.below(NUMBERS.len());
                let end = range.start + input[range.start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                input.splice(range.start..end, NUMBERS[at].bytes());
            }
            7 => {
                let byte = u8::try_from(self.below(256)).unwrap_or_default();
                input.splice(range.start..range.start, [byte]);
            }
            _ => {
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(range.start) {
                    *byte ^= 1 << bit;
                }
            }
        }
    }
}

/// Holds the seeds and so many changes of them against a property. An input that breaks it is kept.
pub(crate) fn run(target: &str, seeds: Vec<Vec<u8>>, words: &'static [&'static str], runs: usize, check: fn(&[u8])) {
    let runs = std::env::var_os("MANIFESTD_FUZZ_RUNS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(runs);
    let first = seeds.clone();
    let mut mutation = Mutation::new(seeds, words);
    println!("{target}: seed {}, {runs} runs", mutation.dice.0);
    for input in first.into_iter().chain((0..runs).map(|_| mutation.next())) {
        let _witness = Witness { target, input: &input };
        check(&input);
    }
}

struct Witness<'w> {
    target: &'w str,
    input: &'w [u8],
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
            let file = place.join(self.target);
            let kept = std::fs::create_dir_all(&place).and_then(|()| std::fs::write(&file, self.input));
            println!(
                "{} bytes, kept in {} ({kept:?}): {:?}",
                self.input.len(),
                file.display(),
                String::from_utf8_lossy(self.input)
            );
        }
    }
}
