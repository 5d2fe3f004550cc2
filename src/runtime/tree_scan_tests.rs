//! Digests of trees in temporary directories: what changes them, what does not, and what refuses to be one.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;
use crate::runtime::clock::system_time;

/// A workspace with the app `app`.
struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.0.path().join("app")).unwrap();
        files.iter().for_each(|(path, text)| place.write(path, text));
        place
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join("app").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn try_scan(&self, known: Option<&Scanned>, began_at: Timestamp) -> Result<Scanned, Unread> {
        scan(self.0.path(), "app", known, began_at, &|| false)
    }

    fn digest(&self) -> String {
        self.try_scan(None, system_time()).unwrap().digest
    }
}

/// Long after everything that a test writes: its files are no longer racy.
fn later() -> Timestamp {
    system_time().plus(SETTLE).plus(SETTLE)
}

#[test]
fn the_digest_depends_on_paths_contents_kinds_and_executable_bits() {
    let place = Place::new(&[("a.py", "1"), ("s/b.py", "2")]);
    let mut seen = vec![place.digest()];
    assert_eq!(place.digest(), seen[0], "the same tree");
    place.write("a.py", "3");
    seen.push(place.digest());
    fs::rename(place.at("a.py"), place.at("c.py")).unwrap();
    seen.push(place.digest());
    fs::set_permissions(place.at("c.py"), fs::Permissions::from_mode(0o755)).unwrap();
    seen.push(place.digest());
    fs::remove_file(place.at("c.py")).unwrap();
    seen.push(place.digest());
    symlink("s/b.py", place.at("c.py")).unwrap();
    seen.push(place.digest());
    fs::remove_file(place.at("c.py")).unwrap();
    symlink("s/../s/b.py", place.at("c.py")).unwrap();
    seen.push(place.digest());
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), seen.len(), "{seen:#?}");
}

#[test]
fn two_apps_with_the_same_files_have_the_same_digest_whenever_they_were_written() {
    let (one, two) = (Place::new(&[("a", "1"), ("b/c", "2")]), Place::new(&[("b/c", "2"), ("a", "1")]));
    File::options().write(true).open(two.at("a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(one.digest(), two.digest());
}

#[test]
fn what_a_gitignore_of_the_app_names_does_not_count_nor_do_version_control_and_caches() {
    let place = Place::new(&[(".gitignore", "*.log\nbuild/\n"), ("a.py", "1"), (".env", "x")]);
    let before = place.digest();
    for path in
        ["x.log", "build/y", "s/z.log", ".git/HEAD", "s/__pycache__/a.pyc", ".ruff_cache/1", ".git/info/exclude"]
    {
        place.write(path, "*");
    }
    fs::create_dir(place.at("empty")).unwrap();
    assert_eq!(place.digest(), before);
    place.write("s/.gitignore", "!z.log\n");
    let after = place.digest();
    place.write("s/z.log", "other");
    assert_ne!(place.digest(), after, "a nested .gitignore takes it back");
    let seen = place.digest();
    place.write(".env", "y");
    assert_ne!(place.digest(), seen, "hidden files count");
}

#[test]
fn rules_above_the_app_and_of_other_tools_do_not_hide_anything() {
    let place = Place::new(&[("a.py", "1"), (".ignore", "a.py\n")]);
    fs::write(place.0.path().join(".gitignore"), "*\n").unwrap();
    let before = place.digest();
    place.write("a.py", "2");
    assert_ne!(place.digest(), before);
}

#[test]
fn an_unchanged_tree_is_recognised_by_its_stats_without_reading_it() {
    let place = Place::new(&[("a.py", "1")]);
    let mut known = place.try_scan(None, later()).unwrap();
    assert!(!known.is_racy);
    // Would be another one if anything was read.
    known.digest = "remembered".into();
    assert_eq!(place.try_scan(Some(&known), later()).unwrap().digest, "remembered");
    fs::set_permissions(place.at("a.py"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(place.try_scan(Some(&known), later()).unwrap().digest, "remembered");
}

#[test]
fn an_edit_that_keeps_size_and_time_of_modification_is_seen() {
    let place = Place::new(&[("a.py", "1")]);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
    let set = || File::options().write(true).open(place.at("a.py")).unwrap().set_modified(old).unwrap();
    set();
    // Perhaps within one tick of the disk's clock, so that no stat tells.
    let known = place.try_scan(None, system_time()).unwrap();
    place.write("a.py", "2");
    set();
    assert_ne!(place.try_scan(Some(&known), later()).unwrap().digest, known.digest);
}

#[test]
fn a_tree_that_was_written_just_now_is_read_again_whatever_its_stats_say() {
    let place = Place::new(&[("a.py", "1")]);
    let mut known = place.try_scan(None, system_time()).unwrap();
    assert!(known.is_racy, "the next write could fall into the same tick");
    known.digest = "remembered".into();
    let again = place.try_scan(Some(&known), later()).unwrap();
    assert_eq!(again.digest, place.digest());
    assert!(!again.is_racy);
}

#[test]
fn links_are_not_followed_and_special_files_are_not_opened() {
    let place = Place::new(&[("a.py", "1")]);
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), place.at("out")).unwrap();
    symlink("nowhere", place.at("broken")).unwrap();
    assert!(Command::new("mkfifo").arg(place.at("pipe")).status().unwrap().success());
    let before = place.digest();
    fs::write(outside.path().join("x"), "1").unwrap();
    assert_eq!(place.digest(), before);
    fs::remove_file(place.at("pipe")).unwrap();
    assert_ne!(place.digest(), before);
}

#[test]
fn an_app_that_leads_out_of_the_workspace_or_is_no_directory_is_refused() {
    let place = Place::new(&[("a.py", "1")]);
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), place.0.path().join("link")).unwrap();
    for (path, why) in
        [("link", "leads out"), ("../..", "leads out"), ("app/a.py", "not a directory"), ("gone", "gone")]
    {
        let unread = scan(place.0.path(), path, None, system_time(), &|| false).unwrap_err();
        assert!(unread.why.contains(why) && !unread.moving, "{path}: {unread:?}");
    }
}

#[test]
fn what_cannot_be_read_gives_a_reason_and_no_half_a_digest() {
    let place = Place::new(&[("a.py", "1"), ("s/b.py", "2")]);
    fs::set_permissions(place.at("a.py"), fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read everything; for everybody else this is an error that names the file.
    match place.try_scan(None, system_time()) {
        Err(unread) => assert!(unread.why.contains("a.py") && !unread.moving, "{unread:?}"),
        Ok(_) => assert!(File::open(place.at("a.py")).is_ok(), "an unreadable file was left out"),
    }
    let given_up = scan(place.0.path(), "app", None, system_time(), &|| true).unwrap_err();
    assert_eq!(given_up.why, "it was given up");
}

#[test]
fn a_tree_too_deep_to_be_an_app_is_refused() {
    let place = Place::new(&[]);
    let deep = "d/".repeat(DEPTH_MAX + 1);
    place.write(&format!("{deep}x"), "1");
    let unread = place.try_scan(None, system_time()).unwrap_err();
    assert!(unread.why.contains("deep"), "{unread:?}");
}

#[test]
fn a_file_that_vanishes_while_it_is_read_says_that_the_tree_is_moving() {
    let place = Place::new(&[("a.py", "1"), ("b.py", "2")]);
    let asked = std::cell::Cell::new(0);
    // Asked once for each entry of the list, so this happens after the list was made.
    let vanish = || {
        asked.set(asked.get() + 1);
        if asked.get() == 4 {
            fs::remove_file(place.at("b.py")).unwrap();
        }
        false
    };
    let unread = scan(place.0.path(), "app", None, system_time(), &vanish).unwrap_err();
    assert!(unread.moving, "{unread:?}");
}

#[test]
fn a_directory_that_becomes_a_link_while_it_is_read_leads_nobody_out_of_the_app() {
    let place = Place::new(&[("s/b.py", "2")]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("b.py"), "of somebody else").unwrap();
    let asked = std::cell::Cell::new(0);
    let exchange = || {
        asked.set(asked.get() + 1);
        // After the list was made: it has the app, the directory and the file.
        if asked.get() == 4 {
            fs::remove_dir_all(place.at("s")).unwrap();
            symlink(outside.path(), place.at("s")).unwrap();
        }
        false
    };
    let unread = scan(place.0.path(), "app", None, system_time(), &exchange).unwrap_err();
    assert!(asked.get() >= 3 && unread.moving, "{unread:?}");
}

#[test]
fn a_file_that_appears_while_the_others_are_read_says_that_the_tree_is_moving() {
    let place = Place::new(&[("a.py", "1")]);
    let asked = std::cell::Cell::new(0);
    let appear = || {
        asked.set(asked.get() + 1);
        if asked.get() == 3 {
            place.write("c.py", "3");
        }
        false
    };
    let unread = scan(place.0.path(), "app", None, system_time(), &appear).unwrap_err();
    assert!(unread.moving && unread.why.contains("changed while it was read"), "{unread:?}");
}
