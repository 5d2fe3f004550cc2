//! Questions to replicas: what the script lets each answer, and the register of what was asked, as `src/runtime/probes.rs` keeps it.

use manifestd::plan::analyzer::Asked;
use manifestd::plan::{Key, Probe};
use manifestd::resource::health::{Health, MANIFESTD_V1};
use manifestd::resource::time::Span;
use manifestd::store::replica::ProbeReport;

use super::World;
use super::outside::Happening;

/// What comes of one question.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    after: Span,
    answer: Result<Health, String>,
}

impl Reply {
    /// It is well, and says so at once.
    pub(crate) fn healthy() -> Self {
        Self { after: Span(0), answer: Ok(Health::default()) }
    }

    /// It is well, and speaks the extension.
    pub(crate) fn extended() -> Self {
        Self { after: Span(0), answer: Ok(Health { protocols: vec![MANIFESTD_V1.into()], ..Health::default() }) }
    }

    /// Nobody is there, which is noticed at once.
    pub(crate) fn refused() -> Self {
        Self { after: Span(0), answer: Err("connection refused".into()) }
    }

    /// The answer does not come in time.
    pub(crate) fn silence() -> Self {
        Self { after: Span(u64::MAX), answer: Err("no answer in time".into()) }
    }
}

impl World {
    /// What replicas answer that are asked from now on: given the question and the age of the world.
    pub(crate) fn replies(&mut self, replies: impl FnMut(&Probe, Span) -> Reply + 'static) {
        self.replies = Box::new(replies);
    }

    /// When this controller has asked a replica, and what about.
    pub(super) fn asked(&self, analyzer: &str) -> Vec<(String, Asked)> {
        let asked = self.running().asked.borrow();
        let own = asked.iter().filter(|((of, _), _)| of == analyzer);
        own.map(|((_, url), asked)| (url.clone(), *asked)).collect()
    }

    /// Forgets what was asked of addresses that an analyzer has no more.
    pub(super) fn keep_asked(&self, analyzer: &str, urls: &[String]) {
        let mut asked = self.running().asked.borrow_mut();
        asked.retain(|(of, url), asked| of != analyzer || asked.under_way || urls.contains(url));
    }

    /// Asks a replica.
    pub(super) fn ask(&mut self, probe: Probe) {
        let age = self.age();
        self.probes.push((age, probe.url.clone()));
        let reply = (self.replies)(&probe, age);
        let now = self.now;
        let mut asked = self.running().asked.borrow_mut();
        let key = (probe.analyzer.clone(), probe.url.clone());
        let answered = asked.get(&key).and_then(|asked| asked.answered);
        asked.insert(key, Asked { at: now, under_way: true, answered });
        drop(asked);
        self.later(reply.after.min(probe.timeout), Happening::Answer(Box::new(probe), reply.answer));
    }

    /// Writes an answer, then enters it in the register, then wakes the analyzer, and its lane where that is news.
    pub(super) fn answer(&mut self, probe: Probe, answer: Result<Health, String>) {
        let Probe { analyzer, url, failure_threshold, .. } = probe;
        let at = self.now;
        let report = ProbeReport { analyzer: analyzer.clone(), url: url.clone(), answer, failure_threshold, at };
        let changed = self.wait_for(self.running().store.report_probe(report)).expect("the store");
        let first = self.running().asked.borrow_mut().get_mut(&(analyzer.clone(), url)).is_none_or(|asked| {
            asked.under_way = false;
            asked.answered.replace(at).is_none()
        });
        if changed || first {
            self.wake(Key::Lane(analyzer.clone()));
        }
        self.wake(Key::Analyzer(analyzer));
    }

    /// When a replica was asked, each time, in ages of the world.
    pub(crate) fn probes(&self, url: &str) -> Vec<Span> {
        self.probes.iter().filter(|(_, asked)| asked == url).map(|(age, _)| *age).collect()
    }
}
