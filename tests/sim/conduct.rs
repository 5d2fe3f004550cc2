//! How an attempt goes, drawn from the seed, the task and the number of the attempt: every way in which an analyzer can end, and some in
//! which it does not.

use manifestd::resource::reason::Reason;

use super::dice::Dice;

/// How work goes when nobody interferes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Every tool that was asked for runs well.
    Completes,
    /// Some tools run well: as many of them as this, from the first.
    Partly(usize),
    /// No tool runs well, for this reason.
    Fails(Reason),
    /// A tool is not there, and never will be.
    Lacks,
    /// It says something that nobody understands.
    Garbage,
    /// The connection is lost in the middle.
    Drops,
    /// It never ends by itself.
    Hangs,
    /// It says that it was cancelled, though nobody asked for that.
    GivesUp,
    /// It refuses before anything is sent.
    Refuses,
}

/// What it takes to stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stops {
    /// It stops at once, and says so if it can.
    AtOnce,
    /// It takes so many milliseconds.
    Slowly(u64),
    /// It is never heard of again, and may go on.
    Never,
    /// Its result comes all the same: it was done just then.
    WithResult,
}

/// How one attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conduct {
    pub(crate) how: How,
    /// After how many milliseconds of work it ends.
    pub(crate) after: u64,
    pub(crate) stops: Stops,
    /// How often it gives a sign of life, in milliseconds.
    pub(crate) signs: Option<u64>,
    /// Whether it gives the output that a step may promise.
    pub(crate) scores: bool,
    /// Whether it makes the app that it should make.
    pub(crate) makes: bool,
}

/// How all goes when the world is calm.
pub(crate) const CALM: Conduct =
    Conduct { how: How::Completes, after: 200, stops: Stops::AtOnce, signs: Some(10_000), scores: true, makes: true };

/// How an attempt goes in the calm: most go well, and some tasks go on as they always did, so that their budgets are used up to the end.
pub(crate) fn calm(seed: u64, task: &str, number: u32) -> Conduct {
    let conduct = of(seed, task, number, false);
    let is_stubborn = Dice::of(seed, task, 1).chance(40) && is_fixed(seed, task);
    if is_stubborn && conduct.how != How::Fails(Reason::DiskFull) { conduct } else { CALM }
}

/// Whether all attempts of a task go the same way.
fn is_fixed(seed: u64, task: &str) -> bool {
    Dice::of(seed, task, 0).chance(35)
}

/// How an attempt goes. Some tasks go the same way each time, so that budgets are used up to their end.
pub(crate) fn of(seed: u64, task: &str, number: u32, is_long: bool) -> Conduct {
    let mut fixed = Dice::of(seed, task, 0);
    let mut own = Dice::of(seed, task, u64::from(number));
    let is_fixed = is_fixed(seed, task);
    fixed.roll(1);
    let how = how(if is_fixed { &mut fixed } else { &mut own });
    let after = match own.roll(if is_long { 20 } else { 10 }) {
        0..=2 => own.roll(5),
        3..=6 => own.roll(4_000),
        7 | 8 => own.roll(60_000),
        _ => own.within(60_000, 400_000),
    };
    let stops =
        own.weighed(&[(5, Stops::AtOnce), (2, Stops::Slowly(3_000)), (2, Stops::Never), (1, Stops::WithResult)]);
    let signs = if fixed.chance(60) { Some(own.within(5_000, 60_000)) } else { None };
    Conduct { how, after, stops, signs, scores: own.chance(85), makes: own.chance(85) }
}

fn how(dice: &mut Dice) -> How {
    const REASONS: [Reason; 9] = [
        Reason::ToolFailed,
        Reason::ToolNotRun,
        Reason::TargetsUnreachable,
        Reason::ApiKeyMissing,
        Reason::AnalyzerError,
        Reason::ExitCode,
        Reason::ResultTooLarge,
        Reason::ResultNotStored,
        Reason::DiskFull,
    ];
    match dice.roll(24) {
        0..=8 => How::Completes,
        9 | 10 => How::Partly(1),
        11 => How::Partly(2),
        12..=15 => How::Fails(*dice.pick(&REASONS)),
        16 => How::Lacks,
        17 => How::Garbage,
        18 | 19 => How::Drops,
        20 | 21 => How::Hangs,
        22 => How::GivesUp,
        _ => How::Refuses,
    }
}
