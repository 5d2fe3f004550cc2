//! What tests read of a world: tasks as they stand, and every turn that they have taken.

use manifestd::plan::Key;
use manifestd::plan::task::ObservedTask;
use manifestd::plan::write::TaskStatus;
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Span;
use manifestd::store::{Held, open_read_only};
use rusqlite::Connection;
use rusqlite::types::FromSql;

use super::World;

/// One change of one task's status.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// How old the world was.
    pub(crate) after: Span,
    /// The task.
    pub(crate) uid: Uid,
    /// Its status from then on.
    pub(crate) status: TaskStatus,
}

impl World {
    /// A task as it stands.
    pub(crate) fn task(&self, name: &str) -> ObservedTask {
        let (uid, _) = self.identity(Kind::Task, name);
        let store = &self.running().store;
        self.wait_for(store.observe_task(uid, Held::new(), self.settings.budgets()))
            .expect("the store")
            .expect("the task")
    }

    /// Where a task stands.
    pub(crate) fn state(&self, name: &str) -> (Phase, Reason) {
        let status = self.task(name).status;
        (status.phase, status.reason)
    }

    /// When a task took its turns, and where to.
    pub(crate) fn turns(&self, name: &str) -> Vec<(Span, Phase, Reason)> {
        let (uid, _) = self.identity(Kind::Task, name);
        let own = self.history.iter().filter(|turn| turn.uid == uid);
        own.map(|turn| (turn.after, turn.status.phase, turn.status.reason)).collect()
    }

    /// When a task came to a phase for a reason, each time.
    pub(crate) fn times(&self, name: &str, phase: Phase, reason: Reason) -> Vec<Span> {
        let turns = self.turns(name).into_iter();
        turns.filter(|(_, to, why)| (*to, *why) == (phase, reason)).map(|(after, ..)| after).collect()
    }

    /// How many attempts the controller carries.
    pub(crate) fn carried(&self) -> usize {
        self.running().held.len()
    }

    /// The uid and the generation of an object.
    pub(crate) fn identity(&self, kind: Kind, name: &str) -> (Uid, i64) {
        let query = "SELECT uid, generation FROM object WHERE kind = ?1 AND name = ?2";
        let row = |row: &rusqlite::Row<'_>| Ok((Uid(row.get(0)?), row.get(1)?));
        self.connect().query_row(query, [kind.as_str(), name], row).expect("a declared object")
    }

    /// One value out of the database.
    pub(crate) fn one<T: FromSql>(&self, query: &str) -> T {
        self.connect().query_row(query, [], |row| row.get(0)).expect("a row")
    }

    /// Fails if anything is left to do now: no attempt is carried, and whatever a resync would look at has an empty plan.
    pub(crate) fn assert_settled(&self) {
        assert_eq!(self.carried(), 0, "attempts are carried");
        let unsettled = self.wait_for(self.running().store.unsettled(self.now)).expect("the store");
        let analyzers = self.wait_for(self.running().store.analyzers()).expect("the store");
        let keys = unsettled.into_iter().map(|(key, _)| key).chain(analyzers.into_iter().map(Key::Analyzer));
        for key in keys.chain([Key::Apps]) {
            let plan = self.plan(&key);
            assert!(plan.is_empty(), "{key} is not settled:\n{plan}");
        }
    }

    fn connect(&self) -> Connection {
        open_read_only(self.running().store.path()).expect("the database")
    }
}
