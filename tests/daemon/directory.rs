//! The manifests directory as a whole: it vanishes, shrinks, is rearranged, is a git checkout.

use std::io::Write as _;
use std::process::Command;

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;
use manifestd::store::view;
use rusqlite::Connection;

use crate::support::daemon::{Home, document, find, gated, quick, task, waiter};

fn based(settings: &str) -> Home {
    let home = Home::new(settings);
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), quick()));
    home
}

/// Reason of the condition SourceSuspect of the directory, while it holds.
fn suspect(connection: &Connection) -> Option<String> {
    let conditions = view::directory_conditions(connection).unwrap();
    conditions.into_iter().find(|c| c.condition == "SourceSuspect" && c.status == "True").map(|c| c.reason)
}

fn removed(home: &Home) -> i64 {
    let query = "SELECT count(*) FROM object WHERE removed_at IS NOT NULL";
    home.database().query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_directory_that_vanishes_takes_nothing_away_and_heals_when_it_returns() {
    let home = based("");
    home.drop_in("t.yaml", &task("t", "app1", "quick", ""));
    let daemon = home.serve();
    home.until_phase("t", Phase::Completed);
    std::fs::rename(home.path("manifests"), home.path("elsewhere")).unwrap();
    let reason = home.until("the condition SourceSuspect", suspect);
    assert_eq!(reason, "ScanIncomplete");
    assert_eq!(removed(&home), 0);
    let status = home.run(&["status"]).ok();
    assert!(status.contains("SourceSuspect") && status.contains("manifests"), "{status}");

    std::fs::rename(home.path("elsewhere"), home.path("manifests")).unwrap();
    home.until("the condition to be lifted", |connection| suspect(connection).is_none().then_some(()));
    // Events are heard again.
    home.drop_in("u.yaml", &task("u", "app1", "quick", ""));
    home.until_phase("u", Phase::Completed);
    assert_eq!((removed(&home), home.attempts("t").len()), (0, 1));
    daemon.stop();
}

#[test]
fn a_link_out_of_the_directory_is_told_and_stops_nothing_else() {
    let home = based("");
    std::fs::write(home.path("outside.yaml"), task("outsider", "app1", "quick", "")).unwrap();
    home.drop_in("t.yaml", &task("t", "app1", "quick", "suspend: true,"));
    home.drop_in("kept.yaml", &task("kept", "app1", "quick", "suspend: true,"));
    let daemon = home.serve();
    home.until_phase("t", Phase::Pending);
    home.until_phase("kept", Phase::Pending);
    // One that was a file keeps its last good version, as any broken one does.
    std::os::unix::fs::symlink(home.path("outside.yaml"), home.path("manifests/.new")).unwrap();
    std::fs::rename(home.path("manifests/.new"), home.path("manifests/kept.yaml")).unwrap();
    home.until("the problem to be told", |connection| {
        view::problems(connection).unwrap().into_iter().find(|problem| problem.code == "link-out")
    });
    home.take_away("t.yaml");
    home.until_phase("t", Phase::Cancelled);
    assert_eq!((suspect(&home.database()), removed(&home)), (None, 1));
    assert!(find(&home.database(), Kind::Task, "outsider").is_none());
    home.take_away("kept.yaml");
    home.until_phase("kept", Phase::Cancelled);
    assert_eq!(view::problems(&home.database()).unwrap(), []);
    daemon.stop();
}

#[test]
fn a_directory_that_is_replaced_by_another_one_is_followed() {
    let home = based("");
    home.drop_in("t.yaml", &task("t", "app1", "quick", ""));
    let daemon = home.serve();
    home.until_phase("t", Phase::Completed);
    // As a deployment does it: the new tree is ready beside, and takes the place of the old one.
    std::fs::create_dir(home.path("next")).unwrap();
    for file in ["base.yaml", "t.yaml"] {
        std::fs::copy(home.path("manifests").join(file), home.path("next").join(file)).unwrap();
    }
    std::fs::write(home.path("next/u.yaml"), task("u", "app1", "quick", "")).unwrap();
    std::fs::rename(home.path("manifests"), home.path("old")).unwrap();
    std::fs::rename(home.path("next"), home.path("manifests")).unwrap();
    home.until_phase("u", Phase::Completed);
    home.drop_in("v.yaml", &task("v", "app1", "quick", ""));
    home.until_phase("v", Phase::Completed);
    // What happens in the old place concerns nobody.
    std::fs::write(home.path("old/w.yaml"), task("w", "app1", "quick", "")).unwrap();
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!(home.run(&["get", "task", "w"]).code, 1);
    assert_eq!((removed(&home), home.attempts("t").len()), (0, 1));
    daemon.stop();
}

#[test]
fn too_many_removals_are_frozen_until_a_person_accepts_them() {
    let home = based("");
    for n in 0..12 {
        home.drop_in(&format!("t/{n}.yaml"), &task(&format!("t{n}"), "app1", "quick", "suspend: true,"));
    }
    let daemon = home.serve();
    home.until_phase("t11", Phase::Pending);
    std::fs::rename(home.path("manifests/t"), home.path("t")).unwrap();
    let reason = home.until("the fuse to blow", suspect);
    assert_eq!((reason.as_str(), removed(&home)), ("TooManyGone", 0));
    let said = home.run(&["reconcile", "--once"]);
    assert!(said.code == 1 && said.out.contains("orphans accept"), "{}", said.out);
    // What is not removed goes on as before, and new things are still taken in.
    home.drop_in("u.yaml", &task("u", "app1", "quick", ""));
    home.until_phase("u", Phase::Completed);

    home.run(&["orphans", "accept"]).ok();
    home.until_phase("t0", Phase::Cancelled);
    assert_eq!((removed(&home), suspect(&home.database())), (12, None));
    // Accepting is for once: the next time it blows again.
    std::fs::rename(home.path("t"), home.path("manifests/t")).unwrap();
    home.until_phase("t0", Phase::Pending);
    home.until("all to be back", |connection| {
        let query = "SELECT count(*) FROM object WHERE removed_at IS NOT NULL";
        (connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap() == 0).then_some(())
    });
    std::fs::rename(home.path("manifests/t"), home.path("t")).unwrap();
    home.until("the fuse to blow again", suspect);
    assert_eq!(removed(&home), 0);
    daemon.stop();
}

#[test]
fn a_document_that_moves_to_another_file_stays_the_same_object_and_does_not_run_again() {
    let home = based("");
    home.drop_in("one.yaml", &format!("{}{}", task("t", "app1", "quick", ""), task("u", "app1", "quick", "")));
    let daemon = home.serve();
    let before = home.until_phase("t", Phase::Completed);
    home.until_phase("u", Phase::Completed);
    // First it is in the new file, then it leaves the old one.
    home.drop_in("two.yaml", &task("t", "app1", "quick", ""));
    home.drop_in("one.yaml", &task("u", "app1", "quick", ""));
    home.until("the task to be declared in two.yaml", |connection| {
        let task = crate::support::daemon::find(connection, Kind::Task, "t")?;
        (task.provenance.file == "two.yaml").then_some(())
    });
    // A whole file is renamed.
    std::fs::rename(home.path("manifests/two.yaml"), home.path("manifests/three.yaml")).unwrap();
    home.until("the task to be declared in three.yaml", |connection| {
        let task = crate::support::daemon::find(connection, Kind::Task, "t")?;
        (task.provenance.file == "three.yaml").then_some(())
    });
    home.run(&["reconcile", "--once"]).ok();
    let after = home.object(Kind::Task, "t");
    assert_eq!((after.uid, after.generation, after.removed_at), (before.uid, 1, None));
    assert_eq!((home.attempts("t").len(), home.attempts("u").len()), (1, 1));
    let events = home.events(Kind::Task, "t");
    assert!(!events.iter().any(|event| event.starts_with("Removed")), "{events:?}");
    assert_eq!(home.run(&["get", "problems", "-o", "json"]).json()["items"], serde_json::json!([]));
    daemon.stop();
}

#[test]
fn a_name_in_two_files_is_a_problem_of_both_and_the_accepted_one_stays() {
    let home = based("");
    home.drop_in("m.yaml", &task("t", "app1", "quick", ""));
    let daemon = home.serve();
    home.until_phase("t", Phase::Completed);
    // Its name sorts first, and still it does not win.
    home.drop_in("a.yaml", &task("t", "app1", "quick", "priority: 7,"));
    let files = |connection: &Connection| -> Vec<String> {
        let problems = view::problems(connection).unwrap();
        let mut files: Vec<String> =
            problems.iter().filter(|problem| problem.code == "duplicate-name").map(|p| p.file.clone()).collect();
        files.sort();
        files
    };
    let both = home.until("a problem", |connection| Some(files(connection)).filter(|files| !files.is_empty()));
    assert_eq!(both, ["a.yaml", "m.yaml"]);
    let kept = home.object(Kind::Task, "t");
    assert_eq!((kept.generation, kept.provenance.file.as_str()), (1, "m.yaml"));
    // The accepted one goes: the other takes its place, as a change of the same object.
    home.take_away("m.yaml");
    let now = home.until_task("t", "to have run as it is in a.yaml", |task| {
        task.status.phase == Phase::Completed && task.status.observed_generation == 2
    });
    assert_eq!((now.uid, now.provenance.file.as_str()), (kept.uid, "a.yaml"));
    home.until("no problems", |connection| files(connection).is_empty().then_some(()));
    daemon.stop();
}

#[test]
fn a_task_knows_the_commit_that_it_came_with() {
    let home = based("");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]).args(arguments);
        let output = command.current_dir(home.path("manifests")).env("HOME", home.path("home")).output().expect("git");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    git(&["init", "-q"]);
    home.drop_in("t.yaml", &task("t", "app1", "quick", ""));
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let first = git(&["rev-parse", "HEAD"]);
    let daemon = home.serve();
    home.until_phase("t", Phase::Completed);
    assert_eq!(home.object(Kind::Task, "t").provenance.commit, Some(first.clone()));
    let described = home.run(&["describe", "task", "t"]).ok();
    assert!(described.contains(&first[..7]), "{described}");

    // An edit that is committed later, and a checkout, which moves HEAD only after the files.
    let commit = |connection: &Connection| crate::support::daemon::find(connection, Kind::Task, "t")?.provenance.commit;
    home.drop_in("t.yaml", &task("t", "app1", "quick", "priority: 7,"));
    home.until_task("t", "to have run as generation 2", |task| {
        task.status.phase == Phase::Completed && task.status.observed_generation == 2
    });
    git(&["commit", "-q", "-a", "-m", "two"]);
    let second = git(&["rev-parse", "HEAD"]);
    assert_ne!(first, second);
    home.until("the second commit", |connection| commit(connection).filter(|commit| *commit == second));
    git(&["checkout", "-q", &first]);
    home.until_task("t", "to have run as generation 3", |task| {
        task.status.phase == Phase::Completed && task.status.observed_generation == 3
    });
    home.until("the first commit", |connection| commit(connection).filter(|commit| *commit == first));
    daemon.stop();
}

#[test]
fn an_app_set_that_loses_too_many_apps_marks_none_until_a_person_accepts_it() {
    let home = Home::new("scanInterval: 200ms");
    (1..=12).for_each(|n| drop(home.app(n)));
    let set = document("AppSet", "found", "{root: generated/apps, pattern: \"{model}/app{number}\"}");
    home.drop_in("base.yaml", &format!("{set}{}{}", quick(), task("t", "acme-app1", "quick", "")));
    let daemon = home.serve();
    home.until_phase("t", Phase::Completed);
    let missing = |connection: &Connection| -> i64 {
        connection.query_row("SELECT count(*) FROM app WHERE missing_since IS NOT NULL", [], |row| row.get(0)).unwrap()
    };
    std::fs::rename(home.path("generated/apps/acme"), home.path("acme")).unwrap();
    let reason = home.until("the AppSet to be suspect", |connection| {
        let set = crate::support::daemon::find(connection, Kind::AppSet, "found")?;
        set.conditions.into_iter().find(|c| c.condition == "SourceSuspect" && c.status == "True").map(|c| c.reason)
    });
    assert_eq!((reason.as_str(), missing(&home.database())), ("TooManyGone", 0));
    home.run(&["orphans", "accept"]).ok();
    home.until("all apps to be missing", |connection| (missing(connection) == 12).then_some(()));
    std::fs::rename(home.path("acme"), home.path("generated/apps/acme")).unwrap();
    home.until("all apps to be back", |connection| (missing(connection) == 0).then_some(()));
    daemon.stop();
}

#[test]
fn a_manifest_that_is_being_written_is_what_it_was_until_its_writer_closes_it() {
    let home = Home::new("");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), gated(4)));
    home.gate("a");
    let (first, second) = (waiter("first", "a", ""), waiter("second", "a", ""));
    home.drop_in("t.yaml", &format!("{first}{second}"));
    let daemon = home.serve();
    for name in ["first", "second"] {
        home.until_phase(name, Phase::Running);
    }
    // A scan that comes before the event of writing says that the file declares nothing, which is a problem, and takes nothing away either.
    let scan = || home.run(&["reconcile", "--once", "--only", "manifests"]).out;
    // As the shell does: cut at once, written when the program comes to it, a part at a time.
    let mut file = std::fs::File::create(home.path("manifests/t.yaml")).unwrap();
    assert!(scan().contains("1 file being written"));
    file.write_all(first.as_bytes()).unwrap();
    assert!(scan().contains("1 file being written"));
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    home.until("the file to be read again", |_| (!scan().contains("being written")).then_some(()));
    for name in ["first", "second"] {
        assert_eq!((home.task(name).status.phase, home.attempts(name).len()), (Phase::Running, 1), "{name}");
    }
    std::fs::write(home.path("manifests/t.yaml"), first).unwrap();
    home.until_reason("second", Phase::Cancelled, Reason::ManifestRemoved);
    home.open_gate("a");
    home.until_phase("first", Phase::Completed);
    daemon.stop();
}

#[test]
fn an_app_set_whose_root_is_gone_marks_its_apps_when_a_person_says_so_and_only_those_that_were_there_then() {
    let home = Home::new("");
    let set = document("AppSet", "found", "{root: generated/apps, pattern: \"{model}/app{number}\"}");
    home.app(1);
    home.drop_in("base.yaml", &set);
    home.run(&["reconcile", "--once"]).ok();
    let app = || find(&home.database(), Kind::App, "acme-app1").unwrap().app.unwrap();
    let accepted = || -> i64 {
        let query = "SELECT count(*) FROM condition WHERE type = 'GoneAccepted' AND holds = 1";
        home.database().query_row(query, [], |row| row.get(0)).unwrap()
    };
    std::fs::rename(home.path("generated"), home.path("elsewhere")).unwrap();
    home.run(&["reconcile", "--once"]);
    assert!(app().missing_since.is_none(), "a root that is gone takes nothing away");
    home.run(&["orphans", "accept"]).ok();
    assert!(app().missing_since.is_some());
    assert_eq!(accepted(), 0, "the word of a person counts once");
    std::fs::rename(home.path("elsewhere"), home.path("generated")).unwrap();
    home.run(&["reconcile", "--once"]).ok();
    assert!(app().missing_since.is_none());
}
