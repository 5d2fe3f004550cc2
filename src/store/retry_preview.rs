//! What another round of a run does, step by step, in words: which children run again, which items run that never began, which steps are asked
//! about again, and what runs finally. It is told before the round begins, so of what follows from children only that it follows.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::StoreError;
use super::run_observe::observe_run;
use crate::plan::pipeline::expand::expected;
use crate::plan::pipeline::graph::Node;
use crate::plan::pipeline::observed::{ObservedRun, ObservedStep};
use crate::plan::pipeline::steps::{Standing, standings};
use crate::resource::name::Uid;
use crate::resource::run::{RetryMode, StepPhase};

/// What happens to one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepRetry {
    /// The step.
    pub(super) name: String,
    /// What happens to it, for a person.
    pub(super) message: String,
    /// Whether anything does.
    pub(super) moves: bool,
}

/// What another round does to each step of a run that has ended. With `dry_run`, in the words for what would happen.
pub(super) fn preview(
    connection: &Connection,
    uid: &Uid,
    modes: &BTreeMap<String, RetryMode>,
    dry_run: bool,
) -> Result<Vec<StepRetry>, StoreError> {
    let Some(run) = observe_run(connection, uid)? else { return Ok(Vec::new()) };
    let standings = standings(&run, run.status.finished_at.unwrap_or(run.created_at));
    let mut steps: Vec<StepRetry> = Vec::with_capacity(standings.len());
    for (at, node) in run.graph.steps.iter().enumerate() {
        let mode = if node.is_final { Some(RetryMode::All) } else { modes.get(&node.step.name).copied() };
        let parts = if node.step.approval.is_some() {
            approval(&run, node, modes)
        } else {
            let of = Of { connection, uid, node, facts: &run.steps[at], standing: &standings[at] };
            of.parts(mode, &steps, &run)?
        };
        let moves = !parts.is_empty();
        let name = node.step.name.clone();
        let word = if dry_run { "would" } else { "will" };
        let message = if moves { format!("{word} {}", parts.join(", and ")) } else { "keeps what it has".into() };
        steps.push(StepRetry { name, message, moves });
    }
    Ok(steps)
}

/// A yes is kept unless the step itself is run again; anything else is asked about.
fn approval(run: &ObservedRun, node: &Node, modes: &BTreeMap<String, RetryMode>) -> Vec<String> {
    let said_yes = run.decisions.get(&node.step.name).is_some_and(|decision| decision.approved);
    let is_kept = said_yes && modes.get(&node.step.name) != Some(&RetryMode::All);
    if is_kept { Vec::new() } else { vec!["ask a person again, once what it needs has ended".into()] }
}

/// One step with what is seen of it.
struct Of<'o> {
    connection: &'o Connection,
    uid: &'o Uid,
    node: &'o Node,
    facts: &'o ObservedStep,
    standing: &'o Standing,
}

impl Of<'_> {
    fn parts(
        &self,
        mode: Option<RetryMode>,
        before: &[StepRetry],
        run: &ObservedRun,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self.rows(&self.node.step.name, "1")?;
        let again = match mode {
            None => 0,
            Some(RetryMode::All) => rows,
            Some(RetryMode::Bad) => self.rows(&self.node.step.name, "conclusion IS NOT 'Succeeded'")?,
        };
        let mut parts = Vec::new();
        if again > 0 {
            parts.push(format!("run {again} of its {} again", children(rows)));
        }
        if let Some(source) = self.node.source {
            let (good, name) = (self.good(source, run)?, &run.graph.steps[source].step.name);
            let left = good.saturating_mul(self.node.combinations).saturating_sub(rows);
            if left > 0 {
                parts.push(format!("run {} that never began", items(left)));
            }
            if before[source].moves {
                parts.push(format!("run for every app that step {name} has then and had not"));
            }
            return Ok(parts);
        }
        let apps = self.facts.apps.as_ref().map(|apps| apps.as_slice());
        match expected(self.node, apps) {
            Some(all) if all > rows => parts.push(format!("run {} that never began{}", items(all - rows), self.once())),
            Some(_) => {}
            None => parts.push(format!("look for the apps that it is for{}", self.once())),
        }
        Ok(parts)
    }

    /// On what it depends whether a step that was skipped begins.
    fn once(&self) -> &'static str {
        match self.standing.phase {
            StepPhase::Skipped if self.node.step.when.is_empty() => ", if what it needs succeeds",
            StepPhase::Skipped => ", if its `when` holds",
            StepPhase::Waiting
            | StepPhase::Running
            | StepPhase::Completed
            | StepPhase::PartialSuccess
            | StepPhase::Failed
            | StepPhase::Cancelled => "",
        }
    }

    fn good(&self, source: usize, run: &ObservedRun) -> Result<u64, StoreError> {
        self.rows(&run.graph.steps[source].step.name, "conclusion IN ('Succeeded', 'Partial')")
    }

    fn rows(&self, step: &str, wanted: &str) -> Result<u64, StoreError> {
        let query = format!("SELECT count(*) FROM child WHERE run = ?1 AND step = ?2 AND {wanted}");
        Ok(self.connection.prepare_cached(&query)?.query_row(params![self.uid.0, step], |row| row.get(0))?)
    }
}

fn children(count: u64) -> String {
    if count == 1 { "1 child".into() } else { format!("{count} children") }
}

fn items(count: u64) -> String {
    if count == 1 { "1 item".into() } else { format!("{count} items") }
}
