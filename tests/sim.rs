//! Deterministic simulation: a whole controller, on one thread and in virtual time, over a world that does everything to it that can be done.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

#[path = "sim/audit.rs"]
mod audit;
#[path = "sim/calm.rs"]
mod calm;
#[path = "sim/conduct.rs"]
mod conduct;
#[path = "sim/declared.rs"]
mod declared;
#[path = "sim/deeds.rs"]
mod deeds;
#[path = "sim/dice.rs"]
mod dice;
#[path = "sim/heard.rs"]
mod heard;
#[path = "sim/laws/mod.rs"]
mod laws;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/life.rs"]
mod life;
#[path = "sim/model.rs"]
mod model;
#[path = "sim/mutants.rs"]
mod mutants;
#[path = "sim/outside.rs"]
mod outside;
#[path = "sim/play.rs"]
mod play;
#[path = "sim/script.rs"]
mod script;
#[path = "sim/shrink.rs"]
mod shrink;
#[path = "sim/troubles.rs"]
mod troubles;
#[path = "sim/words.rs"]
mod words;
#[path = "sim/world.rs"]
mod world;

use script::Script;
use world::Bench;

#[test]
fn first() {
    let bench = Bench::new(None);
    let (from, runs) = (number("SIM_SEED", 0), number("SIM_RUNS", 1));
    let began = tokio::time::Instant::now();
    let mut steps = 0;
    let mut all = std::collections::BTreeMap::<String, u64>::new();
    let mut bad = 0;
    for seed in from..from + runs {
        let mut script = Script::of(seed);
        if let Some(only) = text("SIM_ONLY") {
            let kept: Vec<usize> = only.split(',').filter_map(|at| at.parse().ok()).collect();
            script = script.only(&kept);
        }
        let played = play::play(&script, &bench, None);
        steps += played.steps;
        if runs == 1 {
            println!("{script}\n{}", played.log);
        }
        for (what, count) in played.tally {
            *all.entry(what).or_default() += count;
        }
        if let Some(breach) = played.breach {
            bad += 1;
            println!("seed {seed} {:?}: {}", breach.law, breach.what);
            if text("SIM_SHRINK").is_some() {
                let shrunk = shrink::shrink(&script, breach.law, None);
                println!(
                    "{}{}\nSIM_SEED={seed} SIM_ONLY={}",
                    shrunk.script,
                    shrunk.played.log,
                    shrunk.kept.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
                );
            }
        }
    }
    println!("{all:#?}\n{bad} bad");
    println!("{steps} steps in {:?}", began.elapsed());
}

#[expect(clippy::disallowed_methods, reason = "how many seeds are played is said where the tests are started")]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::disallowed_methods, reason = "how many seeds are played is said where the tests are started")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
