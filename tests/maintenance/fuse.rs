//! The disk that the apps lie on is unmounted: nothing is marked, nothing is deleted, and everything goes on when it is back.

use std::path::Path;
use std::process::Command;

use crate::old::{edit, one};
use crate::support::daemon::{Home, document};

fn mount(place: &Path) -> bool {
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(place).output();
    done.is_ok_and(|output| output.status.success())
}

fn unmount(place: &Path) {
    let done = Command::new("umount").arg(place).status().unwrap();
    assert!(done.success());
}

/// What is left where the disk was mounted: not even the root of the AppSet, or an empty one on another device.
#[test]
fn apps_on_a_disk_that_is_unmounted_are_not_missing() {
    for (root, reason) in [("generated/apps", "ScanIncomplete"), ("generated", "OtherDevice")] {
        let home = Home::new("");
        let mounted = home.path("generated");
        std::fs::create_dir_all(&mounted).unwrap();
        if !mount(&mounted) {
            eprintln!("skipped: mounting a tmpfs needs root");
            return;
        }
        let fill =
            || (1..=3).for_each(|app| std::fs::create_dir_all(home.path(&format!("{root}/acme/app{app}"))).unwrap());
        fill();
        // Whatever share is gone: that fuse is another one.
        let spec = format!("{{root: {root}, maxDisappear: {{percent: 100, count: 1000}}}}");
        home.drop_in("set.yaml", &document("AppSet", "found", &spec));
        home.run(&["reconcile", "--once"]).ok();
        assert_eq!(one(&home, "SELECT count(*) FROM app"), 3);
        unmount(&mounted);
        let missing = "SELECT count(*) FROM app WHERE missing_since IS NOT NULL OR deleted_at IS NOT NULL";
        let nothing_is_done = || {
            let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
            assert_eq!(report["actions"], serde_json::json!([]), "{report}");
            let described = home.run(&["describe", "appset", "found"]).ok();
            assert!(described.contains("SourceSuspect") && described.contains(reason), "{described}");
        };
        nothing_is_done();
        assert_eq!(one(&home, missing), 0);
        // Not even when one had been missing for long before: a source that is not to be believed proves nothing.
        edit(&home, &format!("UPDATE app SET missing_since = {}", crate::old::ago(30)));
        nothing_is_done();
        edit(&home, "UPDATE app SET missing_since = NULL");
        assert!(mount(&mounted));
        fill();
        home.run(&["reconcile", "--once"]).ok();
        assert_eq!(one(&home, missing), 0);
        assert_eq!(one(&home, "SELECT count(*) FROM condition WHERE type = 'SourceSuspect' AND holds = 1"), 0);
        unmount(&mounted);
        nothing_is_done();
        // A person may say that they are really gone, which counts once.
        home.run(&["orphans", "accept"]).ok();
        assert_eq!(one(&home, missing), 3);
        assert_eq!(one(&home, "SELECT count(*) FROM condition WHERE type = 'GoneAccepted' AND holds = 1"), 0);
    }
}
