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
