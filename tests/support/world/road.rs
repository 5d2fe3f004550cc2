//! One pass over one key on the real road: observe, plan, commit, perform; and what follows from it for the queues.

use manifestd::plan::analyzer::{AnalyzerReconciler, Asked};
use manifestd::plan::apps::{AppsReconciler, ObservedApps};
use manifestd::plan::lane::LaneReconciler;
use manifestd::plan::maintenance::MaintenanceReconciler;
use manifestd::plan::pipeline::run::RunReconciler;
use manifestd::plan::pipeline::trigger::PipelineReconciler;
use manifestd::plan::task::TaskReconciler;
use manifestd::plan::{Key, Plan, Reconciler, Write};
use manifestd::resource::analyzer::AnalyzerSpec;
use manifestd::resource::time::Timestamp;
use manifestd::runtime::app_scan::find_apps;
use manifestd::store::{Committed, Held};

use super::{LOOPS, PASSES_MAX, START, Turn, World};

impl World {
    /// Works on every key that is due, until none is.
    pub(super) fn work(&mut self) {
        let mut passes = 0;
        while let Some(key) = self.pop() {
            passes += 1;
            assert!(passes < PASSES_MAX, "{key} is looked at for ever at {}; it plans\n{}", self.now, self.plan(&key));
            match self.pass(&key) {
                None => {
                    self.running().wakes.done(&key);
                    self.running().wakes.add(key);
                }
                Some(next) => {
                    self.running().wakes.done(&key);
                    if let Some(at) = next
                        && !self.is_lost(&key)
                    {
                        self.running().wakes.add_at(key, at);
                    }
                }
            }
        }
    }

    fn pop(&self) -> Option<Key> {
        let running = self.running.as_ref()?;
        let mut awake = LOOPS.into_iter().filter(|of| !self.stalled.contains(of));
        awake.find_map(|of| running.wakes.pop(of, self.now))
    }

    /// Wakes a key, unless that is lost.
    pub(super) fn wake(&mut self, key: Key) {
        if !self.is_lost(&key)
            && let Some(running) = &self.running
        {
            running.wakes.add(key);
        }
    }

    fn is_lost(&mut self, key: &Key) -> bool {
        self.loss.as_mut().is_some_and(|loses| loses(key))
    }

    /// Adds every key of the task loop that may have something to do.
    pub(super) fn resync(&mut self) {
        let running = self.running();
        let analyzers = self.wait_for(running.store.analyzers()).expect("the store");
        analyzers.into_iter().for_each(|name| running.wakes.add(Key::Analyzer(name)));
        let wakes = self.wait_for(running.store.unsettled(self.now)).expect("the store");
        wakes.into_iter().for_each(|(key, at)| match at {
            None => running.wakes.add(key),
            Some(at) => running.wakes.add_at(key, at),
        });
    }

    /// One pass: `None` when somebody else moved the state, else when to look again.
    pub(super) fn pass(&mut self, key: &Key) -> Option<Option<Timestamp>> {
        let Plan { writes, effects, wakes, next, actions: _ } = self.plan(key);
        self.reserve(&effects);
        let store = self.running().store.clone();
        match self.wait_for(store.commit(writes.clone(), self.now)).expect("the store") {
            Committed::Conflict => {
                self.release(&effects);
                None
            }
            Committed::Applied(woken) => {
                self.remember(&writes);
                effects.into_iter().for_each(|effect| self.perform(effect));
                wakes.into_iter().chain(woken).for_each(|key| self.wake(key));
                Some(next)
            }
        }
    }

    /// Observes a key and plans for it.
    pub(super) fn plan(&self, key: &Key) -> Plan {
        let (store, now, budgets) = (&self.running().store, self.now, self.settings.budgets());
        match key {
            Key::Lane(analyzer) => {
                let asked = self.asked(analyzer);
                let mut lane = self.wait_for(store.observe_lane(analyzer.clone(), now, budgets)).expect("the store");
                for replica in &mut lane.replicas {
                    let of_it = |(url, asked): &(String, Asked)| *url == replica.health.url && asked.answered.is_some();
                    replica.asked = asked.iter().any(of_it);
                }
                LaneReconciler::plan(&lane, now)
            }
            Key::Analyzer(name) => {
                let look = store.observe_analyzer(name.clone(), budgets);
                let mut analyzer = self.wait_for(look).expect("the store");
                analyzer.asked = self.asked(name);
                let urls = analyzer.spec.as_ref().map(AnalyzerSpec::replicas).unwrap_or_default();
                self.keep_asked(name, &urls);
                AnalyzerReconciler::plan(&analyzer, now)
            }
            Key::Task(uid) => {
                let task = self.wait_for(store.observe_task(uid.clone(), self.held(), budgets)).expect("the store");
                task.map(|task| TaskReconciler::plan(&task, now)).unwrap_or_default()
            }
            Key::Pipeline(uid) => {
                let pipeline = self.wait_for(store.observe_pipeline(uid.clone())).expect("the store");
                pipeline.map(|pipeline| PipelineReconciler::plan(&pipeline, now)).unwrap_or_default()
            }
            Key::Run(uid) => {
                let run = self.wait_for(store.observe_run(uid.clone())).expect("the store");
                run.map(|run| RunReconciler::plan(&run, now)).unwrap_or_default()
            }
            Key::Tree(_) => panic!("no task in here looks at the files of its app"),
            Key::Apps => AppsReconciler::plan(&self.observe_apps(), now),
            Key::Maintenance => {
                let look = store.observe_maintenance(self.settings.rules(), None, self.held(), now);
                let mut observed = self.wait_for(look).expect("the store");
                for app in &mut observed.apps {
                    app.present = Some(self.path(&app.path).is_dir());
                }
                MaintenanceReconciler::plan(&observed, now)
            }
        }
    }

    fn held(&self) -> Held {
        self.running().held.iter().map(|(id, carrier)| (id.clone(), carrier.seen())).collect()
    }

    fn observe_apps(&self) -> ObservedApps {
        let (sets, mut apps) = self.wait_for(self.running().store.observe_apps()).expect("the store");
        let workspace = self.path("");
        let scanned = sets.into_iter().map(|(mut set, spec)| {
            set.scan = find_apps(&workspace, &spec).map_err(|error| error.to_string());
            set
        });
        let sets = scanned.collect();
        for app in apps.iter_mut().filter(|app| app.set.is_none()) {
            app.present = Some(self.path(&app.path).is_dir());
        }
        ObservedApps { sets, apps, ..ObservedApps::default() }
    }

    fn remember(&mut self, writes: &[Write]) {
        let after = self.now.since(START);
        for write in writes {
            if let Write::Task(write) = write {
                let (uid, status) = (write.uid.clone(), write.status.clone());
                self.history.push(Turn { after, uid, status });
            }
        }
    }
}
