//! States that somebody broke by hand: doctor names each with what to do, mends what can safely be mended, and then finds nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use manifestd::store::{StateLock, database_path};
use rusqlite::Connection;
use serde_json::Value;

use crate::scene::{TASKS, scene, seen};
use crate::support::daemon::{Home, document, quick, task};

/// What doctor says, as `check object` for each finding, and its exit code.
pub(crate) fn found(home: &Home, arguments: &[&str]) -> (i32, Vec<String>, Value) {
    let said = home.run(&[&["doctor", "-o", "json"], arguments].concat());
    let report: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}{}", said.out, said.err));
    let line =
        |finding: &Value| format!("{} {}", finding["check"].as_str().unwrap(), finding["object"].as_str().unwrap());
    (said.code, report["findings"].as_array().unwrap().iter().map(line).collect(), report)
}

/// Nothing is found.
pub(crate) fn assert_well(home: &Home) {
    let (code, findings, report) = found(home, &[]);
    assert_eq!((code, findings), (0, Vec::<String>::new()), "{report}");
}

/// Mends everything, and nothing is left.
fn mend(home: &Home) -> Vec<String> {
    let (code, left, report) = found(home, &["--fix", "--yes"]);
    assert_eq!((code, left), (0, Vec::<String>::new()), "{report}");
    let lines = report["mended"].as_array().unwrap();
    lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

/// Changes the database by hand, past all that keeps it whole.
fn edit(home: &Home, statements: &str) {
    let connection = Connection::open(database_path(&home.state())).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
    let mut query = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let triggers: Vec<(String, String)> = triggers.collect::<Result<_, _>>().unwrap();
    drop(query);
    triggers.iter().for_each(|(name, _)| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    connection.execute_batch(statements).unwrap();
    triggers.iter().for_each(|(_, sql)| connection.execute_batch(sql).unwrap());
}

#[test]
fn a_state_that_nobody_broke_is_well_with_and_without_a_controller() {
    let home = Home::new("");
    assert_well(&home);
    assert!(!home.state().exists(), "looking makes nothing");
    let home = scene();
    assert_well(&home);
    let daemon = home.serve();
    assert_well(&home);
    daemon.stop();
    let text = home.run(&["doctor"]).ok();
    assert!(text.contains("all is well") && text.contains("results: 6; they were read"), "{text}");
}

#[test]
fn manifests_that_are_refused_and_sources_that_are_not_believed_are_not_well() {
    let home = Home::new("");
    home.app(1);
    let set = document("AppSet", "found", "{root: generated/apps, pattern: \"{model}/app{number}\"}");
    home.drop_in("set.yaml", &set);
    home.run(&["reconcile", "--once"]).ok();
    assert_well(&home);
    home.drop_in("broken.yaml", "kind: [");
    fs::rename(home.path("generated"), home.path("elsewhere")).unwrap();
    home.run(&["reconcile", "--once"]);
    let (code, findings, report) = found(&home, &[]);
    let wanted = ["sources manifests", "sources appset/found"].map(str::to_owned).to_vec();
    assert_eq!((code, findings), (1, wanted), "{report}");
    let text = home.run(&["doctor"]).out;
    assert!(text.contains("broken.yaml:1:") && text.contains("SourceSuspect (ScanIncomplete)"), "{text}");
    fs::remove_file(home.path("manifests/broken.yaml")).unwrap();
    fs::rename(home.path("elsewhere"), home.path("generated")).unwrap();
    home.run(&["reconcile", "--once"]).ok();
    assert_well(&home);
}

#[test]
fn results_that_are_gone_or_changed_are_told_recorded_as_lost_and_made_anew_by_a_retry() {
    let home = scene();
    let results = home.state().join("results/app1");
    fs::remove_dir_all(results.join("t1")).unwrap();
    fs::write(results.join("t2/1/log.txt"), "something else").unwrap();
    fs::remove_file(results.join("t3/1/manifest.json")).unwrap();
    let (code, findings, report) = found(&home, &[]);
    assert_eq!(
        (code, findings),
        (1, ["t1", "t2", "t3"].map(|name| format!("results task/{name}")).to_vec()),
        "{report}"
    );
    assert_eq!(found(&home, &["--quick"]).1.len(), 2, "a quick look does not read them");
    let text = home.run(&["doctor"]);
    for words in
        ["the directory is not there", "its digest is another one", "manifestd retry t1", "doctor --fix would do this"]
    {
        assert!(text.out.contains(words), "{words}: {}", text.out);
    }
    let refused = home.run(&["doctor", "--fix"]);
    assert!(refused.code == 1 && refused.err.contains("--yes"), "nobody is there to be asked: {}", refused.err);
    assert_eq!(mend(&home).len(), 3);
    let events = home.events(manifestd::resource::kind::Kind::Task, "t1");
    assert!(events.iter().any(|event| event.starts_with("ResultLost")), "{events:?}");
    assert_eq!(home.task("t1").status.phase.as_str(), "Completed", "what is over stays over");
    // What is left of them goes the way of everything that belongs to nobody.
    let orphans = home.run(&["orphans", "list", "-o", "name"]).ok();
    assert!(orphans.contains("results/app1/t2/1") && orphans.contains("results/app1/t3/1"), "{orphans}");
    home.run(&["retry", "t1", "t2", "t3"]).ok();
    home.run(&["reconcile", "--once"]).ok();
    assert_well(&home);
    assert!(home.run(&["results", "t1"]).ok().contains("quick"));
}

#[test]
fn beside_a_controller_doctor_mends_through_it() {
    let home = scene();
    let daemon = home.serve();
    fs::remove_dir_all(home.state().join("results/app1/t1")).unwrap();
    assert_eq!(mend(&home).len(), 1);
    daemon.stop();
    assert_well(&home);
}

#[test]
fn directories_that_belong_to_nobody_are_listed_and_what_dead_attempts_left_is_removed() {
    let home = scene();
    let lost = home.state().join("results/app1/unknown/1");
    fs::create_dir_all(&lost).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(&lost).unwrap().set_modified(long_ago).unwrap();
    fs::create_dir_all(home.state().join("staging/gone-1")).unwrap();
    let (code, findings, _) = found(&home, &[]);
    assert_eq!((code, findings), (1, vec!["strays results/app1/unknown/1".to_owned(), "strays staging".to_owned()]));
    assert_eq!(mend(&home).len(), 2);
    assert!(lost.is_dir() && !home.state().join("staging/gone-1").exists(), "listed, and not deleted");
}

#[test]
fn rows_that_were_changed_by_hand_are_told_and_an_attempt_of_an_ended_task_ends() {
    let home = scene();
    edit(
        &home,
        "UPDATE attempt SET outcome = NULL, ended_at = NULL WHERE task_uid = (SELECT uid FROM task WHERE name = 't1')",
    );
    assert_eq!(found(&home, &[]).1, ["rows task/t1"]);
    assert_eq!(mend(&home), ["task/t1: end attempt 1 as Interrupted"]);

    edit(&home, "UPDATE task SET phase = 'Running', finished_at = NULL, attempt = 7 WHERE name = 't2'");
    let (code, findings, report) = found(&home, &["--fix", "--yes"]);
    assert_eq!((code, findings), (1, vec!["rows task/t2".to_owned()]), "{report}");
    assert!(report["findings"][0]["advice"].as_str().unwrap().contains("restore"), "{report}");

    edit(&home, "DELETE FROM object WHERE name = 't3'");
    let (code, _, report) = found(&home, &[]);
    assert!(
        code == 1 && report.to_string().contains("a row of task refers to one of object that is not there"),
        "{report}"
    );
    home.run(&["db", "rebuild"]).ok();
    assert_well(&home);
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!(report["attempts"], 0, "the results prove what was done: {report}");
}

#[test]
fn a_database_that_is_gone_cut_or_garbage_is_told_with_what_to_do_and_rebuilt() {
    let home = scene();
    let (before, database) = (seen(&home), database_path(&home.state()));
    let ways: [(&str, &dyn Fn(), &str); 3] = [
        ("gone", &|| fs::remove_file(&database).unwrap(), "schema manifestd.db"),
        (
            "cut",
            &|| fs::OpenOptions::new().write(true).open(&database).unwrap().set_len(5000).unwrap(),
            "database manifestd.db",
        ),
        ("garbage", &|| fs::write(&database, [7; 9000]).unwrap(), "database manifestd.db"),
    ];
    for (way, break_it, wanted) in ways {
        for beside in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(database.with_extension(beside));
        }
        break_it();
        let (code, findings, report) = found(&home, &["--fix", "--yes"]);
        assert_eq!((code, findings.first().map(String::as_str)), (1, Some(wanted)), "{way}: {report}");
        assert!(report.to_string().contains("db rebuild"), "{way}: {report}");
        home.run(&["db", "rebuild"]).ok();
        assert_well(&home);
        assert_eq!(seen(&home), before, "{way}");
    }
}

#[test]
fn settings_an_open_directory_a_silent_owner_and_an_old_schema_are_told() {
    let home = scene();
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(found(&home, &[]).1[0].starts_with("access "));
    mend(&home);
    assert_eq!(fs::metadata(home.state()).unwrap().permissions().mode() & 0o777, 0o700);

    let lock = StateLock::acquire(&home.state()).unwrap();
    let (code, findings, _) = found(&home, &[]);
    assert_eq!((code, findings), (1, vec![format!("lock process {}", std::process::id())]));
    drop(lock);

    let settings = fs::read_to_string(home.path("manifestd.yaml")).unwrap();
    fs::write(home.path("manifestd.yaml"), format!("{settings}stuckAfter: 1s\n")).unwrap();
    let (code, findings, report) = found(&home, &[]);
    assert_eq!((code, findings), (1, vec!["settings settings".to_owned()]));
    assert!(report.to_string().contains("stuckAfter"), "{report}");
    fs::write(home.path("manifestd.yaml"), settings).unwrap();

    crate::support::versions::put(&home, 2);
    let (code, findings, report) = found(&home, &[]);
    assert!(code == 1 && findings.contains(&"schema manifestd.db".to_owned()), "{report}");
    assert!(report.to_string().contains("db migrate"), "{report}");
}

/// A small disk in the place of the state directory; `None` where that needs a right which nobody gave.
fn small_disk(home: &Home) -> Option<Mounted> {
    fs::create_dir_all(home.state()).unwrap();
    let mount = Mounted(home.state());
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs"]).arg(&mount.0).output();
    if done.is_ok_and(|output| output.status.success()) {
        return Some(mount);
    }
    std::mem::forget(mount);
    None
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn fill(place: &Path) {
    let mut file = fs::File::create(place).unwrap();
    let block = [0; 4096];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
}

#[test]
fn a_full_disk_and_a_read_only_one_are_told_lose_nothing_and_pass() {
    let home = Home::new("");
    let Some(disk) = small_disk(&home) else {
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let tasks: String = (1..=TASKS).map(|n| task(&format!("t{n}"), "app1", "quick", "")).collect();
    let echo = quick().replace("[\"true\"]", "[echo, done]");
    home.drop_in("all.yaml", &format!("{}{echo}{tasks}", home.app(1)));
    home.run(&["reconcile", "--once"]).ok();
    let before = seen(&home);

    fill(&home.state().join("ballast"));
    home.drop_in("more.yaml", &document("App", "more", "{path: generated/apps/acme/app1}"));
    let said = home.run(&["reconcile", "--once"]);
    assert!(said.code != 0 && said.err.contains("no room"), "{} {}{}", said.code, said.out, said.err);
    fs::remove_file(home.state().join("ballast")).unwrap();
    assert_well(&home);
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!(seen(&home), before);

    disk.remount("ro");
    let said = home.run(&["reconcile", "--once"]);
    assert!(said.code == 2 && said.err.contains("read-only"), "{} {}{}", said.code, said.out, said.err);
    let tasks = home.run(&["get", "tasks"]).ok();
    assert!(tasks.contains("t6"), "reading goes on: {tasks}");
    assert_well(&home);
    disk.remount("rw");
    home.run(&["reconcile", "--once"]).ok();
    assert_well(&home);
    assert_eq!(seen(&home), before);
}
