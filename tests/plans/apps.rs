//! Golden plans for the apps on disk: found, missing, restored, the fuse, scans that are not whole, and names that collide.

use manifestd::plan::Reconciler;
use manifestd::plan::apps::{AppsReconciler, FoundDirectory, KnownApp, ObservedApps, ObservedSet};
use manifestd::resource::app_set::MaxDisappear;
use manifestd::resource::name::Uid;
use manifestd::resource::time::Span;

use crate::carry_out::on_apps;
use crate::golden::{Golden, NOW};

fn directory(path: &str) -> FoundDirectory {
    let parts: Vec<&str> = path.split('/').collect();
    let number = parts.last().and_then(|last| last.strip_prefix("app")).and_then(|digits| digits.parse().ok());
    FoundDirectory {
        path: path.into(),
        model: Some(parts[1].into()),
        template: (parts.len() == 4).then(|| parts[2].into()),
        number: number.expect("a number at the end"),
    }
}

fn set(name: &str, paths: &[&str]) -> ObservedSet {
    ObservedSet {
        uid: Uid(format!("uid-{name}")),
        name: name.into(),
        max_disappear: MaxDisappear::default(),
        suspect: None,
        taken: None,
        accepted: false,
        known_device: Some(1),
        device: Some(1),
        scan: Ok(paths.iter().map(|path| directory(path)).collect()),
    }
}

/// An App that the set `g` found.
fn known(path: &str) -> KnownApp {
    KnownApp { set: Some("g".into()), present: None, ..by_hand(&directory(path).name(), path, true) }
}

fn by_hand(name: &str, path: &str, present: bool) -> KnownApp {
    KnownApp {
        uid: Uid(format!("uid-{name}")),
        name: name.into(),
        path: path.into(),
        set: None,
        ownerless: false,
        missing_since: None,
        present: Some(present),
    }
}

fn missing(app: KnownApp) -> KnownApp {
    KnownApp { missing_since: Some(NOW.minus(Span::minutes(5))), ..app }
}

fn seen(sets: Vec<ObservedSet>, apps: Vec<KnownApp>) -> ObservedApps {
    ObservedApps { sets, apps, ..ObservedApps::default() }
}

fn check(file: &str, cases: Vec<(&str, ObservedApps)>) {
    let mut golden = Golden::default();
    for (title, case) in cases {
        golden.case(title, case, AppsReconciler::plan, on_apps);
    }
    golden.check(file);
}

#[test]
fn apps_come_and_go() {
    check(
        "apps/come_and_go.txt",
        vec![
            ("nothing is known and nothing is there", seen(vec![set("g", &[])], vec![])),
            ("two are found, one of a template", seen(vec![set("g", &["g/m/app1", "g/m/t/app2"])], vec![])),
            ("all is known", seen(vec![set("g", &["g/m/app1"])], vec![known("g/m/app1")])),
            ("one is gone", seen(vec![set("g", &["g/m/app1"])], vec![known("g/m/app1"), known("g/m/app2")])),
            ("one is gone for a while", seen(vec![set("g", &[])], vec![missing(known("g/m/app1"))])),
            ("one is there again", seen(vec![set("g", &["g/m/app1"])], vec![missing(known("g/m/app1"))])),
            ("written by hand: there, gone, not to be seen, there again", {
                let unseen = KnownApp { present: None, ..by_hand("unseen", "x/3", true) };
                let back = missing(by_hand("back", "x/4", true));
                seen(vec![], vec![by_hand("there", "x/1", true), by_hand("gone", "x/2", false), unseen, back])
            }),
            (
                "its directory has another name by now, be it marked missing or not; one of another set's has its name",
                {
                    let at_once = KnownApp { path: "g/T/app3".into(), ..known("g/t/app3") };
                    let moved = missing(KnownApp { path: "g/M/app1".into(), ..known("g/m/app1") });
                    let of_another_set = KnownApp { set: Some("h".into()), ..missing(known("g/m/app2")) };
                    let elsewhere = KnownApp { path: "h/m/app2".into(), ..of_another_set };
                    let sets = vec![set("g", &["g/m/app1", "g/m/app2", "g/t/app3"]), set("h", &[])];
                    seen(sets, vec![moved, elsewhere, at_once])
                },
            ),
            ("written by hand for a directory that matches", {
                seen(vec![set("g", &["g/m/app1"])], vec![by_hand("m-app1", "./g/m//app1/", true)])
            }),
            (
                "nobody's: the first set that finds one has it from then on, and the others are looked at by themselves",
                {
                    let ownerless = |path: &str, there| KnownApp {
                        ownerless: true,
                        ..by_hand(&directory(path).name(), path, there)
                    };
                    let moved = KnownApp { path: "g/M/app4".into(), ..ownerless("g/m/app4", false) };
                    let apps = vec![
                        moved,
                        ownerless("g/m/app1", true),
                        missing(ownerless("g/m/app2", true)),
                        ownerless("g/m/app3", false),
                    ];
                    seen(vec![set("g", &["g/m/app1", "g/m/app2", "g/m/app4"]), set("h", &["g/m/app1"])], apps)
                },
            ),
        ],
    );
}

#[test]
fn a_scan_that_is_not_to_be_believed_marks_nothing() {
    let many: Vec<String> = (1..=30).map(|number| format!("g/m/app{number}")).collect();
    let paths: Vec<&str> = many.iter().map(String::as_str).collect();
    let apps = || many.iter().map(|path| known(path)).collect::<Vec<_>>();
    let incomplete = || ObservedSet { scan: Err("g/m: permission denied".into()), ..set("g", &[]) };
    check(
        "apps/fuse.txt",
        vec![
            ("the directory cannot be read", seen(vec![incomplete()], apps())),
            ("it cannot be read, as before", {
                let suspect = Some("g/m: permission denied".into());
                seen(vec![ObservedSet { suspect, ..incomplete() }], apps())
            }),
            ("six of thirty are gone: as many as may be", seen(vec![set("g", &paths[..24])], apps())),
            ("seven of thirty are gone: too many, but one that was missing is there again", {
                let mut apps = apps();
                apps[0] = missing(apps[0].clone());
                let visible = [&paths[..1], &paths[8..]].concat();
                seen(vec![set("g", &visible)], apps)
            }),
            ("all of five are gone: a handful may always go", {
                seen(vec![set("g", &[])], many[..5].iter().map(|path| known(path)).collect())
            }),
            ("too many are gone, and a person accepted it", {
                let accepted =
                    ObservedSet { accepted: true, suspect: Some("too many".into()), ..set("g", &paths[..23]) };
                seen(vec![accepted], apps())
            }),
            ("all are there again", {
                seen(vec![ObservedSet { suspect: Some("too many".into()), ..set("g", &paths) }], apps())
            }),
            ("one set cannot be read, another can", {
                let other = ObservedSet { name: "h".into(), uid: Uid("uid-h".into()), ..set("h", &["h/m/app77"]) };
                seen(vec![incomplete(), other], apps())
            }),
        ],
    );
}

#[test]
fn a_directory_whose_name_is_taken_is_told_of_once() {
    let both = ["g/a-b/app1", "g/a_b/app1"];
    check(
        "apps/names.txt",
        vec![
            ("two directories want one name", seen(vec![set("g", &both)], vec![])),
            ("one of them has the name already", seen(vec![set("g", &both)], vec![known("g/a_b/app1")])),
            ("a person gave the name to another directory", {
                seen(vec![set("g", &["g/m/app1"])], vec![by_hand("m-app1", "x/y", true)])
            }),
            ("five want the name of another", {
                let paths = ["g/a.b/app1", "g/a_b/app1", "g/A-b/app1", "g/A_b/app1", "g/A_B/app1"];
                seen(vec![set("g", &paths)], vec![known("g/a-b/app1")])
            }),
            ("two sets want one name", seen(vec![set("g", &["g/m/app1"]), set("h", &["h/m/app1"])], vec![])),
            ("it was told, and one directory is gone now", {
                let told = ObservedSet { taken: Some("told".into()), ..set("g", &both[..1]) };
                seen(vec![told], vec![known("g/a-b/app1")])
            }),
            ("it was told, and now the scan is not whole", {
                let told = ObservedSet { taken: Some("told".into()), scan: Err("g: gone".into()), ..set("g", &[]) };
                seen(vec![told], vec![known("g/a-b/app1")])
            }),
        ],
    );
}
