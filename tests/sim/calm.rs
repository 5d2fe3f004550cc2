//! The calm after a script: everything is well again, and within a bounded time all has come to its end or waits for a reason; a second look
//! changes nothing, also that of another controller; and weeks later all is gone that should be.

use std::sync::Arc;

use manifestd::plan::{Effect, Key};
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::runtime::control::Request;
use manifestd::runtime::reconcile::plan;

use super::laws::{self, Breach, Law};
use super::life::{Life, until};
use super::play::{End, Stage, live};
use super::script::Focus;
use super::troubles::{Told, Trouble};
use super::world::{World, of};

/// A minute of the world, in milliseconds.
const MINUTE: u64 = 60_000;

/// After so much calm all has come to rest: the longest deadline, and the waits and silences that may follow each other. What people are asked
/// for until some time, and runs have to do until some time, takes longer by as much as the clock was turned back.
const CALM_MAX: u64 = 90 * MINUTE;

/// How long it is looked whether anything still moves: longer than anything here waits between two looks.
const REST: u64 = 6 * MINUTE;

/// Lets everything come to rest, and looks whether it has.
pub(crate) fn come_to_rest(world: &Arc<World>) {
    heal(world);
    live(world, settle);
    if world.state().breach.is_none() {
        live(world, rest);
    }
    if world.state().breach.is_none() && world.focus == Focus::Care {
        world.set(seldom());
        live(world, weeks);
    }
}

/// Nothing goes wrong any more.
fn heal(world: &World) {
    super::deeds::suffer(world, &Trouble::Manifests { there: true, empty: false });
    super::deeds::suffer(world, &Trouble::Link { is_link: false });
    let mut state = world.state();
    let steps = state.steps;
    state.say(format_args!("calm, after {steps} steps"));
    state.ledger.heal();
    state.weather = super::world::Weather { calm: true, ..Default::default() };
}

/// What people still do, so that nothing waits for them.
async fn tidy_up(stage: &mut Stage) {
    let suspend = Request::Suspend {
        target: "pipeline/study".into(),
        reason: "calm".into(),
        by: "p".into(),
        until: None,
        dry_run: false,
    };
    let life = Arc::clone(&stage.life);
    let known = life.state().model.find(Kind::Pipeline, "study").is_some();
    if known {
        let answer = stage.answerer.answer(suspend).await;
        life.state().say(format_args!("answer {answer:?}"));
    }
}

/// Waits until all has come to rest.
async fn settle(stage: &mut Stage) -> End {
    tidy_up(stage).await;
    let life = Arc::clone(&stage.life);
    let began = life.age();
    loop {
        let at = life.age() + 2 * MINUTE;
        until(life.instant(at)).await;
        let mut state = life.state();
        life.judge(&mut state, laws::stand);
        let left = state.look(&life.world, |moment| [laws::unsettled(moment), laws::may_start_over(moment)].concat());
        if left.is_empty() {
            break;
        }
        // Schedules wait for a clock that was turned back, and make up for what one that was set ahead has left out.
        let longer = if state.model.runs.is_empty() { 0 } else { state.turned_back + state.turned_ahead };
        if at - began > CALM_MAX + longer {
            let what = format!("after {} minutes of calm: {}", CALM_MAX / MINUTE, left.join("; "));
            state.breached(Err(Breach::new(Law::Ends, what)));
            return End::Over;
        }
    }
    let mut state = life.state();
    let calm = (life.age() - began) / MINUTE;
    let steps = state.steps;
    state.say(format_args!("settled after {calm} minutes, with step {steps}"));
    drop(state);
    End::Over
}

/// Another controller finds nothing to do.
async fn rest(stage: &mut Stage) -> End {
    let life = Arc::clone(&stage.life);
    // The first minutes are for what the start itself asks: replicas, and files that changed while nobody looked.
    until(life.instant(life.age() + REST / 2)).await;
    let before = life.state().moved;
    until(life.instant(life.age() + REST)).await;
    look_whether_it_rests(&life, before);
    for key in keys(&life.world) {
        if let Some(what) = left_to_do(stage, &key).await {
            let mut state = life.state();
            state.breached(Err(Breach::new(Law::TwiceIsOnce, format!("{key} is not settled: {what}"))));
        }
    }
    End::Over
}

/// Nothing has changed since so many rows had, nothing waits for what does not come, and nothing is left of what is over.
fn look_whether_it_rests(life: &Life, before: u64) {
    let mut state = life.state();
    let (age, steps) = (state.age, state.steps);
    state.say(format_args!("rested, with step {steps}"));
    state.ledger.settle(age);
    let moved = state.moved - before;
    // A clock that was turned back comes through the same time again: what broke or was taken then counts once more.
    let again = state.turned_back > 0;
    if moved > 0 && !again && life.world.focus != Focus::Care {
        let tail: Vec<String> = state.log.lines().rev().take(12).map(str::to_owned).collect();
        let what = format!("{moved} rows changed though nothing happened; the latest: {}", tail.join(" | "));
        state.breached(Err(Breach::new(Law::TwiceIsOnce, what)));
    }
    let left = state.look(&life.world, laws::unsettled);
    if !left.is_empty() {
        state.breached(Err(Breach::new(Law::Ends, format!("what was settled is not any more: {}", left.join("; ")))));
    }
    life.judge(&mut state, laws::all_gone);
}

/// Every key that there is.
fn keys(world: &World) -> Vec<Key> {
    let state = world.state();
    let mut keys = vec![Key::Apps];
    for (uid, object) in &state.model.objects {
        match object.kind {
            Kind::Analyzer => keys.extend([Key::Analyzer(object.name.clone()), Key::Lane(object.name.clone())]),
            Kind::Pipeline => keys.push(Key::Pipeline(Uid(uid.clone()))),
            _ => {}
        }
    }
    keys.extend(state.model.tasks.keys().map(|uid| Key::Task(Uid(uid.clone()))));
    keys.extend(state.model.runs.keys().map(|uid| Key::Run(Uid(uid.clone()))));
    keys
}

/// What would be done about a key now, but for asking replicas how they are.
async fn left_to_do(stage: &Stage, key: &Key) -> Option<String> {
    let plan = plan(stage.controller.core(), key).await.ok()?;
    let is_question = |effect: &Effect| matches!(effect, Effect::Probe(_));
    let is_empty = plan.writes.is_empty() && plan.effects.iter().all(is_question);
    (!is_empty).then(|| format!("{plan}"))
}

/// Weeks pass, with maintenance now and then: what is over is set aside, and then gone for good.
async fn weeks(stage: &mut Stage) -> End {
    let life = Arc::clone(&stage.life);
    // Nobody needs replicas any more, which would be asked every five minutes for weeks.
    let analyzers = Trouble::Remove { file: "analyzers.yaml".into(), told: Told::Sync };
    super::deeds::act(stage, &analyzers).await;
    let day = 24 * 60 * MINUTE;
    for _ in 0..6 {
        until(life.instant(life.age() + day / 2)).await;
        if life.is_over() {
            return End::Over;
        }
    }
    let mut state = life.state();
    let age = state.age;
    state.ledger.settle(age);
    life.judge(&mut state, laws::all_gone);
    End::Over
}

/// Settings by which a controller looks only now and then.
pub(crate) fn seldom() -> manifestd::config::Settings {
    of(&[
        ("workspace", "work"),
        ("taskPollInterval", "6h"),
        ("stuckAfter", "7h"),
        ("scanInterval", "6h"),
        ("rescanInterval", "6h"),
        ("maintenanceAutoStart", "true"),
        ("maintenanceInterval", "6h"),
        ("orphanAppRetentionDays", "1"),
        ("taskRetentionDays", "0"),
        ("quarantineDays", "1"),
    ])
}
