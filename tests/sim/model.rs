//! What the database says, kept beside it row by row from what each transaction changed, and what the laws remember of it.

use std::collections::{BTreeMap, BTreeSet};

use manifestd::resource::analyzer::{AnalyzerSpec, Rate};
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::{Outcome, ToolReport};
use manifestd::resource::phase::Phase;
use manifestd::resource::pool::PoolSpec;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::TaskSpec;

use super::audit::{Change, Row};

/// A declared object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) removed: bool,
    /// Whether a scan of the disk or a run made it, and no manifest.
    pub(crate) found: bool,
    pub(crate) spec: String,
}

/// A task with all of its attempts.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) row: Row,
    pub(crate) phase: Phase,
    pub(crate) reason: Reason,
    pub(crate) spec: TaskSpec,
    pub(crate) attempts: BTreeMap<u32, Attempt>,
    /// The most tries that any spec of this round allowed after the first.
    pub(crate) limit: u32,
    /// Since when, as an age, the manifest or a person wants it not to run; `None` while they do want it.
    pub(crate) unwanted_since: Option<u64>,
    /// When its spec was last edited, taken away or brought back, as an age.
    pub(crate) edited_at: u64,
}

/// One attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) row: Row,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) reason: Option<Reason>,
    pub(crate) tools: Vec<ToolReport>,
    pub(crate) asked: Vec<String>,
    /// When it was opened, as an age, and by which controller.
    pub(crate) opened: u64,
    pub(crate) by: u64,
}

/// A run with what it asked for.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) row: Row,
    pub(crate) phase: Phase,
    pub(crate) reason: Reason,
}

/// A limit as it was until some age.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limit(Vec<(u64, u64)>);

/// A pass that began before an edit may still act by what was there before, for so many milliseconds.
pub(crate) const PASS_MAX: u64 = 30_000;

impl Limit {
    fn set(&mut self, age: u64, value: u64) {
        self.0.push((age, value));
    }

    /// The highest limit that a pass may go by which is committed now.
    pub(crate) fn highest(&self, age: u64) -> u64 {
        let mut highest = 0;
        for (at, (since, value)) in self.0.iter().enumerate() {
            let until = self.0.get(at + 1).map_or(u64::MAX, |(next, _)| *next);
            if until.saturating_add(PASS_MAX) >= age && *since <= age {
                highest = highest.max(*value);
            }
        }
        highest
    }
}

/// All rows that laws are about.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) objects: BTreeMap<String, Object>,
    pub(crate) tasks: BTreeMap<String, Task>,
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) children: BTreeMap<(String, String, i64), Row>,
    pub(crate) apps: BTreeMap<String, Row>,
    /// When each app was marked missing, as an age.
    pub(crate) missing: BTreeMap<String, u64>,
    pub(crate) conditions: BTreeSet<(String, String)>,
    pub(crate) removals: BTreeSet<String>,
    /// Capacity of each analyzer for one replica, and slots of each pool.
    pub(crate) capacities: BTreeMap<(Kind, String), Limit>,
    /// Rates, with the age since which they hold.
    pub(crate) rates: BTreeMap<(Kind, String), (u64, Rate)>,
}

fn word<T: std::str::FromStr>(row: &Row, column: &str) -> T {
    let text = row.text(column);
    text.parse().unwrap_or_else(|_| panic!("{column} = {text:?} is no word"))
}

impl Attempt {
    fn of(row: &Row, opened: u64, by: u64) -> Self {
        let tools = row.maybe_text("tools").map(|text| serde_json::from_str(text).expect("tools")).unwrap_or_default();
        Self {
            outcome: row.maybe_text("outcome").map(|_| word(row, "outcome")),
            reason: row.maybe_text("reason").map(|_| word(row, "reason")),
            tools,
            asked: serde_json::from_value(row.json("asked")).expect("asked"),
            row: row.clone(),
            opened,
            by,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.outcome.is_none()
    }
}

impl Task {
    pub(crate) fn name(&self) -> &str {
        self.row.text("name")
    }

    pub(crate) fn round(&self) -> i64 {
        self.row.number("round")
    }

    /// Its attempts of this round, oldest first.
    pub(crate) fn of_round(&self, round: i64) -> impl Iterator<Item = &Attempt> {
        self.attempts.values().filter(move |attempt| attempt.row.number("round") == round)
    }
}

impl Model {
    /// Follows what a transaction changed, at an age and under a controller.
    pub(crate) fn follow(&mut self, changes: &[Change], age: u64, life: u64) {
        for change in changes {
            match change.table {
                "object" => self.object(change, age),
                "task" => self.task(change, age),
                "attempt" => self.attempt(change, age, life),
                "run" => {
                    let uid = change.row().text("uid").to_owned();
                    match &change.new {
                        Some(row) => {
                            let run = Run { row: row.clone(), phase: word(row, "phase"), reason: word(row, "reason") };
                            self.runs.insert(uid, run);
                        }
                        None => _ = self.runs.remove(&uid),
                    }
                }
                "child" => {
                    let row = change.row();
                    let key = (row.text("run").to_owned(), row.text("step").to_owned(), row.number("item"));
                    match &change.new {
                        Some(row) => _ = self.children.insert(key, row.clone()),
                        None => _ = self.children.remove(&key),
                    }
                }
                "app" => {
                    let uid = change.row().text("uid").to_owned();
                    match change.new.as_ref().is_some_and(|row| row.maybe("missing_since").is_some()) {
                        true => _ = self.missing.entry(uid.clone()).or_insert(age),
                        false => _ = self.missing.remove(&uid),
                    }
                    match &change.new {
                        Some(row) => _ = self.apps.insert(uid, row.clone()),
                        None => _ = self.apps.remove(&uid),
                    }
                }
                "condition" => {
                    let row = change.row();
                    let key = (row.text("uid").to_owned(), row.text("type").to_owned());
                    match change.new.as_ref().is_some_and(|row| row.number("holds") == 1) {
                        true => _ = self.conditions.insert(key),
                        false => _ = self.conditions.remove(&key),
                    }
                }
                "removal" => {
                    let path = change.row().text("path").to_owned();
                    match change.new.is_some() {
                        true => _ = self.removals.insert(path),
                        false => _ = self.removals.remove(&path),
                    }
                }
                _ => {}
            }
        }
    }

    fn object(&mut self, change: &Change, age: u64) {
        let uid = change.row().text("uid").to_owned();
        let Some(row) = &change.new else {
            self.objects.remove(&uid);
            return;
        };
        let kind: Kind = word(row, "kind");
        let (name, spec) = (row.text("name").to_owned(), row.text("spec").to_owned());
        let removed = row.maybe("removed_at").is_some();
        let key = (kind, name.clone());
        let (limit, rate) = match kind {
            Kind::Analyzer => {
                let spec: AnalyzerSpec = serde_json::from_str(&spec).expect("an analyzer");
                (Some(spec.capacity), spec.rate)
            }
            Kind::Pool => {
                let spec: PoolSpec = serde_json::from_str(&spec).expect("a pool");
                (Some(spec.slots), spec.rate)
            }
            _ => (None, None),
        };
        if let Some(limit) = limit {
            self.capacities.entry(key.clone()).or_default().set(age, if removed { 0 } else { u64::from(limit) });
            match rate {
                Some(rate) if self.rates.get(&key).is_none_or(|(_, known)| *known != rate) => {
                    self.rates.insert(key, (age, rate));
                }
                Some(_) => {}
                None => _ = self.rates.remove(&key),
            }
        }
        if kind == Kind::Task
            && let Some(task) = self.tasks.get_mut(&uid)
        {
            task.spec = serde_json::from_str(&spec).expect("a task");
            task.limit = task.limit.max(task.spec.backoff_limit);
        }
        let found = row.number("line") == 0;
        let generation = row.number("generation");
        self.objects.insert(uid, Object { kind, name, generation, removed, found, spec });
    }

    fn task(&mut self, change: &Change, age: u64) {
        let uid = change.row().text("uid").to_owned();
        let Some(row) = &change.new else {
            self.tasks.remove(&uid);
            return;
        };
        let (phase, reason) = (word(row, "phase"), word(row, "reason"));
        let known = self.tasks.remove(&uid);
        let spec = match &known {
            Some(task) => task.spec.clone(),
            None => self
                .objects
                .get(&uid)
                .map(|object| serde_json::from_str(&object.spec).expect("a task"))
                .expect("its object"),
        };
        let is_another_round = known.as_ref().is_none_or(|task| task.round() != row.number("round"));
        let limit = if is_another_round { spec.backoff_limit } else { known.as_ref().map_or(0, |task| task.limit) };
        let edit = |row: &Row| (row.number("generation"), row.number("removed"), row.number("cancel_round"));
        let is_edited = known.as_ref().is_none_or(|task| edit(&task.row) != edit(row));
        let edited_at = if is_edited { age } else { known.as_ref().map_or(age, |task| task.edited_at) };
        let unwanted = row.number("removed") == 1 || row.number("cancel_round") >= row.number("round") || spec.suspend;
        let unwanted_since = unwanted.then(|| known.as_ref().and_then(|task| task.unwanted_since).unwrap_or(age));
        let attempts = known.map(|task| task.attempts).unwrap_or_default();
        self.tasks
            .insert(uid, Task { row: row.clone(), phase, reason, spec, attempts, limit, unwanted_since, edited_at });
    }

    fn attempt(&mut self, change: &Change, age: u64, life: u64) {
        let row = change.row();
        let number = u32::try_from(row.number("number")).expect("a number");
        let Some(task) = self.tasks.get_mut(row.text("task_uid")) else { return };
        let Some(row) = &change.new else {
            task.attempts.remove(&number);
            return;
        };
        let (opened, by) = task.attempts.get(&number).map_or((age, life), |known| (known.opened, known.by));
        task.attempts.insert(number, Attempt::of(row, opened, by));
    }

    /// An object by its name.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<(&String, &Object)> {
        self.objects.iter().find(|(_, object)| object.kind == kind && object.name == name)
    }

    /// Every attempt of every task.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (&Task, &Attempt)> {
        self.tasks.values().flat_map(|task| task.attempts.values().map(move |attempt| (task, attempt)))
    }
}
