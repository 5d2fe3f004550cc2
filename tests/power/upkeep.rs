//! Maintenance, which deletes; and commands that write manifests.

use std::collections::BTreeSet;
use std::fs;

use rusqlite::Connection;

use crate::found::opened;
use crate::old::{ago, edit, ended, finished_in, results, stray};
use crate::recording::{Cut, Recording, stage};
use crate::support::daemon::{Home, quick, task};

/// Every row of a query, as text.
fn rows(connection: &Connection, query: &str) -> BTreeSet<String> {
    let mut statement = connection.prepare(query).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_deleted_for_good_is_gone_from_the_rows_first_and_from_the_disk_before_it_is_said() {
    let Some(home) = stage("") else { return };
    let home = finished_in(home, 4);
    let old = "name IN ('t1', 't2') OR run IS NOT NULL";
    ended(&home, old, 60);
    let (long_ago, lately) = (ago(60), ago(20));
    edit(
        &home,
        &format!(
            "UPDATE run SET finished_at = {long_ago}, aside_at = {lately}; UPDATE task SET aside_at = {lately} WHERE {old}"
        ),
    );
    ended(&home, "name IN ('t3', 't4')", 40);
    stray(&home, "acme-app1/found/1", 10);
    edit(&home, &format!("INSERT INTO stray (path, seen_at) VALUES ('acme-app1/found/1', {})", ago(9)));
    let recording = Recording::of(home, "manifestd reconcile --once\necho done\n");
    let aside = "SELECT name FROM task WHERE aside_at IS NOT NULL AND purged_at IS NULL";
    let wanted = results(&recording.home);
    assert!(wanted.iter().all(|path| !path.contains("/t1/") && !path.contains("/found/")), "{wanted:?}");
    let check = |cut: &Cut<'_>| {
        let found = opened(&cut.home.state()).unwrap();
        let there: BTreeSet<String> = results(cut.home).into_iter().collect();
        assert!(wanted.iter().all(|path| there.contains(path)), "of {wanted:?} there is only {there:?}");
        if cut.was_told("done") {
            assert_eq!(rows(&found, aside), ["t3".to_owned(), "t4".to_owned()].into());
            assert_eq!(
                there.into_iter().collect::<Vec<_>>(),
                wanted,
                "what was deleted for good is back, and nobody knows it"
            );
        }
    };
    recording.cut("maintenance", &[".manifestd"], check);
    recording.needs("maintenance", &[".manifestd"], &[], check);
}

#[test]
fn a_manifest_that_was_written_is_whole_and_stays() {
    let Some(home) = stage("") else { return };
    home.drop_in("base.yaml", &format!("{}{}{}", home.app(1), quick(), task("old", "app1", "quick", "")));
    fs::write(home.path("new.yaml"), task("new", "app1", "quick", "priority: 1,")).unwrap();
    fs::write(home.path("changed.yaml"), task("old", "app1", "quick", "priority: 7,")).unwrap();
    let read = |home: &Home, name: &str| fs::read_to_string(home.path("manifests").join(name)).ok();
    let before = read(&home, "base.yaml");
    let script = "manifestd apply -f new.yaml\nmanifestd apply -f changed.yaml\nmanifestd delete task/new\n";
    let recording = Recording::of(home, script);
    let after = read(&recording.home, "base.yaml");
    assert_ne!(before, after);
    let check = |cut: &Cut<'_>| {
        let (base, new) = (read(cut.home, "base.yaml"), read(cut.home, "task-new.yaml"));
        let (created, configured) = (cut.was_told("task/new created"), cut.was_told("task/old configured"));
        assert!(base == after || base == before && !configured, "{base:?}");
        let is_whole = new.as_ref().is_some_and(|text| text.contains("name: new") && text.ends_with("}\n"));
        assert!(is_whole || new.is_none() && (!created || configured), "{new:?}");
        assert!(new.is_none() || !cut.was_told("task/new deleted"), "it is there again");
    };
    recording.cut("manifests", &["manifests"], check);
    recording.needs("manifests", &["manifests"], &[], check);
}

#[test]
fn a_manifests_directory_that_was_made_for_a_manifest_stays_with_it() {
    let Some(home) = stage("") else { return };
    fs::remove_dir(home.path("manifests")).unwrap();
    fs::write(home.path("new.yaml"), quick()).unwrap();
    let recording = Recording::of(home, "manifestd apply -f new.yaml\n");
    let read = |home: &Home| fs::read_to_string(home.path("manifests/analyzer-quick.yaml")).ok();
    let written = read(&recording.home);
    assert!(written.is_some());
    let check = |cut: &Cut<'_>| {
        let found = read(cut.home);
        assert!(found == written || found.is_none() && !cut.was_told("analyzer/quick created"), "{found:?}");
    };
    recording.cut("directory", &["manifests"], check);
    recording.needs("directory", &["manifests"], &[], check);
}
