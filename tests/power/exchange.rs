//! Commands that put one state in place of another: after a power cut it is the old one or the new one, and the new one once that was said.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use manifestd::runtime::restore::verify;
use manifestd::store::{SCHEMA_VERSION, database_path};
use rusqlite::Connection;

use crate::found::{Attempts, attempts, opened};
use crate::recording::{Cut, Recording, stage};
use crate::replay::Sort;
use crate::support::daemon::{Home, document, task};
use crate::support::versions;

const TASKS: u32 = 4;

/// A workspace with finished tasks.
fn scene() -> Option<Home> {
    let home = stage("")?;
    let tasks: String = (1..=TASKS).map(|n| task(&format!("t{n}"), "app1", "echo", "")).collect();
    let echo = document("Analyzer", "echo", "{command: {argv: [echo, done], tool: echo}, capacity: 4}");
    home.drop_in("all.yaml", &format!("{}{echo}{tasks}", home.app(1)));
    home.run(&["reconcile", "--once"]).ok();
    Some(home)
}

/// What people see of the tasks, and every attempt with its result.
type Seen = (Vec<String>, Attempts);

fn seen(connection: &Connection) -> Seen {
    let query = "SELECT name || ' ' || phase || ' ' || reason || ' ' || round FROM task ORDER BY name";
    let mut statement = connection.prepare(query).unwrap();
    let tasks = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    (tasks, attempts(connection))
}

/// Two more attempts than there were in the backup.
fn goes_on(home: &Home) -> Seen {
    home.run(&["retry", "t1", "t2"]).ok();
    home.run(&["reconcile", "--once"]).ok();
    seen(&home.database())
}

/// The state is the old one or the new one. Gives whether it is the new one; what was there is then kept beside it.
fn is_new(cut: &Cut<'_>, old: &Seen, new: &Seen) -> bool {
    let state = cut.home.state();
    let found = seen(&opened(&state).expect("a database"));
    assert!(found == *old || found == *new, "{found:?}");
    assert!(found == *new || !cut.was_told("done"), "it was said to be done, and is not");
    assert!(!state.join("exchange.json").exists(), "something was left half done");
    if found == *new {
        let kept = aside(&state).into_iter().next().expect("what was there before");
        let kept = seen(&Connection::open(database_path(&kept)).unwrap());
        assert_eq!(kept, *old, "what was there before is not what is kept");
    }
    found == *new
}

fn aside(state: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(state).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("before-"))).collect()
}

#[test]
fn a_restore_with_results_leaves_the_old_state_or_the_new_one() {
    let Some(home) = scene() else { return };
    let new = seen(&home.database());
    home.run(&["backup", "b.tar", "--results"]).ok();
    let old = goes_on(&home);
    let recording = Recording::of(home, "manifestd restore b.tar --force\necho done\n");
    let check = |cut: &Cut<'_>| _ = is_new(cut, &old, &new);
    recording.cut("restore", &[".manifestd"], check);
    recording.needs("restore", &[".manifestd"], &[], check);
}

#[test]
fn a_restore_without_results_leaves_no_result_whose_number_will_be_given_again() {
    let Some(home) = scene() else { return };
    let new = seen(&home.database());
    home.run(&["backup", "b.tar"]).ok();
    let old = goes_on(&home);
    let recording = Recording::of(home, "manifestd restore b.tar --force\necho done\n");
    let check = |cut: &Cut<'_>| {
        if is_new(cut, &old, &new) {
            let again = cut.home.state().join("results/app1/t1/2");
            assert!(!again.exists(), "attempt 2 of t1 is not known, and its result lies there");
        }
    };
    recording.cut("strays", &[".manifestd"], check);
    recording.needs("strays", &[".manifestd"], &[], check);
}

#[test]
fn a_rebuild_leaves_the_lost_database_or_a_new_one() {
    let Some(home) = scene() else { return };
    let (before, database) = (seen(&home.database()), database_path(&home.state()));
    for beside in ["manifestd.db-wal", "manifestd.db-shm"] {
        let _ = fs::remove_file(home.state().join(beside));
    }
    let lost = b"this is no database";
    fs::write(&database, lost).unwrap();
    let recording = Recording::of(home, "manifestd db rebuild\necho done\n");
    let rebuilt: Vec<String> = before.0;
    let check = |cut: &Cut<'_>| {
        // Whoever comes next finishes what was begun, if it was.
        let _ = cut.home.run(&["db", "check"]);
        if fs::read(&database).unwrap() == lost {
            assert!(!cut.was_told("done"), "it was said to be done, and is not");
            return;
        }
        let found = seen(&opened(&cut.home.state()).unwrap());
        assert_eq!(found.0, rebuilt);
        assert_eq!(found.1.keys().map(|(_, number)| *number).collect::<Vec<_>>(), [1; TASKS as usize]);
        assert!(aside(&cut.home.state()).iter().any(|kept| fs::read(database_path(kept)).unwrap() == lost));
    };
    recording.cut("rebuild", &[".manifestd"], check);
    recording.needs("rebuild", &[".manifestd"], &[], check);
}

#[test]
fn an_upgrade_leaves_the_old_version_or_the_new_one_and_loses_nothing() {
    let Some(home) = stage("") else { return };
    versions::put(&home, 1);
    let recording = Recording::of(home, "manifestd db migrate\necho done\n");
    let check = |cut: &Cut<'_>| {
        let version = versions::version(cut.home);
        assert!(version == SCHEMA_VERSION || version == 1 && !cut.was_told("done"), "version {version}");
        let copy = cut.home.state().join("manifestd.v1.backup.db");
        if version == SCHEMA_VERSION || copy.exists() {
            let copy = Connection::open(copy).unwrap();
            let whole: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            let from: usize = copy.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
            assert_eq!((whole.as_str(), from), ("ok", 1), "the copy from before the upgrade");
        }
        if version == 1 {
            cut.home.run(&["db", "migrate"]).ok();
        }
        versions::assert_nothing_lost(cut.home, 1);
    };
    recording.cut("upgrade", &[".manifestd"], check);
    // The state's own name was there before, and durable, so a sync of it changes nothing here; the scene of a first start needs it.
    recording.needs("upgrade", &[".manifestd"], &[Sort::TopNames], check);
}

#[test]
fn a_backup_has_its_name_only_once_it_is_whole_and_replaces_an_older_one_at_once() {
    let Some(home) = scene() else { return };
    home.run(&["backup", "b.tar", "--results"]).ok();
    goes_on(&home);
    let script =
        "manifestd backup b.tar --results --force\necho replaced\nmanifestd backup new.tar --results\necho done\n";
    let recording = Recording::of(home, script);
    let databases: BTreeMap<&str, &str> = BTreeMap::from([("b.tar", "replaced"), ("new.tar", "done")]);
    let whole = |cut: &Cut<'_>, name: &str| {
        let file = cut.home.path(name);
        let report =
            file.exists().then(|| verify(&file, &mut |_, _| {}).unwrap_or_else(|error| panic!("{name}: {error}")));
        report.map(|report| report.about.result_directories)
    };
    let ours = [".manifestd", "b.tar", "b.tar.part", "b.tar.part.db", "new.tar", "new.tar.part", "new.tar.part.db"];
    let check = |cut: &Cut<'_>| {
        opened(&cut.home.state()).unwrap();
        let found: Vec<Option<u64>> = databases.keys().map(|name| whole(cut, name)).collect();
        let (before, after) = (Some(u64::from(TASKS)), Some(u64::from(TASKS) + 2));
        assert!(found[0] == after || found[0] == before && !cut.was_told("replaced"), "{found:?}");
        assert!(found[1] == after || found[1].is_none() && !cut.was_told("done"), "{found:?}");
    };
    recording.cut("backup", &ours, check);
    recording.needs("backup", &ours, &[], check);
}
