//! apalis on SQLite: queues so many no-op functions, has a worker run them, and prints how many it did in a second.
//!
//!     apalis-peer TASKS AT_ONCE DIRECTORY
//!
//! They are queued before the time begins. Every connection has `synchronous=FULL`, as it must be for a queue that promises durability; `setup` alone
//! would leave it off.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};

/// Functions that ran. Counted here first, since asking the database all the time would take from what is measured.
static RAN: AtomicU32 = AtomicU32::new(0);

/// Time between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(2);

async fn noop(_task: u32) -> Result<(), BoxDynError> {
    RAN.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("TASKS AT_ONCE DIRECTORY");
    let (tasks, at_once, directory): (u32, usize, PathBuf) = (next().parse()?, next().parse()?, next().into());
    let options = SqliteConnectOptions::new()
        .filename(directory.join("apalis.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePool::connect_with(options.clone()).await?;
    SqliteStorage::setup(&pool).await?;
    pool.close().await;
    let pool = SqlitePool::connect_with(options).await?;
    let config = Config::default().queue("bench").batch_size(at_once);
    let mut storage = SqliteStorage::new(&pool).with_config(config);
    for task in 0..tasks {
        storage.push(task).await?;
    }
    let began = Instant::now();
    let worker = WorkerBuilder::new("bench")
        .backend(storage.poll_with_interval(Duration::from_millis(1)))
        .concurrency(at_once)
        .build(noop);
    let watching = async {
        while RAN.load(Ordering::Relaxed) < tasks {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            let query = "SELECT count(*) FROM Jobs WHERE status = 'Done'";
            let done: i64 = sqlx::query_scalar(query).fetch_one(&pool).await?;
            if done >= i64::from(tasks) {
                return Ok::<_, BoxDynError>(began.elapsed());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let took = tokio::select! {
        ended = worker.run() => return Err(format!("the worker ended: {ended:?}").into()),
        took = watching => took?,
    };
    println!("{}", f64::from(tasks) / took.as_secs_f64());
    Ok(())
}
