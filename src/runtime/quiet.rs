//! When nothing is left to do now, which is what `reconcile --once` waits for.

use super::core::Core;
use super::wakes::Loop;
use crate::plan::Key;
use crate::plan::pool::YIELD;

/// A key that failed is tried again soon, which is waited for; one that failed more often in a row has somebody else to mend it.
const FAILURES_MAX: u32 = 3;

/// Waits until none of these loops has anything to do now, no attempt is carried, and no answer is awaited on which something depends.
///
/// # Errors
/// Why it never will be so: the controller stops, has failed, or cannot do something that is to be done.
pub(super) async fn quiet(core: &Core, loops: &[Loop]) -> Result<(), String> {
    loop {
        // Registered before the look, so that whatever ends in between is heard.
        let progress = core.progress.notified();
        tokio::pin!(progress);
        progress.as_mut().enable();
        if core.fatal.raised.is_cancelled() {
            return Err(core.fatal.reason().unwrap_or("the controller has failed").to_owned());
        }
        if core.stopping.is_cancelled() {
            return Err("the controller is stopping".to_owned());
        }
        match look(core, loops) {
            Look::Quiet => return Ok(()),
            // What was added may be over by now, so nobody would be heard.
            Look::Blurred => continue,
            Look::Busy => {}
            Look::Stuck(key, times) => {
                return Err(format!("{key} could not be reconciled, {times} times in a row; the log says why"));
            }
        }
        tokio::select! {
            biased;
            () = core.fatal.raised.cancelled() => {}
            () = core.stopping.cancelled() => {}
            () = progress => {}
        }
    }
}

/// What a look at everything that could be under way came to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Quiet,
    Busy,
    /// Nothing was seen, but work may have gone on from a place that was not looked at yet to one that had been.
    Blurred,
    /// A key failed again and again, so often.
    Stuck(Key, u32),
}

/// Looks at the queues first, then at what passes begin. Whoever hands work on adds what comes next before it is done itself, and only a queue
/// is handed anything from elsewhere: while nothing is added to one, a look that finds nothing in any place is one at a single moment.
fn look(core: &Core, loops: &[Loop]) -> Look {
    let added = core.wakes.added();
    let failing = loops.iter().filter_map(|of| core.wakes.worst_failing(*of)).max_by_key(|(_, times)| *times);
    match failing {
        Some((key, times)) if times > FAILURES_MAX => return Look::Stuck(key, times),
        Some(_) => return Look::Busy,
        None => {}
    }
    // A slot that one lane leaves to another for a moment is something to do, too.
    let soon = core.now().plus(YIELD);
    let is_idle = loops.iter().all(|of| core.wakes.is_idle(*of, soon));
    // An app that is being written is looked at again in a moment, and then its tasks run.
    let is_settled = is_idle && !core.trees.is_settling();
    match is_settled && core.attempts.is_quiet() && core.probes.is_quiet() {
        true if core.wakes.added() == added => Look::Quiet,
        true => Look::Blurred,
        false => Look::Busy,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::resource::name::Uid;
    use crate::resource::time::Timestamp;
    use crate::runtime::core::alone;

    const ALL: [Loop; 3] = [Loop::Tasks, Loop::Trees, Loop::Pipelines];

    /// Takes what was handed on.
    async fn take(core: &Core, of: Loop) -> Key {
        loop {
            if let Some(key) = core.wakes.pop(of, Timestamp(0)) {
                return key;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A task whose pass begins an attempt, whose end wakes an app, which wakes a run, which wakes the task: at any moment one of them is
    /// under way.
    async fn hand_on(core: Core, rounds: u32, is_over: &AtomicBool) {
        let [task, app, run] = [Key::Task(Uid("t".into())), Key::Tree(Uid("a".into())), Key::Run(Uid("r".into()))];
        for _ in 0..rounds {
            let key = take(&core, Loop::Tasks).await;
            let (inner, app) = (core.clone(), app.clone());
            core.attempts.spawn(&core, async move { inner.wakes.add(app) });
            core.wakes.done(&key);
            for (of, next) in [(Loop::Trees, &run), (Loop::Pipelines, &task)] {
                let key = take(&core, of).await;
                core.wakes.add(next.clone());
                core.wakes.done(&key);
            }
        }
        let last = take(&core, Loop::Tasks).await;
        is_over.store(true, Ordering::SeqCst);
        core.wakes.done(&last);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_that_is_handed_from_loop_to_loop_is_never_taken_for_none() {
        let state = tempfile::tempdir().unwrap();
        let core = alone(state.path());
        let is_over = std::sync::Arc::new(AtomicBool::new(false));
        core.wakes.add(Key::Task(Uid("t".into())));
        let (handing, over) = (core.clone(), std::sync::Arc::clone(&is_over));
        let mut work = tokio::task::JoinSet::new();
        work.spawn(async move { hand_on(handing, 20_000, &over).await });
        let watched = core.clone();
        let early = tokio::task::spawn_blocking(move || {
            let mut looks = 0u64;
            while !is_over.load(Ordering::SeqCst) {
                looks += 1;
                if look(&watched, &ALL) == Look::Quiet && !is_over.load(Ordering::SeqCst) {
                    return Err(looks);
                }
            }
            Ok(looks)
        });
        work.join_all().await;
        assert!(early.await.unwrap().is_ok_and(|looks| looks > 0), "something was always under way");
        assert_eq!(look(&core, &ALL), Look::Quiet);
    }

    #[tokio::test]
    async fn what_failed_and_is_tried_again_is_waited_for_but_not_for_ever() {
        let state = tempfile::tempdir().unwrap();
        let (core, key) = (alone(state.path()), Key::Task(Uid("t".into())));
        let fail = |times: u32| {
            for now in (0..times).map(|n| Timestamp(i64::from(n) * 100_000)) {
                core.wakes.add(key.clone());
                core.wakes.pop(Loop::Tasks, now);
                core.wakes.failed(&key, now);
            }
        };
        fail(FAILURES_MAX);
        assert_eq!(look(&core, &ALL), Look::Busy);
        assert_eq!(look(&core, &[Loop::Trees]), Look::Quiet, "nobody asked for that loop");
        fail(1);
        assert_eq!(look(&core, &ALL), Look::Stuck(key.clone(), FAILURES_MAX + 1));
        let told = quiet(&core, &ALL).await.unwrap_err();
        assert!(told.contains(&key.to_string()) && told.contains("4 times"), "{told}");
        core.fatal.raise("on purpose");
        assert_eq!(quiet(&core, &ALL).await, Err("on purpose".to_owned()), "whatever else there is");
    }
}
