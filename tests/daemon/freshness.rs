//! Tasks that depend on the files of their app: run again when those change, and not run at all when a result is there already.

use manifestd::resource::kind::Kind;
use manifestd::resource::phase::Phase;
use manifestd::resource::reason::Reason;

use crate::support::daemon::{Home, document, task};

/// An analyzer whose program counts its runs in a file that belongs to no app.
fn counting() -> String {
    let argv = r#"[sh, -c, "echo run >> runs; echo []", "${app.path}"]"#;
    document("Analyzer", "count", &format!("{{command: {{argv: {argv}, output: json, tool: count}}, capacity: 4}}"))
}

/// The same, which waits at the gate `a` in between.
fn counting_gated() -> String {
    let argv = r#"[sh, -c, "echo run >> runs; cat a; test -d $0", "${app.path}"]"#;
    document("Analyzer", "count", &format!("{{command: {{argv: {argv}, tool: count}}, capacity: 4}}"))
}

fn home(analyzer: &str) -> Home {
    let home = Home::new("scanInterval: 200ms");
    home.drop_in("base.yaml", &format!("{}{}{analyzer}", home.app(1), home.app(2)));
    home
}

fn runs(home: &Home) -> usize {
    std::fs::read_to_string(home.path("runs")).unwrap_or_default().lines().count()
}

const SOURCE: &str = "generated/apps/acme/app1/main.py";

/// Waits until the stored digest of an app differs from `old`, and gives the new one.
fn until_read(home: &Home, app: &str, old: Option<&str>) -> String {
    home.until("the app to be read", |connection| {
        let digest = crate::support::daemon::find(connection, Kind::App, app)?.app?.tree?.digest;
        (old != Some(digest.as_str())).then_some(digest)
    })
}

#[test]
fn an_edited_app_is_analysed_again_once_and_an_ignored_file_changes_nothing() {
    let home = home(&counting());
    std::fs::write(home.path("generated/apps/acme/app1/.gitignore"), "*.log\n").unwrap();
    home.drop_in("t.yaml", &task("t", "app1", "count", "runPolicy: OnAppChange,"));
    let daemon = home.serve();
    let first = home.until_phase("t", Phase::Completed).task.unwrap().status;
    let read = until_read(&home, "app1", None);
    assert_eq!(first.app_digest.as_ref(), Some(&read));

    // The ignored file is there before the edit, so a run because of it would be one run too many afterwards.
    std::fs::write(home.path("generated/apps/acme/app1/x.log"), "noise").unwrap();
    std::fs::write(home.path(SOURCE), "print(2)\n").unwrap();
    let second = home
        .until_task("t", "to have run again", |task| task.status.round == 2 && task.status.phase == Phase::Completed);
    assert_ne!(second.task.unwrap().status.app_digest, Some(read));
    assert_eq!(runs(&home), 2);
    assert!(home.events(Kind::Task, "t").contains(&"AppChanged: the files of its app changed".to_owned()));

    // The next change is the third run: nothing has run in between.
    std::fs::remove_file(home.path(SOURCE)).unwrap();
    home.until_task("t", "to have run a third time", |task| {
        task.status.round == 3 && task.status.phase == Phase::Completed
    });
    assert_eq!((runs(&home), home.attempts("t").len()), (3, 3));
    daemon.stop();
}

#[test]
fn an_app_that_changes_while_its_task_runs_is_analysed_again_when_that_has_ended() {
    let home = home(&counting_gated());
    home.gate("a");
    home.drop_in("t.yaml", &task("t", "app1", "count", "runPolicy: OnAppChange, cache: Content,"));
    let daemon = home.serve();
    home.until_spawned("t");
    let before = until_read(&home, "app1", None);
    std::fs::write(home.path(SOURCE), "print(2)\n").unwrap();
    let after = until_read(&home, "app1", Some(&before));
    assert_eq!(home.task("t").status.phase, Phase::Running, "it is not stopped");
    home.open_gate("a");
    home.until_task("t", "to run again", |task| task.status.round == 2 && task.status.phase == Phase::Running);
    home.open_gate("a");
    let task = home.until_phase("t", Phase::Completed).task.unwrap();
    assert_eq!((task.status.app_digest, runs(&home)), (Some(after), 2));

    // The first result was of an app that moved, the second one is whole.
    let keys = "SELECT group_concat(cache_key IS NOT NULL) FROM (SELECT cache_key FROM attempt ORDER BY number)";
    let keys: String = home.database().query_row(keys, [], |row| row.get(0)).unwrap();
    assert_eq!(keys, "0,1");
    daemon.stop();
}

#[test]
fn a_task_with_the_same_files_tools_and_settings_takes_the_result_and_runs_nothing() {
    let home = home(&counting());
    home.drop_in("one.yaml", &task("one", "app1", "count", "cache: Content,"));
    let daemon = home.serve();
    home.until_reason("one", Phase::Completed, Reason::AllToolsRan);
    // Another app with the same files, and another task of the same app.
    home.drop_in("two.yaml", &task("two", "app2", "count", "cache: Content,"));
    home.until_reason("two", Phase::Completed, Reason::Reused);
    home.drop_in("three.yaml", &task("three", "app1", "count", "cache: Content,"));
    home.until_reason("three", Phase::Completed, Reason::Reused);
    assert_eq!(runs(&home), 1);
    let (one, three) = (home.attempts("one"), home.attempts("three"));
    assert_eq!((&one[0].result_dir, &one[0].tools), (&three[0].result_dir, &three[0].tools));
    assert!(one[0].result_dir.is_some());
    assert_eq!(
        three[0].message.as_deref(),
        Some("the same as attempt 1 of task one"),
        "the original, not another copy"
    );
    home.run(&["results", "three"]).ok();
    assert!(home.run(&["describe", "task", "three"]).ok().contains("the same as attempt 1 of task one"));
    assert!(home.run(&["why", "three"]).ok().contains("--no-cache"));

    // Other settings, other files: they run.
    home.drop_in("four.yaml", &task("four", "app1", "count", "cache: Content, config: {a: 1},"));
    home.until_reason("four", Phase::Completed, Reason::AllToolsRan);
    // Without the field it runs as ever.
    home.drop_in("five.yaml", &task("five", "app1", "count", ""));
    home.until_reason("five", Phase::Completed, Reason::AllToolsRan);
    assert_eq!(runs(&home), 3);

    // A retry takes the result again, unless a person says no.
    home.run(&["retry", "three"]).ok();
    home.until_task("three", "to be reused again", |task| task.status.round == 2 && task.status.phase.is_terminal());
    assert_eq!((runs(&home), home.task("three").status.reason), (3, Reason::Reused));
    home.run(&["retry", "--no-cache", "three"]).ok();
    home.until_task("three", "to have really run", |task| task.status.round == 3 && task.status.phase.is_terminal());
    assert_eq!((runs(&home), home.task("three").status.reason), (4, Reason::AllToolsRan));
    daemon.stop();
}

#[test]
fn a_result_that_is_gone_from_the_disk_is_not_taken() {
    let home = home(&counting());
    home.drop_in("one.yaml", &task("one", "app1", "count", "cache: Content,"));
    let daemon = home.serve();
    home.until_phase("one", Phase::Completed);
    std::fs::remove_dir_all(home.state().join("results")).unwrap();
    home.drop_in("two.yaml", &task("two", "app1", "count", "cache: Content,"));
    home.until_reason("two", Phase::Completed, Reason::AllToolsRan);
    assert_eq!(runs(&home), 2);
    daemon.stop();
}

#[test]
fn once_waits_for_an_app_that_was_written_just_now_and_sees_what_changed_since_the_last_time() {
    let home = home(&counting());
    home.drop_in("t.yaml", &task("t", "app1", "count", "runPolicy: OnAppChange,"));
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!((home.task("t").status.phase, runs(&home)), (Phase::Completed, 1));
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!(runs(&home), 1, "nothing changed");
    std::fs::write(home.path(SOURCE), "print(2)\n").unwrap();
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!((home.task("t").status.round, runs(&home)), (2, 2));
    assert!(home.run(&["why", "t"]).ok().contains("runs again when the files of its app change"));
}

#[test]
fn an_app_that_cannot_be_read_holds_its_tasks_with_a_reason_and_no_other() {
    let home = home(&counting());
    // Deeper than an app may be.
    let deep = format!("generated/apps/acme/app2/{}", "d/".repeat(200));
    std::fs::create_dir_all(home.path(&deep)).unwrap();
    std::fs::write(home.path(&deep).join("x"), "1").unwrap();
    home.drop_in("bad.yaml", &task("bad", "app2", "count", "runPolicy: OnAppChange,"));
    home.drop_in("good.yaml", &task("good", "app1", "count", "runPolicy: OnAppChange,"));
    let daemon = home.serve();
    home.until_phase("good", Phase::Completed);
    home.until_reason("bad", Phase::Pending, Reason::AppNotRead);
    home.until("the App to say so", |connection| {
        let app = crate::support::daemon::find(connection, Kind::App, "app2")?;
        app.conditions
            .into_iter()
            .find(|condition| condition.condition == "TreeUnreadable" && condition.status == "True")
    });
    let why = home.run(&["why", "bad"]).ok();
    assert!(why.contains("cannot be read") && why.contains("deep"), "{why}");
    std::fs::remove_dir_all(home.path("generated/apps/acme/app2/d")).unwrap();
    home.until_phase("bad", Phase::Completed);
    daemon.stop();
}

#[test]
fn a_program_that_writes_into_its_app_leaves_nothing_to_take_and_once_comes_to_its_end() {
    let argv = r#"[sh, -c, "echo run >> runs; echo x >> $0/made.txt", "${app.path}"]"#;
    let home = home(&document("Analyzer", "count", &format!("{{command: {{argv: {argv}, tool: count}}}}")));
    home.drop_in("one.yaml", &task("one", "app1", "count", "cache: Content,"));
    home.run(&["reconcile", "--once"]).ok();
    home.drop_in("two.yaml", &task("two", "app1", "count", "cache: Content,"));
    home.run(&["reconcile", "--once"]).ok();
    assert_eq!((home.task("two").status.reason, runs(&home)), (Reason::AllToolsRan, 2));
}

#[test]
fn a_service_that_says_its_version_is_known_by_it() {
    let home = Home::new("embeddedAnalyzer: true");
    home.drop_in("base.yaml", &format!("{}{}", home.app(1), crate::support::daemon::embedded(1)));
    home.drop_in("one.yaml", &task("one", "app1", "embedded", "tools: [patterns], cache: Content,"));
    let daemon = home.serve();
    home.until_reason("one", Phase::Completed, Reason::AllToolsRan);
    home.drop_in("two.yaml", &task("two", "app1", "embedded", "tools: [patterns], cache: Content,"));
    home.until_reason("two", Phase::Completed, Reason::Reused);
    home.drop_in("three.yaml", &task("three", "app1", "embedded", "tools: [secrets], cache: Content,"));
    home.until_reason("three", Phase::Completed, Reason::AllToolsRan);
    assert!(home.run(&["results", "two"]).ok().contains("patterns"));
    daemon.stop();
}
