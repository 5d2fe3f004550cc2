//! Golden plans for pools: slots that several lanes share, rates over all of them, and whose turn it is.

use manifestd::plan::Reconciler;
use manifestd::plan::lane::{Candidate, LaneReconciler, ObservedLane};
use manifestd::plan::pool::{ObservedPool, YIELD};
use manifestd::resource::analyzer::{AnalyzerSpec, Rate};
use manifestd::resource::pool::PoolSpec;
use manifestd::resource::time::Span;

use crate::carry_out::on_lane;
use crate::golden::{Golden, NOW};
use crate::lanes::{lane, queued};
use crate::task_case::command;

/// A pool of which so many slots are taken.
fn pool(slots: u32, used: u32) -> ObservedPool {
    ObservedPool {
        name: "gpu".into(),
        spec: PoolSpec { slots, rate: None },
        used,
        slot_free_at: None,
        opened: vec![],
        contested: false,
        yields_until: None,
    }
}

fn with_rate(limit: u32, opened_ms_ago: &[u64]) -> ObservedPool {
    let mut pool = pool(10, 0);
    pool.spec.rate = Some(Rate { limit, per: Span::minutes(1) });
    pool.opened = opened_ms_ago.iter().map(|ms| NOW.minus(Span(*ms))).collect();
    pool
}

fn of_pool(name: &str, priority: i32) -> Candidate {
    Candidate { pool: Some("gpu".into()), ..queued(name, priority) }
}

/// Two tasks of the pool, then one without; the lane has slots for all of them.
fn shared(pool: ObservedPool) -> ObservedLane {
    let candidates = vec![of_pool("a", 300), of_pool("b", 200), queued("c", 100)];
    let spec = AnalyzerSpec { capacity: 9, ..command() };
    ObservedLane { pools: vec![pool], ..lane(spec, candidates) }
}

#[test]
fn what_is_left_of_a_pool_goes_to_the_best_tasks_and_keeps_nobody_else_waiting() {
    let mut golden = Golden::default();
    let yields = ObservedPool { contested: true, yields_until: Some(NOW.plus(YIELD)), ..pool(3, 1) };
    let cases = [
        ("enough for everybody", shared(pool(3, 1))),
        ("one slot is left: the next of the pool waits for an ending, the one behind it does not", shared(pool(3, 2))),
        ("the pool is full", shared(pool(3, 3))),
        ("more are taken than there are slots, which were lowered", shared(pool(1, 3))),
        ("the pool is full, and a slot drains", {
            shared(ObservedPool { slot_free_at: Some(NOW.plus(Span::minutes(20))), ..pool(3, 3) })
        }),
        ("a slot drains, and enough are free", {
            shared(ObservedPool { slot_free_at: Some(NOW.plus(Span::minutes(20))), ..pool(9, 1) })
        }),
        ("its rate allows one more, the other one in a minute at the latest", shared(with_rate(2, &[1000]))),
        ("its rate allows no more for a millisecond", shared(with_rate(2, &[1000, 59_999]))),
        ("other lanes wait for it as well: one at a time, and nobody is overtaken", {
            shared(ObservedPool { contested: true, ..pool(3, 1) })
        }),
        ("another lane has a better claim for a moment", shared(yields)),
        ("there is no such pool: they leave the queue", ObservedLane { pools: vec![], ..shared(pool(1, 0)) }),
        ("it fills up within a page, and there is more: the next pass passes over its tasks", {
            let page = vec![of_pool("a", 300), of_pool("b", 200), of_pool("c", 100)];
            ObservedLane { candidates: page, more: true, ..shared(pool(3, 2)) }
        }),
        ("the analyzer is the one that has no slot left", {
            let spec = AnalyzerSpec { capacity: 1, ..command() };
            ObservedLane { spec: Some(spec), ..shared(pool(3, 0)) }
        }),
    ];
    for (title, case) in cases {
        golden.case(title, case, LaneReconciler::plan, on_lane);
    }
    golden.check("lane/pools.txt");
}
