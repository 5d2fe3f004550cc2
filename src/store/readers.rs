//! The readers: a few threads, each with a read-only connection of its own, so that reading never waits behind other blocking work of
//! the process and its memory is bounded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{StoreError, open_read_only};

/// Readers of one store. Observations are short; more would only compete for the same cores.
const READERS: usize = 3;

type Query = Box<dyn FnOnce(&Connection) + Send>;

pub(super) struct Readers {
    queries: Option<Sender<Query>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let (queries, queue) = channel::<Query>();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(READERS);
        for number in 0..READERS {
            let connection = open_read_only(path)?;
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || serve(&connection, &queue))
                .map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
            threads.push(thread);
        }
        Ok(Self { queries: Some(queries), threads })
    }

    /// Runs a query in one read transaction, so that all of its parts see the same moment.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let query: Query = Box::new(move |connection| {
            // The read ends with the panic, and the thread goes on with the next one.
            let answer = catch_unwind(AssertUnwindSafe(|| at_one_moment(connection, query)));
            // Nobody waits any more when the caller was dropped.
            let _ = sender.send(answer.unwrap_or(Err(StoreError::Panicked)));
        });
        self.queries.as_ref().ok_or(StoreError::Gone)?.send(query).map_err(|_| StoreError::Gone)?;
        receiver.await.map_err(|_| StoreError::Gone)?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.queries.take());
        for thread in self.threads.drain(..) {
            // A panic of the thread has been answered to its callers as `Gone` already.
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, queue: &Mutex<Receiver<Query>>) {
    loop {
        // Only the wait for the next query holds the lock; a panic in a query cannot happen under it.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(query) = next else { return };
        query(connection);
    }
}

/// Runs a query in one read transaction.
pub(super) fn at_one_moment<T>(
    connection: &Connection,
    query: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let moment = connection.unchecked_transaction()?;
    let answer = query(connection)?;
    moment.finish()?;
    Ok(answer)
}
