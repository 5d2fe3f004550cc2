//! How the steps of a run stand, or which steps a pipeline has: what `tree`, `graph`, `describe`, `why` and `get runs` show.

use anyhow::Context as _;
use rusqlite::Connection;

use crate::plan::pipeline::graph::{Graph, Node};
use crate::plan::pipeline::observed::ObservedRun;
use crate::plan::pipeline::run::waits_for_a_person;
use crate::plan::pipeline::steps::{Standing, standings};
use crate::resource::name::Uid;
use crate::resource::phase::Phase;
use crate::resource::pipeline::{PipelineSpec, Step};
use crate::resource::reason::Reason;
use crate::resource::run::StepPhase;
use crate::resource::time::Timestamp;
use crate::store::run_observe::observe_run;
use crate::store::run_view::{RunView, Tally, tally};

/// Steps with what they need, and how they stand when they are those of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Picture {
    /// `run/NAME` or `pipeline/NAME`.
    pub(crate) title: String,
    /// The steps, each after what it needs; those of `finally` last.
    pub(crate) steps: Vec<StepPicture>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct StepPicture {
    /// Its name.
    pub(crate) name: String,
    /// What it does: `lint`, `pipeline/other`, `approval`.
    pub(crate) does: String,
    /// Indexes of the steps that it needs.
    pub(crate) needs: Vec<usize>,
    /// The step whose apps it goes on with as soon as each is there.
    pub(crate) streams_from: Option<usize>,
    /// Whether it runs when all others have ended.
    pub(crate) is_final: bool,
    /// Whether its failure is that of the run.
    pub(crate) critical: bool,
    /// How it stands; `None` for a pipeline's.
    pub(crate) standing: Option<StepStanding>,
}

/// How a step of a run stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepStanding {
    /// Where it stands.
    pub(crate) phase: StepPhase,
    /// Why.
    pub(crate) reason: Reason,
    /// Why, for a person.
    pub(crate) message: String,
    /// How many children it will have; `None` while that is not known.
    pub(crate) expected: Option<u64>,
    /// How many children stand how.
    pub(crate) tally: Tally,
    /// Whether a person is asked now.
    pub(crate) is_asked: bool,
}

impl StepStanding {
    /// `ended/expected`; `?` for what is not known yet.
    pub(crate) fn done(&self) -> String {
        let expected = self.expected.map(|expected| expected.max(self.tally.all()));
        format!("{}/{}", self.tally.ended(), expected.map_or_else(|| "?".to_owned(), |expected| expected.to_string()))
    }
}

impl Picture {
    /// The steps of a run as they stand.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn of_run(connection: &Connection, run: &RunView, now: Timestamp) -> anyhow::Result<Self> {
        let observed = observe_run(connection, &Uid(run.uid.clone()))?
            .with_context(|| format!("run {:?} is not there any more", run.name))?;
        let counts = tally(connection, &run.uid)?;
        Ok(Self::of_observed(&observed, now, |step| counts.get(step).copied().unwrap_or_default()))
    }

    fn of_observed(run: &ObservedRun, now: Timestamp, counts: impl Fn(&str) -> Tally) -> Self {
        let mut picture = Self::of_graph(&run.graph);
        picture.title = format!("run/{}", run.name);
        for (step, standing) in picture.steps.iter_mut().zip(standings(run, now)) {
            let mut tally = counts(&step.name);
            let mut expected = standing.expected;
            if standing.has_ended() {
                // What was never asked for, since what it would have followed from did not succeed.
                tally.skipped += expected.unwrap_or(0).saturating_sub(tally.all());
                // A step that was stopped before it was known how many there would be has no more than there are.
                expected = expected.or(Some(tally.all()));
            }
            let is_asked = waits_for_a_person(&standing) && run.status.phase == Phase::Running;
            let (phase, reason) = shown(&standing, (run.status.phase, run.status.reason), &tally);
            step.standing = Some(StepStanding { phase, reason, message: standing.message, expected, tally, is_asked });
        }
        picture
    }

    /// The steps of a pipeline.
    pub(crate) fn of_pipeline(name: &str, spec: PipelineSpec) -> Self {
        Self { title: format!("pipeline/{name}"), ..Self::of_graph(&Graph::new(spec)) }
    }

    fn of_graph(graph: &Graph) -> Self {
        let step = |node: &Node| StepPicture {
            name: node.step.name.clone(),
            does: does(&node.step),
            needs: node.needs.clone(),
            streams_from: node.source.filter(|_| node.streams),
            is_final: node.is_final,
            critical: node.step.critical,
            standing: None,
        };
        Self { title: String::new(), steps: graph.steps.iter().map(step).collect() }
    }

    /// Children that have ended and that are expected, and those that failed, over all steps; `None` for what is not known yet.
    pub(crate) fn done(&self) -> (u64, Option<u64>, u64) {
        let standings = self.steps.iter().filter_map(|step| step.standing.as_ref());
        standings.fold((0, Some(0), 0), |(ended, expected, failed), of| {
            // What is skipped as a whole has no children, and needs none.
            let more = if of.phase == StepPhase::Skipped { Some(of.tally.all()) } else { of.expected };
            let expected = expected.zip(more).map(|(sum, more)| sum + more.max(of.tally.all()));
            (ended + of.tally.ended(), expected, failed + of.tally.failed)
        })
    }
}

fn does(step: &Step) -> String {
    match (&step.analyzer, &step.pipeline) {
        (Some(analyzer), _) => analyzer.clone(),
        (None, Some(pipeline)) => format!("pipeline/{pipeline}"),
        (None, None) => "approval".into(),
    }
}

/// How a step is shown: as it stands, unless its run has ended or has not begun, for its children do not tell that.
fn shown(standing: &Standing, (phase, reason): (Phase, Reason), tally: &Tally) -> (StepPhase, Reason) {
    match standing.phase {
        StepPhase::Running if phase == Phase::Pending => (StepPhase::Waiting, reason),
        StepPhase::Running | StepPhase::Waiting if phase.is_terminal() => match tally.all() {
            0 => (StepPhase::Skipped, reason),
            all if tally.succeeded == all => (StepPhase::Completed, reason),
            _ => (StepPhase::Cancelled, reason),
        },
        as_it_is => (as_it_is, standing.reason),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A step that stands as told, with so many succeeded and failed children of so many expected.
    pub(crate) fn step(name: &str, needs: &[usize], phase: StepPhase, counts: (u64, u64, u64)) -> StepPicture {
        StepPicture {
            name: name.into(),
            does: "lint".into(),
            needs: needs.to_vec(),
            standing: Some(StepStanding {
                phase,
                reason: Reason::StepsRunning,
                message: String::new(),
                expected: Some(counts.2),
                tally: Tally { succeeded: counts.0, failed: counts.1, ..Tally::default() },
                is_asked: false,
            }),
            ..StepPicture::default()
        }
    }

    /// Two steps, two that follow from them, and a final one.
    pub(crate) fn picture() -> Picture {
        let mut last = step("report", &[], StepPhase::Waiting, (0, 0, 1));
        last.is_final = true;
        Picture {
            title: "run/study-1".into(),
            steps: vec![
                step("generate", &[], StepPhase::PartialSuccess, (2, 1, 3)),
                step("prepare", &[], StepPhase::Completed, (1, 0, 1)),
                step("analyse", &[0, 1], StepPhase::Running, (1, 0, 6)),
                step("more", &[0], StepPhase::Skipped, (0, 0, 0)),
                last,
            ],
        }
    }

    #[test]
    fn no_step_of_a_run_that_has_ended_or_not_begun_is_shown_as_running() {
        let standing = |phase| Standing {
            phase,
            reason: Reason::StepsRunning,
            message: String::new(),
            expected: None,
            counts: true,
            at: None,
        };
        let of = |phase, run: (Phase, Reason), succeeded, cancelled| {
            shown(&standing(phase), run, &Tally { succeeded, cancelled, ..Tally::default() })
        };
        let removed = (Phase::Cancelled, Reason::ManifestRemoved);
        assert_eq!(of(StepPhase::Running, removed, 0, 0), (StepPhase::Skipped, Reason::ManifestRemoved));
        assert_eq!(of(StepPhase::Running, removed, 1, 1), (StepPhase::Cancelled, Reason::ManifestRemoved));
        assert_eq!(of(StepPhase::Waiting, removed, 1, 0).0, StepPhase::Completed);
        assert_eq!(of(StepPhase::Failed, removed, 1, 1), (StepPhase::Failed, Reason::StepsRunning));
        let waits = (Phase::Pending, Reason::ConcurrencyLimit);
        assert_eq!(of(StepPhase::Running, waits, 0, 0), (StepPhase::Waiting, Reason::ConcurrencyLimit));
        let runs = (Phase::Running, Reason::StepsRunning);
        assert_eq!(of(StepPhase::Running, runs, 0, 0), (StepPhase::Running, Reason::StepsRunning));
    }

    #[test]
    fn a_run_has_done_what_its_steps_have_and_unknown_numbers_stay_unknown() {
        let mut picture = picture();
        assert_eq!(picture.done(), (5, Some(11), 1));
        if let Some(standing) = &mut picture.steps[2].standing {
            standing.expected = None;
            assert_eq!(standing.done(), "1/?");
        }
        assert_eq!(picture.done(), (5, None, 1));
    }
}
