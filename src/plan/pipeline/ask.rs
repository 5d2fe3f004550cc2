//! Children of a run: what is concluded from those that have ended, and which are asked for next.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::WINDOW;
use super::child::{made_by, produced, summaries, values, what};
use super::expand::{Item, child_name, expected, item};
use super::graph::Node;
use super::observed::{ObservedRun, ObservedStep, OpenChild};
use super::steps::{Standing, is_stopping, standings};
use super::write::{AskChild, CancelChild, ChildSpec, Conclude};
use crate::plan::write::Write;
use crate::plan::{Key, Plan};
use crate::resource::phase::Phase;
use crate::resource::run::{ChildKind, Conclusion, StepPhase};
use crate::resource::time::{Span, Timestamp};

/// Pause before the directory of an app that was made is looked for again, when it could not be seen.
const LOOK_AGAIN: Span = Span::seconds(5);

/// One pass over the children of a run: the facts as they will be once the plan is committed, and the plan.
pub(super) struct Pass<'r> {
    /// The run, with what this pass has concluded already.
    pub(super) run: ObservedRun,
    now: Timestamp,
    /// What is written.
    pub(super) plan: &'r mut Plan,
    /// Children that may still be asked for.
    room: u64,
}

impl<'r> Pass<'r> {
    /// Begins a pass.
    pub(super) fn new(run: &ObservedRun, now: Timestamp, plan: &'r mut Plan) -> Self {
        let mut run = run.clone();
        run.steps.resize_with(run.graph.steps.len(), ObservedStep::default);
        let active = run.steps.iter().flat_map(|step| &step.open).filter(|child| !child.phase.is_terminal()).count();
        let room =
            if run.is_suspended(now) { 0 } else { u64::from(run.graph.spec.parallelism).saturating_sub(active as u64) };
        Self { run, now, plan, room }
    }

    /// Draws conclusions, then asks for what comes next; later steps first, so that what was begun is ended before more is begun.
    pub(super) fn carry_out(&mut self) -> Vec<Standing> {
        let before = standings(&self.run, self.now);
        for at in (0..self.run.graph.steps.len()).rev() {
            self.conclude_step(at, &before);
        }
        let standings = standings(&self.run, self.now);
        for at in (0..self.run.graph.steps.len()).rev() {
            if is_stopping(&self.run, self.run.graph.steps[at].is_final) {
                self.cancel_step(at);
            } else {
                self.ask_step(at, &standings);
            }
        }
        super::steps::standings(&self.run, self.now)
    }

    fn cancel_step(&mut self, at: usize) {
        let open = self.run.steps[at].open.iter().filter(|child| !child.phase.is_terminal() && !child.cancelling);
        for child in open {
            self.plan.writes.push(Write::CancelChild(CancelChild { uid: child.uid.clone(), kind: child.kind }));
        }
    }

    fn conclude_step(&mut self, at: usize, before: &[Standing]) {
        let (ended, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.run.steps[at].open).into_iter().partition(|child| child.phase.is_terminal());
        self.run.steps[at].open = open;
        for child in ended {
            let Some(conclusion) = self.conclusion(at, &child) else {
                self.run.steps[at].open.push(child);
                continue;
            };
            if conclusion.is_good() && !self.follow(at, &child, before) {
                self.run.steps[at].open.push(child);
                continue;
            }
            if conclusion.is_good() {
                self.doubt_what_follows(at);
            }
            if let (true, Some(app)) = (conclusion.is_good(), made_by(&self.run, at, &child)) {
                self.plan.writes.push(Write::ProducedApp(Box::new(app)));
            }
            let ended_at = child.finished_at.unwrap_or(self.now);
            self.plan.writes.push(Write::Conclude(Box::new(Conclude {
                run: self.run.uid.clone(),
                step: self.run.graph.steps[at].step.name.clone(),
                item: child.item,
                child: child.uid.clone(),
                kind: child.kind,
                version: child.version,
                conclusion,
                round: self.run.status.round,
                at: ended_at,
            })));
            let facts = &mut self.run.steps[at];
            facts.has.insert(conclusion);
            *facts.counts.entry(conclusion).or_default() += 1;
            facts.ended_at = facts.ended_at.max(Some(ended_at));
            if self.run.graph.steps[at].step.for_each.is_none() {
                facts.outputs = child.outputs;
            }
        }
        self.run.steps[at].open.sort_by_key(|child| child.item);
    }

    /// What is missing of the steps that go on with the apps of this one without streaming was looked for before one more was there.
    fn doubt_what_follows(&mut self, at: usize) {
        for (node, facts) in self.run.graph.steps.iter().zip(&mut self.run.steps) {
            if node.source == Some(at) && !node.streams && !facts.unsure {
                facts.unsure = true;
                self.plan.wakes.push(Key::Run(self.run.uid.clone()));
            }
        }
    }

    /// What a child that has ended comes to; `None` while that cannot be seen.
    fn conclusion(&mut self, at: usize, child: &OpenChild) -> Option<Conclusion> {
        let node = &self.run.graph.steps[at];
        let good = match child.phase {
            Phase::Completed => Conclusion::Succeeded,
            Phase::PartialSuccess => Conclusion::Partial,
            Phase::Failed => return Some(Conclusion::Failed),
            Phase::Cancelled => return Some(Conclusion::Cancelled),
            Phase::Pending | Phase::Running => return None,
        };
        if node.step.outputs.iter().any(|key| !child.outputs.contains_key(key)) {
            return Some(Conclusion::OutputMissing);
        }
        if node.step.produces.is_none() {
            return Some(good);
        }
        match child.produced {
            Some(true) => Some(good),
            Some(false) => Some(Conclusion::AppNotProduced),
            // Nobody knows where to look.
            None if made_by(&self.run, at, child).is_none() => Some(Conclusion::AppNotProduced),
            None => {
                self.plan.look_again(self.now.plus(LOOK_AGAIN));
                None
            }
        }
    }

    /// Asks for what follows from a child that ended well, in the steps that stream from its step. Says whether all of it is asked for.
    fn follow(&mut self, at: usize, child: &OpenChild, before: &[Standing]) -> bool {
        if is_stopping(&self.run, self.run.graph.steps[at].is_final) {
            return true;
        }
        let followers = self.run.graph.steps[at].followers.clone();
        for follower in followers {
            let combinations = self.run.graph.steps[follower].combinations.max(1);
            for combination in 0..combinations {
                let index = child.item.saturating_mul(combinations).saturating_add(combination);
                if self.run.steps[follower].followers.contains(&index) {
                    continue;
                }
                if !self.has_room(follower) {
                    return false;
                }
                let node = &self.run.graph.steps[follower];
                let one = item(node, index, None, Some(&child.app));
                let source = (self.run.graph.steps[at].step.name.clone(), child.outputs.clone());
                self.ask(follower, &one, Some(source), before);
                // Else what is asked for would be skipped by the same plan, which could never be committed.
                self.run.steps[follower].stale.retain(|stale| stale.item != index);
                self.run.steps[follower].followers.insert(index);
            }
        }
        true
    }

    fn has_room(&self, at: usize) -> bool {
        let (node, facts) = (&self.run.graph.steps[at], &self.run.steps[at]);
        let active = facts.open.iter().filter(|child| !child.phase.is_terminal()).count() as u64;
        let most = node.step.max_parallel.map_or(u64::MAX, u64::from);
        self.room > 0 && active < most && facts.open.len() < WINDOW.max(self.run.graph.spec.parallelism as usize)
    }

    fn ask_step(&mut self, at: usize, standings: &[Standing]) {
        let standing = &standings[at];
        if standing.phase == StepPhase::Skipped {
            return self.skip_stale(at);
        }
        if standing.phase != StepPhase::Running || self.run.graph.steps[at].step.approval.is_some() {
            return;
        }
        if self.run.is_suspended(self.now) {
            return;
        }
        // The graph is shared: a copy of the step would be one of all its items.
        let graph = Arc::clone(&self.run.graph);
        let node = &graph.steps[at];
        if node.step.for_each.as_ref().is_some_and(|each| each.apps.is_some()) && self.run.steps[at].apps.is_none() {
            let (run, apps) = (self.run.uid.clone(), self.run.steps[at].matching.clone());
            self.plan.writes.push(Write::Expand { run, step: node.step.name.clone(), apps });
            self.plan.wakes.push(Key::Run(self.run.uid.clone()));
            return;
        }
        if node.source.is_some() {
            return self.ask_missing(at, node, standings);
        }
        let apps = self.run.steps[at].apps.clone();
        let apps = apps.as_ref().map(|apps| apps.as_slice());
        let total = expected(node, apps).unwrap_or(0);
        while self.has_room(at) && !self.run.steps[at].stale.is_empty() {
            let stale = self.run.steps[at].stale.remove(0);
            self.ask(at, &item(node, stale.item, apps, None), None, standings);
        }
        while self.has_room(at) && self.run.steps[at].next_item < total {
            let index = self.run.steps[at].next_item;
            self.ask(at, &item(node, index, apps, None), None, standings);
            self.run.steps[at].next_item = index + 1;
        }
    }

    /// A step with `appsFrom` whose source has ended: what follows from it and is not asked for yet. What an earlier round asked for and no
    /// longer follows is not wanted any more.
    fn ask_missing(&mut self, at: usize, node: &Node, standings: &[Standing]) {
        if node.source.is_none_or(|source| !standings[source].has_ended()) {
            return;
        }
        if self.run.steps[at].missing.is_empty() {
            if !self.run.steps[at].unsure {
                self.skip_stale(at);
            }
            return;
        }
        while self.has_room(at) && !self.run.steps[at].missing.is_empty() {
            let (index, app) = self.run.steps[at].missing.remove(0);
            self.run.steps[at].stale.retain(|stale| stale.item != index);
            let given = self.run.steps[at].given.get(&(index / node.combinations.max(1))).cloned();
            let source = node.source.map(|source| self.run.graph.steps[source].step.name.clone()).zip(given);
            self.ask(at, &item(node, index, None, Some(&app)), source, standings);
        }
    }

    fn skip_stale(&mut self, at: usize) {
        let all = std::mem::take(&mut self.run.steps[at].stale);
        if all.len() >= WINDOW {
            // There may be more of them.
            self.run.steps[at].unsure = true;
            self.plan.wakes.push(Key::Run(self.run.uid.clone()));
        }
        for stale in all {
            self.plan.writes.push(Write::Conclude(Box::new(Conclude {
                run: self.run.uid.clone(),
                step: self.run.graph.steps[at].step.name.clone(),
                item: stale.item,
                child: stale.uid,
                kind: stale.kind,
                version: stale.version,
                conclusion: Conclusion::Skipped,
                round: self.run.status.round,
                at: self.now,
            })));
            self.run.steps[at].has.insert(Conclusion::Skipped);
        }
    }

    fn ask(&mut self, at: usize, one: &Item, source: Option<(String, Map<String, Value>)>, standings: &[Standing]) {
        let node = &self.run.graph.steps[at];
        let mut values = values(&self.run, one);
        summaries(&self.run, standings, &mut values.outputs);
        if let Some((step, outputs)) = source {
            values.outputs.entry(step).or_default().extend(outputs);
        }
        let name = child_name(&self.run.name, node, one);
        let made = node
            .step
            .produces
            .as_ref()
            .map(|produces| produced(produces, &values, &self.run.name, &self.run.roots))
            .transpose();
        let rendered = made.and_then(|made| {
            values.produced = made.as_ref().map(|app| (app.name.clone(), app.spec.path.clone()));
            let works_on = match &node.step.app {
                Some(app) => values.text(app)?,
                None => one.app.clone().unwrap_or_default(),
            };
            let what = what(node, &values, &works_on)?;
            let app = made.as_ref().map_or(works_on, |app| app.name.clone());
            Ok((what, app, made))
        });
        let (what, app, makes) = rendered.unwrap_or_else(|message: String| {
            let analyzer = node.step.analyzer.clone().or_else(|| node.step.pipeline.clone()).unwrap_or_default();
            (ChildSpec::Broken { analyzer, message }, String::new(), None)
        });
        let kind = if matches!(what, ChildSpec::Run { .. }) { ChildKind::Run } else { ChildKind::Task };
        self.plan.writes.push(Write::AskChild(Box::new(AskChild {
            run: self.run.uid.clone(),
            run_name: self.run.name.clone(),
            step: node.step.name.clone(),
            item: one.index,
            round: self.run.status.round,
            name: name.clone(),
            label: one.label(),
            app: app.clone(),
            makes: makes.clone(),
            what,
        })));
        self.room = self.room.saturating_sub(1);
        self.run.steps[at].open.push(OpenChild {
            item: one.index,
            uid: crate::resource::name::Uid::default(),
            kind,
            name,
            app,
            version: 0,
            phase: Phase::Pending,
            reason: crate::resource::reason::Reason::Queued,
            finished_at: None,
            cancelling: true,
            outputs: Map::new(),
            makes,
            produced: None,
        });
    }
}
