//! A scene, recorded once and cut at many moments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cut::{Fate, Image, image, lay_out};
use crate::disk::Disk;
use crate::replay::{Family, Replay, Sort};
use crate::support::daemon::Home;
use crate::support::kills::Dice;
use crate::trace::{self, Moment};

/// Cuts of each scene when nobody says how many.
const RUNS: usize = 40;

/// How often every dangerous moment is tried before a sync counts as one that nobody misses: with each of the worst fates first, then with
/// fates that chance draws.
const ROUNDS_TO_FIND: usize = 20;

/// What a scene needs of a file system in memory, in bytes; with less it takes the usual temporary directory.
const ROOM_MIN: u64 = 2 << 30;

/// A scene that was recorded.
pub(crate) struct Recording {
    pub(crate) home: Home,
    top: PathBuf,
    out: tempfile::NamedTempFile,
    before: Disk,
    moments: Vec<Moment>,
    family: Family,
    /// After how many moments somebody was told something, a sync is about to end, or anything else changed.
    telling: Vec<usize>,
    syncing: Vec<usize>,
    changing: Vec<usize>,
    /// How many syncs of each sort there are.
    asked: BTreeMap<Sort, usize>,
}

/// A moment at which the power went.
pub(crate) struct Cut<'r> {
    pub(crate) home: &'r Home,
    /// Everything that had been told.
    pub(crate) told: &'r [String],
    /// How many cuts of this scene came before.
    pub(crate) number: usize,
}

impl Cut<'_> {
    /// What follows a word at the beginning of the lines that were told.
    pub(crate) fn told(&self, word: &str) -> impl Iterator<Item = &str> {
        self.told.iter().filter_map(move |line| line.strip_prefix(word))
    }

    pub(crate) fn was_told(&self, line: &str) -> bool {
        self.told.iter().any(|told| told == line)
    }
}

fn runs() -> usize {
    std::env::var_os("MANIFESTD_POWER_RUNS").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(RUNS)
}

/// A home for a scene; `None`, after saying why, where calls cannot be recorded. A scene makes hundreds of states, so it lies in memory if
/// there is room.
pub(crate) fn stage(settings: &str) -> Option<Home> {
    if let Some(obstacle) = trace::obstacle() {
        // Past the capture of the test harness, so that nobody takes a test that did nothing for one that passed.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED, nothing was tested: power cuts need strace, and ptrace: {obstacle}");
        return None;
    }
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize > ROOM_MIN);
    let place = if has_room { memory.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::Builder::new().prefix("manifestd-power-").tempdir_in(place).unwrap();
    Some(Home::of(dir, settings))
}

impl Recording {
    /// Runs a script in a home and records it. `manifestd` is the program, and the script ends with the first command that fails.
    pub(crate) fn of(home: Home, script: &str) -> Self {
        let top = home.dir.path().canonicalize().unwrap();
        let (out, log) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let before = Disk::read(&top);
        let program = Path::new(env!("CARGO_BIN_EXE_manifestd")).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([program.to_owned()].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut command = Command::new("strace");
        command.current_dir(&top).env_clear().envs(home.environment()).env("PATH", path);
        trace::record(&mut command, script, out.path(), log.path());
        let moments = trace::read(log.path());
        let family = Family::of(&moments);
        let (telling, syncing, changing, asked) = Default::default();
        let mut recording = Self { home, top, out, before, moments, family, telling, syncing, changing, asked };
        recording.look_through();
        recording
    }

    fn replay(&self, forgets: Option<Sort>) -> Replay<'_> {
        Replay::new(self.before.clone(), (&self.top, self.out.path()), &self.family, forgets)
    }

    /// Finds the moments that matter, and proves the model: what it says is there in the end must be what is there.
    fn look_through(&mut self) {
        let (mut telling, mut syncing, mut changing) = (Vec::new(), Vec::new(), Vec::new());
        let mut replay = self.replay(None);
        for (at, moment) in self.moments.iter().enumerate() {
            let (told, turn) = (replay.told.len(), replay.disk.turn());
            replay.step(moment);
            if replay.told.len() > told {
                telling.push(at + 1);
            }
            if replay.disk.turn() > turn {
                changing.push(at + 1);
            }
            if matches!(moment, Moment::Begins(call) if call.name.ends_with("sync")) {
                syncing.push(at + 1);
            }
        }
        let played = image(&replay.disk, &Fate::EVERYTHING, &mut Dice(0));
        let really = image(&Disk::read(&self.top), &Fate::EVERYTHING, &mut Dice(0));
        let differs = |path: &&PathBuf| {
            // The program writes its index of the log past the kernel.
            !path.to_string_lossy().ends_with("-shm") && played.get(*path) != really.get(*path)
        };
        let wrong: Vec<_> = played.keys().chain(really.keys()).filter(differs).collect();
        assert!(wrong.is_empty(), "the model of the disk has missed something of {wrong:?}");
        assert!(telling.len() > 1 && syncing.len() > 1, "next to nothing was recorded");
        self.asked = std::mem::take(&mut replay.asked);
        (self.telling, self.syncing, self.changing) = (telling, syncing, changing);
    }

    /// Cuts the power at moments that a seed draws, of which many are those at which it hurts most: after somebody was told something, and
    /// before a sync ends. Each time what is left of `ours`, names below the home, is laid out and `check` looks at it. Whatever else is
    /// there belongs to other people and is as it was in the end.
    pub(crate) fn cut(&self, scene: &str, ours: &[&str], mut check: impl FnMut(&Cut<'_>)) {
        let (mut dice, runs) = (Dice::new(), runs());
        println!("{scene}: seed {}, {runs} cuts, {} moments", dice.0, self.moments.len());
        let mut replay = self.replay(None);
        self.cut_at(self.drawn(runs, &mut dice), None, &mut replay, &mut dice, |left, what, cut| {
            left.retain(|path, _| ours.iter().any(|name| path.starts_with(name)));
            self.put(ours, left);
            let _witness = Witness { scene, left, told: cut.told, what };
            check(cut);
        });
    }

    /// Proves that cuts would find it if the program left some syncs out: without those of any sort that it makes `check` must fail, but for
    /// those that are `spared`.
    pub(crate) fn needs(&self, scene: &str, ours: &[&str], spared: &[Sort], mut check: impl FnMut(&Cut<'_>)) {
        let sorts: Vec<Sort> = self.asked.keys().copied().filter(|sort| !spared.contains(sort)).collect();
        assert!(!sorts.is_empty(), "{scene}: nothing is synced");
        let rounds = |sort: Option<Sort>, rounds: usize, check: &mut dyn FnMut(&Cut<'_>)| {
            let mut dice = Dice::new();
            (0..rounds).find(|round| {
                let mut replay = self.replay(sort);
                let fate = Fate::WORST.get(*round).copied();
                let round = AssertUnwindSafe(|| {
                    self.cut_at(self.dangerous(), fate, &mut replay, &mut dice, |left, _, cut| {
                        left.retain(|path, _| ours.iter().any(|name| path.starts_with(name)));
                        self.put(ours, left);
                        check(cut);
                    });
                });
                catch_unwind(round).is_err()
            })
        };
        // Only what holds at these moments as long as nothing is left out can be broken by what is.
        assert_eq!(rounds(None, 1, &mut check), None, "{scene}: it fails though nothing is left out");
        let mut missed = Vec::new();
        for sort in sorts {
            let found = rounds(Some(sort), ROUNDS_TO_FIND, &mut check);
            let says = found.map_or("missed".to_owned(), |round| format!("found in round {round}"));
            println!("{scene} without syncs of sort {sort:?}, {} of them: {says}", self.asked[&sort]);
            missed.extend(found.is_none().then_some(sort));
        }
        assert!(missed.is_empty(), "{scene}: these can be left out, and nobody sees it: {missed:?}");
    }

    fn drawn(&self, runs: usize, dice: &mut Dice) -> Vec<usize> {
        let mut draw = |from: &[usize]| from[usize::try_from(dice.below(from.len() as u64)).unwrap()];
        let all: Vec<usize> = (0..=self.moments.len()).collect();
        let sorts = [&self.telling, &self.syncing, &self.changing, &all];
        let mut chosen: Vec<usize> = (0..runs).map(|run| draw(sorts[run % sorts.len()])).collect();
        chosen.sort_unstable();
        chosen
    }

    /// Moments at which something may be lost of which somebody knows, or of which the program believes that it is kept.
    fn dangerous(&self) -> Vec<usize> {
        let moments: BTreeSet<usize> = self.telling.iter().chain(&self.syncing).copied().collect();
        moments.into_iter().collect()
    }

    fn cut_at(
        &self,
        moments: Vec<usize>,
        fate: Option<Fate>,
        replay: &mut Replay<'_>,
        dice: &mut Dice,
        mut each: impl FnMut(&mut Image, String, &Cut<'_>),
    ) {
        let mut done = 0;
        for (number, until) in moments.into_iter().enumerate() {
            self.moments[done..until].iter().for_each(|moment| replay.step(moment));
            done = until;
            let fate = fate.unwrap_or_else(|| Fate::drawn(&replay.disk, dice));
            let mut left = image(&replay.disk, &fate, dice);
            let what = format!("cut {number}, at moment {until}: {fate:?}");
            each(&mut left, what, &Cut { home: &self.home, told: &replay.told, number });
        }
    }

    fn put(&self, ours: &[&str], left: &Image) {
        for name in ours {
            let path = self.top.join(name);
            match path.symlink_metadata() {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path).unwrap(),
                Ok(_) => fs::remove_file(&path).unwrap(),
                Err(_) => {}
            }
        }
        lay_out(&self.top, left);
    }
}

/// Keeps what was found when the check of it fails.
struct Witness<'w> {
    scene: &'w str,
    left: &'w Image,
    told: &'w [String],
    what: String,
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("power").join(self.scene);
            let _ = fs::remove_dir_all(&place);
            fs::create_dir_all(&place).unwrap();
            lay_out(&place, self.left);
            fs::write(place.join("told.txt"), self.told.join("\n")).unwrap();
            println!("{}: {}\nwhat was left of the disk is kept in {}", self.scene, self.what, place.display());
        }
    }
}
