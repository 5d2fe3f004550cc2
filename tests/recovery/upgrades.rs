//! Databases that earlier versions made, kept as SQL in `tests/fixtures/databases/`: they are upgraded, nothing of them is lost, and the
//! program works on them. `make upgrade-test` runs this alone.

use std::fs;

use manifestd::store::SCHEMA_VERSION;
use rusqlite::Connection;

use crate::support::daemon::Home;
use crate::support::versions::{assert_nothing_lost, fixture, put, version};

#[test]
fn every_released_version_has_a_fixture() {
    for version in 1..SCHEMA_VERSION {
        assert!(fixture(version).contains("INSERT INTO"), "{version}");
    }
}

#[test]
fn a_database_of_any_earlier_version_is_upgraded_and_nothing_is_lost() {
    for from in 1..SCHEMA_VERSION {
        let home = Home::new("");
        put(&home, from);
        let tried = home.run(&["db", "migrate", "--dry-run", "-o", "json"]).json();
        assert_eq!((tried["from"].as_u64(), tried["whole"].as_bool()), (Some(from as u64), Some(true)), "{tried}");
        assert_eq!(version(&home), from, "a dry run changes nothing");
        home.run(&["db", "migrate"]).ok();
        assert_nothing_lost(&home, from);
        home.run(&["db", "check"]).ok();
        let backup = home.state().join(format!("manifestd.v{from}.backup.db"));
        assert!(backup.exists(), "as it was before");
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
