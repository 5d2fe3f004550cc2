//! A store without threads, for a simulation: every read and write runs where it is asked for, over one connection, and a [`Gate`] says
//! when. So a whole controller runs on one thread, in an order that can be repeated, and can end between any two steps.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{Backend, Inner, Store, StoreError, open, readers, writer};

/// What a gate is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A read of the store.
    Read,
    /// A transaction of the store.
    Write,
    /// The end of a transaction: all of it has been done, and nothing of it is durable.
    Commit,
    /// A look at the disk, or a change of it.
    Disk,
}

/// What a gate answers with.
pub type Passing<'g, T> = Pin<Box<dyn Future<Output = T> + Send + 'g>>;

/// Whoever stands before and behind every step that touches what outlives the process. It may let others go first; a future of it that
/// never comes back is the end of whoever asked, as `kill -9` would be.
pub trait Gate: Send + Sync {
    /// Before a step. Nothing of it has happened.
    ///
    /// # Errors
    /// What the step is to fail with, such as a full disk; then nothing of it happens.
    fn before(&self, step: Step) -> Passing<'_, Result<(), StoreError>>;

    /// After a step. All of it has happened, and whoever asked for it has not heard yet.
    fn after(&self, step: Step) -> Passing<'_, ()>;
}

/// One connection, and who stands before it.
pub(super) struct Inline {
    connection: Arc<Mutex<Connection>>,
    gate: Arc<dyn Gate>,
    /// Whose turn it is: between what a transaction does and its end nobody else comes in.
    turn: tokio::sync::Mutex<()>,
}

/// A transaction that is taken back unless it is ended.
struct Open<'i>(&'i Inline);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let connection = self.0.connection();
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
}

impl Store {
    /// A store over a connection that the caller keeps, with the schema brought up to date. `path` is only what [`Store::path`] says.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn inline(path: PathBuf, connection: Arc<Mutex<Connection>>, gate: Arc<dyn Gate>) -> Result<Self, StoreError> {
        let id = open::bring_up(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))?;
        let backend = Backend::Inline(Inline { connection, gate, turn: tokio::sync::Mutex::new(()) });
        Ok(Self { inner: Arc::new(Inner { path, id, backend }) })
    }

    /// Who stands before this store, if it is one without threads.
    #[must_use]
    pub fn gate(&self) -> Option<&Arc<dyn Gate>> {
        match &self.inner.backend {
            Backend::Threads { .. } => None,
            Backend::Inline(inline) => Some(&inline.gate),
        }
    }
}

impl Inline {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job as a group of its own.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.gate.before(Step::Write).await?;
        let turn = self.turn.lock().await;
        let (job, mut answer) = writer::job(work);
        let mut group = [job];
        let open = Open(self);
        let ran = writer::run(&self.connection(), &mut group);
        let committed = match ran {
            Ok(false) => Ok(()),
            Ok(true) => match self.gate.before(Step::Commit).await {
                Ok(()) => writer::make_durable(&self.connection(), &group).map_err(StoreError::from),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.into()),
        };
        drop(open);
        let [job] = group;
        job.answer(committed);
        drop(turn);
        self.gate.after(Step::Write).await;
        answer.try_recv().map_err(|_| StoreError::Gone)?.answer
    }

    /// Runs a query in a read transaction.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.gate.before(Step::Read).await?;
        let turn = self.turn.lock().await;
        let answer = readers::at_one_moment(&self.connection(), query);
        drop(turn);
        self.gate.after(Step::Read).await;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it was asked, and refuses one kind of step when told to.
    #[derive(Default)]
    struct Noting {
        asked: Mutex<Vec<(Step, bool)>>,
        refused: Mutex<Option<Step>>,
    }

    impl Noting {
        fn refuse(&self, step: Option<Step>) {
            *self.refused.lock().unwrap() = step;
        }
    }

    impl Gate for Noting {
        fn before(&self, step: Step) -> Passing<'_, Result<(), StoreError>> {
            self.asked.lock().unwrap().push((step, true));
            let refuses = *self.refused.lock().unwrap() == Some(step);
            Box::pin(async move { if refuses { Err(StoreError::Conflict) } else { Ok(()) } })
        }

        fn after(&self, step: Step) -> Passing<'_, ()> {
            self.asked.lock().unwrap().push((step, false));
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn every_step_passes_the_gate_and_one_that_it_refuses_never_happens() {
        let connection = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        let gate = Arc::new(Noting::default());
        let store =
            Store::inline("memory".into(), Arc::clone(&connection), Arc::clone(&gate) as Arc<dyn Gate>).unwrap();
        let write = |value: &'static str| {
            let insert = "INSERT INTO meta (key, value) VALUES (?1, ?1)";
            store.write(move |connection| Ok(connection.execute(insert, [value])?))
        };
        assert_eq!(write("one").await.unwrap(), 1);
        for refused in [Step::Write, Step::Commit] {
            gate.refuse(Some(refused));
            assert!(matches!(write("two").await, Err(StoreError::Conflict)));
        }
        let count = "SELECT count(*) FROM meta WHERE key IN ('one', 'two')";
        let found: i64 =
            store.read(move |connection| Ok(connection.query_row(count, [], |row| row.get(0))?)).await.unwrap();
        assert_eq!(found, 1);
        let asked = gate.asked.lock().unwrap().clone();
        let (read, write, commit) = (Step::Read, Step::Write, Step::Commit);
        let whole = [(write, true), (commit, true), (write, false)];
        let expected: Vec<(Step, bool)> =
            [whole.as_slice(), &[(write, true)], whole.as_slice(), &[(read, true), (read, false)]].concat();
        assert_eq!(asked, expected);
        // A job that fails leaves nothing behind, as in a group.
        gate.refuse(None);
        let failing = store.write(|connection| {
            connection.execute("INSERT INTO meta (key, value) VALUES ('three', '')", [])?;
            Err::<(), _>(StoreError::Conflict)
        });
        assert!(failing.await.is_err());
        let three = "SELECT count(*) FROM meta WHERE key = 'three'";
        assert_eq!(connection.lock().unwrap().query_row(three, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }
}
