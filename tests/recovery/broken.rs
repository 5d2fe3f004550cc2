//! States that somebody broke: each has a clear message with what to do, and that helps.

use std::fs;

use crate::scene::{scene, seen};
use crate::support::daemon::Home;

fn without_log(home: &Home) {
    for beside in ["manifestd.db-wal", "manifestd.db-shm"] {
        let _ = fs::remove_file(home.state().join(beside));
    }
}

#[test]
fn a_broken_database_is_named_with_what_to_do_and_rebuilt() {
    type Break = fn(&Home);
    let ways: [(&str, Break, &str); 5] = [
        (
            "truncated",
            |home| {
                let file = fs::OpenOptions::new().write(true).open(home.state().join("manifestd.db")).unwrap();
                file.set_len(5000).unwrap();
            },
            "is damaged",
        ),
        ("garbage", |home| fs::write(home.state().join("manifestd.db"), [7; 9000]).unwrap(), "is damaged"),
        (
            "a directory",
            |home| {
                fs::remove_file(home.state().join("manifestd.db")).unwrap();
                fs::create_dir(home.state().join("manifestd.db")).unwrap();
            },
            "it is a directory",
        ),
        ("empty", |home| fs::write(home.state().join("manifestd.db"), "").unwrap(), "it was lost"),
        ("missing", |home| fs::remove_file(home.state().join("manifestd.db")).unwrap(), "it was lost"),
    ];
    let home = scene();
    let before = seen(&home);
    for (way, break_it, words) in ways {
        without_log(&home);
        break_it(&home);
        let said = home.run(&["reconcile", "--once"]);
        assert_eq!(said.code, 2, "{way}: {}{}", said.out, said.err);
        assert!(said.err.contains(words) && said.err.contains("db rebuild"), "{way}: {}", said.err);
        let dry = home.run(&["db", "rebuild", "--dry-run", "-o", "json"]).json();
        assert_eq!(dry["finished"]["Completed"], 6, "{way}: {dry}");
        home.run(&["db", "rebuild"]).ok();
        assert_eq!(seen(&home), before, "{way}");
        let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
        assert_eq!(report["attempts"], 0, "{way}: nothing runs again: {report}");
    }
}

#[test]
fn a_result_that_was_changed_is_not_believed_and_only_its_task_runs_again() {
    let home = scene();
    without_log(&home);
    fs::write(home.state().join("manifestd.db"), [7; 9000]).unwrap();
    fs::write(home.state().join("results/app1/t3/1/log.txt"), "something else").unwrap();
    let said = home.run(&["db", "rebuild", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["damagedCount"], &report["finished"]["Completed"]), (1, &1.into(), &5.into()));
    let aside = report["aside"].as_str().unwrap();
    let kept = home.path(aside).join("results/app1/t3/1/log.txt");
    assert_eq!(fs::read_to_string(kept).unwrap(), "something else");
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!(report["attempts"], 1, "{report}");
}

#[test]
fn a_backup_that_was_changed_or_cut_is_refused_and_nothing_is_touched() {
    let home = scene();
    home.run(&["backup", "good.tar", "--results"]).ok();
    let (before, good) = (seen(&home), fs::read(home.path("good.tar")).unwrap());
    let at = good.windows(4).position(|bytes| bytes == b"done").unwrap();
    let mut changed = good.clone();
    changed[at] = b'D';
    let evil = String::from_utf8_lossy(&good[..100]).contains("manifestd.db");
    assert!(evil, "the first member is the database");
    let ways: [(&str, Vec<u8>, &str); 4] = [
        ("changed", changed, "is not what was backed up"),
        ("cut", good[..good.len() / 2].to_vec(), "not whole"),
        ("without its end", good[..good.len() - 2048].to_vec(), "not whole"),
        ("no backup", b"hello".repeat(500), "no backup"),
    ];
    for (way, bytes, words) in ways {
        fs::write(home.path("bad.tar"), bytes).unwrap();
        for arguments in [&["restore", "bad.tar", "--dry-run"][..], &["restore", "bad.tar", "--force"]] {
            let said = home.run(arguments);
            assert_eq!(said.code, 1, "{way}: {}{}", said.out, said.err);
            assert!(said.err.contains(words) && said.err.contains("nothing was changed"), "{way}: {}", said.err);
        }
        assert_eq!(seen(&home), before, "{way}");
        assert!(!home.state().join("next").exists());
    }
}

#[test]
fn a_member_that_leads_out_of_the_state_or_is_a_link_is_refused() {
    let home = scene();
    home.run(&["backup", "good.tar"]).ok();
    for (name, kind) in [
        ("../../evil", tar::EntryType::Regular),
        ("results/x", tar::EntryType::Symlink),
        ("lock", tar::EntryType::Regular),
    ] {
        let database = fs::read(home.state().join("manifestd.db")).unwrap();
        let mut builder = tar::Builder::new(fs::File::create(home.path("evil.tar")).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(database.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, "manifestd.db", database.as_slice()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        builder.finish().unwrap();
        let said = home.run(&["restore", "evil.tar", "--force"]);
        assert_eq!(said.code, 1, "{name}: {}{}", said.out, said.err);
        assert!(!home.path("evil").exists() && !home.state().join("results/x").exists());
        home.run(&["db", "check"]).ok();
    }
}

#[test]
fn a_backup_is_private_whole_beside_a_running_controller_and_never_overwrites() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = scene();
    let daemon = home.serve();
    home.run(&["backup", "b.tar", "--results"]).ok();
    assert_eq!(fs::metadata(home.path("b.tar")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = home.run(&["backup", "b.tar"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("--force"), "{}", again.err);
    let refused = home.run(&["restore", "b.tar", "--force"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("in use by another manifestd"), "{}", refused.err);
    daemon.stop();
    let before = seen(&home);
    let refused = home.run(&["restore", "b.tar"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    home.run(&["restore", "b.tar", "--force"]).ok();
    assert_eq!(seen(&home), before);
}

#[test]
fn after_a_restore_without_results_numbers_are_given_again_and_nothing_is_in_their_way() {
    let home = scene();
    home.run(&["backup", "b.tar"]).ok();
    home.run(&["retry", "t1"]).ok();
    home.run(&["reconcile", "--once"]).ok();
    assert!(home.state().join("results/app1/t1/2").exists());
    let report = home.run(&["restore", "b.tar", "--force", "-o", "json"]).json();
    assert_eq!(report["strays"], 1, "{report}");
    assert!(home.path(report["aside"].as_str().unwrap()).join("results/app1/t1/2/manifest.json").exists());
    home.run(&["retry", "t1"]).ok();
    home.run(&["reconcile", "--once"]).ok();
    assert!(seen(&home)["t1"].starts_with("Completed") && seen(&home)["t1"].contains("app1/t1/2"), "{:?}", seen(&home));
}

#[test]
fn results_of_an_older_program_count_if_they_fit_and_it_is_said() {
    let home = scene();
    for task in ["t1", "t2"] {
        let path = home.state().join(format!("results/app1/{task}/1/manifest.json"));
        let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for new in ["round", "generation", "specDigest", "appDigest", "asked", "replica", "endedAt", "outputs"] {
            manifest.as_object_mut().unwrap().remove(new).unwrap();
        }
        if task == "t2" {
            manifest["analyzer"] = "another".into();
        }
        fs::write(&path, manifest.to_string()).unwrap();
    }
    let report = home.run(&["db", "rebuild", "--force", "-o", "json"]).json();
    let told = [&report["assumed"], &report["changed"], &report["finished"]["Completed"]];
    assert_eq!(told, [1, 1, 5], "{report}");
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!(report["attempts"], 1, "{report}");
}

#[test]
fn a_rebuild_needs_a_reason_and_suspends_pipelines_since_they_would_run_again() {
    let home = scene();
    let refused = home.run(&["db", "rebuild"]);
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("is whole") && refused.err.contains("--force"), "{}", refused.err);
    let line = "{steps: [{name: a, analyzer: quick, app: app1}]}";
    home.drop_in("line.yaml", &crate::support::daemon::document("Pipeline", "line", line));
    home.run(&["reconcile", "--once"]).ok();
    let report = home.run(&["db", "rebuild", "--force", "-o", "json"]).json();
    assert_eq!((&report["suspended"], &report["problems"]), (&serde_json::json!(["line"]), &0.into()), "{report}");
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!(report["attempts"], 0, "{report}");
    home.run(&["resume", "pipeline/line"]).ok();
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!(report["attempts"], 1, "its run is made again once a person says so: {report}");
    let runs = home.run(&["get", "runs"]).ok();
    assert!(runs.contains("Completed"), "{runs}");
}

/// Unmounts when the test ends.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_or_read_only_disk_leaves_everything_as_it_was() {
    let home = scene();
    home.run(&["backup", "b.tar", "--results"]).ok();
    let small = home.path("small");
    fs::create_dir(&small).unwrap();
    let mount = |options: &str| {
        let mut command = std::process::Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&small)
            .output()
            .is_ok_and(|said| said.status.success())
    };
    if !mount("size=2m,mode=700") {
        println!("not tested: only root may mount");
        return;
    }
    let _mounted = Mounted(small.clone());
    home.run(&["--state", "small", "restore", "b.tar"]).ok();
    let before = fs::read(small.join("manifestd.db")).unwrap();
    // Until nothing fits any more.
    let _ = fs::write(small.join("fill"), vec![0; 4 << 20]);
    for command in [&["restore", "b.tar", "--force"][..], &["db", "rebuild", "--force"], &["backup", "small/c.tar"]] {
        let said = home.run(&[&["--state", "small"], command].concat());
        assert_eq!(said.code, 2, "{command:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("no room left on its disk") || said.err.contains("No space left"), "{}", said.err);
        assert!(fs::read(small.join("manifestd.db")).unwrap() == before, "{command:?} touched the database");
        assert!(!small.join("next").exists() && !small.join("c.tar.part").exists(), "{command:?} left something");
    }
    fs::remove_file(small.join("fill")).unwrap();
    assert!(mount("remount,ro"));
    for command in [&["restore", "b.tar", "--force"][..], &["db", "rebuild", "--force"], &["reconcile", "--once"]] {
        let said = home.run(&[&["--state", "small"], command].concat());
        assert_eq!(said.code, 2, "{command:?}: {}{}", said.out, said.err);
        assert!(said.err.contains("make it writable, or give another with --state"), "{}", said.err);
    }
    let tasks = home.run(&["--state", "small", "get", "tasks"]).ok();
    assert!(tasks.contains("Completed"), "it can be read all the same: {tasks}");
    assert!(mount("remount,rw"));
    home.run(&["--state", "small", "db", "check"]).ok();
}
