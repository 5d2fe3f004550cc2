//! What is stored of the files of apps, and which tasks wait for them or run again when they change.

use rusqlite::{Connection, params};

use super::rows::{json, seen_tree, word};
use super::{Store, StoreError};
use crate::plan::tree::{ObservedTree, Reading, TREE_UNREADABLE, Watcher};
use crate::resource::app::AppSpec;
use crate::resource::name::Uid;
use crate::resource::time::Timestamp;

/// The apps whose files some task needs to know: those that a task watches, and those that one waits for.
pub(super) const NEEDED: &str = "SELECT DISTINCT o.uid FROM (
         SELECT app FROM task INDEXED BY task_watching WHERE on_app_change = 1 AND removed = 0
         UNION
         SELECT app FROM task INDEXED BY task_held WHERE phase = 'Pending' AND reason <> 'Queued' AND reason = 'AppNotRead'
     ) t CROSS JOIN object o ON o.kind = 'App' AND o.name = t.app AND o.removed_at IS NULL
     CROSS JOIN app p ON p.uid = o.uid AND p.missing_since IS NULL";

/// One app with what is stored of its files.
pub(super) const TREE: &str =
    "SELECT o.name, o.generation, o.spec, p.tree_digest, p.tree_seen_at, c.message AS unreadable
     FROM object o JOIN app p ON p.uid = o.uid AND p.missing_since IS NULL
     LEFT JOIN condition c ON c.uid = o.uid AND c.type = ?2 AND c.holds = 1
     WHERE o.uid = ?1 AND o.removed_at IS NULL";

/// The tasks that run again when the files of an app change.
pub(super) const WATCHERS: &str = "SELECT uid, phase, app_digest FROM task INDEXED BY task_watching
     WHERE app = ?1 AND on_app_change = 1 AND removed = 0";

/// Since when the latest task has been waiting for the files of an app to be read.
pub(super) const WAITING: &str = "SELECT max(since) FROM task INDEXED BY task_held
     WHERE app = ?1 AND phase = 'Pending' AND reason <> 'Queued' AND reason = 'AppNotRead'";

impl Store {
    /// The apps whose files some task needs to know, in a fixed order.
    ///
    /// # Errors
    /// What the database says.
    pub async fn needed_trees(&self) -> Result<Vec<Uid>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(NEEDED)?;
            let apps = statement.query_map([], |row| row.get(0).map(Uid))?;
            let mut apps: Vec<Uid> = apps.collect::<Result<_, _>>()?;
            apps.sort();
            Ok(apps)
        })
        .await
    }

    /// What a plan for the files of an app looks at, without the files; `None` when there is no such app, or its directory is gone.
    ///
    /// # Errors
    /// What the database says.
    pub async fn observe_tree(&self, uid: Uid, began_at: Timestamp) -> Result<Option<ObservedTree>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(TREE)?;
            let mut rows = statement.query([uid.0.as_str(), TREE_UNREADABLE])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let name: String = row.get("name")?;
            let spec: AppSpec = json(&row.get::<_, String>("spec")?)?;
            Ok(Some(ObservedTree {
                generation: row.get("generation")?,
                path: spec.path,
                stored: seen_tree(row)?,
                unreadable: row.get("unreadable")?,
                waiting_since: waiting(connection, &name)?,
                watchers: watchers(connection, &name)?,
                began_at,
                reading: Reading::NotNeeded,
                name,
                uid,
            }))
        })
        .await
    }
}

fn waiting(connection: &Connection, app: &str) -> Result<Option<Timestamp>, StoreError> {
    let since: Option<i64> = connection.prepare_cached(WAITING)?.query_row([app], |row| row.get(0))?;
    Ok(since.map(Timestamp))
}

fn watchers(connection: &Connection, app: &str) -> Result<Vec<Watcher>, StoreError> {
    let mut statement = connection.prepare_cached(WATCHERS)?;
    let mut rows = statement.query(params![app])?;
    let mut watchers = Vec::new();
    while let Some(row) = rows.next()? {
        watchers.push(Watcher {
            uid: Uid(row.get("uid")?),
            phase: word(row, "phase")?,
            app_digest: row.get("app_digest")?,
        });
    }
    Ok(watchers)
}
