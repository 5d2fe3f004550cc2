//! kill -9 at steps that a seed draws, twenty-five times for each command.

use std::fs;

use crate::scene::{TASKS, scene, seen};
use crate::support::daemon::Home;
use crate::support::kills::{Dice, kill_at, steps};

const KILLS: u64 = 25;

/// Nothing of an interrupted command is in the way of the next one.
fn assert_sound(home: &Home) {
    home.run(&["doctor", "--fix", "--yes"]).ok();
    assert!(!home.state().join("exchange.json").exists(), "nothing is left to be finished");
}

#[test]
fn a_backup_that_is_killed_leaves_none_or_a_whole_one() {
    let home = scene();
    let (before, mut dice) = (seen(&home), Dice::new());
    println!("seed {}", dice.0);
    let command = ["backup", "b.tar", "--results"];
    let all = steps(&home, &command);
    for _ in 0..KILLS {
        let _ = fs::remove_file(home.path("b.tar"));
        kill_at(&home, &command, 1 + dice.below(all));
        if home.path("b.tar").exists() {
            home.run(&["restore", "b.tar", "--dry-run"]).ok();
        }
        assert_eq!(seen(&home), before);
    }
    home.run(&["backup", "b.tar", "--results", "--force"]).ok();
    home.run(&["restore", "b.tar", "--dry-run"]).ok();
    assert!(!home.path("b.tar.part").exists() && !home.path("b.tar.part.db").exists());
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_or_the_new_state() {
    let home = scene();
    let (new, mut dice) = (seen(&home), Dice::new());
    println!("seed {}", dice.0);
    for results in [true, false] {
        let command: &[&str] = &["backup", "b.tar", "--force", "--results"];
        home.run(&command[..3 + usize::from(results)]).ok();
        home.run(&["retry", "t1", "t2"]).ok();
        home.run(&["reconcile", "--once"]).ok();
        let old = seen(&home);
        assert_ne!(old, new);
        home.run(&["backup", "old.tar", "--results", "--force"]).ok();
        let all = steps(&home, &["restore", "b.tar", "--force"]);
        assert_eq!(seen(&home), new);
        let (mut olds, mut news) = (0, 0);
        for _ in 0..KILLS {
            home.run(&["restore", "old.tar", "--force"]).ok();
            assert_eq!(seen(&home), old);
            kill_at(&home, &["restore", "b.tar", "--force"], 1 + dice.below(all));
            // Whatever command comes next finishes what was begun.
            let now = seen(&home);
            olds += u64::from(now == old);
            news += u64::from(now == new);
            assert!(now == old || now == new, "{now:?}");
            assert_sound(&home);
        }
        assert!(olds > 0 && news > 0, "{olds} old, {news} new: every kill came at the same side");
        home.run(&["restore", "b.tar", "--force"]).ok();
    }
}

#[test]
fn a_rebuild_that_is_killed_leaves_the_lost_database_or_a_new_one() {
    let home = scene();
    let (before, mut dice) = (seen(&home), Dice::new());
    println!("seed {}", dice.0);
    let database = home.state().join("manifestd.db");
    let break_it = || {
        for beside in ["manifestd.db-wal", "manifestd.db-shm"] {
            let _ = fs::remove_file(home.state().join(beside));
        }
        fs::write(&database, "this is no database").unwrap();
    };
    break_it();
    let all = steps(&home, &["db", "rebuild"]);
    assert_eq!(seen(&home), before, "everything is as before");
    for _ in 0..KILLS {
        break_it();
        kill_at(&home, &["db", "rebuild"], 1 + dice.below(all));
        if home.run(&["db", "check"]).code != 0 {
            assert_eq!(fs::read_to_string(&database).unwrap(), "this is no database");
            home.run(&["db", "rebuild"]).ok();
        }
        assert_eq!(seen(&home), before);
        assert_sound(&home);
    }
    // Nothing runs again, and nothing of what was there was deleted.
    let report = home.run(&["reconcile", "--once", "-o", "json"]).json();
    assert_eq!(report["attempts"], 0, "{report}");
    let kept = fs::read_dir(home.state()).unwrap().flatten();
    let kept = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("before-rebuild-")).count();
    assert_eq!(kept as u64, KILLS + 1);
    assert_eq!(before.len(), TASKS as usize);
}

#[test]
fn an_upgrade_that_is_killed_leaves_the_old_or_the_new_version() {
    let mut dice = Dice::new();
    println!("seed {}", dice.0);
    let home = Home::new("");
    crate::support::versions::put(&home, 1);
    let all = steps(&home, &["db", "migrate"]);
    for _ in 0..KILLS {
        crate::support::versions::put(&home, 1);
        kill_at(&home, &["db", "migrate"], 1 + dice.below(all));
        let version = crate::support::versions::version(&home);
        assert!(version == 1 || version == manifestd::store::SCHEMA_VERSION, "a version between: {version}");
        home.run(&["db", "migrate"]).ok();
        crate::support::versions::assert_nothing_lost(&home, 1);
        assert_sound(&home);
    }
}
