//! Databases that earlier versions made, kept as SQL in `tests/fixtures/databases/`: they are upgraded, nothing of them is lost, and the
//! program works on them. `make upgrade-test` runs this alone.

use std::fs;

use manifestd::store::{SCHEMA_VERSION, database_path};
use rusqlite::Connection;

use crate::support::daemon::Home;

/// The tables of the first version whose rows every later version keeps, with what tells their rows apart.
const KEPT: [&str; 6] = [
    "SELECT 'object', uid, kind, name, labels, spec, generation, created_at, removed_at, file FROM object ORDER BY uid",
    "SELECT 'task', uid, name, app, analyzer, priority, phase, reason, message, round, attempt, started_at, finished_at, high, low FROM task ORDER BY uid",
    "SELECT 'attempt', task_uid, number, round, outcome, reason, message, tools, opened_at, ended_at, result_dir, result_sha256 FROM attempt ORDER BY 2, 3",
    "SELECT 'app', uid, app_set, missing_since FROM app ORDER BY uid",
    "SELECT 'event', id, uid, kind, name, type, reason, message, first_at, count FROM event ORDER BY id",
    "SELECT 'meta', key, value FROM meta ORDER BY key",
];

fn fixture(version: usize) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/databases");
    fs::read_to_string(format!("{root}/v{version}.sql")).unwrap()
}

/// Puts the database of an old version into a state directory, in place of whatever is there.
pub(crate) fn put(home: &Home, version: usize) {
    let _ = fs::remove_dir_all(home.state());
    fs::create_dir_all(home.state()).unwrap();
    let connection = Connection::open(database_path(&home.state())).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch(&schema(version)).unwrap();
    connection.execute_batch(&fixture(version)).unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
}

/// The released migrations up to a version, which never change.
fn schema(version: usize) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.into_iter().take(version).map(|folder| fs::read_to_string(folder.join("up.sql")).unwrap()).collect()
}

pub(crate) fn version(home: &Home) -> usize {
    let connection = Connection::open(database_path(&home.state())).unwrap();
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// The rows that must be kept, as text.
fn rows(connection: &Connection) -> Vec<String> {
    let mut all = Vec::new();
    for query in KEPT {
        let mut statement = connection.prepare(query).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap()));
            all.push(values.collect::<Vec<_>>().join(" "));
        }
    }
    all
}

/// The upgraded database has every row that the old one had, with its values.
pub(crate) fn assert_nothing_lost(home: &Home, from: usize) {
    let old = tempfile::tempdir().unwrap();
    let old = Connection::open(old.path().join("old.db")).unwrap();
    old.execute_batch(&schema(from)).unwrap();
    old.execute_batch(&fixture(from)).unwrap();
    let new = Connection::open(database_path(&home.state())).unwrap();
    let (old, new) = (rows(&old), rows(&new));
    assert!(old.len() > 12, "the fixture has a few rows of each table: {}", old.len());
    assert_eq!(old, new, "from version {from}");
    assert_eq!(version(home), SCHEMA_VERSION);
}

#[test]
fn every_released_version_has_a_fixture() {
    for version in 1..SCHEMA_VERSION {
        assert!(fixture(version).contains("INSERT INTO"), "{version}");
    }
}

#[test]
fn a_database_of_any_earlier_version_is_upgraded_and_nothing_is_lost() {
    for from in 1..=3 {
        let home = Home::new("");
        put(&home, from);
        let tried = home.run(&["db", "migrate", "--dry-run", "-o", "json"]).json();
        assert_eq!((tried["from"].as_u64(), tried["whole"].as_bool()), (Some(from as u64), Some(true)), "{tried}");
        assert_eq!(version(&home), from, "a dry run changes nothing");
        home.run(&["db", "migrate"]).ok();
        assert_nothing_lost(&home, from);
        home.run(&["db", "check"]).ok();
        let backup = home.state().join(format!("manifestd.v{from}.backup.db"));
        assert_eq!(backup.exists(), from < SCHEMA_VERSION, "as it was before");
        works(&home, from);
    }
}

/// The program lists, explains and goes on with what is in it.
fn works(home: &Home, from: usize) {
    let tasks = home.run(&["get", "tasks"]).ok();
    assert!(tasks.contains("done-task") && tasks.contains("Completed"), "{tasks}");
    let described = home.run(&["describe", "task", "done-task"]).ok();
    assert!(described.contains("Completed"), "{described}");
    let apps = home.run(&["get", "apps"]).ok();
    assert!(apps.contains("here") && apps.contains("gone"), "{apps}");
    let missing: i64 = home
        .database()
        .query_row("SELECT count(*) FROM app WHERE missing_since IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(missing, 1, "one with and one without, from version {from}");
    let said = home.run(&["reconcile", "--once", "-o", "json"]);
    assert!(said.code <= 1, "{}{}", said.out, said.err);
}

#[test]
fn an_older_backup_is_restored_and_upgraded_at_the_next_start() {
    let home = Home::new("");
    put(&home, 2);
    home.run(&["backup", "b.tar"]).ok();
    fs::remove_dir_all(home.state()).unwrap();
    home.run(&["restore", "b.tar"]).ok();
    assert_eq!(version(&home), 2);
    home.run(&["db", "migrate"]).ok();
    let id = |connection: &Connection| -> String {
        connection.query_row("SELECT value FROM meta WHERE key = 'state_id'", [], |row| row.get(0)).unwrap()
    };
    assert_ne!(id(&home.database()), "0123456789abcdef", "a restored state has an id of its own");
}
