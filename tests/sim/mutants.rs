//! The mistakes on purpose, each of which a law has to notice. The page docs/simulation.md lists them.

use manifestd::plan::apps::ObservedApps;
use manifestd::plan::lane::ObservedLane;
use manifestd::plan::task::{Carried, ObservedTask};
use manifestd::plan::{Effect, Write};
use manifestd::resource::app_set::MaxDisappear;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::run::Conclusion;
use manifestd::resource::time::Timestamp;
use manifestd::runtime::twist::Order;

use super::laws::Law;
use super::mutant::{Mutant, NONE, see, task_writes};
use super::script::Focus;

use Focus::{Apps, Care, Crashes, Extended, Outages, Pipelines, Programs, Services};

const WORK: &[Focus] = &[Programs, Services, Extended, Crashes, Outages];

/// Every mistake that needs no other program.
pub(crate) const MUTANTS: [Mutant; 34] = [
    Mutant {
        name: "an attempt begins before its row is committed",
        laws: &[Law::CommitThenAct],
        foci: WORK,
        swaps: Some(Order::ActsFirst),
        ..NONE
    },
    Mutant {
        name: "an attempt is registered only after its row is committed",
        laws: &[Law::HeldOrOrphaned],
        foci: WORK,
        swaps: Some(Order::RegistersLast),
        ..NONE
    },
    Mutant {
        name: "an attempt is let go of before its ending is written",
        laws: &[Law::HeldOrOrphaned],
        foci: WORK,
        swaps: Some(Order::LetsGoFirst),
        ..NONE
    },
    Mutant {
        name: "what this process carries is not looked at, so every running attempt is taken for orphaned",
        laws: &[Law::HeldOrOrphaned],
        foci: WORK,
        saw: |seen| {
            see(seen, |task: &mut ObservedTask| task.attempts.iter_mut().for_each(|attempt| attempt.carried = None))
        },
        ..NONE
    },
    Mutant {
        name: "orphans are ignored: every open attempt is taken for carried",
        laws: &[Law::HeldOrOrphaned],
        foci: &[Crashes, Programs, Services],
        saw: |seen| {
            see(seen, |task: &mut ObservedTask| {
                let carried = Some(Carried { alive_at: Timestamp(i64::MAX / 2), stopping: false });
                task.attempts.iter_mut().for_each(|attempt| attempt.carried = attempt.carried.or(carried));
            });
        },
        ..NONE
    },
    Mutant {
        name: "what is to be taken up is forgotten",
        laws: &[Law::HeldOrOrphaned],
        foci: &[Extended, Crashes],
        planned: |plan| plan.effects.retain(|effect| !matches!(effect, Effect::Resume { .. })),
        ..NONE
    },
    Mutant {
        name: "what was opened is not started",
        laws: &[Law::HeldOrOrphaned],
        foci: WORK,
        planned: |plan| plan.effects.retain(|effect| !matches!(effect, Effect::Start(_))),
        ..NONE
    },
    Mutant {
        name: "off by one: one more try after failures than backoffLimit",
        laws: &[Law::Budgets],
        foci: WORK,
        saw: |seen| see(seen, |task: &mut ObservedTask| task.spec.backoff_limit += 1),
        ..NONE
    },
    Mutant {
        name: "off by one: one try less after failures than backoffLimit",
        laws: &[Law::Budgets],
        foci: WORK,
        hint: 14,
        saw: |seen| {
            see(seen, |task: &mut ObservedTask| task.spec.backoff_limit = task.spec.backoff_limit.saturating_sub(1))
        },
        ..NONE
    },
    Mutant {
        name: "off by one: one more interruption than allowed",
        laws: &[Law::Budgets],
        foci: &[Crashes],
        hint: 21,
        saw: |seen| see(seen, |task: &mut ObservedTask| task.budgets.interruptions_max += 1),
        ..NONE
    },
    Mutant {
        name: "an interruption uses up a try",
        laws: &[Law::Budgets],
        foci: &[Crashes, Programs, Services],
        hint: 40,
        saw: |seen| {
            see(seen, |task: &mut ObservedTask| {
                let ended = task.attempts.iter_mut().filter_map(|attempt| attempt.ended.as_mut());
                for ended in ended.filter(|ended| ended.outcome == Outcome::Interrupted) {
                    (ended.outcome, ended.reason) = (Outcome::ProtocolError, Reason::ConnectionLost);
                }
            });
        },
        ..NONE
    },
    Mutant {
        name: "off by one: one more silent attempt than allowed",
        laws: &[Law::Budgets],
        foci: WORK,
        hint: 277,
        saw: |seen| see(seen, |task: &mut ObservedTask| task.budgets.heartbeat_losses_max += 1),
        ..NONE
    },
    Mutant {
        name: "off by one: one more wait for an analyzer that is away",
        laws: &[Law::Budgets],
        foci: &[Outages],
        hint: 14,
        saw: |seen| {
            see(seen, |task: &mut ObservedTask| task.budgets.preflight_retries_max += 1);
            see(seen, |lane: &mut ObservedLane| lane.budgets.preflight_retries_max += 1);
        },
        ..NONE
    },
    Mutant {
        name: "off by one: one slot more than the capacity",
        laws: &[Law::Slots],
        foci: WORK,
        hint: 13,
        saw: |seen| see(seen, |lane: &mut ObservedLane| lane.spec.iter_mut().for_each(|spec| spec.capacity += 1)),
        ..NONE
    },
    Mutant {
        name: "an abandoned request takes no slot",
        laws: &[Law::Slots],
        foci: &[Services, Outages],
        hint: 17,
        saw: |seen| {
            see(seen, |lane: &mut ObservedLane| {
                if lane.slot_free_at.take().is_some() {
                    lane.occupied.iter_mut().for_each(|(_, used)| *used -= 1);
                }
            });
        },
        ..NONE
    },
    Mutant {
        name: "the rate is not looked at",
        laws: &[Law::Slots],
        foci: WORK,
        hint: 34,
        saw: |seen| see(seen, |lane: &mut ObservedLane| lane.opened.clear()),
        ..NONE
    },
    Mutant {
        name: "tasks of an app that is missing are started",
        laws: &[Law::Wanted],
        foci: &[Apps, Care, Programs],
        hint: 68,
        saw: |seen| {
            let there = |app: &mut Option<manifestd::plan::admission::AppFacts>| {
                app.iter_mut().for_each(|app| app.missing_since = None)
            };
            see(seen, |lane: &mut ObservedLane| {
                lane.candidates.iter_mut().for_each(|candidate| there(&mut candidate.app))
            });
            see(seen, |task: &mut ObservedTask| there(&mut task.app));
        },
        ..NONE
    },
    Mutant {
        name: "a removed manifest is not noticed",
        laws: &[Law::Wanted, Law::Gone],
        foci: WORK,
        saw: |seen| {
            see(seen, |task: &mut ObservedTask| task.removed = false);
            see(seen, |lane: &mut ObservedLane| {
                lane.candidates.iter_mut().for_each(|candidate| candidate.unwanted = false)
            });
        },
        ..NONE
    },
    Mutant {
        name: "a wish to cancel is not noticed",
        laws: &[Law::Wanted],
        foci: WORK,
        saw: |seen| {
            see(seen, |task: &mut ObservedTask| task.cancel_round = 0);
            see(seen, |lane: &mut ObservedLane| {
                lane.candidates.iter_mut().for_each(|candidate| candidate.unwanted = false)
            });
        },
        ..NONE
    },
    Mutant {
        name: "what is not wanted any more is not told to stop",
        laws: &[Law::Wanted],
        foci: WORK,
        planned: |plan| plan.effects.retain(|effect| !matches!(effect, Effect::Stop { .. })),
        ..NONE
    },
    Mutant {
        name: "a scan that saw nothing of the disk is believed",
        laws: &[Law::OnlyItself],
        foci: &[Apps, Care],
        hint: 23,
        saw: |seen| {
            see(seen, |apps: &mut ObservedApps| {
                apps.sets.iter_mut().filter(|set| set.scan.is_err()).for_each(|set| set.scan = Ok(Vec::new()));
            });
        },
        ..NONE
    },
    Mutant {
        name: "the fuse against disappearing apps is not looked at",
        laws: &[Law::OnlyItself],
        foci: &[Apps, Care],
        hint: 36,
        saw: |seen| {
            see(seen, |apps: &mut ObservedApps| {
                let any = MaxDisappear { percent: 100, count: u32::MAX };
                apps.sets.iter_mut().for_each(|set| set.max_disappear = any);
            });
        },
        ..NONE
    },
    Mutant {
        name: "the record of a missing app is deleted at once",
        laws: &[Law::OnlyItself],
        foci: &[Care],
        settings: |settings| settings.orphan_app_retention_days = 0,
        ..NONE
    },
    Mutant {
        name: "what is set aside is purged at once",
        laws: &[Law::OnlyItself],
        foci: &[Care],
        settings: |settings| settings.quarantine_days = 0,
        ..NONE
    },
    Mutant {
        name: "a clock that was turned back is trusted",
        laws: &[Law::Ends],
        foci: WORK,
        hint: 13,
        saw: |seen| see(seen, |task: &mut ObservedTask| task.since = Timestamp(0)),
        ..NONE
    },
    Mutant {
        name: "a success in part is told as a whole one",
        laws: &[Law::Proven],
        foci: WORK,
        planned: |plan| {
            for write in task_writes(plan).filter(|write| write.status.phase == Phase::PartialSuccess) {
                write.status.phase = Phase::Completed;
            }
        },
        ..NONE
    },
    Mutant {
        name: "what ran well is asked for again",
        laws: &[Law::Kept],
        foci: WORK,
        saw: |seen| {
            see(seen, |lane: &mut ObservedLane| lane.candidates.iter_mut().for_each(|candidate| candidate.told.clear()))
        },
        ..NONE
    },
    Mutant {
        name: "a status claims the newest spec, whichever was handled",
        laws: &[Law::Proven, Law::Generation, Law::Ends],
        foci: WORK,
        saw: |seen| see(seen, |task: &mut ObservedTask| task.status.observed_generation = task.generation),
        ..NONE
    },
    Mutant {
        name: "a terminal phase is overwritten, as nothing forbids it: another run begins within the same round",
        laws: &[Law::OneOwner],
        foci: WORK,
        schema: "DROP TRIGGER task_terminal_is_final",
        planned: |plan| {
            for write in task_writes(plan)
                .filter(|write| write.status.phase == Phase::Pending && write.status.started_at.is_none())
            {
                write.status.round = (write.status.round - 1).max(1);
            }
        },
        ..NONE
    },
    Mutant {
        name: "the version of a status is not compared",
        laws: &[Law::OneOwner, Law::HeldOrOrphaned, Law::Events, Law::Wanted, Law::Proven, Law::Ends],
        foci: WORK,
        hint: 42,
        schema: "CREATE TRIGGER any_version AFTER UPDATE OF version ON task BEGIN UPDATE task SET version = 1 WHERE uid = NEW.uid; END",
        ..NONE
    },
    Mutant {
        name: "transitions are not told by events",
        laws: &[Law::Events],
        foci: WORK,
        planned: |plan| plan.writes.retain(|write| !matches!(write, Write::Event(_))),
        ..NONE
    },
    Mutant {
        name: "a run is completed although a child has failed",
        laws: &[Law::Derived],
        foci: &[Pipelines],
        planned: |plan| {
            for write in &mut plan.writes {
                if let Write::Run(write) = write
                    && matches!(write.status.phase, Phase::PartialSuccess | Phase::Failed)
                {
                    write.status.phase = Phase::Completed;
                }
            }
        },
        ..NONE
    },
    Mutant {
        name: "a child that has failed is counted as one that succeeded",
        laws: &[Law::Derived],
        foci: &[Pipelines],
        planned: |plan| {
            for write in &mut plan.writes {
                if let Write::Conclude(conclude) = write {
                    conclude.conclusion = Conclusion::Succeeded;
                }
            }
        },
        ..NONE
    },
    Mutant {
        name: "a child is asked for twice, under another number",
        laws: &[Law::Derived],
        foci: &[Pipelines],
        planned: |plan| {
            let asked = plan.writes.iter().filter_map(|write| match write {
                Write::AskChild(ask) => Some(ask.clone()),
                _ => None,
            });
            let twice = asked.map(|mut ask| {
                (ask.item, ask.name) = (ask.item + 7, format!("{}-again", ask.name));
                Write::AskChild(ask)
            });
            let twice: Vec<Write> = twice.collect();
            plan.writes.extend(twice);
        },
        ..NONE
    },
];
