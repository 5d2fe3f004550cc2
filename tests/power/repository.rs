//! Manifests that come from a git repository: after a power cut the tree that counts is a whole one, and the repository can be followed.

use std::path::Path;
use std::process::Command;

use manifestd::resource::phase::Phase;

use crate::found::opened;
use crate::recording::{Cut, Recording, stage};
use crate::replay::Sort;
use crate::support::daemon::{Home, quick, task};

/// Manifests of the first commit; the second has one more.
const TASKS: usize = 3;

fn git(home: &Home, origin: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(arguments).current_dir(origin);
    let said = command.env("HOME", home.path("home")).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(said.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
}

/// The manifests in a tree, by name; nothing when there is no tree.
fn manifests(tree: &Path) -> Option<Vec<(String, String)>> {
    let entries = std::fs::read_dir(tree).ok()?.flatten().map(|entry| entry.path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let read = |path: &Path| (path.file_name().unwrap().display().to_string(), std::fs::read_to_string(path).unwrap());
    let mut read: Vec<_> = files.map(|path| read(&path)).collect();
    read.sort();
    Some(read)
}

#[test]
fn the_tree_that_counts_is_whole_and_the_repository_is_followed_again() {
    let origin = tempfile::tempdir().unwrap();
    let Some(home) = stage(&format!("gitUrl: {}\n", origin.path().display())) else { return };
    let write = |name: &str, text: &str| std::fs::write(origin.path().join(name), text).unwrap();
    git(&home, origin.path(), &["init", "-q", "-b", "main"]);
    write("base.yaml", &format!("{}{}", home.app(1), quick()));
    (1..=TASKS).for_each(|n| write(&format!("t{n}.yaml"), &task(&format!("t{n}"), "app1", "quick", "")));
    let commit = || {
        git(&home, origin.path(), &["add", "-A"]);
        git(&home, origin.path(), &["commit", "-q", "-m", "a change"]);
    };
    commit();
    let first = manifests(origin.path()).unwrap();
    git(&home, origin.path(), &["checkout", "-q", "-b", "next"]);
    write("t4.yaml", &task("t4", "app1", "quick", ""));
    commit();
    let second = manifests(origin.path()).unwrap();
    let script = format!(
        "manifestd reconcile --once\ngit -C {} update-ref refs/heads/main refs/heads/next\nmanifestd reconcile --once\necho done\n",
        origin.path().display()
    );
    let recording = Recording::of(home, &script);
    let current = recording.home.state().join("git/current");
    assert_eq!(manifests(&current).as_ref(), Some(&second));
    let check = |cut: &Cut<'_>| {
        let found = manifests(&current);
        let is_whole = found.as_ref().is_none_or(|found| *found == first || *found == second);
        assert!(is_whole, "the tree that counts is half a tree: {found:?}");
        assert!(found.is_some() || cut.told("began ").next().is_none(), "a program was started, and no tree counts");
        assert!(found.as_ref() == Some(&second) || !cut.was_told("done"), "the new tree was said to count: {found:?}");
        opened(&cut.home.state());
    };
    recording.cut("repository", &[".manifestd"], |cut| {
        check(cut);
        if cut.number % 3 == 0 {
            let said = cut.home.run(&["reconcile", "--once"]);
            assert_eq!(said.code, 0, "{}{}", said.out, said.err);
            assert!(!said.err.contains("cannot be followed"), "{}", said.err);
            (1..=TASKS + 1).for_each(|n| assert_eq!(cut.home.task(&format!("t{n}")).status.phase, Phase::Completed));
            assert_eq!(manifests(&current).as_ref(), Some(&second));
        }
    });
    // What git loses of its own files is fetched again, and the sync of everything that follows the checkout covers the state's own name.
    recording.needs("repository", &[".manifestd"], &[Sort::Contents, Sort::TopNames], check);
}
