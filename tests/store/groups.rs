//! Group commit: many writers at once, each with an answer and a fate of its own.

use futures_util::future::join_all;
use manifestd::plan::Write;
use manifestd::plan::write::{TaskStatus, TaskWrite};
use manifestd::resource::findings::Findings;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::store::{Committed, StoreError};

use crate::fixture::{Fixture, NOW, event};

const WRITERS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_writers_at_once_each_get_their_own_answer() {
    let names: Vec<String> = (0..WRITERS).map(|number| format!("t{number:03}")).collect();
    let fixture = Fixture::with_tasks(1, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let tasks = join_all(names.iter().map(|name| fixture.seen(name))).await;
    // By turns: one that fits, one that is stale, one that the schema refuses after its first write.
    let writers = tasks.iter().enumerate().map(|(number, task)| {
        let uid = task.uid.clone();
        let write = |version, status| Write::Task(Box::new(TaskWrite { uid: uid.clone(), version, status }));
        let fits = task.status.ended(Phase::Cancelled, Reason::CancelledByUser, "", Findings::default(), NOW);
        let broken = TaskStatus { finished_at: None, ..fits.clone() };
        let writes = match number % 3 {
            0 => vec![write(task.version, fits), event(&uid, "Written", "whole")],
            1 => vec![event(&uid, "Written", "half"), write(task.version + 1, fits)],
            _ => vec![event(&uid, "Written", "half"), write(task.version, broken)],
        };
        fixture.store.commit(writes, NOW)
    });
    for (number, answer) in join_all(writers).await.into_iter().enumerate() {
        match number % 3 {
            0 => assert_eq!(answer.unwrap(), Committed::Applied(vec![]), "{number}"),
            1 => assert_eq!(answer.unwrap(), Committed::Conflict, "{number}"),
            _ => assert!(matches!(answer, Err(StoreError::Sqlite(_))), "{number}"),
        }
    }
    let whole = WRITERS.div_ceil(3);
    assert_eq!(fixture.one::<usize>("SELECT count(*) FROM task WHERE phase = 'Cancelled'"), whole);
    assert_eq!(
        fixture.one::<usize>("SELECT count(*) FROM event WHERE reason = 'Written' AND message = 'whole'"),
        whole
    );
    assert_eq!(fixture.one::<usize>("SELECT count(*) FROM event WHERE message = 'half'"), 0);
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_committed_all_the_same() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let uid = fixture.seen("a").await.uid;
    let mut commit = Box::pin(fixture.store.commit(vec![event(&uid, "Dropped", "")], NOW));
    // Polled once, so that the job is sent; then its caller goes away.
    assert!(futures_util::poll!(&mut commit).is_pending());
    drop(commit);
    // Jobs are taken in order.
    fixture.store.commit(vec![event(&uid, "Later", "")], NOW).await.unwrap();
    assert_eq!(fixture.one::<usize>("SELECT count(*) FROM event WHERE reason = 'Dropped'"), 1);
}
