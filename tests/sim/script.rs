//! What happens in one run, written down before it begins: what people write and ask, what the world does, when the controller is killed. A
//! script follows from its seed; taking a step out of it leaves all others as they are, so a failure can be told with as few as it needs.

use std::collections::BTreeMap;
use std::fmt;

use super::dice::Dice;
use super::troubles::{Place, Told, Trouble};
use super::words::{self, ANALYZERS, APPS, Document, FOUND};

/// What a seed is mostly about: each run stays small, and all of them together see everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Focus {
    /// Programs on this machine.
    Programs,
    /// Services that speak the base protocol.
    Services,
    /// Services that know an attempt by its token.
    Extended,
    /// Runs of pipelines.
    Pipelines,
    /// Apps that come and go on disk.
    Apps,
    /// A controller that is killed again and again.
    Crashes,
    /// Replicas that come and go.
    Outages,
    /// Maintenance over weeks.
    Care,
}

pub(crate) const FOCI: [Focus; 8] = [
    Focus::Programs,
    Focus::Services,
    Focus::Extended,
    Focus::Pipelines,
    Focus::Apps,
    Focus::Crashes,
    Focus::Outages,
    Focus::Care,
];

/// One thing that happens, and how long after the beginning, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: u64,
    pub(crate) trouble: Trouble,
}

/// All that happens in one run, in the order in which it does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) focus: Focus,
    pub(crate) steps: Vec<Step>,
}

/// A script while it is being written: what the files say by then.
struct Draft {
    dice: Dice,
    focus: Focus,
    at: u64,
    steps: Vec<Step>,
    files: BTreeMap<String, Vec<Document>>,
    tasks: Vec<String>,
    analyzers: Vec<&'static str>,
    apps: Vec<&'static str>,
}

impl Script {
    /// The script of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let focus = FOCI[(seed % FOCI.len() as u64) as usize];
        let mut dice = Dice::of(seed, "script", 0);
        let analyzers = match focus {
            Focus::Programs => vec!["cmd"],
            Focus::Services | Focus::Outages => vec!["web"],
            Focus::Extended => vec!["ext"],
            Focus::Crashes => vec![*dice.pick(&ANALYZERS)],
            Focus::Pipelines | Focus::Apps | Focus::Care => vec![*dice.pick(&ANALYZERS), *dice.pick(&ANALYZERS)],
        };
        let apps = match focus {
            Focus::Apps | Focus::Care => vec![APPS[0], FOUND[0].0, FOUND[1].0, FOUND[4].0],
            _ => APPS.to_vec(),
        };
        let mut draft =
            Draft { dice, focus, at: 0, steps: Vec::new(), files: BTreeMap::new(), tasks: Vec::new(), analyzers, apps };
        draft.begin();
        for _ in 0..draft.dice.within(12, 24) {
            draft.at += draft.dice.pause();
            draft.go_on();
        }
        Self { seed, focus, steps: draft.steps }
    }

    /// The same script with only some of its steps.
    pub(crate) fn only(&self, kept: &[usize]) -> Self {
        let steps = kept.iter().filter_map(|at| self.steps.get(*at)).cloned().collect();
        Self { steps, ..self.clone() }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, about {:?}", self.seed, self.focus)?;
        for Step { at, trouble } in &self.steps {
            writeln!(f, "  after {}.{:03} s: {trouble}", at / 1000, at % 1000)?;
        }
        Ok(())
    }
}

impl Draft {
    fn then(&mut self, trouble: Trouble) {
        self.steps.push(Step { at: self.at, trouble });
    }

    fn write(&mut self, file: &str, documents: Vec<Document>) {
        self.files.insert(file.to_owned(), documents.clone());
        let told = self.told();
        self.then(Trouble::Write { file: file.to_owned(), documents, told });
    }

    fn told(&mut self) -> Told {
        self.dice.weighed(&[(6, Told::Complete), (2, Told::Something), (1, Told::Nothing), (1, Told::Sync)])
    }

    /// What is there from the beginning.
    fn begin(&mut self) {
        let mut names = self.analyzers.clone();
        names.sort_unstable();
        names.dedup();
        let analyzers = names.iter().map(|name| words::analyzer(name, &mut self.dice)).collect();
        self.write("analyzers.yaml", analyzers);
        let pool = words::pool(&mut self.dice);
        self.write("pool.yaml", vec![pool]);
        let apps = APPS.iter().map(|name| words::app(name, &mut self.dice)).collect();
        self.write("apps.yaml", apps);
        if matches!(self.focus, Focus::Apps | Focus::Care) {
            let set = words::app_set(&mut self.dice);
            self.write("set.yaml", vec![set]);
        }
        self.at += self.dice.roll(500);
        let tasks = match self.focus {
            Focus::Pipelines => 1,
            Focus::Crashes => self.dice.within(2, 3),
            _ => self.dice.within(3, 5),
        };
        for number in 0..tasks {
            let name = format!("t{number}");
            let task = words::task(&name, &self.analyzers, &self.apps, &mut self.dice);
            self.tasks.push(name.clone());
            self.write(&format!("{name}.yaml"), vec![task]);
            self.at += self.dice.roll(300);
        }
        if self.focus == Focus::Pipelines || (self.focus == Focus::Care && self.dice.chance(50)) {
            self.pipelines();
        }
    }

    fn pipelines(&mut self) {
        let analyzer = *self.dice.pick(&self.analyzers);
        let documents =
            vec![words::inner_pipeline(analyzer, &mut self.dice), words::pipeline(analyzer, &mut self.dice)];
        self.write("pipelines.yaml", documents);
    }

    /// One more thing.
    fn go_on(&mut self) {
        let of = |wanted: Focus, more: u64, less: u64| if self.focus == wanted { more } else { less };
        let kind = self.dice.weighed(&[
            (14, 'e'),                                                     // edits
            (8, 'p'),                                                      // people ask
            (of(Focus::Pipelines, 16, 0).max(of(Focus::Care, 4, 0)), 'r'), // of runs
            (of(Focus::Apps, 22, 2).max(of(Focus::Care, 8, 0)), 'd'),      // directories
            (of(Focus::Outages, 24, 6), 'o'),                              // replicas
            (of(Focus::Crashes, 30, 10), 'k'),                             // kills
            (4, 's'),                                                      // stops
            (6, 'w'),                                                      // lost wake-ups
            (3, 'c'),                                                      // clocks
            (3, 'f'),                                                      // a full disk, or a slow one
            (3, 'm'),                                                      // the directory of manifests
            (3, 'l'),                                                      // late results
            (of(Focus::Care, 10, 1), 'a'),                                 // what is aside
        ]);
        match kind {
            'e' => self.edit(),
            'p' => self.people(),
            'r' => self.runs(),
            'd' => self.directories(),
            'o' => self.replicas(),
            'k' => self.kill(),
            's' => {
                let down = self.dice.pause();
                self.then(Trouble::Stop { down });
            }
            'w' => {
                let (lasts, percent) = (self.dice.within(100, 60_000), self.dice.within(30, 100));
                self.then(Trouble::Thief { lasts, percent });
            }
            'c' => {
                let far = *self.dice.pick(&[90_000, 900_000, 40_000_000]);
                let by = self.dice.within(1, far) as i64;
                let by = if self.dice.chance(50) { by } else { -by };
                self.then(Trouble::Clock { by });
            }
            'f' => {
                let lasts = self.dice.within(10, 30_000);
                let trouble = if self.dice.chance(50) { Trouble::Full { lasts } } else { Trouble::Slow { lasts } };
                self.then(trouble);
            }
            'm' => self.manifests(),
            'l' => {
                let task = self.dice.pick(&self.tasks).clone();
                self.then(Trouble::Late { task });
            }
            _ => self.aside(),
        }
    }

    fn edit(&mut self) {
        let file = self.dice.pick(&self.files.keys().cloned().collect::<Vec<_>>()).clone();
        let told = self.told();
        match self.dice.roll(10) {
            0 => self.then(Trouble::Break { file, told }),
            1 | 2 => self.then(Trouble::Remove { file, told }),
            // As it was: brings back what was removed or broken.
            3 | 4 => {
                let documents = self.files[&file].clone();
                self.then(Trouble::Write { file, documents, told });
            }
            _ if file == "pipelines.yaml" => self.pipelines(),
            _ => {
                let mut documents = self.files[&file].clone();
                let at = self.dice.roll(documents.len() as u64) as usize;
                let name = documents[at].name.clone();
                documents[at] = match file.as_str() {
                    "analyzers.yaml" => words::analyzer(&name, &mut self.dice),
                    "pool.yaml" => words::pool(&mut self.dice),
                    "apps.yaml" => words::app(&name, &mut self.dice),
                    "set.yaml" => words::app_set(&mut self.dice),
                    _ => words::task(&name, &self.analyzers, &self.apps, &mut self.dice),
                };
                self.write(&file, documents);
            }
        }
    }

    fn people(&mut self) {
        let task = self.dice.pick(&self.tasks).clone();
        let trouble = match self.dice.roll(10) {
            0..=3 => Trouble::Cancel { task },
            4..=7 => Trouble::Retry { task, no_cache: self.dice.chance(30) },
            8 => Trouble::Sync,
            _ => Trouble::Reconcile,
        };
        self.then(trouble);
    }

    fn runs(&mut self) {
        let (which, step) = (self.dice.roll(4), *self.dice.pick(&["make", "look", "within", "last"]));
        let trouble = match self.dice.roll(12) {
            0 | 1 => Trouble::Run { pipeline: (*self.dice.pick(&["study", "inner"])).into() },
            2 => Trouble::Rerun { which, latest: self.dice.chance(50) },
            3 | 4 => Trouble::CancelRun { which, finally: self.dice.chance(30) },
            5 | 6 => Trouble::RetryRun { which, from: self.dice.chance(50).then(|| step.to_owned()) },
            7 => {
                let lasts = self.dice.chance(60).then(|| self.dice.within(1_000, 120_000));
                Trouble::Suspend { which: self.dice.chance(50).then_some(which), lasts }
            }
            8 => Trouble::Resume { which: self.dice.chance(50).then_some(which) },
            9 | 10 => Trouble::Decide { which, approved: self.dice.chance(70) },
            _ => Trouble::Backfill { back: self.dice.within(60_000, 3_000_000) },
        };
        self.then(trouble);
    }

    fn directories(&mut self) {
        let paths: Vec<String> = APPS.iter().map(|name| format!("apps/{name}")).collect();
        let found: Vec<String> = FOUND.iter().map(|(_, path)| (*path).to_owned()).collect();
        let is_found = self.dice.chance(60);
        let path = self.dice.pick(if is_found { &found } else { &paths }).clone();
        let there = self.dice.chance(50);
        let trouble = match self.dice.roll(10) {
            0..=4 => Trouble::Directory { path, there },
            5 | 6 => Trouble::Touch { path },
            7 => Trouble::Directory { path: "gen/m".into(), there },
            8 if self.dice.chance(50) => Trouble::Directory { path: words::ROOT.into(), there },
            8 => Trouble::Link { is_link: there },
            _ => Trouble::AcceptGone,
        };
        self.then(trouble);
    }

    fn replicas(&mut self) {
        let services: Vec<&str> = self.analyzers.iter().copied().filter(|name| *name != "cmd").collect();
        if services.is_empty() {
            return self.kill();
        }
        let name = *self.dice.pick(&services);
        let url = self.dice.pick(&words::urls(name)).clone();
        let trouble = if self.dice.chance(15) {
            Trouble::Restart { url }
        } else {
            let moods = super::troubles::MOODS;
            Trouble::Replica { url, mood: *self.dice.pick(&moods) }
        };
        self.then(trouble);
    }

    fn kill(&mut self) {
        if self.focus == Focus::Crashes && self.dice.chance(15) {
            return self.kill_often();
        }
        let place = *self.dice.pick(&[Place::Before, Place::After, Place::Silently]);
        let most = *self.dice.pick(&[2, 6, 40]);
        let (steps, down) = (self.dice.roll(most), self.dice.pause());
        self.then(Trouble::Kill { steps, place, down });
    }

    /// A controller that is killed again and again, each time after it has begun to work.
    fn kill_often(&mut self) {
        let down = self.dice.roll(500);
        for _ in 0..self.dice.within(8, 15) {
            self.then(Trouble::Kill { steps: 0, place: Place::Silently, down });
            self.at += down + self.dice.within(500, 4_000);
        }
    }

    fn manifests(&mut self) {
        let empty = self.dice.chance(50);
        self.then(Trouble::Manifests { there: false, empty });
        self.at += self.dice.pause();
        self.then(Trouble::Manifests { there: true, empty });
    }

    fn aside(&mut self) {
        let which = self.dice.roll(6);
        let trouble = match self.dice.roll(4) {
            0 => Trouble::Keep { which },
            1 => Trouble::Restore { which },
            2 => Trouble::Purge,
            _ => Trouble::AcceptGone,
        };
        self.then(trouble);
    }
}
