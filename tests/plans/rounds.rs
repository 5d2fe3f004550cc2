//! Whole rounds: what succeeded is kept, only what is missing is asked for again, and no round exceeds its budgets.

use std::collections::{BTreeMap, BTreeSet};

use manifestd::plan::lane::LaneReconciler;
use manifestd::plan::merge::{Told, merge};
use manifestd::plan::task::{EndedAttempt, ObservedTask, TaskReconciler};
use manifestd::plan::{Effect, Reconciler};
use manifestd::resource::findings::Findings;
use manifestd::resource::outcome::{Outcome, ToolReport, ToolStatus};
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::task::RunPolicy;
use manifestd::resource::time::Span;
use proptest::prelude::*;
use proptest::sample::select;

use crate::carry_out::on_task;
use crate::golden::{Golden, NOW};
use crate::lanes::{lane, queued};
use crate::task_case::{TaskCase, task, tool, usual, websocket};

fn wants(tools: &[&str]) -> ObservedTask {
    task().with(|task| task.spec.tools = tools.iter().map(|&name| name.to_owned()).collect())
}

/// Its first attempt ran `a` well, and `b` failed.
fn half() -> ObservedTask {
    wants(&["a", "b"]).ended(1, Outcome::PartialSuccess).of(&["a", "b"], &["+a", "-b"])
}

#[test]
fn an_ending_that_a_clock_turned_back_left_in_the_future_counts_as_one_of_now() {
    let full = (Outcome::Failed, Reason::DiskFull);
    for (outcome, reason) in Outcome::ALL.iter().map(|&outcome| (outcome, usual(outcome))).chain([full]) {
        let now = task().running().ends(outcome, reason);
        let later = now.clone().with(|task| {
            let ended = task.attempts.last_mut().and_then(|attempt| attempt.ended.as_mut()).expect("an ending");
            ended.at = NOW.plus(Span::minutes(300));
        });
        let plan = TaskReconciler::plan(&later, NOW);
        assert!(!plan.writes.is_empty(), "{outcome} ({reason}) is settled");
        assert_eq!(plan.to_string(), TaskReconciler::plan(&now, NOW).to_string(), "{outcome} ({reason})");
    }
}

#[test]
fn what_succeeded_is_kept_and_what_is_missing_is_tried_again() {
    let again = |outcome, told: &[&str]| half().ended(1, outcome).of(&["b"], told);
    let last = |case: ObservedTask| case.with(|task| task.spec.backoff_limit = 1);
    let cases = vec![
        ("one of two tools failed: only that one is tried again", half()),
        ("the second attempt ran it well: the round is complete", again(Outcome::Completed, &["+b"])),
        ("the second attempt failed as well, and there is one more try", again(Outcome::Failed, &["-b"])),
        ("the budget is used up: what succeeded is kept", last(again(Outcome::Failed, &["-b"]))),
        ("the last attempt ran past its deadline", last(again(Outcome::TimedOut, &[]))),
        ("the last attempt broke the protocol", last(again(Outcome::ProtocolError, &[]))),
        ("the fourth attempt after it went silent", half().ended(4, Outcome::HeartbeatLost)),
        ("the analyzer cannot be reached any more", half().ended(4, Outcome::Unavailable)),
        ("the controller was interrupted too often", half().ended(11, Outcome::Interrupted)),
        (
            "a person cancelled the second attempt",
            half().running().cancel().ends(Outcome::Cancelled, Reason::CancelledByUser),
        ),
        ("a person wants no more when half is there", half().cancel()),
        ("the spec changes before the second attempt", half().waiting(Reason::BackOff, Some(1)).spec_changed()),
        (
            "the missing tool is not installed, so nothing can get better",
            wants(&["a", "b"]).ended(1, Outcome::PartialSuccess).of(&["a", "b"], &["+a", "!b"]),
        ),
        (
            "one is not installed, one only failed",
            wants(&["a", "b", "c"]).ended(1, Outcome::PartialSuccess).of(&["a", "b", "c"], &["+a", "!b", "-c"]),
        ),
        (
            "no tool ran, and all might",
            wants(&["a", "b"]).running().ends(Outcome::Failed, Reason::ToolNotRun).of(&["a", "b"], &["?a", "?b"]),
        ),
        (
            "no tool ran, and none can",
            wants(&["a", "b"]).running().ends(Outcome::Failed, Reason::ToolNotRun).of(&["a", "b"], &["!a", "!b"]),
        ),
        (
            "one has no key, the other only failed",
            wants(&["a", "b"]).running().ends(Outcome::Failed, Reason::ApiKeyMissing).of(&["a", "b"], &["!a", "-b"]),
        ),
        (
            "the result of a success was lost: it proves nothing",
            wants(&["a"]).running().ends(Outcome::Failed, Reason::ResultNotStored).of(&["a"], &["+a"]),
        ),
        (
            "all tools were asked for: the one that failed is asked for by name",
            task().ended(1, Outcome::PartialSuccess).of(&[], &["+a", "-b"]),
        ),
        (
            "there was no room on the disk, for the tenth time",
            (0..10).fold(task(), |case, _| case.running().ends(Outcome::Failed, Reason::DiskFull)),
        ),
        ("a run for ever with another spec meanwhile is judged by what it was asked for", {
            let once = half().with(|task| task.spec.run_policy = RunPolicy::Once);
            once.ended(1, Outcome::Completed)
                .of(&["b"], &["+b"])
                .spec_changed()
                .with(|task| task.spec.tools.push("c".into()))
        }),
    ];
    let mut golden = Golden::default();
    for (title, case) in cases {
        golden.case(title, case, TaskReconciler::plan, on_task);
    }
    golden.check("task/partial.txt");
}

/// What the lane asks the next attempt for.
fn asked_next(task: &ObservedTask) -> Vec<String> {
    let mut candidate = queued("t", 0);
    (candidate.spec, candidate.status, candidate.generation) =
        (task.spec.clone(), task.status.clone(), task.generation);
    candidate.told = told(task);
    let plan = LaneReconciler::plan(&lane(websocket(), vec![candidate]), NOW);
    let start = plan.effects.iter().find_map(|effect| match effect {
        Effect::Start(assignment) => Some(assignment.tools.clone()),
        _ => None,
    });
    start.expect("the only candidate gets the slot")
}

fn told(task: &ObservedTask) -> Vec<Told> {
    let ended = task.attempts.iter().filter_map(|attempt| attempt.ended.as_ref().map(|ended| (attempt, ended)));
    let told = ended.map(|(attempt, ended)| Told {
        number: attempt.id.number,
        generation: attempt.generation,
        asked: attempt.asked.clone(),
        outcome: ended.outcome,
        message: ended.message.clone(),
        tools: ended.tools.clone(),
    });
    told.collect()
}

/// What an attempt may come to: a fate for each tool that it runs, or an ending without tools.
#[derive(Debug, Clone)]
enum Fate {
    Tools(Vec<&'static str>),
    Other(Outcome),
}

fn fate() -> impl Strategy<Value = Fate> {
    let other = &[
        Outcome::TimedOut,
        Outcome::ProtocolError,
        Outcome::HeartbeatLost,
        Outcome::Unavailable,
        Outcome::Interrupted,
    ];
    prop_oneof![
        3 => prop::collection::vec(select(&["+", "-", "?", "!"][..]), 3).prop_map(Fate::Tools),
        2 => select(&other[..]).prop_map(Fate::Other),
    ]
}

/// Ends the running attempt so.
fn come_to(task: ObservedTask, fate: &Fate, asked: &[String]) -> ObservedTask {
    let all = ["a", "b", "c"].map(str::to_owned);
    let runs = if asked.is_empty() { &all[..] } else { asked };
    let (outcome, tools): (_, Vec<ToolReport>) = match fate {
        Fate::Other(outcome) => (*outcome, vec![]),
        Fate::Tools(signs) => {
            let tools: Vec<_> = runs.iter().zip(signs).map(|(name, sign)| tool(&format!("{sign}{name}"))).collect();
            let good = tools.iter().filter(|tool| tool.is_good()).count();
            let outcome = match good {
                0 => Outcome::Failed,
                good if good == tools.len() => Outcome::Completed,
                _ => Outcome::PartialSuccess,
            };
            (outcome, tools)
        }
    };
    task.attempt(|attempt| {
        let mut findings = Findings::default();
        tools.iter().for_each(|tool| findings += tool.findings);
        let message = "it says so".to_owned();
        attempt.ended = Some(EndedAttempt { outcome, reason: usual(outcome), message, at: NOW, findings, tools });
        attempt.asked = asked.to_vec();
        attempt.carried = None;
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_round_ends_within_its_budgets_and_runs_no_good_tool_again(
        fates in prop::collection::vec(fate(), 1..30),
        named in any::<bool>(),
        backoff_limit in 0u32..4,
    ) {
        let mut task = if named { wants(&["a", "b", "c"]) } else { task() };
        task.spec.backoff_limit = backoff_limit;
        let mut good: BTreeSet<String> = BTreeSet::new();
        for fate in fates.iter().cycle() {
            let asked = asked_next(&task);
            prop_assert!(asked.iter().all(|name| !good.contains(name)), "{asked:?} {good:?}");
            prop_assert!(good.is_empty() || !asked.is_empty(), "all is asked for though {good:?} ran");
            task = come_to(task.running(), fate, &asked);
            let ended = task.attempts.last().and_then(|attempt| attempt.ended.clone()).unwrap();
            if matches!(ended.outcome, Outcome::Completed | Outcome::PartialSuccess) {
                good.extend(ended.tools.iter().filter(|tool| tool.is_good()).map(|tool| tool.name.clone()));
            }
            let plan = TaskReconciler::plan(&task, NOW);
            on_task(&mut task, &plan, NOW);
            if task.status.phase.is_terminal() {
                break;
            }
            // Attempts that reached nobody are counted anew whenever something was sent in between.
            let sent = backoff_limit as usize + 3 + 10;
            let limit = (sent + 1) * (1 + 3);
            prop_assert!(task.attempts.len() <= limit, "{} attempts and still {:?}", task.attempts.len(), task.status);
        }
        let wanted = match good.len() {
            3 => Phase::Completed,
            0 => Phase::Failed,
            _ => Phase::PartialSuccess,
        };
        prop_assert_eq!(task.status.phase, wanted, "{:#?}", task);
        prop_assert_eq!(task.status.findings.total(), good.len() as u64, "each good tool found one thing, once");
    }

    #[test]
    fn merging_does_not_depend_on_the_order_and_chooses_one_report_of_each_tool(
        attempts in prop::collection::vec((prop::collection::vec((select(&["+", "-", "?", "!"][..]), select(&["a", "b", "c"][..])), 0..4), any::<bool>()), 0..5),
        named in any::<bool>(),
        turn in 0usize..5,
    ) {
        let requested: Vec<String> = if named { vec!["a".into(), "B".into()] } else { vec![] };
        let mut told: Vec<Told> = attempts
            .into_iter()
            .zip(1u32..)
            .map(|((tools, lost), number)| {
                let distinct: BTreeMap<_, _> = tools.into_iter().map(|(sign, name)| (name, sign)).collect();
                let outcome = if lost { Outcome::Failed } else { Outcome::PartialSuccess };
                let tools = distinct.into_iter().map(|(name, sign)| tool(&format!("{sign}{name}"))).collect();
                Told { number, generation: 1, asked: vec![], outcome, message: String::new(), tools }
            })
            .collect();
        let merged = merge(&requested, &told);
        let turns = turn % told.len().max(1);
        told.rotate_left(turns);
        prop_assert_eq!(&merge(&requested, &told), &merged);
        let mut sum = Findings::default();
        let mut names = BTreeSet::new();
        for tool in &merged.tools {
            sum += tool.report.findings;
            prop_assert!(names.insert(tool.report.name.to_lowercase()), "{merged:?}");
            let good = |told: &&Told| {
                let counts = told.outcome == Outcome::PartialSuccess;
                counts && told.tools.iter().any(|other| other.name.eq_ignore_ascii_case(&tool.report.name) && other.is_good())
            };
            let latest = told.iter().filter(good).map(|told| told.number).max();
            prop_assert_eq!(tool.report.status == ToolStatus::Completed, latest.is_some());
            prop_assert!(latest.is_none_or(|number| number == tool.attempt));
        }
        prop_assert_eq!(merged.findings(), sum);
    }
}
