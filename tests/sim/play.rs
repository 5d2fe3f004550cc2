//! Plays a script: one controller after another on a thread of their own time, with everything that the script says; then a calm, in which all
//! must come to rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use manifestd::executor::{Executors, Limits, Surroundings};
use manifestd::resource::time::Timestamp;
use manifestd::runtime::answer::Answerer;
use manifestd::runtime::clock::Clock;
use manifestd::runtime::controller::Controller;
use manifestd::runtime::core::Core;
use manifestd::store::Store;
use tokio::task::JoinSet;

use super::laws::Breach;
use super::life::{Life, until};
use super::mutant::Mutant;
use super::script::{Script, Step};
use super::troubles::Trouble;
use super::world::{Bench, World};
use super::{calm, heard};

/// What a run came to.
pub(crate) struct Played {
    pub(crate) log: String,
    pub(crate) breach: Option<Breach>,
    pub(crate) tally: BTreeMap<String, u64>,
    pub(crate) steps: u64,
}

/// How a controller ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was killed, and the next one starts so many milliseconds later.
    Killed(u64),
    /// It was stopped, and the next one starts so many milliseconds later.
    Stopped(u64),
    /// All was played.
    Over,
}

/// A controller that runs, as those need it who play.
pub(crate) struct Stage {
    pub(crate) life: Arc<Life>,
    pub(crate) controller: Controller,
    pub(crate) answerer: Answerer,
    /// What people have asked and not been answered yet.
    pub(crate) asked: JoinSet<()>,
}

/// Plays a script from its beginning to its end.
pub(crate) fn play(script: &Script, bench: &Bench, mutant: Option<&'static Mutant>) -> Played {
    let _ear = tracing::subscriber::set_default(heard::Ear);
    heard::take();
    let twisted = mutant.map_or(0, |mutant| mutant.name.len() as u64);
    manifestd::store::uid::follow(mix(script) ^ twisted);
    let world = World::new(script.seed, script.focus, bench, mutant);
    super::deeds::furnish(&world, script);
    let mut at = 0;
    loop {
        let end = live(&world, async |stage: &mut Stage| follow(stage, script, &mut at).await);
        if world.state().breach.is_some() {
            break;
        }
        match end {
            End::Over => break,
            End::Killed(down) | End::Stopped(down) => wait_down(&world, script, &mut at, down),
        }
    }
    if world.state().breach.is_none() {
        calm::come_to_rest(&world);
    }
    let mut state = world.state();
    Played {
        // Where the world lay is another place each time.
        log: std::mem::take(&mut state.log).replace(&*world.place().to_string_lossy(), ""),
        breach: state.breach.take(),
        tally: std::mem::take(&mut state.tally),
        steps: state.steps,
    }
}

/// A number for a script, so that no two have uids in common: what is remembered by them is not mistaken.
fn mix(script: &Script) -> u64 {
    let text = format!("{script}");
    text.bytes().fold(script.seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)).rotate_left(16)
}

/// One controller from its start until it ends, or what it is there for is done.
pub(crate) fn live(world: &Arc<World>, deed: impl AsyncFnOnce(&mut Stage) -> End) -> End {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let (end, life) = runtime.block_on(async {
        let life = Life::begin(world);
        let whole = async {
            let mut stage = start(&life).await;
            let end = deed(&mut stage).await;
            if let End::Stopped(_) = end {
                let Stage { controller, .. } = stage;
                let grace = world.settings().shutdown_grace_period.std();
                life.state().weather.stopping = true;
                controller.shut_down(grace).await;
            }
            end
        };
        let end = tokio::select! {
            biased;
            () = life.ended.notified() => End::Killed(0),
            end = whole => end,
        };
        // The rest of the process is dropped as it stands.
        life.end();
        let mut state = life.state();
        (state.weather.kill, state.weather.stopping) = (None, false);
        drop(state);
        (end, life)
    });
    drop(runtime);
    *life.core() = None;
    let number = Arc::into_inner(life).expect("nothing of a life outlives it").number;
    let mut state = world.state();
    state.ledger.bereave(number);
    let down = state.weather.down;
    match end {
        End::Killed(_) => End::Killed(down),
        other => other,
    }
}

/// Starts a controller.
async fn start(life: &Arc<Life>) -> Stage {
    let world = &life.world;
    life.state().say(format_args!("a controller starts"));
    let gate: Arc<dyn manifestd::store::inline::Gate> = Arc::clone(life) as _;
    let place = world.place();
    let store = Store::inline(world.state_directory().join("manifestd.db"), Arc::clone(&world.connection), gate)
        .expect("the store");
    let clock = Clock::Runtime {
        origin: life.origin,
        at: Timestamp(super::world::START + life.born.cast_signed()),
        set: Arc::clone(&world.skew),
    };
    let surroundings = Surroundings {
        workspace: world.path(""),
        state: world.state_directory(),
        secrets: place.join("secrets"),
        programs: None,
        embedded: None,
        attempt_token_prefix: store.id().to_owned(),
        environment: BTreeMap::new(),
        limits: Limits::default(),
    };
    let executors = Executors::played(surroundings, Arc::clone(life) as _);
    let mut settings = (*world.settings()).clone();
    if let Some(mutant) = world.mutant {
        (mutant.settings)(&mut settings);
    }
    let mut core = Core::new(store, clock, settings, world.path(""), executors);
    core.twist = world.mutant.map(Mutant::twist);
    *life.core() = Some(core.clone());
    let mut controller = Controller::of(core);
    let _ = controller.start().await;
    let answerer = Answerer::new(&controller);
    Stage { life: Arc::clone(life), controller, answerer, asked: JoinSet::new() }
}

/// Does what a script says, from one of its steps on, until the controller ends.
async fn follow(stage: &mut Stage, script: &Script, at: &mut usize) -> End {
    while let Some(Step { at: age, trouble }) = script.steps.get(*at) {
        until(stage.life.instant(*age)).await;
        *at += 1;
        {
            let mut state = stage.life.state();
            state.say(format_args!("* {trouble}"));
            state.count(&format!("trouble {}", trouble.name()));
            stage.life.judge(&mut state, super::laws::stand);
        }
        if let Trouble::Stop { down } = trouble {
            return End::Stopped(*down);
        }
        super::deeds::act(stage, trouble).await;
        while stage.asked.try_join_next().is_some() {}
    }
    End::Over
}

/// Time passes without a controller; files and replicas change all the same.
fn wait_down(world: &Arc<World>, script: &Script, at: &mut usize, down: u64) {
    let until = world.state().age + down;
    while let Some(Step { at: age, trouble }) = script.steps.get(*at).filter(|step| step.at <= until) {
        *at += 1;
        let mut state = world.state();
        state.age = state.age.max(*age);
        state.say(format_args!("* {trouble} (nobody is there)"));
        state.count(&format!("trouble {}", trouble.name()));
        drop(state);
        super::deeds::suffer(world, trouble);
    }
    let mut state = world.state();
    state.age = state.age.max(until);
    let age = state.age;
    state.ledger.settle(age);
}
