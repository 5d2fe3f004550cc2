//! The free slots of an analyzer: how many each replica has, and which one is next.

use super::lane::ObservedLane;
use super::replica::{Standing, of, standing};
use crate::resource::analyzer::AnalyzerSpec;
use crate::resource::time::Timestamp;

/// Free slots of each replica that can be used: address, used, capacity.
pub(super) struct Slots(Vec<(String, u32, u32)>);

impl Slots {
    /// Slots of an analyzer, whether its replicas can be used or not.
    pub(super) fn total(spec: &AnalyzerSpec) -> usize {
        let mut urls = spec.replicas();
        urls.sort();
        urls.dedup();
        urls.len() * spec.capacity as usize
    }

    /// Slots that can be given out now: of replicas that can be used, one for a trial where a breaker allows no more.
    pub(super) fn free(lane: &ObservedLane, now: Timestamp) -> Self {
        let Some(spec) = &lane.spec else { return Self(Vec::new()) };
        let used = |replica: &str| lane.occupied.iter().find(|(r, _)| r == replica).map_or(0, |(_, used)| *used);
        let mut slots: Vec<(String, u32, u32)> = Vec::new();
        for replica in spec.replicas() {
            // The environment may name one address twice; it has its slots once.
            if slots.iter().any(|(known, ..)| *known == replica) {
                continue;
            }
            let facts = of(&lane.replicas, &replica);
            let (used, trial) = match standing(facts, spec.breaker, now) {
                _ if spec.websocket.is_none() => (used(&replica), false),
                Standing::Usable => (used(&replica), false),
                Standing::Trial => (used(&replica), true),
                Standing::Unknown | Standing::Unhealthy | Standing::Open { .. } => continue,
            };
            // Abandoned requests do not keep a trial back, since what they came to is known; their slots do as always.
            let open = facts.map_or(0, |facts| facts.open);
            let capacity =
                if trial { spec.capacity.min(used.saturating_sub(open).saturating_add(1)) } else { spec.capacity };
            slots.push((replica, used, capacity));
        }
        Self(slots)
    }

    /// Takes a slot of the replica with the fewest in flight; the first among equals. As long as some replica can be used where nobody was
    /// looked for yet, only there; one that was `silent` comes last, since what it was sent may still be running there.
    pub(super) fn take(&mut self, tried: &[String], silent: &[String]) -> Option<String> {
        let is_new = |replica: &String| !tried.contains(replica);
        let any_new = self.0.iter().any(|(replica, ..)| is_new(replica));
        let free =
            self.0.iter_mut().filter(|(replica, used, capacity)| used < capacity && (!any_new || is_new(replica)));
        let (replica, used, _) = free.min_by_key(|(replica, used, _)| (silent.contains(replica), *used))?;
        *used += 1;
        Some(replica.clone())
    }
}
