//! Random pipelines, and what their runs must come to: an algebra written apart from the program.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::runs::Chance;

/// What a step works on.
#[derive(Clone, Copy)]
pub(crate) enum Each {
    /// So many items, times two when there is a matrix.
    Fixed(u64, bool),
    /// The apps of this label: none, or three.
    Labelled(bool),
    /// The apps of an earlier step.
    From(usize),
    /// A person: decided after a while as this says, or never.
    Approval(Option<bool>),
}

/// What a step asks of one that it needs.
#[derive(Clone)]
pub(crate) struct When {
    pub(crate) step: usize,
    pub(crate) phases: Vec<char>,
    pub(crate) succeeded_at_least: Option<u64>,
    pub(crate) failed_at_most: Option<u64>,
}

#[derive(Clone)]
pub(crate) struct Plain {
    pub(crate) name: String,
    pub(crate) needs: Vec<usize>,
    pub(crate) each: Each,
    pub(crate) when: Vec<When>,
    pub(crate) allow_empty: bool,
    pub(crate) critical: bool,
    pub(crate) most: Option<u64>,
}

const PHASES: [(char, &str); 5] =
    [('S', "Completed"), ('P', "PartialSuccess"), ('F', "Failed"), ('C', "Cancelled"), ('X', "Skipped")];

pub(crate) fn random_steps(chance: &mut Chance) -> Vec<Plain> {
    let mut steps: Vec<Plain> = Vec::new();
    for at in 0..2 + chance.below(5) as usize {
        let sources: Vec<usize> = (0..at).filter(|one| !matches!(steps[*one].each, Each::Approval(_))).collect();
        let each = match chance.below(20) {
            0..3 => Each::Approval([None, Some(true), Some(false)][chance.below(3) as usize]),
            3..5 => Each::Labelled(chance.is(60)),
            5..12 if !sources.is_empty() => Each::From(sources[chance.below(sources.len() as u64) as usize]),
            _ => Each::Fixed(1 + chance.below(4), chance.is(20)),
        };
        let mut needs: BTreeSet<usize> = (0..at).filter(|_| chance.is(20)).collect();
        if let Each::From(source) = each {
            needs.insert(source);
        }
        let needs: Vec<usize> = needs.into_iter().collect();
        let mut when = Vec::new();
        for step in &needs {
            if !chance.is(25) {
                continue;
            }
            let phases = PHASES.iter().map(|(word, _)| *word).filter(|_| chance.is(60)).collect::<Vec<_>>();
            let counts = !matches!(steps[*step].each, Each::Approval(_));
            let succeeded_at_least = (counts && chance.is(30)).then(|| chance.below(3));
            let failed_at_most = (phases.is_empty() || counts && chance.is(30)).then(|| chance.below(3));
            when.push(When { step: *step, phases, succeeded_at_least, failed_at_most });
        }
        let (allow_empty, critical) = (chance.is(50), chance.is(20));
        let most = (!matches!(each, Each::Approval(_)) && chance.is(30)).then(|| 1 + chance.below(3));
        steps.push(Plain { name: format!("s{at}"), needs, each, when, allow_empty, critical, most });
    }
    steps
}

pub(crate) fn spec_of(steps: &[Plain], parallelism: u64) -> Value {
    let one = |step: &Plain| {
        let needs: Vec<&str> = step.needs.iter().map(|need| steps[*need].name.as_str()).collect();
        let mut value = json!({"name": step.name, "needs": needs, "critical": step.critical});
        let mut each = match step.each {
            Each::Fixed(items, _) => json!({"range": {"from": 1, "to": items}}),
            Each::Labelled(some) => json!({"apps": {"matchLabels": {"set": if some { "three" } else { "none" }}}}),
            Each::From(source) => json!({"appsFrom": steps[source].name}),
            Each::Approval(on_timeout) => {
                value["approval"] = match on_timeout {
                    Some(yes) => json!({"timeout": "1h", "onTimeout": if yes { "Approve" } else { "Reject" }}),
                    None => json!({}),
                };
                Value::Null
            }
        };
        if each.is_object() {
            if matches!(step.each, Each::Fixed(_, true)) {
                each["matrix"] = json!({"way": ["a", "b"]});
            }
            if matches!(step.each, Each::Fixed(..)) {
                value["app"] = json!("app${item}");
            }
            each["allowEmpty"] = step.allow_empty.into();
            value["analyzer"] = "lint".into();
            value["forEach"] = each;
        }
        if let Some(most) = step.most {
            value["maxParallel"] = json!(most);
        }
        let when = step.when.iter().map(|when| {
            let word = |phase: &char| PHASES.iter().find(|(word, _)| word == phase).unwrap().1;
            let phases: Vec<&str> = when.phases.iter().map(word).collect();
            let mut all = json!({"step": steps[when.step].name, "phases": phases});
            for (key, count) in [("succeededAtLeast", when.succeeded_at_least), ("failedAtMost", when.failed_at_most)] {
                if let Some(count) = count {
                    all[key] = count.into();
                }
            }
            all
        });
        value["when"] = when.collect();
        value
    };
    let all: Vec<Value> = steps.iter().map(one).collect();
    json!({"parallelism": parallelism, "runPolicy": "Manual", "steps": all, "finally": [{"name": "last", "analyzer": "lint"}]})
}

/// How a list of endings counts: S, P, F or C; `None` for an empty one.
fn fold(endings: &[char]) -> Option<char> {
    let count = |of: char| endings.iter().filter(|one| **one == of).count();
    Some(match (count('S'), count('P'), count('C'), endings.len()) {
        (.., 0) => return None,
        (good, _, _, all) if good == all => 'S',
        (0, 0, out, all) if out == all => 'C',
        (0, 0, ..) => 'F',
        _ => 'P',
    })
}

/// How many items a step has.
fn size_of(step: &Plain, before: &[u64]) -> u64 {
    match step.each {
        Each::Fixed(items, twice) => items * if twice { 2 } else { 1 },
        Each::Labelled(some) => 3 * u64::from(some),
        Each::From(source) => before[source],
        Each::Approval(_) => 0,
    }
}

/// What a run comes to from the ends of its steps.
fn whole(steps: &[Plain], came: &[char], stopped: bool) -> char {
    let critical = steps.iter().zip(came).any(|(step, end)| step.critical && *end == 'F');
    let counted: Vec<char> =
        came.iter().filter(|end| **end != 'K').map(|end| if *end == 'X' { 'C' } else { *end }).collect();
    match (stopped, critical) {
        (true, _) => 'C',
        (false, true) => 'F',
        (false, false) => fold(&counted).unwrap_or('S'),
    }
}

/// What each round does to a step again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Again {
    Nothing,
    Bad,
    All,
}

/// What is known of a run from round to round.
#[derive(Default)]
pub(crate) struct Ledger {
    /// How each item that ever was asked for ended last.
    pub(crate) ends: BTreeMap<(usize, u64), char>,
    /// Items that ended in this round, and how.
    pub(crate) lives: BTreeMap<(usize, u64), Vec<char>>,
    /// What people decided in this round, and before.
    pub(crate) decided: BTreeMap<usize, bool>,
    pub(crate) decided_before: BTreeMap<usize, bool>,
}

/// What a round has come to.
pub(crate) struct End {
    /// The run: S, P, F or C.
    pub(crate) whole: char,
    /// Items that had to be asked for in this round.
    pub(crate) asked: BTreeSet<(usize, u64)>,
    /// How many items each step has.
    pub(crate) sizes: Vec<u64>,
    /// S, P, F, C; X for skipped, K for skipped without counting.
    pub(crate) steps: Vec<char>,
}

impl Ledger {
    fn gate(&self, steps: &[Plain], at: usize, ends: &[char]) -> Option<char> {
        let count = |step: usize, of: char| {
            self.ends.iter().filter(|((one, _), end)| *one == step && **end == of).count() as u64
        };
        let as_phase = |end: char| if end == 'K' { 'X' } else { end };
        for when in &steps[at].when {
            let phases = when.phases.is_empty() || when.phases.contains(&as_phase(ends[when.step]));
            let succeeded = when.succeeded_at_least.is_none_or(|least| count(when.step, 'S') >= least);
            let failed = when.failed_at_most.is_none_or(|most| count(when.step, 'F') <= most);
            if !(phases && succeeded && failed) {
                return Some('K');
            }
        }
        let unasked = steps[at].needs.iter().filter(|need| steps[at].when.iter().all(|when| when.step != **need));
        let bad = unasked.map(|need| ends[*need]).find(|end| !matches!(end, 'S' | 'P'));
        bad.map(|end| if end == 'K' { 'K' } else { 'X' })
    }

    /// What people have decided: in this round, or with a yes before where the step is not run again.
    fn decision(&self, at: usize, again: Again) -> Option<bool> {
        let before = self.decided_before.get(&at).copied().filter(|yes| *yes && again != Again::All);
        self.decided.get(&at).copied().or(before)
    }

    /// What this round must come to. Goes over to what is known before the next round.
    pub(crate) fn close(&mut self, steps: &[Plain], again: &[Again], stopped: bool) -> End {
        let before = self.ends.clone();
        self.ends.extend(self.lives.iter().map(|(item, ends)| (*item, ends[ends.len() - 1])));
        let (mut asked, mut sizes, mut came) = (BTreeSet::new(), Vec::<u64>::new(), Vec::new());
        for (at, step) in steps.iter().enumerate() {
            let size = size_of(step, &sizes);
            sizes.push(size);
            let blocked = self.gate(steps, at, &came);
            let wanted = |item: u64| match step.each {
                _ if blocked.is_some() => false,
                Each::From(source) => matches!(self.ends.get(&(source, item)), Some('S' | 'P')),
                _ => true,
            };
            let mut ends = Vec::new();
            let mut out = Vec::new();
            for item in 0..size {
                let key = (at, item);
                let due = before.get(&key).is_none_or(|end| match again[at] {
                    Again::Nothing => false,
                    Again::Bad => *end != 'S',
                    Again::All => true,
                });
                if wanted(item) && due {
                    asked.insert(key);
                }
                if !wanted(item) && due && self.ends.contains_key(&key) && !stopped {
                    out.push(key);
                    ends.push('C');
                } else {
                    // What was kept and stands on what is not good any more does not count in full.
                    ends.extend((!wanted(item) && self.ends.contains_key(&key)).then_some('C'));
                    ends.push(self.ends.get(&key).copied().unwrap_or('C'));
                }
            }
            self.ends.extend(out.into_iter().map(|key| (key, 'C')));
            let decision = self.decision(at, again[at]);
            came.push(match (blocked, step.each) {
                (Some(end), _) => end,
                (None, Each::Approval(on_timeout)) => {
                    if decision.or(on_timeout) == Some(true) {
                        'S'
                    } else {
                        'F'
                    }
                }
                (None, _) => match fold(&ends) {
                    None if step.allow_empty => 'K',
                    None => 'F',
                    // Nothing that it needs has succeeded.
                    Some('C') if !self.ends.keys().any(|(one, _)| *one == at) => 'X',
                    Some(end) => end,
                },
            });
        }
        let whole = whole(steps, &came, stopped);
        self.lives.clear();
        let decided = std::mem::take(&mut self.decided);
        self.decided_before.extend(decided);
        End { whole, asked, sizes, steps: came }
    }
}
