//! What was set aside, listed or forgotten long enough ago is deleted for good: records, results, strays and old events.

use super::{Aside, Pass, Stray};
use crate::plan::Effect;
use crate::plan::action::{Action, Rule};
use crate::plan::write::Write;
use crate::resource::kind::Kind;

impl Pass<'_> {
    /// Plans for everything whose time in quarantine is over.
    pub(super) fn purge(&mut self) {
        for aside in &self.observed.aside {
            self.purge_one(aside);
        }
        for stray in &self.observed.strays {
            self.stray(stray);
        }
        let gone = self.observed.strays_gone.iter().cloned();
        self.plan.writes.extend(gone.map(|path| Write::ForgetStray { path }));
        self.prune_events();
        // Results of what was purged: now that the rows are gone, and what an earlier pass could not do.
        let purges =
            self.plan.writes.iter().any(|write| matches!(write, Write::Purge { .. } | Write::PurgeStray { .. }));
        if purges || self.observed.removals {
            self.plan.effects.push(Effect::Sweep);
        }
    }

    fn purge_one(&mut self, aside: &Aside) {
        let rules = self.observed.rules;
        let Some(threshold) = rules.is_over(rules.quarantine, aside.at, self.now) else { return };
        let (rule, past) = match aside.kind {
            Kind::App => (Rule::AppPurged, "deleted"),
            Kind::Run => (Rule::RunPurged, "set aside"),
            _ => (Rule::TaskPurged, "set aside"),
        };
        let object = format!("{}/{}", aside.kind.singular(), aside.name);
        let what = format!("deleted for good, since it was {past} at {}", aside.at);
        let write = Write::Purge { kind: aside.kind, uid: aside.uid.clone(), aside_at: aside.at };
        self.act(Action::over(rule, object, what, threshold), [write]);
    }

    fn stray(&mut self, stray: &Stray) {
        let rules = self.observed.rules;
        let object = format!("results/{}", stray.path);
        let path = stray.path.clone();
        match stray.seen_at {
            None => {
                let Some(grace) = rules.is_over(Some(rules.grace), stray.changed_at, self.now) else { return };
                let what = "listed, since it belongs to no attempt";
                self.act(Action::over(Rule::StrayFound, object, what, grace), [Write::Stray { path }]);
            }
            Some(seen_at) => {
                let Some(threshold) = rules.is_over(rules.quarantine, seen_at, self.now) else { return };
                let what = format!("deleted for good, since it belongs to no attempt and is listed since {seen_at}");
                let action = Action::over(Rule::StrayPurged, object, what, threshold);
                self.act(action, [Write::PurgeStray { path, seen_at }]);
            }
        }
    }

    fn prune_events(&mut self) {
        let (rules, old) = (self.observed.rules, self.observed.events);
        let (Some(finished), true) = (rules.finished, old.count > 0) else { return };
        let what = format!("{} deleted for good, up to number {}", count(old.count), old.last);
        let write = Write::PruneEvents { last: old.last, before: old.before };
        self.act(Action::over(Rule::EventsPruned, "events".into(), what, finished), [write]);
    }
}

fn count(events: u64) -> String {
    if events == 1 { "1 old event".into() } else { format!("{events} old events") }
}
