//! Golden plans for the mirror: what a scan of the manifests directory creates, changes, moves, keeps and removes.

use std::fmt::Write as _;

use manifestd::plan::mirror::{Change, Declared, FOUND_ON_DISK, MirrorPlan, ObservedMirror, plan};
use manifestd::resource::kind::Kind;
use manifestd::resource::metadata::Metadata;
use manifestd::resource::name::Uid;
use manifestd::resource::object::{Object, Spec};
use manifestd::resource::provenance::Provenance;
use serde_json::{Value, json};

use crate::carry_out::{on_mirror, stored};
use crate::golden::Golden;

fn place(file: &str, line: u32) -> Provenance {
    Provenance { file: file.into(), line, digest: format!("digest of {file}"), commit: None }
}

fn declare(kind: Kind, name: &str, spec: Value, file: &str, line: u32) -> Declared {
    let spec = Spec::from_value(kind, spec).expect("a spec");
    let metadata = Metadata { name: name.into(), ..Metadata::default() };
    Declared::new(Object { metadata, spec }, place(file, line), file.into(), String::new())
}

fn task(file: &str, line: u32) -> Declared {
    declare(Kind::Task, "t", json!({"app": "demo", "analyzer": "lint"}), file, line)
}

fn changed(file: &str, line: u32) -> Declared {
    declare(Kind::Task, "t", json!({"app": "demo", "analyzer": "lint", "priority": 7}), file, line)
}

/// A task of this name and priority.
pub(crate) fn prioritised(name: &str, priority: i32, file: &str, line: u32) -> Declared {
    declare(Kind::Task, name, json!({"app": "demo", "analyzer": "lint", "priority": priority}), file, line)
}

/// What was read now, in these files, when the store holds these objects.
fn seen(read: &[&str], declared: &[Declared], held: &[Declared]) -> ObservedMirror {
    ObservedMirror {
        declared: declared.iter().cloned().map(Into::into).collect(),
        read: read.iter().map(|file| (*file).to_owned()).collect(),
        existing: held.iter().map(|declared| stored(declared, Uid("uid-t".into()), 1)).collect(),
        ..ObservedMirror::default()
    }
}

fn with(mut observed: ObservedMirror, change: impl FnOnce(&mut ObservedMirror)) -> ObservedMirror {
    change(&mut observed);
    observed
}

fn broken(observed: ObservedMirror, file: &str) -> ObservedMirror {
    with(observed, |observed| {
        observed.broken.insert(((Kind::Task, "t".into()), file.into()));
    })
}

fn gone(observed: ObservedMirror, file: &str) -> ObservedMirror {
    with(observed, |observed| {
        observed.gone.insert(file.into());
    })
}

fn removed(observed: ObservedMirror) -> ObservedMirror {
    with(observed, |observed| observed.existing.values_mut().for_each(|existing| existing.removed = true))
}

fn print(plan: &MirrorPlan) -> String {
    let mut text = String::new();
    for change in plan.changes.iter().chain(&plan.removals) {
        let _ = match change {
            Change::Create(declared) => writeln!(text, "create {}", named(declared)),
            Change::Update { declared, difference, generation, .. } => {
                let words = [
                    ("spec", difference.spec),
                    ("metadata", difference.metadata),
                    ("place", difference.place),
                    ("restored", difference.restored),
                ];
                let what: Vec<&str> = words.iter().filter(|(_, holds)| *holds).map(|(word, _)| *word).collect();
                writeln!(text, "update {}: {}; generation {generation}", named(declared), what.join(", "))
            }
            Change::Remove { identity: (kind, name), provenance, .. } => {
                writeln!(text, "remove {kind} {name} of {}:{}", provenance.file, provenance.line)
            }
        };
    }
    for duplicate in &plan.duplicates {
        let (accepted, refused) = (&duplicate.accepted, &duplicate.refused);
        let _ = writeln!(
            text,
            "refuse {} {} at {}:{}, since the one at {}:{} counts",
            duplicate.identity.0, duplicate.identity.1, refused.file, refused.line, accepted.file, accepted.line
        );
    }
    let _ = write!(text, "{} unchanged", plan.unchanged);
    text
}

fn named(declared: &Declared) -> String {
    let (object, place) = (&declared.object, &declared.provenance);
    format!("{} {} at {}:{}", object.kind(), object.metadata.name, place.file, place.line)
}

fn check(file: &str, cases: Vec<(&str, ObservedMirror)>) {
    let mut golden = Golden::default();
    for (title, mut case) in cases {
        let first = plan(&case);
        golden.text(title, &print(&first));
        on_mirror(&mut case, &first);
        let second = plan(&case);
        assert!(second.changes.is_empty() && second.removals.is_empty(), "{title}: twice is once\n{}", print(&second));
        assert_eq!(first.duplicates, second.duplicates, "{title}");
    }
    golden.check(file);
}

#[test]
fn documents_become_objects() {
    check(
        "mirror/changes.txt",
        vec![
            ("a new document", seen(&["a.yaml"], &[task("a.yaml", 1)], &[])),
            ("an unchanged one", seen(&["a.yaml"], &[task("a.yaml", 1)], &[task("a.yaml", 1)])),
            ("its spec changed", seen(&["a.yaml"], &[changed("a.yaml", 1)], &[task("a.yaml", 1)])),
            ("only its labels changed", {
                let mut labelled = (*task("a.yaml", 1).object).clone();
                labelled.metadata.labels.insert("team".into(), "blue".into());
                seen(&["a.yaml"], &[task("a.yaml", 1).of(labelled)], &[task("a.yaml", 1)])
            }),
            ("only its annotations changed", {
                let mut noted = (*task("a.yaml", 1).object).clone();
                noted.metadata.annotations.insert("why".into(), "because".into());
                seen(&["a.yaml"], &[task("a.yaml", 1).of(noted)], &[task("a.yaml", 1)])
            }),
            ("it moved down in its file", seen(&["a.yaml"], &[task("a.yaml", 9)], &[task("a.yaml", 1)])),
            ("it moved to another file", seen(&["a.yaml", "b.yaml"], &[task("b.yaml", 1)], &[task("a.yaml", 1)])),
            ("its file was renamed", gone(seen(&["b.yaml"], &[task("b.yaml", 1)], &[task("a.yaml", 1)]), "a.yaml")),
            ("the keys of its config changed places", {
                let spec = |config: Value| json!({"app": "demo", "analyzer": "lint", "config": config});
                let one = declare(Kind::Task, "t", spec(json!({"x": 1, "y": 2})), "a.yaml", 1);
                let other = declare(Kind::Task, "t", spec(json!({"y": 2, "x": 1})), "a.yaml", 1);
                seen(&["a.yaml"], &[other], &[one])
            }),
            ("it was stored by a program that did not know a field yet, which has its default", {
                with(seen(&["a.yaml"], &[task("a.yaml", 1)], &[task("a.yaml", 1)]), |observed| {
                    let existing = observed.existing.values_mut().next().expect("the stored one");
                    existing.spec = json!({"app": "demo", "analyzer": "lint"}).to_string();
                })
            }),
            ("it was stored by a program that did not keep the text", {
                with(seen(&["a.yaml"], &[task("a.yaml", 1)], &[task("a.yaml", 1)]), |observed| {
                    observed.existing.values_mut().for_each(|existing| existing.has_text = false);
                })
            }),
            ("its document is gone from its file", seen(&["a.yaml"], &[], &[task("a.yaml", 1)])),
            ("its file is gone", gone(seen(&[], &[], &[task("a.yaml", 1)]), "a.yaml")),
            ("it is gone for long", removed(gone(seen(&[], &[], &[task("a.yaml", 1)]), "a.yaml"))),
            ("it came back", removed(seen(&["a.yaml"], &[task("a.yaml", 1)], &[task("a.yaml", 1)]))),
            ("it came back elsewhere with another spec", {
                removed(seen(&["b.yaml"], &[changed("b.yaml", 3)], &[task("a.yaml", 1)]))
            }),
            ("one kind's name is free for another kind", {
                let app = declare(Kind::App, "t", json!({"path": "apps/t"}), "a.yaml", 9);
                seen(&["a.yaml"], &[task("a.yaml", 1), app], &[task("a.yaml", 1)])
            }),
        ],
    );
}

#[test]
fn a_fault_harms_only_itself() {
    check(
        "mirror/faults.txt",
        vec![
            ("its document is broken", broken(seen(&["a.yaml"], &[], &[task("a.yaml", 1)]), "a.yaml")),
            ("its file cannot be understood", {
                with(seen(&["a.yaml"], &[], &[task("a.yaml", 1)]), |observed| {
                    observed.unreadable.insert("a.yaml".into());
                })
            }),
            ("its file cannot be understood, and another declares it", {
                with(seen(&["a.yaml", "b.yaml"], &[changed("b.yaml", 1)], &[task("a.yaml", 1)]), |observed| {
                    observed.unreadable.insert("a.yaml".into());
                })
            }),
            ("its document is broken, and another file declares it", {
                broken(seen(&["a.yaml", "b.yaml"], &[changed("b.yaml", 1)], &[task("a.yaml", 1)]), "a.yaml")
            }),
            ("it moved to another file, which also has a broken one of its name", {
                broken(seen(&["a.yaml", "b.yaml"], &[task("b.yaml", 1)], &[task("a.yaml", 1)]), "b.yaml")
            }),
            ("its document moved to another file and broke on the way", {
                broken(seen(&["a.yaml", "b.yaml"], &[], &[task("a.yaml", 1)]), "b.yaml")
            }),
            ("its file was not read", seen(&["b.yaml"], &[], &[task("a.yaml", 1)])),
        ],
    );
}

#[test]
fn a_name_has_one_holder() {
    let app = |path: &str, file: &str, line| declare(Kind::App, "t", json!({"path": path}), file, line);
    let found = || app("g/t", &format!("{FOUND_ON_DISK}generated"), 0);
    check(
        "mirror/duplicates.txt",
        vec![
            ("twice in one file: the first counts", {
                seen(&["a.yaml"], &[task("a.yaml", 1), changed("a.yaml", 5)], &[])
            }),
            ("in two new files: the first by name counts", {
                seen(&["b.yaml", "a.yaml"], &[changed("b.yaml", 1), task("a.yaml", 1)], &[])
            }),
            ("in two files: the one that was accepted stays", {
                seen(&["a.yaml", "b.yaml"], &[changed("a.yaml", 1), task("b.yaml", 1)], &[task("b.yaml", 1)])
            }),
            ("in another file, while its own was not read", {
                seen(&["a.yaml"], &[changed("a.yaml", 1)], &[task("b.yaml", 1)])
            }),
            ("its holder is gone, and another file takes over", {
                gone(seen(&["a.yaml"], &[changed("a.yaml", 1)], &[task("b.yaml", 1)]), "b.yaml")
            }),
            ("its holder does not declare it any more, and two others do", {
                let others = [changed("c.yaml", 1), changed("b.yaml", 1)];
                seen(&["a.yaml", "b.yaml", "c.yaml"], &others, &[task("a.yaml", 1)])
            }),
            ("found on disk, then written by hand: what a person wrote counts", {
                seen(&["a.yaml"], &[app("x/t", "a.yaml", 1)], &[found()])
            }),
            ("found on disk, and declared nowhere", seen(&["a.yaml"], &[], &[found()])),
            ("found on disk by an AppSet whose name looks like a file", {
                let odd = app("g/t", &format!("{FOUND_ON_DISK}x.yaml"), 0);
                let file = format!("{FOUND_ON_DISK}x.yaml");
                gone(seen(&[&file], &[], &[odd]), &file)
            }),
            ("in a directory that is called like the mark of what was found", {
                seen(&["a.yaml"], &[changed("a.yaml", 1)], &[task(&format!("{FOUND_ON_DISK}x.yaml"), 1)])
            }),
        ],
    );
}
