//! Databases that earlier versions made, kept as SQL in `tests/fixtures/databases/`.

use std::fs;

use manifestd::store::{SCHEMA_VERSION, database_path};
use rusqlite::Connection;

use super::daemon::Home;

/// The tables of the first version whose rows every later version keeps, with what tells their rows apart.
const KEPT: [&str; 6] = [
    "SELECT 'object', uid, kind, name, labels, spec, generation, created_at, removed_at, file FROM object ORDER BY uid",
    "SELECT 'task', uid, name, app, analyzer, priority, phase, reason, message, round, attempt, started_at, finished_at, high, low FROM task ORDER BY uid",
    "SELECT 'attempt', task_uid, number, round, outcome, reason, message, tools, opened_at, ended_at, result_dir, result_sha256 FROM attempt ORDER BY 2, 3",
    "SELECT 'app', uid, app_set, missing_since FROM app ORDER BY uid",
    "SELECT 'event', id, uid, kind, name, type, reason, message, first_at, count FROM event ORDER BY id",
    "SELECT 'meta', key, value FROM meta ORDER BY key",
];

pub(crate) fn fixture(version: usize) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/databases");
    fs::read_to_string(format!("{root}/v{version}.sql")).expect("a database of an old version")
}

/// Puts the database of an old version into a state directory, in place of whatever is there.
pub(crate) fn put(home: &Home, version: usize) {
    let _ = fs::remove_dir_all(home.state());
    fs::create_dir_all(home.state()).expect("a database of an old version");
    let connection = Connection::open(database_path(&home.state())).expect("a database of an old version");
    connection.pragma_update(None, "journal_mode", "WAL").expect("a database of an old version");
    connection.execute_batch(&schema(version)).expect("a database of an old version");
    connection.execute_batch(&fixture(version)).expect("a database of an old version");
    connection.pragma_update(None, "user_version", version).expect("a database of an old version");
}

/// The released migrations up to a version, which never change.
fn schema(version: usize) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let mut folders: Vec<_> =
        fs::read_dir(root).expect("a database of an old version").flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
        .into_iter()
        .take(version)
        .map(|folder| fs::read_to_string(folder.join("up.sql")).expect("a database of an old version"))
        .collect()
}

pub(crate) fn version(home: &Home) -> usize {
    let connection = Connection::open(database_path(&home.state())).expect("a database of an old version");
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a database of an old version")
}

/// The rows that must be kept, as text.
fn rows(connection: &Connection) -> Vec<String> {
    let mut all = Vec::new();
    for query in KEPT {
        let mut statement = connection.prepare(query).expect("a database of an old version");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("a database of an old version");
        while let Some(row) = rows.next().expect("a database of an old version") {
            let values = (0..columns).map(|at| format!("{:?}", row.get_ref(at).expect("a database of an old version")));
            all.push(values.collect::<Vec<_>>().join(" "));
        }
    }
    all
}

/// The upgraded database has every row that the old one had, with its values.
pub(crate) fn assert_nothing_lost(home: &Home, from: usize) {
    let old = Connection::open_in_memory().expect("a database of an old version");
    old.execute_batch(&schema(from)).expect("a database of an old version");
    old.execute_batch(&fixture(from)).expect("a database of an old version");
    let new = Connection::open(database_path(&home.state())).expect("a database of an old version");
    let (old, new) = (rows(&old), rows(&new));
    assert!(old.len() > 12, "the fixture has a few rows of each table: {}", old.len());
    assert_eq!(old, new, "from version {from}");
    assert_eq!(version(home), SCHEMA_VERSION);
}
