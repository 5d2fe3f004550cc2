//! Deterministic simulation: a whole controller, on one thread and in virtual time, over a world that does everything to it that can be done. The
//! laws, written apart from the program, are looked at after every step. A seed says all that happens, and says it again whenever it is asked.
//!
//! `make sim RUNS=n SEED=s` plays as many seeds as one likes. How it is built, and how to add to it: docs/simulation.md.

#![expect(clippy::print_stdout, reason = "what is printed of a seed that breaks a law is how it is found again")]

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
#[path = "sim/many.rs"]
mod many;
#[path = "sim/model.rs"]
mod model;
#[path = "sim/mutant.rs"]
mod mutant;
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

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use manifestd::resource::outcome::Outcome;

use laws::{Breach, Law};
use many::{Sum, many, told};
use mutant::Mutant;
use mutants::MUTANTS;
use play::play;
use script::Script;
use shrink::shrink;
use world::Bench;

/// That of the program, which plays a sixth more seeds in the same time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that are played when nobody says otherwise.
const RUNS: u64 = 2_000;

/// Seeds that a mistake may need to be noticed.
const NOTICED_WITHIN: u64 = 600;

/// A setting of `make sim`.
#[expect(clippy::disallowed_methods, reason = "what is to be played is said where the tests are started")]
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u64> {
    said(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} = {text:?} is no number")))
}

#[test]
fn every_seed_keeps_the_laws() {
    let (seed, runs) = (number("MANIFESTD_SIM_SEED"), number("MANIFESTD_SIM_RUNS"));
    if let Some(only) = said("MANIFESTD_SIM_ONLY") {
        return look_at(seed.unwrap_or(0), Some(&only));
    }
    if let (Some(seed), None | Some(1)) = (seed, runs) {
        return look_at(seed, None);
    }
    let first = seed.unwrap_or(0);
    let sum = many(first..first + runs.unwrap_or(RUNS), runs.is_some());
    if let Some((seed, breach)) = &sum.breach {
        panic!("{}", told(*seed, breach));
    }
    println!("{} seeds, {} steps", sum.seeds, sum.steps);
    if sum.seeds >= RUNS {
        assert_everything_happened(&sum);
    }
}

/// Plays one seed, or a part of its script, and shows all that happened.
fn look_at(seed: u64, only: Option<&str>) {
    let whole = Script::of(seed);
    let kept =
        only.map(|only| only.split(',').map(|at| at.trim().parse().expect("numbers of steps")).collect::<Vec<_>>());
    let script = kept.map_or(whole.clone(), |kept| whole.only(&kept));
    let played = play(&script, &Bench::new(None), None);
    println!("{script}\n{}", played.log);
    if let Some(breach) = played.breach {
        let told = if only.is_none() { told(seed, &breach) } else { breach.what };
        panic!("{:?}: {told}", breach.law);
    }
}

/// A simulation in which something never happens proves nothing about it.
fn assert_everything_happened(sum: &Sum) {
    let outcomes = Outcome::ALL.iter().map(|outcome| format!("attempt {outcome}"));
    let words = troubles::NAMES.iter().map(|name| format!("trouble {name}"));
    let others = HAPPENS.iter().map(|what| (*what).to_owned());
    let missing: Vec<String> = outcomes
        .chain(words)
        .chain(others)
        .filter(|what| sum.tally.get(what).is_none_or(|count| *count == 0))
        .collect();
    assert!(missing.is_empty(), "these never happened in {} seeds: {missing:?}\nof {:#?}", sum.seeds, sum.tally);
}

/// What has to happen among so many seeds, besides every outcome and every trouble.
const HAPPENS: [&str; 49] = [
    "abandoned",
    "full at a commit",
    "killed after a commit",
    "killed after a step",
    "killed before a commit",
    "killed before a step",
    "killed between two steps",
    "left",
    "reaped",
    "stolen wake-ups",
    "taken up",
    "run Cancelled RunCancelled",
    "run Cancelled ManifestRemoved",
    "run Completed AllStepsCompleted",
    "run Failed CriticalStepFailed",
    "run Failed DeadlineExceeded",
    "run Failed NoStepSucceeded",
    "run PartialSuccess SomeStepsFailed",
    "run Pending ConcurrencyLimit",
    "run Running RetriedByUser",
    "run Running Suspended",
    "run Running WaitingForApproval",
    "task Cancelled AppDeleted",
    "task Cancelled CancelledByUser",
    "task Cancelled ManifestRemoved",
    "task Cancelled PendingTooLong",
    "task Completed AllToolsRan",
    "task Failed AnalyzerUnavailable",
    "task Failed ApiKeyMissing",
    "task Failed ConnectionLost",
    "task Failed DeadlineExceeded",
    "task Failed ProtocolError",
    "task Failed ResultNotStored",
    "task Failed ResultTooLarge",
    "task Failed Stuck",
    "task Failed TooManyInterruptions",
    "task Failed ToolFailed",
    "task Failed ToolNotRun",
    "task PartialSuccess SomeToolsFailed",
    "task Pending AnalyzerNotFound",
    "task Pending AnalyzerUnavailable",
    "task Pending AppMissing",
    "task Pending AppNotFound",
    "task Pending AppNotRead",
    "task Pending BackOff",
    "task Pending BreakerOpen",
    "task Pending DiskFull",
    "task Pending PoolNotFound",
    "task Pending Suspended",
];

#[test]
fn the_same_seed_gives_the_same_log_again_on_any_thread() {
    let logs = || {
        let bench = Bench::new(None);
        let log = |seed| play(&Script::of(seed), &bench, None).log;
        (0..24).map(log).collect::<Vec<String>>()
    };
    // Each bench has played another seed before each of these, and the threads run beside each other.
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            (0..24).rev().map(|seed| play(&Script::of(seed), &Bench::new(None), None).log).rev().collect::<Vec<_>>()
        });
        (logs(), other.join().expect("the other thread"))
    });
    for (seed, (one, other)) in one.iter().zip(&other).enumerate() {
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert!(one == other, "seed {seed} went two ways: {differs:#?}");
        assert!(one.lines().count() > 30, "seed {seed}: little happened:\n{one}");
    }
}

/// The first of the seeds that shows a mistake, by which law, and the end of its log.
fn notice(mutant: &'static Mutant) -> Option<(u64, Breach, String)> {
    let bench = Bench::new(Some(mutant));
    let seeds = std::iter::once(mutant.hint).chain(0..NOTICED_WITHIN);
    let scripts = seeds.map(Script::of).filter(|script| mutant.foci.contains(&script.focus));
    let mut breaches = scripts.filter_map(|script| {
        let played = play(&script, &bench, Some(mutant));
        let lines: Vec<&str> = played.log.lines().collect();
        let tail = lines[lines.len().saturating_sub(many::TAIL)..].join("\n");
        Some((script.seed, played.breach?, tail))
    });
    breaches.next()
}

#[test]
fn every_mistake_is_noticed_and_by_the_law_that_it_breaks() {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let only = said("MANIFESTD_SIM_MUTANT");
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = MUTANTS.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if only.as_ref().is_some_and(|only| !mutant.name.contains(only.as_str())) {
                        continue;
                    }
                    let said = match notice(mutant) {
                        Some((seed, breach, _)) if mutant.laws.contains(&breach.law) => {
                            println!("{}: {:?}, by seed {seed}", mutant.name, breach.law);
                            continue;
                        }
                        Some((seed, breach, tail)) => format!(
                            "{}: by seed {seed} it is {:?} that is broken: {}\n{tail}",
                            mutant.name, breach.law, breach.what
                        ),
                        None => format!("{}: not noticed in {NOTICED_WITHIN} seeds", mutant.name),
                    };
                    println!("{said}");
                    wrong.lock().expect("the list").push(said);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("the list");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_lists_every_mistake_with_the_law_that_notices() {
    let laws = |laws: &[Law]| laws.iter().map(|law| format!("`{law:?}`")).collect::<Vec<_>>().join(", ");
    let wanted: Vec<String> =
        MUTANTS.iter().map(|mutant| format!("| {} | {} |", mutant.name, laws(mutant.laws))).collect();
    let page = include_str!("../docs/simulation.md");
    let table = page.split_once("| mistake | noticed by |\n|---|---|\n").expect("the table of mistakes").1;
    let found: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(found, wanted, "the table should be:\n{}\n", wanted.join("\n"));
    let names: std::collections::BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    assert_eq!(names.len(), MUTANTS.len(), "two mistakes have one name");
}

#[test]
fn nothing_that_ships_makes_mistakes_on_purpose() {
    let mut left = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut seen = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        if path.to_string_lossy().ends_with("_tests.rs") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).expect("a file");
        // Whoever makes one has to be a Twist, and to be put into the core.
        for sign in ["Twist for", "twist: Some", "twist = "] {
            assert!(!text.contains(sign), "{} has {sign:?}", path.display());
        }
    }
    assert!(seen > 100, "{seen} files");
}

#[test]
fn a_failure_is_told_with_few_steps_and_comes_again_from_them() {
    let mutant = MUTANTS.iter().find(|mutant| mutant.name.contains("removed manifest")).expect("a mutant");
    let (seed, breach, _) = notice(mutant).expect("it is noticed");
    let whole = Script::of(seed);
    let shrunk = shrink(&whole, breach.law, Some(mutant));
    assert!(shrunk.kept.len() * 2 < whole.steps.len(), "{} of {} steps are left", shrunk.kept.len(), whole.steps.len());
    let again = play(&whole.only(&shrunk.kept), &Bench::new(Some(mutant)), Some(mutant));
    assert_eq!(again.log, shrunk.played.log);
    assert_eq!(again.breach.map(|breach| breach.law), Some(breach.law));
    // And without the mistake nothing is wrong with them.
    assert_eq!(play(&shrunk.script, &Bench::new(None), None).breach, None);
}
