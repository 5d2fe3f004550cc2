//! Everything that can go wrong in a world, mixed by a seed: attempts fail, hang and are slow to stop, wake-ups are lost, the controller is
//! killed, specs change, people cancel, retry, and take manifests away. Afterwards every task has come to its end, nothing is left to do, and
//! the same seed gives the same history: so a seed that finds something can be looked at again.

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

/// Delays too short for a tenth of them to be a jitter, which would differ from run to run with the uids.
fn spec(dice: &mut Dice, number: u64) -> Value {
    let retry = json!({"base": "9ms", "max": "9ms"});
    let config = json!({"edit": dice.roll(1000)});
    task(json!({"priority": 100 + number, "retry": retry, "backoffLimit": dice.roll(4), "config": config}))
}

fn act(dice: &mut Dice) -> Act {
    let after = Span(dice.roll(1_500_000));
    let act = match dice.roll(4) {
        0 => Act::completes(after),
        1 => Act::fails(after, Reason::ToolFailed),
        2 => Act::fails(after, Reason::ApiKeyMissing),
        _ => Act::hangs(),
    };
    let act = if dice.roll(2) == 0 { act.with_signs_every(Span(1 + dice.roll(600_000))) } else { act };
    act.stops_after(Span(dice.roll(20_000)))
}

/// One thing that goes wrong, or that somebody wants.
fn trouble(world: &mut World, dice: &mut Dice) {
    let number = dice.roll(TASKS);
    let name = format!("t{number}");
    match dice.roll(7) {
        0 => world.restart(),
        1 => {
            world.kill();
            world.advance(Span(dice.roll(3_000_000)));
            world.start();
        }
        2 => {
            let spec = spec(dice, number);
            world.respecify(Kind::Task, &name, spec);
        }
        3 => world.cancel(&name),
        4 => world.retry(&name),
        5 => world.remove(Kind::Task, &name),
        _ => {
            let (mut odds, share) = (dice.clone(), 1 + dice.roll(3));
            world.lose(move |_| odds.roll(4) < share);
        }
    }
}

/// Plays a seed: the turns of every task, in the order in which they happened.
fn play(seed: u64) -> Vec<Vec<(Span, Phase, Reason)>> {
    let mut dice = Dice(seed);
    let mut world = if seed.is_multiple_of(2) { with_program(&[]) } else { with_service(&[]) };
    let mut acts = dice.clone();
    world.script(move |_| act(&mut acts));
    for number in 0..TASKS {
        let spec = spec(&mut dice, number);
        world.declare(Kind::Task, &format!("t{number}"), spec);
        world.advance(Span(dice.roll(10_000)));
    }
    for _ in 0..30 {
        world.advance(Span(dice.roll(400_000)));
        trouble(&mut world, &mut dice);
    }
    world.lose_nothing();
    world.script(|_| Act::completes(Span::seconds(1)));
    world.advance(Span::minutes(180));
    world.assert_settled();
    let names = (0..TASKS).map(|number| format!("t{number}"));
    names
        .map(|name| {
            assert!(world.state(&name).0.is_terminal(), "seed {seed}: {name} is {:?}", world.state(&name));
            world.turns(&name)
        })
        .collect()
}

#[test]
fn whatever_goes_wrong_every_task_ends_and_a_seed_can_be_played_again() {
    for seed in SEEDS {
        let turns = play(seed);
        assert!(turns.iter().map(Vec::len).sum::<usize>() > 10, "seed {seed}: little happened: {turns:?}");
        assert_eq!(turns, play(seed), "seed {seed}");
    }
}
